"""The site of a node: an aiohttp application on a socket.

Not for: what the node is (`ClusterState` says), or where the site listens.
"""

import asyncio
import logging
import socket
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web

from node.site.answers import Handler, add_headers, errors_as_json
from node.site.authorization import Verifier
from node.site.connections import MOST, PATIENCE, BoundedConnections
from node.site.membership import CHANGE_TIMEOUT, Membership
from node.site.metrics import exposition
from node.site.state import ClusterState

LARGEST_BODY: Final = 16 * 1024
"""Bytes of the largest body that a request may have."""
BACKLOG: Final = 128
"""Connections that may wait to be accepted."""
_CLOSING: Final = 1.0
"""Seconds that requests under way are given when the site closes."""


class Site:
    """Health, metrics and the cluster's API over HTTP."""

    def __init__(
        self,
        state: ClusterState,
        *,
        secret: bytes | None,
        clock: Callable[[], float] = time.time,
        patience: float = PATIENCE,
        most_connections: int = MOST,
        change_timeout: float = CHANGE_TIMEOUT,
    ) -> None:
        """Show `state`; let those who know `secret` change it, or, where it is None, those on this host.

        `clock` gives seconds since the epoch. The rest is for tests to shorten.
        """
        self._state = state
        self._verifier = None if secret is None else Verifier(secret, clock)
        self._patience = patience
        self._most_connections = most_connections
        self._change_timeout = change_timeout
        self._scraping = asyncio.Lock()
        self._runner: web.AppRunner | None = None
        self._server: asyncio.Server | None = None
        self._connections: BoundedConnections | None = None

    async def start(self, listener: socket.socket) -> None:
        """Serve on a socket that is bound. It is the site's from now on: `close` closes it."""
        application = web.Application(
            middlewares=[self._note_request, errors_as_json], client_max_size=LARGEST_BODY, logger=_log
        )
        application.on_response_prepare.append(add_headers)
        application.add_routes(
            [
                web.get("/livez", self._live),
                web.get("/readyz", self._ready),
                web.get("/metrics", self._metrics),
                *Membership(self._state, self._verifier, change_timeout=self._change_timeout).routes(),
            ]
        )
        self._runner = web.AppRunner(
            application,
            access_log=None,
            logger=_log,
            auto_decompress=False,
            keepalive_timeout=self._patience,
            lingering_time=1.0,
            shutdown_timeout=_CLOSING,
        )
        await self._runner.setup()
        assert self._runner.server is not None
        self._connections = BoundedConnections(
            self._runner.server, patience=self._patience, most=self._most_connections
        )
        self._server = await asyncio.get_running_loop().create_server(self._connections, sock=listener, backlog=BACKLOG)

    async def close(self) -> None:
        """Stop listening, give requests under way a moment, and close. May be called without `start`, and twice."""
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._connections is not None:
            self._connections.close()
            self._connections = None
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @web.middleware
    async def _note_request(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if self._connections is not None:
            self._connections.heard(request.protocol)
        return await handler(request)

    async def _live(self, _request: web.Request) -> web.Response:
        return web.Response(text="live\n")

    async def _ready(self, _request: web.Request) -> web.Response:
        node = self._state.status().node
        if node.ready:
            return web.Response(text="".join(f"{line}\n" for line in ("ready", *node.warnings)))
        return web.Response(text=f"{node.reason}\n", status=HTTPStatus.SERVICE_UNAVAILABLE)

    async def _metrics(self, request: web.Request) -> web.Response:
        async with self._scraping:  # one at a time: a crowd of scrapers costs no more threads than one
            table = await self._state.table_figures()
            accept = request.headers.get("Accept", "")
            body, content_type = await asyncio.to_thread(exposition, self._state.status(), table, accept)
        return web.Response(body=body, headers={"Content-Type": content_type})


class _Log(logging.Logger):
    """The log of aiohttp's server, to which every stranger who sends what is not HTTP is an error with a traceback."""

    def exception(self, msg: object, *args: object, exc_info: Any = True, **more: Any) -> None:
        """Log it for whoever looks for it."""
        self.debug(msg, *args, exc_info=exc_info, **more)


_log: Final = _Log("node.site")
_log.parent = logging.getLogger()
