"""An alarm is raised at its mark, cleared well clear of it, and says what it is about."""

import pytest

from cluster.jobs import Alarm, Resource
from node.alarms import Alarms, Marks, described, disk_mark, in_words
from node.machine import Room

MIB, GIB = 1024**2, 1024**3


def said(found: Alarm | None) -> tuple[int, int] | None:
    return None if found is None else (found.found, found.mark)


class TestAnAlarmOverMemory:
    def test_is_raised_at_the_mark_and_once(self):
        alarms = Alarms(Marks(memory=1000, disk=0))
        assert [said(alarms.memory(used)) for used in (0, 999, 1000, 5000)] == [None, None, (1000, 1000), None]

    def test_is_cleared_well_below_it_and_once(self):
        alarms = Alarms(Marks(memory=1000, disk=0))
        alarms.memory(1000)
        assert [said(alarms.memory(used)) for used in (999, 950, 949, 900)] == [None, None, (949, 0), None]
        assert not alarms.raised

    def test_is_cleared_when_a_quarter_of_the_heap_has_gone_though_the_process_stays_as_large(self):
        alarms = Alarms(Marks(memory=1000, disk=0))
        alarms.memory(1000, 800)
        assert [said(alarms.memory(1010, live)) for live in (800, None, 600, 599)] == [None, None, None, (1010, 0)]

    def test_weighs_the_heap_at_the_next_chance_if_that_was_not_done_when_it_was_raised(self):
        alarms = Alarms(Marks(memory=1000, disk=0))
        alarms.memory(1000)
        assert [said(alarms.memory(1000, live)) for live in (800, 599)] == [None, (1000, 0)]

    def test_is_raised_again_when_the_heap_has_filled_up_again(self):
        alarms = Alarms(Marks(memory=1000, disk=0))
        alarms.memory(1000, 800)
        alarms.memory(1010, 500)
        assert [said(alarms.memory(1010, live)) for live in (500, None, 719, 720)] == [None, None, None, (1010, 1000)]

    def test_is_raised_whatever_the_heap_holds_when_the_process_has_grown_a_tenth_beyond_its_mark(self):
        alarms = Alarms(Marks(memory=1000, disk=0))
        alarms.memory(1000, 800)
        alarms.memory(1010, 500)
        assert [said(alarms.memory(used, 500)) for used in (1099, 1100)] == [None, (1100, 1000)]

    def test_is_not_cleared_while_the_process_is_as_large_as_that(self):
        alarms = Alarms(Marks(memory=1000, disk=0))
        alarms.memory(1100, 800)
        assert [said(alarms.memory(used, 100)) for used in (1100, 1099)] == [None, (1099, 0)]

    def test_is_raised_at_the_mark_as_ever_once_the_process_has_shrunk(self):
        alarms = Alarms(Marks(memory=1000, disk=0))
        alarms.memory(1000, 800)
        alarms.memory(1010, 500)
        alarms.memory(900, 500)
        assert said(alarms.memory(1000)) == (1000, 1000)

    def test_is_never_raised_without_a_mark(self):
        assert Alarms(Marks(memory=0, disk=0)).memory(GIB) is None


class TestAnAlarmOverTheDisk:
    def test_is_raised_below_the_mark_and_once(self):
        alarms = Alarms(Marks(memory=0, disk=1000))
        assert [said(alarms.disk(free)) for free in (2000, 1000, 999, 0)] == [None, None, (999, 1000), None]

    def test_is_cleared_well_above_it_and_once(self):
        alarms = Alarms(Marks(memory=0, disk=1000))
        alarms.disk(0)
        assert [said(alarms.disk(free)) for free in (1000, 1050, 1051, 9999)] == [None, None, (1051, 0), None]

    def test_is_never_raised_without_a_mark(self):
        assert Alarms(Marks(memory=0, disk=0)).disk(0) is None

    def test_and_one_over_memory_know_nothing_of_each_other(self):
        alarms = Alarms(Marks(memory=1000, disk=1000))
        alarms.memory(2000)
        alarms.disk(0)
        assert said(alarms.memory(0)) == (0, 0)
        assert set(alarms.raised) == {Resource.DISK}


class TestTheDefaultMarkOfTheDisk:
    @pytest.mark.parametrize(
        ("total", "mark"), [(100 * GIB, GIB), (4 * GIB, GIB), (GIB, 256 * MIB), (100 * MIB, 25 * MIB)]
    )
    def test_suits_the_file_system(self, total, mark):
        assert disk_mark(None, Room(free=0, total=total)) == mark

    def test_is_none_where_that_is_set(self):
        assert disk_mark(0, Room(free=0, total=GIB)) == 0
        assert disk_mark(7, Room(free=0, total=GIB)) == 7


class TestWords:
    def test_say_whose_memory_and_what_to_set(self):
        text = described("n1", Resource.MEMORY, 1450 * MIB, 1433 * MIB)
        assert text == "Node n1 uses 1450 MiB of memory, and its --max-memory is 1433 MiB"

    def test_say_whose_disk_and_what_to_set(self):
        text = described("n2", Resource.DISK, 96 * MIB, GIB)
        assert text == "Node n2 has 96 MiB of disk space left, and its --min-free-disk is 1 GiB"

    @pytest.mark.parametrize(
        ("size", "text"),
        [
            (0, "0 KiB"),
            (MIB - 1, "1023 KiB"),
            (GIB - 1, "1023 MiB"),
            (GIB, "1 GiB"),
            (GIB + 1, "1024 MiB"),
            (12 * GIB + GIB // 2, "12.5 GiB"),
        ],
    )
    def test_write_a_size_as_people_do(self, size, text):
        assert in_words(size) == text
