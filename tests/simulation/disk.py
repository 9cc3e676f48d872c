"""A node's disk: slow, in order, and forgetful in a crash. It outlives the process that writes to it.

It does what `cluster.storage.StorageThread` does for a driver, and refuses what `cluster.storage.Store` refuses: writes
become durable in order, each whole or not at all; appends that wait are joined into one transaction, and go before the
mirrors that wait. In a crash some of the transaction under way is on the disk, though nobody was told; the rest is
gone. After a failed write nothing is ever written again by this process.

A write takes its time and that of its bytes; it may hang. What lies on the disk may rot: a bit of an entry, a segment
or a payload is another one from then on. Each row has the checksum that `cluster.storage` gives it, which is compared
when the row is read.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Final, Self

import msgspec

from cluster.formation import Founder, Joiner, encode_record
from cluster.log import Entry, HardState
from cluster.storage import CorruptionError, Install, Mirror, Outline, Piece, Recovered, StorageError
from cluster.storage.records import checksum
from cluster.storage.stream import StreamReader
from node.recovery import FORMATION, NODE
from tests.simulation.journal import ViolationError
from tests.simulation.schedule import MS, Schedule

ROOM_CHECK: Final = 500 * MS
"""How long the storage thread waits before it tries again what found no room."""
GROUP: Final = "group"
"""The id of the only group there is."""


class Append(msgspec.Struct, frozen=True):
    """Entries, and the hard state beside them."""

    entries: Sequence[Entry]
    hard_state: HardState | None


class Replacement(msgspec.Struct, frozen=True):
    """Pieces of a snapshot, its installation, and the entries behind it."""

    entries: Sequence[Entry]
    hard_state: HardState | None
    pieces: Sequence[Piece]
    install: Install | None


class Note(msgspec.Struct, frozen=True):
    """A small fact."""

    key: str
    value: bytes


Work = Append | Replacement | Mirror | Note


def _size(work: Work) -> int:
    """Tell how many bytes are to be written."""
    if isinstance(work, Note):
        return len(work.value)
    if isinstance(work, Mirror):
        return sum(len(data) for _, data in (*work.segments, *work.payloads) if data is not None)
    size = sum(len(entry.data) for entry in work.entries)
    return size + sum(len(piece.data) for piece in work.pieces) if isinstance(work, Replacement) else size


def flip(data: bytes, random: Random) -> bytes:
    """Turn one bit over."""
    place = random.randrange(len(data))
    return data[:place] + bytes((data[place] ^ 1 << random.randrange(8),)) + data[place + 1 :]


class Rot(msgspec.Struct, frozen=True):
    """A row that is no longer what was written."""

    sound: bytes
    rotten: bytes
    crc: int
    """What the row has for a checksum, computed when it was written."""


def _sound(what: str, data: bytes, rot: Rot | None, *numbers: int) -> bytes:
    """Give a row's data if its checksum is right."""
    if rot is not None and rot.rotten == data and checksum(data, *numbers) != rot.crc:
        raise CorruptionError(f"/simulated/node.db is damaged: {what} has a wrong checksum")
    return data


class Image:
    """The mirror on disk, as it stands or as it stood at one moment (`cluster.storage.MirrorView`)."""

    def __init__(
        self, index: int, term: int, meta: bytes, segments: dict[int, bytes], payloads: dict[int, bytes]
    ) -> None:
        self.applied_index = index
        self.applied_term = term
        self.meta = meta
        self.segment_data = segments
        self.payload_data = payloads
        self.rot: dict[tuple[str, int], Rot] = {}
        """Segments and payloads that are not what was written."""
        self.closed = False

    def copy(self) -> "Image":
        """Give it as it stands, whatever becomes of it."""
        image = Image(
            self.applied_index, self.applied_term, self.meta, dict(self.segment_data), dict(self.payload_data)
        )
        image.rot = dict(self.rot)
        return image

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def segments(self) -> Iterator[tuple[int, bytes]]:
        """Give the segments in their order. Raises `CorruptionError`."""
        for number, data in sorted(self.segment_data.items()):
            yield number, _sound(f"segment {number}", data, self.rot.get(("segment", number)), number)

    def payloads(self) -> Iterator[tuple[int, bytes]]:
        """Give the payloads in their order. Raises `CorruptionError`."""
        for number, data in sorted(self.payload_data.items()):
            yield number, _sound(f"payload {number}", data, self.rot.get(("payload", number)), number)

    def close(self) -> None:
        """Let go of it."""
        self.closed = True


