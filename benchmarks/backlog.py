"""The million: what a long queue costs in memory, at a restart, and in the rates of other work.

gearmesh is killed and restarted with its queue full, then measured in turn with an empty instance
of itself; gearmand's memory-only queue gives the memory and the drain to compare with. gearmand's
SQLite queue is left out: at its rate the million alone would take a quarter of an hour to submit.
"""

import signal
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from time import monotonic
from typing import Any

from benchmarks.errors import JobsUnaccountedError
from benchmarks.load import Crew, Result, Shape
from benchmarks.servers import Server
from benchmarks.workloads import BASIC, WORKLOADS, Measurement, Progress, measure, new_function, play_on, run_workload

FILL_SECONDS = 300.0
RESTART_SECONDS = 300.0
LOADED = "loaded"
EMPTY = "empty"


@dataclass(frozen=True, slots=True)
class Backlog:
    """What a long queue cost one server.

    Attributes:
        target: name of the server.
        jobs: jobs queued.
        resident_before: bytes resident before the first was submitted.
        resident_full: bytes resident with all queued.
        resident_restarted: bytes resident after the last restart, None without one.
        resident_drained: bytes resident after all were run.
        restart_killed: seconds from the start until ready after SIGKILL, None for a queue in memory.
        restart_stopped: the same after SIGTERM.
        measurements: figures of filling and draining, and of the rates with the queue full (target
            `loaded`) and beside it with none (target `empty`).
    """

    target: str
    jobs: int
    resident_before: int
    resident_full: int
    resident_restarted: int | None
    resident_drained: int
    restart_killed: float | None
    restart_stopped: float | None
    measurements: tuple[Measurement, ...]

    def as_dict(self) -> dict[str, Any]:
        """Give plain data for JSON."""
        return asdict(self)


def run_backlog(
    server: Server, empty: Server | None, crew: Crew, jobs: int, rounds: int, scale: float, progress: Progress
) -> Backlog:
    """Fill a running server, restart it if its queue is durable, measure it full, and drain it.

    Args:
        server: a fresh server.
        empty: a second instance to measure the rates against, None to leave the rates out.
        crew: processes of the generator.
        jobs: jobs to queue.
        rounds: rounds of the rates.
        scale: factor on the jobs and seconds of the rates.
        progress: told each step.

    Raises:
        JobsUnaccountedError: a job was lost, by a restart or otherwise, or run twice.
    """
    crew = replace(crew, addresses=server.addresses)
    function = new_function()
    resident_before = server.resident_bytes()
    progress(f"{server.name}: queue {jobs:,} jobs")
    filled, figure = _play(server, crew, "fill", Shape(clients=4, jobs=jobs, seconds=FILL_SECONDS), function)
    figures = [figure]
    resident_full = server.resident_bytes()
    killed = stopped = resident_restarted = None
    if server.durable:
        progress(f"{server.name}: kill, restart")
        killed = _restart(server, signal.SIGKILL, function, filled.jobs)
        progress(f"{server.name}: stop, restart")
        stopped = _restart(server, signal.SIGTERM, function, filled.jobs)
        resident_restarted = server.resident_bytes()
    if empty is not None:
        crew = replace(crew, addresses=server.addresses)
        figures += _rates(server, empty, crew, rounds, scale, progress)
    progress(f"{server.name}: drain {filled.jobs:,} jobs")
    crew = replace(crew, addresses=server.addresses)
    _drained, figure = _play(server, crew, "drain-all", Shape(workers=4), function, filled.submitted)
    figures.append(figure)
    left = server.left(function)
    if left:
        raise JobsUnaccountedError(f"{server.name} still holds {left} jobs after all were run")
    return Backlog(
        target=server.name,
        jobs=filled.jobs,
        resident_before=resident_before,
        resident_full=resident_full,
        resident_restarted=resident_restarted,
        resident_drained=server.resident_bytes(),
        restart_killed=killed,
        restart_stopped=stopped,
        measurements=tuple(figures),
    )


def _play(
    server: Server, crew: Crew, work: str, shape: Shape, function: bytes, queued: Sequence[range] = ()
) -> tuple[Result, Measurement]:
    result, cpu = play_on(server, work, shape, crew, function, queued)
    return result, measure(work, server.name, 0, result, cpu)


def _restart(server: Server, how: signal.Signals, function: bytes, expected: int) -> float:
    """Stop and start a server; give the seconds until it answers with its whole queue."""
    server.stop(how)
    began = monotonic()
    server.start(RESTART_SECONDS)
    kept = server.queued(function)
    seconds = monotonic() - began  # a server that answers before it knows its queue is not ready yet
    if kept != expected:
        raise JobsUnaccountedError(f"{server.name} had {expected} jobs queued and {kept} after {how.name} and a start")
    return seconds


def _rates(
    server: Server, empty: Server, crew: Crew, rounds: int, scale: float, progress: Progress
) -> list[Measurement]:
    figures = []
    for number in range(rounds):
        for name in BASIC:
            workload = WORKLOADS[name].scaled(scale)
            for target, instance in ((LOADED, server), (EMPTY, empty)):
                progress(f"{server.name} {target}: {name}, round {number + 1} of {rounds}")
                figures += run_workload(workload, instance, crew, number, target)
    return figures
