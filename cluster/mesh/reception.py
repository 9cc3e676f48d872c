"""The listening end: connections come in, and those who have proven nothing are few, short-lived and say little.

aiohttp takes the HTTP request that asks for a WebSocket; before that, each connection has a place among the unproven,
of which there are some in all and some for each host, and a deadline. Not for: who is let in, which is settled in
`cluster.mesh.encounter`.
"""

import asyncio
import functools
import logging
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from cluster.mesh import liveness
from cluster.mesh.certificates import Certificates
from cluster.mesh.connection import Connection, plain
from cluster.mesh.handshake import MAX_HANDSHAKE_FRAME, Role
from cluster.mesh.liveness import LivenessConnection
from cluster.mesh.refusals import Refusals
from cluster.mesh.settings import Limits, Timing
from cluster.mesh.threshold import Threshold

PATH: Final = "/gearmesh/link"

MAX_REQUEST: Final = 8 * 1024
"""Bytes of the request for a link, at the most."""

_ACCEPTED_AT_ONCE: Final = 32
"""Connections that one turn of the loop accepts."""

_PAUSE_WITHOUT_FILES: Final = 0.2
"""Seconds until the next attempt to accept when the process has run out of file descriptors."""

# What strangers do wrong is no matter for aiohttp's own lines.
_silent: Final = logging.getLogger("cluster.mesh.reception.http")
_silent.disabled = True


class Arrival:
    """One connection that came in."""

    def __init__(self, host: str, release: Callable[["Arrival"], None]) -> None:
        self.host = host
        self.proven = False
        self.explained = False
        """Whether somebody has said why it was refused."""
        self.deadline: asyncio.TimerHandle | None = None
        self.transport: asyncio.Transport | None = None
        self._release = release

    def prove(self, _: object = None) -> None:
        """Give the place among the unproven free."""
        if not self.proven:
            self.proven = True
            self._release(self)


class _HttpServer(web.Server):
    """Tells the reception which connections have ended."""

    def __init__(
        self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], reception: "Reception"
    ) -> None:
        super().__init__(
            handler,
            logger=_silent,
            access_log=None,
            max_line_size=1024,
            max_field_size=1024,
            lingering_time=0,
        )
        self._reception = reception

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        self._reception.connection_lost(handler)


