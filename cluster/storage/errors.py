"""The ways in which storage can fail, each with a message that says what to do.

Every one of these but a full disk stops the node; the rest of the cluster goes on without it. Not for: recovering from
them.
"""

import errno
import os
import sqlite3
from pathlib import Path


class StorageError(Exception):
    """The node cannot keep its promises on this data directory and must stop."""


class DirectoryError(StorageError):
    """The data directory cannot be created, read or written."""


class LockedError(StorageError):
    """Another process uses the data directory or holds the database."""


class ForeignFileError(StorageError):
    """There is a file where the database should be, but it was not made by gearmesh."""


class NewerFormatError(StorageError):
    """The database was written by a later version of gearmesh."""


class CorruptionError(StorageError):
    """What was read is not what was written: acknowledged data is damaged or missing."""


class DiskFullError(StorageError):
    """A write did not fit on the file system. It may be tried again: nothing of it was written, and nothing is lost."""


class DiskFailureError(StorageError):
    """The operating system reported an error for a read, a write or an fsync."""


class DiskHungError(StorageError):
    """The operating system has not ended a read, a write or an fsync for too long."""

    def __init__(self, directory: Path, seconds: float) -> None:
        super().__init__(
            f"the disk of {directory} has not answered for {seconds:.0f} s. This node stops, so that the others go on "
            f"without it. See what holds up the disk, then start the node again; --disk-timeout says how long it may "
            f"take."
        )


class MisuseError(StorageError):
    """The caller asked for something that would break the log: a bug in gearmesh, not a fault of the disk."""


class UnusableSnapshotError(StorageError):
    """A snapshot that was received is torn, damaged, of another format or of another position; nothing was replaced."""


class ClosedError(StorageError):
    """A view of the mirror was closed, perhaps with its store, while it was still being read."""


_SYNC_FAILED = (sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC)
"""What was written before may be lost then, on a full disk as on any other: that is not tried again."""
_CORRUPT = (
    "Stop using this directory, keep a copy, and let the node join again with an empty one; alone: restore a backup."
)


def corrupt(path: Path, what: str) -> CorruptionError:
    """Build the error for damaged data in `path`, where `what` says which part and how it was noticed."""
    return CorruptionError(f"{path} is damaged: {what}. {_CORRUPT}")


def from_os(error: OSError, directory: Path) -> StorageError:
    """Translate an error of the operating system met while preparing `directory`."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _full(directory, str(error))
    if error.errno == errno.EIO:
        return _failed(directory, str(error))
    return DirectoryError(
        f"cannot use data directory {directory}: {error.strerror or error}. "
        "Give the user that runs gearmesh read and write access to it, or choose another with --data-dir."
    )


def from_sqlite(error: sqlite3.Error, path: Path) -> StorageError:
    """Translate an error of SQLite met while working on the database `path`."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    detail = f"{error} ({name})"
    primary = code & 0xFF
    if primary == sqlite3.SQLITE_FULL:
        return _full(path, detail)
    if primary == sqlite3.SQLITE_IOERR and code not in _SYNC_FAILED and _no_space(path.parent):
        return _full(path, detail)
    if primary == sqlite3.SQLITE_NOTADB:
        return corrupt(path, f"its header is not a database's, {detail}")
    if primary == sqlite3.SQLITE_CORRUPT:
        return corrupt(path, detail)
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return LockedError(
            f"{path} is held by another program ({detail}). Close whatever else has it open and restart."
        )
    if primary in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN):
        return DirectoryError(
            f"cannot write {path}: {detail}. Give the user that runs gearmesh read and write access to the directory "
            "and every file in it, and check that the file system is not mounted read-only."
        )
    if isinstance(error, sqlite3.ProgrammingError | sqlite3.IntegrityError | sqlite3.InterfaceError):
        return MisuseError(f"a write to {path} was refused: {detail}. This is a bug in gearmesh: please report it.")
    return _failed(path, detail)


def _full(path: Path, detail: str) -> DiskFullError:
    return DiskFullError(
        f"no space left for {path}: {detail}. Nothing acknowledged is lost. Make room on the file system (or raise the "
        "quota): the node waits for it."
    )


def _failed(path: Path, detail: str) -> DiskFailureError:
    return DiskFailureError(
        f"the disk failed under {path}: {detail}. The write was not retried, because after a failed fsync nobody knows "
        "what is on the disk. Check the kernel's log, the disk and any file size limit; then restart the node, or "
        "replace it if the disk is bad."
    )


def _no_space(directory: Path) -> bool:
    """Tell whether the file system is full: SQLite reports some writes that found no space as plain I/O errors."""
    try:
        return os.statvfs(directory).f_bavail == 0
    except OSError:
        return False
