"""One driver among nodes that are not there: who leads is said by the test, and what is sent is kept."""

from collections.abc import Callable, Sequence

from cluster.jobs import (
    Batch,
    Command,
    Decision,
    Effect,
    JobTable,
    MirrorWriter,
    NodeUp,
    encode_proposal,
    propose,
)
from cluster.log import Entry, EntryKind
from cluster.raft import Configuration, DurableState, MemoryStore, Message, Raft, RaftConfig, bootstrap
from cluster.raft.configuration import encode_configuration
from cluster.raft.messages import Append, AppendAck, PreVoteReply, VoteReply, VoteRequest
from node.driver import Driver
from tests.node.stillness import EPOCH, NODE_TIMEOUT, StillDisk, StillLoop


class Sink:
    """An `EffectSink` that remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self.effects: list[Effect] = []

    def deliver(self, effects: list[Effect]) -> None:
        self.effects += effects

    def begin(self, incarnation: int) -> None:
        self.told.append(incarnation)

    def hang_up(self) -> None:
        self.told.append("hang up")

    def break_off(self) -> None:
        self.told.append("break off")

    def flush(self) -> None: ...
    def complete(self, commands: Sequence[Command]) -> None: ...
    def tick(self) -> None: ...


class Notebook(StillDisk):
    """A disk whose notes may take their time."""

    def __init__(self, loop: StillLoop, store: MemoryStore) -> None:
        super().__init__(loop, store)
        self.slow = False
        self.noting: list[Callable[[], None]] = []

    def note(self, key: str, value: bytes, done: Callable[[], None]) -> None:
        if self.slow:
            self.notes[key] = value
            self.noting.append(done)
        else:
            super().note(key, value, done)


class Lonely:
    """Node `a` of the group `a`, `b`, `c`."""

    def __init__(self, *, slow: bool = False, incarnation: int = 0) -> None:
        self.loop = StillLoop()
        base = bootstrap("a", "b", "c")
        self.disk = Notebook(self.loop, MemoryStore(base))
        self.disk.slow = slow
        self.raft = Raft(
            RaftConfig(id="a", randrange=lambda n: n - 1), DurableState(log=self.disk.store, base=base, applied=1)
        )
        self.table = JobTable("a")
        self.sink = Sink()
        self.sent: list[Message] = []
        self.forwarded: list[tuple[str, list[Batch]]] = []
        self.serving: list[bool] = []
        self.failures: list[Exception] = []
        self.driver = Driver(
            name="a",
            incarnation=incarnation,
            first=NodeUp(b"H:a", -1),
            table=self.table,
            mirror_writer=MirrorWriter(),
            raft=self.raft,
            disk=self.disk,  # type: ignore[arg-type]
            peers=self,
            loop=self.loop,
            offload=lambda work, done, failed: done(work()),
            clock=lambda: EPOCH + self.loop.now,
            node_timeout=NODE_TIMEOUT,
            on_serving=self.serving.append,
            on_failure=self.failures.append,
        )
        self.term = 1
        self.index = 1
        """The end of the leader's log."""
        self.previous = 1
        """The term there."""
        self.leader = ""
        self.driver.start(self.sink)
        self.loop.settle()

    # `Peers`

    def send(self, message: Message) -> None:
        self.sent.append(message)

    def forward(self, leader: str, batches: list[Batch]) -> bool:
        self.forwarded.append((leader, list(batches)))
        return True

    def busy(self, node: str) -> bool:
        return False

    # What a test does

    def follow(self, leader: str) -> None:
        """Let somebody lead in the next term, with an entry of it."""
        self.leader = leader
        self.term += 1
        self.append(leader, [Entry(self.index + 1, self.term, EntryKind.BARRIER, b"")])

    def append(self, leader: str, entries: list[Entry], *, commit: bool = True) -> None:
        """Let the leader append entries, and commit them."""
        prev, prev_term = self.index, self.previous
        self.index += len(entries)
        if entries:
            self.previous = entries[-1].term
        self.driver.receive(
            Append("a", leader, self.term, prev, prev_term, tuple(entries), self.index if commit else prev)
        )
        self.loop.settle()

    def enter(self, leader: str, *batches: Batch, decisions: Sequence[Decision] = (), time: int = 1) -> None:
        """Let the leader put batches, and decisions of its own, into the log, and commit them."""
        data = encode_proposal(propose(time, list(batches), decisions))
        self.append(leader, [Entry(self.index + 1, self.term, EntryKind.COMMANDS, data)])

    def configure(self, leader: str, configuration: Configuration, *, commit: bool = True) -> None:
        """Let the leader put a configuration into the log."""
        data = encode_configuration(configuration)
        self.append(leader, [Entry(self.index + 1, self.term, EntryKind.CONFIGURATION, data)], commit=commit)

    def hear(self) -> None:
        """Let the last leader be heard."""
        self.append(self.leader, [])

    def serve(self, leader: str = "b") -> None:
        """Let somebody lead and take in everything this node says."""
        self.follow(leader)
        self.take_in(leader)

    def take_in(self, leader: str = "b") -> None:
        """Let the leader put into the log what this node forwarded."""
        for _, batches in self.take_forwarded():
            self.enter(leader, *batches)

    def take_forwarded(self) -> list[tuple[str, list[Batch]]]:
        """Give what was sent to leaders since the last time."""
        forwarded, self.forwarded = self.forwarded, []
        return forwarded

    def lead(self) -> None:
        """Let this node be elected."""
        self.raft.campaign()
        for pre in (True, False):
            self.driver._pump_soon()
            self.loop.settle()
            if pre:
                self.driver.receive(PreVoteReply("a", "b", self.raft.term + 1, granted=True))
            else:
                assert any(isinstance(message, VoteRequest) for message in self.sent)
                self.driver.receive(VoteReply("a", "b", self.raft.term, granted=True))
            self.loop.settle()
        assert self.driver.leads
        self.term = self.raft.term

    def acknowledge(self) -> None:
        """Let another node have all of this leader's log."""
        for _ in range(3):
            self.driver.receive(AppendAck("a", "b", self.raft.term, self.raft.last_index))
            self.loop.settle()

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.loop.advance(seconds)
