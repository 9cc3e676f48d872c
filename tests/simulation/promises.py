"""What the cluster promises its users, and whether it kept it.

- What was acknowledged is run: in the end every acknowledged job was finished by a worker, cancelled, or failed for
  want of further attempts.
- Nothing is run twice without a failure: a second run needs the end of the first one's connection or node, or its time
  limit. What was submitted once is one job, however often its command travelled.
- A result comes, once, unless the node that had it is gone; and what comes before it comes in order.
- A linearizable read sees everything that was known anywhere before it was asked.
"""

from typing import Any

import msgspec

from cluster.jobs import Cancel, Finish, Job, JobTable, NodeDown, NodeUp, Proposal
from cluster.log import Entry
from protocol import PacketType
from tests.simulation.journal import ViolationError
from tests.simulation.safety import Safety

SLACK_MS = 1
"""Clocks are read in whole milliseconds."""


class Run(msgspec.Struct, eq=False):
    """One run of a job by a worker."""

    job: int
    node: str
    incarnation: int
    session: int
    began: int
    """The table's time at the node when it gave the job to the worker, in milliseconds."""
    limit: int
    """The time limit that the worker declared for the function, or 0."""
    serial: int = 0
    """Its number among all runs."""
    over: bool = False
    """The worker said how it went."""
    how: PacketType | None = None
    """And this is what it said."""
    broken: bool = False
    """The worker's connection ended before the node had read that."""


