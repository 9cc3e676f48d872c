"""How many bytes of the log lie after a position: what a follower lacks, and how much of the log is kept.

Not a number for each entry, of which there may be a million, but a sample now and then: what is between two samples
counts as a whole. So an answer may be too large by the distance of two samples, or by what was appended in one go.

Not for: the entries (`window`).
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable


class Extent:
    """The bytes of one node's log, by position."""

    __slots__ = ("_grain", "_indexes", "_totals", "total")

    def __init__(self, base: int, grain: int, sizes: Iterable[tuple[int, int]] = ()) -> None:
        """Begin with a log after `base`; `sizes`: how many bytes come up to an index since the one before it."""
        self._grain = grain
        """Bytes between two samples."""
        self._indexes = [base]
        self._totals = [0]
        """Of each sample: the bytes up to its index."""
        self.total = 0
        for index, size in sizes:
            self.append(index, size)

    def append(self, index: int, size: int) -> None:
        """Note that the log grew by so many bytes, up to `index`."""
        self.total += size
        if self.total - self._totals[-1] >= self._grain:
            self._indexes.append(index)
            self._totals.append(self.total)

    def truncate(self, index: int) -> None:
        """Note that the entries at and after `index` are gone."""
        indexes, totals = self._indexes, self._totals
        while len(indexes) > 1 and indexes[-1] >= index:
            indexes.pop()
            totals.pop()
        self.total = totals[-1]

    def compact(self, index: int) -> None:
        """Note that the log begins after `index` now."""
        place = bisect_right(self._indexes, index) - 1
        del self._indexes[:place], self._totals[:place]
        self._indexes[0] = index

    def after(self, index: int) -> int:
        """Return about how many bytes come after `index`, at least as many as there are."""
        return self.total - self._totals[max(bisect_right(self._indexes, index) - 1, 0)]

    def start_of_last(self, size: int) -> int:
        """Return the lowest sampled index that at most `size` bytes come after; the last sample if more always do."""
        place = bisect_left(self._totals, self.total - size)
        return self._indexes[min(place, len(self._indexes) - 1)]
