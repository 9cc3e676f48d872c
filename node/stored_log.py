"""The log on disk as consensus reads it: at the start all of it from memory, later what is asked for, when it comes.

Consensus keeps what is recent itself. It asks here for what a follower far behind needs; the storage thread reads it,
and the answer is "not at hand" until it has. Not for: writing.
"""

from bisect import bisect_right
from collections.abc import Callable
from typing import Final

from cluster.log import Entry, EntryKind

FETCH_ENTRIES: Final = 256
"""How many entries are read at once: consensus asks for them one after the other."""

Fetch = Callable[[int, int, Callable[[tuple[Entry, ...]], None]], None]
"""Read entries from the first index to the last, and hand them over later."""


class StoredLog:
    """`cluster.raft.LogStore` over the storage thread."""

    def __init__(self, base_index: int, entries: tuple[Entry, ...], fetch: Fetch) -> None:
        """Begin with all the entries that the disk has after `base_index`."""
        self._base = base_index
        self._at_hand = entries
        self._last = base_index + len(entries)
        self._fetch = fetch
        self._fetching = False
        self._replaced: int | None = None
        """From where on entries were replaced while others were being read: what comes of these is not to be used."""

    def first_index(self) -> int:
        """Return the index of the first entry at the start."""
        return self._base + 1

    def last_index(self) -> int:
        """Return the index of the last entry at the start."""
        return self._last

    def term(self, index: int) -> int:
        """Return the term of an entry that was there at the start."""
        return self._at_hand[index - self._base - 1].term

    def configurations(self) -> tuple[Entry, ...]:
        """Return the configuration entries that were there at the start."""
        return tuple(entry for entry in self._at_hand if entry.kind is EntryKind.CONFIGURATION)

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

    def _fetched(self, entries: tuple[Entry, ...]) -> None:
        self._fetching = False
        replaced, self._replaced = self._replaced, None
        self._at_hand = entries if replaced is None else entries[: bisect_right(entries, replaced - 1, key=_index)]


def _index(entry: Entry) -> int:
    return entry.index
