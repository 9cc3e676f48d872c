"""The job table as bytes, and back: what the disk keeps of it, what a lagging node is sent, what two nodes compare.

A mirror is incremental. The small part of the table (functions, nodes, sessions, counters) is written whole each time;
jobs are written in segments of `SEGMENT` neighbouring numbers, only those that changed. Workloads too big to be written
again and again with their segment are kept apart and written once; those that came in parts are kept in pieces
(`cluster.jobs.uploads`). A job that came and went between two mirrors leaves no trace. Not for: the disk.
`cluster.storage` keeps the blobs and knows nothing of what is in them.
"""

import hashlib
from collections.abc import Iterable
from operator import itemgetter
from typing import Final

import msgspec

from cluster.jobs.errors import UnreadableMirrorError
from cluster.jobs.functions import Function
from cluster.jobs.job import Job, JobState
from cluster.jobs.lifecycle import SEGMENT
from cluster.jobs.sessions import Ability, Node, Session
from cluster.jobs.table import JobTable
from cluster.jobs.uploads import Upload

FORMAT: Final = 2
BIG_WORKLOAD: Final = 4096
"""Bytes from which on a workload is kept apart from its segment."""

SessionName = tuple[str, int]


class _SessionRow(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True):
    number: int
    peer: str
    client_id: bytes
    served: int
    parked: int
    abilities: list[tuple[bytes, int, int]]


class _NodeRow(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True):
    name: str
    incarnation: int
    last: int
    up: bool
    handle_prefix: bytes
    sessions: list[_SessionRow]
    max_packet: int = 0
    alarms: list[tuple[int, int, int]] = []
    uploads: list[tuple[int, list[int]]] = []
    """Unfinished uploads: the number of each, and its pieces."""


class _FunctionRow(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True):
    name: bytes
    limits: tuple[int, int, int]


class _TableRow(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True):
    format: int
    now: int
    job_retries: int
    last_job: int
    front: int
    back: int
    parkings: int
    last_piece: int
    functions: list[_FunctionRow]
    nodes: list[_NodeRow]


class _JobRow(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True):
    number: int
    prefix: bytes
    function: bytes
    unique: bytes
    digest: bytes | None
    """The coalescing key where it is not the unique key itself."""
    workload: bytes | None
    """None: kept apart, in a row of its own or in pieces."""
    reducer: bytes
    priority: int
    background: bool
    state: JobState
    position: int
    due: int
    deadline: int
    attempts: int
    numerator: int
    denominator: int
    holder: SessionName | None
    listeners: list[SessionName]
    pieces: list[int]


class TableMirror(msgspec.Struct, frozen=True, gc=False):
    """What has to be written to bring the mirror on disk up to the table."""

    meta: bytes
    segments: list[tuple[int, bytes | None]]
    """Changed segments; None: the segment has no jobs any more."""
    payloads: list[tuple[int, bytes]]
    """Workloads kept apart, by job number, and pieces of larger ones, by their numbers below zero; each comes once."""
    dropped_payloads: list[int]


_encode = msgspec.msgpack.Encoder().encode
_table_decoder = msgspec.msgpack.Decoder(_TableRow)
_segment_decoder = msgspec.msgpack.Decoder(list[_JobRow])


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
        self._jobs = table.jobs
        self._untaken = table.begin_mirror(self._take)
        self._order = sorted(self._untaken, reverse=True)
        fresh, gone = table.pieces.changes()
        pieces = [(-number, data) for number, data in fresh.items()]
        self._mirror = TableMirror(_encode(_table_row(table)), [], pieces, [-number for number in gone])

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
        if members:
            for job in members:
                if len(job.workload) >= BIG_WORKLOAD and not job.pieces:
                    known = self._payloads.setdefault(segment, set())
                    if job.number not in known:
                        known.add(job.number)
                        mirror.payloads.append((job.number, job.workload))
            mirror.segments.append((segment, _encode([_job_row(job, apart=BIG_WORKLOAD) for job in members])))
            self._segments.add(segment)
        elif segment in self._segments:
            mirror.segments.append((segment, None))
            self._segments.discard(segment)


def digest(table: JobTable) -> bytes:
    """Give a hash that is equal on two nodes exactly when their tables are."""
    state = hashlib.sha256(_encode(_table_row(table)))
    for name in sorted(table.nodes):
        for _, upload in sorted(table.nodes[name].uploads.items()):
            state.update(upload.whole(b""))
    for number in sorted(table.jobs):
        state.update(_encode(_job_row(table.jobs[number], apart=None)))
    return state.digest()


def restore(
    meta: bytes,
    segments: Iterable[tuple[int, bytes]],
    payloads: Iterable[tuple[int, bytes]],
    audience: str | None = None,
) -> tuple[JobTable, MirrorWriter]:
    """Make the table that was mirrored, and the writer that goes on from there.

    Raises `UnreadableMirrorError` where the parts are not what this version wrote or do not fit together.
    """
    try:
        return _restore(meta, segments, dict(payloads), audience)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, LookupError) as error:
        raise UnreadableMirrorError(f"the job table on disk cannot be read by this version: {error!r}") from error


