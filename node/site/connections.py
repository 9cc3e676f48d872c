"""The connections of the site, bounded in number and in time: nobody who is slow, or silent, keeps others out.

Each request, and the silence before and after it, has `PATIENCE` seconds from the end of its headers: then the
connection is cut off, whether it sends too slowly, or reads too slowly, or does nothing. When there are `MOST` of them,
a new one takes the place of the one that has been silent longest, so that the question whether a node lives always
gets through. Not for: what is asked.
"""

import asyncio
from typing import Final

from aiohttp import web

from cluster.mesh.threshold import Threshold

PATIENCE: Final = 30.0
MOST: Final = 128
MAX_REQUEST: Final = 64 * 1024
"""Bytes that may come between the headers of two requests: a body, and the next headers."""


class BoundedConnections:
    """Makes the protocols of a server, as a factory for `loop.create_server`."""

    def __init__(self, server: web.Server, *, patience: float = PATIENCE, most: int = MOST) -> None:
        self._server = server
        self._patience = patience
        self._most = most
        self._loop = asyncio.get_running_loop()
        self._thresholds: dict[web.RequestHandler, Threshold] = {}
        self._heard: dict[web.RequestHandler, float] = {}
        """When each last began a request, or was opened; the longest silent first."""
        self._sweep = self._loop.call_later(patience / 4, self._cut_off_silent)

    def __call__(self) -> Threshold:
        """Return the protocol of a new connection."""
        if len(self._heard) >= self._most:
            self._forget_closed()
        while len(self._heard) >= self._most:
            self._cut_off(next(iter(self._heard)))
        handler = self._server()
        self._heard[handler] = self._loop.time()
        threshold = self._thresholds[handler] = Threshold(handler, MAX_REQUEST)
        return threshold

    def heard(self, handler: web.RequestHandler) -> None:
        """Note that a request has begun: its headers are complete."""
        if (threshold := self._thresholds.get(handler)) is not None:
            threshold.reset()
        if self._heard.pop(handler, None) is not None:
            self._heard[handler] = self._loop.time()

    def close(self) -> None:
        """Watch no longer."""
        self._sweep.cancel()

    def _cut_off_silent(self) -> None:
        self._sweep = self._loop.call_later(self._patience / 4, self._cut_off_silent)
        self._forget_closed()
        for handler, heard in list(self._heard.items()):
            if self._loop.time() - heard < self._patience:
                break
            self._cut_off(handler)

    def _forget_closed(self) -> None:
        alive = set(self._server.connections)
        self._heard = {handler: heard for handler, heard in self._heard.items() if handler in alive}
        self._thresholds = {handler: threshold for handler, threshold in self._thresholds.items() if handler in alive}

    def _cut_off(self, handler: web.RequestHandler) -> None:
        del self._heard[handler], self._thresholds[handler]
        if handler.transport is not None:
            handler.transport.abort()
