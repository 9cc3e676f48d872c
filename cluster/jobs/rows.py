"""The parts of the job table as rows of plain data, which the mirror is made of.

Jobs name sessions by their serial numbers: the number within a node comes again with the node's next incarnation, while
sessions of the last one are still departing. Not for: when they are written (`mirror`), or read back (`restoring`).
"""

from typing import Final

import msgspec

from cluster.jobs.changes import Page, of_sessions
from cluster.jobs.job import Job, JobState
from cluster.jobs.sessions import Node, Session
from cluster.jobs.table import JobTable

FORMAT: Final = 4

Departing = tuple[str, int, int]
"""The node and incarnation of sessions that are departing; the serial number of one that ended by itself, or 0."""


class SessionRow(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True):
    """A session, whether it is alive or departing."""

    serial: int
    node: str
    incarnation: int
    number: int
    peer: str
    client_id: bytes
    served: int
    parked: int
    abilities: dict[bytes, int]
    """In the order in which the session has them, which is as good as any and the same on all nodes."""
    limits: dict[bytes, int]


class SettingsRow(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True):
    """A function with settings; of any other there are the jobs and the sessions."""

    serial: int
    name: bytes
    limits: tuple[int, int, int]
    created: bool


class NodeRow(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True):
    """A node, without its sessions."""

    name: str
    incarnation: int
    last: int
    up: bool
    handle_prefix: bytes
    max_packet: int
    process: str
    timeout: int
    alarms: list[tuple[int, int, int]]
    uploads: list[tuple[int, list[int]]]
    """Unfinished uploads: the number of each, and its pieces."""


class TableRow(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True):
    """What is written whole each time."""

    format: int
    now: int
    job_retries: int
    max_functions: int
    last_job: int
    last_session: int
    last_settings: int
    front: int
    back: int
    parkings: int
    last_piece: int
    nodes: list[NodeRow]
    departing: list[Departing]


class JobRow(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True):
    """A job."""

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
    holder: int
    """The session's serial number; 0: none."""
    listeners: list[int]
    pieces: list[int]


def job_row(job: Job, apart: int | None) -> JobRow:
    """Give a job; its workload too, if it has fewer bytes than `apart` says."""
    return JobRow(
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
        0 if job.holder is None else job.holder.serial,
        [listener.serial for listener in job.listeners] if job.listeners else [],
        list(job.pieces),
    )


def table_row(table: JobTable) -> TableRow:
    """Give what is neither a job nor a session nor a setting."""
    return TableRow(
        FORMAT,
        table.now,
        table.job_retries,
        table.max_functions,
        table.last_job,
        table.last_session,
        table.last_settings,
        table.waiting.front,
        table.waiting.back,
        table.parkings,
        table.pieces.last,
        [_node_row(table.nodes[name]) for name in sorted(table.nodes)],
        [_departing_row(node) for node in table.departing],
    )


def _departing_row(node: Node) -> Departing:
    return node.name, node.incarnation, node.alone


def _node_row(node: Node) -> NodeRow:
    alarms = [(resource, *node.alarms[resource]) for resource in sorted(node.alarms)]
    uploads = [(number, upload.pieces) for number, upload in sorted(node.uploads.items())]
    return NodeRow(
        node.name,
        node.incarnation,
        node.last,
        node.up,
        node.handle_prefix,
        node.max_packet,
        node.process,
        node.timeout,
        alarms,
        uploads,
    )


def page_rows(page: Page) -> list[SessionRow] | list[SettingsRow]:
    """Give the members of a page."""
    if of_sessions(page.segment):
        return [_session_row(session) for session in page.members.values()]
    return [
        SettingsRow(function.serial, function.name, function.limits, function.created)
        for function in page.members.values()
    ]


def _session_row(session: Session) -> SessionRow:
    node = session.node
    return SessionRow(
        session.serial,
        node.name,
        node.incarnation,
        session.number,
        session.peer,
        session.client_id,
        session.served,
        session.parked,
        session.abilities,
        session.limits,
    )
