"""Ratios are formed within rounds, and targets are held against their medians."""

import pytest
from rich.console import Console

from benchmarks.backlog import Backlog
from benchmarks.report import Report, backlog_verdicts, keys_table, ratio_verdicts, ratios
from benchmarks.workloads import Measurement


def figure(work, target, number, rate, server_cpu=2e-6, joined=0.0):
    return Measurement(
        work=work,
        target=target,
        round=number,
        jobs=1000,
        seconds=1000 / rate,
        rate=rate,
        p50=0.001,
        p99=0.002,
        client_busy=0.5,
        worker_busy=0.25,
        generator_cpu_per_job=1e-6,
        server_cpu_per_job=server_cpu,
        joined=joined,
    )


def backlog(**changes):
    whole = {
        "target": "gearmesh",
        "jobs": 1_000_000,
        "resident_before": 40_000_000,
        "resident_full": 900_000_000,
        "resident_restarted": 950_000_000,
        "resident_drained": 50_000_000,
        "restart_killed": 12.0,
        "restart_stopped": 9.0,
        "measurements": (),
    }
    return Backlog(**whole | changes)


class TestRatios:
    def test_a_ratio_pairs_the_figures_of_one_round(self):
        figures = [figure("mix", "gearmesh", 0, 10.0), figure("mix", "gearmand", 0, 20.0)]
        figures += [figure("mix", "gearmesh", 1, 300.0), figure("mix", "gearmand", 1, 200.0)]
        assert ratios(figures, "mix", "gearmesh", "gearmand") == [0.5, 1.5]

    def test_a_round_without_the_other_server_gives_no_ratio(self):
        figures = [figure("mix", "gearmesh", 0, 10.0), figure("mix", "gearmand", 1, 20.0)]
        assert ratios(figures, "mix", "gearmesh", "gearmand") == []


class TestTargets:
    @pytest.mark.parametrize(("rate", "met"), [(69.0, False), (70.0, True)])
    def test_a_ratio_is_met_from_its_target_on(self, rate, met):
        figures = [figure("drain", "gearmesh", 0, rate), figure("drain", "gearmand", 0, 100.0)]
        (verdict,) = ratio_verdicts(figures)
        assert (verdict.what, verdict.against, verdict.met) == ("drain", "gearmand", met)

    def test_the_median_of_the_rounds_decides_not_the_best(self):
        figures = [figure("drain", "gearmand", number, 100.0) for number in range(3)]
        figures += [figure("drain", "gearmesh", number, rate) for number, rate in enumerate((500.0, 60.0, 50.0))]
        (verdict,) = ratio_verdicts(figures)
        assert not verdict.met
        assert verdict.reached == "0.60 x (0.50-5.00)"

    def test_a_figure_that_was_not_measured_has_no_verdict(self):
        assert ratio_verdicts([figure("mix", "gearmand", 0, 100.0)]) == []

    def test_memory_and_both_restarts_of_a_long_queue_are_judged(self):
        assert [verdict.met for verdict in backlog_verdicts(backlog())] == [True, True, True]
        slow = backlog(resident_restarted=1_400_000_000, restart_killed=20.1)
        assert [verdict.met for verdict in backlog_verdicts(slow)] == [False, False, True]

    def test_rates_with_a_long_queue_are_held_against_those_without(self):
        figures = (figure("mix", "loaded", 0, 79.0), figure("mix", "empty", 0, 100.0))
        assert [verdict.met for verdict in backlog_verdicts(backlog(measurements=figures))][-1] is False


class TestReport:
    def test_tables_name_every_server_and_say_what_is_not_met(self):
        figures = (figure("drain", "gearmesh", 0, 50.0), figure("drain", "gearmand", 0, 100.0))
        report = Report({"cores": "2"}, figures, (backlog(),), {}, ("gearmand-sqlite is left out: no",))
        console = Console(width=132)
        with console.capture() as captured:
            report.print(console)
        text = captured.get()
        assert "0.50 x" in text
        assert "NOT MET" in text
        assert "gearmand-sqlite is left out" in text

    def test_what_keys_cost_is_the_median_of_ratios_formed_within_rounds(self):
        costs = ((2e-6, 3e-6), (2e-6, 4e-6), (8e-6, 8e-6))
        figures = [figure("foreground-16", "gearmesh", at, 100.0, plain) for at, (plain, _) in enumerate(costs)]
        figures += [
            figure("foreground-16-joining", "gearmesh", at, 100.0, keyed, 0.4) for at, (_, keyed) in enumerate(costs)
        ]
        table = keys_table(figures)
        assert [list(column.cells) for column in table.columns] == [
            ["foreground-16-joining"],
            ["gearmesh"],
            ["4.0"],
            ["2.0"],
            ["1.50 x (1.00-2.00)"],
            ["40.0%"],
        ]

    def test_keyed_work_without_its_like_has_no_cost(self):
        assert keys_table([figure("foreground-16-keyed", "gearmesh", 0, 100.0)]).row_count == 0

    def test_plain_data_holds_each_round_and_each_target(self):
        figures = (figure("drain", "gearmesh", 0, 50.0), figure("drain", "gearmand", 0, 100.0))
        data = Report({}, figures, (), {}, ()).as_dict()
        assert len(data["measurements"]) == 2
        assert data["targets"][0]["met"] is False
