"""Where a snapshot that is being received is put aside, until all of it is there.

The table `spool` holds it in the parts in which it came, each with its place and a checksum.

Not for: transactions, translating errors, or knowing what is in a stream (`stream`).
"""

import sqlite3
from collections.abc import Generator, Sequence
from pathlib import Path

from cluster.storage.errors import corrupt
from cluster.storage.records import Piece, checksum


class Spool:
    """The bytes that were put aside, from offset 0 to `size`."""

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        """Speak for the table in `db`; `path` is for messages."""
        self._db = db
        self._path = path

    def size(self) -> int:
        """Tell how many bytes were put aside."""
        row = self._db.execute("SELECT start + length(data) FROM spool ORDER BY start DESC LIMIT 1").fetchone()
        return row[0] if row is not None else 0

    def put(self, pieces: Sequence[Piece]) -> int:
        """Put pieces aside in their order, each where it belongs; returns the bytes in them."""
        for piece in pieces:
            self._cut(piece.offset)
            if piece.data:
                self._insert(piece.offset, piece.data)
        return sum(len(piece.data) for piece in pieces)

    def read(self) -> Generator[bytes, None, None]:
        """Yield what was put aside, part by part; raises `CorruptionError` for a damaged or missing one."""
        expected = 0
        for start, crc, data in self._db.execute("SELECT start, crc, data FROM spool ORDER BY start"):
            if start != expected or crc != checksum(data, start):
                raise corrupt(self._path, f"what was put aside of a snapshot is not whole from byte {expected} on")
            yield data
            expected += len(data)

    def clear(self) -> None:
        """Drop everything."""
        # Without a condition, so that SQLite frees the pages without looking at the rows.
        self._db.execute("DELETE FROM spool")

    def _cut(self, size: int) -> None:
        """Drop what lies beyond `size` bytes."""
        if size == 0:
            self.clear()
            return
        if self.size() == size:
            return
        self._db.execute("DELETE FROM spool WHERE start >= ?", (size,))
        start, data = self._db.execute("SELECT start, data FROM spool ORDER BY start DESC LIMIT 1").fetchone()
        if start + len(data) > size:
            self._db.execute("DELETE FROM spool WHERE start = ?", (start,))
            self._insert(start, data[: size - start])

    def _insert(self, start: int, data: bytes) -> None:
        self._db.execute("INSERT INTO spool VALUES (?, ?, ?)", (start, checksum(data, start), data))
