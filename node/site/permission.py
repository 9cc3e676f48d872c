"""Who may change the cluster through the site.

A node with a secret asks for a proof of it (`authorization`). A node without one trusts its own host alone, and does
not take a web page's word for that: neither one that makes a browser send the request (it cannot send JSON here without
asking first, which is never allowed), nor one whose name was made to point to this host.
"""

import ipaddress
import re
from http import HTTPStatus
from typing import Final

from aiohttp import web

from node.site.answers import AnswerError
from node.site.authorization import TooManyChangesError, UnauthorizedError, Verifier

_PROXY_HEADERS: Final = ("Forwarded", "X-Forwarded-For", "X-Real-IP", "Via")


def permit(request: web.Request, body: bytes, *, node: str, verifier: Verifier | None) -> None:
    """Return if the request may change the cluster; raise `AnswerError` if not. `node` is this node's id."""
    if request.content_type != "application/json":
        raise AnswerError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "json_expected",
            "A request that changes something needs the header Content-Type: application/json.",
        )
    if verifier is None:
        _permit_this_host(request)
        return
    try:
        verifier.check(
            request.headers.get("Authorization"), node=node, method=request.method, path=request.raw_path, body=body
        )
    except UnauthorizedError as error:
        raise AnswerError(HTTPStatus.UNAUTHORIZED, "unauthorized", str(error)) from None
    except TooManyChangesError as error:
        raise AnswerError(HTTPStatus.TOO_MANY_REQUESTS, "too_many_changes", str(error)) from None


def _permit_this_host(request: web.Request) -> None:
    passed_on = any(header in request.headers for header in _PROXY_HEADERS)
    if passed_on or not is_loopback(request.remote or ""):
        raise AnswerError(
            HTTPStatus.FORBIDDEN,
            "not_this_host",
            "This node has no secret, so it takes changes from its own host only (127.0.0.1 or ::1, and no proxy).",
        )
    if "Origin" in request.headers or not _names_this_host(request.headers.get("Host", "")):
        raise AnswerError(
            HTTPStatus.FORBIDDEN,
            "web_page",
            "This node has no secret, so it takes no changes from web pages: ask it as localhost or 127.0.0.1.",
        )


def is_loopback(address: str) -> bool:
    """Tell whether an IP address is this host's own, and reachable from nowhere else."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        return ip.ipv4_mapped.is_loopback
    return ip.is_loopback


def _names_this_host(host_header: str) -> bool:
    match = re.fullmatch(r"(?:\[([^\]]*)\]|([^:]*))(?::[0-9]{1,5})?", host_header)
    if match is None:
        return False
    host = match[1] or match[2] or ""
    return host.lower() == "localhost" or is_loopback(host)
