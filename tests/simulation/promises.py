"""What the cluster promises its users, and whether it kept it.

- What was acknowledged is run: in the end every acknowledged job was finished by a worker, cancelled, or failed for
  want of further attempts.
- Nothing is run twice without a failure: a second run needs the end of the first one's connection or node, or its time
  limit. What was submitted once is one job, however often its command travelled.
- A node is declared down only for a reason that the documents give (README, "What it promises"; docs/architecture.md,
  "Who is alive"): its process is over; or the leader heard nothing of it for `--node-timeout`, in which it ran itself;
  or it is no member, and that is committed.
- A node that is a member hangs up on everybody only when its sessions are over, when it has heard no leader for longer
  than an election takes, when its disk has kept it from being heard for as long, or when too many processes are over
  for any leader.
- A result comes, once, unless the node that had it is gone; and what comes before it comes in order.
- A linearizable read sees everything that was known anywhere before it was asked.

What happened in the world is what `truth` says; the word of a node, or of the table, excuses nothing by itself.

Not for: when things happen (`punctuality`), and in which order jobs are given out (`model`).
"""

from typing import Any, Final

from cluster.jobs import Cancel, Finish, Job, JobTable, Proposal
from cluster.log import Entry
from protocol import PacketType
from tests.simulation.journal import ViolationError
from tests.simulation.punctuality import Punctuality
from tests.simulation.runs import Run
from tests.simulation.safety import Safety
from tests.simulation.schedule import MS, SECOND
from tests.simulation.truth import SHORT, Truth

SLACK: Final = 2 * MS
"""Clocks are read in whole milliseconds, at the beginning and at the end."""
SINCE_SHORT: Final = 10 * SECOND
"""For so long after a node had too little of something this may be what others know: it can be out of their reach, and
is declared down then, which takes an election where it led."""
ORDERING: Final = 4 * SECOND
"""For so long a leader's word that a node is down may be on its way to the log: the disks are slow."""


SINCE_CHANGED: Final = 10 * SECOND
"""For so long after a change of the configuration a node may not know that it is committed."""
LEADERLESS: Final = 3 * SECOND
"""For so long without a leader clients wait at the least. A node waits a second longer; what the leader sent may have
come to it in vain, since it knew of a later term."""