class Store:
    """What is on the disk (`cluster.storage.Store`, as far as recovery and checks ask for it)."""

    path = Path("/simulated/node.db")

    def __init__(self) -> None:
        self.hard_state = HardState()
        self.base_index = self.base_term = 0
        """Where the log begins."""
        self.image = Image(0, 0, b"", {}, {})
        self._entries: list[Entry] = []
        self._notes: dict[str, bytes] = {}
        self._spool = bytearray()
        self._rot: dict[int, Rot] = {}
        """Entries that are not what was written, by their index."""

    @property
    def last_index(self) -> int:
        """The index of the last entry."""
        return self.base_index + len(self._entries)

    def term(self, index: int) -> int:
        """Return the term of an entry."""
        return self.base_term if index == self.base_index else self._entries[index - self.base_index - 1].term

    # What `node.recovery` reads

    def note(self, key: str) -> bytes | None:
        """Read a note."""
        return self._notes.get(key)

    def recover(self) -> Recovered:
        """Tell where everything stands."""
        image = self.image
        return Recovered(
            self.hard_state,
            image.applied_index,
            image.applied_term,
            image.meta,
            self.base_index + 1,
            self.last_index,
            self.base_term,
        )

    def read_entries(self, first: int, last: int) -> Iterator[Entry]:
        """Read the log. Raises `CorruptionError`."""
        for entry in self._entries[first - self.base_index - 1 : last - self.base_index]:
            index, rot = entry.index, self._rot.get(entry.index)
            _sound(f"log entry {index}", entry.data, rot, index, entry.term, int(entry.kind))
            yield entry

    def as_written(self, first: int, last: int) -> list[Entry]:
        """Give the log as it was written, whatever has become of it: for who judges."""
        entries = self._entries[first - self.base_index - 1 : last - self.base_index]
        return [
            msgspec.structs.replace(entry, data=self._rot[entry.index].sound) if entry.index in self._rot else entry
            for entry in entries
        ]

    def outline(self, first: int, last: int) -> Outline:
        """Describe a part of the log; whether an entry is damaged shows when it is read."""
        entries = self._entries[first - self.base_index - 1 : last - self.base_index]
        terms = {entry.term: entry.index for entry in reversed(entries)}
        return Outline(
            tuple(sorted((index, term) for term, index in terms.items())),
            tuple((entry.index, 1, len(entry.data)) for entry in entries),
        )

    def held_entries(self, first: int, last: int) -> tuple[Entry, ...]:
        """Read what the log still holds."""
        return tuple(self.read_entries(max(first, self.base_index + 1), last))

    def read_segments(self) -> Iterator[tuple[int, bytes]]:
        """Read the mirror's segments."""
        return self.image.segments()

    def read_payloads(self) -> Iterator[tuple[int, bytes]]:
        """Read the mirror's payloads."""
        return self.image.payloads()

    # Rotting

    def rot(self, random: Random) -> str:
        """Let one bit of what lies here turn over, wherever it is; say where."""
        image = self.image
        rows: list[tuple[str, int]] = [
            *(("entry", entry.index) for entry in self._entries if entry.data and entry.index not in self._rot),
            *(("segment", number) for number, data in sorted(image.segment_data.items()) if data),
            *(("payload", number) for number, data in sorted(image.payload_data.items()) if data),
        ]
        rows = [row for row in rows if row not in image.rot]
        if not rows:
            return ""
        kind, number = random.choice(rows)
        if kind == "entry":
            place = number - self.base_index - 1
            entry = self._entries[place]
            rot = Rot(entry.data, flip(entry.data, random), checksum(entry.data, number, entry.term, int(entry.kind)))
            self._rot[number] = rot
            self._entries[place] = msgspec.structs.replace(entry, data=rot.rotten)
        else:
            rows_of = image.segment_data if kind == "segment" else image.payload_data
            data = rows_of[number]
            rot = image.rot[kind, number] = Rot(data, flip(data, random), checksum(data, number))
            rows_of[number] = rot.rotten
        return f"{kind} {number}"

    @property
    def rotten(self) -> bool:
        """Tell whether something here is not what was written."""
        return bool(self._rot or self.image.rot)

    def repair(self) -> None:
        """Make everything sound again, as the other half of a mirrored disk can."""
        for index, rot in self._rot.items():
            place = index - self.base_index - 1
            if 0 <= place < len(self._entries) and self._entries[place].data == rot.rotten:
                self._entries[place] = msgspec.structs.replace(self._entries[place], data=rot.sound)
        for (kind, number), rot in self.image.rot.items():
            rows = self.image.segment_data if kind == "segment" else self.image.payload_data
            if rows.get(number) == rot.rotten:
                rows[number] = rot.sound
        self._rot, self.image.rot = {}, {}

    # Writing

    def found(self, index: int, term: int, meta: bytes) -> None:
        """Begin the log of a first member."""
        self.base_index, self.base_term = index, term
        self.image = Image(index, term, meta, {}, {})

    def write_note(self, key: str, value: bytes) -> None:
        """Note something."""
        self._notes[key] = value

    def perform(self, work: Work) -> None:
        """Carry out one write."""
        if isinstance(work, Append):
            self._append(work.entries, work.hard_state)
        elif isinstance(work, Mirror):
            self._mirror(work)
        elif isinstance(work, Note):
            self.write_note(work.key, work.value)
        else:
            for piece in work.pieces:
                _require(piece.offset <= len(self._spool), f"a piece at {piece.offset} after {len(self._spool)} bytes")
                del self._spool[piece.offset :]
                self._spool += piece.data
            if work.install is not None:
                self._install(work.install)
            self._append(work.entries, work.hard_state)

    def forget_spool(self) -> None:
        """Drop what was received of a snapshot: a new process does not know how far it came."""
        self._spool.clear()

    def _append(self, entries: Sequence[Entry], hard_state: HardState | None) -> None:
        if hard_state is not None:
            self.hard_state = hard_state
        if entries:
            first = entries[0].index
            _require(
                self.image.applied_index < first <= self.last_index + 1,
                f"entry {first} offered to a log of {self.last_index}, {self.image.applied_index} of it applied",
            )
            del self._entries[first - self.base_index - 1 :]
            self._entries.extend(entries)
            if self._rot:
                self._rot = {index: rot for index, rot in self._rot.items() if index < first}

    def _mirror(self, mirror: Mirror) -> None:
        image, index = self.image, mirror.applied_index
        _require(
            image.applied_index <= index <= self.last_index,
            f"a mirror of {index} after one of {image.applied_index}, the log ends at {self.last_index}",
        )
        _require(mirror.compact_to <= index, f"a log dropped to {mirror.compact_to} with a mirror of {index}")
        _require(self.term(index) == mirror.applied_term, f"a mirror of {index} with a wrong term")
        for number, data in mirror.segments:
            image.rot.pop(("segment", number), None)
            if data is None:
                del image.segment_data[number]
            else:
                image.segment_data[number] = data
        image.payload_data.update(mirror.payloads)
        for number in mirror.dropped_payloads:
            image.payload_data.pop(number, None)
        if image.rot:
            for number in (*mirror.dropped_payloads, *(number for number, _ in mirror.payloads)):
                image.rot.pop(("payload", number), None)
        image.applied_index, image.applied_term, image.meta = index, mirror.applied_term, mirror.meta
        if mirror.compact_to > self.base_index:
            term = self.term(mirror.compact_to)
            del self._entries[: mirror.compact_to - self.base_index]
            self.base_index, self.base_term = mirror.compact_to, term
            if self._rot:
                self._rot = {index: rot for index, rot in self._rot.items() if index > self.base_index}

    def _install(self, install: Install) -> None:
        _require(install.index > self.image.applied_index, f"a snapshot of {install.index} that is not news")
        stream = StreamReader([bytes(self._spool)], len(self._spool))
        header = stream.header()
        _require(
            (header.applied_index, header.applied_term) == (install.index, install.term),
            f"a snapshot of {header.applied_index} came, one of {install.index} was announced",
        )
        self.image = Image(
            install.index,
            install.term,
            install.adopt(header.meta),
            dict(stream.segments()),
            dict(stream.payloads()),
        )
        self._spool.clear()
        self._entries.clear()
        self._rot.clear()
        self.base_index, self.base_term = install.index, install.term


