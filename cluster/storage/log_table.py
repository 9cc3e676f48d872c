"""The table `log`: entries by index, many to a statement, each with a checksum.

Not for: transactions, translating errors, or which entries may be written; the store does these.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from cluster.log import Entry, EntryKind
from cluster.storage.errors import corrupt
from cluster.storage.records import Outline, checksum

INSERT: Final = "INSERT INTO log (idx, term, kind, crc, data) VALUES (?, ?, ?, ?, ?)"
"""Write one entry, given its `row`."""
_OUTLINED: Final = 256
"""Entries whose size is told together in an outline."""


def row(entry: Entry) -> tuple[int, int, int, int, bytes]:
    """Give the values of an entry's row."""
    index, term, kind, data = entry.index, entry.term, entry.kind, entry.data
    return index, term, kind, checksum(data, index, term, kind), data


class LogTable:
    """The rows of the log; those at or before the compacted index may still be there, and are nobody's."""

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        """Speak for the table in `db`; `path` is for messages."""
        self._db = db
        self._path = path

    def bounds(self, after: int) -> tuple[int | None, int | None]:
        """Give the first and the last index after that one; None when there is none."""
        first, last = self._db.execute("SELECT min(idx), max(idx) FROM log WHERE idx > ?", (after,)).fetchone()
        return first, last

    def read(self, first: int, last: int) -> Iterator[Entry]:
        """Yield entries, both ends included; raises `CorruptionError` for one that is missing or damaged."""
        expected = first
        for index, term, kind, crc, data in self._db.execute(
            "SELECT idx, term, kind, crc, data FROM log WHERE idx BETWEEN ? AND ? ORDER BY idx", (first, last)
        ):
            if index != expected:
                break
            if crc != checksum(data, index, term, kind):
                raise corrupt(self._path, f"log entry {index} has a wrong checksum")
            try:
                known = EntryKind(kind)
            except ValueError:
                raise corrupt(self._path, f"log entry {index} is of unknown kind {kind}") from None
            yield Entry(index, term, known, data)
            expected += 1
        if expected <= last:
            raise corrupt(self._path, f"log entry {expected} is missing")

    def outline(self, first: int, last: int) -> Outline:
        """Describe entries, both ends included; raises `CorruptionError` when one is missing."""
        between = "FROM log WHERE idx BETWEEN ? AND ?"
        terms = tuple(self._db.execute(f"SELECT min(idx), term {between} GROUP BY term ORDER BY 1", (first, last)))
        sizes = self._db.execute(
            f"SELECT max(idx), count(*), sum(length(data)) {between} GROUP BY idx / {_OUTLINED} ORDER BY 1",
            (first, last),
        ).fetchall()
        if sum(count for _, count, _ in sizes) != last + 1 - first:
            raise corrupt(self._path, f"an entry of the log from {first} to {last} is missing")
        return Outline(terms, tuple(sizes))

    def term(self, index: int) -> int:
        """Look up the term of an entry; raises `CorruptionError` when it is missing."""
        found = self._db.execute("SELECT term FROM log WHERE idx = ?", (index,)).fetchone()
        if found is None:
            raise corrupt(self._path, f"log entry {index} is missing")
        (term,) = found
        assert isinstance(term, int)
        return term

    def put(self, entries: Sequence[Entry], parts: Iterable[tuple[int, int]], replace_from: int | None) -> None:
        """Write entries, a statement for each of `parts`; everything from `replace_from` on goes first."""
        if replace_from is not None:
            self._db.execute("DELETE FROM log WHERE idx >= ?", (replace_from,))
        for start, end in parts:
            self._db.execute(
                INSERT + ", (?, ?, ?, ?, ?)" * (end - start - 1),
                [value for entry in entries[start:end] for value in row(entry)],
            )

    def clear(self) -> None:
        """Delete all rows."""
        # Without a condition, so that SQLite frees the pages without looking at the rows.
        self._db.execute("DELETE FROM log")
