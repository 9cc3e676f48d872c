"""Keep the books of a load: which jobs were acknowledged, which were run and by whom, and what failed when.

At the end `Account.check` says what the promises of the server are worth: nothing that was acknowledged is lost, and
nothing is run again unless its worker, or its worker's node, had failed. Not for: making the load (`cluster_load`).
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import NamedTuple

SAME_MOMENT = 0.25
"""Seconds within which two connections may be heard of in either order."""


class WorkerLife:
    """One connection of a worker: to which node, and until when."""

    def __init__(self, worker: str, node: str) -> None:
        self.worker = worker
        self.node = node
        self.ended: float | None = None

    def end(self) -> None:
        """Note that the connection is over, however that came."""
        if self.ended is None:
            self.ended = time.monotonic()


class Run(NamedTuple):
    """A job in a worker's hands."""

    life: WorkerLife
    handle: bytes
    began: float

    def __str__(self) -> str:
        ended = "" if self.life.ended is None else f", whose connection ended at {self.life.ended:.3f}"
        return f"{self.life.worker} on {self.life.node} as {self.handle.decode()} at {self.began:.3f}{ended}"


class Failure(NamedTuple):
    """A time in which a node may do what a failed node does."""

    node: str
    what: str
    began: float
    ended: float | None


class Wait(NamedTuple):
    """How long a client waited for what it wanted."""

    seconds: float
    what: str
    at: float


class Repetition(NamedTuple):
    """A job that was run twice."""

    job: bytes
    first: Run
    second: Run
    excuse: str | None
    """What had failed, or None: a broken promise."""


class Figures(NamedTuple):
    """What an account comes to."""

    acknowledged: int
    run: int
    results: int
    lost: int
    repeated: int
    repeated_after_failures: int
    longest_wait: float
    heavy: int = 0
    """Large jobs that were acknowledged, or had their result."""
    longest_heavy_wait: float = 0.0

    def __str__(self) -> str:
        return (
            f"acknowledged {self.acknowledged:,}, run {self.run:,}, results {self.results:,}, lost {self.lost}, "
            f"duplicated {self.repeated}, run again after a failure {self.repeated_after_failures}, "
            f"longest wait {self.longest_wait:.2f} s; {self.heavy} large jobs, longest wait "
            f"{self.longest_heavy_wait:.2f} s"
        )


