"""What only several nodes can be measured for is held against its targets."""

import pytest

from benchmarks.report import Report, cluster_verdicts
from benchmarks.takeover import Restarts, Takeovers
from benchmarks.workloads import Measurement
from tests.harness.cluster_account import Figures


def figure(work, target, p50=0.001, rate=100.0):
    return Measurement(
        work=work,
        target=target,
        round=0,
        jobs=1000,
        seconds=1.0,
        rate=rate,
        p50=p50,
        p99=0.1,
        client_busy=0.5,
        worker_busy=0.5,
        generator_cpu_per_job=1e-6,
        server_cpu_per_job=1e-6,
    )


def restarts(**changes):
    figures = {
        "acknowledged": 100,
        "run": 120,
        "results": 20,
        "lost": 0,
        "repeated": 0,
        "repeated_after_failures": 0,
        "longest_wait": 1.0,
    }
    return Restarts(3, 20.0, Figures(**figures | changes))


class TestTargets:
    @pytest.mark.parametrize(("p50", "met"), [(0.0019, True), (0.0021, False)])
    @pytest.mark.parametrize("work", ["foreground-1", "foreground-1-keyed"])
    def test_the_median_of_a_lone_foreground_job_is_judged(self, work, p50, met):
        figures = [figure(work, "gearmesh", p50), figure(work, "gearmand", 0.1)]
        (verdict,) = cluster_verdicts(figures, (), None)
        assert verdict.met is met

    @pytest.mark.parametrize(("worst", "met"), [(1.9, True), (2.1, False)])
    def test_the_worst_of_all_kills_is_judged(self, worst, met):
        (verdict,) = cluster_verdicts((), (Takeovers("the leader", (0.1, worst, 0.2)),), None)
        assert verdict.met is met

    @pytest.mark.parametrize(
        ("changes", "met"),
        [
            ({}, [True, True, True]),
            ({"lost": 1}, [False, True, True]),
            ({"repeated": 1}, [True, False, True]),
            ({"repeated_after_failures": 1}, [True, False, True]),
            ({"longest_wait": 2.5}, [True, True, False]),
        ],
    )
    def test_a_rolling_restart_is_judged_by_its_account_and_excuses_nothing(self, changes, met):
        assert [verdict.met for verdict in cluster_verdicts((), (), restarts(**changes))] == met

    def test_several_nodes_have_ratios_of_their_own(self):
        figures = (figure("mix", "gearmesh", rate=31.0), figure("mix", "gearmand", rate=100.0))
        assert [verdict.met for verdict in Report({}, figures, (), {}, (), nodes=1).verdicts] == [False]
        assert [verdict.met for verdict in Report({}, figures, (), {}, (), nodes=3).verdicts] == [True]
