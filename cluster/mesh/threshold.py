"""A threshold in front of an HTTP server: who sends more than a request can have is cut off before it costs anything.

aiohttp makes an error of every read that is no HTTP, and keeps them all until its handler has its turn; a stranger who
sends megabytes would fill the memory with them. Not for: what a request says.
"""

import asyncio
from typing import Any


class Threshold(asyncio.Protocol):
    """Passes everything on to another protocol, up to `limit` bytes from one `reset` to the next."""

    def __init__(self, inner: Any, limit: int) -> None:
        """`inner` is the protocol that serves."""
        self._inner = inner
        self._limit = limit
        self._bytes = 0
        self._transport: asyncio.Transport

    def reset(self) -> None:
        """Begin to count anew: a request has come that makes sense."""
        self._bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = transport  # type: ignore[assignment]  # uvloop's transports do not derive from asyncio's
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Pass bytes on, unless they are too many."""
        self._bytes += len(data)
        if self._bytes > self._limit:
            self._transport.abort()
        else:
            self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        """Pass the end of what the peer sends on."""
        ended: bool | None = self._inner.eof_received()
        return ended

    def pause_writing(self) -> None:
        """Pass on that the peer does not read."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Pass on that it does."""
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._inner.connection_lost(exc)
