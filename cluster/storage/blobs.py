"""A table of numbered blobs, each row with its mirror's index and a checksum, written many rows to a statement.

A statement gives the interpreter's lock away and must win it back from a busy event loop, which can take milliseconds;
so what a call costs depends on its statements far more than on its rows.

Not for: transactions, or translating errors; the store does both.
"""

import sqlite3
from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from cluster.storage.errors import corrupt
from cluster.storage.records import checksum

ROWS_PER_STATEMENT: Final = 128
_BYTES_PER_STATEMENT: Final = 4 * 1024 * 1024
"""Values are copied when they are bound; so many bytes of copies exist at a time, or one value's if it is larger."""


def portions(sizes: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Cut rows, given the bytes in each, into ranges that are right for one statement."""
    start = end = held = 0
    for position, size in enumerate(sizes):
        if position > start and (position - start == ROWS_PER_STATEMENT or held + size > _BYTES_PER_STATEMENT):
            yield start, position
            start, held = position, 0
        held += size
        end = position + 1
    if start < end:
        yield start, end


class BlobTable:
    """One such table."""

    def __init__(self, db: sqlite3.Connection, path: Path, name: str, key: str) -> None:
        """Speak for the table `name` with primary key `key`; `path` is for messages."""
        self._db = db
        self._path = path
        self._name = name
        # Both names are constants of this package.
        self._select = f"SELECT {key}, mirror, crc, data FROM {name} ORDER BY {key}"  # noqa: S608
        self._select_numbers = f"SELECT {key} FROM {name}"  # noqa: S608
        self._insert = f"INSERT OR REPLACE INTO {name} ({key}, mirror, crc, data) VALUES "  # noqa: S608
        self._delete_after = f"DELETE FROM {name} WHERE mirror > ?"  # noqa: S608
        self._delete = f"DELETE FROM {name} WHERE {key} IN "  # noqa: S608
        self._clear = f"DELETE FROM {name}"  # noqa: S608

    def read(self, through: int | None = None) -> Generator[tuple[int, bytes], None, None]:
        """Yield the rows in the order of their numbers; raises `CorruptionError` for a damaged one.

        With `through`, rows of mirrors later than that, which are not complete yet, are passed over.
        """
        for number, mirror, crc, data in self._db.execute(self._select):
            if crc != checksum(data, number, mirror):
                raise corrupt(self._path, f"row {number} of {self._name} has a wrong checksum")
            if through is None or mirror <= through:
                yield number, data

    def numbers(self) -> list[int]:
        """List the numbers of the rows that are there."""
        return [number for (number,) in self._db.execute(self._select_numbers)]

    def write(self, rows: Sequence[tuple[int, bytes]], mirror: int) -> int:
        """Insert or replace rows of the mirror of entry `mirror`; returns the bytes in them."""
        sizes = [len(data) for _, data in rows]
        for start, end in portions(sizes):
            self._db.execute(
                self._insert + ", ".join(["(?, ?, ?, ?)"] * (end - start)),
                [
                    value
                    for number, data in rows[start:end]
                    for value in (number, mirror, checksum(data, number, mirror), data)
                ],
            )
        return sum(sizes)

    def delete(self, numbers: Sequence[int]) -> None:
        """Delete the rows that are there."""
        for start in range(0, len(numbers), ROWS_PER_STATEMENT):
            part = numbers[start : start + ROWS_PER_STATEMENT]
            self._db.execute(f"{self._delete} ({', '.join('?' * len(part))})", part)

    def delete_after(self, mirror: int) -> None:
        """Delete the rows of mirrors later than `mirror`, which were never completed."""
        self._db.execute(self._delete_after, (mirror,))

    def clear(self) -> None:
        """Delete all rows."""
        self._db.execute(self._clear)
