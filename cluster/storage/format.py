"""The database file: how it is made, recognised and opened.

Not for: what is written to it afterwards.
"""

import ctypes
import os
import sqlite3
from pathlib import Path
from typing import Final

import structlog

from cluster.storage import wal
from cluster.storage.errors import (
    DirectoryError,
    ForeignFileError,
    LockedError,
    NewerFormatError,
    corrupt,
    from_os,
    from_sqlite,
)
from cluster.storage.records import checksum
from cluster.storage.upkeep import PAGE_BYTES

FILE_NAME: Final = "node.db"
APPLICATION_ID: Final = 0x67656D73
"""Spells "gems" at offset 68 of the file: what `file` and this module know a gearmesh database by."""
FORMAT: Final = 2
"""Raised with every change that an older gearmesh would misread."""

_CACHE_BYTES: Final = 16 * 1024 * 1024
_WAL_KEPT_BYTES: Final = 16 * 1024 * 1024
_CACHED_STATEMENTS: Final = 512
_BUSY_SECONDS: Final = 5.0

_MAGIC: Final = b"SQLite format 3\0"
_HEADER_BYTES: Final = 100

_ADDED: Final = {
    "spool": "(start INTEGER PRIMARY KEY, crc INTEGER NOT NULL, data BLOB NOT NULL)",
    "notes": "(key TEXT PRIMARY KEY, crc INTEGER NOT NULL, data BLOB NOT NULL)",
}
"""Tables that a database of an earlier format may lack; they come empty. One without notes is of a node that knew of
no others: an older gearmesh, which passes over notes, would found a second group with what a newer one has promised."""

_TABLES: Final = {
    "hard_state": "(id INTEGER PRIMARY KEY, term INTEGER NOT NULL, vote TEXT NOT NULL, crc INTEGER NOT NULL)",
    "mirror": (
        "(id INTEGER PRIMARY KEY, applied_index INTEGER NOT NULL, applied_term INTEGER NOT NULL,"
        " compacted_index INTEGER NOT NULL, compacted_term INTEGER NOT NULL, segments INTEGER NOT NULL,"
        " crc INTEGER NOT NULL, meta BLOB NOT NULL)"
    ),
    "log": (
        "(idx INTEGER PRIMARY KEY, term INTEGER NOT NULL, kind INTEGER NOT NULL, crc INTEGER NOT NULL,"
        " data BLOB NOT NULL)"
    ),
    # Rows only while payloads are there whose mirror is not; the search for them takes a look at every payload.
    "staged": "(mirror INTEGER PRIMARY KEY)",
    "segments": "(id INTEGER PRIMARY KEY, mirror INTEGER NOT NULL, crc INTEGER NOT NULL, data BLOB NOT NULL)",
    "payloads": "(job INTEGER PRIMARY KEY, mirror INTEGER NOT NULL, crc INTEGER NOT NULL, data BLOB NOT NULL)",
    **_ADDED,
}

_log: Final = structlog.get_logger(__name__)


def open_database(directory: Path, connection: type[sqlite3.Connection]) -> sqlite3.Connection:
    """Open the database in `directory`, making an empty one if there is none, ready for use.

    The caller holds the directory's lock. Raises the subclass of `StorageError` that says why it cannot be used.
    """
    path = directory / FILE_NAME
    try:
        if not path.exists():
            _create(path)
        _recognise(path)
        shape = wal.survey(_beside(path, "-wal"))
    except OSError as error:
        raise from_os(error, directory) from error
    try:
        db = _connect(path, connection)
    except sqlite3.Error as error:
        raise from_sqlite(error, path) from error
    try:
        _prepare(db, path, shape)
    except sqlite3.Error as error:
        abandon(db)
        raise from_sqlite(error, path) from error
    except BaseException:
        abandon(db)
        raise
    return db


