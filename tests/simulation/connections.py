"""A TCP connection of a client, a worker or an operator to a simulated node: both its ends, and what is on its way.

The node's end is the transport of a real `node.gateway.connection.Connection`. Bytes take time in both directions and
keep their order. What the node has written arrives, whatever becomes of its process; what is on its way to a process
that ends is lost with it. Not for: what the bytes say, which is for the actors and the gateway.
"""

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any, Final, Protocol

from node.gateway.connection import Connection
from protocol import Fault, Packet, PeerDecoder, TextLine
from tests.simulation.runs import Run
from tests.simulation.schedule import MS, SECOND

if TYPE_CHECKING:
    from tests.simulation.machine import Machine
    from tests.simulation.process import Process

Event = Packet | TextLine | Fault

LATENCIES: Final = (100, 300, MS, 20 * MS)
"""Microseconds from one end to the other: on one host, in one rack, in one building, from far away."""
UNNOTICED: Final = 10 * SECOND
"""How long it takes at the most until an end notices that the other one is gone without a word (TCP keepalive)."""


class End(Protocol):
    """An actor's side of its connections."""

    name: str

    def opened(self, wire: "Wire") -> None:
        """Note that the node has taken the connection in."""

    def heard(self, wire: "Wire", event: Event, given: int) -> None:
        """Take what came; `given` is the time at which the node sent it."""

    def closed(self, wire: "Wire") -> None:
        """Note that the node has hung up, or is gone."""

    def missed(self, wire: "Wire", event: Event, given: int) -> None:
        """Take note, for the judge, of what came after the actor had gone."""