class Promises:
    """The book that is kept about all jobs of a run."""

    def __init__(self) -> None:
        self.safety: Safety
        self.runs: dict[int, list[Run]] = {}
        self._serial: list[Run] = []
        self._acknowledged: dict[int, int] = {}
        """Jobs, and the index at which the latest acknowledged submit took effect."""
        self._ended: dict[int, tuple[int, str]] = {}
        """How each job left the table, and at which index."""
        self._gone: set[tuple[str, int]] = set()
        """Incarnations of nodes that are over."""
        self._submits: dict[bytes, int] = {}
        self._there: dict[int, Any] = {}
        self.limited = False
        """Whether jobs have a limited number of attempts."""
        self._before: dict[int, Job] = {}
        self._last = 0
        self.last_jobs: list[int] = []
        """The number of the newest job as of each index, from the first entry on."""
        self.first_index = 0
        self.acknowledged_count = self.runs_count = self.again = self.reads = self.lost = 0
        self.newest_incarnation: dict[str, int] = {}

    # The one sequence of entries

    def begin(self, safety: Safety) -> None:
        """Follow this log."""
        self.safety = safety
        self.first_index = safety.table_index

    def entering(self, entry: Entry, proposal: Proposal, table: JobTable) -> None:
        """Look at the table before an entry."""
        there = self._there
        there.clear()
        if self.limited:
            self._before = dict(table.jobs)
        for batch in proposal.batches:
            for command in batch.commands:
                if type(command) is Finish:
                    # It may be kept for the same worker once more by the very entry that brings the word.
                    worker = (batch.node, batch.incarnation, command.session)
                    if any(
                        (run.node, run.incarnation, run.session) == worker for run in self.runs.get(command.job, ())
                    ):
                        there.setdefault(command.job, "finished")
                elif type(command) is Cancel and (job := table.find(command.handle)) is not None:
                    there.setdefault(job.number, "cancelled")
                elif type(command) is NodeDown:
                    node = table.nodes.get(command.node)
                    if node is not None and node.incarnation == command.incarnation:
                        self._gone.add((command.node, command.incarnation))
                elif type(command) is NodeUp:
                    self._gone.update((batch.node, number) for number in range(1, batch.incarnation))

    def entered(self, entry: Entry, proposal: Proposal, table: JobTable) -> None:
        """Look at it after."""
        for number, job in self._before.items():
            if number not in table.jobs and job.attempts > table.job_retries:
                self._ended[number] = (entry.index, "exhausted")
        for number, how in self._there.items():
            if number not in table.jobs:
                self._ended.setdefault(number, (entry.index, how))
        for number in range(self._last + 1, table.last_job + 1):
            job = table.jobs.get(number)
            if job is not None and job.workload:
                other = self._submits.setdefault(job.workload, number)
                if other != number:
                    raise ViolationError(f"one submit became jobs {other} and {number}: {job.workload!r}")
        self._last = table.last_job
        missing = entry.index - self.first_index - len(self.last_jobs)
        if missing > 1:
            before = self.last_jobs[-1] if self.last_jobs else 0
            self.last_jobs.extend([before] * (missing - 1))
        self.last_jobs.append(table.last_job)

    # Processes

    def gone(self, node: str, incarnation: int) -> None:
        """Note that an incarnation is over."""
        self._gone.add((node, incarnation))

    def incarnated(self, node: str, incarnation: int) -> None:
        """Note a new incarnation: the ones before are over."""
        self._gone.update((node, number) for number in range(1, incarnation))

    # Users

    def acknowledged(self, job: int, index: int) -> None:
        """A client was told that its job is in."""
        self.acknowledged_count += 1
        self._acknowledged[job] = max(index, self._acknowledged.get(job, 0))

    def run_begins(self, run: Run) -> None:
        """A worker begins with a job."""
        earlier = self.runs.setdefault(run.job, [])
        self.again += bool(earlier)
        self.runs_count += 1
        for other in earlier:
            if other.broken or (other.node, other.incarnation) in self._gone:
                continue
            if run.broken or (run.node, run.incarnation) in self._gone:
                # The job came when the node had hung up; or the node is declared gone, and does not know it yet.
                continue
            # A node that lags behind may hand a job out when the group has counted its time limit as over.
            now = self.safety.table.now + SLACK_MS
            if any(one.limit and now >= one.began + one.limit for one in (other, run)):
                continue
            raise ViolationError(f"job {run.job} is run again without a failure: {other}, then {run}")
        earlier.append(run)
        self._serial.append(run)
        run.serial = len(self._serial)

    def told(self, job: int, serial: int) -> None:
        """A client was told how a run ended."""
        run = self._serial[serial - 1]
        if run.job != job or not run.over:
            raise ViolationError(f"the end of job {job} is told as that of {run}")

    def failed(self, job: int, *, exceptions: bool) -> None:
        """A client was told WORK_FAIL: as the worker's word, or without it. `exceptions`: it would be told of those."""
        runs = self.runs.get(job, ())
        if any(run.how is PacketType.WORK_FAIL for run in runs):
            return
        if not exceptions and any(run.how is PacketType.WORK_EXCEPTION for run in runs):
            return
        if self._ended.get(job, (0, ""))[1] in ("cancelled", "exhausted"):
            return
        self.lost += 1
        if not any((run.node, run.incarnation) in self._gone for run in runs):
            raise ViolationError(f"the result of job {job} is said to be lost, but no node that ran it is gone")

    def given(self, job: int, workload: bytes) -> None:
        """A worker was given a job."""
        known = self._submits.get(workload)
        if known != job:
            raise ViolationError(f"a worker is given the workload of job {known} as that of job {job}")

    def unknown(self, job: int) -> None:
        """A client was told that there is no such job."""
        over = job in self._ended or any(run.over for run in self.runs.get(job, ()))
        if job in self._acknowledged and not over:
            raise ViolationError(f"job {job} was acknowledged and has not ended, and is said to be unknown")

    def read_floor(self) -> int:
        """Give the index that a read asked for now must see: the highest that anybody has applied."""
        return self.safety.table_index

    def read_answered(self, floor: int, index: int, last_job: int) -> None:
        """Check a read that saw the table of `index`."""
        self.reads += 1
        if index < floor:
            raise ViolationError(f"a read saw index {index}, {floor} was applied before it was asked")
        position = index - self.first_index - 1
        known = self.last_jobs[min(position, len(self.last_jobs) - 1)] if position >= 0 and self.last_jobs else 0
        if position < len(self.last_jobs) and last_job != known:
            raise ViolationError(f"a read at {index} saw job {last_job} as the newest, it was {known}")

    # The end

    def unfinished(self) -> list[int]:
        """Give the acknowledged jobs that still are to be run."""
        return [job for job in self._acknowledged if job in self.safety.table.jobs]

    def check(self) -> None:
        """Check that everything acknowledged was run."""
        for job, index in self._acknowledged.items():
            ended, how = self._ended.get(job, (0, ""))
            if not how:
                raise ViolationError(f"job {job} was acknowledged at {index} and is gone without a trace")
            if ended < index:
                raise ViolationError(f"job {job} was acknowledged at {index} and had ended at {ended}")
            runs = self.runs.get(job, ())
            if how == "finished" and not any(run.over for run in runs):
                raise ViolationError(f"job {job} was finished by nobody")
            if how == "exhausted" and not runs:
                raise ViolationError(f"job {job} has used up its attempts, and no worker ever saw it")
