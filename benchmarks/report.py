"""From figures to tables: medians, ratios, and the targets gearmesh has set itself.

A ratio is formed within each round, from two figures taken one right after the other, and the
median of those ratios is reported: the machine's mood changes more between rounds than within one.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.backlog import EMPTY, LOADED, Backlog
from benchmarks.load import Result
from benchmarks.servers import Gearmand, GearmandSqlite, Gearmesh
from benchmarks.takeover import Restarts, Takeovers
from benchmarks.workloads import Measurement

SUBJECT = Gearmesh.name
RATIO_TARGETS: dict[tuple[str, str], float] = {
    ("submit", GearmandSqlite.name): 40.0,
    ("submit", Gearmand.name): 0.2,
    ("drain", Gearmand.name): 0.7,
    ("mix", Gearmand.name): 0.7,
    ("foreground-1", Gearmand.name): 0.3,
    ("foreground-1-keyed", Gearmand.name): 0.3,
    ("foreground-16", Gearmand.name): 0.7,
    ("foreground-256", Gearmand.name): 0.7,
}
"""Least ratio of gearmesh's rate to that of the server named."""

CLUSTER_RATIO_TARGETS: dict[tuple[str, str], float] = {
    ("submit", GearmandSqlite.name): 20.0,
    ("mix", Gearmand.name): 0.3,
}
"""The same for several nodes."""

CLUSTER_FOREGROUND = ("foreground-1", "foreground-1-keyed")
CLUSTER_FOREGROUND_TARGET = 0.002
"""Seconds of the median foreground job of a lone client, which is on another node than the worker."""
TAKEOVER_TARGET = 2.0
"""Seconds until others have taken over from a dead node."""
LONGEST_WAIT_TARGET = 2.0
"""Seconds that no client waits longer during a rolling restart."""
UNKEYED = {
    "foreground-1-keyed": "foreground-1",
    "foreground-16-keyed": "foreground-16",
    "foreground-16-joining": "foreground-16",
}
"""The work that is the same but for the unique keys."""
RESIDENT_TARGET = 1_300_000_000
RESTART_TARGET = 20.0
LOADED_TARGET = 0.8
WIDTH = 140


@dataclass(frozen=True, slots=True)
class Verdict:
    """One target and what was reached.

    Attributes:
        what: the figure.
        against: what it is compared with.
        wanted: the target, as text.
        reached: the figure, as text.
        met: whether the target is met.
    """

    what: str
    against: str
    wanted: str
    reached: str
    met: bool


def ratios(figures: Iterable[Measurement], work: str, ours: str, theirs: str) -> list[float]:
    """Give the ratio of two servers' rates in each round that has both."""
    rates: dict[tuple[str, int], float] = {
        (figure.target, figure.round): figure.rate for figure in figures if figure.work == work
    }
    return [
        rate / rates[theirs, number]
        for (target, number), rate in sorted(rates.items())
        if target == ours and rates.get((theirs, number))
    ]


def ratio_verdicts(
    figures: Sequence[Measurement], targets: Mapping[tuple[str, str], float] = RATIO_TARGETS
) -> list[Verdict]:
    """Hold the ratios of a run against their targets; those not measured are left out."""
    verdicts = []
    for (work, against), wanted in targets.items():
        found = ratios(figures, work, SUBJECT, against)
        if found:
            reached = median(found)
            verdicts.append(Verdict(work, against, f">= {wanted:g} x", _spread(found), reached >= wanted))
    return verdicts


def cluster_verdicts(
    figures: Sequence[Measurement], takeovers: Sequence[Takeovers], restarts: Restarts | None
) -> list[Verdict]:
    """Hold the figures that only a cluster has against their targets."""
    verdicts = []
    for work in CLUSTER_FOREGROUND:
        halves = [
            figure.p50
            for figure in figures
            if (figure.work, figure.target) == (work, SUBJECT) and figure.p50 is not None
        ]
        if halves:
            verdicts.append(
                Verdict(
                    f"{work}, p50",
                    "client and worker on followers",
                    f"<= {CLUSTER_FOREGROUND_TARGET * 1e3:g} ms",
                    f"{median(halves) * 1e3:.2f} ms ({min(halves) * 1e3:.2f}-{max(halves) * 1e3:.2f})",
                    median(halves) <= CLUSTER_FOREGROUND_TARGET,
                )
            )
    verdicts += [
        Verdict(
            takeover.what,
            f"worst of {len(takeover.seconds)} kills",
            f"<= {TAKEOVER_TARGET:g} s",
            f"{takeover.worst:.2f} s (median {takeover.median:.2f})",
            takeover.worst <= TAKEOVER_TARGET,
        )
        for takeover in takeovers
    ]
    if restarts is not None:
        account = restarts.account
        repeated = account.repeated + account.repeated_after_failures
        under = f"{account.run:,} jobs"
        verdicts += [
            Verdict("rolling restart: jobs lost", under, "0", str(account.lost), account.lost == 0),
            Verdict("rolling restart: jobs run twice", under, "0", str(repeated), repeated == 0),
            Verdict(
                "rolling restart: longest wait of a client",
                under,
                f"<= {LONGEST_WAIT_TARGET:g} s",
                f"{account.longest_wait:.2f} s",
                account.longest_wait <= LONGEST_WAIT_TARGET,
            ),
        ]
    return verdicts


