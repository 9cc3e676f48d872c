"""The driver of a simulated node: ties consensus, disk and job table together, and the nodes' commands to the leader.

Commands of a moment are numbered and become a batch; the batch goes to the leader, which puts the batches of all nodes
into one entry. A batch is kept until it is applied, and sent again, in order, when another node leads or no answer
comes: the table passes over what it has seen. Not for: connections (`gateway`), faults (`machine`).
"""

import contextlib
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from cluster.jobs import (
    Batch,
    Command,
    Finish,
    JobTable,
    MirrorWriter,
    NodeDown,
    NodeUp,
    decode_proposal,
    encode_proposal,
    propose,
)
from cluster.log import Entry, EntryKind
from cluster.raft import (
    CloseSnapshot,
    Message,
    OpenSnapshot,
    Raft,
    ReadSnapshot,
    RefusedError,
    Role,
    SnapshotRequest,
    Write,
)
from tests.simulation.disk import MirrorWrite, Work
from tests.simulation.gateway import Gateway
from tests.simulation.schedule import MS, SECOND

RESEND: Final = 1 * SECOND
"""A batch that is not applied after this long is sent again."""
NODE_TIMEOUT: Final = 4 * SECOND
"""The leader declares a node down that it has not heard for this long."""


class Forward(msgspec.Struct, frozen=True):
    """A node's batches on their way to the leader."""

    sender: str
    batches: tuple[Batch, ...]


class Surroundings(Protocol):
    """What a driver needs of the machine it runs on."""

    name: str

    def now(self) -> int: ...
    def wall(self) -> int: ...
    def later(self, delay: int, action: Callable[..., None], *arguments: object) -> None: ...
    def send(self, to: str, message: object) -> None: ...
    def write(self, work: Work) -> None: ...
    def reload(self) -> tuple[JobTable, MirrorWriter]: ...
    def snapshot(self) -> tuple[int, bytes]: ...
    def new_incarnation(self) -> int: ...
    def point(self) -> None:
        """Be at a place where a crash is interesting."""


class Settings(msgspec.Struct, frozen=True):
    """How the drivers of a run behave."""

    batch_delay: int = 2 * MS
    gathers: bool = True
    """Whether the leader lets batches gather while a write of its own is under way."""
    apply_delay: int = 0
    mirror_every: int = 40
    """Entries between two mirrors."""
    keep: int = 10
    """Entries kept before the mirror."""
    retries: int = -1


