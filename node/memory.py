"""Memory that a long queue took, given back to the system when the queue is gone (gearmand#284).

The C library keeps what was freed in the middle of its heap, and Python's allocator keeps each mebibyte of which
anything is in use: after a million small jobs that can be most of what they took. Not for: the table's own structures;
those let go by themselves.
"""

import ctypes
import sys
from typing import Final

_LIBRARY: Final = ctypes.CDLL(None)
_BLOCK: Final = 96
"""Bytes of a small object, on average: a job has four, of 32 to 200 bytes each."""


def trim() -> None:
    """Return unused pages of the heap to the system, where the C library can (glibc's malloc_trim)."""
    malloc_trim = getattr(_LIBRARY, "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)


class _Mallinfo(ctypes.Structure):
    """glibc's `struct mallinfo2`."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks"),
            "keepcost",
        )
    )


def live() -> int:
    """Return about how many bytes of the heap are in use; the rest of what was taken is there for new objects.

    A weight rather than a measure: of two moments in a process, the one with more in use has the larger number. May
    take some milliseconds.
    """
    in_use = sys.getallocatedblocks() * _BLOCK
    mallinfo2 = getattr(_LIBRARY, "mallinfo2", None)
    if mallinfo2 is not None:
        mallinfo2.restype = _Mallinfo
        found = mallinfo2()
        in_use += found.uordblks + found.hblkhd
    return in_use


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
