"""Several nodes' insides on one still loop: real consensus, tables, drivers, gateways; a network that obeys the test.

A message arrives in the turn after it was sent, unless its way is cut. Not for: disks that lose something, snapshots.
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from cluster.jobs import Batch, JobTable, MirrorWriter, NodeUp
from cluster.raft import DurableState, MemoryStore, Message, Raft, RaftConfig, bootstrap, decode, encode
from node.configuration import Configuration
from node.driver import Driver
from node.gateway import Gateway
from node.relay import Parcel
from tests.node.stillness import EPOCH, NODE_TIMEOUT, Peer, StillDisk, StillLoop

_batches = msgspec.msgpack.Decoder(list[Batch])
_parcel = msgspec.msgpack.Decoder(Parcel)


class Member:
    """One node."""

    def __init__(self, cluster: "StillCluster", name: str, base, incarnation: int, store: MemoryStore) -> None:
        self.cluster = cluster
        self.name = name
        self.process = f"{name}-{incarnation}"
        self.loop = cluster.loop
        self.store = store
        self.disk = StillDisk(self.loop, store)
        self.table = JobTable(name)
        self.serving = False
        self.failures: list[Exception] = []
        self.raft = Raft(
            RaftConfig(id=name, randrange=cluster.randrange),
            DurableState(log=store, base=base, hard_state=store.hard_state, applied=base.index),
        )
        with self.loop.running():
            self.driver = Driver(
                name=name,
                incarnation=incarnation,
                first=NodeUp(b"H:" + name.encode(), -1, process=self.process),
                table=self.table,
                mirror_writer=MirrorWriter(),
                raft=self.raft,
                disk=self.disk,  # type: ignore[arg-type]
                peers=self,
                loop=self.loop,
                offload=lambda work, done, failed: done(work()),
                clock=lambda: EPOCH + self.loop.now,
                node_timeout=NODE_TIMEOUT,
                on_serving=self._serves,
                on_failure=self.failures.append,
            )
            self.gateway = Gateway(Configuration(name=name, data_dir=Path("/nowhere")), self.driver, self.parcel)
            self.driver.start(self.gateway)

    def _serves(self, serving: bool) -> None:  # noqa: FBT001 - as the driver calls it
        self.serving = serving

    # What the driver and the gateway say to other nodes

    def send(self, message: Message) -> None:
        self.cluster.carry(self.name, message.to, lambda to: to.driver.receive(decode(encode(message))))

    def forward(self, leader: str, batches: list[Batch]) -> bool:
        data = msgspec.msgpack.encode(list(batches))
        return self.cluster.carry(
            self.name, leader, lambda to: to.driver.offer(self.name, [(batch, 1) for batch in _batches.decode(data)])
        )

    def busy(self, node: str) -> bool:
        return False

    def parcel(self, node: str, parcel: Parcel) -> bool:
        data = msgspec.msgpack.encode(parcel)

        def arrive(to: "Member") -> None:
            to.gateway.relay.received(self.name, _parcel.decode(data))
            to.gateway.relay.flush()

        return self.cluster.carry(self.name, node, arrive)

    # What a test does

    def peer(self) -> Peer:
        """Connect."""
        return Peer(self)  # type: ignore[arg-type]

    @property
    def leads(self) -> bool:
        return self.driver.leads


class StillCluster:
    """Nodes a, b, c ... of one group, all of them first members."""

    def __init__(self, size: int = 3) -> None:
        self.loop = StillLoop()
        self.names = [chr(ord("a") + number) for number in range(size)]
        self.base = bootstrap(*self.names)
        self.cuts: set[tuple[str, str]] = set()
        self.members: dict[str, Member] = {}
        self._draws = 0
        self._incarnations: dict[str, int] = {}
        for name in self.names:
            self._start(name, MemoryStore(self.base))
        self.settle_down()

    def randrange(self, below: int) -> int:
        """Give the first node a short election timeout, and the others longer ones, always in the same way."""
        self._draws += 1
        return (self._draws * 3) % below

    def _start(self, name: str, store: MemoryStore) -> None:
        self.members[name] = Member(self, name, self.base, self._incarnations.get(name, 0), store)

    def __getitem__(self, name: str) -> Member:
        return self.members[name]

    def __iter__(self) -> Iterator[Member]:
        return iter(self.members.values())

    def carry(self, sender: str, to: str, arrive) -> bool:
        if (sender, to) in self.cuts or to not in self.members or sender not in self.members:
            return False
        self.loop.call_soon(self._arrive, sender, to, arrive)
        return True

    def _arrive(self, sender: str, to: str, arrive) -> None:
        if (sender, to) not in self.cuts and to in self.members:
            arrive(self.members[to])

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        with self.loop.running():
            self.loop.advance(seconds)

    def settle(self) -> None:
        self.wait(0.02)

    def settle_down(self) -> None:
        """Let time pass until everybody serves."""
        for _ in range(100):
            self.wait(0.1)
            if all(member.serving for member in self):
                return
        raise AssertionError({member.name: (member.serving, member.raft.role, member.failures) for member in self})

    @property
    def leader(self) -> Member:
        (leader,) = [member for member in self if member.leads]
        return leader

    @property
    def followers(self) -> list[Member]:
        return [member for member in self if not member.leads]

    def cut(self, *names: str) -> None:
        """Let nothing pass between these nodes and the others."""
        for one in names:
            for other in self.names:
                if other not in names:
                    self.cuts |= {(one, other), (other, one)}

    def heal(self) -> None:
        """Let everything pass; links come back."""
        healed, self.cuts = self.cuts, set()
        for one, other in healed:
            if one in self.members and other in self.members:
                self._link(self.members[one], other)

    def _link(self, member: Member, other: str) -> None:
        member.driver.linked(other)
        member.gateway.relay.linked(other)

    def kill(self, name: str) -> Member:
        """End a node's process; its peers notice at once."""
        member = self.members.pop(name)
        member.driver.fail()
        self._incarnations[name] = int(member.disk.notes.get("incarnation", b"0"))
        for other in self:
            other.driver.ended(name, member.process, goodbye=False)
        return member

    def restart(self, dead: Member) -> Member:
        """Start it again, with what is on its disk."""
        self._start(dead.name, dead.store)
        for other in list(self):
            if other.name != dead.name:
                self._link(other, dead.name)
                self._link(self.members[dead.name], other.name)
        return self.members[dead.name]
