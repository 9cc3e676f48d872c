"""A client of a node's site: one question, one answer.

Not for: what is done with the answer.
"""

import http.client
import json
import os
import socket
import time
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from node.configuration import secret
from node.configuration.model import DEFAULT_HTTP_PORT, Address
from node.configuration.settings import ENVIRONMENT_PREFIX, SECRET_VARIABLE, SITE_VARIABLE
from node.configuration.values import UnusableValueError, printable, quoted
from node.errors import GearmeshError

PATIENCE: Final = 30.0
"""Seconds that an answer may take: the site gives a change 20."""
LARGEST_ANSWER: Final = 4 << 20
"""Bytes of the largest answer that is read."""
DEFAULT_SITE: Final = f"http://127.0.0.1:{DEFAULT_HTTP_PORT}"

_SECRET_FILE_VARIABLE: Final = f"{ENVIRONMENT_PREFIX}SECRET_FILE"


class AskingError(GearmeshError):
    """There is no answer, or not the one that was hoped for."""


class SiteClient:
    """Asks one site."""

    def __init__(self, site: str | None, *, patience: float = PATIENCE) -> None:
        """Ask the site at this URL, or HOST:PORT; without one, the variable's, or this host's.

        Raises `AskingError` for what is no URL.
        """
        place = "--site" if site is not None else SITE_VARIABLE
        url = _url(site or os.environ.get(SITE_VARIABLE) or DEFAULT_SITE, place)
        self._tls = url.scheme == "https"
        self._host = url.hostname or ""
        self._port = url.port or (443 if self._tls else DEFAULT_HTTP_PORT)
        self._patience = patience

    def __str__(self) -> str:
        """Return the site's URL."""
        return f"http{'s' * self._tls}://{Address(self._host, self._port)}"

    def ask(self, path: str) -> tuple[int, str]:
        """Get a page; return its status and its text. Raises `AskingError` when nobody answers."""
        status, content = self._request("GET", path)
        return status, content.decode("utf-8", "replace")

    def cluster(self) -> dict[str, Any]:
        """Return /api/v1/cluster."""
        return self._json("GET", "/api/v1/cluster")

    def change(self, method: str, path: str, asked: dict[str, Any], shared: bytes | None) -> str:
        """Ask for a change, with a proof of the secret where there is one; return what happened, in a sentence.

        Raises `AskingError` with what the node says where it refuses.
        """
        body = json.dumps(asked).encode() if asked else b""
        headers = {"Content-Type": "application/json"}
        if shared is not None:
            from node.site.authorization import prove  # noqa: PLC0415 - brings aiohttp with it

            node = str(self.cluster()["node"]["id"])
            headers["Authorization"] = prove(shared, node=node, method=method, path=path, body=body, now=time.time())
        return str(self._json(method, path, body, headers)["message"])

    def _json(self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> dict[str, Any]:
        status, content = self._request(method, path, body, headers)
        try:
            said = json.loads(content)
            if status == http.client.OK:
                return dict(said)
            text = str(said["error"]["message"])
        except (ValueError, TypeError, KeyError, RecursionError):
            raise AskingError(
                f"what answers at {self} is not the site of a node (status {status}): name it with --site"
            ) from None
        raise AskingError(printable(text))

    def _request(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        kind = http.client.HTTPSConnection if self._tls else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=self._patience)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, response.read(LARGEST_ANSWER)
        except TimeoutError:
            raise AskingError(f"no answer from {self} within {self._patience:g} s") from None
        except socket.gaierror:
            raise AskingError(f"there is no host {quoted(self._host)} (asked for {self})") from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise AskingError(
                f"nobody answers at {self}: {reason}. Does the node run, and with this --http? "
                f"Another one is named with --site or {SITE_VARIABLE}"
            ) from None
        finally:
            connection.close()


def shared_secret(file: str | None) -> bytes | None:
    """Return the cluster's secret: from the file that is named, or as `gearmesh serve` finds it in the environment.

    None: there is none. Raises `AskingError` for one that cannot be used.
    """
    written = os.environ.get(SECRET_VARIABLE)
    named = file or (None if written else os.environ.get(_SECRET_FILE_VARIABLE))
    try:
        if named:
            place = "--secret-file" if file else _SECRET_FILE_VARIABLE
            return secret.of_file(Path(named))[0]
        place = SECRET_VARIABLE
        return secret.of_text(written) if written else None
    except UnusableValueError as error:
        raise AskingError(f"{place}: {error}") from None


def _url(written: str, place: str) -> SplitResult:
    try:
        url = urlsplit(written if "://" in written else f"http://{written}")
        _ = url.port
    except ValueError:
        url = SplitResult("", "", "", "", "")
    if url.scheme not in ("http", "https") or not url.hostname or url.username or url.path.strip("/") or url.query:
        raise AskingError(f"{place}: {quoted(written)} is not a site: write http://HOST:PORT")
    return url
