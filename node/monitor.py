"""Looks at memory and disk space again and again, and tells the driver what the alarms make of it.

Memory is looked at in each tick: reading it takes a few microseconds, and a queue can grow by 50 MiB in that time. The
disk may keep whoever asks it waiting, so it is looked at beside the loop, each second, and in each tick while much is
written. When memory is close to its mark, what was freed is given back to the system, and what is left is weighed
(`node.memory`): a process that a long queue made large can stay so when the queue is gone. Not for: the marks
(`node.alarms`), or what an alarm does (`node.driver`, `node.gateway`).
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from cluster.jobs import Alarm, Resource
from node.alarms import Alarms, Marks, described, disk_mark, in_words
from node.configuration import Configuration
from node.configuration.model import Share
from node.driver.surroundings import Handle, Loop, Offload
from node.machine import Room, disk_room, memory_limit, memory_used
from node.memory import live, trim

TICK: Final = 0.1
"""Seconds between two looks at the memory."""
DISK_INTERVAL: Final = 1.0
"""Seconds between two looks at the disk, when little is written."""
MUCH_WRITTEN: Final = 1 << 20
"""Bytes of log after which the disk is looked at sooner."""
TRIM_INTERVAL: Final = 1.0
"""Seconds between two attempts to give memory back, while the process is close to its mark."""
TRIM_SHARE: Final = 30
"""How many times as long as the last one took is waited for the next: where many small pieces of a large heap are free,
it takes the C library 0.1 s for each 500 MiB, and whoever needs memory meanwhile waits."""

log = structlog.get_logger()


class Monitor:
    """The monitor of one node's resources."""

    def __init__(
        self,
        settings: Configuration,
        node: str,
        *,
        loop: Loop,
        offload: Offload,
        written: Callable[[], int],
        changed: Callable[[Alarm], None],
        used: Callable[[], int | None] = memory_used,
        room: Callable[[Path], Room] = disk_room,
        give_back: Callable[[], object] = trim,
        weigh: Callable[[], int] = live,
    ) -> None:
        """`written` gives the bytes that went into the log so far; `changed` is told what alarms begin and end.

        Raises `OSError` where nothing can be known of the data directory's file system.
        """
        self.used = used()
        """Bytes of memory in use; None: not known on this system."""
        self.room = room(settings.data_dir)
        """The space on the disk."""
        self._node = node
        self._directory = settings.data_dir
        self._loop = loop
        self._offload = offload
        self._written = written
        self._changed = changed
        self._read_used = used
        self._read_room = room
        self._give_back = give_back
        self._weigh = weigh
        self.alarms = Alarms(
            Marks(
                memory=memory_mark(settings.max_memory) if self.used is not None else 0,
                disk=disk_mark(settings.min_free_disk, self.room),
            )
        )
        self._written_then = 0
        """What was written when the disk was looked at last."""
        self._disk_asked = loop.time()
        self._asking = False
        """Whether the disk has been asked, and has not answered."""
        self._trim_after = 0.0
        """When memory may be given back again."""
        self._trimming = False
        self._timer: Handle | None = None

    def start(self) -> None:
        """Take the first look, and go on until `stop`."""
        marks = self.alarms.marks
        log.info("high_water_marks", memory=_shown(marks.memory), free_disk=_shown(marks.disk))
        self._judge_memory()
        self._judge_disk()
        self._timer = self._loop.call_later(TICK, self._tick)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        self._timer = self._loop.call_later(TICK, self._tick)
        now = self._loop.time()
        self.used = self._read_used()
        close = self.used is not None and self.alarms.marks.memory and self.used >= self.alarms.memory_clear
        if not (close and self._trim(now)) or self.alarms.beyond_doubt(self.used or 0):
            self._judge_memory()  # else it is judged by what is left
        written = self._written()
        due = now - self._disk_asked >= DISK_INTERVAL or written - self._written_then >= MUCH_WRITTEN
        if due and not self._asking and self.alarms.marks.disk:
            self._asking = True
            self._disk_asked = now
            self._written_then = written
            self._offload(lambda: self._read_room(self._directory), self._found, self._failed)

    def _trim(self, now: float) -> bool:
        """Begin to give memory back, unless that was done lately; tell whether it has begun."""
        if self._trimming or now < self._trim_after:
            return False
        self._trimming = True
        self._offload(self._trim_and_weigh, self._weighed, self._broken_off)
        return True

    def _trim_and_weigh(self) -> tuple[int, float]:
        began = time.perf_counter()
        self._give_back()
        return self._weigh(), time.perf_counter() - began

    def _weighed(self, found: tuple[int, float]) -> None:
        live, took = found
        self._trimming = False
        self._trim_after = self._loop.time() + max(TRIM_INTERVAL, TRIM_SHARE * took)
        if self._timer is not None:
            self.used = self._read_used()
            self._judge_memory(live)

    def _broken_off(self, error: Exception) -> None:
        self._trimming = False
        self._trim_after = self._loop.time() + TRIM_INTERVAL
        log.debug("heap_not_weighed", error=str(error))

    def _found(self, room: Room) -> None:
        self._asking = False
        self.room = room
        if self._timer is not None:
            self._judge_disk()

    def _failed(self, error: Exception) -> None:
        """Leave it at what was known: who writes there will say what is wrong with the disk."""
        self._asking = False
        log.debug("disk_space_unknown", error=str(error))

    # -- alarms -------------------------------------------------------------------------------------------------------

    def _judge_memory(self, live: int | None = None) -> None:
        if self.used is not None:
            self._tell(self.alarms.memory(self.used, live))

    def _judge_disk(self) -> None:
        self._tell(self.alarms.disk(self.room.free))

    def _tell(self, alarm: Alarm | None) -> None:
        if alarm is None:
            return
        resource = Resource(alarm.resource)
        if alarm.mark:
            what = described(self._node, resource, alarm.found, alarm.mark)
            log.warning("alarm_raised", why=what, effect=_EFFECT, advice=_ADVICE[resource])
        else:
            log.info("alarm_cleared", resource=resource.name.lower(), found=in_words(alarm.found))
        self._changed(alarm)


_EFFECT: Final = "the cluster takes no new job until this is over; jobs that are there are worked off"
_ADVICE: Final = {
    Resource.MEMORY: "see that there are workers for the queue, or give all nodes more memory",
    Resource.DISK: "make room on the file system of the data directory, or see that there are workers for the queue",
}


def _shown(mark: int) -> str:
    return in_words(mark) if mark else "none"


def memory_mark(setting: int | Share) -> int:
    """Return the memory mark for `max_memory`, on this machine or in this container."""
    return setting.of(memory_limit()) if isinstance(setting, Share) else setting
