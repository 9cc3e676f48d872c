"""A table of numbered blobs, each row with its checksum, written many rows to a statement.

A statement gives the interpreter's lock away and must win it back from a busy event loop, which can take milliseconds;
so what a call costs depends on its statements far more than on its rows.

Not for: transactions, or translating errors; the store does both.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from cluster.storage.errors import corrupt
from cluster.storage.records import checksum

ROWS_PER_STATEMENT: Final = 128
_BYTES_PER_STATEMENT: Final = 4 * 1024 * 1024
"""Values are copied when they are bound; so many bytes of copies exist at a time, or one value's if it is larger."""


def portions(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Cut rows, given the bytes in each, into ranges that are right for one statement."""
    start = held = 0
    for position, size in enumerate(sizes):
        if position > start and (position - start == ROWS_PER_STATEMENT or held + size > _BYTES_PER_STATEMENT):
            yield start, position
            start, held = position, 0
        held += size
    if start < len(sizes):
        yield start, len(sizes)


class BlobTable:
    """One such table."""

    def __init__(self, db: sqlite3.Connection, path: Path, name: str, key: str) -> None:
        """Speak for the table `name` with primary key `key`; `path` is for messages."""
        self._db = db
        self._path = path
        self._name = name
        # Both names are constants of this package.
        self._select = f"SELECT {key}, crc, data FROM {name} ORDER BY {key}"  # noqa: S608
        self._insert = f"INSERT OR REPLACE INTO {name} ({key}, crc, data) VALUES "  # noqa: S608
        self._delete = f"DELETE FROM {name} WHERE {key} IN "  # noqa: S608

    def read(self) -> Iterator[tuple[int, bytes]]:
        """Yield the rows in the order of their numbers; raises `CorruptionError` for a damaged one."""
        for number, crc, data in self._db.execute(self._select):
            if crc != checksum(data, number):
                raise corrupt(self._path, f"row {number} of {self._name} has a wrong checksum")
            yield number, data

    def write(self, rows: Sequence[tuple[int, bytes]]) -> int:
        """Insert or replace rows; of several with one number the last stays. Returns the bytes written."""
        sizes = [len(data) for _, data in rows]
        for start, end in portions(sizes):
            self._db.execute(
                self._insert + ", ".join(["(?, ?, ?)"] * (end - start)),
                [value for number, data in rows[start:end] for value in (number, checksum(data, number), data)],
            )
        return sum(sizes)

    def delete(self, numbers: Sequence[int]) -> None:
        """Delete the rows that are there."""
        for start in range(0, len(numbers), ROWS_PER_STATEMENT):
            part = numbers[start : start + ROWS_PER_STATEMENT]
            self._db.execute(f"{self._delete} ({', '.join('?' * len(part))})", part)
