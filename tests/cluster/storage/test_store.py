"""What goes in comes back: the log, the hard state, the mirror, and how they change together."""

import pytest

from cluster.log import Entry, EntryKind, HardState
from cluster.storage import MisuseError, Recovered
from cluster.storage.blobs import ROWS_PER_STATEMENT


def log_of(store):
    recovered = store.recover()
    return list(store.read_entries(recovered.first_index, recovered.last_index))


class TestAnEmptyStore:
    def test_stands_at_the_beginning(self, open_store):
        assert open_store().recover() == Recovered(HardState(), 0, 0, b"", 1, 0, 0)

    def test_is_made_with_its_parent_directories(self, open_store, directory):
        open_store()
        assert (directory / "node.db").is_file()

    def test_holds_nothing_to_read(self, open_store):
        store = open_store()
        assert (log_of(store), list(store.read_segments()), list(store.read_payloads())) == ([], [], [])


class TestAppending:
    def test_one_entry_is_there_after_reopening(self, open_store, entry):
        store = open_store()
        store.append([entry(1)])
        store.close()
        assert log_of(open_store()) == [entry(1)]

    def test_every_kind_of_entry_comes_back_as_it_was(self, open_store):
        entries = [Entry(i, i, kind, bytes([i]) * i) for i, kind in enumerate(EntryKind, 1)]
        store = open_store()
        store.append(entries)
        assert log_of(store) == entries

    @pytest.mark.parametrize("count", [2, ROWS_PER_STATEMENT, ROWS_PER_STATEMENT + 1, 3 * ROWS_PER_STATEMENT])
    def test_many_entries_in_one_call_keep_their_order(self, open_store, entry, count):
        entries = [entry(index) for index in range(1, count + 1)]
        store = open_store()
        store.append(entries)
        assert log_of(store) == entries

    def test_entries_of_several_mebibytes_come_back_whole(self, open_store, entry):
        entries = [entry(index, data=bytes([index]) * (3 << 20)) for index in range(1, 4)]
        store = open_store()
        store.append(entries)
        assert log_of(store) == entries

    def test_a_part_of_the_log_can_be_read(self, open_store, entry):
        store = open_store()
        store.append([entry(index) for index in range(1, 10)])
        assert list(store.read_entries(4, 6)) == [entry(4), entry(5), entry(6)]

    def test_the_hard_state_is_written_with_the_entries(self, open_store, entry):
        store = open_store()
        store.append([entry(1)], HardState(3, "b"))
        store.close()
        store = open_store()
        assert (store.recover().hard_state, log_of(store)) == (HardState(3, "b"), [entry(1)])

    def test_the_hard_state_can_be_written_alone(self, open_store):
        store = open_store()
        store.append([], HardState(7, "node-ä"))
        store.close()
        assert open_store().recover().hard_state == HardState(7, "node-ä")

    def test_nothing_at_all_can_be_appended(self, open_store):
        store = open_store()
        store.append([])
        assert store.recover().last_index == 0

    @pytest.mark.parametrize(("count", "statements"), [(1, 1), (ROWS_PER_STATEMENT, 1)])
    def test_entries_without_a_hard_state_are_one_statement_outside_a_transaction(
        self, open_store, entry, failing_connection, count, statements
    ):
        seen = []
        store = open_store(connection=failing_connection)
        store._db.set_trace_callback(seen.append)
        store.append([entry(index) for index in range(1, count + 1)])
        assert [sql.split()[0] for sql in seen] == ["INSERT"] * statements

    def test_every_commit_waits_for_the_disk(self, open_store):
        assert open_store()._db.execute("PRAGMA synchronous").fetchone() == (2,)


class TestReplacing:
    def test_everything_from_the_first_entry_on_is_replaced(self, open_store, entry):
        store = open_store()
        store.append([entry(index) for index in range(1, 11)])
        store.append([entry(4, term=2), entry(5, term=2)])
        store.close()
        assert log_of(open_store()) == [entry(1), entry(2), entry(3), entry(4, term=2), entry(5, term=2)]

    def test_the_only_entry_can_be_replaced(self, open_store, entry):
        store = open_store()
        store.append([entry(1)])
        store.append([entry(1, term=2)])
        assert log_of(store) == [entry(1, term=2)]

    def test_the_log_goes_on_after_the_replacement(self, open_store, entry):
        store = open_store()
        store.append([entry(1), entry(2), entry(3)])
        store.append([entry(2, term=2)])
        store.append([entry(3, term=2)])
        assert log_of(store) == [entry(1), entry(2, term=2), entry(3, term=2)]


