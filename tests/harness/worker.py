"""Take jobs and report on them, as a worker of a Gearman server does, one step at a time."""

from typing import NamedTuple

from protocol import Packet, PacketType
from tests.harness.connection import PATIENCE, Connection, UnexpectedAnswerError

SETTLING_FUNCTION = b"settling"
"""What `Worker.settle` submits to; no worker registers it."""


class Assignment(NamedTuple):
    """A job as JOB_ASSIGN, JOB_ASSIGN_UNIQ or JOB_ASSIGN_ALL hands it over; None where that form has no such field."""

    kind: PacketType
    handle: bytes
    function: bytes
    workload: bytes
    unique: bytes | None = None
    reducer: bytes | None = None


class Worker(Connection):
    """A connection that runs jobs."""

    async def can_do(self, *functions: bytes, timeout_ms: int | None = None) -> None:
        """Register functions, with a time limit in milliseconds if one is given; return when the server has read it."""
        for function in functions:
            if timeout_ms is None:
                self.send(PacketType.CAN_DO, function)
            else:
                self.send(PacketType.CAN_DO_TIMEOUT, function, b"%d" % timeout_ms)
        await self.expect_nothing()

    async def grab(self, kind: PacketType = PacketType.GRAB_JOB_UNIQ, *, within: float = PATIENCE) -> Assignment | None:
        """Ask for a job once and return it, or None when the server says NO_JOB."""
        self.send(kind)
        return await self.assigned(within=within)

    async def assigned(self, *, within: float = PATIENCE) -> Assignment | None:
        """Return the answer to a request for a job that was sent before."""
        match await self.next(within=within):
            case Packet(PacketType.NO_JOB):
                return None
            case Packet(PacketType.JOB_ASSIGN as form, [handle, function, workload]):
                return Assignment(form, handle, function, workload)
            case Packet(PacketType.JOB_ASSIGN_UNIQ as form, [handle, function, unique, workload]):
                return Assignment(form, handle, function, workload, unique)
            case Packet(PacketType.JOB_ASSIGN_ALL as form, [handle, function, unique, reducer, workload]):
                return Assignment(form, handle, function, workload, unique, reducer)
            case other:
                raise UnexpectedAnswerError(f"expected a job or NO_JOB, got {other}")

    async def take(self, kind: PacketType = PacketType.GRAB_JOB_UNIQ, *, within: float = PATIENCE) -> Assignment:
        """Take a job as a well-behaved worker does: ask, sleep when there is none, ask again when woken.

        Right also where a job is there already: on a busy machine a server says NO_JOB rather than answer late.
        """
        while (job := await self.grab(kind, within=within)) is None:
            self.sleep()
            await self.woken(within=within)
        return job

    async def drain(self) -> list[Assignment]:
        """Take and complete jobs until there are none left, and return them in the order in which they came."""
        jobs: list[Assignment] = []
        while True:
            while (job := await self.grab()) is not None:
                self.complete(job.handle)
                jobs.append(job)
            self.sleep()
            if not await self.until_echo():
                return jobs

    def sleep(self) -> None:
        """Send PRE_SLEEP."""
        self.send(PacketType.PRE_SLEEP)

    async def woken(self, *, within: float = PATIENCE) -> None:
        """Wait for the NOOP that must come next."""
        await self.expect(PacketType.NOOP, within=within)

    def complete(self, handle: bytes, result: bytes = b"") -> None:
        """Report the end of a job."""
        self.send(PacketType.WORK_COMPLETE, handle, result)

    def fail(self, handle: bytes) -> None:
        """Report that a job has failed."""
        self.send(PacketType.WORK_FAIL, handle)

    def throw(self, handle: bytes, exception: bytes) -> None:
        """Report that a job has ended with an exception."""
        self.send(PacketType.WORK_EXCEPTION, handle, exception)

    def data(self, handle: bytes, part: bytes) -> None:
        """Report a part of a result."""
        self.send(PacketType.WORK_DATA, handle, part)

    def warn(self, handle: bytes, warning: bytes) -> None:
        """Report a warning."""
        self.send(PacketType.WORK_WARNING, handle, warning)

    def progress(self, handle: bytes, numerator: int, denominator: int) -> None:
        """Report how far a job has come."""
        self.send(PacketType.WORK_STATUS, handle, b"%d" % numerator, b"%d" % denominator)

    async def settle(self) -> None:
        """Wait until the server has on disk all that was reported so far.

        Changes reach the disk in the order they were made, and a background job is acknowledged when it is there: so
        one more job, on this connection, says it of everything before. Nobody runs that job.
        """
        self.send(PacketType.SUBMIT_JOB_LOW_BG, SETTLING_FUNCTION, SETTLING_FUNCTION, b"")
        await self.expect(PacketType.JOB_CREATED)
