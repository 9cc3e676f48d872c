"""Snapshots that go: the mirror read beside the writer, as it stood, from front to back."""

import queue
import random
import threading
import tracemalloc

import pytest

from cluster.storage import (
    ClosedError,
    CorruptionError,
    Install,
    Piece,
    SnapshotReader,
    StorageThread,
    Store,
)

PATIENCE = 20.0


def read_to_end(reader, size=1 << 18):
    stream = bytearray()
    done = False
    while not done:
        piece, done = reader.read(size)
        stream += piece
    return bytes(stream)


def install(directory, stream, index, term=1):
    store = Store.open(directory)
    for offset in range(0, len(stream), 1 << 18):
        store.write(pieces=[Piece(offset, stream[offset : offset + (1 << 18)])])
    store.write(install=Install(index, term))
    return store


@pytest.fixture
def filled(open_store, entry, mirror):
    """A store with a mirror of entry 5: segments, payloads, and a log that goes on to 9."""
    store = open_store()
    store.append([entry(index) for index in range(1, 10)])
    store.write_mirror(
        mirror(
            5,
            meta=b"meta",
            segments=[(number, bytes([number]) * 20_000) for number in range(1, 40)],
            payloads=[(number * 1000, bytes([number]) * 50_000) for number in range(1, 20)],
            compact_to=3,
        )
    )
    return store


