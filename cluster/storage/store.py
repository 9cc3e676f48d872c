"""One node's durable state: the file, used from one thread at a time.

Every write is one transaction, on disk when the call returns. After the first failure a store refuses everything: what
reached the disk is then known only to the next start, which reads it back.

Not for: threads, grouping of commits, or the meaning of what is kept.
"""

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NoReturn, Self

from cluster.log import Entry, HardState
from cluster.storage import format as file_format
from cluster.storage.blobs import BlobTable, portions
from cluster.storage.errors import (
    DiskFullError,
    MisuseError,
    StorageError,
    UnusableSnapshotError,
    corrupt,
    from_os,
    from_sqlite,
)
from cluster.storage.installation import Installation
from cluster.storage.lock import DirectoryLock
from cluster.storage.log_table import INSERT, LogTable, row
from cluster.storage.notes import NoteTable
from cluster.storage.records import Install, Mirror, Outline, Piece, Recovered, checksum
from cluster.storage.spool import Spool
from cluster.storage.upkeep import Upkeep
from cluster.storage.view import MirrorView, Views

_SET_STATE: Final = (
    "UPDATE mirror SET applied_index = ?, applied_term = ?, compacted_index = ?, compacted_term = ?, segments = ?,"
    " crc = ?, meta = ?"
)


READ_BYTES: Final = 8 << 20
"""Bytes of entries that are read for consensus in one go, except that it always is one entry."""


