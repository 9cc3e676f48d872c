"""The job table as bytes: what the disk keeps of it, what a lagging node is sent, what two nodes compare.

A mirror is incremental. The small part of the table (nodes, counters) is written whole each time; jobs, sessions and
functions' settings are written in segments of neighbouring numbers (`changes`), only those that changed. Workloads too
big to be written again and again with their segment are kept apart and written once; those that came in parts are kept
in pieces (`uploads`). A job that came and went between two mirrors leaves no trace. Not for: reading it back
(`restoring`), or the disk: `cluster.storage` keeps the blobs and knows nothing of what is in them.
"""

import hashlib
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Final

import msgspec

from cluster.jobs.changes import SEGMENT, Page
from cluster.jobs.job import Job
from cluster.jobs.rows import job_row, page_rows, table_row
from cluster.jobs.table import JobTable

BIG_WORKLOAD: Final = 4096
"""Bytes from which on a workload is kept apart from its segment."""


class TableMirror(msgspec.Struct, frozen=True, gc=False):
    """What has to be written to bring the mirror on disk up to the table."""

    meta: bytes
    segments: list[tuple[int, bytes | None]]
    """Changed segments; None: the segment has nothing in it any more."""
    payloads: list[tuple[int, bytes]]
    """Workloads kept apart, by job number, and pieces of larger ones, by their numbers below zero; each comes once."""
    dropped_payloads: list[int]


_encode = msgspec.msgpack.Encoder().encode


class MirrorWriter:
    """Follows one table and gives what changed since it was last asked.

    Encoding a hundred thousand jobs takes tens of milliseconds. So it can be done in steps, with changes to the table
    in between: what is about to change is encoded first. All of a mirror is of the moment at which it was begun.
    """

    def __init__(self, segments: Iterable[int] = (), payloads: Iterable[int] = ()) -> None:
        """Begin with what the disk has already."""
        self._segments = set(segments)
        self._payloads: dict[int, set[int]] = {}
        for number in payloads:
            self._payloads.setdefault(number // SEGMENT, set()).add(number)
        self._jobs: dict[int, Job] = {}
        self._pages: dict[int, Page] = {}
        self._untaken: set[int] = set()
        """Segments of the mirror that was begun which are not encoded yet."""
        self._order: list[int] = []
        """All of the mirror's, the last first."""
        self._mirror = TableMirror(b"", [], [], [])
        """What there is of it."""

    def take(self, table: JobTable) -> TableMirror:
        """Encode what changed, in one go."""
        self.begin(table)
        mirror = self.go_on(len(self._order))
        assert mirror is not None
        return mirror

    def begin(self, table: JobTable) -> None:
        """Begin a mirror of the table as it is now, and regard it as written; the one before it must be whole."""
        self._jobs, self._pages = table.jobs, table.changes.pages
        self._untaken = table.changes.begin(self._take)
        self._order = sorted(self._untaken, reverse=True)
        fresh, gone = table.pieces.changes()
        pieces = [(-number, data) for number, data in fresh.items()]
        self._mirror = TableMirror(_encode(table_row(table)), [], pieces, [-number for number in gone])

    def go_on(self, most: int) -> TableMirror | None:
        """Encode up to `most` more segments; give the mirror if it is whole then."""
        order, untaken = self._order, self._untaken
        while order and most:
            segment = order.pop()
            if segment in untaken:
                self._take(segment)
                most -= 1
        if untaken:
            return None
        mirror, self._mirror = self._mirror, TableMirror(b"", [], [], [])
        mirror.segments.sort(key=itemgetter(0))
        mirror.payloads.sort(key=itemgetter(0))
        mirror.dropped_payloads.sort()
        return mirror

    def _take(self, segment: int) -> None:
        self._untaken.discard(segment)
        if segment < 0:
            page = self._pages.get(segment)
            self._write(segment, page_rows(page) if page is not None else [])
            return
        mirror, jobs = self._mirror, self._jobs
        start = segment * SEGMENT
        members = [job for number in range(start, start + SEGMENT) if (job := jobs.get(number)) is not None]
        kept = self._payloads.get(segment)
        if kept:
            gone = [number for number in kept if number not in jobs]
            mirror.dropped_payloads.extend(gone)
            kept.difference_update(gone)
            if not kept:
                del self._payloads[segment]
        for job in members:
            if len(job.workload) >= BIG_WORKLOAD and not job.pieces:
                known = self._payloads.setdefault(segment, set())
                if job.number not in known:
                    known.add(job.number)
                    mirror.payloads.append((job.number, job.workload))
        self._write(segment, [job_row(job, apart=BIG_WORKLOAD) for job in members])

    def _write(self, segment: int, rows: Sequence[object]) -> None:
        if rows:
            self._mirror.segments.append((segment, _encode(rows)))
            self._segments.add(segment)
        elif segment in self._segments:
            self._mirror.segments.append((segment, None))
            self._segments.discard(segment)


def digest(table: JobTable) -> bytes:
    """Give a hash that is equal on two nodes exactly when their tables are."""
    state = hashlib.sha256(_encode(table_row(table)))
    for name in sorted(table.nodes):
        for _, upload in sorted(table.nodes[name].uploads.items()):
            state.update(upload.whole(b""))
    for segment in sorted(table.changes.pages):
        state.update(_encode(page_rows(table.changes.pages[segment])))
    for number in sorted(table.jobs):
        state.update(_encode(job_row(table.jobs[number], apart=None)))
    return state.digest()
