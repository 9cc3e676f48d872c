"""TLS for links: both ends show a certificate that the cluster's authority signed.

Files that change are read again, at the next connection. Which address or name a certificate is for is not looked at:
nodes are dialled at addresses that come and go, and whom the authority signed may be a node. Not for: which node it is;
that is in its Introduction.
"""

import ssl
from pathlib import Path
from typing import Final

import structlog

from cluster.mesh.errors import TlsError
from cluster.mesh.settings import TlsFiles

_log: Final = structlog.get_logger()

_Stamp = tuple[tuple[int, int, int], ...]


class Certificates:
    """Makes the contexts for new connections, from the files as they are at that moment."""

    def __init__(self, files: TlsFiles) -> None:
        """Read the files. Raises TlsError."""
        self._files = files
        self._stamp = self._look()
        self._complaint = ""
        self._contexts = self._read()

    def for_dialling(self) -> ssl.SSLContext:
        """Give the context of the end that dials."""
        self._refresh()
        return self._contexts[0]

    def for_accepting(self) -> ssl.SSLContext:
        """Give the context of the end that is dialled."""
        self._refresh()
        return self._contexts[1]

    def _refresh(self) -> None:
        try:
            stamp = self._look()
            if stamp == self._stamp:
                self._complaint = ""
                return
            self._contexts = self._read()
        except TlsError as error:
            # Perhaps one of them is just being written; the next connection looks again, and anybody may connect.
            if str(error) != self._complaint:
                self._complaint = str(error)
                _log.warning("certificates_not_reloaded", error=str(error))
            return
        self._stamp = stamp
        self._complaint = ""
        _log.info("certificates_reloaded", cert=str(self._files.cert))

    def _look(self) -> _Stamp:
        return tuple(_stamp(path) for path in (self._files.cert, self._files.key, self._files.ca))

    def _read(self) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        return self._context(ssl.PROTOCOL_TLS_CLIENT), self._context(ssl.PROTOCOL_TLS_SERVER)

    def _context(self, protocol: int) -> ssl.SSLContext:
        context = ssl.SSLContext(protocol)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(self._files.ca)
        except (OSError, ssl.SSLError) as error:
            raise TlsError(self._files.ca, error) from error
        try:
            context.load_cert_chain(self._files.cert, self._files.key)
        except (OSError, ssl.SSLError) as error:
            raise TlsError(self._files.cert, error) from error
        return context


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        status = path.stat()
    except OSError as error:
        raise TlsError(path, error) from error
    return status.st_mtime_ns, status.st_size, status.st_ino
