"""The pace of entries: how many writes there may be under way, and how long a crowd waits between two entries."""

from types import SimpleNamespace

import pytest

from node.driver.gathering import CROWD
from node.driver.pace import ENTRY_GAP, MAX_WRITES, MAX_WRITES_AHEAD, MAX_WRITES_OF_MUCH, PATIENCE, SLOW, TOO_SLOW, Pace
from tests.node.stillness import StillLoop


class Road:
    """A pace, and all it looks at."""

    def __init__(self) -> None:
        self.loop = StillLoop()
        self.intake = SimpleNamespace(crowd=0, heavy=False, urgent=True)
        self.writing = SimpleNamespace(under_way=0, since=self.loop.time())
        self.told: list[float] = []
        self.raft = SimpleNamespace(commit=7, last_index=7)
        self.pace = Pace(self.raft, self.intake, self.writing, self.loop, lambda: self.told.append(self.loop.time()))


@pytest.fixture
def road():
    return Road()


class TestTheDisk:
    def test_allows_one_write_after_an_entry_of_many_commands(self, road):
        road.intake.crowd = CROWD
        road.writing.under_way = MAX_WRITES - 1
        assert road.pace.disk_allows(alone=False, much=True)
        road.writing.under_way = MAX_WRITES
        assert not road.pace.disk_allows(alone=False, much=True)

    def test_allows_another_after_an_entry_of_few(self, road):
        road.intake.crowd = CROWD - 1
        road.writing.under_way = MAX_WRITES_AHEAD - 1
        assert road.pace.disk_allows(alone=False, much=True)
        road.writing.under_way = MAX_WRITES_AHEAD
        assert not road.pace.disk_allows(alone=False, much=True)

    def test_that_is_slow_is_not_waited_for_where_there_are_others(self, road):
        road.intake.crowd = CROWD
        road.writing.under_way = 20
        road.loop.advance(SLOW)
        assert not road.pace.disk_allows(alone=False, much=True)
        road.loop.advance(SLOW / 10)
        assert road.pace.disk_allows(alone=False, much=False)
        assert not road.pace.disk_allows(alone=True, much=True)

    def test_that_is_slow_is_waited_for_where_the_others_have_not_committed_either(self, road):
        road.intake.crowd = CROWD
        road.writing.under_way = 20
        road.raft.commit = 6
        road.loop.advance(TOO_SLOW)
        assert not road.pace.disk_allows(alone=False, much=True)
        road.loop.advance(SLOW)
        assert road.pace.disk_allows(alone=False, much=True)

    def test_is_looked_at_again_when_it_turns_out_to_be_slow(self, road):
        road.intake.crowd = CROWD
        road.writing.under_way = 20
        began = road.loop.time()
        assert not road.pace.disk_allows(alone=False, much=True)
        road.loop.advance(10 * SLOW)
        (told,) = road.told
        assert SLOW < told - began < 2 * SLOW

    def test_allows_several_after_an_entry_of_many_bytes_where_others_have_disks_too(self, road):
        road.intake.heavy = True
        road.intake.crowd = CROWD
        road.writing.under_way = MAX_WRITES_OF_MUCH - 1
        assert road.pace.disk_allows(alone=False, much=True)
        assert [road.pace.allows(alone=False) for _ in range(2)] == [True] * 2
        assert not road.pace.disk_allows(alone=True, much=False)
        road.writing.under_way = MAX_WRITES_OF_MUCH
        assert not road.pace.disk_allows(alone=False, much=True)

    def test_of_a_node_alone_allows_another_for_much_only(self, road):
        road.writing.under_way = MAX_WRITES
        assert not road.pace.disk_allows(alone=True, much=False)
        assert road.pace.disk_allows(alone=True, much=True)
        road.writing.under_way = MAX_WRITES_AHEAD
        assert not road.pace.disk_allows(alone=True, much=True)

    def test_that_is_busy_takes_no_entry_though_it_is_time_for_one(self, road):
        road.writing.under_way = MAX_WRITES_AHEAD
        assert not road.pace.allows(alone=False)
        road.loop.advance(ENTRY_GAP)
        assert road.told == []

    def test_does_not_put_off_what_is_to_be_looked_at_earlier(self, road):
        road.intake.crowd = CROWD
        road.writing.under_way = 20
        began = road.loop.time()
        assert not road.pace.disk_allows(alone=False, much=True)
        road.writing.under_way = 0
        road.intake.crowd = 0
        road.intake.urgent = False
        assert not road.pace.allows(alone=False)
        road.loop.advance(SLOW)
        assert road.told[0] - began < 2 * PATIENCE


class TestACrowd:
    def test_waits_between_two_entries_and_is_called_once_it_has(self, road):
        road.intake.crowd = CROWD
        began = road.loop.time()
        assert road.pace.allows(alone=False)
        assert not road.pace.allows(alone=False)
        assert not road.pace.allows(alone=False)
        road.loop.advance(2 * ENTRY_GAP)
        assert road.told == [began + ENTRY_GAP]
        assert road.pace.allows(alone=False)

    def test_does_not_wait_where_there_is_no_other_node(self, road):
        road.intake.crowd = CROWD
        assert [road.pace.allows(alone=True) for _ in range(3)] == [True] * 3

    def test_that_has_gone_waits_no_more(self, road):
        road.intake.crowd = CROWD
        assert road.pace.allows(alone=False)
        road.intake.crowd = CROWD - 1
        assert road.pace.allows(alone=False)

    def test_is_called_no_more_at_the_end(self, road):
        road.intake.crowd = CROWD
        assert road.pace.allows(alone=False)
        assert not road.pace.allows(alone=False)
        road.pace.cancel()
        road.loop.advance(2 * ENTRY_GAP)
        assert road.told == []


class TestWhatNobodyWaitsFor:
    def test_goes_with_what_somebody_waits_for(self, road):
        road.intake.urgent = False
        assert not road.pace.allows(alone=False)
        road.intake.urgent = True
        assert road.pace.allows(alone=False)

    def test_goes_by_itself_after_a_moment(self, road):
        road.intake.urgent = False
        began = road.loop.time()
        assert not road.pace.allows(alone=False)
        road.loop.advance(2 * PATIENCE)
        (told,) = road.told
        assert told - began == pytest.approx(PATIENCE)
        assert road.pace.allows(alone=False)
        assert not road.pace.allows(alone=False)

    def test_is_not_put_off_by_a_node_alone(self, road):
        road.intake.urgent = False
        assert road.pace.allows(alone=True)
