"""The thread that owns a store, and the group commit.

Waiting for a disk takes long and happens outside the interpreter's lock; so one thread does it, and everything that
gathers meanwhile goes into its next transaction.

Not for: what is written, or what an acknowledgement means to its receiver.
"""

import collections
import contextlib
import functools
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import msgspec
import structlog

from cluster.log import Entry, HardState
from cluster.storage.blobs import portions
from cluster.storage.errors import DiskFullError, StorageError
from cluster.storage.records import Install, Mirror, Piece
from cluster.storage.store import Store
from cluster.storage.view import MirrorView

_GATHERED_BYTES: Final = 8 * 1024 * 1024
"""A transaction takes no further append beyond this, so that the first to wait does not wait for all."""
QUIET_SECONDS: Final = 0.02
"""A pause of this length is a quiet moment. Under load the thread has nothing to do for shorter ones, from one append
to the next; that next one is not to find it busy with its files."""


ROOM_CHECK: Final = 0.5
"""Seconds after which what found no room on the disk is tried again."""

_T = TypeVar("_T")
_log: Final = structlog.get_logger(__name__)


class _Append(msgspec.Struct, frozen=True, gc=False):
    entries: Sequence[Entry]
    hard_state: HardState | None
    done: Callable[[], None]


class _Write(msgspec.Struct, frozen=True):
    entries: Sequence[Entry]
    hard_state: HardState | None
    pieces: Sequence[Piece]
    install: Install | None
    done: Callable[[], None]


class _Mirror(msgspec.Struct, frozen=True):
    mirror: Mirror
    done: Callable[[], None]


class _Note(msgspec.Struct, frozen=True):
    key: str
    data: bytes
    done: Callable[[], None]


class _Read(msgspec.Struct, frozen=True, gc=False):
    first: int
    last: int
    done: Callable[[tuple[Entry, ...]], None]


class _KeepFreePages(msgspec.Struct, frozen=True, gc=False):
    keep: bool


class Operation(msgspec.Struct, frozen=True, gc=False):
    """Something that the storage thread does with the disk now."""

    number: int
    """No two have the same."""
    size: int
    """Bytes to write, as far as they are known."""


_Work = _Append | _Write | _Note | _Mirror | _Read | _KeepFreePages