class Account:
    """The books of one load; times are of the monotonic clock."""

    def __init__(self) -> None:
        self.acknowledged: dict[bytes, float] = {}
        """Background jobs whose JOB_CREATED has come, and when."""
        self.handles: dict[bytes, bytes] = {}
        self.runs: dict[bytes, list[Run]] = {}
        self.results = 0
        """Foreground jobs whose client has the result."""
        self.broken: list[str] = []
        """Broken promises that are known already."""
        self.failures: list[Failure] = []
        self.longest_wait = Wait(0.0, "nothing", 0.0)
        self.heavy = 0
        self.longest_heavy_wait = self.longest_wait
        self._open: dict[tuple[str, str], float] = {}
        self._unrun: set[bytes] = set()
        self._due: dict[bytes, int] = {}

    # What clients and workers enter

    def acknowledge(self, job: bytes, handle: bytes) -> None:
        """A client was told that its background job is taken."""
        self.acknowledged[job] = time.monotonic()
        if job not in self.runs:
            self._unrun.add(job)
        if self.handles.setdefault(handle, job) != job:
            self.broken.append(f"the handle {handle!r} was given to {self.handles[handle]!r} and to {job!r}")

    def delay(self, job: bytes, due: int) -> None:
        """A client is about to submit a job that is due then (seconds since 1970)."""
        self._due[job] = due

    def run(self, job: bytes, handle: bytes, life: WorkerLife) -> None:
        """A worker was given a job."""
        if time.time() < self._due.get(job, 0):
            self.broken.append(f"{job!r} was run {self._due[job] - time.time():.3f} s before it was due")
        self._unrun.discard(job)
        self.runs.setdefault(job, []).append(Run(life, handle, time.monotonic()))

    def result(self, job: bytes, text: bytes) -> None:
        """A client was told the result of its job."""
        self.results += 1
        if text != job:
            self.broken.append(f"the result of {job!r} is that of {text!r}")
        if job not in self.runs:
            self.broken.append(f"{job!r} has a result, and nobody ran it")

    def no_result(self, job: bytes, node: str, since: float, how: str) -> None:
        """A client got no result: fair only when its own node failed since then, or one that had the job."""
        nodes = {node, *(run.life.node for run in self.runs.get(job, ()))}
        if not any(self._failure(name, since, time.monotonic()) for name in nodes):
            self.broken.append(f"{job!r} got no result: {how}")

    def waited(self, seconds: float, what: str) -> None:
        """A client has what it wanted, after so many seconds."""
        if seconds > self.longest_wait.seconds:
            self.longest_wait = Wait(seconds, what, time.monotonic())

    def waited_for_much(self, seconds: float, what: str) -> None:
        """A client has what it wanted of a large job, after so many seconds."""
        self.heavy += 1
        if seconds > self.longest_heavy_wait.seconds:
            self.longest_heavy_wait = Wait(seconds, what, time.monotonic())

    # What was done to the nodes

    def failed(self, node: str, what: str) -> None:
        """From now on, excuse what a node does that failed this way."""
        self._open.setdefault((node, what), time.monotonic())

    def recovered(self, node: str, what: str) -> None:
        """From now on, hold it to the promises again."""
        began = self._open.pop((node, what))
        self.failures.append(Failure(node, what, began, time.monotonic()))

    @contextmanager
    def failing(self, node: str, what: str) -> Iterator[None]:
        """Excuse a node for as long as this lasts."""
        self.failed(node, what)
        try:
            yield
        finally:
            self.recovered(node, what)

    # What it comes to

    @property
    def outstanding(self) -> int:
        """How many jobs are acknowledged and not run: at the end, those are lost."""
        return len(self._unrun)

    def repetitions(self) -> list[Repetition]:
        """Give the jobs that were run again, and what excuses it."""
        return [
            Repetition(job, first, second, self._excuse(first, second))
            for job, runs in self.runs.items()
            for first, second in pairwise(runs)
        ]

    def figures(self) -> Figures:
        """Sum up."""
        repetitions = self.repetitions()
        unexcused = sum(repetition.excuse is None for repetition in repetitions)
        return Figures(
            acknowledged=len(self.acknowledged),
            run=len(self.runs),
            results=self.results,
            lost=self.outstanding,
            repeated=unexcused,
            repeated_after_failures=len(repetitions) - unexcused,
            longest_wait=self.longest_wait.seconds,
            heavy=self.heavy,
            longest_heavy_wait=self.longest_heavy_wait.seconds,
        )

    def violations(self) -> list[str]:
        """Give every broken promise, in words, at the end."""
        return [
            *self.violations_so_far(),
            *(f"{job!r} was acknowledged at {self.acknowledged[job]:.3f} and never run" for job in sorted(self._unrun)),
        ]

    def violations_so_far(self) -> list[str]:
        """Give the broken promises that are known while jobs may still be run."""
        return [
            *self.broken,
            *(
                f"{again.job!r} was run twice without a failure: by {again.first}, then by {again.second}"
                for again in self.repetitions()
                if again.excuse is None
            ),
        ]

    def _excuse(self, first: Run, second: Run) -> str | None:
        if first.handle != second.handle:
            return None  # one submit has become two jobs
        if first.life.ended is not None and first.life.ended <= second.began + SAME_MOMENT:
            return f"the connection of {first.life.worker} had ended"
        for node in (first.life.node, second.life.node):
            failure = self._failure(node, first.began, second.began)
            if failure is not None:
                return f"{node} had failed: {failure}"
        return None

    def _failure(self, node: str, since: float, until: float) -> str | None:
        """Say what was wrong with a node at some time between two."""
        for failure in self.failures:
            if failure.node == node and failure.began <= until and (failure.ended or until) >= since:
                return failure.what
        for (failed, what), began in self._open.items():
            if failed == node and began <= until:
                return what
        return None
