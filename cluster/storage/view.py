"""The mirror as it stood at one moment, read beside the thread that goes on writing.

A view is a connection of its own, inside one read transaction: SQLite shows it the database as it was at the beginning.
As long as a view is open, the write-ahead log cannot begin anew and grows with everything that is written.

Not for: the log, or changing anything.
"""

import contextlib
import sqlite3
import threading
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Final, Self

from cluster.storage import stream
from cluster.storage.blobs import BlobTable
from cluster.storage.errors import ClosedError, corrupt, from_sqlite
from cluster.storage.records import checksum

_CACHE_KIBIBYTES: Final = 1024
_BUSY_SECONDS: Final = 5.0


class MirrorView:
    """The mirror's state, segments and payloads at `applied_index`, until `close`.

    Any one thread at a time may read, and any may close.
    """

    def __init__(self, path: Path) -> None:
        """Begin to read the database at `path`, whose directory the caller holds; may wait for the disk.

        Raises `CorruptionError` for a damaged mirror, another `StorageError` when it cannot be read at all.
        """
        self._path = path
        self._lock = threading.Lock()
        self._closed = False
        self._begun: list[Generator[tuple[int, bytes], None, None]] = []
        try:
            self._db = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=ro",
                uri=True,
                timeout=_BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,
            )
        except sqlite3.Error as error:
            raise from_sqlite(error, path) from error
        try:
            with self._reading():
                self._db.execute(f"PRAGMA cache_size = -{_CACHE_KIBIBYTES}")
                self._db.execute("PRAGMA mmap_size = 0")
                self._db.execute("BEGIN")
                *numbers, crc, meta = self._db.execute(
                    "SELECT applied_index, applied_term, compacted_index, compacted_term, segments, crc, meta"
                    " FROM mirror"
                ).fetchone()
        except BaseException:
            self.close()
            raise
        if crc != checksum(meta, *numbers):
            self.close()
            raise corrupt(path, "the mirror's state has a wrong checksum")
        self.applied_index: Final[int] = numbers[0]
        """The last entry whose effect is in the mirror; 0 when there is no mirror yet."""
        self.applied_term: Final[int] = numbers[1]
        self.meta: Final[bytes] = meta
        self._segments: Final[int] = numbers[4]

    def __enter__(self) -> Self:
        """Give the view itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    @property
    def closed(self) -> bool:
        """Tell whether the view was closed."""
        return self._closed

    def segments(self) -> Iterator[tuple[int, bytes]]:
        """Yield the segments in the order of their ids; raises `ClosedError` when the view was closed meanwhile."""
        count = 0
        for row in self._rows("segments", "id"):
            count += 1
            yield row
        if count != self._segments:
            raise corrupt(self._path, f"{self._segments} segments were written, {count} are there")

    def payloads(self) -> Iterator[tuple[int, bytes]]:
        """Yield the payloads in the order of their jobs; raises `ClosedError` when the view was closed meanwhile."""
        return self._rows("payloads", "job")

    def close(self) -> None:
        """Let go of it, so that the write-ahead log can begin anew; doing so again does nothing."""
        with self._lock:
            if not self._closed:
                self._closed = True
                # A statement that is not at its end would keep the read transaction beyond the connection's end.
                for rows in self._begun:
                    rows.close()
                self._db.close()

    def _rows(self, table: str, key: str) -> Iterator[tuple[int, bytes]]:
        # Parts of a mirror that is not complete may be there already.
        rows = BlobTable(self._db, self._path, table, key).read(through=self.applied_index)
        with self._lock:
            self._begun.append(rows)
        while True:
            with self._reading():
                row = next(rows, None)
            if row is None:
                return
            yield row

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        with self._lock:
            if self._closed:
                raise ClosedError(f"a view of {self._path} was closed while it was being read")
            try:
                yield
            except sqlite3.Error as error:
                raise from_sqlite(error, self._path) from error


class SnapshotReader:
    """A view as a stream, read from front to back in pieces."""

    def __init__(self, view: MirrorView) -> None:
        """Take over `view`."""
        self._view = view
        self._parts = stream.encode(
            stream.Header(view.applied_index, view.applied_term, view.meta), view.segments(), view.payloads()
        )
        self._part = memoryview(next(self._parts))
        self._ended = False

    @property
    def index(self) -> int:
        """The last entry whose effect is in the snapshot."""
        return self._view.applied_index

    @property
    def term(self) -> int:
        """That entry's term."""
        return self._view.applied_term

    def read(self, size: int) -> tuple[bytes, bool]:
        """Read the next bytes, `size` of them unless the end comes first, and tell whether that was the end.

        Holds these bytes and one record, never more. Raises `ClosedError` after `close`, and `StorageError` for what
        cannot be read: the stream is then over.
        """
        if self._view.closed and not self._ended:
            raise ClosedError("a snapshot was closed while it was being read")
        piece = bytearray()
        try:
            while len(piece) < size and not self._ended:
                taken = self._part[: size - len(piece)]
                piece += taken
                self._part = self._part[len(taken) :]
                if not self._part:
                    self._advance()
        except BaseException:
            self.close()
            raise
        return bytes(piece), self._ended

    def close(self) -> None:
        """Let go of the view, at any time and from any thread; doing so again does nothing."""
        self._view.close()

    def _advance(self) -> None:
        """Go on to the next part that is not empty; at the end, let go of the view."""
        for part in self._parts:
            if part:
                self._part = memoryview(part)
                return
        self._ended = True
        self.close()


class Views:
    """The views of one store that are open: none may outlive it."""

    def __init__(self, path: Path) -> None:
        """Begin without any, of the database at `path`."""
        self._path = path
        self._lock = threading.Lock()
        self._open: list[MirrorView] = []
        self._closed = False

    def open(self) -> MirrorView:
        """Open one; from any thread. Raises `StorageError` when that fails or the store is closed."""
        with self._lock:
            if self._closed:
                raise ClosedError(f"{self._path} is closed")
            view = MirrorView(self._path)
            self._open = [*(other for other in self._open if not other.closed), view]
            return view

    def close(self) -> None:
        """Close those that are open, and open no more."""
        with self._lock:
            self._closed = True
            for view in self._open:
                view.close()
            self._open = []
