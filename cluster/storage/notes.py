"""The table `notes`: what a node has to remember that is neither log nor mirror, a few short values by name.

Who it is, which group it belongs to, what it has promised while a group was being founded. Not for: what changes with
every entry, or what a snapshot brings.
"""

import sqlite3
from pathlib import Path
from typing import Final

from cluster.storage.errors import corrupt
from cluster.storage.records import checksum

_WRITE: Final = "INSERT OR REPLACE INTO notes (key, crc, data) VALUES (?, ?, ?)"


class NoteTable:
    """The rows, each with a checksum of name and value."""

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        """Speak for the table in `db`; `path` is for messages."""
        self._db = db
        self._path = path

    def read(self, key: str) -> bytes | None:
        """Read a value; raises `CorruptionError` for a damaged one."""
        found = self._db.execute("SELECT crc, data FROM notes WHERE key = ?", (key,)).fetchone()
        if found is None:
            return None
        crc, data = found
        assert isinstance(data, bytes)
        if crc != _checksum(key, data):
            raise corrupt(self._path, f"the note {key!r} has a wrong checksum")
        return data

    def write(self, key: str, data: bytes) -> None:
        """Put a value in the place of what was there, in one statement: a transaction of its own."""
        self._db.execute(_WRITE, (key, _checksum(key, data), data))


def _checksum(key: str, data: bytes) -> int:
    name = key.encode()
    return checksum(name + data, len(name))
