"""A disk that fails or fills up: one clear error, and nothing after it."""

import json
import sqlite3
import subprocess
import sys

import pytest

from cluster.log import HardState
from cluster.storage import DiskFailureError, DiskFullError, LockedError, StorageError

IOERR = (sqlite3.SQLITE_IOERR_FSYNC, "SQLITE_IOERR_FSYNC")
FULL = (sqlite3.SQLITE_FULL, "SQLITE_FULL")


class TestAnInputOutputError:
    @pytest.mark.parametrize("trigger", ["INSERT INTO log", "BEGIN", "COMMIT", "UPDATE hard_state"])
    def test_in_an_append_is_a_disk_failure(self, open_store, failing_connection, entry, trigger):
        store = open_store(connection=failing_connection)
        failing_connection.fail_at(trigger, *IOERR)
        with pytest.raises(DiskFailureError, match=r"SQLITE_IOERR_FSYNC.*was not retried"):
            store.append([entry(1)], HardState(1, "a") if trigger != "INSERT INTO log" else None)

    @pytest.mark.parametrize("trigger", ["INSERT OR REPLACE INTO segments", "DELETE FROM payloads", "UPDATE mirror"])
    def test_in_a_mirror_is_a_disk_failure(self, open_store, failing_connection, entry, mirror, trigger):
        store = open_store(connection=failing_connection)
        store.append([entry(1)])
        failing_connection.fail_at(trigger, *IOERR)
        with pytest.raises(DiskFailureError):
            store.write_mirror(mirror(1, segments=[(1, b"x")], dropped_payloads=[1]))

    def test_in_a_checkpoint_is_not_passed_over(self, open_store, failing_connection, entry):
        store = open_store(connection=failing_connection)
        store.append([entry(1, data=bytes(5 << 20))])
        failing_connection.fail_at("PRAGMA wal_checkpoint", *IOERR)
        with pytest.raises(DiskFailureError):
            store.upkeep()

    def test_in_a_read_is_a_disk_failure(self, open_store, failing_connection, entry):
        store = open_store(connection=failing_connection)
        store.append([entry(1)])
        failing_connection.fail_at("SELECT idx", sqlite3.SQLITE_IOERR_READ, "SQLITE_IOERR_READ")
        with pytest.raises(DiskFailureError):
            list(store.read_entries(1, 1))

    def test_while_opening_is_a_disk_failure_and_lets_go_of_the_directory(self, open_store, failing_connection):
        open_store().close()
        failing_connection.fail_at("PRAGMA wal_checkpoint", *IOERR)
        with pytest.raises(DiskFailureError):
            open_store(connection=failing_connection)
        assert open_store().recover().last_index == 0

    def test_is_the_last_thing_that_the_store_does(self, open_store, failing_connection, entry, mirror):
        store = open_store(connection=failing_connection)
        failing_connection.fail_at("INSERT INTO log", *IOERR)
        with pytest.raises(DiskFailureError) as first:
            store.append([entry(1)])
        for attempt in (
            lambda: store.append([entry(1)]),
            lambda: store.append([], HardState(1, "a")),
            store.upkeep,
            store.recover,
            lambda: list(store.read_segments()),
        ):
            with pytest.raises(DiskFailureError) as again:
                attempt()
            assert again.value is first.value
        store.close()
        assert failing_connection.statements_after == 0

    def test_in_the_middle_of_a_transaction_leaves_none_of_it(self, open_store, failing_connection, entry, mirror):
        store = open_store(connection=failing_connection)
        store.append([entry(1), entry(2)])
        store.write_mirror(mirror(1, meta=b"old", segments=[(1, b"old")]))
        failing_connection.fail_at("COMMIT", *IOERR)
        with pytest.raises(DiskFailureError):
            store.write_mirror(mirror(2, meta=b"new", segments=[(1, b"new")], payloads=[(1, b"new")], compact_to=2))
        assert store._db.in_transaction
        # Only the end of a process ends such a transaction without another write.
        store._db.execute("ROLLBACK")
        store.close()
        store = open_store()
        assert (store.recover().meta, store.recover().first_index) == (b"old", 1)
        assert (list(store.read_segments()), list(store.read_payloads())) == ([(1, b"old")], [])