class Promises:
    """The book that is kept about all jobs of a run."""

    def __init__(self, truth: Truth, retries: int, *, exact: bool = False, ahead: int = 0) -> None:
        """`retries`: how often a job is tried again after a failure; -1: always.

        `exact` and `ahead`: as in `Punctuality`.
        """
        self.truth = truth
        self.retries = retries
        self._exact = exact
        self._ahead = ahead
        self.safety: Safety
        self.punctuality: Punctuality
        self.runs: dict[int, list[Run]] = {}
        self._serial: list[Run] = []
        self._acknowledged: dict[int, int] = {}
        """Jobs, and the index at which the latest acknowledged submit took effect."""
        self._ended: dict[int, tuple[int, str]] = {}
        """How each job left the table, and at which index."""
        self._over: set[tuple[str, int]] = set()
        """Incarnations of nodes that were declared down, for a reason that there was, or that a snapshot ended."""
        self._declared: dict[tuple[str, int], list[str]] = {}
        """Incarnations that the present entry declares down, and the leader that decided it."""
        self._last_voters: tuple[str, ...] = ()
        self._voters: list[tuple[int, tuple[str, ...]]] = []
        """Until when each earlier configuration held, and its voters."""
        self._submits: dict[bytes, int] = {}
        self._there: dict[int, Any] = {}
        self._before: dict[int, Job] = {}
        self._last = 0
        self.last_jobs: list[int] = []
        """The number of the newest job as of each index, from the first entry on."""
        self.first_index = 0
        self.acknowledged_count = self.runs_count = self.again = self.reads = self.lost = self.refused_count = 0

    # The one sequence of entries

    def begin(self, safety: Safety) -> None:
        """Follow this log."""
        self.safety = safety
        self.punctuality = Punctuality(self.truth, safety.model, self._ahead, exact=self._exact)
        self.first_index = safety.table_index
        self._last_voters = safety.configuration.voters

    def entering(self, entry: Entry, proposal: Proposal, table: JobTable) -> None:
        """Look at the table before an entry."""
        there = self._there
        there.clear()
        if self.retries >= 0:
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

        for decision in proposal.decisions:
            node = table.nodes.get(decision.node)
            if node is not None and node.up and node.incarnation == decision.incarnation:
                leader = self.safety.leader_of(entry.term)
                self._declared.setdefault((decision.node, decision.incarnation), []).append(leader)

    def entered(self, entry: Entry, proposal: Proposal, table: JobTable) -> None:
        """Look at it after."""
        self.punctuality.entered()
        if self.safety.configuration.voters != self._last_voters:
            self._voters.append((self.truth.now, self._last_voters))
            self._last_voters = self.safety.configuration.voters
        if self._declared:
            self._check_declared(table)
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

    # Who is down

    def _check_declared(self, table: JobTable) -> None:
        """Check the word that nodes are down, where the table took it."""
        for (name, incarnation), authors in self._declared.items():
            node = table.nodes[name]
            if node.up and node.incarnation == incarnation:
                raise ViolationError(f"{name} is declared down, incarnation {incarnation}, and the table has it up")
            if not any(self._is_down(name, incarnation, author) for author in authors):
                raise ViolationError(
                    f"{' and '.join(authors)} declares {name} down, incarnation {incarnation}, for no reason;"
                    f" {self.truth.about(name, *authors)}"
                )
            self._over.add((name, incarnation))
        self._declared.clear()

    def _is_down(self, name: str, incarnation: int, author: str) -> bool:
        """Tell whether a leader had a reason to declare a node down."""
        truth = self.truth
        since = max(truth.incarnated_at(name, incarnation), truth.now - ORDERING)
        return (
            truth.dead(truth.life_of(name, incarnation))
            or truth.silent(author, name, since)
            or name not in self.safety.configuration.members
        )

    def replaced(self, node: str, incarnation: int) -> None:
        """Note that a snapshot took the place of a node's table: the sessions of its incarnation are over."""
        self._over.add((node, incarnation))

    def hung_up(self, node: str, disk_busy: int = 0) -> None:
        """Note that a node hangs up on everybody, because it has no leader, cannot be heard, or is no member.

        `disk_busy`: for how long its disk has had something to do. It cannot be heard before that has its term.
        """
        if disk_busy >= LEADERLESS:
            return
        if self.truth.settled and node in self.safety.configuration.members:
            raise ViolationError(f"{node} hangs up on everybody, and nothing goes wrong; {self.truth.about(node)}")
        if node not in self.safety.configuration.members:
            return
        # It may have had no leader for a while, and then one in a term that its disk did not take.
        leaderless = self.truth.leaderless_for(node) + disk_busy
        if leaderless < LEADERLESS and all(self._may_have_quorum(node, voters) for voters in self._recent_voters()):
            raise ViolationError(
                f"{node} hangs up on everybody, {leaderless / SECOND:.1f} s after it heard a leader;"
                f" {self.truth.about(node)}"
            )

    def _may_have_quorum(self, node: str, voters: tuple[str, ...]) -> bool:
        """Tell whether a majority of voters may be there, as far as a node can know."""
        return sum(not self.truth.seems_dead(voter, node) for voter in voters) > len(voters) // 2

    def _recent_voters(self) -> list[tuple[str, ...]]:
        """Give the voters that a node may know of: those of the last configuration, and those of lately."""
        recent = [voters for until, voters in self._voters if until > self.truth.now - SINCE_CHANGED]
        return [*recent, self._last_voters, self.safety.configuration.voters]

    # Users

    def acknowledged(self, job: int, index: int) -> None:
        """A client was told that its job is in."""
        self.acknowledged_count += 1
        self._acknowledged[job] = max(index, self._acknowledged.get(job, 0))

    def no_room(self, text: bytes) -> None:
        """A client was told that a node has too little memory or disk space, or had when it submitted."""
        self.refused_count += 1
        if not any(self.truth.had(SHORT, node, SINCE_SHORT) for node in self.truth.nodes):
            raise ViolationError(f"a client is told {text!r}, and no node has too little of anything")

    def run_begins(self, run: Run) -> None:
        """A worker begins with a job."""
        earlier = self.runs.setdefault(run.job, [])
        self.again += bool(earlier)
        self.runs_count += 1
        for other in earlier:
            # It may have been given out before the other, and have come later.
            if not self._failed(other) and not self._failed(run):
                raise ViolationError(
                    f"job {run.job} is run again without a failure: {other}, then {run};"
                    f" {self.truth.about(other.node, run.node)}"
                )
        earlier.append(run)
        self.punctuality.begins(run)
        self._serial.append(run)
        run.serial = len(self._serial)

    def _failed(self, run: Run) -> bool:
        """Tell whether there was a reason to run a job again."""
        return (
            run.broken or self.truth.dead(run.life) or (run.node, run.incarnation) in self._over or self._overdue(run)
        )

    def _overdue(self, run: Run) -> bool:
        """Tell whether a run's time limit may be over.

        The leader that saw its beginning and the one that says what time it is now may both be wrong, to different
        sides.
        """
        if not run.limit:
            return False
        tolerance = SLACK + 2 * self.truth.clock_error(run.began)
        return self.truth.now - run.began >= run.limit * MS - tolerance

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
        how = self._ended.get(job, (0, ""))[1]
        if how == "exhausted" and sum(map(self._failed, runs)) <= self.retries:
            raise ViolationError(f"job {job} has used up its {self.retries + 1} attempts by {runs}")
        if how in ("cancelled", "exhausted"):
            return
        self.lost += 1
        if not any(self.truth.dead(run.life) or (run.node, run.incarnation) in self._over for run in runs):
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
