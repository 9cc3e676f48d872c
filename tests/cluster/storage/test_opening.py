"""What is refused when a data directory is opened, and what the message tells the operator."""

import errno
import os
import random
import shutil
import sqlite3
import subprocess
import sys

import pytest

from cluster.log import HardState
from cluster.storage import (
    CorruptionError,
    DirectoryError,
    DiskFailureError,
    DiskFullError,
    ForeignFileError,
    LockedError,
    NewerFormatError,
    Piece,
    StorageError,
    Store,
)

PAGE = 16 * 1024
FRAME = 24 + PAGE
WAL_HEADER = 32


def read_all(store):
    recovered = store.recover()
    return (
        recovered,
        list(store.read_entries(recovered.first_index, recovered.last_index)),
        list(store.read_segments()),
        list(store.read_payloads()),
    )


def flip(path, position, mask=0x01):
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ mask]))


@pytest.fixture
def filled(open_store, entry, mirror, directory):
    """A closed store with something in every table; returns what is in it."""
    store = open_store()
    store.append([entry(index, data=bytes([index]) * 3000) for index in range(1, 21)], HardState(2, "a"))
    store.write_mirror(
        mirror(
            12,
            meta=b"meta" * 100,
            segments=[(n, bytes([n]) * 20_000) for n in range(5)],
            payloads=[(n, bytes([n]) * 50_000) for n in range(3)],
            compact_to=10,
        )
    )
    content = read_all(store)
    store.close()
    return content