class TestAFullDisk:
    def test_has_a_message_of_its_own(self, open_store, failing_connection, entry):
        store = open_store(connection=failing_connection)
        failing_connection.fail_at("INSERT INTO log", *FULL)
        with pytest.raises(DiskFullError, match=r"no space left.*Nothing acknowledged is lost.*Make room.*waits"):
            store.append([entry(1)])

    def test_is_recognised_behind_a_plain_write_error(self, open_store, failing_connection, entry, monkeypatch):
        store = open_store(connection=failing_connection)
        failing_connection.fail_at("INSERT INTO log", sqlite3.SQLITE_IOERR_WRITE, "SQLITE_IOERR_WRITE")
        monkeypatch.setattr("cluster.storage.errors._no_space", lambda _: True)
        with pytest.raises(DiskFullError):
            store.append([entry(1)])

    @pytest.mark.parametrize("code", ["SQLITE_IOERR_FSYNC", "SQLITE_IOERR_DIR_FSYNC"])
    def test_is_no_excuse_for_a_failed_fsync(self, open_store, failing_connection, entry, monkeypatch, code):
        store = open_store(connection=failing_connection)
        failing_connection.fail_at("INSERT INTO log", getattr(sqlite3, code), code)
        monkeypatch.setattr("cluster.storage.errors._no_space", lambda _: True)
        with pytest.raises(DiskFailureError):
            store.append([entry(1)])

    def test_does_not_stop_the_store_which_goes_on_when_there_is_room(self, open_store, entry, mirror):
        store = open_store()
        store.append([entry(1), entry(2)])
        store._db.execute("PRAGMA max_page_count = 40")
        large = [entry(index, data=bytes(200_000)) for index in range(3, 10)]
        whole = mirror(2, meta=b"new", segments=[(1, bytes(2_000_000))], payloads=[(7, b"p")])
        for _ in range(2):
            with pytest.raises(DiskFullError):
                store.append(large, HardState(2, "a"))
            with pytest.raises(DiskFullError):
                store.write_mirror(whole)
            with pytest.raises(DiskFullError):
                store.write_note("big", bytes(2_000_000))
        store.append([entry(3)])
        store._db.execute("PRAGMA max_page_count = 4000")
        store.write_mirror(whole)
        store.append([entry(4)], HardState(3, "b"))
        store.close()
        store = open_store()
        assert list(store.read_entries(1, 4)) == [entry(index) for index in range(1, 5)]
        assert (store.recover().hard_state, store.recover().meta) == (HardState(3, "b"), b"new")
        assert list(store.read_payloads()) == [(7, b"p")]

    def test_that_leaves_a_transaction_which_cannot_be_ended_stops_the_store(
        self, open_store, failing_connection, entry
    ):
        store = open_store(connection=failing_connection)
        failing_connection.fail_at("COMMIT", *FULL)
        broken = sqlite3.OperationalError("injected")
        execute = failing_connection.execute

        def no_rollback(self, sql, parameters=()):
            if sql == "ROLLBACK":
                raise broken
            return execute(self, sql, parameters)

        failing_connection.execute = no_rollback
        with pytest.raises(DiskFullError):
            store.append([entry(1)], HardState(1, "a"))
        with pytest.raises(DiskFullError):
            store.recover()

    def test_keeps_everything_that_was_written_before(self, open_store, entry):
        store = open_store()
        store._db.execute("PRAGMA max_page_count = 40")
        written = 0

        def fill():
            nonlocal written
            while written < 100:
                store.append([entry(written + 1, data=bytes(20_000))])
                written += 1

        with pytest.raises(DiskFullError):
            fill()
        assert written > 5
        store.close()
        store = open_store()
        assert list(store.read_entries(1, written)) == [entry(i, data=bytes(20_000)) for i in range(1, written + 1)]
        assert store.recover().last_index == written


class TestAFileSizeLimit:
    def test_stops_the_store_and_everything_acknowledged_is_there_after_a_restart(self, open_store, directory):
        program = (
            "import json, pathlib, resource, sys\n"
            "from cluster.log import Entry, EntryKind\n"
            "from cluster.storage import Store, StorageError\n"
            "store = Store.open(pathlib.Path(sys.argv[1]))\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))\n"
            "written = 0\n"
            "try:\n"
            "    while True:\n"
            "        store.append([Entry(written + 1, 1, EntryKind.COMMANDS, bytes(30_000))])\n"
            "        written += 1\n"
            "except StorageError as error:\n"
            "    print(json.dumps([written, type(error).__name__, str(error)]))\n"
        )
        run = subprocess.run(
            [sys.executable, "-c", program, str(directory)], capture_output=True, text=True, timeout=60, check=True
        )
        written, kind, message = json.loads(run.stdout)
        assert kind == "DiskFailureError"
        assert "any file size limit" in message
        assert written > 5
        assert open_store().recover().last_index == written


class TestAProcessThatEndsAfterAFailure:
    def test_leaves_the_write_ahead_log_as_it_was(self, open_store, directory):
        program = (
            "import pathlib, resource, sys\n"
            "from cluster.log import Entry, EntryKind\n"
            "from cluster.storage import DiskFailureError, Store\n"
            "store = Store.open(pathlib.Path(sys.argv[1]))\n"
            "store.append([Entry(1, 1, EntryKind.COMMANDS, bytes(1000))])\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 19, 1 << 19))\n"
            "try:\n"
            "    store.append([Entry(2, 1, EntryKind.COMMANDS, bytes(1_000_000))])\n"
            "except DiskFailureError:\n"
            "    store.close()\n"
            "    print('failed')\n"
        )
        run = subprocess.run(
            [sys.executable, "-c", program, str(directory)], capture_output=True, text=True, timeout=60, check=True
        )
        assert run.stdout == "failed\n"
        assert (directory / "node.db-wal").stat().st_size > 0
        assert open_store().recover().last_index == 1


class TestOtherRefusals:
    @pytest.mark.parametrize(
        ("code", "name", "error"),
        [
            (sqlite3.SQLITE_BUSY, "SQLITE_BUSY", LockedError),
            (sqlite3.SQLITE_READONLY, "SQLITE_READONLY", StorageError),
            (sqlite3.SQLITE_NOTADB, "SQLITE_NOTADB", StorageError),
        ],
    )
    def test_name_the_database_and_stop_the_store(self, open_store, failing_connection, entry, code, name, error):
        store = open_store(connection=failing_connection)
        failing_connection.fail_at("INSERT INTO log", code, name)
        with pytest.raises(error, match=f"node.db.*{name}"):
            store.append([entry(1)])
        with pytest.raises(error):
            store.recover()

    def test_a_value_that_cannot_be_written_breaks_the_store_off(self, open_store, entry):
        store = open_store()
        with pytest.raises(StorageError, match="was broken off"):
            store.append([entry(1, term=1 << 70)])
        with pytest.raises(StorageError):
            store.append([entry(1)])
