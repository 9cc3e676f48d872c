"""The mirror of the job table on disk: when it is brought up to date, and where the log begins after that.

A mirror is encoded in steps, each in a turn of the loop of its own, while commands go on being applied; it is of the
moment at which it was begun. It lets go of the log up to the mirror before it: a snapshot that is opened just before it
is on disk needs what comes after the one that is there, and so does a follower that is a little behind. Not for:
writing it (`cluster.storage`), or what is in it (`cluster.jobs`).
"""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final

from cluster.jobs import JobTable, MirrorWriter
from cluster.raft import Raft, SnapshotMeta, SnapshotRefusedError
from cluster.storage import Mirror
from node.driver.surroundings import Disk, Handle, Loop
from node.memory import QueueMemory
from node.recovery import encode_meta

MIRROR_SEGMENTS: Final = 512
"""Changed segments after which the table is mirrored: a bound on what is encoded and written at a time."""
STEP_SEGMENTS: Final = 4
"""Segments that are encoded in one turn of the loop: it stands still for half a millisecond, or one."""
MIRROR_LOG_BYTES: Final = 32 << 20
"""Log bytes after which the table is mirrored: a bound on what a restart reads again."""
MIRROR_INTERVAL: Final = 2.0
"""Seconds after which it is mirrored in any case, if it changed."""


class Mirroring:
    """One node's mirror."""

    def __init__(
        self,
        *,
        name: str,
        table: JobTable,
        writer: MirrorWriter,
        raft: Raft,
        disk: Disk,
        loop: Loop,
        guard: Callable[[], AbstractContextManager[None]],
        done: Callable[[], None],
        drained: Callable[[], None],
    ) -> None:
        """`done` carries out what follows from a mirror; `drained` is called when a long queue has gone.

        What happens in a turn of its own happens under `guard`.
        """
        self._name = name
        self._table = table
        self._writer = writer
        self._raft = raft
        self._disk = disk
        self._loop = loop
        self._guard = guard
        self._done = done
        self._drained = drained
        self.applied_index = raft.applied_index
        """The position of the table in the log."""
        self._under_way = False
        self._turn: Handle | None = None
        """The next turn in which the mirror under way is encoded; None: it is whole."""
        self._standing = SnapshotMeta()
        """Of what position in the log it is."""
        self._compact_to = 0
        self._stopped = False
        """Whether nothing may be mirrored now: a snapshot takes the table's place, or the node stops."""
        self._timer: Handle | None = None
        self._bytes = 0
        self._last = raft.applied_index
        """The position of the last mirror that is on disk."""
        self._memory = QueueMemory()

    def applied(self, index: int, size: int) -> None:
        """Note that an entry of so many bytes is in the table."""
        self.applied_index = index
        self._bytes += size

    def see_to_it(self) -> None:
        """Mirror the table, if enough of it has changed; else in a while."""
        if self._under_way or self._stopped:
            return
        if len(self._table.changes.dirty) >= MIRROR_SEGMENTS or self._bytes >= MIRROR_LOG_BYTES:
            self.begin()
        elif self._timer is None:
            self._timer = self._loop.call_later(MIRROR_INTERVAL, self._in_time)

    def _in_time(self) -> None:
        with self._guard():
            self.begin()

    def begin(self) -> None:
        """Begin to mirror the table, as it is now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._under_way or self._stopped or not self.applied_index:
            return  # one that joins, and was sent nothing yet, has nothing to keep
        try:
            standing = self._raft.snapshot_meta(self.applied_index)
        except SnapshotRefusedError:
            return  # a snapshot has just come, and is going to be installed in this table's place
        self._under_way = True
        self._bytes = 0
        self._raft.compact(self._last)
        self._standing = standing
        self._compact_to = self._raft.first_index - 1
        self._writer.begin(self._table)
        self._turn = self._loop.call_soon(self._in_turn)

    def _in_turn(self) -> None:
        with self._guard():
            self._encode(STEP_SEGMENTS)

    def _encode(self, most: int) -> None:
        """Encode up to `most` more segments, and hand the mirror over to the disk if it is whole then."""
        part = self._writer.go_on(most)
        if part is None:
            self._turn = self._loop.call_soon(self._in_turn)
            return
        self._turn = None
        standing = self._standing
        self._disk.mirror(
            Mirror(
                applied_index=standing.index,
                applied_term=standing.term,
                meta=encode_meta(self._name, standing.configuration, part.meta),
                segments=part.segments,
                payloads=part.payloads,
                dropped_payloads=part.dropped_payloads,
                compact_to=self._compact_to,
            ),
            lambda: self._mirrored(standing.index),
        )

    def _encode_rest(self) -> None:
        if self._turn is not None:
            self._turn.cancel()
            self._encode(sys.maxsize)

    def _mirrored(self, index: int) -> None:
        self._under_way = False
        if not self._stopped:
            with self._guard():
                self._last = index
                self._done()
                if self.applied_index > index:
                    self.see_to_it()
        if self._memory.drained(len(self._table.jobs)):
            self._drained()

    def suspend(self) -> None:
        """Mirror nothing until `go_on`: the table is about to be replaced."""
        self._stopped = True
        self._cancel()

    def go_on(self, writer: MirrorWriter, index: int) -> None:
        """Go on with the table that a snapshot brought."""
        self._writer = writer
        self.applied_index = self._last = index
        self._bytes = 0
        self._stopped = self._under_way = False

    def stop(self) -> None:
        """Mirror the table a last time, so that a restart has nothing to catch up with."""
        if not self._stopped:
            self._encode_rest()
            self._under_way = False
            self.begin()
            self._encode_rest()
        self.suspend()

    def _cancel(self) -> None:
        for handle in (self._timer, self._turn):
            if handle is not None:
                handle.cancel()
        self._timer = self._turn = None