class TestTwoProcesses:
    def test_cannot_open_one_directory(self, open_store, directory):
        open_store()
        attempt = subprocess.run(
            [
                sys.executable,
                "-c",
                """
import sys, pathlib, cluster.storage as s
try: s.Store.open(pathlib.Path(sys.argv[1]))
except s.LockedError as error: print(error)
""",
                str(directory),
            ],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        assert str(directory) in attempt.stdout
        assert f"in use by process {os.getpid()}" in attempt.stdout

    def test_nor_can_one_process_open_it_twice(self, open_store):
        open_store()
        with pytest.raises(LockedError, match="--data-dir"):
            open_store()

    def test_can_have_it_one_after_the_other(self, open_store):
        open_store().close()
        assert open_store().recover().last_index == 0

    def test_a_program_that_reads_the_database_is_named_as_the_obstacle(
        self, open_store, entry, directory, monkeypatch
    ):
        monkeypatch.setattr("cluster.storage.format._BUSY_SECONDS", 0.0)
        open_store().append([entry(1)])
        shutil.copytree(directory, directory.with_name("copy"))
        reader = sqlite3.connect(directory.with_name("copy") / "node.db", isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM log").fetchall()
        try:
            with pytest.raises(LockedError, match="another program"):
                Store.open(directory.with_name("copy"))
        finally:
            reader.close()


class TestForeignFiles:
    def test_text_is_refused(self, open_store, directory):
        directory.mkdir()
        (directory / "node.db").write_text("not a database\n" * 100)
        with pytest.raises(ForeignFileError, match=r"not a gearmesh database.*--data-dir"):
            open_store()

    def test_another_programs_database_is_refused_and_not_touched(self, open_store, directory):
        directory.mkdir()
        with sqlite3.connect(directory / "node.db") as db:
            db.execute("CREATE TABLE cookies (name TEXT)")
        db.close()
        before = (directory / "node.db").read_bytes()
        with pytest.raises(ForeignFileError, match="another program's SQLite database"):
            open_store()
        assert (directory / "node.db").read_bytes() == before

    def test_a_directory_in_its_place_is_refused(self, open_store, directory):
        (directory / "node.db").mkdir(parents=True)
        with pytest.raises(ForeignFileError, match="is not a file"):
            open_store()

    def test_a_newer_format_is_refused_with_both_versions(self, open_store, directory):
        open_store().close()
        db = sqlite3.connect(directory / "node.db")
        db.execute("PRAGMA user_version = 9")
        db.close()
        with pytest.raises(NewerFormatError, match=r"has format 9.*formats up to 2"):
            open_store()

    def test_a_refusal_lets_go_of_the_directory(self, open_store, directory):
        directory.mkdir()
        (directory / "node.db").write_text("x" * 200)
        with pytest.raises(ForeignFileError):
            open_store()
        (directory / "node.db").unlink()
        assert open_store().recover().last_index == 0


class TestUnusableDirectories:
    def test_a_file_in_its_place_is_refused(self, open_store, directory):
        directory.write_text("")
        with pytest.raises(DirectoryError, match=f"cannot use data directory {directory}.*--data-dir"):
            open_store()

    @pytest.mark.parametrize(
        ("number", "error"),
        [
            (errno.EACCES, DirectoryError),
            (errno.EROFS, DirectoryError),
            (errno.ENOSPC, DiskFullError),
            (errno.EIO, DiskFailureError),
        ],
    )
    def test_the_reason_decides_the_error(self, open_store, directory, monkeypatch, number, error):
        directory.mkdir()
        real = os.open

        def refuse(path, *rest):
            if str(path).endswith("node.lock"):
                raise OSError(number, os.strerror(number), str(path))
            return real(path, *rest)

        monkeypatch.setattr(os, "open", refuse)
        with pytest.raises(error, match=os.strerror(number)):
            open_store()

    def test_a_database_that_may_not_be_written_is_refused(self, open_store, directory, monkeypatch):
        open_store().close()
        monkeypatch.setattr(os, "access", lambda path, mode: not str(path).endswith("node.db"))
        with pytest.raises(DirectoryError, match="Give the user that runs gearmesh access"):
            open_store()


class TestDamage:
    def test_an_empty_file_is_not_taken_for_a_new_database(self, open_store, directory):
        directory.mkdir()
        (directory / "node.db").touch()
        with pytest.raises(CorruptionError, match="it has only 0 bytes"):
            open_store()

    def test_a_missing_database_beside_its_write_ahead_log_is_not_made_anew(self, open_store, directory):
        directory.mkdir()
        (directory / "node.db-wal").write_bytes(b"x")
        with pytest.raises(CorruptionError, match="may hold acknowledged data"):
            open_store()

    def test_a_half_made_database_is_made_again(self, open_store, directory):
        directory.mkdir()
        (directory / "node.db.new").write_bytes(b"SQLite format 3\0 and then the power went")
        assert open_store().recover().last_index == 0

    def test_a_truncated_file_is_noticed(self, open_store, directory, filled):
        path = directory / "node.db"
        os.truncate(path, path.stat().st_size - 2 * PAGE)
        with pytest.raises(CorruptionError, match=r"damaged.*join again"):
            read_all(open_store())

    @pytest.mark.parametrize(
        ("sql", "message"),
        [
            ("UPDATE log SET data = x'00' WHERE idx = 15", "log entry 15 has a wrong checksum"),
            ("UPDATE log SET term = 8 WHERE idx = 15", "log entry 15 has a wrong checksum"),
            ("DELETE FROM log WHERE idx = 15", "log entry 15 is missing"),
            ("DELETE FROM log WHERE idx = 11", "should start at entry 11, it starts at 12"),
            ("DELETE FROM log WHERE idx > 11", "the mirror is of entry 12, the log ends at 11"),
            ("UPDATE hard_state SET vote = 'b'", "the hard state has a wrong checksum"),
            ("DELETE FROM hard_state", "the hard state or the mirror's state is missing"),
            ("UPDATE mirror SET applied_index = 11", "the mirror's state has a wrong checksum"),
            ("UPDATE mirror SET meta = x''", "the mirror's state has a wrong checksum"),
            ("UPDATE segments SET data = x'00' WHERE id = 3", "row 3 of segments has a wrong checksum"),
            ("DELETE FROM segments WHERE id = 3", "5 segments were written, 4 are there"),
            ("UPDATE payloads SET data = x'00' WHERE job = 2", "row 2 of payloads has a wrong checksum"),
            ("DROP TABLE payloads", "it has no table payloads"),
            ("DROP TABLE notes", "it has no table notes"),
            ("PRAGMA user_version = 0", "it claims format 0, which never was"),
        ],
    )
    def test_is_noticed_wherever_it_is(self, open_store, directory, filled, sql, message):
        db = sqlite3.connect(directory / "node.db", isolation_level=None)
        db.execute(sql)
        db.close()
        with pytest.raises(CorruptionError, match=message):
            read_all(open_store())

    @pytest.mark.parametrize("lacking", [["notes"], ["notes", "spool"]])
    def test_a_database_of_the_first_format_is_none_and_is_one_of_this_afterwards(
        self, open_store, directory, filled, lacking
    ):
        db = sqlite3.connect(directory / "node.db", isolation_level=None)
        for table in lacking:
            db.execute(f"DROP TABLE {table}")
        db.execute("PRAGMA user_version = 1")
        db.close()
        store = open_store()
        assert (directory / "node.db").read_bytes()[60:64] == b"\0\0\0\x02"
        store.write(pieces=[Piece(0, b"x")])
        store.write_note("node", b"a")
        assert read_all(store) == filled
        store.close()
        assert open_store().note("node") == b"a"

    def test_an_entry_of_unknown_kind_is_never_skipped(self, open_store, directory, filled, monkeypatch):
        store = open_store()
        monkeypatch.setattr("cluster.storage.log_table.checksum", lambda *_: 0)
        store._db.execute("UPDATE log SET kind = 99, crc = 0")
        with pytest.raises(CorruptionError, match="log entry 11 is of unknown kind 99"):
            list(store.read_entries(11, 20))

    def test_a_flipped_bit_is_noticed_or_harmless_but_never_changes_what_is_read(self, open_store, directory, filled):
        path = directory / "node.db"
        clean = path.read_bytes()
        generator = random.Random(20)
        noticed = 0
        for _ in range(150):
            position = generator.randrange(len(clean))
            path.write_bytes(clean)
            for leftover in directory.glob("node.db-*"):
                leftover.unlink()
            flip(path, position, 1 << generator.randrange(8))
            store = None
            try:
                store = Store.open(directory)
                content = read_all(store)
            except StorageError:
                noticed += 1
            else:
                assert content == filled
            finally:
                if store is not None:
                    store.close()
        assert noticed > 30


class TestTheEndOfTheWriteAheadLog:
    @pytest.fixture
    def crashed(self, open_store, directory, entry):
        """A copy of a directory as a crash leaves it: ten entries, each a transaction of its own in the log."""
        store = open_store()
        for index in range(1, 11):
            store.append([entry(index, data=bytes([index]) * 40_000)])
        copy = directory.with_name("crashed")
        copy.mkdir()
        for name in ("node.db", "node.db-wal"):
            shutil.copy(directory / name, copy / name)
        return copy

    def test_is_replayed(self, crashed, entry):
        store = Store.open(crashed)
        assert store.recover().last_index == 10
        store.close()

    def test_cut_anywhere_gives_whole_transactions_and_no_error(self, crashed, directory, entry):
        wal = (crashed / "node.db-wal").read_bytes()
        seen = set()
        for number, length in enumerate([0, 10, *range(WAL_HEADER, len(wal), FRAME // 2), len(wal)]):
            copy = directory.with_name(f"cut{number}")
            copy.mkdir()
            shutil.copy(crashed / "node.db", copy / "node.db")
            (copy / "node.db-wal").write_bytes(wal[:length])
            store = Store.open(copy)
            last = store.recover().last_index
            assert list(store.read_entries(1, last)) == [entry(i, data=bytes([i]) * 40_000) for i in range(1, last + 1)]
            store.close()
            seen.add(last)
        assert seen == set(range(11))

    def test_torn_in_the_last_transaction_gives_the_ones_before(self, crashed):
        flip(crashed / "node.db-wal", (crashed / "node.db-wal").stat().st_size - 10)
        store = Store.open(crashed)
        assert store.recover().last_index == 9
        store.append([])
        store.close()

    @pytest.mark.parametrize("frame", [0, 3, 12])
    def test_damaged_before_the_last_transaction_is_corruption(self, crashed, frame):
        flip(crashed / "node.db-wal", WAL_HEADER + frame * FRAME + 200)
        with pytest.raises(CorruptionError, match="frames are sound, and what follows them had been synced"):
            Store.open(crashed)

    def test_damage_is_still_there_to_be_seen_after_it_was_refused(self, crashed):
        wal = crashed / "node.db-wal"
        flip(wal, WAL_HEADER + FRAME + 200)
        before = wal.read_bytes()
        for _ in range(2):
            with pytest.raises(CorruptionError):
                Store.open(crashed)
        assert wal.read_bytes() == before

    def test_with_a_damaged_header_is_corruption(self, crashed):
        flip(crashed / "node.db-wal", 18)
        with pytest.raises(CorruptionError, match="header of the write-ahead log"):
            Store.open(crashed)

    def test_with_a_header_of_zeros_was_never_written(self, crashed):
        (crashed / "node.db-wal").write_bytes(bytes(WAL_HEADER))
        store = Store.open(crashed)
        assert store.recover().last_index == 0
        store.close()
