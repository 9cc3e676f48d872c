"""The high-water marks of one node: when it raises an alarm over its memory or its disk, and when it clears it.

All nodes hold the same table, so a queue that is too large for one of them is too large for all. While a node has an
alarm, the cluster takes no new job; what is there is worked off, and the alarm is cleared once the node is well clear
of its mark. Sans-IO. Not for: finding out how much there is (`node.machine`), and when (`node.monitor`).
"""

from typing import Final

import msgspec

from cluster.jobs import Alarm, Resource
from node.machine import Room

DRAINED: Final = 0.75
"""An alarm over memory is cleared when no more than this part of the heap is in use that was when it was raised, though
the process has not shrunk. Small objects that end leave gaps, which take as many new ones and are seldom given back:
after a queue of small jobs the process may stay as large as it was."""
REFILLED: Final = 0.9
"""The part of it that is in use again when the alarm is raised once more, while the process is still that large."""
LARGEST: Final = 1.1
"""The part of the mark at which an alarm is raised whatever the gaps: larger objects do not fit into them."""
CLEAR: Final = 0.05
"""By how much of a mark a node must be clear of it, before its alarm is cleared: else it would come and go."""
LARGEST_RESERVE: Final = 1 << 30
"""Bytes of disk space that the mark keeps free by default, on a file system that is large enough."""
RESERVED_SHARE: Final = 4
"""The part of a smaller file system that it keeps free. What is on its way to the log when the alarm is raised is
still written, at most 64 MiB from each node, and then once more with the mirror of the table: a quarter holds that from
1 GiB on."""

_MIB: Final = 1 << 20
_GIB: Final = 1 << 30


class Marks(msgspec.Struct, frozen=True):
    """Where alarms are raised, in bytes; 0: never."""

    memory: int
    """The most memory that may be in use."""
    disk: int
    """The least disk space that must be free."""


def disk_mark(setting: int | None, room: Room) -> int:
    """Return the disk mark for `min_free_disk`, on this file system."""
    return setting if setting is not None else min(LARGEST_RESERVE, room.total // RESERVED_SHARE)


class Alarms:
    """The alarms of one node."""

    def __init__(self, marks: Marks) -> None:
        self.marks = marks
        self.raised: dict[Resource, Alarm] = {}
        self._full = 0
        """What was in use of the heap when the last alarm over memory was raised; 0: not known."""
        self._drained = False
        """Whether that alarm was cleared because the heap has drained, though the process has not shrunk since."""

    def memory(self, used: int, live: int | None = None) -> Alarm | None:
        """Judge the memory that the process has; return what is to be said of it, if that has changed.

        `live` is what is in use of its heap (`node.memory.live`), None: not known. Only memory beyond `memory_clear`
        makes it matter.
        """
        mark = self.marks.memory
        small = used < self.memory_clear
        self._drained = self._drained and not small
        if Resource.MEMORY in self.raised:
            self._full = self._full or live or 0
            drained = used < mark * LARGEST and live is not None and live < self._full * DRAINED
            self._drained = drained and not small
            return self._judge(Resource.MEMORY, used, mark, beyond=False, clear=small or drained)
        beyond = used >= mark
        if self._drained and used < mark * LARGEST:
            beyond = beyond and live is not None and live >= self._full * REFILLED
        alarm = self._judge(Resource.MEMORY, used, mark, beyond=beyond, clear=False)
        if alarm is not None:
            self._full = live or 0
            self._drained = False
        return alarm

    def beyond_doubt(self, used: int) -> bool:
        """Tell whether that much memory in use is an alarm, whatever of it can be given back."""
        return 0 < self.marks.memory * LARGEST <= used

    def disk(self, free: int) -> Alarm | None:
        """Judge the free disk space; return what is to be said of it, if that has changed."""
        mark = self.marks.disk
        return self._judge(Resource.DISK, free, mark, beyond=free < mark, clear=free > mark * (1 + CLEAR))

    @property
    def memory_clear(self) -> float:
        """Give the bytes of memory in use below which an alarm over it is cleared."""
        return self.marks.memory * (1 - CLEAR)

    def _judge(self, resource: Resource, found: int, mark: int, *, beyond: bool, clear: bool) -> Alarm | None:
        if not mark:
            return None
        if resource not in self.raised and beyond:
            alarm = self.raised[resource] = Alarm(resource, found, mark)
            return alarm
        if resource in self.raised and clear:
            del self.raised[resource]
            return Alarm(resource, found, 0)
        return None


def described(node: str, resource: int, found: int, mark: int) -> str:
    """Say in a sentence, without its end, which node has too little of what."""
    if resource == Resource.MEMORY:
        return f"Node {node} uses {in_words(found)} of memory, and its --max-memory is {in_words(mark)}"
    return f"Node {node} has {in_words(found)} of disk space left, and its --min-free-disk is {in_words(mark)}"


def in_words(size: int) -> str:
    """Write a number of bytes as people do; rounded down, so that what is less than a mark looks like it."""
    if size >= _GIB and size % _GIB == 0:
        return f"{size // _GIB} GiB"
    if size >= 10 * _GIB:
        return f"{size * 10 // _GIB / 10:g} GiB"
    if size >= _MIB:
        return f"{size // _MIB} MiB"
    return f"{size >> 10} KiB"
