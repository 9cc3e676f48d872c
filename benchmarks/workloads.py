"""The rounds that are run against every server, and what is noted of each.

A workload is a short list of shapes played one after the other on one function; a drain runs what
the submit before it left queued. Figures are compared in `report`, the million in `backlog`.
"""

import itertools
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from benchmarks.errors import BenchmarkError, JobsUnaccountedError
from benchmarks.load import Crew, Result, Shape, play
from benchmarks.servers import Server

KIB = 1024
MIB = 1024 * KIB
SETTLING_SECONDS = 5.0
FOREGROUND_JOBS = 200_000  # more than any server answers in the seconds given

_function_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Step:
    """One measured round of a workload.

    Attributes:
        name: what the figure is called in the table.
        shape: what is done.
        drains: whether it runs the jobs of the step before.
    """

    name: str
    shape: Shape
    drains: bool = False


@dataclass(frozen=True, slots=True)
class Workload:
    """Steps that belong together."""

    name: str
    steps: tuple[Step, ...]

    def scaled(self, factor: float) -> "Workload":
        """Give the same work with jobs and seconds multiplied by `factor`."""
        return replace(
            self,
            steps=tuple(
                replace(
                    step,
                    shape=replace(
                        step.shape,
                        jobs=max(step.shape.clients * step.shape.window, int(step.shape.jobs * factor))
                        if step.shape.jobs
                        else 0,
                        seconds=step.shape.seconds * factor,
                    ),
                )
                for step in self.steps
            ),
        )


def _submit_and_drain(label: str, jobs: int, window: int, payload_bytes: int) -> Workload:
    return Workload(
        f"submit{label}",
        (
            Step(
                f"submit{label}",
                Shape(clients=4, jobs=jobs, window=window, payload_bytes=payload_bytes, seconds=1.5),
            ),
            Step(f"drain{label}", Shape(workers=4, payload_bytes=payload_bytes), drains=True),
        ),
    )


def _foreground(name: str, clients: int, workers: int, *, keyed: bool = False, sharers: int = 1) -> Workload:
    shape = Shape(
        clients=clients,
        workers=workers,
        jobs=FOREGROUND_JOBS,
        window=1,
        foreground=True,
        keyed=keyed,
        sharers=sharers,
        seconds=1.5,
    )
    return Workload(name, (Step(name, shape),))


WORKLOADS: dict[str, Workload] = {
    workload.name: workload
    for workload in (
        _submit_and_drain("", jobs=120_000, window=64, payload_bytes=100),
        Workload("mix", (Step("mix", Shape(clients=4, workers=4, jobs=60_000, seconds=1.5)),)),
        _foreground("foreground-1", clients=1, workers=1),
        _foreground("foreground-1-keyed", clients=1, workers=1, keyed=True),
        _foreground("foreground-16", clients=16, workers=16),
        _foreground("foreground-16-keyed", clients=16, workers=16, keyed=True),
        _foreground("foreground-16-joining", clients=16, workers=16, keyed=True, sharers=2),
        _foreground("foreground-256", clients=256, workers=64),
        _submit_and_drain("-10KiB", jobs=8_000, window=16, payload_bytes=10 * KIB),
        _submit_and_drain("-1MiB", jobs=200, window=2, payload_bytes=MIB),
    )
}

BASIC = ("submit", "mix", "foreground-1", "foreground-16", "foreground-256")
"""The workloads of 100-byte payloads, which are also run with a million jobs queued."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One figure of one server in one round.

    Attributes:
        work: name of the step.
        target: name of the server.
        round: rounds are paired by this number when ratios are formed.
        jobs: jobs done and accounted for.
        seconds: time they took.
        rate: jobs per second.
        p50: median latency in seconds, None without samples.
        p99: 99th percentile of the latency in seconds.
        client_busy: CPU use of the busiest client process of the generator, 1.0 is saturated.
        worker_busy: the same of its worker processes.
        generator_cpu_per_job: CPU seconds of the generator per job.
        server_cpu_per_job: CPU seconds of the server per job, in steps of 10 ms for the whole round.
        joined: share of the submits that joined a job of another client.
    """

    work: str
    target: str
    round: int
    jobs: int
    seconds: float
    rate: float
    p50: float | None
    p99: float | None
    client_busy: float
    worker_busy: float
    generator_cpu_per_job: float
    server_cpu_per_job: float
    joined: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Give plain data for JSON."""
        return asdict(self)


def new_function() -> bytes:
    """Give a function name no other round of this run has used."""
    return b"bench-%05d" % next(_function_numbers)


def measure(work: str, target: str, number: int, result: Result, server_cpu: float) -> Measurement:
    """Make the figures of one round."""
    jobs = max(1, result.jobs)
    return Measurement(
        work=work,
        target=target,
        round=number,
        jobs=result.jobs,
        seconds=result.seconds,
        rate=result.rate,
        p50=result.latency(0.5),
        p99=result.latency(0.99),
        client_busy=result.client_busy,
        worker_busy=result.worker_busy,
        generator_cpu_per_job=result.generator_cpu / jobs,
        server_cpu_per_job=server_cpu / jobs,
        joined=result.joined,
    )


def play_on(
    server: Server, work: str, shape: Shape, crew: Crew, function: bytes, queued: Sequence[range] = ()
) -> tuple[Result, float]:
    """Play one round; give its result and the CPU seconds it cost the server.

    Raises:
        BenchmarkError: with a note of the work, the server and what the server printed last.
    """
    before = server.cpu_seconds()
    try:
        result = play(shape, crew, function, queued)
    except BenchmarkError as error:
        error.add_note(f"in {work} on {server.name}, which said last: {server.last_words()}")
        raise
    return result, server.cpu_seconds() - before


def run_workload(
    workload: Workload, server: Server, crew: Crew, number: int, target: str | None = None
) -> list[Measurement]:
    """Play the steps of a workload against a running server.

    Args:
        workload: the steps.
        server: where.
        crew: processes of the generator; its addresses are replaced by those of the server.
        number: the round.
        target: name in the figures, the server's own when None.

    Raises:
        JobsUnaccountedError: a job was lost or repeated, or the server still holds one at the end.
    """
    crew = replace(crew, addresses=server.addresses)
    function = new_function()
    queued: Sequence[range] = ()
    measurements = []
    # What the last round wrote would otherwise be on its way to the disk during this one, whoever's it was.
    os.sync()
    for step in workload.steps:
        result, cpu = play_on(server, step.name, step.shape, crew, function, queued if step.drains else ())
        measurements.append(measure(step.name, target or server.name, number, result, cpu))
        queued = result.submitted
    # A worker's last word is not acknowledged: on another node than the worker's the end of a job is known later.
    deadline = time.monotonic() + SETTLING_SECONDS
    while (left := server.left(function)) and time.monotonic() < deadline:
        time.sleep(0.05)
    if left:
        raise JobsUnaccountedError(f"{server.name} still holds {left} jobs of {workload.name} after all were run")
    return measurements


Progress = Callable[[str], None]
"""Told what is being run, for a person who waits."""
