"""The driver: it ties consensus, the disk and the job table to the event loop.

Commands of one moment are gathered into one proposal; while that is being made durable the next one gathers. Whoever
proposed learns nothing before the proposal is committed and applied: then its effects are delivered, in order.

*Urgent* commands start a proposal at the end of the loop's turn, or, in a crowd, of the first turn that brings nothing
more. *Prompt* ones, which nobody waits for but whose loss would repeat work, do so unless a write began within
`LAZY_DELAY`. *Lazy* ones, whose loss repeats nothing, wait up to `LAZY_DELAY` for company. So a commit is paid for by
many commands, and does not stand in the way of what comes next.

A node begins a new incarnation, with its NodeUp, once it leads and has applied the entry that opened its term: then it
knows everything that was ever committed. Not for: what commands mean (`cluster.jobs`), who is connected
(`node.gateway`), which entries are committed (`cluster.raft`), how bytes get to the disk (`cluster.storage`).
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, Protocol

from cluster.jobs import (
    Batch,
    Command,
    Effect,
    JobTable,
    MirrorWriter,
    Proposal,
    decode_proposal,
    encode_proposal,
    propose,
)
from cluster.log import Entry, EntryKind
from cluster.raft import Raft, RefusedError, Role
from cluster.storage import Mirror, StorageThread
from node.errors import UnknownEntryError
from node.memory import QueueMemory, trim
from node.recovery import encode_meta

LAZY_DELAY: Final = 0.002
"""Seconds that a lazy command waits for company."""
MAX_BATCH_COMMANDS: Final = 4096
MAX_BATCH_BYTES: Final = 1 << 20
"""A batch is closed when it holds this much; a single command may be larger."""
MAX_WRITES: Final = 1
"""Writes that may be on their way to the disk at once: what comes meanwhile makes the next one worth its price."""
CROWD: Final = 8
"""When the last write carried this many commands, the next one waits for a quiet turn: as long as packets keep coming,
a moment of patience adds more to a write than it costs."""
GATHER_TIME: Final = 0.005
"""Seconds that such a write waits at the most."""
MAX_WRITE_BATCHES: Final = 8
"""Batches that go into one write: what is beyond waits for the next."""
TICK: Final = 0.1
"""Seconds of one tick of consensus."""
MIRROR_SEGMENTS: Final = 96
"""Changed segments after which the table is mirrored: a bound on how long the loop stands still for it."""
MIRROR_LOG_BYTES: Final = 32 << 20
"""Log bytes after which the table is mirrored: a bound on what a restart reads again."""
MIRROR_INTERVAL: Final = 2.0
"""Seconds after which it is mirrored in any case, if it changed."""

_UNKNOWN: Final[tuple[int, Proposal | None]] = (0, None)


class EffectSink(Protocol):
    """Who carries out the effects that concern this node's sessions."""

    def deliver(self, effects: list[Effect]) -> None:
        """Carry out the effects of one entry, in order, before returning."""

    def flush(self) -> None:
        """Send what the effects delivered so far have to say."""


