"""A node's disk: slow, in order, and forgetful in a crash. It outlives the process that writes to it.

The contract with the core is `MemoryStore.write`: writes become durable in order, each whole or not at all. Writes that
wait are joined into one transaction. In a crash some of the writes of the transaction under way are on the disk,
though nobody was told; the next one is torn, which recovery notices and cuts off; the rest is gone. After a failed
write nothing is ever written again by this process.
"""

from collections.abc import Callable
from random import Random

import msgspec

from cluster.jobs import JobTable, MirrorWriter, TableMirror, restore
from cluster.log import Entry
from cluster.raft import DurableState, MemoryStore, SnapshotMeta, Write
from tests.simulation.journal import ViolationError
from tests.simulation.schedule import MS, Schedule


class Image(msgspec.Struct, array_like=True):
    """A state machine on disk, as of `index`; also what a snapshot transfer carries."""

    index: int
    meta: bytes
    segments: dict[int, bytes]
    payloads: dict[int, bytes]


class MirrorWrite(msgspec.Struct):
    """Bring the image on disk up to the table at `index`."""

    index: int
    part: TableMirror


Work = Write | MirrorWrite


class Store(MemoryStore):
    """The log on disk; entries that are asked for may not be at hand at once."""

    def __init__(self, base: SnapshotMeta | None, random: Random, misses: float) -> None:
        super().__init__(base)
        self._random = random
        self._misses = misses

    def entries(self, low: int, high: int, max_bytes: int) -> tuple[Entry, ...]:
        """Answer, or have it fetched first."""
        if self._misses and self._random.random() < self._misses:
            return ()
        return super().entries(low, high, max_bytes)

    def all_entries(self) -> tuple[Entry, ...]:
        """Return the whole log."""
        return tuple(self._entries)


class Disk:
    """One node's disk."""

    def __init__(self, schedule: Schedule, random: Random, base: SnapshotMeta | None, misses: float) -> None:
        """Begin with the log's base, or blank."""
        self._schedule = schedule
        self._random = random
        self.store = Store(base, random, misses)
        self.image = Image(self.store.base.index, b"", {}, {})
        self.incarnation = 0
        self.latency = MS
        """A transaction takes between half of this and one and a half."""
        self.joins = True
        """Whether writes that wait are joined into one transaction."""
        self.fails = False
        self.full = False
        self._waiting: list[tuple[Work, Callable[[Work], None]]] = []
        self._under_way: list[tuple[Work, Callable[[Work], None]]] = []
        self._life = 0
        self.on_failure: Callable[[str], None] = lambda _: None

    def durable_state(self) -> DurableState:
        """What a process finds that starts now."""
        store = self.store
        return DurableState(log=store, hard_state=store.hard_state, base=store.base, applied=self.image.index)

    def load_table(self, audience: str) -> tuple[JobTable, MirrorWriter]:
        """Read the state machine."""
        image = self.image
        return restore(image.meta, sorted(image.segments.items()), sorted(image.payloads.items()), audience)

    def next_incarnation(self) -> int:
        """Give a number that this node never had, durably."""
        self.incarnation += 1
        return self.incarnation

    def submit(self, work: Work, done: Callable[[Work], None]) -> None:
        """Make this durable after everything before it."""
        self._waiting.append((work, done))
        if not self._under_way:
            self._begin()

    def crash(self) -> int:
        """Lose what was not synced; return how many unacknowledged writes are on the disk all the same."""
        self._life += 1
        survivors = 0
        if self._under_way:
            survivors = self._random.randrange(len(self._under_way) + 1)
            for work, _ in self._under_way[:survivors]:
                self._perform(work)
        self._under_way, self._waiting = [], []
        return survivors

    def _begin(self) -> None:
        count = len(self._waiting) if self.joins else 1
        self._under_way, self._waiting = self._waiting[:count], self._waiting[count:]
        duration = int(self.latency * (0.5 + self._random.random()))
        self._schedule.after(duration, self._finish, self._life)

    def _finish(self, life: int) -> None:
        if life != self._life:
            return
        if self.full or self.fails:
            self.fails = False
            self.on_failure("disk full" if self.full else "fsync failed")
            return
        done = self._under_way
        for work, _ in done:
            self._perform(work)
        self._under_way = []
        if self._waiting:
            self._begin()
        for work, callback in done:
            callback(work)

    def _perform(self, work: Work) -> None:
        if isinstance(work, MirrorWrite):
            part, image = work.part, self.image
            for number, data in part.segments:
                if data is None:
                    del image.segments[number]
                else:
                    image.segments[number] = data
            image.payloads.update(part.payloads)
            for number in part.dropped_payloads:
                del image.payloads[number]
            image.index, image.meta = work.index, part.meta
            return
        self.store.write(work)
        if work.snapshot is not None:
            self.image = msgspec.msgpack.decode(self.store.image, type=Image)
            if self.image.index != work.snapshot.index:
                raise ViolationError(f"a snapshot of {work.snapshot.index} holds a table of {self.image.index}")
