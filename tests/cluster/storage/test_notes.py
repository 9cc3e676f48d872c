"""What a node notes about itself: kept until it is replaced, in order with everything, and checked when it is read."""

import sqlite3

import pytest

from cluster.log import HardState
from cluster.storage import CorruptionError, DiskFailureError, Install, Piece, StorageThread, Store
from cluster.storage.stream import Header, encode


class TestANote:
    def test_that_was_never_written_is_none(self, open_store):
        assert open_store().note("node") is None

    def test_is_there_after_reopening_as_it_was_written_last(self, open_store):
        store = open_store()
        store.write_note("node", b"a")
        store.write_note("group", b"")
        store.write_note("node", b"b" * 100_000)
        store.close()
        store = open_store()
        assert (store.note("node"), store.note("group"), store.note("other")) == (b"b" * 100_000, b"", None)

    def test_stays_when_a_snapshot_takes_the_place_of_everything_else(self, open_store):
        store = open_store()
        store.write_note("node", b"a")
        store.write(pieces=[Piece(0, b"".join(encode(Header(9, 4, b"meta"), [], [])))], install=Install(9, 4))
        assert (store.note("node"), store.recover().applied_index) == (b"a", 9)

    @pytest.mark.parametrize(
        "sql", ["UPDATE notes SET data = x'62'", "UPDATE notes SET key = 'edon'", "UPDATE notes SET crc = crc + 1"]
    )
    def test_that_was_changed_by_the_disk_is_damaged(self, open_store, sql):
        store = open_store()
        store.write_note("node", b"a")
        store._db.execute(sql)
        with pytest.raises(CorruptionError, match=r"the note '(node|edon)' has a wrong checksum"):
            store.note("node") or store.note("edon")

    def test_that_cannot_be_written_stops_the_store(self, open_store, failing_connection):
        store = open_store(connection=failing_connection)
        failing_connection.fail_at("INSERT OR REPLACE INTO notes", sqlite3.SQLITE_IOERR_WRITE, "SQLITE_IOERR_WRITE")
        with pytest.raises(DiskFailureError):
            store.write_note("node", b"a")
        with pytest.raises(DiskFailureError):
            store.note("node")


class TestThroughTheThread:
    def test_is_acknowledged_in_order_with_the_rest(self, directory, entry, mirror):
        events = []
        thread = StorageThread(Store.open(directory), lambda callback: callback(), events.append)
        for number in (1, 2):  # all of it is waiting when the thread starts
            thread.append([entry(number)], HardState(number), lambda number=number: events.append(f"entry {number}"))
            thread.note("node", b"%d" % number, lambda number=number: events.append(f"note {number}"))
            thread.mirror(mirror(number), lambda number=number: events.append(f"mirror {number}"))
        thread.note("node", b"3", lambda: events.append("note 3"))
        thread.start()
        thread.close()
        assert events == ["entry 1", "note 1", "entry 2", "mirror 1", "note 2", "mirror 2", "note 3"]
        store = Store.open(directory)
        assert store.note("node") == b"3"
        store.close()