class Wire:
    """One connection."""

    def __init__(self, machine: "Machine", end: End, random: Random) -> None:
        """Begin to connect to the process that runs on a machine."""
        assert machine.process is not None
        self.machine = machine
        self.process: Process = machine.process
        self.end = end
        self.latency = random.choice(LATENCIES)
        self.session = 0
        """The connection's number at the node; 0 before it is taken in."""
        self.incarnation = 0
        self.runs: dict[bytes, Run] = {}
        """The runs that the actor began with what came over this connection, by handle."""
        self.created: dict[int, int] = {}
        """For each job that a submit made or joined: the index of the entry by which the latest one did."""
        self.left = False
        """Whether the actor has gone."""
        self.reads = True
        """Whether the actor reads."""
        self.severed = False
        """Whether the node reads nothing more of it."""
        self.lost = False
        """Whether it is no more for the node."""
        self._schedule = machine.schedule
        self._random = random
        self._generation = machine.generation
        self._connection: Connection
        self._farewells = 0
        self._decoder = PeerDecoder()
        self._silent = False
        """Whether the actor's host is gone: it does not even refuse what comes."""
        self._dropped = False
        """Whether what is on its way to the node is lost."""
        self._to_node_at = self._to_end_at = 0
        """When the latest of what is on its way arrives."""
        self._paused = False
        self._received: list[bytes] = []
        """What has come and the node has not read."""
        self._ended = False
        """Whether the actor's end of sending has come, and the node has not read that."""
        self._unsent: list[tuple[bytes, int]] = []
        self._size = 0
        self._limit = 1 << 62
        self._held = False
        """Whether the node was told that the actor does not read."""
        self._closing = False
        self._unread: list[tuple[bytes, int]] = []
        """What has come, and the actor has not read."""
        self._shut = False
        """Whether the node's end has come, and the actor has not read that."""
        self.process.wires[self] = None
        self._to_node(self._accept)

    # What the actor does

    def send(self, data: bytes) -> None:
        """Send bytes to the node, which may come in two pieces."""
        if self._random.random() < 0.05:
            middle = self._random.randrange(len(data))
            self._to_node(self._feed, data[:middle])
            self._to_node(self._feed, data[middle:])
        else:
            self._to_node(self._feed, data)

    @property
    def cast_off(self) -> bool:
        """Whether the node has hung up on everybody, since the actor connected, or has ended, or is about to."""
        process = self.process
        ended = process is not self.machine.process or self.machine.stopping
        return ended or process.gateway.farewells != self._farewells

    def finish(self) -> None:
        """Say that nothing more will be sent, and go on reading."""
        self._to_node(self._eof)

    def leave(self, how: str = "close") -> None:
        """Go: `close` it in an orderly way, `reset` it, which loses what is on its way, or `vanish` with the host."""
        self.left = True
        if how == "close" and not self.reads:
            how = "reset"  # as a socket does that is closed with something unread
        if how == "vanish":
            self._silent = self._dropped = True
            self._break_runs()
            after = self._random.randrange(UNNOTICED)
            self._schedule.after(after, self.machine.run, self._generation, self._reset)
        elif how == "reset":
            self._dropped = True
            self._break_runs()
            self._to_node(self._reset)
        else:
            self._to_node(self._eof)

    def stop_reading(self) -> None:
        """Read nothing for a while."""
        self.reads = False

    def read_on(self) -> None:
        """Read what has come, and what comes from now on."""
        self.reads = True
        unread, self._unread = self._unread, []
        for data, given in unread:
            self._take(data, given)
        if self._shut and not self.left:
            self.end.closed(self)
        elif not self.lost:
            self._to_node(self._drain)

    # What arrives at the actor

    def _to_end(self, action: Callable[..., None], *arguments: Any) -> None:
        now = self._schedule.now
        self._to_end_at = at = max(now + self.latency, self._to_end_at)
        self._schedule.after(at - now, action, *arguments)

    def _opened(self) -> None:
        if not self.left:
            self.end.opened(self)

    def _arrive(self, data: bytes, given: int) -> None:
        if self.reads or self.left:
            self._take(data, given)
        else:
            self._unread.append((data, given))

    def _take(self, data: bytes, given: int) -> None:
        if self.left and not self._silent:
            self._to_node(self._reset)
        for event in self._decoder.feed(data):
            if self.left:
                self.end.missed(self, event, given)
            else:
                self.end.heard(self, event, given)

    def _hung_up(self) -> None:
        if not self.reads:
            self._shut = True
        elif not self.left:
            self.end.closed(self)

    # What arrives at the node

    def _to_node(self, action: Callable[..., None], *arguments: Any) -> None:
        now = self._schedule.now
        self._to_node_at = at = max(now + self.latency, self._to_node_at)
        self._schedule.after(at - now, self.machine.run, self._generation, action, *arguments)

    def _accept(self) -> None:
        process = self.process
        if not process.listening:
            self.severed = self.lost = True
            del process.wires[self]
            self._to_end(self._hung_up)
            return
        self._connection = connection = process.gateway.accept()
        self.session = connection.number
        self.incarnation = process.driver.incarnation
        self._farewells = process.gateway.farewells
        process.sessions[self.session] = self
        connection.connection_made(self)  # type: ignore[arg-type] - as much of a transport as a connection uses
        if not self.severed:
            self._to_end(self._opened)

    def _feed(self, data: bytes) -> None:
        if self.severed or self._dropped or not data:
            return
        if self._paused or self._received:
            self._received.append(data)
        else:
            self._connection.data_received(data)

    def _eof(self) -> None:
        if self.severed or self._dropped:
            return
        if self._paused or self._received:
            self._ended = True
        elif not self._connection.eof_received():
            self.close()

    def _reset(self) -> None:
        """Notice that the actor is gone."""
        if not self.lost:
            self._sever()
            self._unsent.clear()
            self._connection_lost(ConnectionResetError("reset by peer"))

    def _drain(self) -> None:
        """Notice that the actor reads again: everything leaves."""
        unsent, self._unsent, self._size = self._unsent, [], 0
        for data, given in unsent:
            self._to_end(self._arrive, data, given)
        if self._closing:
            self._closing = False
            self._end()
        elif self._held and not self.severed:
            self._held = False
            self._connection.resume_writing()

    def _read_on(self) -> None:
        if self.severed or self._paused:
            return
        if self._received:
            data = b"".join(self._received)
            self._received.clear()
            self._connection.data_received(data)
        if self._ended and not self._paused and not self._received:
            self._ended = False
            self._eof()

    # The transport (`asyncio.Transport`), as far as a connection uses it

    def get_extra_info(self, name: str) -> Any:
        """Tell who the peer is; there is no socket."""
        return (self.end.name, 0) if name == "peername" else None

    def set_write_buffer_limits(self, high: int, low: int) -> None:
        """Take note from how many bytes on the connection is to hold back; it goes on when everything has left."""
        self._limit = high

    def get_write_buffer_size(self) -> int:
        """Tell how many bytes the peer has not taken."""
        return self._size

    def write(self, data: bytes) -> None:
        """Send bytes to the actor."""
        self.machine.live()
        given = self._schedule.now
        if self.reads and not self._unsent:
            self._to_end(self._arrive, data, given)
            return
        self._unsent.append((data, given))
        self._size += len(data)
        if self._size > self._limit and not self._held:
            self._held = True
            self._connection.pause_writing()

    def pause_reading(self) -> None:
        """Read nothing more, for now."""
        self._paused = True

    def resume_reading(self) -> None:
        """Read on."""
        self._paused = False
        if self._received or self._ended:
            self.process.loop.call_soon(self._read_on)

    def close(self) -> None:
        """Hang up, once everything is sent."""
        if not self.severed:
            self._sever()
            if self._unsent:
                self._closing = True
            else:
                self._end()

    def abort(self) -> None:
        """Hang up now."""
        self._unsent.clear()
        if not self.severed or self._closing:
            self._sever()
            self._closing = False
            self._end()

    def _end(self) -> None:
        self.machine.live()
        self.process.loop.call_soon(self._connection_lost, None)
        self._to_end(self._hung_up)

    def _connection_lost(self, error: Exception | None) -> None:
        if not self.lost:
            self.lost = True
            del self.process.wires[self]
            del self.process.sessions[self.session]
            self._connection.connection_lost(error)

    def _sever(self) -> None:
        """Read nothing more of it."""
        self.severed = True
        self._received.clear()
        self._break_runs()

    def _break_runs(self) -> None:
        """Note which runs' ends the node will never read."""
        connection = self._connection if self.session else None
        worker = connection.worker if connection is not None else None
        for handle, run in self.runs.items():
            if not run.over or worker is None or handle in worker.running:
                run.broken = True

    def process_ended(self, *, silent: bool) -> None:
        """End with the node's process; `silent`: with its host, which says nothing."""
        self.severed = self.lost = True
        self._unsent.clear()
        for run in self.runs.values():
            run.broken = run.broken or not run.over
        if silent:
            now = self._schedule.now
            self._to_end_at = max(self._to_end_at, now + self._random.randrange(UNNOTICED))
            self._to_end(self._hung_up)
        else:
            self._to_end(self._hung_up)
