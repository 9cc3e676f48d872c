"""Snapshots that come: put aside, checked, installed whole or not at all."""

import signal
import sqlite3
import struct
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path
from unittest.mock import Mock

import pytest

from cluster.log import HardState
from cluster.storage import (
    CorruptionError,
    DiskFailureError,
    DiskFullError,
    Install,
    MisuseError,
    Piece,
    UnusableSnapshotError,
)
from cluster.storage.stream import Header, encode
from cluster.storage.wal import survey

INSTALLER = Path(__file__).with_name("installer.py")
SEGMENTS = [(1, b"one"), (3, b"three" * 9000), (7, b"")]
PAYLOADS = [(2, b"two"), (700, bytes(300_000))]


def stream_of(index=9, term=4, meta=b"meta", segments=SEGMENTS, payloads=PAYLOADS):
    return b"".join(encode(Header(index, term, meta), segments, payloads))


def sealed(stream):
    """Give a stream that was changed the checksum that it should have."""
    return stream[:-4] + struct.pack("<I", zlib.crc32(stream[:-4]))


def state_of(store):
    recovered = store.recover()
    entries = list(store.read_entries(recovered.first_index, recovered.last_index))
    return recovered, entries, list(store.read_segments()), list(store.read_payloads())


@pytest.fixture
def settled(open_store, entry, mirror):
    """A store with something in every table, a log from 3 to 12 and a mirror of 5."""
    store = open_store()
    store.append([entry(index) for index in range(1, 13)], HardState(2, "old"))
    store.write_mirror(mirror(5, meta=b"old", segments=[(1, b"x"), (2, b"y")], payloads=[(9, b"z")], compact_to=2))
    return store


class TestInstalling:
    def test_replaces_mirror_and_log_and_all_is_there_after_reopening(self, settled, open_store):
        settled.write(pieces=[Piece(0, stream_of())], install=Install(9, 4))
        settled.close()
        store = open_store()
        recovered, entries, segments, payloads = state_of(store)
        assert (segments, payloads, entries) == (SEGMENTS, PAYLOADS, [])
        assert (recovered.applied_index, recovered.applied_term, recovered.meta) == (9, 4, b"meta")
        assert (recovered.first_index, recovered.last_index, recovered.compacted_term) == (10, 9, 4)
        assert recovered.hard_state == HardState(2, "old")

    def test_takes_the_log_on_both_sides_and_the_next_entries_go_behind_it(self, settled, entry):
        settled.write(
            [entry(10, term=4), entry(11, term=4)], HardState(4, "new"), [Piece(0, stream_of())], Install(9, 4)
        )
        recovered, entries, _, _ = state_of(settled)
        assert entries == [entry(10, term=4), entry(11, term=4)]
        assert recovered.hard_state == HardState(4, "new")
        settled.append([entry(12, term=4)])
        assert settled._db.execute("SELECT min(idx), max(idx), count(*) FROM log").fetchone() == (10, 12, 3)

    def test_of_a_position_far_beyond_the_log(self, settled, mirror, entry):
        settled.write(pieces=[Piece(0, stream_of(index=5000))], install=Install(5000, 4))
        settled.append([entry(5001, term=4)])
        settled.write_mirror(mirror(5001, applied_term=4, segments=[(3, None)], compact_to=5001))
        assert state_of(settled)[2] == [SEGMENTS[0], SEGMENTS[2]]

    def test_of_an_empty_table_leaves_an_empty_one(self, settled):
        settled.write(pieces=[Piece(0, stream_of(segments=[], payloads=[]))], install=Install(9, 4))
        assert state_of(settled)[2:] == ([], [])

    def test_takes_payloads_of_a_mirror_that_never_came(self, settled, open_store):
        settled.stage(6, payloads=[(44, b"early")])
        settled.write(pieces=[Piece(0, stream_of())], install=Install(9, 4))
        settled.close()
        assert list(open_store().read_payloads()) == PAYLOADS

    def test_leaves_nothing_put_aside(self, settled):
        settled.write(pieces=[Piece(0, stream_of())], install=Install(9, 4))
        assert settled._db.execute("SELECT count(*) FROM spool").fetchone() == (0,)
        with pytest.raises(UnusableSnapshotError):
            settled.write(install=Install(10, 4))

    def test_keeps_of_the_senders_meta_what_this_node_adopts(self, settled, open_store):
        settled.write(pieces=[Piece(0, stream_of())], install=Install(9, 4, lambda meta: meta + b" of this node"))
        settled.close()
        assert open_store().recover().meta == b"meta of this node"

    def test_can_follow_on_another(self, settled):
        settled.write(pieces=[Piece(0, stream_of())], install=Install(9, 4))
        settled.write(pieces=[Piece(0, stream_of(index=20, segments=[(5, b"5")]))], install=Install(20, 4))
        assert state_of(settled)[2] == [(5, b"5")]

    def test_gives_free_space_back_afterwards(self, settled, directory):
        payloads = [(number, bytes(1 << 20)) for number in range(150)]
        stream = stream_of(payloads=payloads)
        for offset in range(0, len(stream), 1 << 20):
            settled.write(pieces=[Piece(offset, stream[offset : offset + (1 << 20)])])
        settled.write(install=Install(9, 4))
        settled.write(pieces=[Piece(0, stream_of(index=10))], install=Install(10, 4))
        while settled.upkeep():
            pass
        settled.close()
        assert (directory / "node.db").stat().st_size < 80 << 20

    def test_holds_a_record_in_memory_not_the_snapshot(self, settled):
        stream = stream_of(payloads=[(number, bytes(100_000)) for number in range(300)])
        tracemalloc.start()
        try:
            for offset in range(0, len(stream), 1 << 18):
                settled.write(pieces=[Piece(offset, stream[offset : offset + (1 << 18)])])
            settled.write(install=Install(9, 4))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 8 << 20


