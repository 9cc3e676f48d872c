"""One budget in bytes for all that the connections of a node hold together; beyond it the largest holders are dropped.

A connection holds the packet that has not come completely, the requests that are not processed yet, the answers that
its peer does not read, and reports that are kept for it. Each of these has a bound of its own. Without a common one,
many connections just below those would take all the memory of the node.

The account costs nothing for a connection that holds next to nothing, and so nothing for a job: only what is more than
`SMALL` is counted, where it comes into being. What a peer has read meanwhile is found out before anybody is dropped.

Not for: the bounds of a single connection (`node.gateway.connection`), workloads on their way to the table
(`node.driver`), or the memory of the whole process.
"""

from itertools import islice
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from node.gateway.connection import Connection

SMALL: Final = 4096
"""Bytes up to which what a connection holds is not counted: less than what the connection itself costs."""
LEAST: Final = 64 << 20
"""Bytes of the budget, beside two of the largest packets, though the memory may be small."""
SHARE: Final = 4
"""The budget is this part of the memory that the node may take."""
SLACK: Final = 8
"""When connections have to be dropped, this part of the budget is made free: so it is not done at every packet."""
REFRESHED: Final = 4096
"""Connections that are looked at anew, the largest first, before one is dropped."""
COMPARED: Final = 256
"""Among how many connections of about the same size the largest is looked for."""

log = structlog.get_logger()


def share(memory: int, max_packet: int) -> int:
    """Give the bytes that the connections of a node may hold which may take so much memory; 0: that is not known."""
    return max(memory // SHARE, LEAST + 2 * max_packet)


class Budget:
    """The account of one node."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0
        """Bytes that the connections hold, or a little more: what was read since is still counted."""
        self.dropped = 0
        """How many connections were dropped so far."""
        self._ranks: list[dict[Connection, None]] = [{} for _ in range(64)]
        """The connections that hold much, by the length in bits of what they hold."""

    def note(self, connection: "Connection") -> None:
        """Count what a connection holds now; make room if it is too much for all of them together."""
        self._count(connection)
        if self.held > self.limit:
            self._make_room()

    def forget(self, connection: "Connection") -> None:
        """Count nothing for a connection any more."""
        if connection.counted:
            self._set(connection, 0)

    def larger_than(self, size: int) -> "list[Connection]":
        """Give the connections that hold more than so many bytes, and perhaps some that hold nearly as many."""
        return [connection for rank in self._ranks[size.bit_length() :] for connection in rank]

    def _count(self, connection: "Connection") -> None:
        size = connection.weight
        if size <= SMALL:
            size = 0
        if size != connection.counted:
            self._set(connection, size)

    def _set(self, connection: "Connection", size: int) -> None:
        before = connection.counted
        connection.counted = size
        self.held += size - before
        rank, old = size.bit_length(), before.bit_length()
        if rank != old:
            self._ranks[old].pop(connection, None)
            if size:
                self._ranks[rank][connection] = None

    def _make_room(self) -> None:
        """Drop the largest holders, if what they hold is still held."""
        self._refresh()
        if self.held <= self.limit - self.limit // (2 * SLACK):
            return
        goal = self.limit - self.limit // SLACK
        before = self.held
        dropped: list[tuple[int, str, str]] = []
        while self.held > goal and (largest := self._largest()) is not None:
            dropped.append((largest.counted, largest.peer, largest.holding))
            largest.drop("The server has no room for what its connections hold")
            self.forget(largest)
        self.dropped += len(dropped)
        size, peer, what = max(dropped)
        log.warning(
            "connections_dropped",
            why="all connections together hold more than they may; the largest are dropped",
            connections=len(dropped),
            bytes=before - self.held,
            limit=self.limit,
            largest=size,
            peer=peer,
            holds=what,
        )

    def _refresh(self) -> None:
        left = REFRESHED
        for rank in reversed(self._ranks):
            for connection in list(islice(rank, left)):
                self._count(connection)
                left -= 1
            if not left:
                return

    def _largest(self) -> "Connection | None":
        for rank in reversed(self._ranks):
            if rank:
                return max(islice(rank, COMPARED), key=_counted)
        return None


def _counted(connection: "Connection") -> int:
    return connection.counted
