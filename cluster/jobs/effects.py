"""What applying a command asks the outside world to do, once, by the node whose session it concerns.

An effect holds the live job or session, not a copy: deliver effects before the next proposal is applied. Not for:
packets. A node's gateway turns effects into the bytes its connections get.
"""

import enum

import msgspec

from cluster.jobs.commands import Submit
from cluster.jobs.job import Job


class Refusal(enum.Enum):
    """Why a job was not accepted."""

    QUEUE_FULL = enum.auto()
    NO_SESSION = enum.auto()
    NO_ROOM = enum.auto()
    """A node has raised an alarm: it has too little memory or disk space (`table.alarm`)."""
    TOO_MANY_FUNCTIONS = enum.auto()
    """It is the first of its function, and there may be no further function."""


class Outcome(enum.Enum):
    """How an administrative command ended."""

    DONE = enum.auto()
    NO_SUCH_JOB = enum.auto()
    NO_SUCH_FUNCTION = enum.auto()
    FUNCTION_IN_USE = enum.auto()
    """It has workers, or jobs of it run."""
    FUNCTION_HAS_JOBS = enum.auto()
    """Jobs of it wait: dropping it would lose them."""
    TOO_MANY_FUNCTIONS = enum.auto()
    """There may be no further one."""


class Revocation(enum.Enum):
    """Why a session does not hold a job any more."""

    CANCELLED = enum.auto()
    TIME_LIMIT = enum.auto()


class Created(msgspec.Struct, array_like=True, gc=False):
    """Answer to Submit: the job is in the table, or was joined."""

    session: int
    job: Job
    listens: bool
    """Whether the session is to be told how it goes."""
    again: bool = False
    """Whether it was to be told already: it asked for the same once more."""
    ticket: int = 0
    """The command's."""


class Joined(msgspec.Struct, array_like=True, gc=False):
    """Answer to Submit: it joined a job that a worker of another node has, or that is reserved for one.

    That worker may have ended the job before the submit was sent: only its node knows. The submit is to be answered
    once that is known, and proposed again if so.
    """

    session: int
    job: Job
    submit: Submit
    node: str
    """The worker's node, and its incarnation, as of this entry."""
    incarnation: int
    again: bool
    """As in `Created`."""


class Refused(msgspec.Struct, array_like=True, gc=False):
    """Answer to Submit: the job is not in the table."""

    session: int
    refusal: Refusal
    submit: Submit | None = None
    """Set if jobs that workers have were counted: they may have ended before the submit was sent."""
    ticket: int = 0
    """The command's."""


class Assigned(msgspec.Struct, array_like=True, gc=False):
    """Answer to Grab: the job is reserved for this session, which is waiting for it: Take is to follow."""

    session: int
    job: Job


class NoJob(msgspec.Struct, array_like=True, gc=False):
    """Answer to Grab: there is nothing for this session."""

    session: int


class Reserved(msgspec.Struct, array_like=True, gc=False):
    """The job is kept for this session, until its node says Take or Unreserve."""

    session: int
    job: Job
    wake: bool
    """The session slept and is to be woken: its one NOOP."""


class Revoked(msgspec.Struct, array_like=True, gc=False):
    """The session holds the job no more."""

    session: int
    job: Job
    why: Revocation


class Failed(msgspec.Struct, array_like=True, gc=False):
    """To a listener: the job ended without its worker's word, by cancel or for want of further attempts."""

    session: int
    job: Job


class Ended(msgspec.Struct, array_like=True, gc=False):
    """To the session that finished the job: the table has let it go; `job.listeners` is final."""

    session: int
    job: Job


class Concluded(msgspec.Struct, array_like=True, gc=False):
    """To a listener on another node than the worker's: the job is over, and `node` has sent what came of it.

    Should that node go before it has arrived, nobody else has it.
    """

    session: int
    job: Job
    node: str
    incarnation: int


class Incapable(msgspec.Struct, array_like=True, gc=False):
    """Answer to Can: the session is given no job of this function, because there are too many functions."""

    session: int
    function: bytes


class Settled(msgspec.Struct, array_like=True, gc=False):
    """Answer to an administrative command."""

    session: int
    outcome: Outcome


Effect = (
    Created
    | Joined
    | Refused
    | Assigned
    | NoJob
    | Reserved
    | Revoked
    | Failed
    | Ended
    | Concluded
    | Incapable
    | Settled
)
