"""The files stay as small as what they hold, in steps."""

import pytest

MIB = 1 << 20


def size_of(directory, name):
    return (directory / name).stat().st_size


def tend(store):
    steps = 0
    while store.upkeep():
        steps += 1
    return steps


class TestTheWriteAheadLog:
    def test_stays_short_however_much_is_appended(self, open_store, directory, entry):
        store = open_store()
        for index in range(1, 65):
            store.append([entry(index, data=bytes(MIB // 2))])
            while store.upkeep_overdue:
                store.upkeep()
        assert size_of(directory, "node.db-wal") < 8 * MIB

    def test_asks_for_upkeep_only_when_it_has_grown(self, open_store, entry):
        store = open_store()
        store.append([entry(1)])
        before = store.upkeep_overdue
        store.append([entry(2, data=bytes(5 * MIB))])
        assert (before, store.upkeep_overdue) == (False, True)

    def test_is_cut_after_a_transaction_that_made_it_long(self, open_store, directory, entry, mirror):
        store = open_store()
        store.append([entry(1)])
        store.write_mirror(mirror(1, segments=[(n, bytes(MIB)) for n in range(40)]))
        long = size_of(directory, "node.db-wal")
        tend(store)
        store.append([entry(2)])
        assert long > 40 * MIB
        assert size_of(directory, "node.db-wal") <= 17 * MIB


class TestABacklogThatDrained:
    @pytest.fixture
    def drained(self, open_store, directory, entry, mirror):
        store = open_store()
        store.append([entry(1), entry(2)])
        store.write_mirror(mirror(1, segments=[(n, bytes(MIB)) for n in range(150)], payloads=[(1, b"p")]))
        tend(store)
        assert size_of(directory, "node.db") > 150 * MIB
        store.write_mirror(mirror(2, segments=[(n, None) for n in range(149)]))
        return store

    def test_gives_its_space_back_in_many_small_steps(self, drained, directory):
        steps = tend(drained)
        assert steps > 5
        assert size_of(directory, "node.db") < 80 * MIB

    def test_harms_nothing_that_is_left(self, drained):
        tend(drained)
        assert list(drained.read_segments()) == [(149, bytes(MIB))]
        assert list(drained.read_payloads()) == [(1, b"p")]
        assert drained._db.execute("PRAGMA integrity_check").fetchone() == ("ok",)

    def test_gives_its_space_back_though_appends_never_pause(self, drained, directory, entry):
        last = 2
        for _ in range(400):
            drained.append([entry(last + number) for number in range(1, 1001)])
            last += 1000
            while drained.upkeep_overdue:
                drained.upkeep()
        assert size_of(directory, "node.db") < 120 * MIB

    def test_gives_its_space_back_after_a_restart_in_between(self, drained, open_store, directory):
        drained.upkeep()
        drained.close()
        tend(open_store())
        assert size_of(directory, "node.db") < 80 * MIB


class TestFreePages:
    def test_are_used_again_before_the_file_grows(self, open_store, directory, entry, mirror):
        store = open_store()
        sizes = []
        for round_ in range(4):
            for index in range(round_ * 20 + 1, round_ * 20 + 21):
                store.append([entry(index, data=bytes(MIB))])
            store.write_mirror(mirror(round_ * 20 + 20, compact_to=round_ * 20 + 20))
            tend(store)
            sizes.append(size_of(directory, "node.db"))
        assert max(sizes[1:]) <= sizes[0] + 5 * MIB


class TestDeletingCompactedEntries:
    def test_takes_large_rows_in_several_steps(self, open_store, entry, mirror):
        store = open_store()
        for index in range(1, 21):
            store.append([entry(index, data=bytes(MIB))])
        store.write_mirror(mirror(20, compact_to=20))
        while store.upkeep_overdue:
            store.upkeep()
        store.upkeep()
        (left,) = store._db.execute("SELECT count(*) FROM log").fetchone()
        assert 0 < left < 20
        tend(store)
        assert store._db.execute("SELECT count(*) FROM log").fetchone() == (0,)

    @pytest.mark.parametrize(("size", "rows"), [(MIB, 8), (1, 5000)])
    def test_becomes_overdue_when_appends_never_pause(self, open_store, entry, mirror, size, rows):
        store = open_store()
        index = 0
        for _ in range(10):
            for _ in range(8):
                store.append([entry(index + number, data=bytes(size)) for number in range(1, rows // 8 + 1)])
                index += rows // 8
                while store.upkeep_overdue:
                    store.upkeep()
            store.write_mirror(mirror(index, compact_to=index))
        (left,) = store._db.execute("SELECT count(*) FROM log").fetchone()
        assert left <= 3 * rows
