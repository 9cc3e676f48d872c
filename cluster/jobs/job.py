"""One job as the table holds it. Not for: moving it between states, which is the table's business alone.

DELAYED ──due──> QUEUED ──Grab or woken──> RESERVED ──Take──> RUNNING ──Finish──> ENDED
                   ▲                          │                  │
                   ├──────── Unreserve ───────┘                  │
                   └────────── a lost worker, a time limit ──────┘
"""

import enum
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from cluster.jobs.functions import Function
    from cluster.jobs.sessions import Session

HIGH: Final = 0
NORMAL: Final = 1
LOW: Final = 2
PRIORITIES: Final = (HIGH, NORMAL, LOW)

NOBODY: "Final[dict[Session | Any, None]]" = {}
"""The listeners of every job that has none: one dict for all, never changed."""


class JobState(enum.IntEnum):
    """Where a job is on its way."""

    DELAYED = 0
    """Waits for its time (SUBMIT_JOB_EPOCH)."""
    QUEUED = 1
    RESERVED = 2
    """Kept for a session that has not fetched it yet."""
    RUNNING = 3
    ENDED = 4
    """No longer in the table."""


class Job(msgspec.Struct, gc=False, eq=False):
    """A job. One object per job in memory: it is kept small, and out of the garbage collector's sight."""

    number: int
    """Unique for the life of the cluster; grows with every job."""
    prefix: bytes
    function: "Function | Any"
    unique: bytes
    """As its submitter gave it."""
    key: bytes | None
    """What it coalesces on within its function; None: it does not."""
    workload: bytes
    reducer: bytes
    priority: int
    background: bool
    state: JobState
    position: int = 0
    """Its place in its queue while QUEUED: lower is earlier."""
    due: int = 0
    deadline: int = 0
    """When this run's time limit is over; 0: never."""
    attempts: int = 0
    """How many runs ended with the loss of the worker or at the time limit."""
    numerator: int = 0
    denominator: int = 0
    holder: "Session | Any" = None
    """Who runs it, or has it reserved."""
    listeners: "dict[Session | Any, None]" = NOBODY
    """Who is told how it goes, in the order in which they asked."""
    pieces: tuple[int, ...] = ()
    """The pieces in which the mirror keeps a workload that was uploaded in parts (`cluster.jobs.uploads`)."""

    @property
    def handle(self) -> bytes:
        """The name by which clients and workers know the job."""
        return b"%b:%d" % (self.prefix, self.number)

    @property
    def runs(self) -> bool:
        """Tell whether a worker has it, which is alive."""
        return self.state is JobState.RUNNING and self.holder.node.up


def number_of(handle: bytes) -> int | None:
    """Tell which job number a handle would be for, None if it cannot be one of ours."""
    digits = handle[handle.rfind(b":") + 1 :]
    return int(digits) if digits.isdigit() and len(digits) < 20 else None
