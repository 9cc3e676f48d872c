"""A function and its queues: three priorities, each first in, first out. Not for: choosing among functions.

There may be a hundred thousand names that nobody uses at the moment, so a function without jobs has no queue.
"""

from bisect import insort
from collections import deque
from collections.abc import Iterator
from typing import Final

from cluster.jobs.job import Job
from cluster.jobs.sessions import Session

_SPARSE_QUEUE: Final = 64
_SWEPT: Final = 8
"""Numbers that are looked at for each job that leaves a queue from its middle. A sweep begins when a third of the queue
has ended, so it is over before half of it has."""
_STALE_SLEEPERS: Final = 16
NO_LIMITS: Final = (0, 0, 0)


class Queue:
    """The jobs of one function and priority that do not run."""

    __slots__ = ("numbers", "pending", "rest", "waiting")

    def __init__(self) -> None:
        self.pending = 0
        """Jobs that do not run yet (delayed, queued or reserved)."""
        self.waiting = 0
        """Jobs that a worker could take now."""
        self.numbers: deque[int] = deque()
        """Numbers of the waiting jobs in order; among them jobs that have ended and are passed over."""
        self.rest: deque[int] | None = None
        """While ended jobs are being swept out: what follows behind `numbers`, and has not been looked at."""

    def append(self, number: int) -> None:
        """Put a number at the back."""
        (self.numbers if self.rest is None else self.rest).append(number)

    def take(self, jobs: dict[int, Job]) -> Job:
        """Take out the first job; there is one."""
        find = jobs.get
        numbers = self.numbers
        while True:
            if not numbers and self.rest is not None:
                numbers, self.numbers, self.rest = self.rest, self.rest, None
            job = find(numbers.popleft())
            if job is not None:
                return job

    def remove(self, number: int, jobs: dict[int, Job]) -> None:
        """Let go of a job that has ended, now or by and by: a sweep of a million numbers takes many steps."""
        numbers = self.numbers
        if numbers and numbers[0] == number:
            numbers.popleft()
            return
        rest = self.rest
        if rest is None:
            if len(numbers) <= _SPARSE_QUEUE or 2 * len(numbers) <= 3 * self.waiting:
                return
            rest = self.rest = numbers
            numbers = self.numbers = deque()
        for _ in range(_SWEPT):
            if not rest:
                self.rest = None
                return
            first = rest.popleft()
            if first in jobs:
                numbers.append(first)

    def clear(self) -> None:
        """Forget the ended jobs: no other is left."""
        if self.numbers:
            self.numbers.clear()
        self.rest = None

    def __iter__(self) -> Iterator[int]:
        """Give the numbers in order, those of ended jobs among them."""
        yield from self.numbers
        yield from self.rest or ()


NO_QUEUE: Final = Queue()
"""Where a function has not needed one yet: one for all, never changed."""

Queues = list[Queue]
"""A function's three, by priority."""

NO_QUEUES: Final[Queues] = [NO_QUEUE, NO_QUEUE, NO_QUEUE]
"""Those of every function without jobs: one list for all, never changed."""


NO_SLEEPERS: Final[list[int]] = []
"""Those of a function whose workers never slept: one list for all, never changed."""


class Function:
    """Everything the table knows about one function name."""

    __slots__ = (
        "created",
        "limits",
        "name",
        "queued",
        "queues",
        "running",
        "serial",
        "sleepers",
        "total",
        "workers",
    )

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.limits = NO_LIMITS
        """For each priority: refuse a submit when the function has this many jobs; 0: never."""
        self.created = False
        """Whether it was made by `create function`."""
        self.serial = 0
        """Names its settings in the mirror; 0: it has none."""
        self.total = 0
        """Jobs in the table, in whatever state."""
        self.running = 0
        self.queued = 0
        """Jobs that a worker could take now, of all priorities."""
        self.queues: Queues = NO_QUEUES
        self.workers = 0
        """How many sessions can do it."""
        self.sleepers: list[int] = NO_SLEEPERS
        """Workers that were parked, each by the number of that parking, in their order. One that has been woken since,
        was parked again or can do it no more is passed over: waking a worker costs nothing for what else it can do."""

    @property
    def idle(self) -> bool:
        """Tell whether nothing would be lost if its name were forgotten: no job, no worker, no setting."""
        return not (self.total or self.workers or self.created or any(self.limits))

    @property
    def pending(self) -> tuple[int, int, int]:
        """Give, for each priority, the jobs that do not run yet (delayed, queued or reserved)."""
        high, normal, low = self.queues
        return high.pending, normal.pending, low.pending

    @property
    def waiting(self) -> tuple[int, int, int]:
        """Give, for each priority, the jobs that a worker could take now."""
        high, normal, low = self.queues
        return high.waiting, normal.waiting, low.waiting

    @property
    def share(self) -> int:
        """Tell how many of the waiting jobs one worker may have reserved ahead in one go: those of an even deal."""
        return self.queued // (self.workers or 1)

    def add_sleeper(self, parking: int, asleep: dict[int, Session]) -> None:
        """Add a parked worker, in its place; `asleep` has all of them."""
        sleepers = self.sleepers
        if sleepers is NO_SLEEPERS:
            self.sleepers = [parking]
        elif not sleepers or sleepers[-1] < parking:
            sleepers.append(parking)
        else:
            insort(sleepers, parking)
        if len(sleepers) > 2 * self.workers + _STALE_SLEEPERS:
            name = self.name
            alive = {number for number in sleepers if number in asleep and name in asleep[number].abilities}
            self.sleepers = sorted(alive)

    def wake_last(self, asleep: dict[int, Session]) -> Session | None:
        """Take out the sleeper that was parked last; None: nobody sleeps."""
        sleepers, name = self.sleepers, self.name
        while sleepers:
            session = asleep.get(sleepers.pop())
            if session is not None and name in session.abilities and session.node.up:
                return session
        return None