class Driver:
    """One process's life."""

    def __init__(
        self, machine: Surroundings, raft: Raft, settings: Settings, gateway: Gateway, observer: "Observer"
    ) -> None:
        self._machine = machine
        self._name = machine.name
        self.raft = raft
        self._settings = settings
        self.gateway = gateway
        self._observer = observer
        self.table, self._mirror_writer = machine.reload()
        self.applied = self._mirrored = raft.applied_index
        self.incarnation = 0
        self._numbered = 0
        self._gathering: list[Command] = []
        self._unapplied: deque[Batch] = deque()
        self._sent = 0
        self._offered: list[Batch] = []
        self._standing = (0, "")
        self._heard: dict[str, int] = {}
        self._declared: dict[str, int] = {}
        self._time_told = -SECOND
        self._led = machine.now()
        """When a leader was last known."""
        self._writes = 0
        self._installing = False
        self._mirroring = False
        self._to_apply: deque[Entry] = deque()
        self._applying = False
        self._streams: dict[int, tuple[bytes, int]] = {}
        self._reads: dict[int, Callable[[int | None], None]] = {}
        self._read_number = 0
        self._confirmed: list[tuple[int, Callable[[int | None], None]]] = []
        self.begin_incarnation()

    # Commands on their way to the leader

    def begin_incarnation(self) -> None:
        """Become a new incarnation of this node: what the one before had under way is void, and its sessions end."""
        self.gateway.reset()
        self.incarnation = self._machine.new_incarnation()
        self._numbered = 0
        self._gathering = []
        self._unapplied.clear()
        self.propose(NodeUp(b"H:" + self._name.encode(), self._settings.retries))

    def propose(self, command: Command) -> None:
        """Bring a command before the table."""
        if not self._gathering:
            self._machine.later(self._settings.batch_delay, self._end_batch)
        self._gathering.append(command)

    @property
    def idle(self) -> bool:
        """Tell whether everything proposed here is applied."""
        return not self._gathering and not self._unapplied

    def _end_batch(self) -> None:
        if self._gathering:
            batch = Batch(self._name, self.incarnation, self._numbered + 1, self._gathering)
            self._numbered += len(self._gathering)
            self._gathering = []
            self._unapplied.append(batch)
            self._forward((batch,))

    def _forward(self, batches: tuple[Batch, ...]) -> None:
        leader = self.raft.leader
        self._sent = self._machine.now()
        if leader == self._name:
            self._offered.extend(batches)
        elif leader:
            self._machine.send(leader, Forward(self._name, batches))

    def _settle(self) -> None:
        """Let go of what is applied; notice when the group thinks this node is gone."""
        node = self.table.nodes.get(self._name)
        if node is None or node.incarnation != self.incarnation:
            return
        unapplied = self._unapplied
        while unapplied and unapplied[0].first + len(unapplied[0].commands) - 1 <= node.last:
            unapplied.popleft()
        if not node.up:
            self.begin_incarnation()

    # What happens

    def receive(self, message: object) -> None:
        """Take a message from another node."""
        if isinstance(message, Forward):
            if self.raft.role is Role.LEADER:
                self._offered.extend(message.batches)
        elif isinstance(message, Message):
            self._heard[message.sender] = self._machine.now()
            self.raft.step(message)
        else:
            self.gateway.receive(message)

    def tick(self) -> None:
        """Let a tick pass."""
        self.raft.tick()
        now = self._machine.now()
        if self._unapplied and now - self._sent >= RESEND:
            self._forward(tuple(self._unapplied))
        if self.raft.leader:
            self._led = now
        elif now - self._led > NODE_TIMEOUT and self.gateway.connections:
            self.gateway.hang_up()
        if self.raft.role is Role.LEADER:
            self._declare_nodes_down(now)
            self._tell_time(now)
        self.gateway.tick()

    def persisted(self, work: Work) -> None:
        """Go on after a write."""
        if isinstance(work, MirrorWrite):
            self._mirroring = False
            if not self._installing and work.index > self._settings.keep:
                self.raft.compact(work.index - self._settings.keep)
            return
        self._writes -= 1
        if work.snapshot is not None:
            self.table, self._mirror_writer = self._machine.reload()
            self.applied = self._mirrored = work.snapshot.index
            self._installing = False
            self._observer.installed(self._name, self.table, self.applied)
            # What happened to this node's own sessions meanwhile is not known here, so they cannot go on.
            self.begin_incarnation()
        self.raft.persisted(work.sequence)

    def read(self, answer: Callable[[int | None], None]) -> None:
        """Ask for a linearizable read; `answer` is called with the index of the table then, or with None."""
        self._read_number += 1
        number = self._read_number
        try:
            self.raft.read_index(number)
        except RefusedError:
            answer(None)
        else:
            self._reads[number] = answer

    @property
    def reads_waiting(self) -> int:
        """How many reads have no answer yet."""
        return len(self._reads) + len(self._confirmed)

    def _declare_nodes_down(self, now: int) -> None:
        members = self.raft.configuration.members
        for node in self.table.nodes.values():
            if not node.up or node.name == self._name or self._declared.get(node.name) == node.incarnation:
                continue
            # A node that was removed may go on talking for ever, but it is no part of the group any more.
            if node.name not in members or now - self._heard.setdefault(node.name, now) > NODE_TIMEOUT:
                self._declared[node.name] = node.incarnation
                self.propose(NodeDown(node.name, node.incarnation))

    def _tell_time(self, now: int) -> None:
        due = self.table.next_deadline()
        if due is not None and due <= self._machine.wall() and now - self._time_told > SECOND // 2:
            self._time_told = now
            self._enter([])

    def _enter(self, batches: list[Batch]) -> None:
        with contextlib.suppress(RefusedError):  # the nodes will send them again
            self.raft.propose(encode_proposal(propose(self._machine.wall(), batches)))

    # What consensus asks for

    def pump(self) -> None:
        """Carry out everything there is to do."""
        machine, observer = self._machine, self._observer
        while True:
            if self._offered and not (self._settings.gathers and self._writes):
                offered, self._offered = self._offered, []
                self._enter(offered)
            ready = self.raft.ready()
            if ready is None:
                return
            observer.bundle(self.raft, ready)
            machine.point()
            for message in ready.messages:
                machine.send(message.to, message)
                machine.point()
            if ready.write is not None:
                self._write(ready.write)
                machine.point()
            if ready.committed:
                self._to_apply.extend(ready.committed)
                if not self._settings.apply_delay:
                    self._apply(len(self._to_apply))
                elif not self._applying:
                    self._applying = True
                    machine.later(self._settings.apply_delay, self._apply_some)
            for read in ready.reads:
                answer = self._reads.pop(read.context)
                if read.index is None:
                    answer(None)
                else:
                    self._confirmed.append((read.index, answer))
            if self._confirmed:
                self._answer_reads()
            for request in ready.snapshots:
                self._serve(request)
            standing = (self.raft.term, self.raft.leader)
            if standing != self._standing:
                self._standing = standing
                self._heard.clear()
                self._declared.clear()
                self._offered.clear()
                if self._unapplied:
                    self._forward(tuple(self._unapplied))

    def _write(self, write: Write) -> None:
        self._writes += 1
        if write.snapshot is not None:
            self._installing = True
            self._to_apply.clear()
        self._machine.write(write)

    def _apply_some(self) -> None:
        self._applying = False
        if self._to_apply and not self._installing:
            self._apply(1 + len(self._to_apply) // 2)
            if self._to_apply:
                self._applying = True
                self._machine.later(self._settings.apply_delay, self._apply_some)

    def _apply(self, count: int) -> None:
        table, gateway, observer = self.table, self.gateway, self._observer
        for _ in range(count):
            entry = self._to_apply.popleft()
            effects = []
            if entry.kind is EntryKind.COMMANDS:
                proposal = decode_proposal(entry.data)
                effects = table.apply(proposal)
            self.applied = entry.index
            observer.applied(self._name, entry, table)
            if effects and table.nodes[self._name].incarnation == self.incarnation:
                gateway.deliver(effects, entry.index)
            if entry.kind is EntryKind.COMMANDS:
                for batch in proposal.batches:
                    for command in batch.commands:
                        if type(command) is Finish:
                            gateway.finished(batch.node, batch.incarnation, command.job)
            self._machine.point()
        self._settle()
        self.raft.applied(self.applied)
        if self._confirmed:
            self._answer_reads()
        if not self._mirroring and self.applied - self._mirrored >= self._settings.mirror_every:
            self._mirroring = True
            self._mirrored = self.applied
            self._machine.write(MirrorWrite(self.applied, self._mirror_writer.take(table)))

    def _answer_reads(self) -> None:
        waiting = []
        for index, answer in self._confirmed:
            if index <= self.applied:
                answer(self.applied)
            else:
                waiting.append((index, answer))
        self._confirmed = waiting

    def _serve(self, request: SnapshotRequest) -> None:
        """Read a snapshot for a peer: from the disk, which takes its time."""
        if isinstance(request, CloseSnapshot):
            self._streams.pop(request.stream, None)
        elif isinstance(request, OpenSnapshot | ReadSnapshot):
            self._machine.later(2 * MS, self._read_snapshot, request)

    def _read_snapshot(self, request: OpenSnapshot | ReadSnapshot) -> None:
        number = request.stream
        if isinstance(request, OpenSnapshot):
            index, data = self._machine.snapshot()
            try:
                self.raft.snapshot_opened(number, index)
            except RefusedError:
                self.raft.snapshot_failed(number)
            else:
                self._streams[number] = (data, 0)
        elif number in self._streams:
            data, offset = self._streams[number]
            piece = data[offset : offset + request.size]
            offset += len(piece)
            self._streams[number] = (data, offset)
            self.raft.snapshot_data(number, piece, done=offset == len(data))


class Observer(Protocol):
    """Who watches every step, to find fault with it."""

    def bundle(self, raft: Raft, ready: object) -> None: ...
    def applied(self, name: str, entry: Entry, table: JobTable) -> None: ...
    def installed(self, name: str, table: JobTable, index: int) -> None: ...