def backlog_verdicts(backlog: Backlog) -> list[Verdict]:
    """Hold what a long queue cost against the targets."""
    queue = f"{backlog.jobs:,} queued"
    resident = max(backlog.resident_full, backlog.resident_restarted or 0)
    verdicts = [
        Verdict(
            "resident memory", queue, f"<= {RESIDENT_TARGET / 1e6:,.0f} MB", _mb(resident), resident <= RESIDENT_TARGET
        )
    ]
    for how, seconds in (("SIGKILL", backlog.restart_killed), ("SIGTERM", backlog.restart_stopped)):
        if seconds is not None:
            met = seconds <= RESTART_TARGET
            verdicts.append(Verdict(f"restart after {how}", queue, f"<= {RESTART_TARGET:g} s", f"{seconds:.1f} s", met))
    for work in dict.fromkeys(figure.work for figure in backlog.measurements):
        found = ratios(backlog.measurements, work, LOADED, EMPTY)
        if found:
            met = median(found) >= LOADED_TARGET
            verdicts.append(Verdict(work, "itself, empty", f">= {LOADED_TARGET:g} x", _spread(found), met))
    return verdicts


def _spread(values: Sequence[float]) -> str:
    if len(values) == 1:
        return f"{_short(values[0])} x"
    return f"{_short(median(values))} x ({_short(min(values))}-{_short(max(values))})"


