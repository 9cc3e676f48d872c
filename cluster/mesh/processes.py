"""The processes at the other ends of links: which of them have ended, and which only may have.

It is proven that a process has ended when

- it said goodbye,
- another process of its node is linked,
- its host has closed the liveness connection (`cluster.mesh.liveness`), the link is lost, and either connections are
  refused where it listened, or it is not linked again within `RETURN` seconds.

A refused connection alone proves nothing: a firewall refuses as well. Then the node may have ended. Not for: what
follows from either (`node.driver`), or the links (`cluster.mesh.mesh`).
"""

import asyncio
import functools
from collections.abc import Callable
from typing import Final, Protocol

import structlog

from cluster.mesh import liveness
from cluster.mesh.link import Link
from cluster.mesh.liveness import LivenessConnection
from cluster.mesh.peer import Address, MeshEvents
from cluster.mesh.records import Goodbye, OpenLiveness, Refusal

RETURN: Final = 1.0
"""Seconds within which a live node is linked again. Where the host of an ended process is gone as well, as with a
container, nothing refuses connections."""
_LOST: Final = 256
"""How many lost processes are remembered."""

_log: Final = structlog.get_logger()


class OpenConnection(Protocol):
    """Opens a liveness connection."""

    async def __call__(
        self, address: Address, header: str, lost: Callable[[LivenessConnection, bool], None]
    ) -> LivenessConnection | None:
        """Open one; None when that cannot be done now."""


