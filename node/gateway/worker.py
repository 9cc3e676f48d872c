"""What a connection is as a worker: asleep or awake, the jobs it runs, the jobs kept for it, and how fast it is.

Not for: the queues. Which job a worker gets is decided by the table; this says only when it need not be asked.
"""

from collections import deque
from typing import Final

from cluster.jobs import Job
from protocol import PacketType, encode_passed_on, encode_response

RESERVATION_TIME: Final = 0.05
"""Seconds after which a job that its worker has not fetched goes to the next one."""
MAX_AHEAD: Final = 64
"""The most jobs reserved for a fast worker behind the one it is given."""
AHEAD_TIME: Final = 0.02
"""Seconds of work that may be reserved ahead, judged by the worker's pace."""
BUSY_PACE: Final = 0.01
"""Seconds from job to job up to which a worker is so busy that its next job is worth a moment of patience."""
HOLD_TIME: Final = 0.005
"""Seconds that such a worker's GRAB_JOB may wait for a job before it is answered NO_JOB. In that time most often one
comes, and the worker is spared four packets: NO_JOB, PRE_SLEEP, NOOP, and GRAB_JOB again."""
SLOW: Final = 1.0
"""The pace a worker is thought to have until it shows a better one: seconds from job to job."""
REMEMBERED_ENDINGS: Final = 16
"""Of how many jobs ended by WORK_EXCEPTION a following WORK_FAIL is expected."""

NOOP: Final = encode_response(PacketType.NOOP)
NO_JOB: Final = encode_response(PacketType.NO_JOB)


class WorkerSession:
    """The worker's side of one connection."""

    __slots__ = (
        "abilities",
        "abilities_number",
        "asleep",
        "excepted",
        "form",
        "given",
        "grabbed",
        "grabbing",
        "held",
        "late",
        "mistaken",
        "muted",
        "pace",
        "prefetched",
        "reserved",
        "running",
        "timed",
        "unwanted",
    )

    def __init__(self) -> None:
        self.abilities: set[bytes] = set()
        """The functions it can run, by its own last word; the table hears of it a moment later."""
        self.mistaken = False
        """Whether some of them were not taken by the table, and are to be left out."""
        self.abilities_number = 0
        """The number of the last command that changed what this worker can do."""
        self.asleep = False
        """It has sent PRE_SLEEP and has been sent no NOOP since."""
        self.timed = False
        """It has functions with a time limit, which begins when the table hears that a job was taken."""
        self.running: dict[bytes, Job] = {}
        """The jobs it was given and has not finished, by handle."""
        self.reserved: deque[tuple[Job, float]] = deque()
        """Jobs it will be given when it asks, with no further commit, and when each was reserved (the loop's clock)."""
        self.unwanted: list[Job] = []
        """Jobs reserved for it that go back, in the order in which they were: it can do less than when they were."""
        self.form = PacketType.GRAB_JOB
        """How it asked last."""
        self.grabbing = False
        """It waits for the table's answer to GRAB_JOB."""
        self.grabbed = 0.0
        """Since when."""
        self.held = False
        """Its GRAB_JOB is not answered yet, though there is nothing for it: it is parked in the table meanwhile."""
        self.late = 0
        """Answers of the table that will come after the worker was told NO_JOB."""
        self.prefetched = 0
        """The number of the last command that reserved jobs ahead."""
        self.pace = SLOW
        self.given = 0.0
        """When it was given its last job."""
        self.muted: set[bytes] = set()
        """Cancelled jobs that it still runs: what it says of them goes nowhere."""
        self.excepted: deque[bytes] = deque(maxlen=REMEMBERED_ENDINGS)
        """Jobs it has ended by WORK_EXCEPTION; many workers send WORK_FAIL too."""

    def note_pace(self, now: float) -> None:
        """Take the time from job to job into account."""
        self.pace += (min(now - self.given, SLOW) - self.pace) / 4
        self.given = now

    @property
    def busy(self) -> bool:
        """Tell whether the next job is likely to come at once."""
        return self.pace <= BUSY_PACE and not self.running

    def ahead(self) -> int:
        """Tell how many jobs this worker would fetch soon, if they were reserved for it now."""
        return MAX_AHEAD if self.pace * MAX_AHEAD <= AHEAD_TIME else int(AHEAD_TIME / self.pace)


def assignment(form: PacketType, handle: bytes, job: Job) -> bytes:
    """Make the packet that gives a job, in the form in which it was asked for."""
    name: bytes = job.function.name
    if form is PacketType.GRAB_JOB:
        return encode_passed_on(PacketType.JOB_ASSIGN, (handle, name, job.workload))
    if form is PacketType.GRAB_JOB_UNIQ:
        return encode_passed_on(PacketType.JOB_ASSIGN_UNIQ, (handle, name, job.unique, job.workload))
    return encode_passed_on(PacketType.JOB_ASSIGN_ALL, (handle, name, job.unique, job.reducer, job.workload))
