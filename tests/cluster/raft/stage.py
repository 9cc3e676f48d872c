"""A group of nodes on a stage: every message and every write waits for its cue.

Nothing happens by itself. Bundles are taken after every event; messages wait in `network` until delivered, writes go
to the disk at once unless the disk is held, committed entries are applied at once. After every event the safety
properties of Raft (paper, Figure 3) are checked for the whole group."""

import itertools
from collections import deque

import msgspec

from cluster.log import Entry, EntryKind, HardState
from cluster.raft import (
    CloseSnapshot,
    DurableState,
    MemoryStore,
    Message,
    OpenSnapshot,
    Raft,
    RaftConfig,
    RaftInvariantError,
    ReadSnapshot,
    ReadState,
    Ready,
    Role,
    SnapshotMeta,
    UnknownEntryError,
    Write,
    bootstrap,
    decode,
    encode,
)
from cluster.raft.errors import RaftError
from cluster.raft.messages import (
    AppendAck,
    PreVoteReply,
    PreVoteRequest,
    SnapshotAck,
    SnapshotState,
    VoteReply,
    VoteRequest,
)

_nonces = itertools.count(1)


class Disk(MemoryStore):
    """A disk that keeps the state machine's durable mirror too, and can be held: then writes wait."""

    def __init__(self, base: SnapshotMeta | None = None, hard_state: HardState | None = None) -> None:
        super().__init__(base, hard_state)
        self.held = False
        self.waiting: deque[Write] = deque()
        self.mirror: tuple[int, list[str]] = (self.base.index, [])
        self.writes: list[Write] = []
        """All that became durable, in order."""

    def write(self, write: Write) -> None:
        super().write(write)
        self.writes.append(write)
        if write.snapshot is not None:
            index, items = msgspec.msgpack.decode(self.image, type=tuple[int, list[str]])
            assert index == write.snapshot.index
            self.mirror = (index, items)


class Actor:
    """One node with its disk and its state machine (the list of the commands applied)."""

    def __init__(self, group: "Group", name: str, disk: Disk) -> None:
        self.group = group
        self.name = name
        self.disk = disk
        self.items: list[str] = []
        self.applied = 0
        self.raft: Raft | None = None
        self.stopped: RaftError | None = None
        self.reads: dict[int, int | None] = {}
        self.streams: dict[int, bytes] = {}
        self.apply_held = False
        self.bundles: list[Ready] = []

    def start(self) -> None:
        self.applied, self.items = self.disk.mirror[0], list(self.disk.mirror[1])
        election_ticks = self.group.settings.get("election_ticks", 10)

        # Every election timeout is two ticks above the least: between the two a node no longer hears the leader, and
        # does not campaign yet.
        def randrange(bound: int) -> int:
            return 2 if bound == election_ticks else next(_nonces) % bound

        config = RaftConfig(id=self.name, randrange=randrange, **self.group.settings)
        self.stopped = None
        self.reads = {}
        self.streams = {}
        self.raft = Raft(
            config,
            DurableState(
                log=self.disk, hard_state=self.disk.hard_state, base=self.disk.base, applied=self.disk.mirror[0]
            ),
        )

    def crash(self) -> None:
        self.raft = None
        self.disk.waiting.clear()
        self.disk.held = False

    @property
    def core(self) -> Raft:
        assert self.raft is not None, f"{self.name} is down"
        return self.raft

    def pump(self) -> None:
        while self.raft is not None and (ready := self.raft.ready()) is not None:
            self.bundles.append(ready)
            for message in ready.messages:
                self.check_promise(message)
            self.group.network.extend(message for message in ready.messages if self.group.accepts(message))
            if ready.write is not None:
                self.disk.waiting.append(ready.write)
                if not self.disk.held:
                    self.persist()
            for entry in ready.committed:
                self.apply(entry)
            if ready.committed and not self.apply_held:
                self.raft.applied(ready.committed[-1].index)
            for read in ready.reads:
                self.take_read(read)
            for request in ready.snapshots:
                self.serve(request)

    def check_promise(self, message: Message) -> None:
        """Nothing may leave that promises more than the disk has."""
        disk = self.disk
        term = max(disk.hard_state.term, disk.base.term)
        if isinstance(message, AppendAck):
            match = message.match
            assert match <= disk.last_index(), f"{self.name} acknowledges {match}, its disk ends at {disk.last_index()}"
            assert (
                match <= disk.base.index
                or disk.term(match) == self.core.entry_term(match)
                or (match < self.core.first_index - 1)
            ), f"{self.name} acknowledges {match}, its disk has another entry there"
        elif isinstance(message, VoteRequest) or (isinstance(message, VoteReply) and message.granted):
            vote = self.name if isinstance(message, VoteRequest) else message.to
            assert disk.hard_state == HardState(message.term, vote), (
                f"{self.name} promises {message} with {disk.hard_state}"
            )
        elif isinstance(message, SnapshotAck) and message.state is SnapshotState.INSTALLED:
            assert disk.base.index >= self.core.first_index - 1 or disk.last_index() >= self.core.applied_index
        if not isinstance(message, PreVoteRequest | PreVoteReply):
            assert message.term <= term, f"{self.name} speaks of a term that is not on its disk: {message}"

    def persist(self, count: int | None = None) -> None:
        """Let writes that wait (the first `count` of them) become durable."""
        while self.disk.waiting and (count is None or count > 0):
            write = self.disk.waiting.popleft()
            self.disk.write(write)
            if write.snapshot is not None:
                self.applied, self.items = self.disk.mirror[0], list(self.disk.mirror[1])
            self.core.persisted(write.sequence)
            count = None if count is None else count - 1

    def apply(self, entry: Entry) -> None:
        assert entry.index == self.applied + 1, f"{self.name} applies {entry.index} after {self.applied}"
        on_its_way = max((e.index for write in self.disk.waiting for e in write.entries), default=0)
        assert entry.index <= max(self.disk.last_index(), on_its_way), f"{self.name} applies {entry.index} unwritten"
        self.applied = entry.index
        self.group.committed(self.name, entry)
        if entry.kind == EntryKind.COMMANDS:
            self.items.append(entry.data.decode())

    def take_read(self, read: ReadState) -> None:
        assert read.context not in self.reads, "answered twice"
        self.reads[read.context] = read.index

    def serve(self, request: OpenSnapshot | ReadSnapshot | CloseSnapshot) -> None:
        match request:
            case OpenSnapshot(stream):
                self.streams[stream] = msgspec.msgpack.encode((self.applied, self.items))
                self.core.snapshot_opened(stream, self.applied)
            case ReadSnapshot(stream, size):
                data, self.streams[stream] = self.streams[stream][:size], self.streams[stream][size:]
                self.core.snapshot_data(stream, data, done=not self.streams[stream])
            case CloseSnapshot(stream):
                del self.streams[stream]

    def compact(self, index: int) -> None:
        self.persist()  # a copy of the state machine is in order with the writes
        self.disk.mirror = (self.applied, list(self.items))
        self.core.compact(index)