class Store:
    """The database of one data directory, held exclusively from `open` to `close`."""

    def __init__(self, directory: Path, lock: DirectoryLock, db: sqlite3.Connection) -> None:
        """Take over an open database; `Store.open` is the way to get one."""
        self.path: Final = directory / file_format.FILE_NAME
        self._lock = lock
        self._db = db
        self._failure: StorageError | None = None
        self._closed = False
        self._hard_state = HardState()
        self._compacted = 0
        self._applied = 0
        self._last = 0
        self._staged = False
        self._staged_segments: set[int] = set()
        self._segment_numbers: set[int] = set()
        self._upkeep = Upkeep(db)
        self._segments = BlobTable(db, self.path, "segments", "id")
        self._payloads = BlobTable(db, self.path, "payloads", "job")
        self._log = LogTable(db, self.path)
        self._notes = NoteTable(db, self.path)
        self._spool = Spool(db, self.path)
        self._spooled = 0
        self._views = Views(self.path)

    @classmethod
    def open(cls, directory: Path, *, connection: type[sqlite3.Connection] = sqlite3.Connection) -> Self:
        """Open the store in `directory`, making both if they do not exist.

        Raises the subclass of `StorageError` that says why the directory cannot be used, and what to do. `connection`
        is for tests, which put a failing disk there.
        """
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise from_os(error, directory) from error
        lock = DirectoryLock(directory)
        try:
            db = file_format.open_database(directory, connection)
            try:
                store = cls(directory, lock, db)
                store._load()
            except BaseException:
                file_format.abandon(db)
                raise
        except BaseException:
            lock.release()
            raise
        return store

    # -- reading back -------------------------------------------------------------------------------------------------

    def recover(self) -> Recovered:
        """Read where the store stands."""
        with self._guard():
            applied_index, applied_term, compacted_index, compacted_term, segments, crc, meta = self._db.execute(
                "SELECT applied_index, applied_term, compacted_index, compacted_term, segments, crc, meta FROM mirror"
            ).fetchone()
            if crc != checksum(meta, applied_index, applied_term, compacted_index, compacted_term, segments):
                raise corrupt(self.path, "the mirror's state has a wrong checksum")
            return Recovered(
                hard_state=self._hard_state,
                applied_index=applied_index,
                applied_term=applied_term,
                meta=meta,
                first_index=compacted_index + 1,
                last_index=self._last,
                compacted_term=compacted_term,
            )

    def read_entries(self, first: int, last: int) -> Iterator[Entry]:
        """Yield the log's entries from `first` to `last`, both included.

        Raises `MisuseError` for entries the log does not hold, `CorruptionError` for one that is missing or damaged.
        """
        if first <= self._compacted or last > self._last:
            self._refuse(f"entries {first}..{last} were asked for, the log has {self._compacted + 1}..{self._last}")
        with self._guard():
            yield from self._log.read(first, last)

    def outline(self, first: int, last: int) -> Outline:
        """Describe the log's entries from `first` to `last`, both included, without reading what they hold.

        Raises as `read_entries` does; whether an entry is damaged shows when it is read.
        """
        if first <= self._compacted or last > self._last:
            self._refuse(f"entries {first}..{last} were asked for, the log has {self._compacted + 1}..{self._last}")
        with self._guard():
            return self._log.outline(first, last)

    def held_entries(self, first: int, last: int) -> tuple[Entry, ...]:
        """Give those of the entries from `first` to `last` that the log still holds, as far as `READ_BYTES` go."""
        first, last = max(first, self._compacted + 1), min(last, self._last)
        held: list[Entry] = []
        size = 0
        if first <= last:
            for entry in self.read_entries(first, last):
                held.append(entry)
                size += len(entry.data)
                if size >= READ_BYTES:
                    break
        return tuple(held)

    def read_segments(self) -> Iterator[tuple[int, bytes]]:
        """Yield the mirror's segments in the order of their ids."""
        with self._guard():
            yield from self._segments.read(through=self._applied)
            expected = self._db.execute("SELECT segments FROM mirror").fetchone()
            if expected != (len(self._segment_numbers),):
                raise corrupt(self.path, f"{expected[0]} segments were written, {len(self._segment_numbers)} are there")

    def read_payloads(self) -> Iterator[tuple[int, bytes]]:
        """Yield the mirror's payloads in the order of their jobs."""
        with self._guard():
            yield from self._payloads.read()

    def note(self, key: str) -> bytes | None:
        """Read what was noted last under `key`; None when nothing was."""
        with self._guard():
            return self._notes.read(key)

    def view(self) -> MirrorView:
        """Open the mirror for reading beside the writes; from any thread, and it may wait for the disk.

        Whoever opened it closes it; what is still open is closed with the store.
        """
        return self._views.open()

    # -- writing ------------------------------------------------------------------------------------------------------

    def append(self, entries: Sequence[Entry], hard_state: HardState | None = None) -> None:
        """Put `entries` at the end of the log, and the hard state beside them, in one transaction.

        When the first of them has an index that the log already holds, it and everything after it is replaced. Raises
        `MisuseError` for a gap, within `entries` or before them, and for an entry at or below the mirror's applied
        index: those are committed and can never be replaced.
        """
        if hard_state is None and len(entries) == 1 and entries[0].index == self._last + 1:
            entry = entries[0]
            with self._guard():
                # One statement outside a transaction: begin, write, sync and end without a step of Python between them.
                self._db.execute(INSERT, row(entry))
            self._last += 1
            self._upkeep.wrote(1, len(entry.data))
            return
        self._append_several(entries, hard_state)

    @property
    def installation_bytes(self) -> int:
        """About how many bytes the installation of what was put aside reads, writes and deletes."""
        return 4 * self._spooled + self.path.stat().st_size

    def write(
        self,
        entries: Sequence[Entry] = (),
        hard_state: HardState | None = None,
        pieces: Sequence[Piece] = (),
        install: Install | None = None,
    ) -> None:
        """Do everything that is given in one transaction: hard state, pieces, installation, entries, in this order.

        Raises `MisuseError` as `append` does, for a piece that leaves a gap, and for a snapshot that is not later than
        the mirror; `UnusableSnapshotError` when what was put aside is not whole or not of the position to install.
        After both the store is as it was, and usable.
        """
        if not pieces and install is None:
            self.append(entries, hard_state)
            return
        applied, last = self._applied, self._last
        if install is not None:
            if install.index <= applied:
                self._refuse(f"a snapshot of entry {install.index} was to replace a mirror of entry {applied}")
            applied = last = install.index
        first = self._check_order(entries, applied, last)
        spooled = self._spooled
        for piece in pieces:
            if piece.offset > spooled:
                self._refuse(f"a piece was offered at byte {piece.offset} of a snapshot of which {spooled} are there")
            spooled = piece.offset + len(piece.data)
        sizes = [len(entry.data) for entry in entries]
        installation = Installation(self._spool, self._segments, self._payloads)
        with self._guard(), self._transaction():
            self._put_hard_state(hard_state)
            size = self._spool.put(pieces)
            if install is not None:
                state = installation.check(install, spooled)
                size += installation.carry_out(install.index, spooled)
                self._log.clear()
                self._db.execute("DELETE FROM staged")
                numbers = (install.index, install.term, install.index, install.term, len(installation.segments))
                self._db.execute(_SET_STATE, (*numbers, checksum(state, *numbers), state))
            self._log.put(entries, portions(sizes), first if first <= last else None)
        self._upkeep.wrote(len(pieces) + len(entries) + installation.rows, size + sum(sizes))
        self._spooled = spooled
        if hard_state is not None:
            self._hard_state = hard_state
        if install is not None:
            self._applied = self._compacted = install.index
            self._segment_numbers = installation.segments
            self._spooled = 0
            self._staged = False
            self._staged_segments.clear()
            self._upkeep.compacted(install.index)
        self._last = entries[-1].index if entries else last

    def write_note(self, key: str, data: bytes) -> None:
        """Note `data` under `key`, in the place of what was there: small facts that belong to no entry of the log."""
        with self._guard():
            self._notes.write(key, data)
        self._upkeep.wrote(1, len(data))

    def found(self, index: int, term: int, meta: bytes) -> None:
        """Begin an empty log after this position, with the mirror's meta as it stands there.

        A group's log does not begin at 1: what its first members agreed on before is the position they begin at. Raises
        `MisuseError` for a store that holds anything.
        """
        if self._last or self._applied:
            self._refuse(f"a log was to begin after entry {index}, but one of {self._last} entries is there")
        numbers = (index, term, index, term, 0)
        with self._guard(), self._transaction():
            self._db.execute(_SET_STATE, (*numbers, checksum(meta, *numbers), meta))
        self._applied = self._compacted = self._last = index

    def may_be_staged(self, applied_index: int, segment: int) -> bool:
        """Tell whether a segment of the mirror of this entry takes the place of none, so that it can be there early."""
        return applied_index > self._applied and segment not in self._segment_numbers

    def stage(
        self,
        applied_index: int,
        segments: Sequence[tuple[int, bytes]] = (),
        payloads: Sequence[tuple[int, bytes]] = (),
    ) -> None:
        """Write parts of the mirror that will be completed by `write_mirror` with this `applied_index`.

        So a mirror of many bytes need not be one long transaction. A payload never changes, and a segment that takes
        the place of none is passed over by whoever reads the mirror before: what is there early harms nobody. When the
        mirror is never completed, the next `open` removes it. Raises `MisuseError` for any other segment.
        """
        self._check_mirror(applied_index)
        for number, _ in segments:
            if not self.may_be_staged(applied_index, number):
                self._refuse(f"segment {number} was to be replaced before the mirror of entry {applied_index} is whole")
        with self._guard(), self._transaction():
            self._db.execute("INSERT OR IGNORE INTO staged VALUES (?)", (applied_index,))
            size = self._segments.write(segments, applied_index) + self._payloads.write(payloads, applied_index)
        self._staged = True
        self._staged_segments.update(number for number, _ in segments)
        self._upkeep.wrote(len(segments) + len(payloads), size)

    def write_mirror(self, mirror: Mirror) -> None:
        """Write what changed in the job table and let go of the log before it, in one transaction.

        The compacted entries are gone when this returns; their space is taken back in steps by `upkeep`.
        """
        self._check_mirror(mirror.applied_index)
        if mirror.compact_to > mirror.applied_index:
            self._refuse(f"compaction to {mirror.compact_to} was asked for, beyond the mirror's {mirror.applied_index}")
        compact_to = max(mirror.compact_to, self._compacted)
        segments = [(number, data) for number, data in mirror.segments if data is not None]
        dropped = [number for number, data in mirror.segments if data is None]
        written = (number for number, _ in segments)
        held = self._segment_numbers.union(self._staged_segments, written).difference(dropped)
        with self._guard(), self._transaction():
            size = self._segments.write(segments, mirror.applied_index)
            self._segments.delete(dropped)
            size += self._payloads.write(mirror.payloads, mirror.applied_index)
            self._payloads.delete(mirror.dropped_payloads)
            if self._staged:
                self._db.execute("DELETE FROM staged WHERE mirror <= ?", (mirror.applied_index,))
            numbers = (
                mirror.applied_index,
                mirror.applied_term,
                compact_to,
                self._term_of(compact_to, mirror),
                len(held),
            )
            self._db.execute(_SET_STATE, (*numbers, checksum(mirror.meta, *numbers), mirror.meta))
        self._segment_numbers = held
        self._staged = False
        self._staged_segments.clear()
        self._applied = mirror.applied_index
        self._compacted = compact_to
        changes = len(mirror.segments) + len(mirror.payloads) + len(mirror.dropped_payloads)
        self._upkeep.wrote(changes, size + len(mirror.meta))
        self._upkeep.compacted(compact_to)

    def upkeep(self) -> bool:
        """Do one bounded step of keeping the file in shape; True while there is more to do.

        Writing never does any of it: whoever writes calls this too, in quiet moments, and whenever `upkeep_overdue`.
        """
        with self._guard():
            return self._upkeep.step()

    def keep_free_pages(self, *, keep: bool) -> None:
        """Let `upkeep` keep some free space in the file for the next burst, or give all of it back."""
        self._upkeep.keep_free_pages(keep=keep)

    @property
    def upkeep_overdue(self) -> bool:
        """Tell whether a step of `upkeep` must not wait for a quiet moment any longer, or the files would grow."""
        return self._upkeep.overdue

    def close(self) -> None:
        """Close the file and release the directory; doing so again does nothing.

        A store that failed is released as it is, without another write.
        """
        if self._closed:
            return
        self._closed = True
        self._views.close()
        try:
            if self._failure is None:
                with self._guard():
                    # Closing would do the same, but keep the errors to itself.
                    self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                    self._db.close()
        finally:
            self._lock.release()

    # -- inside -------------------------------------------------------------------------------------------------------

    def _load(self) -> None:
        """Read what the checks on writing need, and check that the parts belong together."""
        with self._guard():
            hard_state = self._db.execute("SELECT term, vote, crc FROM hard_state").fetchall()
            mirror = self._db.execute("SELECT applied_index, compacted_index FROM mirror").fetchall()
            if len(hard_state) != 1 or len(mirror) != 1:
                raise corrupt(self.path, "the hard state or the mirror's state is missing")
            term, vote, crc = hard_state[0]
            if crc != checksum(vote.encode(), term):
                raise corrupt(self.path, "the hard state has a wrong checksum")
            self._hard_state = HardState(term, vote)
            self._applied, self._compacted = mirror[0]
            self.recover()
            first, last = self._log.bounds(self._compacted)
            self._last = self._compacted if last is None else last
            if first not in (None, self._compacted + 1):
                raise corrupt(self.path, f"the log should start at entry {self._compacted + 1}, it starts at {first}")
            if not self._compacted <= self._applied <= self._last:
                raise corrupt(self.path, f"the mirror is of entry {self._applied}, the log ends at {self._last}")
            if self._db.execute("SELECT count(*) FROM staged").fetchone() != (0,):
                with self._transaction():
                    self._segments.delete_after(self._applied)
                    self._payloads.delete_after(self._applied)
                    self._db.execute("DELETE FROM staged")
            self._segment_numbers = set(self._segments.numbers())
            if self._spool.size():
                # Whoever was receiving it does not know any more how far it came, and is sent another.
                self._spool.clear()
            self._upkeep.compacted(self._compacted)

    def _check_mirror(self, applied_index: int) -> None:
        if not self._applied <= applied_index <= self._last:
            self._refuse(
                f"a mirror of entry {applied_index} was offered after one of {self._applied}, "
                f"with a log that ends at {self._last}"
            )

    def _append_several(self, entries: Sequence[Entry], hard_state: HardState | None) -> None:
        first = self._check_order(entries, self._applied, self._last)
        replaces = first <= self._last
        sizes = [len(entry.data) for entry in entries]
        parts = list(portions(sizes))
        statements = (hard_state is not None) + replaces + len(parts)
        with self._guard(), self._transaction() if statements > 1 else contextlib.nullcontext():
            self._put_hard_state(hard_state)
            self._log.put(entries, parts, first if replaces else None)
        if hard_state is not None:
            self._hard_state = hard_state
        if entries:
            self._last = entries[-1].index
        self._upkeep.wrote(len(entries), sum(sizes))

    def _check_order(self, entries: Sequence[Entry], applied: int, last: int) -> int:
        """Check that the entries fit a log that ends at `last` and is applied to `applied`; give the first's index."""
        first = entries[0].index if entries else last + 1
        if not applied < first <= last + 1:
            self._refuse(f"entry {first} was offered to a log of {last} entries, {applied} of them applied")
        for index, entry in enumerate(entries, first):
            if entry.index != index:
                self._refuse(f"entry {entry.index} was offered where entry {index} belongs")
        return first

    def _put_hard_state(self, hard_state: HardState | None) -> None:
        if hard_state is not None:
            self._db.execute(
                "UPDATE hard_state SET term = ?, vote = ?, crc = ?",
                (hard_state.term, hard_state.vote, checksum(hard_state.vote.encode(), hard_state.term)),
            )

    def _term_of(self, index: int, mirror: Mirror) -> int:
        """Look up the term of the entry up to which the log goes; Raft needs it to match the next one."""
        if index == mirror.applied_index:
            return mirror.applied_term
        if index != self._compacted:
            return self._log.term(index)
        (term,) = self._db.execute("SELECT compacted_term FROM mirror").fetchone()
        assert isinstance(term, int)
        return term

    def _refuse(self, what: str) -> NoReturn:
        raise MisuseError(f"{what}. This is a bug in gearmesh: please report it. {self.path} was not changed.")

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """Do all of the body or, when it fails, nothing: the file is then abandoned, so nothing is rolled back.

        A snapshot that is of no use is not a failure of the disk: that is rolled back, as what finds no room is.
        """
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except UnusableSnapshotError:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        """Make the first failure the last thing that this store does, unless it is that there is no room.

        Then nothing was written, and what was asked for may be asked for again.
        """
        if self._failure is not None:
            raise self._failure
        try:
            yield
        except sqlite3.Error as error:
            failure = from_sqlite(error, self.path)
            if isinstance(failure, DiskFullError) and self._roll_back():
                raise failure from error
            self._fail(failure, error)
        except UnusableSnapshotError:
            raise
        except StorageError as error:
            self._fail(error, error.__cause__)
        except Exception as error:  # noqa: BLE001  # whatever broke a write off has left a transaction open
            self._fail(StorageError(f"working on {self.path} was broken off by {error!r}"), error)

    def _roll_back(self) -> bool:
        """End the transaction that found no room, if SQLite has not done that; tell whether that was possible."""
        try:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        except sqlite3.Error:
            return False
        return True

    def _fail(self, failure: StorageError, cause: BaseException | None) -> NoReturn:
        if self._failure is None:
            self._failure = failure
            file_format.abandon(self._db)
        raise failure from cause
