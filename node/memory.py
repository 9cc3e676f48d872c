"""Memory that a long queue took, given back to the system when the queue is gone (gearmand#284).

The C library keeps what was freed in the middle of its heap. Not for: the table's own structures; those let go by
themselves.
"""

import ctypes
from typing import Final

_LIBRARY: Final = ctypes.CDLL(None)


def trim() -> None:
    """Return unused pages of the heap to the system, where the C library can (glibc's malloc_trim)."""
    malloc_trim = getattr(_LIBRARY, "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)


class QueueMemory:
    """Watches how many jobs there are, and says when memory is worth giving back."""

    __slots__ = ("_most",)

    WORTH_TRIMMING: Final = 2_000
    """Jobs that must have gone since the queue was at its longest."""

    def __init__(self) -> None:
        self._most = 0

    def drained(self, jobs: int) -> bool:
        """Take note of the number of jobs; tell whether most of a long queue has gone since this last said so."""
        self._most = max(self._most, jobs)
        if self._most - jobs < self.WORTH_TRIMMING or jobs > self._most // 4:
            return False
        self._most = jobs
        return True