class TestASnapshot:
    def test_makes_of_another_store_the_same(self, filled, tmp_path):
        reader = SnapshotReader(filled.view())
        other = install(tmp_path / "other", read_to_end(reader), 5)
        assert (reader.index, reader.term) == (5, 1)
        assert list(other.read_segments()) == list(filled.read_segments())
        assert list(other.read_payloads()) == list(filled.read_payloads())
        recovered = other.recover()
        assert (recovered.applied_index, recovered.meta, recovered.first_index) == (5, b"meta", 6)
        other.close()

    def test_of_a_store_that_only_just_began_is_one_too(self, open_store, tmp_path):
        store = open_store()
        store.found(1, 1, b"beginning")
        other = install(tmp_path / "other", read_to_end(SnapshotReader(store.view())), 1)
        assert (other.recover().meta, other.recover().last_index) == (b"beginning", 1)
        other.close()

    def test_is_the_same_in_pieces_of_any_size(self, filled):
        streams = {read_to_end(SnapshotReader(filled.view()), size) for size in (997, 16_384, 50_011, 1 << 26)}
        assert len(streams) == 1

    def test_comes_in_full_pieces_and_the_last_says_so(self, filled):
        reader = SnapshotReader(filled.view())
        length = len(read_to_end(SnapshotReader(filled.view())))
        size = length // 4
        pieces = [reader.read(size) for _ in range(-(-length // size))]
        assert [len(data) for data, _ in pieces[:-1]] == [size] * (len(pieces) - 1)
        assert [done for _, done in pieces] == [False] * (len(pieces) - 1) + [True]
        assert reader.read(size) == (b"", True)

    def test_stands_at_the_mirror_of_the_moment_it_was_opened(self, filled, mirror, tmp_path):
        segments, payloads = list(filled.read_segments()), list(filled.read_payloads())
        reader = SnapshotReader(filled.view())
        filled.write_mirror(
            mirror(7, meta=b"later", segments=[(1, None), (2, b"new")], payloads=[(1, b"new")], dropped_payloads=[2000])
        )
        other = install(tmp_path / "other", read_to_end(reader), 5)
        assert (list(other.read_segments()), list(other.read_payloads())) == (segments, payloads)
        other.close()
        assert filled.recover().applied_index == 7

    def test_leaves_out_payloads_of_a_mirror_that_is_not_complete(self, filled, tmp_path):
        payloads = list(filled.read_payloads())
        filled.stage(8, payloads=[(7, b"early"), (999_999, b"early")])
        other = install(tmp_path / "other", read_to_end(SnapshotReader(filled.view())), 5)
        assert list(other.read_payloads()) == payloads
        other.close()

    def test_holds_a_piece_and_a_record_in_memory(self, filled, mirror):
        rows = [(number, bytes(200_000)) for number in range(200)]
        filled.write_mirror(mirror(6, segments=rows, payloads=rows))
        del rows
        reader = SnapshotReader(filled.view())
        tracemalloc.start()
        try:
            done = False
            while not done:
                _, done = reader.read(1 << 18)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 2 << 20

    @pytest.mark.parametrize("table", ["segments", "payloads"])
    def test_of_a_damaged_mirror_ends_with_an_error_and_never_as_if_it_were_whole(self, filled, table):
        filled._db.execute(f"UPDATE {table} SET data = x'00' WHERE data = (SELECT max(data) FROM {table})")
        reader = SnapshotReader(filled.view())
        with pytest.raises(CorruptionError, match=f"of {table} has a wrong checksum"):
            read_to_end(reader)
        with pytest.raises(ClosedError):
            reader.read(1000)

    def test_of_a_mirror_that_lacks_a_segment_ends_with_an_error(self, filled):
        filled._db.execute("DELETE FROM segments WHERE id = 4")
        with pytest.raises(CorruptionError, match="39 segments were written, 38 are there"):
            read_to_end(SnapshotReader(filled.view()))

    def test_of_a_mirror_with_a_damaged_state_is_not_begun(self, filled):
        filled._db.execute("UPDATE mirror SET meta = x'00'")
        with pytest.raises(CorruptionError, match="the mirror's state has a wrong checksum"):
            filled.view()


class TestClosing:
    def test_is_possible_at_any_time_and_ends_the_reading(self, filled):
        reader = SnapshotReader(filled.view())
        reader.read(100_000)
        reader.close()
        reader.close()
        with pytest.raises(ClosedError, match="closed while it was being read"):
            reader.read(1)

    def test_from_another_thread_ends_the_reading(self, filled):
        view = filled.view()
        segments = view.segments()
        next(segments)
        closing = threading.Thread(target=view.close)
        closing.start()
        closing.join(PATIENCE)
        with pytest.raises(ClosedError):
            next(segments)

    def test_of_the_store_closes_what_is_being_read_and_leaves_no_write_ahead_log(self, filled, directory):
        readers = [SnapshotReader(filled.view()) for _ in range(3)]
        for reader in readers:
            reader.read(50_000)
        filled.close()
        assert sorted(path.name for path in directory.iterdir()) == ["node.db", "node.lock"]
        with pytest.raises(ClosedError):
            readers[0].read(1)
        with pytest.raises(ClosedError, match=r"node\.db is closed"):
            filled.view()

    def test_lets_the_write_ahead_log_begin_anew(self, filled, entry, directory):
        def write_and_keep_up(first):
            for index in range(first, first + 30):
                filled.append([entry(index, data=bytes(1 << 20))])
                while filled.upkeep():
                    pass
            return (directory / "node.db-wal").stat().st_size

        reader = SnapshotReader(filled.view())
        reader.read(50_000)
        assert write_and_keep_up(10) > 30 << 20
        reader.close()
        assert write_and_keep_up(40) <= 17 << 20


class TestAView:
    def test_gives_the_mirror_as_it_stands(self, filled):
        with filled.view() as view:
            assert (view.applied_index, view.applied_term, view.meta) == (5, 1, b"meta")
            assert list(view.segments()) == list(filled.read_segments())
            assert list(view.payloads()) == list(filled.read_payloads())
        assert view.closed

    def test_of_a_path_with_strange_characters(self, tmp_path, entry):
        store = Store.open(tmp_path / "a?b#c %41 ü")
        store.found(1, 1, b"m")
        with store.view() as view:
            assert view.meta == b"m"
        store.close()


class TestReadingWhileTheNodeGoesOn:
    def test_gives_one_moment_of_thousands_of_jobs_while_appends_and_mirrors_go_on(
        self, directory, tmp_path, entry, mirror
    ):
        """Every row says which mirror wrote it last: a mixture of two moments would be seen."""
        mirrored = queue.SimpleQueue()
        failures = []
        thread = StorageThread(Store.open(directory), lambda callback: callback(), failures.append)
        thread.start()
        generator = random.Random(5)
        table = {"segments": {}, "payloads": {}}
        moments = {}

        def go_on(index):
            thread.append([entry(index, data=bytes(generator.randrange(4000)))], None, lambda: None)
            mark = b"%d:" % index
            segments = dict.fromkeys(generator.sample(range(2000), 400 if index == 1 else 40), mark * 100)
            payloads = {index * 100 + n: mark * generator.choice([2000, 300_000]) for n in range(3)}
            dropped = generator.sample(sorted(table["payloads"]), 2) if index > 3 else []
            table["segments"] = table["segments"] | segments
            kept = {n: d for n, d in table["payloads"].items() if n not in dropped}
            table["payloads"] = kept | payloads
            moments[index] = dict(table)
            thread.mirror(
                mirror(
                    index,
                    meta=mark,
                    segments=list(segments.items()),
                    payloads=list(payloads.items()),
                    dropped_payloads=dropped,
                    compact_to=index - 1,
                ),
                lambda: mirrored.put(index),
            )

        for index in range(1, 20):
            go_on(index)
        reached = 20
        seen = set()
        for number in range(4):
            mirrored.get(timeout=PATIENCE)
            reader = SnapshotReader(thread.view())
            stream = bytearray()
            done = False
            while not done:
                piece, done = reader.read(100_000)
                stream += piece
                if len(stream) % 1_000_000 < 100_000:
                    go_on(reached)
                    reached += 1
            seen.add(reader.index)
            other = install(tmp_path / str(number), bytes(stream), reader.index)
            moment = moments[reader.index]
            assert dict(other.read_segments()) == moment["segments"]
            assert dict(other.read_payloads()) == moment["payloads"]
            assert other.recover().meta == b"%d:" % reader.index
            other.close()
        thread.close()
        assert failures == []
        assert len(seen) > 1
        assert reached > 24
