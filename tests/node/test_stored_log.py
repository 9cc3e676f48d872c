"""The log on disk as consensus reads it: whole at the start, later piece by piece, when it comes."""

import pytest

from cluster.log import Entry, EntryKind
from cluster.raft.store import ENTRY_OVERHEAD
from cluster.storage import Outline
from node.stored_log import FETCH_ENTRIES, StoredLog

BASE = 10


def entry(index: int, kind: EntryKind = EntryKind.COMMANDS) -> Entry:
    return Entry(index, index // 5, kind, b"1234")


ENTRIES = (
    entry(11),
    entry(12, EntryKind.CONFIGURATION),
    entry(13),
    entry(14, EntryKind.BARRIER),
    entry(15, EntryKind.CONFIGURATION),
)
UNBOUNDED = 1 << 30


class Disk:
    """Remembers what it was asked to read."""

    def __init__(self):
        self.asked = []

    def fetch(self, first, last, done):
        self.asked.append((first, last))
        self.done = done


@pytest.fixture
def disk():
    return Disk()


@pytest.fixture
def log(disk):
    return StoredLog(BASE, ENTRIES, disk.fetch)


class TestAtTheStart:
    def test_everything_is_at_hand(self, log, disk):
        assert (log.first_index(), log.last_index()) == (11, 15)
        assert [log.term(index) for index in range(11, 16)] == [2, 2, 2, 2, 3]
        assert [found.index for found in log.configurations()] == [12, 15]
        assert log.entries(11, 16, UNBOUNDED) == ENTRIES
        assert log.entries(12, 14, UNBOUNDED) == ENTRIES[1:3]
        assert disk.asked == []

    def test_an_empty_log_begins_after_its_base(self, disk):
        log = StoredLog(BASE, (), disk.fetch)
        assert (log.first_index(), log.last_index(), log.configurations()) == (11, 10, ())

    @pytest.mark.parametrize(("room", "count"), [(0, 1), (4, 1), (11, 2), (12, 3)])
    def test_as_much_is_given_as_there_is_room_for_and_at_least_one_entry(self, log, room, count):
        assert log.entries(11, 16, room) == ENTRIES[:count]


class TestAnOutline:
    """Of what the table has already consensus needs no entries, but their terms and sizes."""

    @pytest.fixture
    def log(self, disk):
        outline = Outline(terms=((11, 2), (13, 3)), sizes=((12, 2, 8), (14, 2, 100)))
        return StoredLog(BASE, (Entry(15, 4, EntryKind.COMMANDS, b"12345"),), disk.fetch, outline)

    def test_tells_terms_and_sizes(self, log):
        assert (log.first_index(), log.last_index()) == (11, 15)
        assert [log.term(index) for index in range(11, 16)] == [2, 2, 3, 3, 4]
        each = ENTRY_OVERHEAD
        assert list(log.sizes()) == [(12, 8 + 2 * each), (14, 100 + 2 * each), (15, 5 + each)]

    def test_has_no_entries_at_hand(self, log, disk):
        assert [entry.index for entry in log.entries(15, 16, UNBOUNDED)] == [15]
        assert log.entries(13, 16, UNBOUNDED) == ()
        assert disk.asked == [(13, 15)]

    def test_whoever_waits_for_entries_is_told_when_they_are_there(self, log, disk):
        told = []
        log.arrived = lambda: told.append(True)
        log.entries(13, 15, UNBOUNDED)
        disk.done(())
        assert told == []
        log.entries(13, 15, UNBOUNDED)
        disk.done(ENTRIES[2:4])
        assert told == [True]


class TestLater:
    @pytest.fixture(autouse=True)
    def _released(self, log):
        log.release()

    def test_what_is_not_at_hand_is_fetched_and_there_when_asked_for_again(self, log, disk):
        assert log.entries(12, 14, UNBOUNDED) == ()
        assert disk.asked == [(12, 13)]
        disk.done(ENTRIES[1:3])
        assert log.entries(12, 14, UNBOUNDED) == ENTRIES[1:3]
        assert log.entries(13, 14, UNBOUNDED) == ENTRIES[2:3]
        assert len(disk.asked) == 1

    def test_one_fetch_at_a_time_is_under_way(self, log, disk):
        assert log.entries(11, 16, UNBOUNDED) == log.entries(13, 16, UNBOUNDED) == ()
        assert disk.asked == [(11, 15)]
        disk.done(ENTRIES[:2])
        assert log.entries(13, 16, UNBOUNDED) == ()
        assert disk.asked == [(11, 15), (13, 15)]

    def test_a_long_stretch_is_fetched_in_pieces(self, log, disk):
        log.entries(100, 100_000, UNBOUNDED)
        assert disk.asked == [(100, 99 + FETCH_ENTRIES)]

    def test_a_fetch_that_finds_nothing_does_not_stand_in_the_way_of_the_next(self, log, disk):
        log.entries(11, 16, UNBOUNDED)
        disk.done(())
        assert log.entries(11, 16, UNBOUNDED) == ()
        assert len(disk.asked) == 2


class TestWhatIsReplaced:
    def test_is_not_given_any_more(self, log, disk):
        log.forget(13)
        assert log.entries(11, 16, UNBOUNDED) == ENTRIES[:2]
        assert log.entries(13, 16, UNBOUNDED) == ()
        assert disk.asked == [(13, 15)]
        disk.done(ENTRIES[2:])
        assert log.entries(13, 16, UNBOUNDED) == ENTRIES[2:]

    def test_by_a_snapshot_is_everything(self, log):
        log.forget(0)
        assert log.entries(11, 16, UNBOUNDED) == ()

    def test_while_it_is_being_read_is_not_used(self, log, disk):
        log.release()
        assert log.entries(11, 16, UNBOUNDED) == ()
        log.forget(14)
        log.forget(15)
        disk.done(ENTRIES)
        assert log.entries(11, 16, UNBOUNDED) == ENTRIES[:3]
        assert log.entries(14, 16, UNBOUNDED) == ()
        disk.done(ENTRIES[3:])
        assert log.entries(14, 16, UNBOUNDED) == ENTRIES[3:]
