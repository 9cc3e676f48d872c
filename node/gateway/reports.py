"""What workers say of their jobs. It goes straight to those who listen; the table learns only what it must agree on.

Not for: how it gets to listeners (`telling`), or who gets a job (`assigning`).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from cluster.jobs import Finish, Job, Progress
from node.gateway.connection import Connection
from node.gateway.telling import LARGE
from protocol import PacketType, encode_error, parse_progress

if TYPE_CHECKING:
    from node.gateway.gateway import Gateway

PROGRESS_INTERVAL: Final = 0.25
"""Seconds between two notices of one job's progress to the table."""

_NOT_HELD: Final = encode_error(b"JOB_NOT_FOUND", b"Job given in work result not found")
_NOT_HELD_DATA: Final = encode_error(b"JOB_NOT_FOUND", b"Job does not exist on server")
_NOT_HELD_EXCEPTION: Final = encode_error(b"JOB_NOT_FOUND", b"An exception was received for a job that does not exist")


def handlers(gateway: "Gateway") -> dict[PacketType, Callable[[Connection, list[bytes]], None]]:
    """Give the function for each packet type that reports on a job."""
    return {
        PacketType.WORK_STATUS: _status(gateway),
        PacketType.WORK_DATA: _passing(gateway, PacketType.WORK_DATA),
        PacketType.WORK_WARNING: _passing(gateway, PacketType.WORK_WARNING),
        PacketType.WORK_COMPLETE: _ending(gateway, PacketType.WORK_COMPLETE, _NOT_HELD),
        PacketType.WORK_FAIL: _ending(gateway, PacketType.WORK_FAIL, _NOT_HELD),
        PacketType.WORK_EXCEPTION: _ending(gateway, PacketType.WORK_EXCEPTION, _NOT_HELD_EXCEPTION),
    }


def _passing(gateway: "Gateway", kind: PacketType) -> Callable[[Connection, list[bytes]], None]:
    telling = gateway.telling

    def report(connection: Connection, args: list[bytes]) -> None:
        job = _held(connection, args[0])
        if job is not None:
            if job.listeners or telling.expected:
                telling.tell(job, kind, args)
        elif not _muted(connection, args[0]):
            connection.send(_NOT_HELD_DATA)

    return report


def _status(gateway: "Gateway") -> Callable[[Connection, list[bytes]], None]:
    telling = gateway.telling

    def report(connection: Connection, args: list[bytes]) -> None:
        job = _held(connection, args[0])
        if job is None:
            if not _muted(connection, args[0]):
                connection.send(_NOT_HELD)
            return
        if job.listeners or telling.expected:
            telling.tell(job, PacketType.WORK_STATUS, args)
        gateway.progress[job.number] = (parse_progress(args[1]), parse_progress(args[2]))
        if job.number not in gateway.untold_progress:
            gateway.untold_progress[job.number] = connection
            gateway.watch_progress()

    return report


def tell_progress(gateway: "Gateway") -> None:
    """Bring before the table the progress that has been kept from it."""
    for number, connection in gateway.untold_progress.items():
        numerator, denominator = gateway.progress[number]
        gateway.driver.propose_lazily(Progress(connection.number, number, numerator, denominator))
    gateway.untold_progress.clear()


def _ending(gateway: "Gateway", kind: PacketType, not_held: bytes) -> Callable[[Connection, list[bytes]], None]:
    driver = gateway.driver
    telling = gateway.telling
    untold = gateway.assigning.untold

    def report(connection: Connection, args: list[bytes]) -> None:
        handle = args[0]
        worker = connection.worker
        job = worker.running.pop(handle, None) if worker is not None else None
        if worker is None or job is None:
            if worker is None or not _expected(connection, kind, handle):
                connection.send(not_held)
            return
        if kind is PacketType.WORK_EXCEPTION:
            worker.excepted.append(handle)
        listeners = job.listeners
        if listeners or telling.expected:
            telling.tell(job, kind, args)
        telling.endings[job.number] = (kind, args, tuple(listeners))
        if len(args[-1]) > LARGE:
            telling.count_ending(job.number, len(args[-1]))
        if gateway.progress:
            gateway.forget_progress(job)
        untold.pop(job.number, None)
        # Until the table knows, a restart would run the job again: that matters where somebody was promised it runs.
        if job.background:
            driver.propose_promptly(Finish(connection.number, job.number, job.attempts))
        else:
            driver.propose_lazily(Finish(connection.number, job.number, job.attempts))
        telling.last_end = driver.numbered

    return report


def _held(connection: Connection, handle: bytes) -> Job | None:
    worker = connection.worker
    return worker.running.get(handle) if worker is not None else None


def _muted(connection: Connection, handle: bytes) -> bool:
    return connection.worker is not None and handle in connection.worker.muted


def _expected(connection: Connection, kind: PacketType, handle: bytes) -> bool:
    """Tell whether this word on a job no longer held is one to pass over in silence."""
    worker = connection.worker
    assert worker is not None
    if handle in worker.muted:
        worker.muted.discard(handle)
        return True
    if kind is PacketType.WORK_FAIL and handle in worker.excepted:
        worker.excepted.remove(handle)
        return True
    return False