class Group:
    """All nodes, and the network between them."""

    def __init__(self, *names: str, joining: tuple[str, ...] = (), **settings: int) -> None:
        # Nothing of the log is kept for those that lag, unless a test is about that: others want to see snapshots.
        self.settings = {"kept_ticks": 0, **settings}
        self.network: list[Message] = []
        self.cut: set[tuple[str, str]] = set()
        self.actors: dict[str, Actor] = {}
        self.log: dict[int, Entry] = {}
        """Every entry any node has applied, by index: what the group has agreed on."""
        self.commit_terms: dict[int, int] = {}
        """The term that the node was in which first applied it: every leader of a later term must have the entry."""
        self.leaders: dict[int, str] = {}
        self.hard_states: dict[str, HardState] = {}
        for name in names:
            self.add(name, Disk(bootstrap(*names)))
        for name in joining:
            self.add(name, Disk())

    def add(self, name: str, disk: Disk) -> Actor:
        actor = self.actors[name] = Actor(self, name, disk)
        actor.start()
        self.settle()
        return actor

    def __getitem__(self, name: str) -> Raft:
        return self.actors[name].core

    def accepts(self, message: Message) -> bool:
        return (message.sender, message.to) not in self.cut

    def settle(self) -> None:
        """Take every bundle there is, and check."""
        for actor in self.actors.values():
            try:
                actor.pump()
            except (RaftInvariantError, UnknownEntryError) as error:
                self.stop(actor, error)
        self.check()

    def stop(self, actor: Actor, error: RaftError) -> None:
        actor.crash()
        actor.stopped = error

    def deliver_one(self, message: Message) -> None:
        actor = self.actors.get(message.to)
        if actor is None or actor.raft is None:
            return
        try:
            actor.raft.step(decode(encode(message)))
        except (RaftInvariantError, UnknownEntryError) as error:
            self.stop(actor, error)
        self.settle()

    def deliver(self, *pairs: tuple[str, str]) -> None:
        """Deliver what waits between `pairs`; without pairs everything, until nobody has anything to say."""
        for _ in range(10_000):
            chosen = [m for m in self.network if not pairs or (m.sender, m.to) in pairs]
            if not chosen:
                return
            self.network = [m for m in self.network if m not in chosen] if pairs else []
            for message in chosen:
                self.deliver_one(message)
            if pairs:
                return
        raise AssertionError("the nodes never stop talking")

    def drop(self, *pairs: tuple[str, str]) -> None:
        """Lose what waits between `pairs`, or everything."""
        self.network = [m for m in self.network if pairs and (m.sender, m.to) not in pairs]

    def tick(self, name: str, count: int = 1) -> None:
        for _ in range(count):
            self[name].tick()
            self.settle()

    def elect(self, name: str) -> None:
        self[name].campaign()
        self.settle()
        self.deliver()
        assert self[name].role is Role.LEADER

    def propose(self, name: str, *items: str) -> None:
        for item in items:
            self[name].propose(item.encode())
        self.settle()

    def restart(self, name: str) -> None:
        actor = self.actors[name]
        actor.crash()
        actor.start()
        self.settle()

    # Safety

    def committed(self, name: str, entry: Entry) -> None:
        known = self.log.setdefault(entry.index, entry)
        self.commit_terms.setdefault(entry.index, self[name].term)
        assert known == entry, f"state machine safety: {name} applies {entry}, another has applied {known}"

    def check(self) -> None:
        for name, actor in self.actors.items():
            core = actor.raft
            if core is None:
                continue
            if core.role is Role.LEADER:
                leader = self.leaders.setdefault(core.term, name)
                assert leader == name, f"election safety: {leader} and {name} lead in term {core.term}"
                for index, term in self.commit_terms.items():
                    if core.term > term and index >= core.first_index:
                        assert core.entry_term(index) == self.log[index].term, f"leader completeness: {name}, {index}"
            assert core.applied_index <= core.commit <= core.last_index
            assert core.stable_index <= core.last_index
            before = self.hard_states.get(name, HardState())
            now = actor.disk.hard_state
            assert now.term >= before.term, f"{name} went back from term {before.term} to {now.term}"
            assert now.term > before.term or before.vote in {"", now.vote}, f"{name} voted twice in term {now.term}"
            self.hard_states[name] = now
