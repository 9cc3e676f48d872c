"""Submit jobs and ask after them, as a client of a Gearman server does, with one method for each wish of a test."""

from typing import NamedTuple

from protocol import PacketType
from tests.harness.connection import PATIENCE, Connection

_SUBMIT = {
    ("high", False): PacketType.SUBMIT_JOB_HIGH,
    ("normal", False): PacketType.SUBMIT_JOB,
    ("low", False): PacketType.SUBMIT_JOB_LOW,
    ("high", True): PacketType.SUBMIT_JOB_HIGH_BG,
    ("normal", True): PacketType.SUBMIT_JOB_BG,
    ("low", True): PacketType.SUBMIT_JOB_LOW_BG,
}


class JobStatus(NamedTuple):
    """What STATUS_RES says about a job."""

    known: bool
    running: bool
    numerator: int
    denominator: int


class UniqueStatus(NamedTuple):
    """What STATUS_RES_UNIQUE says about the job with a unique key."""

    known: bool
    running: bool
    numerator: int
    denominator: int
    waiting_clients: int


class Client(Connection):
    """A connection that submits jobs."""

    async def submit(
        self,
        function: bytes,
        workload: bytes = b"",
        *,
        unique: bytes = b"",
        priority: str = "normal",
        background: bool = False,
        within: float = PATIENCE,
    ) -> bytes:
        """Submit a job and return its handle once the server has taken it."""
        self.send_job(function, workload, unique=unique, priority=priority, background=background)
        return await self.created(within=within)

    async def submit_background(
        self,
        function: bytes,
        workload: bytes = b"",
        *,
        unique: bytes = b"",
        priority: str = "normal",
        within: float = PATIENCE,
    ) -> bytes:
        """Submit a background job and return its handle once the server has taken it."""
        return await self.submit(function, workload, unique=unique, priority=priority, background=True, within=within)

    def send_job(
        self,
        function: bytes,
        workload: bytes = b"",
        *,
        unique: bytes = b"",
        priority: str = "normal",
        background: bool = False,
    ) -> None:
        """Send the submission and leave its answer to be read."""
        self.send(_SUBMIT[priority, background], function, unique, workload)

    async def submit_at(self, epoch: int, function: bytes, workload: bytes = b"", *, unique: bytes = b"") -> bytes:
        """Submit a background job that is due at `epoch` (seconds since 1970) and return its handle."""
        self.send(PacketType.SUBMIT_JOB_EPOCH, function, unique, b"%d" % epoch, workload)
        return await self.created()

    async def created(self, *, within: float = PATIENCE) -> bytes:
        """Return the handle of the JOB_CREATED that must come next."""
        (handle,) = await self.expect(PacketType.JOB_CREATED, within=within)
        return handle

    async def want_exceptions(self) -> None:
        """Ask for WORK_EXCEPTION packets."""
        self.send(PacketType.OPTION_REQ, b"exceptions")
        assert await self.expect(PacketType.OPTION_RES) == (b"exceptions",)

    async def status(self, handle: bytes) -> JobStatus:
        """Return what the server knows about a handle."""
        self.send(PacketType.GET_STATUS, handle)
        answered, *figures = await self.expect(PacketType.STATUS_RES)
        assert answered == handle
        known, running, numerator, denominator = map(int, figures)
        return JobStatus(bool(known), bool(running), numerator, denominator)

    async def status_of_unique(self, unique: bytes) -> UniqueStatus:
        """Return what the server knows about a unique key."""
        self.send(PacketType.GET_STATUS_UNIQUE, unique)
        answered, *figures = await self.expect(PacketType.STATUS_RES_UNIQUE)
        assert answered == unique
        known, running, numerator, denominator, clients = map(int, figures)
        return UniqueStatus(bool(known), bool(running), numerator, denominator, clients)

    async def completed(self, handle: bytes, *, within: float = PATIENCE) -> bytes:
        """Return the result of a job whose WORK_COMPLETE must come next."""
        answered, result = await self.expect(PacketType.WORK_COMPLETE, within=within)
        assert answered == handle
        return result

    async def failed(self, handle: bytes, *, within: float = PATIENCE) -> None:
        """Wait for the WORK_FAIL of a job, which must come next and hold the bare handle."""
        assert await self.expect(PacketType.WORK_FAIL, within=within) == (handle,)