def _require(condition: bool, otherwise: str) -> None:  # noqa: FBT001 - reads as an assertion
    if not condition:
        raise ViolationError(f"the disk was offered {otherwise}")


class Disk:
    """One node's disk."""

    def __init__(self, schedule: Schedule, random: Random, name: str, founders: tuple[str, ...]) -> None:
        """Begin as one of the first members, or, without any, as one that is going to join."""
        self._schedule = schedule
        self._random = random
        self.store = Store()
        self.store.write_note(NODE, name.encode())
        record = Founder(GROUP, founders) if founders else Joiner(GROUP, ())
        self.store.write_note(FORMATION, encode_record(record))
        self.latency = MS
        """A transaction takes between half of this and one and a half."""
        self.pace = 200.0
        """Bytes that are written in a microsecond."""
        self._busy_since = 0
        self.hangs_until = 0
        """Until when no write and no read comes to its end."""
        self.writes_until = 0
        """When the transaction that was begun last comes to its end, unless the disk hangs."""
        self.joins = True
        """Whether appends that wait are joined into one transaction."""
        self.fails = False
        self.full = False
        self.unreadable = 0.0
        """How often reading the mirror fails."""
        self._waiting: list[tuple[Work, Callable[[], None]]] = []
        self._under_way: list[tuple[Work, Callable[[], None]]] = []
        self._life = 0
        self.on_failure: Callable[[StorageError], None] = lambda _: None
        self.on_idle: Callable[[], None] | None = None
        """Called once when everything that was handed over is done."""

    # `node.driver.Disk`

    def append(self, entries: Sequence[Entry], hard_state: HardState | None, done: Callable[[], None]) -> None:
        """Write entries."""
        self._submit(Append(entries, hard_state), done)

    def write(
        self,
        entries: Sequence[Entry],
        hard_state: HardState | None,
        pieces: Sequence[Piece],
        install: Install | None,
        done: Callable[[], None],
    ) -> None:
        """Write all of this."""
        self._submit(Replacement(entries, hard_state, pieces, install), done)

    def mirror(self, mirror: Mirror, done: Callable[[], None]) -> None:
        """Write what changed in the table."""
        self._submit(mirror, done)

    def note(self, key: str, value: bytes, done: Callable[[], None]) -> None:
        """Write a note."""
        self._submit(Note(key, value), done)

    def read(self, first: int, last: int, done: Callable[[tuple[Entry, ...]], None]) -> None:
        """Read entries."""
        self._schedule.after(self._duration(), self._read, self._life, first, last, done)

    def view(self) -> Image:
        """Open the mirror for reading."""
        return self.store.image.copy()

    # What befalls it

    def crash(self) -> int:
        """Lose what was not synced; return how many unacknowledged writes are on the disk all the same."""
        self._life += 1
        survivors = 0
        if self._under_way:
            survivors = self._random.randrange(len(self._under_way) + 1)
            for work, _ in self._under_way[:survivors]:
                self.store.perform(work)
        self._under_way, self._waiting = [], []
        self.on_idle = None
        self.store.forget_spool()
        return survivors

    @property
    def idle(self) -> bool:
        """Tell whether everything is done."""
        return not self._under_way and not self._waiting

    def _submit(self, work: Work, done: Callable[[], None]) -> None:
        self._waiting.append((work, done))
        if not self._under_way:
            self._busy_since = self._schedule.now
            self._begin()

    @property
    def busy_for(self) -> int:
        """Give for how long it has had something to do without a break."""
        return self._schedule.now - self._busy_since if self._under_way else 0

    def _duration(self) -> int:
        return int(self.latency * (0.5 + self._random.random()))

    def _begin(self) -> None:
        self._under_way = self._next()
        size = sum([_size(work) for work, _ in self._under_way])
        took = self._duration() + int(size / self.pace)
        self.writes_until = self._schedule.now + took
        self._schedule.after(took, self._finish, self._life)

    def _next(self) -> list[tuple[Work, Callable[[], None]]]:
        """Take the next transaction: appends go before mirrors, and nothing before a replacement or a note."""
        waiting = self._waiting
        end = next(
            (place for place, (work, _) in enumerate(waiting) if isinstance(work, Replacement | Note)), len(waiting)
        )
        appends = [place for place in range(end) if isinstance(waiting[place][0], Append)]
        places = (appends if self.joins else appends[:1]) or [0]
        taken = [waiting[place] for place in places]
        for place in reversed(places):
            del waiting[place]
        return taken

    def _finish(self, life: int) -> None:
        if life != self._life:
            return
        if self._schedule.now < self.hangs_until:
            self._schedule.after(self.hangs_until - self._schedule.now, self._finish, life)
            return
        if self.fails:
            self.fails = False
            self.on_failure(StorageError("fsync failed"))
            return
        if self.full:
            self._schedule.after(ROOM_CHECK, self._finish, life)
            return
        done = self._under_way
        for work, _ in done:
            self.store.perform(work)
        self._under_way = []
        if self._waiting:
            self._begin()
        for _, callback in done:
            callback()
        if self.on_idle is not None and self.idle:
            idle, self.on_idle = self.on_idle, None
            idle()

    def _read(self, life: int, first: int, last: int, done: Callable[[tuple[Entry, ...]], None]) -> None:
        if life != self._life:
            return
        if self._schedule.now < self.hangs_until:
            self._schedule.after(self.hangs_until - self._schedule.now, self._read, life, first, last, done)
            return
        try:
            entries = self.store.held_entries(first, last)
        except StorageError as error:  # as the storage thread does: nothing more is written
            self._life += 1
            self.on_failure(error)
            return
        done(entries)
