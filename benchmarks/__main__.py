"""`python -m benchmarks`: the same work against gearmesh and gearmand, in turn, in one run."""

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from time import monotonic
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.backlog import Backlog, run_backlog
from benchmarks.ceiling import measure_ceiling
from benchmarks.errors import BenchmarkError
from benchmarks.load import Crew
from benchmarks.report import WIDTH, Report
from benchmarks.servers import TARGETS, Gearmand, Gearmesh, Server
from benchmarks.takeover import Restarts, Takeovers, measure_deaths, measure_restarts
from benchmarks.workloads import WORKLOADS, Measurement, run_workload

MILLION = "million"
CEILING = "ceiling"
DEATHS = "deaths"
RESTARTS = "rolling-restart"
CHOICES = [*WORKLOADS, MILLION, CEILING]
CLUSTER_CHOICES = [
    *("submit", "mix", "foreground-1", "foreground-1-keyed"),
    *("foreground-16", "foreground-16-keyed", "foreground-16-joining", "foreground-256"),
    *(DEATHS, RESTARTS),
]
"""What several nodes are measured with unless more is asked for."""
KNOWN = [*CHOICES, DEATHS, RESTARTS]
FULL_KILLS = 20
QUICK_KILLS = 3
FULL_RESTARTS = 3
FULL_ROUNDS = 5
QUICK_ROUNDS = 2
QUICK_SCALE = 0.25
QUICK_BACKLOG = 50_000
FULL_BACKLOG = 1_000_000
BACKLOG_ROUNDS = 3


class Bench:
    """One run: its servers, started once and measured in turn."""

    def __init__(
        self,
        scratch: Path,
        crew: Crew,
        console: Console,
        *,
        nodes: int,
        profile: Path | None,
        fresh: bool,
    ) -> None:
        self._scratch = scratch
        self._crew = crew
        self._console = console
        self._nodes = nodes
        self._profile = profile
        self._fresh = fresh
        self._began = monotonic()
        self._made = 0

    def say(self, text: str) -> None:
        """Tell a waiting person what goes on, on the error stream."""
        self._console.print(f"[{monotonic() - self._began:6.1f} s] {text}", highlight=False, markup=False)

    def server(self, kind: type[Server], stack: ExitStack) -> Server:
        """Start a server of a kind that ends with the stack."""
        self._made += 1
        directory = self._scratch / f"{self._made}-{kind.name}"
        server: Server
        if kind is Gearmesh:
            profile = None if self._profile is None else self._profile / f"{self._made}-gearmesh"
            server = Gearmesh(directory, self._nodes, profile)
        else:
            server = kind(directory)
        stack.callback(server.remove)
        server.start()
        if self._profile is not None:
            stack.callback(server.stop)  # a profile is written by an orderly end
        return server

    def rates(self, kinds: list[type[Server]], workloads: list[str], rounds: int, scale: float) -> list[Measurement]:
        """Run the workloads in turn against all servers; the first round warms up and is not noted."""
        figures = []
        with ExitStack() as stack:
            servers = {} if self._fresh else {kind: self.server(kind, stack) for kind in kinds}
            for number in range(-1, rounds):
                for name in workloads:
                    workload = WORKLOADS[name].scaled(scale if number >= 0 else scale / 4)
                    for kind in kinds:
                        self.say(f"round {number + 1} of {rounds}: {name} on {kind.name}")
                        with ExitStack() as own:
                            server = servers.get(kind) or self.server(kind, own)
                            found = run_workload(workload, server, self._crew, number)
                        figures += found if number >= 0 else []
        return figures

    def backlog(self, kinds: list[type[Server]], jobs: int, rounds: int, scale: float) -> list[Backlog]:
        """Run the long queue against gearmesh and against gearmand's memory."""
        backlogs = []
        for kind in (kind for kind in kinds if kind in (Gearmesh, Gearmand)):
            with ExitStack() as stack:
                server = self.server(kind, stack)
                empty = self.server(kind, stack) if kind is Gearmesh else None
                backlogs.append(run_backlog(server, empty, self._crew, jobs, rounds, scale, self.say))
        return backlogs


def environment(scratch: Path, *, options: str) -> dict[str, str]:
    """Describe the machine and the versions of what is measured."""
    facts = {
        "machine": platform.platform(),
        "cores": str(os.cpu_count()),
        "load": f"{os.getloadavg()[0]:.2f}",
        "python": platform.python_version(),
        "options": options,
    }
    if Gearmand.missing() is None:
        answer = subprocess.run(["gearmand", "--version"], capture_output=True, text=True, check=False)
        facts["gearmand"] = answer.stdout.split(" - ")[0].strip()
    filesystem = subprocess.run(["stat", "-f", "-c", "%T", str(scratch)], capture_output=True, text=True, check=False)
    if filesystem.returncode == 0:
        facts["filesystem"] = filesystem.stdout.strip()
    return facts