def abandon(db: sqlite3.Connection) -> None:
    """Make sure that nothing more is ever written through this connection, not even by closing it.

    When the last connection closes, SQLite moves the write-ahead log into the database, syncs it and deletes the log.
    After a disk error that would be the retry that must not be; after damage was found it would destroy the evidence.
    Python closes a connection that nobody refers to, at the latest when it exits, hence a reference that nobody has.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(db))


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _create(path: Path) -> None:
    """Make an empty database under another name and rename it, so that one that exists is always whole."""
    orphan = _beside(path, "-wal")
    if orphan.exists():
        raise corrupt(path, f"the file is gone, but {orphan.name} is there and may hold acknowledged data")
    draft = _beside(path, ".new")
    for leftover in (draft, _beside(draft, "-wal"), _beside(draft, "-shm"), _beside(draft, "-journal")):
        leftover.unlink(missing_ok=True)
    try:
        db = sqlite3.connect(draft, isolation_level=None)
        try:
            for pragma in (
                f"page_size = {PAGE_BYTES}",
                "auto_vacuum = INCREMENTAL",
                "journal_mode = WAL",
                "synchronous = FULL",
                f"application_id = {APPLICATION_ID}",
                f"user_version = {FORMAT}",
            ):
                db.execute(f"PRAGMA {pragma}")
            for table, columns in _TABLES.items():
                db.execute(f"CREATE TABLE {table} {columns} STRICT")
            db.execute("INSERT INTO hard_state VALUES (1, 0, '', ?)", (checksum(b"", 0),))
            db.execute("INSERT INTO mirror VALUES (1, 0, 0, 0, 0, 0, ?, x'')", (checksum(b"", 0, 0, 0, 0, 0),))
        finally:
            db.close()
    except sqlite3.Error as error:
        raise from_sqlite(error, path) from error
    _sync(draft)
    draft.rename(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _recognise(path: Path) -> None:
    """Refuse what is not ours or from the future, by the file's first 100 bytes, before SQLite may touch it."""
    if not path.is_file():
        raise ForeignFileError(f"{path} is not a file. Move it away, or choose another directory with --data-dir.")
    if not os.access(path, os.R_OK | os.W_OK):
        raise DirectoryError(f"cannot read and write {path}. Give the user that runs gearmesh access to it.")
    with path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
    if len(header) < _HEADER_BYTES:
        raise corrupt(path, f"it has only {len(header)} bytes")
    if not header.startswith(_MAGIC):
        raise ForeignFileError(
            f"{path} is not a gearmesh database (nor any SQLite one). Move it away, or choose another directory with "
            "--data-dir; if it was a gearmesh database, it is damaged: restore it, or let the node join again empty."
        )
    if int.from_bytes(header[68:72], "big") != APPLICATION_ID:
        raise ForeignFileError(
            f"{path} is another program's SQLite database. Move it away, or choose another directory with --data-dir."
        )
    version = int.from_bytes(header[60:64], "big")
    if version > FORMAT:
        raise NewerFormatError(
            f"{path} has format {version}, written by a later gearmesh; this one knows formats up to {FORMAT}. "
            "Run the later version, or let this node join again with an empty directory."
        )
    if version < 1:
        raise corrupt(path, f"it claims format {version}, which never was")


def _connect(path: Path, connection: type[sqlite3.Connection]) -> sqlite3.Connection:
    return sqlite3.connect(
        path,
        timeout=_BUSY_SECONDS,
        isolation_level=None,
        # Opened by one thread, then owned by another: never used by two at a time.
        check_same_thread=False,
        factory=connection,
        cached_statements=_CACHED_STATEMENTS,
    )


def _prepare(db: sqlite3.Connection, path: Path, shape: wal.Survey) -> None:
    """Configure the connection and finish what a crash may have left, checking that the crash alone explains it."""
    for pragma in (
        "synchronous = FULL",
        # On macOS an fsync reaches the disk's cache only; elsewhere this changes nothing.
        "fullfsync = ON",
        # Done by `Upkeep`: SQLite's own passes over the errors of a checkpoint.
        "wal_autocheckpoint = 0",
        f"journal_size_limit = {_WAL_KEPT_BYTES}",
        f"cache_size = -{_CACHE_BYTES // 1024}",
        # A page that is freed is not overwritten: some distributions build SQLite to do that, which doubles the cost
        # of compaction.
        "secure_delete = OFF",
        # A failed read of a mapped page would be a signal, not an error.
        "mmap_size = 0",
    ):
        db.execute(f"PRAGMA {pragma}")
    if db.execute("PRAGMA journal_mode").fetchone() != ("wal",):
        raise corrupt(path, "it is not in write-ahead mode")
    _, replayed, _ = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    if shape.lost_transaction(replayed):
        raise corrupt(
            _beside(path, "-wal"),
            f"only {replayed} of its {shape.end} frames are sound, and what follows them had been synced",
        )
    if shape.end > replayed:
        _log.info("torn tail passed over", database=str(path), frames=shape.end - replayed)
    busy, _, _ = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise LockedError(f"{path} is being read by another program. Close whatever else has it open and restart.")
    if db.execute("PRAGMA user_version").fetchone() != (FORMAT,):
        _upgrade(db, path)
    missing = _TABLES.keys() - {name for (name,) in db.execute("SELECT name FROM sqlite_schema")}
    if missing:
        raise corrupt(path, f"it has no table {', '.join(sorted(missing))}")


def _upgrade(db: sqlite3.Connection, path: Path) -> None:
    """Make of a database of an earlier format one of this, in one transaction that the file's own header then shows."""
    db.execute("BEGIN IMMEDIATE")
    for table, columns in _ADDED.items():
        db.execute(f"CREATE TABLE IF NOT EXISTS {table} {columns} STRICT")
    db.execute(f"PRAGMA user_version = {FORMAT}")
    db.execute("COMMIT")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    _log.info("upgraded", database=str(path), format=FORMAT)
