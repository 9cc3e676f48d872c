"""Memory is looked at in each tick, the disk beside the loop; alarms are said once; memory is asked back in time."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog

from cluster.jobs import Alarm, Resource
from node.configuration import Configuration
from node.machine import Room
from node.monitor import DISK_INTERVAL, MUCH_WRITTEN, TICK, TRIM_INTERVAL, TRIM_SHARE, Monitor
from tests.node.stillness import StillLoop

MIB = 1024**2
SETTINGS: dict[str, Any] = {"max_memory": 1000 * MIB, "min_free_disk": 500 * MIB}


class Scene:
    """A monitor of a machine whose figures a test sets."""

    def __init__(self, *, start: bool = True, **settings: Any) -> None:
        self.loop = StillLoop()
        self.used: int | None = 100 * MIB
        self.free = 900 * MIB
        self.written = 0
        self.said: list[Alarm] = []
        self.trimmed = 0
        self.frees = 0
        """Bytes that are given back when they are asked for."""
        self.live = 90 * MIB
        self.asked: list[Callable[[], None]] = []
        """What the disk is asked, while it does not answer."""
        self.slow = False
        self.monitor = Monitor(
            Configuration(name="n", data_dir=Path("/data"), **(SETTINGS | settings)),
            "n",
            loop=self.loop,
            offload=self.offload,
            written=lambda: self.written,
            changed=self.say,
            used=lambda: self.used,
            room=self.room,
            give_back=self.give_back,
            weigh=lambda: self.live,
        )
        if start:
            self.monitor.start()

    def say(self, alarm: Alarm) -> None:
        self.said.append(alarm)

    def room(self, directory: Path) -> Room:
        assert directory == Path("/data")
        if self.free < 0:
            raise OSError("the disk is gone")
        return Room(free=self.free, total=2000 * MIB)

    def give_back(self) -> None:
        self.trimmed += 1
        if self.used is not None:
            self.used -= self.frees
            self.frees = 0

    def offload(self, work: Callable[[], Any], done: Callable[[Any], object], failed: Callable[[Exception], object]):
        def carry_out() -> None:
            try:
                found = work()
            except OSError as error:
                failed(error)
            else:
                done(found)

        if self.slow:
            self.asked.append(carry_out)
        else:
            carry_out()

    def wait(self, seconds: float = TICK * 1.01) -> list[tuple[int, int]]:
        """Let time pass; give what was said since, as the resource and the mark."""
        self.loop.advance(seconds)
        said, self.said = self.said, []
        return [(alarm.resource, alarm.mark) for alarm in said]


MEMORY, DISK = (Resource.MEMORY, 1000 * MIB), (Resource.DISK, 500 * MIB)


class TestMemory:
    def test_beyond_its_mark_is_said_in_the_next_tick_and_once(self):
        scene = Scene()
        scene.used = 1000 * MIB
        assert scene.wait() == [MEMORY]
        assert scene.wait(5) == []

    def test_that_is_enough_again_is_said(self):
        scene = Scene()
        scene.used = 1000 * MIB
        scene.wait()
        scene.used = 900 * MIB
        assert scene.wait() == [(Resource.MEMORY, 0)]

    def test_beyond_its_mark_at_the_start_is_said_before_anything_else(self):
        scene = Scene(start=False)
        scene.monitor.used = 2000 * MIB
        scene.monitor.start()
        assert [alarm.resource for alarm in scene.said] == [Resource.MEMORY]

    def test_is_asked_back_before_the_mark_is_reached_and_not_all_the_time(self):
        scene = Scene()
        scene.used = 960 * MIB
        assert scene.wait(TICK * 5) == []
        assert scene.trimmed == 1
        scene.wait(TRIM_INTERVAL)
        assert scene.trimmed == 2
        assert TRIM_INTERVAL > 5 * TICK

    def test_that_is_free_for_new_objects_counts_as_enough(self):
        scene = Scene()
        scene.used = 1000 * MIB
        scene.wait(TRIM_INTERVAL * 2)
        scene.live = 60 * MIB
        assert scene.wait(TRIM_INTERVAL * 2) == [(Resource.MEMORY, 0)]
        assert scene.wait(TRIM_INTERVAL * 2) == []
        scene.live = 89 * MIB
        assert scene.wait(TRIM_INTERVAL * 2) == [MEMORY]

    def test_beyond_its_mark_is_given_back_before_it_is_said(self):
        scene = Scene()
        scene.used, scene.frees, scene.slow = 1050 * MIB, 200 * MIB, True
        assert scene.wait() == []
        scene.asked.pop(0)()
        assert scene.wait() == []
        assert scene.trimmed == 1

    def test_a_tenth_beyond_its_mark_is_said_at_once(self):
        scene = Scene()
        scene.slow = True
        scene.used = 1100 * MIB
        assert scene.wait() == [MEMORY]

    def test_beyond_its_mark_is_said_at_once_where_it_was_asked_back_lately(self):
        scene = Scene()
        scene.used = 960 * MIB
        scene.wait()
        scene.slow = True
        scene.used = 1000 * MIB
        assert scene.wait() == [MEMORY]

    def test_that_takes_long_to_give_back_is_asked_back_seldom(self, monkeypatch):
        scene = Scene()
        times = iter(range(0, 1000, 2))  # two seconds for each
        monkeypatch.setattr("node.monitor.time.perf_counter", lambda: next(times))
        scene.used = 960 * MIB
        scene.wait(TRIM_SHARE * 2 - 1)
        assert scene.trimmed == 1
        scene.wait(2)
        assert scene.trimmed == 2

    def test_is_not_asked_back_twice_at_a_time(self):
        scene = Scene()
        scene.used, scene.slow = 960 * MIB, True
        scene.wait(TRIM_INTERVAL * 3)
        assert len(scene.asked) == 1 + 1  # the disk is the other one

    def test_is_not_asked_back_while_there_is_enough(self):
        scene = Scene()
        scene.wait(TRIM_INTERVAL * 3)
        assert scene.trimmed == 0

    def test_that_cannot_be_read_has_no_mark(self):
        scene = Scene(start=False)
        scene.used = None
        other = Monitor(
            Configuration(name="n", data_dir=Path("/data"), **SETTINGS),
            "n",
            loop=scene.loop,
            offload=scene.offload,
            written=lambda: 0,
            changed=scene.said.append,
            used=lambda: None,
            room=scene.room,
            give_back=scene.give_back,
            weigh=lambda: 1,
        )
        other.start()
        assert (scene.wait(3), scene.trimmed, other.alarms.marks.memory) == ([], 0, 0)


class TestTheDisk:
    def test_is_looked_at_each_second(self):
        scene = Scene()
        scene.free = 499 * MIB
        assert scene.wait(DISK_INTERVAL / 2) == []
        assert scene.wait(DISK_INTERVAL) == [DISK]
        assert scene.wait(5) == []

    def test_is_looked_at_in_each_tick_while_much_is_written(self):
        scene = Scene()
        scene.free = 499 * MIB
        scene.written = MUCH_WRITTEN
        assert scene.wait() == [DISK]

    def test_that_has_room_again_is_said(self):
        scene = Scene()
        scene.free = 0
        scene.wait(2)
        scene.free = 600 * MIB
        assert scene.wait(2) == [(Resource.DISK, 0)]

    def test_that_does_not_answer_is_not_asked_again(self):
        scene = Scene()
        scene.slow = True
        scene.wait(5)
        assert len(scene.asked) == 1
        scene.free = 0
        scene.asked.pop()()
        assert [alarm.resource for alarm in scene.said] == [Resource.DISK]

    def test_that_cannot_be_asked_is_asked_again(self):
        scene = Scene()
        scene.free = -1
        assert scene.wait(5) == []
        scene.free = 0
        assert scene.wait(2) == [DISK]

    def test_without_a_mark_is_not_asked(self):
        scene = Scene(min_free_disk=0)
        scene.free = 0
        assert scene.wait(5) == []
        assert scene.monitor.room.free == 900 * MIB


class TestTheEnd:
    def test_is_the_end_of_all_looks(self):
        scene = Scene()
        scene.slow = True
        scene.wait(2)
        scene.monitor.stop()
        scene.used = scene.free = 5000 * MIB
        scene.free = 0
        scene.asked.pop()()
        assert scene.wait(5) == []


class TestTheLog:
    def test_warns_when_an_alarm_is_raised_and_says_when_it_is_over(self):
        with structlog.testing.capture_logs() as logs:
            scene = Scene()
            scene.used = 1000 * MIB
            scene.wait()
            scene.used = 0
            scene.wait(3)
        marks, raised, cleared = logs
        assert (marks["event"], marks["memory"], marks["free_disk"]) == ("high_water_marks", "1000 MiB", "500 MiB")
        assert (raised["log_level"], raised["event"]) == ("warning", "alarm_raised")
        assert "Node n uses 1000 MiB of memory" in raised["why"]
        assert "workers" in raised["advice"]
        assert (cleared["log_level"], cleared["event"], cleared["resource"]) == ("info", "alarm_cleared", "memory")


def test_a_share_is_one_of_what_the_machine_or_container_gives(monkeypatch):
    monkeypatch.setattr("node.monitor.memory_limit", lambda: 2048 * MIB)
    assert Scene(max_memory=Configuration(name="n", data_dir=Path("/")).max_memory).monitor.alarms.marks.memory == (
        2048 * MIB * 70 // 100
    )


@pytest.fixture(autouse=True)
def no_real_trim(monkeypatch):
    monkeypatch.setattr("node.monitor.trim", lambda: pytest.fail("the real one"))
