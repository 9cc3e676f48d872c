"""The job table made again from its mirror.

Not for: what is in the mirror (`rows`), or how it is written (`mirror`).
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from cluster.jobs.changes import Changes, Page, of_sessions
from cluster.jobs.errors import UnreadableMirrorError
from cluster.jobs.functions import NO_LIMITS, NO_QUEUE, NO_QUEUES, Function, Queue
from cluster.jobs.job import Job, JobState
from cluster.jobs.mirror import MirrorWriter
from cluster.jobs.rows import FORMAT, JobRow, SessionRow, SettingsRow, TableRow
from cluster.jobs.sessions import Node, Session
from cluster.jobs.table import JobTable
from cluster.jobs.uploads import Upload

_UNKNOWN: Final = Node("")
_NO_PAGE: Final = Page(0, Changes())
"""Of sessions that a job speaks of, while their own rows have not been read."""

_table_decoder = msgspec.msgpack.Decoder(TableRow)
_segment_decoder = msgspec.msgpack.Decoder(list[JobRow])
_sessions_decoder = msgspec.msgpack.Decoder(list[SessionRow])
_settings_decoder = msgspec.msgpack.Decoder(list[SettingsRow])


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
    row = _table_decoder.decode(meta) if meta else None
    if row is not None:
        _restore_table(table, row, payloads)
    prefixes: dict[bytes, bytes] = {}
    written = []
    sessions: dict[int, Session] = {}
    """By serial number, in whatever order they are come upon; those that only a job speaks of have no node yet."""
    found: list[SessionRow] = []
    for segment, data in segments:
        written.append(segment)
        if row is None:
            raise UnreadableMirrorError("the job table on disk has jobs, and nothing that says what they belong to")
        if segment >= 0:
            _restore_jobs(table, _segment_decoder.decode(data), sessions, prefixes, payloads)
        elif of_sessions(segment):
            found += _sessions_decoder.decode(data)
        else:
            for settings in _settings_decoder.decode(data):
                _restore_settings(table, settings)
    if row is not None:
        _restore_sessions(table, row, found, sessions)
    _restore_order(table)
    return table, MirrorWriter(written, [number for number in payloads if number >= 0])


def _restore_table(table: JobTable, row: TableRow, payloads: dict[int, bytes]) -> None:
    if row.format != FORMAT:
        raise UnreadableMirrorError(f"the job table on disk has format {row.format}, this version reads {FORMAT}")
    table.now = row.now
    table.job_retries = row.job_retries
    table.max_functions = row.max_functions
    table.last_job = row.last_job
    table.last_session = row.last_session
    table.last_settings = row.last_settings
    table.waiting.front = row.front
    table.waiting.back = row.back
    table.parkings = row.parkings
    table.pieces.last = row.last_piece
    for each in row.nodes:
        audible = each.up and each.name == table.audience
        node = table.nodes[each.name] = Node(each.name, each.incarnation, audible=audible)
        node.last = each.last
        node.up = each.up
        node.handle_prefix = each.handle_prefix
        node.max_packet = each.max_packet
        node.process = each.process
        node.timeout = each.timeout
        node.alarms = {resource: (found, mark) for resource, found, mark in each.alarms}
        for number, pieces in each.uploads:
            upload = node.uploads[number] = Upload()
            upload.pieces = pieces
            upload.parts = [payloads[-piece] for piece in pieces]
    table.note_alarms()


def _function(table: JobTable, name: bytes) -> Function:
    function = table.functions.get(name)
    if function is None:
        function = table.functions[name] = Function(name)
    return function


def _restore_settings(table: JobTable, row: SettingsRow) -> None:
    function = _function(table, row.name)
    function.limits = row.limits if any(row.limits) else NO_LIMITS
    function.created = row.created
    function.serial = row.serial
    table.changes.settings_page(row.serial).members[row.serial] = function


def _restore_jobs(
    table: JobTable,
    rows: list[JobRow],
    sessions: dict[int, Session],
    prefixes: dict[bytes, bytes],
    payloads: dict[int, bytes],
) -> None:
    for row in rows:
        workload = row.workload
        if workload is None:
            workload = b"".join([payloads[-piece] for piece in row.pieces]) if row.pieces else payloads[row.number]
        job = Job(
            row.number,
            prefixes.setdefault(row.prefix, row.prefix),
            _function(table, row.function),
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
        if row.holder:
            job.holder = _session(sessions, row.holder)
            job.holder.holding.add(job.number)
        if row.listeners:
            job.listeners = dict.fromkeys(_session(sessions, serial) for serial in row.listeners)
        table.jobs[row.number] = job


def _session(sessions: dict[int, Session], serial: int) -> Session:
    session = sessions.get(serial)
    if session is None:
        session = sessions[serial] = Session(_UNKNOWN, 0, "", serial, _NO_PAGE)
    return session


def _restore_sessions(table: JobTable, row: TableRow, found: list[SessionRow], sessions: dict[int, Session]) -> None:
    """Put sessions where they belong: to their node, or among those that are departing."""
    lives: dict[tuple[str, int], Node] = {(node.name, node.incarnation): node for node in table.nodes.values()}
    alone: dict[int, Node] = {}
    for name, incarnation, serial in row.departing:
        if serial:
            node = alone[serial] = Node(name, incarnation, alone=serial)
        else:
            node = lives.setdefault((name, incarnation), Node(name, incarnation))
        table.departing.append(node)
    for each in sorted(found, key=_serial):
        session = _session(sessions, each.serial)
        node = alone[each.serial] if each.serial in alone else lives[each.node, each.incarnation]
        node.sessions[each.number] = session
        session.node = node
        session.number = each.number
        session.peer = each.peer
        session.client_id = each.client_id
        session.served = each.served
        session.limits = each.limits
        session.page = table.changes.session_page(each.serial)
        session.page.members[each.serial] = session
        for ability, served in each.abilities.items():
            function = _function(table, ability)
            function.workers += 1
            session.abilities[function.name] = served
        table.abilities += len(session.abilities)
        session.parked = each.parked
        if each.parked:
            table.asleep[each.parked] = session
    if any(session.page is _NO_PAGE for session in sessions.values()):
        raise LookupError("a job's session")


def _restore_order(table: JobTable) -> None:
    """Rebuild what follows from the jobs and sessions: counts, queues, keys, sleepers, deadlines."""
    queued = []
    for number in sorted(table.jobs):
        job = table.jobs[number]
        function: Function = job.function
        if not function.total:
            function.queues = list(NO_QUEUES)
        queue = function.queues[job.priority]
        if queue is NO_QUEUE:
            queue = function.queues[job.priority] = Queue()
        function.total += 1
        if job.state is JobState.RUNNING:
            function.running += 1
            if job.deadline:
                table.deadlines.set(job.deadline, number)
        else:
            queue.pending += 1
            if job.state is JobState.QUEUED:
                queued.append(job)
            elif job.state is JobState.DELAYED:
                table.deadlines.set(job.due, number)
        for listener in job.listeners:
            listener.listening[number] = None
        if job.key is not None:
            table.keys.add(job.key, job)
    queued.sort(key=_position)
    for job in queued:
        table.waiting.restore(job)
    for parking in sorted(table.asleep):
        for name in table.asleep[parking].abilities:
            table.functions[name].add_sleeper(parking, table.asleep)


def _position(job: Job) -> int:
    return job.position


def _serial(row: SessionRow) -> int:
    return row.serial
