"""A node's inside without time, disk or network: the loop's clock, the disk and the peers move when a test says so.

The job table, consensus, the driver and the gateway are the real ones. Not for: judging. It only tells what happened.
"""

import asyncio
import contextlib
import heapq
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cluster.jobs import Command, Effect, JobTable, MirrorWriter, NodeUp, decode_proposal
from cluster.log import Entry, EntryKind, HardState
from cluster.raft import DurableState, MemoryStore, Raft, RaftConfig, Write, bootstrap
from cluster.storage import Mirror
from node.configuration import Configuration
from node.driver import Driver
from node.driver.mirroring import MIRROR_INTERVAL
from node.gateway import Gateway
from node.gateway.connection import WRITE_HIGH, Connection
from node.peers import Nobody
from protocol import Packet, PacketType, PeerDecoder, encode_request

NODE_TIMEOUT = 5.0
"""Seconds of silence after which a node is down."""
EPOCH = 1_000_000
"""The wall clock, in seconds, when a test begins."""


class StillLoop(asyncio.AbstractEventLoop):
    """An event loop whose time passes in `advance` only, and whose callbacks run in `turn` only."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.executed: list[Callable[..., object]] = []
        """What was given to the executor; it is not run."""
        self._soon: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._count = 0

    def time(self) -> float:
        return self.now

    def get_debug(self) -> bool:
        return False

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Any = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._soon.append(handle)
        return handle

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any, context: Any = None):
        when = self.now + delay
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, handle))
        return handle

    def run_in_executor(self, executor: Any, func: Callable[..., object], *args: Any) -> None:
        self.executed.append(func)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        raise context["exception"]

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Cancelled timers are passed over when their time comes."""

    def turn(self) -> None:
        """Run what is due now, and not what that brings about."""
        while self._timers and self._timers[0][0] <= self.now:
            self._soon.append(heapq.heappop(self._timers)[2])
        for _ in range(len(self._soon)):
            handle = self._soon.popleft()
            if not handle.cancelled():
                handle._run()

    def settle(self) -> None:
        """Run everything that is due, until nothing is left to do at this time."""
        for _ in range(10_000):
            self.turn()
            if not self._soon and not (self._timers and self._timers[0][0] <= self.now):
                return
        raise AssertionError("the loop does not come to rest")

    def pause(self, seconds: float) -> None:
        """Let the process stand still for so long, as SIGSTOP does: what became due meanwhile is called after it."""
        self.settle()
        self.now += seconds
        self.settle()

    def advance(self, seconds: float) -> None:
        """Let so much time pass, stopping wherever a timer is due."""
        end = self.now + seconds
        self.settle()
        while self._timers and self._timers[0][0] <= end:
            self.now = max(self.now, self._timers[0][0])
            self.settle()
        self.now = end

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Make this the running loop, for what asks for it."""
        asyncio._set_running_loop(self)
        try:
            yield
        finally:
            asyncio._set_running_loop(None)


class StillDisk:
    """`StorageThread` as the driver sees it. By itself it acknowledges in the next turn; `held`, when it is told to."""

    def __init__(self, loop: StillLoop, store: MemoryStore) -> None:
        self.store = store
        self.held = False
        self.writes: list[tuple[Entry, ...]] = []
        """The entries of every write that began."""
        self.mirrors: list[Mirror] = []
        """Every mirror that began."""
        self.notes: dict[str, bytes] = {}
        self.most_under_way = 0
        self._loop = loop
        self._appends: deque[tuple[Write, Callable[[], None]]] = deque()
        self._mirrored: deque[Callable[[], None]] = deque()

    def append(self, entries: tuple[Entry, ...], hard_state: HardState | None, done: Callable[[], None]) -> None:
        self.writes.append(entries)
        self._appends.append((Write(len(self.writes), hard_state, entries=entries), done))
        self.most_under_way = max(self.most_under_way, len(self._appends))
        if not self.held:
            self._loop.call_soon(self.acknowledge)

    def note(self, key: str, value: bytes, done: Callable[[], None]) -> None:
        self.notes[key] = value
        self._loop.call_soon(done)

    def mirror(self, mirror: Mirror, done: Callable[[], None]) -> None:
        self.mirrors.append(mirror)
        self._mirrored.append(done)
        if not self.held:
            self._loop.call_soon(self.acknowledge_mirror)

    @property
    def under_way(self) -> int:
        """How many writes are not acknowledged."""
        return len(self._appends)

    @property
    def mirrors_under_way(self) -> int:
        """How many mirrors are not acknowledged."""
        return len(self._mirrored)

    def acknowledge(self) -> None:
        """Say of the first write under way that it is on disk."""
        if self._appends:
            write, done = self._appends.popleft()
            self.store.write(write)
            done()

    def acknowledge_mirror(self) -> None:
        """Say of the first mirror under way that it is on disk."""
        if self._mirrored:
            self._mirrored.popleft()()

    def release(self) -> None:
        """Hold nothing back any more."""
        self.held = False
        while self._appends:
            self.acknowledge()
        while self._mirrored:
            self.acknowledge_mirror()

    def proposals(self) -> list[list[list[Command]]]:
        """Give the commands of every write that held some: for each entry, for each batch."""
        return [
            [[c for b in decode_proposal(e.data).batches for c in b.commands] for e in entries]
            for entries in self.writes
            if any(entry.kind is EntryKind.COMMANDS for entry in entries)
        ]

    def commands(self) -> list[Command]:
        """Give every command that was written, in order."""
        return [command for write in self.proposals() for entry in write for command in entry]


class Listening:
    """An `EffectSink` that remembers."""

    def __init__(self) -> None:
        self.effects: list[Effect] = []
        self.flushes = 0

    def deliver(self, effects: list[Effect]) -> None:
        self.effects += effects

    def flush(self) -> None:
        self.flushes += 1

    def begin(self, incarnation: int) -> None: ...
    def complete(self, commands: Sequence[Command]) -> None: ...
    def tick(self) -> None: ...
    def hang_up(self) -> None: ...
    def break_off(self) -> None: ...


class Engine:
    """A driver on a still loop and a still disk, the sole voter of its group, ready to serve."""

    def __init__(self, *, start: bool = True, **raft: int) -> None:
        self.loop = StillLoop()
        base = bootstrap("n")
        self.disk = StillDisk(self.loop, MemoryStore(base))
        self.raft = Raft(
            RaftConfig(id="n", randrange=lambda n: 0, **raft), DurableState(log=self.disk.store, base=base)
        )
        self.table = JobTable("n")
        self.failures: list[Exception] = []
        self.sink = Listening()
        self.ready = False
        with self.loop.running():
            self.driver = Driver(
                name="n",
                incarnation=0,
                first=NodeUp(b"H:n", -1),
                table=self.table,
                mirror_writer=MirrorWriter(),
                raft=self.raft,
                disk=self.disk,  # type: ignore[arg-type]
                peers=Nobody(),
                loop=self.loop,
                offload=lambda work, done, failed: self.loop.executed.append(work),
                clock=lambda: EPOCH + self.loop.now,
                node_timeout=NODE_TIMEOUT,
                on_serving=self._serves,
                on_failure=self.failures.append,
            )
        if start:
            self.start(self.sink)

    def start(self, sink: Any) -> None:
        self.driver.start(sink)
        self.loop.settle()

    def _serves(self, serving: bool) -> None:  # noqa: FBT001 - as the driver calls it
        self.ready = serving

    @property
    def wall(self) -> int:
        """The wall clock, in milliseconds."""
        return int((EPOCH + self.loop.now) * 1000)

    def propose_and_mirror(self, command: Command) -> None:
        """Bring a command before the table, and let so much time pass that the table is mirrored."""
        self.driver.propose(command)
        self.loop.advance(MIRROR_INTERVAL * 1.1)

    def rest(self) -> None:
        """Let so much time pass that the table is mirrored and the last write long ago; forget what was written."""
        self.loop.advance(MIRROR_INTERVAL * 1.1)
        self.disk.writes.clear()
        self.disk.mirrors.clear()
        self.disk.most_under_way = 0


class Wire:
    """The transport of one connection, as far as the gateway uses it."""

    def __init__(self, loop: StillLoop) -> None:
        self.sent = bytearray()
        """What was written and not yet looked at."""
        self.unread = 0
        """Bytes that the peer has not taken, while it does not read."""
        self.reads = True
        """Whether the peer reads what it is sent."""
        self.reading = True
        """Whether the server reads what the peer sends."""
        self.closed = False
        self.aborted = False
        self.limits = (0, 0)
        self._loop = loop
        self._paused = False
        self._ended = False
        self.protocol: Connection

    def get_extra_info(self, name: str) -> Any:
        return ("192.0.2.1", 4711) if name == "peername" else None

    def set_write_buffer_limits(self, high: int, low: int) -> None:
        self.limits = (high, low)

    def get_write_buffer_size(self) -> int:
        return self.unread

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.sent += data
        if not self.reads:
            self.unread += len(data)
            if self.unread > self.limits[0] and not self._paused:
                self._paused = True
                self.protocol.pause_writing()

    def clog(self) -> None:
        """Let the peer read nothing, with more than enough on its way to it already."""
        self.reads = False
        self.unread = WRITE_HIGH + 1
        self._paused = True
        self.protocol.pause_writing()

    def drain(self) -> None:
        """Let the peer read everything."""
        self.reads = True
        self.unread = 0
        if self.closed:
            self._end()
        elif self._paused:
            self._paused = False
            self.protocol.resume_writing()

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def close(self) -> None:
        self.closed = True
        if not self.unread:
            self._end()

    def abort(self) -> None:
        self.aborted = self.closed = True
        self._end()

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self._loop.call_soon(self.protocol.connection_lost, None)


class Peer:
    """A client, worker or operator on one connection."""

    def __init__(self, node: "StillNode") -> None:
        self._loop = node.loop
        self._decoder = PeerDecoder()
        self.wire = Wire(node.loop)
        self.connection = node.gateway.accept()
        self.wire.protocol = self.connection
        self.connection.connection_made(self.wire)  # type: ignore[arg-type]

    def say(self, kind: PacketType, *args: bytes) -> Self:
        """Send a packet."""
        return self.send(encode_request(kind, *args))

    def send(self, data: bytes) -> Self:
        """Send bytes, in one piece."""
        self.connection.data_received(data)
        return self

    def leave(self) -> None:
        """Go away without a word."""
        self.wire.close()
        self._loop.settle()

    def hears(self) -> list[tuple[PacketType, ...] | Any]:
        """Take what came since the last look: packets as (type, arguments...), lines as bytes."""
        data, self.wire.sent = bytes(self.wire.sent), bytearray()
        return [
            (event.kind, *event.args) if isinstance(event, Packet) else event.line  # type: ignore[union-attr]
            for event in self._decoder.feed(data)
        ]


class StillNode(Engine):
    """An engine with a gateway in front of it."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(start=False)
        configuration = Configuration(name="n", data_dir=Path("/nowhere"), **settings)
        with self.loop.running():
            self.gateway = Gateway(configuration, self.driver, Nobody().parcel)
        self.start(self.gateway)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        """End: nothing may have failed unseen."""
        if kind is None:
            assert self.failures == []

    def peer(self) -> Peer:
        """Connect."""
        return Peer(self)

    def settle(self) -> None:
        self.loop.settle()

    def wait(self, seconds: float) -> None:
        self.loop.advance(seconds)

    def worker(self, *functions: bytes) -> Peer:
        """Connect a worker that can do these functions, and that the table knows."""
        peer = self.peer()
        for function in functions:
            peer.say(PacketType.CAN_DO, function)
        self.wait(0.01)
        return peer

    def background(self, function: bytes = b"f", workload: bytes = b"", kind: PacketType = PacketType.SUBMIT_JOB_BG):
        """Submit a background job through a connection of its own; give the job's handle."""
        peer = self.peer().say(kind, function, b"", workload)
        self.settle()
        ((answer, handle),) = peer.hears()
        assert answer is PacketType.JOB_CREATED
        return handle


__all__ = ["EPOCH", "WRITE_HIGH", "Engine", "Peer", "StillDisk", "StillLoop", "StillNode", "Wire"]