class TestMisuse:
    def test_a_gap_after_the_log_is_refused(self, open_store, entry):
        store = open_store()
        store.append([entry(1)])
        with pytest.raises(MisuseError, match="entry 3 was offered to a log of 1 entries"):
            store.append([entry(3)])

    def test_a_gap_within_the_entries_is_refused(self, open_store, entry):
        with pytest.raises(MisuseError, match="entry 3 was offered where entry 2 belongs"):
            open_store().append([entry(1), entry(3)])

    def test_an_applied_entry_is_never_replaced(self, open_store, entry, mirror):
        store = open_store()
        store.append([entry(1), entry(2)])
        store.write_mirror(mirror(1))
        with pytest.raises(MisuseError, match="1 of them applied"):
            store.append([entry(1, term=2)])

    def test_a_mirror_beyond_the_log_is_refused(self, open_store, mirror):
        with pytest.raises(MisuseError, match="a mirror of entry 1 was offered"):
            open_store().write_mirror(mirror(1))

    def test_a_mirror_does_not_go_back(self, open_store, entry, mirror):
        store = open_store()
        store.append([entry(1), entry(2)])
        store.write_mirror(mirror(2))
        with pytest.raises(MisuseError, match="after one of 2"):
            store.write_mirror(mirror(1))

    def test_compaction_stops_at_the_mirror(self, open_store, entry, mirror):
        store = open_store()
        store.append([entry(1), entry(2)])
        with pytest.raises(MisuseError, match="beyond the mirror's 1"):
            store.write_mirror(mirror(1, compact_to=2))

    def test_entries_outside_the_log_cannot_be_read(self, open_store, entry):
        store = open_store()
        store.append([entry(1)])
        with pytest.raises(MisuseError, match=r"entries 1\.\.2 were asked for, the log has 1\.\.1"):
            list(store.read_entries(1, 2))

    def test_a_refusal_changes_nothing_and_the_store_goes_on(self, open_store, entry):
        store = open_store()
        store.append([entry(1)])
        with pytest.raises(MisuseError):
            store.append([entry(3)], HardState(9, "x"))
        store.append([entry(2)])
        assert (log_of(store), store.recover().hard_state) == ([entry(1), entry(2)], HardState())


class TestTheMirror:
    def test_comes_back_with_all_its_parts(self, open_store, entry, mirror):
        store = open_store()
        store.append([entry(1), entry(2, term=5)])
        store.write_mirror(
            mirror(2, applied_term=5, meta=b"m", segments=[(3, b"c"), (1, b"a" * 70_000)], payloads=[(9, b"p")])
        )
        store.close()
        store = open_store()
        recovered = store.recover()
        assert (recovered.applied_index, recovered.applied_term, recovered.meta) == (2, 5, b"m")
        assert list(store.read_segments()) == [(1, b"a" * 70_000), (3, b"c")]
        assert list(store.read_payloads()) == [(9, b"p")]

    def test_changes_only_what_it_names(self, open_store, entry, mirror):
        store = open_store()
        store.append([entry(1), entry(2)])
        store.write_mirror(mirror(1, segments=[(1, b"a"), (2, b"b"), (3, b"c")], payloads=[(1, b"x"), (2, b"y")]))
        store.write_mirror(mirror(2, segments=[(2, b"B"), (3, None), (7, None)], dropped_payloads=[1, 8]))
        assert list(store.read_segments()) == [(1, b"a"), (2, b"B")]
        assert list(store.read_payloads()) == [(2, b"y")]

    def test_can_have_more_rows_than_a_statement(self, open_store, entry, mirror):
        count = 3 * ROWS_PER_STATEMENT + 1
        store = open_store()
        store.append([entry(1), entry(2)])
        rows = [(number, str(number).encode()) for number in range(count)]
        store.write_mirror(mirror(1, segments=rows, payloads=rows))
        assert (list(store.read_segments()), list(store.read_payloads())) == (rows, rows)
        store.write_mirror(mirror(2, segments=[(n, None) for n in range(count)], dropped_payloads=list(range(count))))
        assert (list(store.read_segments()), list(store.read_payloads())) == ([], [])

    def test_may_be_written_again_for_the_same_entry(self, open_store, entry, mirror):
        store = open_store()
        store.append([entry(1)])
        store.write_mirror(mirror(1, meta=b"a"))
        store.write_mirror(mirror(1, meta=b"b"))
        assert store.recover().meta == b"b"

    def test_staged_payloads_belong_to_the_mirror_that_completes_them(self, open_store, entry, mirror):
        store = open_store()
        store.append([entry(1)])
        store.stage(1, payloads=[(4, b"early")])
        store.write_mirror(mirror(1, payloads=[(5, b"late")]))
        store.close()
        assert list(open_store().read_payloads()) == [(4, b"early"), (5, b"late")]

    def test_staged_segments_belong_to_the_mirror_that_completes_them(self, open_store, entry, mirror):
        store = open_store()
        store.append([entry(1), entry(2)])
        store.write_mirror(mirror(1, segments=[(1, b"old"), (2, b"kept")]))
        store.stage(2, segments=[(7, b"early"), (8, b"early")])
        store.write_mirror(mirror(2, segments=[(1, b"new"), (9, b"late")]))
        expected = [(1, b"new"), (2, b"kept"), (7, b"early"), (8, b"early"), (9, b"late")]
        assert list(store.read_segments()) == expected
        store.write_mirror(mirror(2, segments=[(8, None)]))
        store.close()
        assert list(open_store().read_segments()) == [row for row in expected if row[0] != 8]

    def test_staged_segments_are_nobody_s_before(self, open_store, entry, mirror):
        store = open_store()
        store.append([entry(1), entry(2)])
        store.write_mirror(mirror(1, segments=[(1, b"old")]))
        store.stage(2, segments=[(7, b"early")])
        with store.view() as view:
            assert list(view.segments()) == list(store.read_segments()) == [(1, b"old")]
        store.close()
        assert list(open_store().read_segments()) == [(1, b"old")]

    @pytest.mark.parametrize(("index", "segment"), [(2, 1), (1, 7)])
    def test_a_segment_that_somebody_reads_cannot_be_staged(self, open_store, entry, mirror, index, segment):
        store = open_store()
        store.append([entry(1), entry(2)])
        store.write_mirror(mirror(1, segments=[(1, b"old")]))
        with pytest.raises(MisuseError, match=f"segment {segment} was to be replaced"):
            store.stage(index, segments=[(segment, b"new")])
        assert list(store.read_segments()) == [(1, b"old")]

    def test_staged_payloads_of_a_mirror_that_never_came_are_gone_at_the_next_start(self, open_store, entry, mirror):
        store = open_store()
        store.append([entry(1), entry(2)])
        store.write_mirror(mirror(1, payloads=[(1, b"kept")]))
        store.stage(2, payloads=[(4, b"early")])
        store.close()
        assert list(open_store().read_payloads()) == [(1, b"kept")]