class TestPuttingAside:
    @pytest.mark.parametrize("size", [1, 7, 100, 50_000])
    def test_may_be_in_pieces_of_any_size(self, settled, size):
        stream = stream_of(segments=SEGMENTS[:1], payloads=PAYLOADS[:1]) if size < 100 else stream_of()
        settled.write(pieces=[Piece(at, stream[at : at + size]) for at in range(0, len(stream), size)])
        settled.write(install=Install(9, 4))
        assert state_of(settled)[2][0] == SEGMENTS[0]

    def test_goes_on_from_any_byte_of_what_is_there(self, settled):
        stream = stream_of()
        pieces = [(0, 1000), (1000, 3000), (1700, 2500), (2500, 2500), (1000, 1001), (1001, len(stream))]
        settled.write(pieces=[Piece(start, stream[start:end]) for start, end in pieces])
        settled.write(install=Install(9, 4))
        assert state_of(settled)[2:] == (SEGMENTS, PAYLOADS)

    def test_begins_anew_at_offset_0(self, settled):
        settled.write(pieces=[Piece(0, b"something else, and longer" * 99_999)])
        settled.write(pieces=[Piece(0, stream_of())], install=Install(9, 4))
        assert state_of(settled)[2:] == (SEGMENTS, PAYLOADS)

    def test_with_a_gap_is_refused(self, settled):
        settled.write(pieces=[Piece(0, b"12345")])
        with pytest.raises(MisuseError, match="at byte 6 of a snapshot of which 5 are there"):
            settled.write(pieces=[Piece(6, b"7")])

    def test_is_forgotten_by_a_restart(self, settled, open_store):
        settled.write(pieces=[Piece(0, stream_of())])
        settled.close()
        store = open_store()
        with pytest.raises(MisuseError, match="of which 0 are there"):
            store.write(pieces=[Piece(3, b"")])

    def test_touches_nothing_else(self, settled):
        before = state_of(settled)
        settled.write(pieces=[Piece(0, stream_of())])
        assert state_of(settled) == before


class TestAStreamOfNoUse:
    @pytest.mark.parametrize(
        ("stream", "reason"),
        [
            (b"", "ends 30 bytes too early"),
            (stream_of()[:-1], "too early"),
            (stream_of()[:40], "too early"),
            (stream_of() + b"x", "1 bytes follow its end"),
            (b"SQLite format 3\0" + bytes(200), "does not begin as one"),
            (
                sealed(stream_of().replace(b"GEARMESH\x01", b"GEARMESH\x02")),
                "has format 2, this gearmesh reads format 1",
            ),
            (stream_of().replace(b"three", b"thrfe", 1), "wrong checksum"),
            (stream_of()[:-4] + bytes(4), "wrong checksum"),
            (sealed(stream_of()[:-20] + struct.pack("<QQI", 4, 2, 0)), "4 segments and 2 payloads were sent"),
            (sealed(stream_of()[:-21] + b"\x05" + bytes(20)), "a record of kind 5"),
            (stream_of(segments=[(3, b""), (3, b"")]), "record 3 comes after record 3"),
            (stream_of(index=8), "entry 9 of term 4 was announced, one of entry 8 of term 4 came"),
            (stream_of(term=3), "one of entry 9 of term 3 came"),
        ],
    )
    def test_is_refused_and_changes_nothing(self, settled, open_store, stream, reason):
        before = state_of(settled)
        with pytest.raises(UnusableSnapshotError, match=reason) as refusal:
            settled.write([], HardState(8, "x"), [Piece(0, stream)], Install(9, 4))
        assert "Restart the node" in str(refusal.value)
        assert state_of(settled) == before
        settled.close()
        assert state_of(open_store()) == before

    def test_leaves_what_was_put_aside_before_and_the_store_usable(self, settled, entry):
        stream = stream_of()
        settled.write(pieces=[Piece(0, stream[:100])])
        with pytest.raises(UnusableSnapshotError):
            settled.write(pieces=[Piece(100, b"rubbish")], install=Install(9, 4))
        settled.append([entry(13)])
        settled.write(pieces=[Piece(100, stream[100:])], install=Install(9, 4))
        assert state_of(settled)[2:] == (SEGMENTS, PAYLOADS)

    def test_or_with_a_meta_that_cannot_be_adopted_is_refused_too(self, settled):
        before = state_of(settled)
        with pytest.raises(UnusableSnapshotError, match="cannot adopt: not a number"):
            settled.write(
                pieces=[Piece(0, stream_of())], install=Install(9, 4, Mock(side_effect=ValueError("not a number")))
            )
        assert state_of(settled) == before

    @pytest.mark.parametrize("index", [1, 4, 5])
    def test_or_of_a_position_not_beyond_the_mirror_is_a_bug(self, settled, index):
        with pytest.raises(MisuseError, match=f"entry {index} was to replace a mirror of entry 5"):
            settled.write(pieces=[Piece(0, stream_of(index=index))], install=Install(index, 4))

    @pytest.mark.parametrize("first", [9, 11])
    def test_or_entries_that_do_not_follow_it_are_a_bug(self, settled, entry, first):
        with pytest.raises(MisuseError, match="9 of them applied"):
            settled.write([entry(first)], None, [Piece(0, stream_of())], Install(9, 4))

    def test_is_damaged_when_the_disk_changed_it(self, settled):
        settled.write(pieces=[Piece(0, stream_of())])
        settled._db.execute("UPDATE spool SET data = x'00'")
        with pytest.raises(CorruptionError, match="put aside of a snapshot is not whole from byte 0 on"):
            settled.write(install=Install(9, 4))


