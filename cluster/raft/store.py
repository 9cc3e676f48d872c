"""What the core needs of the stored log, and the same in memory.

`LogStore` is read-only: the core changes the disk only through `Write`s, which the driver carries out. The core keeps
every entry that is not both durable and applied in its own window, so a store is asked only for what has been
acknowledged with `Raft.persisted`. `MemoryStore` is the contract as code: what a disk has to do with a `Write`.
"""

from collections.abc import Iterable
from typing import Final, Protocol

from cluster.log import Entry, EntryKind, HardState
from cluster.raft.configuration import SnapshotMeta
from cluster.raft.ready import Write

ENTRY_OVERHEAD: Final = 128
"""About what an entry takes besides its data, in memory or on disk, in bytes."""


class LogStore(Protocol):
    """Read the stored log. Called from `Raft` methods, so every call must be quick."""

    def first_index(self) -> int:
        """Return the index of the first entry; base index + 1 when the log is empty. Asked at the start only."""

    def last_index(self) -> int:
        """Return the index of the last entry; base index when the log is empty. Asked at the start only."""

    def term(self, index: int) -> int:
        """Return the term of the entry at `index`, first <= index <= last. Asked at the start only, seldom."""

    def configurations(self) -> Iterable[Entry]:
        """Return the entries of kind `CONFIGURATION`, in order. Asked at the start only.

        Those before the state machine's position may be left out, if the base has the configuration of there.
        """

    def sizes(self) -> Iterable[tuple[int, int]]:
        """Return how many bytes come up to an index since the one before it, with `ENTRY_OVERHEAD` for each entry.

        In order, the last index among them, as many as the store likes. Asked at the start only.
        """

    def entries(self, low: int, high: int, max_bytes: int) -> tuple[Entry, ...]:
        """Return entries from `low`, before `high`: as many as fit in `max_bytes` of data, at least one.

        Fewer are fine. None at all means "not at hand": the store is fetching them, and the core asks again with a
        later tick or `ready`. Asked for entries that have left the window: for a follower far behind, and after a
        restart.
        """

    def forget(self, index: int) -> None:
        """Hold nothing at hand from `index` on: a write that replaces it is about to be given out."""


class MemoryStore:
    """Keep the durable state in memory: for tests, benchmarks and simulated disks."""

    def __init__(self, base: SnapshotMeta | None = None, hard_state: HardState | None = None) -> None:
        """Start blank, or from `base`."""
        self.base = base or SnapshotMeta()
        self.hard_state = hard_state or HardState()
        self.spool = bytearray()
        """The snapshot being received."""
        self.image = b""
        """The data of the last snapshot installed."""
        self._entries: list[Entry] = []

    def write(self, write: Write) -> None:
        """Carry out one write, as a disk must."""
        if write.hard_state is not None:
            self.hard_state = write.hard_state
        for piece in write.pieces:
            del self.spool[piece.offset :]
            self.spool += piece.data
        if write.snapshot is not None:
            self.base = write.snapshot
            self.image = bytes(self.spool)
            self.spool.clear()
            self._entries.clear()
        if write.entries:
            keep = write.entries[0].index - self.base.index - 1
            if not 0 <= keep <= len(self._entries):
                raise ValueError(f"entries from {write.entries[0].index} leave a hole after {self.last_index()}")
            if keep < len(self._entries):
                del self._entries[keep:]
            self._entries.extend(write.entries)
        if write.compact is not None:
            del self._entries[: write.compact.index - self.base.index]
            self.base = write.compact

    def first_index(self) -> int:
        """Return the index of the first entry, base + 1 when empty."""
        return self.base.index + 1

    def last_index(self) -> int:
        """Return the index of the last entry, base when empty."""
        return self.base.index + len(self._entries)

    def term(self, index: int) -> int:
        """Return the term of an entry."""
        return self._entries[index - self.base.index - 1].term

    def configurations(self) -> tuple[Entry, ...]:
        """Return the configuration entries."""
        return tuple(entry for entry in self._entries if entry.kind == EntryKind.CONFIGURATION)

    def sizes(self) -> Iterable[tuple[int, int]]:
        """Return how many bytes each entry is."""
        return ((entry.index, len(entry.data) + ENTRY_OVERHEAD) for entry in self._entries)

    def entries(self, low: int, high: int, max_bytes: int) -> tuple[Entry, ...]:
        """Return entries from `low`, before `high`, within `max_bytes` of data, at least one."""
        offset = self.base.index + 1
        taken: list[Entry] = []
        size = 0
        for entry in self._entries[low - offset : high - offset]:
            size += len(entry.data)
            if taken and size > max_bytes:
                break
            taken.append(entry)
        return tuple(taken)

    def forget(self, index: int) -> None:
        """Hold nothing at hand: what was written is all there is."""
