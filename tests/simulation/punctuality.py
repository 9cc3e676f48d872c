"""When things happen, by the true time of the world: delays, time limits, and the order of priorities.

- A delayed job is not begun before it is due. In a world where nothing goes wrong it stands in its queue soon after.
- Where nothing goes wrong, a run whose time limit is over is soon taken from its worker.
- Where nothing goes wrong, no job is begun while one of the same function and of a higher priority has stood in the
  queue for longer than jobs are reserved for.

What clients asked for and when workers began comes from them; which jobs the table lets wait, and which it thinks are
run by whom, from `model.Model`. The table goes by the clocks of leaders: by as much as these are, or were lately, wrong
it may be early or late.

Not for: what becomes of a job, and in which order by the entries' own time (`model`); whether it may be run again
(`promises`).
"""

from typing import Any, Final

import msgspec

from tests.simulation.journal import ViolationError
from tests.simulation.model import Model
from tests.simulation.runs import Run
from tests.simulation.schedule import MS, SECOND
from tests.simulation.truth import EPOCH, Truth

SLACK: Final = 2 * MS
"""Clocks are read in whole milliseconds, at the beginning and at the end."""
LATE: Final = 2 * SECOND
"""By how much the table may be late. One second is for the clock by which the leader waits: it may go 30 % too slowly,
and waits for two seconds at most, which is how far ahead clients delay jobs. The other is for the entry that says the
time: it may have to wait for the one before it, and needs two writes (of 30 ms) and a way there and back (of 80 ms)."""
RESERVED: Final = 10 * SECOND
"""For so long a job may have been reserved when it is begun: behind a run and three reserved jobs, of 2 s each. What
has come meanwhile, with a higher priority, does not overtake it (docs/decisions/0005-reserving-ahead.md)."""
LOOK: Final = 250 * MS
"""How often something is looked for that is late."""


class Asked(msgspec.Struct, frozen=True):
    """What a client asked for."""

    function: bytes
    priority: int
    """0 is the highest."""
    due: int
    """In milliseconds since the epoch; 0: at once."""


class Punctuality:
    """The watch over the times of one run."""

    def __init__(self, truth: Truth, model: Model, ahead: int = 0, *, exact: bool = False) -> None:
        """`ahead`: how long the large packets take that may be on the way before an entry that says the time.

        `exact`: the time that the table goes by must be right at all times, not only where a job depends on it. It is
        not once the clock of a leader has leapt, which is a fault that is known (`known`).
        """
        self._exact = exact
        self._truth = truth
        self._late = LATE + ahead
        self._model = model
        self._asked: dict[bytes, Asked] = {}
        """By workload, which no two submits have in common."""
        self._limited: list[Run] = []
        """Runs that have a time limit and are not known to be over."""
        self._queued: dict[int, int] = {}
        """The jobs that stand in a queue, and since when."""

    def asked(self, workload: bytes, function: bytes, priority: int, due: int) -> None:
        """A client submits a job."""
        self._asked[workload] = Asked(function, priority, due)

    def entered(self) -> None:
        """Note which jobs stand in queues after an entry."""
        before, now = self._queued, self._truth.now
        self._queued = {job.number: before.get(job.number, now) for job in self._model.naive.queue}

    def begins(self, run: Run) -> None:
        """A worker begins with a job."""
        asked = self._asked.get(run.workload)
        if asked is None:
            raise ViolationError(f"job {run.job} is one that nobody asked for: {run.workload!r}")
        truth = self._truth
        early = asked.due * MS - EPOCH - run.began
        if early > truth.clock_error(run.began) + SLACK:
            raise ViolationError(f"job {run.job} is begun {early / SECOND:.3f} s before it is due")
        if run.limit:
            self._limited.append(run)
        if truth.settled:
            self._check_priority(run, asked)

    def _check_priority(self, run: Run, asked: Asked) -> None:
        """Check that no better job has been passed over."""
        for job in self._model.naive.queue:
            other = self._asked.get(job.workload)
            if other is None or other.function != asked.function or other.priority >= asked.priority:
                continue
            waited = self._truth.now - self._queued[job.number]
            if waited > RESERVED:
                raise ViolationError(
                    f"job {run.job} of priority {asked.priority} is begun, and job {job.number} of priority"
                    f" {other.priority} has stood in the queue for {waited / SECOND:.3f} s"
                )

    def look(self) -> None:
        """Look for what is late."""
        truth = self._truth
        jobs = {job.number: job for job in self._model.naive.jobs}
        early = self._model.naive.now * MS - EPOCH - truth.now
        if self._exact and early > truth.clock_error(truth.now) + SLACK:
            raise ViolationError(f"the time of the job table is {early / SECOND:.3f} s ahead of the true one")
        if self._limited:
            self._limited = [run for run in self._limited if self._goes_on(run, jobs.get(run.job))]
        if truth.settled:
            for job in jobs.values():
                late = EPOCH + truth.now - job.due * MS
                if job.due and late > truth.clock_error(truth.now) + self._late:
                    raise ViolationError(f"job {job.number} is not in its queue {late / SECOND:.3f} s after it was due")

    def _goes_on(self, run: Run, job: Any) -> bool:
        """Tell whether a run still is one, which it may not be for long after its time limit."""
        truth = self._truth
        if run.over or run.broken or truth.dead(run.life) or job is None:
            return False
        if job.holder is None or job.holder.name != (run.node, run.session):
            return False  # it was taken back, or its node lags behind
        late = truth.now - run.began - run.limit * MS
        if truth.settled_at(run.began) and late > 2 * truth.clock_error(run.began) + self._late:
            raise ViolationError(
                f"job {run.job} is still {run.node}'s {late / SECOND:.3f} s after its time limit: {run}"
            )
        return True
