"""The log on disk as consensus reads it: at the start what is not applied from memory, later what is asked for.

Much of the log may be there for others only: of that consensus is told an outline, which does not take the memory that
its entries would. Consensus keeps what is recent itself. It asks here for what a follower far behind needs; the storage
thread reads it, and the answer is "not at hand" until it has. Not for: writing.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import Final

from cluster.log import Entry, EntryKind
from cluster.raft.store import ENTRY_OVERHEAD
from cluster.storage import Outline

FETCH_ENTRIES: Final = 256
"""How many entries are read at once, if they are not too large: consensus asks for them one after the other."""

Fetch = Callable[[int, int, Callable[[tuple[Entry, ...]], None]], None]
"""Read entries from the first index to the last, and hand them over later."""


class StoredLog:
    """`cluster.raft.LogStore` over the storage thread."""

    def __init__(
        self, base_index: int, entries: tuple[Entry, ...], fetch: Fetch, outline: Outline | None = None
    ) -> None:
        """Begin after `base_index` with what the outline describes, if any, and then these entries."""
        self._base = base_index
        self._outline = outline or Outline()
        self._at_hand = entries
        self._first = self._outline.sizes[-1][0] + 1 if self._outline.sizes else base_index + 1
        """The index of the first entry at hand."""
        self._last = self._first + len(entries) - 1
        self._fetch = fetch
        self._fetching = False
        self._replaced: int | None = None
        """From where on entries were replaced while others were being read: what comes of these is not to be used."""
        self.arrived: Callable[[], None] = _nobody
        """Called when entries that consensus has asked for are at hand."""

    def first_index(self) -> int:
        """Return the index of the first entry at the start."""
        return self._base + 1

    def last_index(self) -> int:
        """Return the index of the last entry at the start."""
        return self._last

    def term(self, index: int) -> int:
        """Return the term of an entry that was there at the start."""
        if index >= self._first:
            return self._at_hand[index - self._first].term
        terms = self._outline.terms
        return terms[bisect_right(terms, index, key=_first_of) - 1][1]

    def configurations(self) -> tuple[Entry, ...]:
        """Return the configuration entries that were at hand at the start: the base's is later than those before."""
        return tuple(entry for entry in self._at_hand if entry.kind is EntryKind.CONFIGURATION)

    def sizes(self) -> Iterator[tuple[int, int]]:
        """Return how many bytes come up to an index since the one before it, at the start."""
        for last, count, size in self._outline.sizes:
            yield last, size + count * ENTRY_OVERHEAD
        for entry in self._at_hand:
            yield entry.index, len(entry.data) + ENTRY_OVERHEAD

    def entries(self, low: int, high: int, max_bytes: int) -> tuple[Entry, ...]:
        """Return entries from `low`, before `high`, within `max_bytes`, at least one; none when not at hand."""
        start = bisect_right(self._at_hand, low - 1, key=_index)
        if start == len(self._at_hand) or self._at_hand[start].index != low:
            if not self._fetching:
                self._fetching = True
                self._fetch(low, min(high, low + FETCH_ENTRIES) - 1, self._fetched)
            return ()
        taken: list[Entry] = []
        size = 0
        for entry in self._at_hand[start : start + high - low]:
            size += len(entry.data)
            if taken and size > max_bytes:
                break
            taken.append(entry)
        return tuple(taken)

    def forget(self, index: int) -> None:
        """Hold nothing at hand from `index` on: it is being replaced."""
        self._at_hand = self._at_hand[: bisect_right(self._at_hand, index - 1, key=_index)]
        if self._fetching:
            self._replaced = index if self._replaced is None else min(index, self._replaced)

    def release(self) -> None:
        """Let go of what was at hand for the start."""
        self._at_hand = ()
        self._outline = Outline()

    def _fetched(self, entries: tuple[Entry, ...]) -> None:
        self._fetching = False
        replaced, self._replaced = self._replaced, None
        self._at_hand = entries if replaced is None else entries[: bisect_right(entries, replaced - 1, key=_index)]
        if self._at_hand:
            self.arrived()


def _index(entry: Entry) -> int:
    return entry.index


def _first_of(run: tuple[int, int]) -> int:
    return run[0]


def _nobody() -> None:
    """Tell nobody."""
