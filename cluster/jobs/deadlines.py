"""What is to happen to which job when: delayed jobs that come due, and time limits of running ones.

Every entry is taken out when its job moves on: there may be a million of them, and nothing is left to be swept out or
passed over in one go. Not for: reading a clock. The table is told the time by the entries it applies.
"""

from bisect import bisect_left, insort
from typing import Final

_MOST: Final = 1024
"""Entries of one chunk. A chunk with more is cut in two."""
_SHIFT: Final = 64
_NUMBER: Final = (1 << _SHIFT) - 1


class Deadlines:
    """Times in order, and for each the number of its job: one integer for both, in chunks that are quick to change."""

    __slots__ = ("_lasts", "chunks")

    def __init__(self) -> None:
        self.chunks: list[list[int]] = []
        """Empty when there is no deadline."""
        self._lasts: list[int] = []
        """The last entry of each chunk."""

    def __len__(self) -> int:
        return sum(map(len, self.chunks))

    def set(self, when: int, number: int) -> None:
        """Note that something is to happen to this job at this time."""
        entry = when << _SHIFT | number
        chunks, lasts = self.chunks, self._lasts
        if not lasts:
            chunks.append([entry])
            lasts.append(entry)
            return
        if entry > lasts[-1]:
            at = len(lasts) - 1
            chunk = chunks[at]
            chunk.append(entry)
            lasts[at] = entry
        else:
            at = bisect_left(lasts, entry)
            chunk = chunks[at]
            insort(chunk, entry)
        if len(chunk) > _MOST:
            middle = len(chunk) // 2
            chunks[at : at + 1] = [chunk[:middle], chunk[middle:]]
            lasts.insert(at, chunk[middle - 1])

    def lift(self, when: int, number: int) -> None:
        """Note that it is not to happen any more."""
        entry = when << _SHIFT | number
        at = bisect_left(self._lasts, entry)
        chunk = self.chunks[at]
        position = bisect_left(chunk, entry)
        assert chunk[position] == entry
        del chunk[position]
        if not chunk:
            del self.chunks[at], self._lasts[at]
        elif position == len(chunk):
            self._lasts[at] = chunk[-1]

    def pop(self, now: int) -> int | None:
        """Take out the job whose time came first and give its number, None when no job's time has come."""
        if not self.chunks:
            return None
        first = self.chunks[0][0]
        if first >> _SHIFT > now:
            return None
        self.lift(first >> _SHIFT, first & _NUMBER)
        return first & _NUMBER

    def next(self) -> int | None:
        """Give the earliest time at which something is due; None: nothing is."""
        return self.chunks[0][0] >> _SHIFT if self.chunks else None
