"""The log window against a plain list, and what must stop the node."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cluster.log import Entry, EntryKind
from cluster.raft import Configuration, MemoryStore, RaftInvariantError, SnapshotMeta, Write
from cluster.raft.window import ENTRY_OVERHEAD, LogWindow

MEMBERS = Configuration(("a",))


def entry(index, term=1, data=b""):
    return Entry(index, term, EntryKind.COMMANDS, data)


def window(*terms, base=0, base_term=0, applied=0, recent=1000):
    """A log on disk with entries of these terms after `base`."""
    meta = SnapshotMeta(base, base_term, MEMBERS)
    store = MemoryStore(meta)
    if terms:
        store.write(Write(1, entries=tuple(entry(base + n, term) for n, term in enumerate(terms, 1))))
    return LogWindow(store, meta, applied, recent)


class TestTerms:
    def test_every_position_has_its_term_and_nothing_outside(self):
        log = window(1, 1, 3, 3, 3, 7)
        assert [log.term(index) for index in range(-1, 9)] == [None, 0, 1, 1, 3, 3, 3, 7, None, None]

    def test_the_base_has_a_term_too(self):
        log = window(5, base=10, base_term=4)
        assert [log.term(index) for index in (9, 10, 11, 12)] == [None, 4, 5, None]

    @pytest.mark.parametrize(
        ("index", "term", "expected"),
        [(6, 7, 6), (6, 6, 5), (6, 3, 5), (6, 2, 2), (6, 1, 2), (4, 5, 4), (1, 9, 1), (6, 0, 0), (0, 5, 0)],
    )
    def test_the_last_place_at_or_below_a_term(self, index, term, expected):
        assert window(1, 1, 3, 3, 3, 7).last_at_or_below_term(index, term) == expected

    def test_terms_that_go_back_on_disk_stop_the_node(self):
        with pytest.raises(RaftInvariantError, match="term goes back to 2 at index 3"):
            window(1, 3, 2)

    def test_a_log_that_does_not_begin_after_its_base_stops_the_node(self):
        store = MemoryStore(SnapshotMeta(5, 1, MEMBERS))
        with pytest.raises(RaftInvariantError, match="begins at 6"):
            LogWindow(store, SnapshotMeta(9, 1, MEMBERS), 9, 0)

    def test_bug_19_a_state_machine_ahead_of_the_log_stops_the_node(self):
        with pytest.raises(RaftInvariantError, match="stands at 9, the log ends at 2"):
            window(1, 1, applied=9)


class TestUpToDate:
    @pytest.mark.parametrize(
        ("term", "index", "fits"),
        [(3, 3, True), (3, 4, True), (3, 2, False), (4, 1, True), (2, 99, False), (0, 0, False)],
    )
    def test_bug_04_later_term_first_then_longer_log(self, term, index, fits):
        assert window(1, 2, 3).is_behind(term, index) is fits


class TestTruncation:
    def test_bug_13_a_committed_entry_is_never_truncated(self):
        log = window(1, 1, 1)
        log.commit_to(2)
        with pytest.raises(RaftInvariantError, match="entry 2 would be truncated, but entries up to 2 are committed"):
            log.truncate(2)
        log.truncate(3)
        assert log.last_index == 2

    def test_bug_16_nothing_beyond_the_log_is_committed(self):
        with pytest.raises(RaftInvariantError, match="commit of 4 in a log that ends at 3"):
            window(1, 1, 1).commit_to(4)

    def test_commit_does_not_go_back(self):
        log = window(1, 1, 1)
        assert log.commit_to(3)
        assert not log.commit_to(1)
        assert log.commit == 3

    def test_append_leaves_no_hole_and_no_falling_terms(self):
        log = window(1, 2)
        with pytest.raises(RaftInvariantError, match="append at 4 to a log that ends at 2"):
            log.append((entry(4, 2),))
        with pytest.raises(RaftInvariantError, match="term 1 after term 2"):
            log.append((entry(3, 1),))


class TestStable:
    def test_it_follows_the_acknowledgements(self):
        log = window()
        log.append((entry(1), entry(2)))
        assert [e.index for e in log.take_unwritten(1)] == [1, 2]
        log.append((entry(3),))
        assert [e.index for e in log.take_unwritten(2)] == [3]
        assert log.write_covering(2) == 1
        assert log.write_covering(3) == 2
        assert log.persisted(1)
        assert log.stable == 2
        assert log.write_covering(2) == 0
        assert log.persisted(2)
        assert log.stable == 3

    def test_one_acknowledgement_may_stand_for_several_writes(self):
        log = window()
        log.append((entry(1),))
        log.take_unwritten(1)
        log.append((entry(2),))
        log.take_unwritten(2)
        log.persisted(2)
        assert log.stable == 2

    def test_bug_17_the_acknowledgement_of_an_overwritten_write_makes_nothing_stable(self):
        log = window(1)
        log.append((entry(2, 1), entry(3, 1)))
        log.take_unwritten(1)
        log.truncate(2)
        log.append((entry(2, 2), entry(3, 2)))
        log.take_unwritten(2)
        assert not log.persisted(1)
        assert log.stable == 1
        assert log.persisted(2)
        assert log.stable == 3

    def test_bug_17_not_even_when_the_same_entries_come_back(self):
        log = window(1)
        old = (entry(2, 1), entry(3, 1))
        log.append(old)
        log.take_unwritten(1)
        log.truncate(2)
        log.append((entry(2, 2),))
        log.take_unwritten(2)
        log.truncate(2)
        log.append(old)
        log.take_unwritten(3)
        # On disk are now entries 2 and 3 of term 1, but write 2, which is still to come, will take them away again.
        assert not log.persisted(1)
        assert log.stable == 1
        assert not log.persisted(2)
        assert log.persisted(3)
        assert log.stable == 3

    def test_a_write_without_entries_makes_nothing_stable(self):
        log = window()
        log.append((entry(1),))
        log.take_unwritten(1)
        log.take_unwritten(2)
        log.persisted(1)
        assert not log.persisted(2)


class TestApplying:
    def test_what_is_committed_is_handed_out_once_durable_here_or_not(self):
        log = window()
        log.append(tuple(entry(n) for n in range(1, 6)))
        log.commit_to(3)
        assert [e.index for e in log.take_committed(1000)] == [1, 2, 3]
        assert log.take_committed(1000) == ()
        log.take_unwritten(1)
        log.persisted(1)
        log.commit_to(5)
        assert [e.index for e in log.take_committed(1000)] == [4, 5]

    def test_nothing_is_handed_out_while_a_snapshot_is_being_installed(self):
        log = window(1, 1, 1)
        log.restore(SnapshotMeta(9, 5, MEMBERS))
        log.append((entry(10, 5),))
        log.commit_to(10)
        assert log.take_committed(1000) == ()
        log.take_unwritten(1)
        log.persisted(1)
        assert [e.index for e in log.take_committed(1000)] == [10]

    def test_bug_19_applied_is_never_ahead_of_what_was_handed_out(self):
        log = window(1, 1, 1)
        log.commit_to(3)
        with pytest.raises(RaftInvariantError, match="applied up to 3, but only entries up to 0"):
            log.applied_to(3)

    def test_it_is_bounded_in_bytes_but_never_stuck(self):
        log = window()
        log.append(tuple(entry(n, data=b"x" * 10) for n in range(1, 6)))
        log.take_unwritten(1)
        log.persisted(1)
        log.commit_to(5)
        assert [e.index for e in log.take_committed(25)] == [1, 2]
        assert [e.index for e in log.take_committed(1)] == [3]

    def test_old_entries_leave_memory_and_come_from_the_store(self):
        store = MemoryStore()
        log = LogWindow(store, SnapshotMeta(), 0, 10 * ENTRY_OVERHEAD)
        log.append(tuple(entry(n, data=b"%d" % n) for n in range(1, 101)))
        store.write(Write(1, entries=log.take_unwritten(1)))
        log.persisted(1)
        log.commit_to(100)
        taken = log.take_committed(10_000)
        log.applied_to(100)
        assert len(log._entries) < 10
        assert log.entries(1, 101, 10_000) + log.entries(log._offset, 101, 10_000) == taken

    def test_what_is_not_durable_or_not_applied_stays_in_memory(self):
        log = window(recent=0)
        log.append(tuple(entry(n) for n in range(1, 11)))
        log.take_unwritten(1)
        log.persisted(1)
        log.append((entry(11),))
        log.commit_to(8)
        log.take_committed(1000)
        log.applied_to(4)
        assert log._offset == 5

    def test_a_store_that_gives_the_wrong_entries_stops_the_node(self):
        class Confused(MemoryStore):
            def entries(self, low, high, max_bytes):
                return super().entries(low + 1, high + 1, max_bytes)

        store = Confused()
        store.write(Write(1, entries=tuple(entry(n) for n in range(1, 5))))
        log = LogWindow(store, SnapshotMeta(), 0, 0)
        with pytest.raises(RaftInvariantError, match=r"gave 2\.\.3 for entries from 1"):
            log.entries(1, 3, 100)

    def test_a_store_is_told_what_of_it_is_replaced(self):
        """It may have entries at hand, which must not come back when those in their place have left memory."""

        class Forgetful(MemoryStore):
            def __init__(self):
                super().__init__()
                self.forgotten = []

            def forget(self, index):
                self.forgotten.append(index)

        store = Forgetful()
        store.write(Write(1, entries=tuple(entry(n) for n in range(1, 6))))
        log = LogWindow(store, SnapshotMeta(), 0, 0)
        log.truncate(3)
        log.restore(SnapshotMeta(9, 2, MEMBERS))
        assert store.forgotten == [3, 0]


class TestCompaction:
    def test_terms_stay_known_from_the_new_base_on(self):
        log = window(1, 1, 3, 3, 7, applied=4)
        log.compact(3)
        assert [log.term(index) for index in range(2, 7)] == [None, 3, 3, 7, None]
        assert log.last_at_or_below_term(5, 1) == 3

    def test_not_beyond_what_is_applied(self):
        with pytest.raises(RaftInvariantError, match="compaction to 5"):
            window(1, 1, 3, 3, 7, applied=4).compact(5)

    def test_a_snapshot_replaces_everything(self):
        log = window(1, 1, 1)
        log.append((entry(4, 2),))
        log.take_unwritten(1)
        log.restore(SnapshotMeta(9, 5, MEMBERS))
        assert (log.base_index, log.last_index, log.last_term, log.commit, log.applied) == (9, 9, 5, 9, 9)
        assert log.term(4) is None
        # The write under way is of the old log; the new one, and its base, are durable with the next.
        assert not log.persisted(1)
        assert log.stable < 9
        assert log.write_covering(9) is None
        log.take_unwritten(2)
        assert log.write_covering(9) == 2
        assert log.persisted(2)
        assert log.stable == 9

    def test_a_snapshot_never_takes_back_what_is_committed(self):
        log = window(1, 1, 1)
        log.commit_to(3)
        with pytest.raises(RaftInvariantError, match="would take back"):
            log.restore(SnapshotMeta(3, 1, MEMBERS))


class AgainstAList(RuleBasedStateMachine):
    """Every operation on the window and on a plain list of (index, term), with a disk that follows behind."""

    def __init__(self):
        super().__init__()
        self.store = MemoryStore()
        self.log = LogWindow(self.store, SnapshotMeta(), 0, 3 * ENTRY_OVERHEAD)
        self.terms = [0]
        self.base = 0
        self.term = 1
        self.commit = self.applied = 0
        self.sequence = 0
        self.under_way = []

    @rule()
    def new_term(self):
        self.term += 1

    @rule(count=st.integers(1, 4))
    def append(self, count):
        self.log.append(tuple(entry(len(self.terms) + n, self.term, b"x" * n) for n in range(count)))
        self.terms += [self.term] * count

    @rule(data=st.data())
    def truncate(self, data):
        if len(self.terms) - 1 > self.commit:
            index = data.draw(st.integers(self.commit + 1, len(self.terms) - 1))
            self.log.truncate(index)
            del self.terms[index:]

    @rule()
    def write(self):
        self.sequence += 1
        self.under_way.append(Write(self.sequence, entries=self.log.take_unwritten(self.sequence)))

    @precondition(lambda self: self.under_way)
    @rule()
    def persist(self):
        write = self.under_way.pop(0)
        self.store.write(write)
        self.log.persisted(write.sequence)

    @rule(data=st.data())
    def commit_some(self, data):
        self.commit = data.draw(st.integers(self.commit, len(self.terms) - 1))
        self.log.commit_to(self.commit)

    @rule(size=st.integers(0, 10))
    def apply(self, size):
        taken = self.log.take_committed(size)
        for e in taken:
            self.applied += 1
            assert (e.index, e.term) == (self.applied, self.terms[self.applied])
        if taken:
            self.log.applied_to(self.applied)

    @rule(data=st.data())
    def compact(self, data):
        index = data.draw(st.integers(self.base, max(self.base, min(self.applied, self.log.stable))))
        if index > self.base:
            self.log.compact(index)
            self.base = index

    @invariant()
    def terms_agree(self):
        assert self.log.last_index == len(self.terms) - 1
        assert self.log.last_term == self.terms[-1]
        for index, term in enumerate(self.terms):
            assert self.log.term(index) == (term if index >= self.base else None)

    @invariant()
    def what_counts_as_stable_is_on_the_disk_and_will_stay(self):
        assert self.log.stable <= self.log.written <= self.log.last_index
        for index in range(self.store.base.index + 1, self.log.stable + 1):
            assert self.store.term(index) == self.terms[index]
        for write in self.under_way:
            assert not write.entries or write.entries[0].index > self.log.stable

    @invariant()
    def every_entry_can_be_had(self):
        for low in range(self.base + 1, len(self.terms)):
            found = self.log.entries(low, len(self.terms), 1000)
            assert found
            assert [e.term for e in found] == self.terms[low : low + len(found)]


TestAgainstAList = AgainstAList.TestCase