def _restore(
    meta: bytes, segments: Iterable[tuple[int, bytes]], payloads: dict[int, bytes], audience: str | None
) -> tuple[JobTable, MirrorWriter]:
    table = JobTable(audience)
    if meta:
        _restore_table(table, _table_decoder.decode(meta), payloads)
    prefixes: dict[bytes, bytes] = {}
    written = []
    for segment, data in segments:
        written.append(segment)
        for row in _segment_decoder.decode(data):
            workload = row.workload
            if workload is None:
                workload = b"".join([payloads[-piece] for piece in row.pieces]) if row.pieces else payloads[row.number]
            job = Job(
                row.number,
                prefixes.setdefault(row.prefix, row.prefix),
                table.functions[row.function],
                row.unique,
                row.digest or row.unique or None,
                workload,
                row.reducer,
                row.priority,
                row.background,
                row.state,
                row.position,
                row.due,
                row.deadline,
                row.attempts,
                row.numerator,
                row.denominator,
                pieces=tuple(row.pieces),
            )
            if row.holder is not None:
                job.holder = _session(table, row.holder)
                job.holder.holding.add(job.number)
            if row.listeners:
                job.listeners = dict.fromkeys(_session(table, name) for name in row.listeners)
                for listener in job.listeners:
                    listener.listening.add(job.number)
            table.jobs[row.number] = job
    _restore_order(table)
    return table, MirrorWriter(written, [number for number in payloads if number >= 0])


def _restore_table(table: JobTable, row: _TableRow, payloads: dict[int, bytes]) -> None:
    if row.format != FORMAT:
        raise UnreadableMirrorError(f"the job table on disk has format {row.format}, this version reads {FORMAT}")
    table.now = row.now
    table.job_retries = row.job_retries
    table.last_job = row.last_job
    table.waiting.front = row.front
    table.waiting.back = row.back
    table.parkings = row.parkings
    table.pieces.last = row.last_piece
    for function_row in row.functions:
        function = table.functions[function_row.name] = Function(function_row.name)
        function.limits = function_row.limits
    for node_row in row.nodes:
        node = table.nodes[node_row.name] = Node(node_row.name, audible=node_row.name == table.audience)
        node.incarnation = node_row.incarnation
        node.last = node_row.last
        node.up = node_row.up
        node.handle_prefix = node_row.handle_prefix
        node.max_packet = node_row.max_packet
        node.alarms = {resource: (found, mark) for resource, found, mark in node_row.alarms}
        for number, pieces in node_row.uploads:
            upload = node.uploads[number] = Upload()
            upload.pieces = pieces
            upload.parts = [payloads[-piece] for piece in pieces]
        for session_row in node_row.sessions:
            session = node.sessions[session_row.number] = Session(node, session_row.number, session_row.peer)
            session.client_id = session_row.client_id
            session.served = session_row.served
            session.parked = session_row.parked
            for name, time_limit, served in session_row.abilities:
                session.abilities[name] = Ability(time_limit, served)
                table.functions[name].workers[session] = None
    table.note_alarms()


def _restore_order(table: JobTable) -> None:
    """Rebuild what follows from the jobs and sessions: counts, queues, keys, sleepers, deadlines."""
    queued = []
    for number in sorted(table.jobs):
        job = table.jobs[number]
        function: Function = job.function
        function.total += 1
        if job.state is JobState.RUNNING:
            function.running += 1
            if job.deadline:
                table.deadlines.set(job.deadline, number)
        else:
            function.pending[job.priority] += 1
            if job.state is JobState.QUEUED:
                queued.append(job)
            elif job.state is JobState.DELAYED:
                table.deadlines.set(job.due, number)
        if job.key is not None:
            table.keys.add(job.key, job)
    queued.sort(key=_position)
    for job in queued:
        function = job.function
        function.queues[job.priority].append(job.number)
        function.waiting[job.priority] += 1
        table.waiting.ready[job.priority].setdefault(function.name, function)
    asleep = [session for node in table.nodes.values() for session in node.sessions.values() if session.parked]
    for session in sorted(asleep, key=_parked):
        for name in session.abilities:
            table.functions[name].add_sleeper(session)


def _position(job: Job) -> int:
    return job.position


def _parked(session: Session) -> int:
    return session.parked


def _session(table: JobTable, name: SessionName) -> Session:
    return table.nodes[name[0]].sessions[name[1]]


def _name(session: Session) -> SessionName:
    return session.node.name, session.number


def _job_row(job: Job, apart: int | None) -> _JobRow:
    return _JobRow(
        job.number,
        job.prefix,
        job.function.name,
        job.unique,
        job.key if job.key != job.unique else None,
        job.workload if apart is None or (len(job.workload) < apart and not job.pieces) else None,
        job.reducer,
        job.priority,
        job.background,
        job.state,
        job.position,
        job.due,
        job.deadline,
        job.attempts,
        job.numerator,
        job.denominator,
        None if job.holder is None else _name(job.holder),
        [_name(listener) for listener in job.listeners] if job.listeners else [],
        list(job.pieces),
    )


def _table_row(table: JobTable) -> _TableRow:
    functions = [_FunctionRow(name, table.functions[name].limits) for name in sorted(table.functions)]
    nodes = [_node_row(table.nodes[name]) for name in sorted(table.nodes)]
    return _TableRow(
        FORMAT,
        table.now,
        table.job_retries,
        table.last_job,
        table.waiting.front,
        table.waiting.back,
        table.parkings,
        table.pieces.last,
        functions,
        nodes,
    )


def _node_row(node: Node) -> _NodeRow:
    sessions = [
        _SessionRow(
            session.number,
            session.peer,
            session.client_id,
            session.served,
            session.parked,
            sorted(
                ((name, ability.time_limit, ability.served) for name, ability in session.abilities.items()),
                key=_served,
            ),
        )
        for _, session in sorted(node.sessions.items())
    ]
    alarms = [(resource, *node.alarms[resource]) for resource in sorted(node.alarms)]
    uploads = [(number, upload.pieces) for number, upload in sorted(node.uploads.items())]
    return _NodeRow(
        node.name,
        node.incarnation,
        node.last,
        node.up,
        node.handle_prefix,
        sessions,
        node.max_packet,
        alarms,
        uploads,
    )


def _served(ability: tuple[bytes, int, int]) -> int:
    return ability[2]
