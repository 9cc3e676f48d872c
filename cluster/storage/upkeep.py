"""Keeping the file small and the write-ahead log short, in steps that fit between two appends.

Three chores: moving the write-ahead log into the database (a checkpoint), deleting the log's compacted rows, and giving
free pages back to the file system. SQLite would do the first by itself inside a commit, but it passes over the errors
that it meets there; and a failed fsync must not go unseen.

Not for: deciding what is compacted, or when there is time for a step.
"""

import sqlite3
import time
from typing import Final

PAGE_BYTES: Final = 16 * 1024
_CHECKPOINT_BYTES: Final = 4 * 1024 * 1024
"""Longer logs checkpoint less often but stall for longer, and their file grows out of what is cheap to overwrite."""
_DELETE_BYTES: Final = 4 * 1024 * 1024
_DELETE_ROWS: Final = 4096
_DELETE_AFTER_BYTES: Final = 2 * 1024 * 1024
"""Where appends never pause, so much is written between two steps of deleting: rows go faster than they come."""
_VACUUM_AFTER_BYTES: Final = 16 * 1024 * 1024
"""The same of giving space back: nobody waits for that."""
_FREE_KEPT_BYTES: Final = 64 * 1024 * 1024
"""So much free space is never given back: the next burst will use it."""
_STEP_SECONDS: Final = (0.002, 0.008)
"""A vacuum step that was shorter than the first grows, one that was longer than the second shrinks."""
_STEP_PAGES: Final = (8, 256)


class Upkeep:
    """The chores of one open database."""

    def __init__(self, db: sqlite3.Connection) -> None:
        """Start with nothing known to do; `compacted` says what there is."""
        self._db = db
        self._wal_bytes = 0
        self._bytes_since_step = 0
        self._garbage_to = 0
        self._deleting = False
        self._vacuuming = False
        self._vacuum_pages = 64
        self._keeps = True

    def wrote(self, rows: int, size: int) -> None:
        """Account for a transaction that wrote `rows` rows of `size` bytes together."""
        # Pages are written whole: what the data fills, the edges of the tree and, where it grows, the file's own lists.
        written = PAGE_BYTES + rows // 8 * PAGE_BYTES + size + (2 * PAGE_BYTES if size > PAGE_BYTES // 4 else 0)
        self._wal_bytes += written
        self._bytes_since_step += written

    def compacted(self, index: int) -> None:
        """Note that log entries up to and including `index` are dead, and look for free space to give back."""
        self._garbage_to = index
        self._deleting = True

    def keep_free_pages(self, *, keep: bool) -> None:
        """Keep some free space in the file for the next burst, or, where the file system has little, give all back."""
        self._keeps = keep
        if not keep:
            self._vacuuming = self._free_bytes_beyond(keep_of_used=0)

    @property
    def overdue(self) -> bool:
        """Tell whether to do a step before the next write, however many are waiting."""
        if self._wal_bytes >= _CHECKPOINT_BYTES:
            return True
        if self._deleting:
            return self._bytes_since_step >= _DELETE_AFTER_BYTES
        return self._vacuuming and self._bytes_since_step >= _VACUUM_AFTER_BYTES

    def step(self) -> bool:
        """Do one step; True while there is more to do without any further write."""
        if self._wal_bytes >= _CHECKPOINT_BYTES:
            self._checkpoint()
        elif self._deleting:
            self._bytes_since_step = 0
            self._delete()
        elif self._vacuuming:
            self._bytes_since_step = 0
            self._vacuum()
        return self._deleting or self._vacuuming or self._wal_bytes >= _CHECKPOINT_BYTES

    def _checkpoint(self) -> None:
        self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        self._wal_bytes = 0

    def _delete(self) -> None:
        (reached,) = self._db.execute(
            "SELECT max(idx) FROM (SELECT idx, sum(size) OVER (ORDER BY idx) - size AS before FROM"
            " (SELECT idx, length(data) AS size FROM log WHERE idx <= ? ORDER BY idx LIMIT ?)) WHERE before < ?",
            (self._garbage_to, _DELETE_ROWS, _DELETE_BYTES),
        ).fetchone()
        if reached is None:
            self._deleting = False
            self._vacuuming = self._free_bytes_beyond(keep_of_used=1)
            return
        self._db.execute("DELETE FROM log WHERE idx <= ?", (reached,))
        self._wal_bytes += 8 * PAGE_BYTES

    def _vacuum(self) -> None:
        pages = self._vacuum_pages
        started = time.perf_counter()
        # The statement yields an empty row for each page and goes on only while it is stepped: `execute` would free one
        # page. A script is stepped to its end, and without the interpreter's lock.
        self._db.executescript(f"PRAGMA incremental_vacuum({pages})")
        took = time.perf_counter() - started
        shortest, longest = _STEP_SECONDS
        if took < shortest:
            self._vacuum_pages = min(pages * 2, _STEP_PAGES[1])
        elif took > longest:
            self._vacuum_pages = max(pages // 2, _STEP_PAGES[0])
        self._wal_bytes += 2 * pages * PAGE_BYTES
        if not self._free_bytes_beyond(keep_of_used=0.25):
            self._vacuuming = False
            # The file itself is cut when the log is moved into it.
            self._wal_bytes = _CHECKPOINT_BYTES

    def _free_bytes_beyond(self, keep_of_used: float) -> bool:
        """Tell whether more is free than is worth keeping: a share of what is used, and a little in any case."""
        (free,) = self._db.execute("PRAGMA freelist_count").fetchone()
        (total,) = self._db.execute("PRAGMA page_count").fetchone()
        if not self._keeps:
            return bool(free)
        kept = max(_FREE_KEPT_BYTES // PAGE_BYTES, int((total - free) * keep_of_used))
        return bool(free > kept)