class Driver:
    """One node's engine. All methods are to be called from its event loop."""

    def __init__(
        self,
        *,
        name: str,
        table: JobTable,
        mirror_writer: MirrorWriter,
        raft: Raft,
        disk: StorageThread,
        clock: Callable[[], float],
        on_failure: Callable[[Exception], None],
    ) -> None:
        """Tie the parts together. `clock` gives seconds since the epoch."""
        self.table = table
        self.name = name
        self._incarnation = 0
        self.numbered = 0
        """The number of the newest command proposed here."""
        self.applied_number = 0
        """The number of the newest of them that is applied."""
        self._mirror_writer = mirror_writer
        self._raft = raft
        self._disk = disk
        self._clock = clock
        self._on_failure = on_failure
        self._sink: EffectSink | None = None
        self._loop = asyncio.get_running_loop()
        self._gathering: list[Command] = []
        self._gathered_bytes = 0
        self._closed: list[list[Command]] = []
        self._urgent = False
        """Whether somebody waits for what has gathered."""
        self._hungry = False
        """Whether somebody would wait for it, were there a job."""
        self._turn_end: asyncio.Handle | None = None
        self._lazy_timer: asyncio.TimerHandle | None = None
        self._first: Command | None = None
        """What opens this incarnation, until it is said."""
        self._proposals: dict[int, tuple[int, Proposal]] = {}
        """What this node put into the log, by index and with its term, so that it need not be decoded again."""
        self._writes = 0
        self._crowd = 0
        """How many commands the last write carried."""
        self._seen = 0
        """The number of the newest command when the last turn ended, while a write waits for a quiet turn; else 0."""
        self._latest = 0.0
        """When it begins at the latest."""
        self.in_turn = False
        """Whether whoever proposes will call `end_turn` before it returns to the event loop."""
        self._wrote = 0.0
        """When the last write began."""
        self._waiting: deque[tuple[int, Callable[[], None]]] = deque()
        self._deadline_timer: asyncio.TimerHandle | None = None
        self._deadline = 0
        self._applied_index = raft.applied_index
        self._mirroring = False
        self._mirror_timer: asyncio.TimerHandle | None = None
        self._tick_timer: asyncio.TimerHandle | None = None
        self._unmirrored_bytes = 0
        self._memory = QueueMemory()
        self._stopped = False

    @property
    def failed(self) -> bool:
        """Tell whether the node can no longer keep its promises."""
        return self._stopped

    def start(self, sink: EffectSink, first: Command, ready: Callable[[], None]) -> None:
        """Begin: catch up with the log, then open a new incarnation of this node with `first`, its NodeUp.

        `ready` is called when that is applied: from then on the node serves.
        """
        self._sink = sink
        self._first = first
        self._waiting.append((1, ready))
        if self._raft.configuration.voters == (self.name,):
            self._raft.campaign()  # a sole voter has nobody to wait for
        with self._guard():
            self._pump()
        self._tick()

    def _begin_incarnation(self) -> None:
        if self._first is not None:
            known = self.table.nodes.get(self.name)
            self._incarnation = known.incarnation + 1 if known is not None else 1
            first, self._first = self._first, None
            self.propose(first)

    def _tick(self) -> None:
        if not self._stopped:
            self._tick_timer = self._loop.call_later(TICK, self._tick)
            with self._guard():
                self._raft.tick()
                self._pump()

    # -- proposing ----------------------------------------------------------------------------------------------------

    def propose(self, command: Command, size: int = 0) -> None:
        """Bring an urgent command before the table; `size` is about what it weighs, in bytes."""
        self._gather(command, size)
        if not self._urgent:
            self._hurry()

    def propose_lazily(self, command: Command) -> None:
        """Bring a command before the table that nobody waits for."""
        self._gather(command, 0)
        if not self._urgent and self._lazy_timer is None:
            self._lazy_timer = self._loop.call_later(LAZY_DELAY, self._hurry)

    def propose_while_idle(self, command: Command) -> None:
        """Bring a command before the table that can wait as long as there is no job to be had."""
        self._hungry = True
        self.propose_lazily(command)

    def propose_promptly(self, command: Command) -> None:
        """Bring a command before the table that nobody waits for, but whose loss would repeat work.

        It begins a write at once, unless one began within `LAZY_DELAY`: then it waits for company until that is over.
        """
        self._gather(command, 0)
        if self._urgent:
            return
        wait = self._wrote + LAZY_DELAY - self._loop.time()
        if wait <= 0:
            self._hurry()
        elif self._lazy_timer is None:
            self._lazy_timer = self._loop.call_later(wait, self._hurry)

    def when_settled(self, callback: Callable[[], None]) -> None:
        """Call back once everything proposed here so far is applied; at once when it is."""
        if self.applied_number == self.numbered:
            callback()
            return
        self._waiting.append((self.numbered, callback))
        if not self._urgent:
            self._hurry()

    def _gather(self, command: Command, size: int) -> None:
        self.numbered += 1
        self._gathering.append(command)
        self._gathered_bytes += size
        if self._gathered_bytes > MAX_BATCH_BYTES or len(self._gathering) >= MAX_BATCH_COMMANDS:
            self._close_batch()

    def _close_batch(self) -> None:
        self._closed.append(self._gathering)
        self._gathering = []
        self._gathered_bytes = 0

    def _hurry(self) -> None:
        """Begin a write at the end of this turn, or as soon as the one under way is done."""
        self._urgent = True
        if self._writes < MAX_WRITES and not self.in_turn:
            self._turn_end = self._loop.call_soon(self.end_turn)

    def end_turn(self) -> None:
        """See to the write that was asked for in this turn, if none is under way."""
        self.in_turn = False
        if not self._urgent or self._writes >= MAX_WRITES or self._seen:
            return
        if self._crowd < CROWD:
            self._write()
        else:
            self._seen = self.numbered
            self._latest = self._loop.time() + GATHER_TIME
            self._turn_end = self._loop.call_soon(self._end_quiet_turn)

    def _end_quiet_turn(self) -> None:
        """Begin the write once a turn has brought nothing new to it."""
        if self._seen != self.numbered and not self._closed and self._loop.time() < self._latest:
            self._seen = self.numbered
            self._turn_end = self._loop.call_soon(self._end_quiet_turn)
            return
        self._seen = 0
        if self._urgent and self._writes < MAX_WRITES:
            self._write()

    def _write(self) -> None:
        with self._guard():
            self._propose_gathered()
            self._pump()

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        """End the node's service where its table might not be what the others' are."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever it is, going on could break a promise
            self.fail()
            self._on_failure(error)

    def _propose_gathered(self) -> None:
        self._urgent = self._hungry = False
        if self._lazy_timer is not None:
            self._lazy_timer.cancel()
            self._lazy_timer = None
        if self._gathering:
            self._close_batch()
        if self._stopped or not self._closed or self._raft.role is not Role.LEADER:
            return
        self._wrote = self._loop.time()
        closed, self._closed = self._closed[:MAX_WRITE_BATCHES], self._closed[MAX_WRITE_BATCHES:]
        self._crowd = sum(map(len, closed))
        first = self.numbered + 1 - self._crowd - sum(map(len, self._closed))
        now = int(self._clock() * 1000)
        for position, commands in enumerate(closed):
            proposal = propose(now, [Batch(self.name, self._incarnation, first, commands)])
            try:
                where = self._raft.propose(encode_proposal(proposal))
            except RefusedError:
                self._closed = closed[position:] + self._closed
                break
            self._proposals[where.index] = (where.term, proposal)
            first += len(commands)
        if self._closed:
            self._urgent = True

    # -- carrying out what consensus asks for -------------------------------------------------------------------------

    def _pump(self) -> None:
        while not self._stopped and (ready := self._raft.ready()) is not None:
            assert not ready.messages, "a group of one has nobody to talk to"
            assert not ready.snapshots, "a group of one has nobody to send a snapshot to"
            write = ready.write
            if write is not None and not (write.entries or write.hard_state or self._writes):
                self._raft.persisted(write.sequence)  # only where the log begins, which the mirror has written already
            elif write is not None:
                self._writes += 1
                self._disk.append(write.entries, write.hard_state, partial(self._persisted, write.sequence))
            if ready.committed:
                self._apply(ready.committed)
                self._raft.applied(ready.committed[-1].index)
                self._after_applying()

    def _persisted(self, sequence: int) -> None:
        self._writes -= 1
        self.in_turn = True
        with self._guard():
            self._raft.persisted(sequence)
            self._pump()
        self.end_turn()

    def _apply(self, entries: tuple[Entry, ...]) -> None:
        table = self.table
        for entry in entries:
            if entry.kind is EntryKind.COMMANDS:
                term, proposal = self._proposals.pop(entry.index, _UNKNOWN)
                if proposal is None or term != entry.term:
                    proposal = decode_proposal(entry.data)
                effects = table.apply(proposal)
                for batch in proposal.batches:
                    if batch.node == self.name and batch.incarnation == self._incarnation:
                        self.applied_number = batch.first + len(batch.commands) - 1
                # What the log says of past incarnations concerns connections that are no more.
                if effects and self._sink is not None and self._first is None:
                    self._sink.deliver(effects)
            elif entry.kind is EntryKind.BARRIER:
                if entry.term == self._raft.term and self._raft.role is Role.LEADER:
                    self._begin_incarnation()
            elif entry.kind is not EntryKind.CONFIGURATION:  # which is in force in the core since it was appended
                raise UnknownEntryError(f"log entry {entry.index} is of kind {entry.kind}, unknown to this version")
            self._applied_index = entry.index
            self._unmirrored_bytes += len(entry.data)

    def _after_applying(self) -> None:
        waiting = self._waiting
        while waiting and waiting[0][0] <= self.applied_number:
            waiting.popleft()[1]()
        if self._sink is not None:
            self._sink.flush()
        if self._hungry and not self._urgent and any(self.table.waiting.ready):
            self._hurry()
        self._arm_deadline()
        self._see_to_mirror()

    def _see_to_mirror(self) -> None:
        if not self._mirroring:
            if len(self.table.dirty) >= MIRROR_SEGMENTS or self._unmirrored_bytes >= MIRROR_LOG_BYTES:
                self._mirror()
            elif self._mirror_timer is None:
                self._mirror_timer = self._loop.call_later(MIRROR_INTERVAL, self._mirror_in_time)

    # -- time ---------------------------------------------------------------------------------------------------------

    def _arm_deadline(self) -> None:
        """See to it that an entry says what time it is when something in the table is due."""
        due = self.table.next_deadline()
        if due is None or (self._deadline_timer is not None and self._deadline == due):
            return
        if self._deadline_timer is not None:
            self._deadline_timer.cancel()
        self._deadline = due
        # The loop's timers are coarse: one that fires early would write entries until the time has come.
        self._deadline_timer = self._loop.call_later(max(0.0, due / 1000 - self._clock()) + 0.001, self._tell_time)

    def _tell_time(self) -> None:
        self._deadline_timer = None
        if self._stopped:
            return
        if self._writes >= MAX_WRITES:
            self._deadline_timer = self._loop.call_later(LAZY_DELAY, self._tell_time)
            return
        with self._guard():
            try:
                self._raft.propose(encode_proposal(propose(int(self._clock() * 1000), [])))
            except RefusedError:
                self._deadline_timer = self._loop.call_later(TICK, self._tell_time)
            self._pump()

    # -- mirroring ----------------------------------------------------------------------------------------------------

    def _mirror_in_time(self) -> None:
        with self._guard():
            self._mirror()

    def _mirror(self) -> None:
        if self._mirror_timer is not None:
            self._mirror_timer.cancel()
            self._mirror_timer = None
        if self._mirroring or self._stopped:
            return
        self._mirroring = True
        self._unmirrored_bytes = 0
        part = self._mirror_writer.take(self.table)
        standing = self._raft.snapshot_meta(self._applied_index)
        self._disk.mirror(
            Mirror(
                applied_index=standing.index,
                applied_term=standing.term,
                meta=encode_meta(self.name, standing.configuration, part.meta),
                segments=part.segments,
                payloads=part.payloads,
                dropped_payloads=part.dropped_payloads,
                compact_to=standing.index,
            ),
            partial(self._mirrored, standing.index),
        )

    def _mirrored(self, index: int) -> None:
        self._mirroring = False
        if not self._stopped:
            with self._guard():
                self._raft.compact(index)
                self._pump()
                if self._applied_index > index:
                    self._see_to_mirror()
        if self._memory.drained(len(self.table.jobs)):
            self._loop.run_in_executor(None, trim)

    def stop(self) -> None:
        """Mirror the table a last time, so that a restart has nothing to catch up with; accept nothing more."""
        if not self._stopped:
            self._mirroring = False
            self._mirror()
        self.fail()

    def fail(self) -> None:
        """Stop at once: nothing more is proposed, applied or acknowledged."""
        self._stopped = True
        for timer in (self._turn_end, self._lazy_timer, self._deadline_timer, self._mirror_timer, self._tick_timer):
            if timer is not None:
                timer.cancel()