class Reception:
    """Listens until it is closed."""

    def __init__(
        self,
        listener: socket.socket,
        greet: Callable[[Connection, Arrival], Awaitable[bool]],
        watch: Callable[[asyncio.Transport, str], LivenessConnection | None],
        certificates: Certificates | None,
        refusals: Refusals,
        timing: Timing,
        limits: Limits,
    ) -> None:
        """Prepare; `greet` is awaited with each connection that asks for a link, and tells whether it is one.

        `watch` is given each that is to be a liveness connection, and what its request says; None: it is refused.
        """
        self._listener = listener
        self._greet = greet
        self._watch = watch
        self._certificates = certificates
        self._refusals = refusals
        self._timing = timing
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._http = _HttpServer(self._handle, self)
        self._unproven: Counter[str] = Counter()
        self._arrivals: dict[web.RequestHandler, Arrival] = {}
        self._openings: set[asyncio.Task[None]] = set()
        self._again: asyncio.TimerHandle | None = None
        self._punished: set[Arrival] = set()
        self._stopped = False

    @property
    def unproven(self) -> int:
        """Tell how many connections have proven nothing yet."""
        return self._unproven.total()

    def start(self) -> None:
        """Listen."""
        self._listener.settimeout(0)
        self._listener.listen(256)
        self._resume()

    def _resume(self) -> None:
        self._again = None
        self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                sock, address = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._refusals.report("", f"connections cannot be accepted: {error.strerror}")
                self._loop.remove_reader(self._listener)
                self._again = self._loop.call_later(_PAUSE_WITHOUT_FILES, self._resume)
                return
            self._admit(sock, plain(address[0]))

    def _admit(self, sock: socket.socket, host: str) -> None:
        here = self._unproven[host]
        if here >= self._limits.unproven_per_host:
            self._refusals.report(host, "too many connections of this host prove nothing")
            sock.close()
            return
        if self.unproven >= self._limits.unproven and not self._make_room(here):
            self._refusals.report(host, "too many connections prove nothing")
            sock.close()
            return
        self._unproven[host] += 1
        arrival = Arrival(host, self._release)
        arrival.deadline = self._loop.call_later(self._timing.handshake, self._expired, arrival)
        handler = self._http()
        self._arrivals[handler] = arrival
        opening = self._loop.create_task(self._open(sock, handler, arrival))
        self._openings.add(opening)
        opening.add_done_callback(functools.partial(self._opened, sock, handler, arrival))

    def _make_room(self, fewer_than: int) -> bool:
        """Drop the oldest connection of the host that has most, if that is more than the newcomer's host would have."""
        waiting = [
            arrival for arrival in self._arrivals.values() if not arrival.proven and arrival.transport is not None
        ]
        worst = max(waiting, key=lambda arrival: self._unproven[arrival.host], default=None)
        if worst is None or self._unproven[worst.host] <= fewer_than + 1:
            return False
        self._explain(worst, "too many connections prove nothing")
        assert worst.transport is not None
        worst.transport.abort()
        worst.prove()
        return True

    async def _open(self, sock: socket.socket, handler: web.RequestHandler, arrival: Arrival) -> None:
        context = None if self._certificates is None else self._certificates.for_accepting()
        patience = None if context is None else self._timing.handshake
        arrival.transport, _ = await self._loop.connect_accepted_socket(
            lambda: Threshold(handler, MAX_REQUEST), sock, ssl=context, ssl_handshake_timeout=patience
        )

    def _opened(
        self, sock: socket.socket, handler: web.RequestHandler, arrival: Arrival, opening: asyncio.Task[None]
    ) -> None:
        self._openings.discard(opening)
        if opening.cancelled() or opening.exception() is not None:
            if not opening.cancelled():
                self._explain(arrival, f"TLS: {str(opening.exception()) or 'the other end broke off'}")
            self._arrivals.pop(handler, None)
            self._depart(arrival)
            sock.close()
        elif arrival.transport is not None and (self._stopped or handler not in self._arrivals):
            arrival.transport.abort()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        arrival = self._arrivals.get(request.protocol)
        upgrade = web.WebSocketResponse(compress=False, autoping=False, max_msg_size=MAX_HANDSHAKE_FRAME)
        transport = request.transport
        wanted = request.path in (PATH, liveness.PATH)
        if arrival is None or transport is None or not wanted or not upgrade.can_prepare(request):
            if arrival is not None:
                self._explain(arrival, "it speaks HTTP, but is no node")
            text = "This is the port for the links between gearmesh nodes.\n"
            answer = web.Response(status=426, text=text, headers={"Upgrade": "websocket"})
            answer.force_close()
            return answer
        await upgrade.prepare(request)
        if request.transport is None:
            # It was lost meanwhile, and nobody would say so again.
            return upgrade
        if request.path == liveness.PATH:
            watched = self._watch(transport, request.headers.get(liveness.HEADER, ""))
            if watched is None:
                self._explain(arrival, "it asks for a liveness connection of a link that is not there")
                liveness.reset(transport)
            else:
                arrival.prove()
                self._depart(arrival)
                await watched.closed
            return upgrade
        connection = Connection(transport, Role.ACCEPTOR, self._timing)
        if await self._greet(connection, arrival):
            self._depart(arrival)
        await connection.closed
        return upgrade

    def _expired(self, arrival: Arrival) -> None:
        if not arrival.proven:
            self._explain(arrival, f"it has proven nothing in {self._timing.handshake:g} s")
        if arrival.transport is not None:
            arrival.transport.abort()

    def _explain(self, arrival: Arrival, reason: str) -> None:
        if not arrival.explained:
            arrival.explained = True
            self._refusals.report(arrival.host, reason)

    def connection_lost(self, handler: web.RequestHandler) -> None:
        """Take note that a connection has ended (aiohttp)."""
        arrival = self._arrivals.pop(handler, None)
        if arrival is not None:
            if not arrival.proven:
                self._explain(arrival, "it went away, or said nothing that a node says, before it had proven anything")
            self._depart(arrival)

    def _depart(self, arrival: Arrival) -> None:
        if arrival.deadline is not None:
            arrival.deadline.cancel()
            arrival.deadline = None
        if not arrival.proven and not self._stopped:
            # Who fails keeps the place for a while, so that failing often is not to be had.
            arrival.deadline = self._loop.call_later(self._timing.penalty, self._forgive, arrival)
            self._punished.add(arrival)

    def _forgive(self, arrival: Arrival) -> None:
        self._punished.discard(arrival)
        arrival.prove()

    def _release(self, arrival: Arrival) -> None:
        self._unproven[arrival.host] -= 1
        if self._unproven[arrival.host] <= 0:
            del self._unproven[arrival.host]

    def stop(self) -> None:
        """Take no further connections; those that are no links yet end."""
        if self._stopped:
            return
        self._stopped = True
        for arrival in self._punished:
            if arrival.deadline is not None:
                arrival.deadline.cancel()
        if self._again is not None:
            self._again.cancel()
        self._loop.remove_reader(self._listener)
        self._listener.close()
        for opening in self._openings:
            opening.cancel()
        for arrival in list(self._arrivals.values()):
            if not arrival.proven and arrival.transport is not None:
                arrival.transport.abort()

    async def close(self) -> None:
        """Drop every connection that came in."""
        for arrival in list(self._arrivals.values()):
            if arrival.transport is not None:
                arrival.transport.abort()
        await asyncio.gather(*self._openings, return_exceptions=True)
        await self._http.shutdown(1.0)