class OutsideLoad:
    """Tells how much of the machine went to processes that are not part of the run (on Linux)."""

    NOTABLE = 0.05

    def __init__(self) -> None:
        self._began = monotonic()
        self._busy = self._busy_seconds()
        self._own = self._own_seconds()

    @staticmethod
    def _busy_seconds() -> float:
        try:
            user, nice, system, _idle, _iowait, irq, softirq, *_rest = map(
                int, Path("/proc/stat").read_text().splitlines()[0].split()[1:]
            )
        except OSError:
            return 0.0
        return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")

    @staticmethod
    def _own_seconds() -> float:
        times = os.times()
        return times.user + times.system + times.children_user + times.children_system

    def notes(self) -> list[str]:
        """Give a warning when others were busy, after all children of this process have ended."""
        others = (self._busy_seconds() - self._busy) - (self._own_seconds() - self._own)
        share = others / ((monotonic() - self._began) * (os.cpu_count() or 1))
        if share < self.NOTABLE:
            return []
        return [f"other processes used {share:.0%} of the machine during the run: no ratio here is evidence"]


def _chosen(given: list[str] | None, known: list[str], what: str) -> list[str]:
    for name in given or ():
        if name not in known:
            raise typer.BadParameter(f"no {what} {name!r}; there are {', '.join(known)}")
    return [name for name in known if not given or name in given]


def main(
    workload: Annotated[
        list[str] | None,
        typer.Option(help=f"Only these: {', '.join(CHOICES)}; and, of several nodes, {DEATHS}, {RESTARTS}."),
    ] = None,
    target: Annotated[list[str] | None, typer.Option(help=f"Only these servers: {', '.join(TARGETS)}.")] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Rounds of each workload on each server.")] = None,
    jobs: Annotated[int | None, typer.Option(min=1000, help="Jobs of the long queue.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all figures to this file.")] = None,
    nodes: Annotated[int, typer.Option(min=1, help="Nodes of gearmesh; connections are spread over them.")] = 1,
    client_processes: Annotated[int, typer.Option(min=1, help="Processes of the generator that submit.")] = 1,
    worker_processes: Annotated[int, typer.Option(min=1, help="Processes of the generator that work.")] = 1,
    scratch: Annotated[
        Path, typer.Option(help="Where the servers keep their files; on the kind of disk that is to be measured.")
    ] = Path("build/benchmarks"),
    profile: Annotated[
        Path | None, typer.Option(help="Run gearmesh under a sampling profiler; profiles go to this directory.")
    ] = None,
    *,
    quick: Annotated[bool, typer.Option("--quick", help="Short rounds and a tenth of the long queue.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start a new server for every workload and round.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Exit with 1 when a target is not met.")] = False,
) -> None:
    """Measure gearmesh and gearmand with the same load and print rates, latencies and ratios."""
    chosen = _chosen(workload or (CLUSTER_CHOICES if nodes > 1 else CHOICES), KNOWN, "workload")
    if nodes == 1 and {DEATHS, RESTARTS} & set(chosen):
        raise typer.BadParameter(f"{DEATHS} and {RESTARTS} are for several nodes: --nodes 3")
    names = _chosen(target, list(TARGETS), "target")
    notes = [f"{name} is left out: {why}" for name in names if (why := TARGETS[name].missing())]
    kinds = [TARGETS[name] for name in names if not TARGETS[name].missing()]
    rounds = rounds or (QUICK_ROUNDS if quick else FULL_ROUNDS)
    scale = QUICK_SCALE if quick else 1.0
    backlog_jobs = jobs or (QUICK_BACKLOG if quick else FULL_BACKLOG)
    crew = Crew((), client_processes, worker_processes)
    scratch.mkdir(parents=True, exist_ok=True)
    if profile is not None:
        profile.mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(dir=scratch)).resolve()
    facts = environment(directory, options=" ".join(sys.argv[1:]) or "none")
    outside = OutsideLoad()
    bench = Bench(directory, crew, Console(stderr=True), nodes=nodes, profile=profile, fresh=fresh)
    figures: list[Measurement] = []
    backlogs: list[Backlog] = []
    takeovers: list[Takeovers] = []
    restarts: Restarts | None = None
    try:
        ceiling = measure_ceiling(crew) if CEILING in chosen else {}
        timed = [name for name in chosen if name in WORKLOADS]
        if timed:
            figures = bench.rates(kinds, timed, rounds, scale)
        if MILLION in chosen:
            backlogs = bench.backlog(kinds, backlog_jobs, 1 if quick else BACKLOG_ROUNDS, scale)
        if DEATHS in chosen:
            takeovers = measure_deaths(directory / DEATHS, nodes, QUICK_KILLS if quick else FULL_KILLS, bench.say)
        if RESTARTS in chosen:
            restarts = measure_restarts(directory / RESTARTS, nodes, 1 if quick else FULL_RESTARTS, bench.say)
    except BenchmarkError as error:
        raise SystemExit("\n".join([f"benchmark failed: {error}", *getattr(error, "__notes__", ())])) from error
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    notes += outside.notes()
    if quick:
        notes.append("a quick run shows that everything works; its ratios are no evidence")
    report = Report(facts, tuple(figures), tuple(backlogs), ceiling, tuple(notes), nodes, tuple(takeovers), restarts)
    report.print(Console() if sys.stdout.isatty() else Console(width=WIDTH))
    if json_file is not None:
        json_file.write_text(json.dumps(report.as_dict(), indent=2) + "\n")
    if check and not all(verdict.met for verdict in report.verdicts):
        raise SystemExit(1)


if __name__ == "__main__":
    typer.run(main)