class _Process:
    """The process at the other end of a link, or of a lost one."""

    __slots__ = ("connection", "evidence", "host_closed", "instance", "link", "node", "nonce", "opening", "refused")

    def __init__(self, link: Link) -> None:
        self.node = link.node
        self.instance = link.peer.introduction.instance
        self.evidence = link.evidence
        """Where it certainly listened."""
        self.link: Link | None = link
        """The link; None: it is lost."""
        self.nonce = b""
        """That of the liveness connection that is to come."""
        self.opening = False
        """Whether this node is at opening it."""
        self.connection: LivenessConnection | None = None
        self.host_closed = False
        """Whether its host has closed the liveness connection in good order."""
        self.refused = False
        """Whether connections are refused there since the link was lost."""

    def forget_connection(self) -> None:
        """Close the liveness connection; the other end learns nothing from it."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None


class Processes:
    """The processes that one node is linked to, and those to which it was."""

    def __init__(self, events: MeshEvents, open_connection: OpenConnection) -> None:
        self._events = events
        self._open_connection = open_connection
        self._loop = asyncio.get_running_loop()
        self._linked: dict[str, _Process] = {}
        self._lost: dict[str, _Process] = {}
        """Nodes whose links are lost, and whose processes are not known to have ended."""
        self._openings: set[asyncio.Task[None]] = set()

    # -- links --------------------------------------------------------------------------------------------------------

    def linked(self, link: Link) -> None:
        """Note a new link."""
        before = self._linked.pop(link.node, None) or self._lost.pop(link.node, None)
        process = self._linked[link.node] = _Process(link)
        if before is not None:
            before.link = None
            before.forget_connection()
            if before.instance != process.instance:
                self._end(before)
        self._ask(process)

    def lost(self, link: Link) -> None:
        """Note that a link is lost: by itself, not because this node ended it."""
        process = self._linked.get(link.node)
        if process is None or process.link is not link:
            return
        del self._linked[link.node]
        process.link = None
        if isinstance(link.farewell, Goodbye):
            process.forget_connection()
            self._end(process, goodbye=not link.farewell.failed)
        elif isinstance(link.farewell, Refusal):
            process.forget_connection()
        else:
            if len(self._lost) >= _LOST:
                self._lost.pop(next(iter(self._lost))).forget_connection()
            self._lost[link.node] = process
            if process.host_closed:
                self._expect_back(process)

    def dropped(self, node: str) -> None:
        """Note that this node has ended the link with another."""
        process = self._linked.pop(node, None)
        if process is not None:
            process.link = None
            process.forget_connection()

    def refused(self, address: Address) -> None:
        """Note that connections are refused at an address."""
        for process in [process for process in self._lost.values() if process.evidence == address]:
            process.refused = True
            if process.host_closed:
                self._not_back(process)
            else:
                self._events.unreachable(process.node)

    async def close(self) -> None:
        """Forget all of them."""
        for opening in self._openings:
            opening.cancel()
        await asyncio.gather(*self._openings, return_exceptions=True)
        for process in (*self._linked.values(), *self._lost.values()):
            process.forget_connection()
        self._linked.clear()
        self._lost.clear()

    # -- liveness connections -----------------------------------------------------------------------------------------

    def _ask(self, process: _Process) -> None:
        """Ask for a liveness connection, if the other end dialled the link."""
        link = process.link
        if link is not None and not link.peer.dialled:
            process.nonce = liveness.make_nonce()
            link.say(OpenLiveness(process.nonce))

    def arrived(self, transport: asyncio.Transport, header: str) -> LivenessConnection | None:
        """Take a liveness connection that came in; None: it belongs to no link, or was not asked for."""
        nonce = liveness.nonce_of(header)
        for process in self._linked.values():
            link = process.link
            if nonce and process.nonce == nonce and link is not None:
                if not liveness.is_proven(header, nonce, link.seals[1]):
                    return None
                process.nonce = b""
                process.forget_connection()
                process.connection = LivenessConnection(transport, functools.partial(self._connection_lost, process))
                return process.connection
        return None

    def wanted(self, link: Link, nonce: bytes) -> None:
        """Open a liveness connection beside a link, which the other end has asked for."""
        process = self._linked.get(link.node)
        asked = process is not None and process.link is link and link.peer.dialled
        if process is not None and asked and len(nonce) == liveness.NONCE_SIZE:
            process.nonce = nonce
            if not process.opening:
                process.opening = True
                opening = self._loop.create_task(self._open(process))
                self._openings.add(opening)
                opening.add_done_callback(self._openings.discard)

    async def _open(self, process: _Process) -> None:
        """Open the connection that the other end asked for last; only one attempt at a time, whatever it asks for."""
        while (link := process.link) is not None and process.nonce and link.peer.seen is not None:
            nonce = process.nonce
            header = liveness.header(nonce, link.seals[0])
            lost = functools.partial(self._connection_lost, process)
            connection = await self._open_connection(link.peer.seen, header, lost)
            if connection is not None and process.link is not None and process.nonce == nonce:
                process.nonce = b""
                process.forget_connection()
                process.connection = connection
                connection.confirm()
                break
            if connection is not None:
                connection.close()
            await asyncio.sleep(RETURN)
        process.opening = False

    def _connection_lost(self, process: _Process, connection: LivenessConnection, host_closed: bool) -> None:  # noqa: FBT001
        if process.connection is not connection:
            return
        process.connection = None
        process.host_closed = host_closed
        if process.link is not None:
            self._loop.call_later(RETURN, self._go_on, process)
            if host_closed:
                process.link.ask()
        elif host_closed and self._lost.get(process.node) is process:
            self._expect_back(process)

    def _go_on(self, process: _Process) -> None:
        """Note that a link has outlived its liveness connection: something between the nodes had ended that."""
        if process.link is not None:
            process.host_closed = False
            self._ask(process)

    # -- the end ------------------------------------------------------------------------------------------------------

    def _expect_back(self, process: _Process) -> None:
        """Note that a process has ended, unless it is linked again in a moment."""
        if process.refused:
            self._not_back(process)
        else:
            self._events.unreachable(process.node)
            self._loop.call_later(RETURN, self._not_back, process)

    def _not_back(self, process: _Process) -> None:
        if self._lost.get(process.node) is process:
            del self._lost[process.node]
            process.forget_connection()
            self._end(process)

    def _end(self, process: _Process, *, goodbye: bool = False) -> None:
        _log.info("process_ended", node=process.node, process=process.instance, goodbye=goodbye)
        self._events.ended(process.node, process.instance, goodbye=goodbye)