class TestCompaction:
    def test_takes_the_log_up_to_its_index(self, open_store, entry, mirror):
        store = open_store()
        store.append([entry(index) for index in range(1, 6)])
        store.write_mirror(mirror(4, compact_to=3))
        assert (store.recover().first_index, log_of(store)) == (4, [entry(4), entry(5)])

    def test_can_take_the_whole_log_which_then_goes_on_where_it_was(self, open_store, entry, mirror):
        store = open_store()
        store.append([entry(1), entry(2)])
        store.write_mirror(mirror(2, compact_to=2))
        store.close()
        store = open_store()
        recovered = store.recover()
        assert (recovered.first_index, recovered.last_index) == (3, 2)
        store.append([entry(3)])
        assert log_of(store) == [entry(3)]

    def test_remembers_the_term_of_the_last_entry_that_went(self, open_store, entry, mirror):
        store = open_store()
        store.append([entry(1, term=1), entry(2, term=4), entry(3, term=6)])
        terms = [store.recover().compacted_term]
        for applied, compact_to in ((3, 2), (3, 2), (3, 3)):
            store.write_mirror(mirror(applied, applied_term=6, compact_to=compact_to))
            terms.append(store.recover().compacted_term)
        assert terms == [0, 4, 4, 6]

    def test_never_goes_back(self, open_store, entry, mirror):
        store = open_store()
        store.append([entry(1), entry(2)])
        store.write_mirror(mirror(2, compact_to=2))
        store.write_mirror(mirror(2, compact_to=1))
        assert store.recover().first_index == 3

    def test_is_complete_before_its_rows_are_deleted(self, open_store, entry, mirror):
        store = open_store()
        store.append([entry(index) for index in range(1, 6)])
        store.write_mirror(mirror(3, compact_to=3))
        store.close()
        store = open_store()
        assert log_of(store) == [entry(4), entry(5)]
        while store.upkeep():
            pass
        assert store._db.execute("SELECT min(idx), count(*) FROM log").fetchone() == (4, 2)
        assert log_of(store) == [entry(4), entry(5)]


class TestClosing:
    def test_may_be_done_twice(self, open_store):
        store = open_store()
        store.close()
        store.close()
        assert open_store().recover().last_index == 0

    def test_leaves_no_write_ahead_log(self, open_store, entry, directory):
        store = open_store()
        store.append([entry(1)])
        store.close()
        assert sorted(path.name for path in directory.iterdir()) == ["node.db", "node.lock"]