def _short(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def _mb(size: int | None) -> str:
    return "-" if size is None else f"{size / 1e6:,.0f} MB"


def _milliseconds(values: Iterable[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{median(known) * 1e3:,.2f}" if known else "-"


def _busy(figures: Sequence[Measurement]) -> str:
    clients = median(figure.client_busy for figure in figures)
    workers = median(figure.worker_busy for figure in figures)
    return f"{clients:.2f} {workers:.2f}"


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index < 2 else "right", no_wrap=True)
    return table


def rates_table(title: str, figures: Sequence[Measurement], subject: str = SUBJECT) -> Table:
    """Show the median of each figure per work and server, and the subject's ratio to the others."""
    table = _table(
        title,
        "work",
        "server",
        "jobs/s",
        "low-high",
        "p50 ms",
        "p99 ms",
        "server us/job",
        "generator busy",
        f"{subject} is",
    )
    for work in dict.fromkeys(figure.work for figure in figures):
        for target in dict.fromkeys(figure.target for figure in figures):
            own = [figure for figure in figures if (figure.work, figure.target) == (work, target)]
            if not own:
                continue
            rates = [figure.rate for figure in own]
            found = ratios(figures, work, subject, target) if target != subject else []
            table.add_row(
                work,
                target,
                f"{median(rates):,.0f}",
                f"{min(rates):,.0f}-{max(rates):,.0f}",
                _milliseconds(figure.p50 for figure in own),
                _milliseconds(figure.p99 for figure in own),
                f"{median(figure.server_cpu_per_job for figure in own) * 1e6:.1f}",
                _busy(own),
                _spread(found) if found else "",
            )
    return table


def keys_table(figures: Sequence[Measurement]) -> Table:
    """Show what unique keys cost each server: the median of its CPU time per job over that without keys, by round."""
    table = _table(
        "What unique keys cost (ratios are medians of each round's)",
        "work",
        "server",
        "server us/job",
        "without keys",
        "cost (low-high)",
        "submits that joined",
    )
    by_round = {(figure.work, figure.target, figure.round): figure for figure in figures}
    for work, unkeyed in UNKEYED.items():
        for target in dict.fromkeys(figure.target for figure in figures):
            pairs = [
                (figure, by_round[unkeyed, target, figure.round])
                for figure in figures
                if (figure.work, figure.target) == (work, target) and (unkeyed, target, figure.round) in by_round
            ]
            costs = [
                figure.server_cpu_per_job / other.server_cpu_per_job
                for figure, other in pairs
                if other.server_cpu_per_job
            ]
            if costs:
                table.add_row(
                    work,
                    target,
                    f"{median(figure.server_cpu_per_job for figure, _ in pairs) * 1e6:.1f}",
                    f"{median(other.server_cpu_per_job for _, other in pairs) * 1e6:.1f}",
                    _spread(costs),
                    f"{median(figure.joined for figure, _ in pairs):.1%}",
                )
    return table


def backlog_table(backlogs: Sequence[Backlog]) -> Table:
    """Show memory and restarts of each server with a long queue."""
    table = _table(
        "A long queue",
        "server",
        "jobs",
        "before",
        "full",
        "bytes/job",
        "restarted",
        "drained",
        "restart after SIGKILL",
        "after SIGTERM",
    )
    for backlog in backlogs:
        table.add_row(
            backlog.target,
            f"{backlog.jobs:,}",
            _mb(backlog.resident_before),
            _mb(backlog.resident_full),
            f"{(backlog.resident_full - backlog.resident_before) / max(1, backlog.jobs):,.0f}",
            _mb(backlog.resident_restarted),
            _mb(backlog.resident_drained),
            "-" if backlog.restart_killed is None else f"{backlog.restart_killed:.1f} s",
            "-" if backlog.restart_stopped is None else f"{backlog.restart_stopped:.1f} s",
        )
    return table


def ceiling_table(results: dict[str, Result]) -> Table:
    """Show what the generator reaches against a server that does nothing."""
    table = _table(
        "Ceiling of the load generator, against a sink on the same cores",
        "work",
        "",
        "jobs/s",
        "jobs per CPU second of the generator",
        "generator busy",
    )
    for work, result in results.items():
        table.add_row(
            work,
            "",
            f"{result.rate:,.0f}",
            f"{result.jobs / result.generator_cpu:,.0f}" if result.generator_cpu else "-",
            f"{result.client_busy:.2f} {result.worker_busy:.2f}",
        )
    return table


def verdict_table(verdicts: Sequence[Verdict]) -> Table:
    """Show each target, what was reached, and whether that is enough."""
    table = _table("Targets", "figure", "against", "wanted", "reached (low-high)", "")
    for verdict in verdicts:
        table.add_row(
            verdict.what, verdict.against, verdict.wanted, verdict.reached, "met" if verdict.met else "NOT MET"
        )
    return table


@dataclass(frozen=True, slots=True)
class Report:
    """Everything one run found out.

    Attributes:
        environment: machine, versions and options, by name.
        figures: the rounds of the workloads.
        backlogs: the long queue, per server.
        ceiling: the generator's own limits, by work.
        notes: what was left out, and why.
        nodes: how many nodes of gearmesh were measured.
        takeovers: what the death of a node cost.
        restarts: what a rolling restart cost, None if there was none.
    """

    environment: dict[str, str]
    figures: tuple[Measurement, ...]
    backlogs: tuple[Backlog, ...]
    ceiling: dict[str, Result]
    notes: tuple[str, ...]
    nodes: int = 1
    takeovers: tuple[Takeovers, ...] = ()
    restarts: Restarts | None = None

    @property
    def verdicts(self) -> list[Verdict]:
        """The targets this run can speak about."""
        verdicts = ratio_verdicts(self.figures, RATIO_TARGETS if self.nodes == 1 else CLUSTER_RATIO_TARGETS)
        if self.nodes > 1:
            verdicts += cluster_verdicts(self.figures, self.takeovers, self.restarts)
        for backlog in self.backlogs:
            if backlog.target == SUBJECT:
                verdicts += backlog_verdicts(backlog)
        return verdicts

    def as_dict(self) -> dict[str, Any]:
        """Give plain data for JSON."""
        return {
            "environment": self.environment,
            "measurements": [figure.as_dict() for figure in self.figures],
            "backlogs": [backlog.as_dict() for backlog in self.backlogs],
            "ceiling": {
                work: {"rate": result.rate, "jobs_per_cpu_second": result.jobs / result.generator_cpu}
                for work, result in self.ceiling.items()
                if result.generator_cpu
            },
            "nodes": self.nodes,
            "takeovers": [takeover.as_dict() for takeover in self.takeovers],
            "restarts": None if self.restarts is None else self.restarts.as_dict(),
            "targets": [asdict(verdict) for verdict in self.verdicts],
            "notes": list(self.notes),
        }

    def print(self, console: Console) -> None:
        """Print the tables that have rows."""
        console.print("  ".join(f"{name}: {value}" for name, value in self.environment.items()), highlight=False)
        tables = []
        if self.ceiling:
            tables.append(ceiling_table(self.ceiling))
        if self.figures:
            tables.append(rates_table("Rates (medians; ratios are medians of each round's)", self.figures))
            keys = keys_table(self.figures)
            if keys.row_count:
                tables.append(keys)
        if self.backlogs:
            tables.append(backlog_table(self.backlogs))
            tables += [
                rates_table(f"{backlog.target} with a long queue", backlog.measurements, subject=LOADED)
                for backlog in self.backlogs
            ]
        verdicts = self.verdicts
        if verdicts:
            tables.append(verdict_table(verdicts))
        for table in tables:
            console.print("")
            console.print(table, highlight=False)
        for note in self.notes:
            console.print(f"note: {note}", highlight=False)