class StorageThread:
    """Writes for an event loop: what is handed over is done in order, and acknowledged when it is on disk.

    An append is acknowledged by its `done`, called through `deliver` in the order of the appends; all that one
    transaction made durable come in one call of `deliver`. A mirror lets the appends that are waiting go first and is
    otherwise in order with them. What finds no room on the disk is tried again until there is some, and everything
    behind it waits. After any other error nothing more is written or acknowledged: `on_failure` is delivered once, and
    what is handed over afterwards is forgotten.
    """

    def __init__(
        self,
        store: Store,
        deliver: Callable[[Callable[[], None]], object],
        on_failure: Callable[[StorageError], None],
    ) -> None:
        """Take over `store`; `deliver` runs a callback on the receiver's side, as `loop.call_soon_threadsafe` does."""
        self._store = store
        self._deliver = deliver
        self._on_failure = on_failure
        self._queue: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._appends: collections.deque[_Append] = collections.deque()
        self._mirrors: collections.deque[_Mirror] = collections.deque()
        self._reads: collections.deque[_Read] = collections.deque()
        self._write: _Write | _Note | None = None
        """The next in order: what was handed over before it goes first, and nothing behind it is looked at."""
        self.operation: Operation | None = None
        """What is being done with the disk, set by the thread; None: nothing, or it waits for room."""
        self._operations = 0
        self._closing = False
        self._unfinished = True
        """Whether upkeep has more to do."""
        self._no_room_until = 0.0
        """Until when upkeep is not tried, because it found no room."""
        self._urgently = threading.Event()
        """Set when the store is to be closed: then nothing is tried again."""
        self._thread = threading.Thread(target=self._run, name="storage", daemon=True)

    def start(self) -> None:
        """Start the thread; from here on the store is its alone."""
        self._thread.start()

    def append(self, entries: Sequence[Entry], hard_state: HardState | None, done: Callable[[], None]) -> None:
        """Have entries and hard state written as `Store.append` does, and `done` called when they are on disk.

        Neither `entries` nor what is in them may change afterwards. `done` must not raise.
        """
        self._queue.put(_Append(entries, hard_state, done))

    def write(
        self,
        entries: Sequence[Entry],
        hard_state: HardState | None,
        pieces: Sequence[Piece],
        install: Install | None,
        done: Callable[[], None],
    ) -> None:
        """Have all of this written as `Store.write` does, in one transaction, and `done` called when it is on disk.

        Without pieces and installation it is an append. With them it is in order with everything: appends and mirrors
        handed over before are on disk first. A mirror of before an installation must not be handed over after it.
        """
        if pieces or install is not None:
            self._queue.put(_Write(entries, hard_state, pieces, install, done))
        else:
            self._queue.put(_Append(entries, hard_state, done))

    def view(self) -> MirrorView:
        """Open the mirror for reading beside the writes, as `Store.view` does; from a thread that may wait."""
        return self._store.view()

    def mirror(self, mirror: Mirror, done: Callable[[], None]) -> None:
        """Have a mirror written as `Store.write_mirror` does, and `done` called when it is on disk."""
        self._queue.put(_Mirror(mirror, done))

    def note(self, key: str, data: bytes, done: Callable[[], None]) -> None:
        """Have `data` noted as `Store.write_note` does, in order with all the rest; `done` is called afterwards."""
        self._queue.put(_Note(key, data, done))

    def read(self, first: int, last: int, done: Callable[[tuple[Entry, ...]], None]) -> None:
        """Read entries from `first` to `last` as far as the log holds them, and give them to `done`."""
        self._queue.put(_Read(first, last, done))

    def keep_free_pages(self, *, keep: bool) -> None:
        """Have the store keep some free space in its file, or give all of it back to the file system."""
        self._queue.put(_KeepFreePages(keep))

    def close(self) -> None:
        """Finish everything handed over, close the store, and wait for that; doing so again does nothing.

        On a full disk it is not waited for room any more: that is the failure then.

        The acknowledgements are delivered, so a loop must go on running for a moment if they are wanted.
        """
        if self._thread.ident is None:
            self._store.close()
            return
        self._urgently.set()
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            self._serve()
            self._store.close()
        except StorageError as failure:
            self._give_up(failure)
        except Exception as error:  # noqa: BLE001  # a thread that ends unseen would leave the node waiting for ever
            broken_off = StorageError(f"the storage thread was broken off by {error!r}. This is a bug in gearmesh.")
            broken_off.__cause__ = error
            self._give_up(broken_off)

    def _give_up(self, failure: StorageError) -> None:
        with contextlib.suppress(StorageError):
            self._store.close()
        self._deliver(functools.partial(self._on_failure, failure))

    def _serve(self) -> None:
        quiet = False
        while True:
            quiet = not self._receive(self._patience(quiet=quiet))
            self._commit_all()
            while self._reads:
                read = self._reads.popleft()
                found = self._timed(functools.partial(self._store.held_entries, read.first, read.last))
                self._deliver(functools.partial(read.done, found))
            if self._mirrors:
                self._write_mirror(self._mirrors.popleft())
                self._unfinished = True
            elif self._write is not None:
                write, self._write = self._write, None
                self._insist(functools.partial(self._carry_out, write), self._size(write))
                self._deliver(write.done)
                self._unfinished = True
            if self._store.upkeep_overdue or (self._unfinished and quiet):
                self._keep_up()
            if self._closing and not (self._mirrors or self._write):
                return

    def _patience(self, *, quiet: bool) -> float | None:
        """Tell for how many seconds to wait for more to do; None: for as long as it takes."""
        if self._mirrors or self._write or self._closing:
            return 0.0
        if not self._unfinished:
            return None
        if time.monotonic() < self._no_room_until:
            return ROOM_CHECK
        return 0.0 if quiet else QUIET_SECONDS

    def _keep_up(self) -> None:
        """Do a step of upkeep. One that finds no room is put off: what is written without it may find some."""
        if time.monotonic() >= self._no_room_until:
            try:
                self._unfinished = self._timed(self._store.upkeep)
            except DiskFullError:
                self._unfinished = True
                self._no_room_until = time.monotonic() + ROOM_CHECK

    def _size(self, write: _Write | _Note) -> int:
        """Give the bytes that a write moves; an installation reads a snapshot twice, and replaces all that is there."""
        if isinstance(write, _Note):
            return len(write.data)
        size = sum([len(entry.data) for entry in write.entries]) + sum([len(piece.data) for piece in write.pieces])
        return size if write.install is None else size + self._store.installation_bytes

    def _carry_out(self, write: _Write | _Note) -> None:
        if isinstance(write, _Note):
            self._store.write_note(write.key, write.data)
        else:
            self._store.write(write.entries, write.hard_state, write.pieces, write.install)

    def _timed(self, work: Callable[[], _T], size: int = 0) -> _T:
        """Do something with the store that has so many bytes to write, and let it be seen how long it takes."""
        self._operations += 1
        self.operation = Operation(self._operations, size)
        try:
            return work()
        finally:
            self.operation = None

    def _insist(self, work: Callable[[], _T], size: int = 0) -> _T:
        """Do something with the store; where there is no room for it, again and again until there is."""
        full = False
        while True:
            try:
                done = self._timed(work, size)
            except DiskFullError as failure:
                if self._urgently.is_set():
                    raise
                if not full:
                    full = True
                    _log.warning("disk_full", why=str(failure))
                self._urgently.wait(ROOM_CHECK)
            else:
                if full:
                    _log.info("disk_has_room", database=str(self._store.path))
                return done

    def _write_mirror(self, waiting: _Mirror) -> None:
        """Write a mirror, what may be there early first and in portions, with the appends that arrive in between."""
        mirror, store = waiting.mirror, self._store
        early: list[tuple[int, bytes]] = []
        late: list[tuple[int, bytes | None]] = []
        for number, data in mirror.segments:
            if data is not None and store.may_be_staged(mirror.applied_index, number):
                early.append((number, data))
            else:
                late.append((number, data))
        late += self._stage(early, lambda rows: store.stage(mirror.applied_index, segments=rows))
        payloads = self._stage(mirror.payloads, lambda rows: store.stage(mirror.applied_index, payloads=rows))
        size = sum([len(data) for _, data in late if data is not None]) + sum([len(data) for _, data in payloads])
        last = msgspec.structs.replace(mirror, segments=late, payloads=payloads)
        self._insist(functools.partial(store.write_mirror, last), size)
        self._deliver(waiting.done)

    def _stage(
        self, rows: list[tuple[int, bytes]], write: Callable[[list[tuple[int, bytes]]], None]
    ) -> list[tuple[int, bytes]]:
        """Write all portions of the rows but the last, which is returned: it goes with the rest of the mirror."""
        start = 0
        for start, end in portions(len(data) for _, data in rows):
            if end == len(rows):
                break
            size = sum([len(data) for _, data in rows[start:end]])
            self._insist(functools.partial(write, rows[start:end]), size)
            self._receive(0.0)
            self._commit_all()
            if self._store.upkeep_overdue:
                self._keep_up()
        return rows[start:]

    def _receive(self, patience: float | None) -> bool:
        """Sort everything that was handed over by now, and tell whether there was anything.

        If not, wait for it: so many seconds, or as long as it takes.
        """
        waiting = self._queue.qsize()
        received = False
        while (waiting or (patience != 0.0 and not received)) and self._write is None:
            try:
                work = self._queue.get(timeout=None if waiting else patience)
            except queue.Empty:
                return False
            waiting = waiting - 1 if waiting else self._queue.qsize()
            received = True
            if isinstance(work, _Append):
                self._appends.append(work)
            elif isinstance(work, _Mirror):
                self._mirrors.append(work)
            elif isinstance(work, _Read):
                self._reads.append(work)
            elif isinstance(work, _Write | _Note):
                self._write = work
            elif isinstance(work, _KeepFreePages):
                self._store.keep_free_pages(keep=work.keep)
                self._unfinished = True
            else:
                self._closing = True
        return received

    def _commit_all(self) -> None:
        while self._appends:
            self._commit()

    def _commit(self) -> None:
        """Write the appends that gathered in one transaction, then acknowledge them in one delivery."""
        append = self._appends.popleft()
        if not self._appends:
            size = sum([len(entry.data) for entry in append.entries])
            self._insist(functools.partial(self._store.append, append.entries, append.hard_state), size)
            self._deliver(append.done)
            return
        entries = list(append.entries)
        hard_state = append.hard_state
        done = [append.done]
        size = sum(len(entry.data) for entry in entries)
        while self._appends and size < _GATHERED_BYTES:
            append = self._appends.popleft()
            if append.entries:
                if entries and append.entries[0].index <= entries[-1].index:
                    # It replaces what an earlier one of this group would have written.
                    del entries[max(0, append.entries[0].index - entries[0].index) :]
                entries += append.entries
                size += sum(len(entry.data) for entry in append.entries)
            if append.hard_state is not None:
                hard_state = append.hard_state
            done.append(append.done)
        self._insist(functools.partial(self._store.append, entries, hard_state), size)
        self._deliver(functools.partial(_call_all, done))


def _call_all(callbacks: Sequence[Callable[[], None]]) -> None:
    for callback in callbacks:
        callback()