class TestAFullDisk:
    def test_while_putting_aside_leaves_everything_as_it_was(self, settled, open_store, entry):
        before = state_of(settled)
        settled._db.execute("PRAGMA max_page_count = 60")
        offset = 0

        def fill():
            nonlocal offset
            while offset < 100 << 20:
                settled.write(pieces=[Piece(offset, bytes(100_000))])
                offset += 100_000

        with pytest.raises(DiskFullError, match="Make room"):
            fill()
        assert offset > 0
        assert state_of(settled) == before
        settled.close()
        store = open_store()
        assert state_of(store) == before
        assert store._db.execute("SELECT count(*) FROM spool").fetchone() == (0,)
        store.write(pieces=[Piece(0, stream_of())], install=Install(9, 4))
        assert state_of(store)[2:] == (SEGMENTS, PAYLOADS)

    def test_while_installing_leaves_mirror_and_log_as_they_were(self, settled, open_store):
        before = state_of(settled)
        stream = stream_of(payloads=[(number, bytes(200_000)) for number in range(20)])
        settled.write(pieces=[Piece(0, stream)])
        (pages,) = settled._db.execute("PRAGMA page_count").fetchone()
        settled._db.execute(f"PRAGMA max_page_count = {pages + 20}")
        with pytest.raises(DiskFullError):
            settled.write(install=Install(9, 4))
        assert state_of(settled) == before
        settled._db.execute(f"PRAGMA max_page_count = {pages + 2000}")
        settled.write(install=Install(9, 4))
        settled.close()
        recovered, _, _, payloads = state_of(open_store())
        assert (recovered.applied_index, len(payloads)) == (9, 20)


class TestAFailingDisk:
    @pytest.mark.parametrize(
        "trigger",
        [
            "INSERT INTO spool",
            "SELECT start, crc",
            "DELETE FROM segments",
            "INSERT OR REPLACE",
            "UPDATE mirror",
            "COMMIT",
        ],
    )
    def test_stops_the_store_wherever_it_fails(self, open_store, failing_connection, trigger):
        store = open_store(connection=failing_connection)
        failing_connection.fail_at(trigger, sqlite3.SQLITE_IOERR_WRITE, "SQLITE_IOERR_WRITE")
        with pytest.raises(DiskFailureError):
            store.write(pieces=[Piece(0, stream_of())], install=Install(9, 4))
        with pytest.raises(DiskFailureError):
            store.recover()
        store.close()
        assert failing_connection.statements_after == 0


class TestAProcessKilledWhileInstalling:
    def run(self, directory, source, steps):
        command = [sys.executable, str(INSTALLER), str(directory), str(source), "30", "4", str(steps)]
        process = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert process.returncode == -signal.SIGKILL, process.stderr
        return process.stdout

    def test_comes_back_before_it_or_after_it_and_never_between(self, settled, open_store, tmp_path):
        segments = [(number, bytes([number]) * 150_000) for number in range(120)]
        payloads = [(number, bytes([number % 256]) * 30_000) for number in range(300)]
        before = state_of(settled)
        settled.close()
        source = tmp_path / "stream"
        source.write_bytes(stream_of(30, 4, b"new", segments, payloads))
        kills = torn = 0
        steps = 1
        while not (said := self.run(tmp_path / "data", source, steps)):
            kills += 1
            shape = survey(tmp_path / "data" / "node.db-wal")
            torn += shape.end > shape.commits[-1] + 1
            store = open_store()
            assert state_of(store) == before
            assert store._db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            store.close()
            steps += 70
        assert said.startswith("installed")
        assert kills > 4
        assert torn > 1  # part of the installation was in the write-ahead log already
        recovered, entries, *rows = state_of(open_store())
        assert (recovered.meta, recovered.applied_index, recovered.first_index) == (b"new", 30, 31)
        assert recovered.hard_state == HardState(4, "new")
        assert [e.index for e in entries] == [31]
        assert rows == [segments, payloads]
