"""The account of a load tells broken promises from what a failure excuses."""

import pytest

from tests.harness.cluster_account import Account, WorkerLife


class Clock:
    """The time, which passes when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("tests.harness.cluster_account.time", clock)
    return clock


@pytest.fixture
def account(clock) -> Account:
    return Account()


class TestLosses:
    def test_a_job_that_was_acknowledged_and_never_run_is_lost(self, account):
        account.acknowledge(b"job", b"H:1")
        assert account.figures().lost == 1
        assert account.violations()

    def test_a_job_that_was_run_before_its_acknowledgement_came_is_not(self, account):
        account.run(b"job", b"H:1", WorkerLife("worker", "node"))
        account.acknowledge(b"job", b"H:1")
        assert account.figures().lost == 0
        assert account.violations() == []

    def test_a_job_that_nobody_acknowledged_may_be_run_or_not(self, account):
        account.run(b"job", b"H:1", WorkerLife("worker", "node"))
        assert account.violations() == []


class TestRepetitions:
    def repeat(self, account, clock, between=lambda: None) -> int:
        """Run a job twice, and let something happen in between; give how many runs have no excuse."""
        self.life = WorkerLife("first", "node1")
        account.run(b"job", b"H:1", self.life)
        clock.now += 5
        between()
        clock.now += 5
        account.run(b"job", b"H:1", WorkerLife("second", "node2"))
        return account.figures().repeated

    def hang_up(self) -> None:
        self.life.end()

    def test_a_second_run_without_a_failure_is_a_broken_promise(self, account, clock):
        assert self.repeat(account, clock) == 1
        assert len(account.violations()) == 1

    def test_the_end_of_the_first_workers_connection_excuses_it(self, account, clock):
        assert self.repeat(account, clock, self.hang_up) == 0
        assert account.figures().repeated_after_failures == 1

    def test_the_end_of_that_connection_after_the_second_run_does_not(self, account, clock):
        self.repeat(account, clock)
        clock.now += 5
        self.life.end()
        assert account.figures().repeated == 1

    @pytest.mark.parametrize(("node", "repeated"), [("node1", 0), ("node2", 0), ("node3", 1)])
    def test_a_failure_of_one_of_the_two_nodes_in_between_excuses_it(self, account, clock, node, repeated):
        def fail() -> None:
            with account.failing(node, "killed"):
                clock.now += 1

        assert self.repeat(account, clock, fail) == repeated

    def test_a_failure_that_was_over_before_the_first_run_does_not(self, account, clock):
        with account.failing("node1", "killed"):
            clock.now += 1
        clock.now += 1
        assert self.repeat(account, clock) == 1

    def test_a_failure_that_is_not_over_yet_excuses_it(self, account, clock):
        account.failed("node1", "stalled")
        assert self.repeat(account, clock) == 0

    def test_nothing_excuses_that_one_submit_became_two_jobs(self, account, clock):
        life = WorkerLife("first", "node1")
        account.run(b"job", b"H:1", life)
        life.end()
        clock.now += 5
        account.run(b"job", b"H:2", WorkerLife("second", "node2"))
        assert account.figures().repeated == 1


class TestResults:
    def test_a_result_of_another_job_is_a_broken_promise(self, account):
        account.run(b"job", b"H:1", WorkerLife("worker", "node"))
        account.result(b"job", b"other job")
        assert account.violations()

    def test_a_result_that_does_not_come_needs_a_failed_node_that_had_the_job(self, account, clock):
        account.run(b"job", b"H:1", WorkerLife("worker", "node1"))
        with account.failing("node1", "killed"):
            clock.now += 1
        account.no_result(b"job", "node2", 100.0, "none came")
        assert account.violations() == []
        account.no_result(b"job", "node2", clock.now + 1, "none came")
        assert len(account.violations()) == 1

    def test_a_handle_that_is_given_to_two_jobs_is_a_broken_promise(self, account):
        for job in (b"one", b"other"):
            account.acknowledge(job, b"H:1")
            account.run(job, b"H:1", WorkerLife("worker", "node"))
        assert len(account.violations()) == 1

    def test_a_delayed_job_that_is_run_too_early_is_a_broken_promise(self, account, clock):
        account.delay(b"job", 102)
        clock.now = 101.9
        account.run(b"job", b"H:1", WorkerLife("worker", "node"))
        assert len(account.violations()) == 1

    def test_the_longest_wait_is_kept(self, account):
        for seconds in (1.0, 3.0, 2.0):
            account.waited(seconds, f"{seconds}")
        assert account.longest_wait[:2] == (3.0, "3.0")
