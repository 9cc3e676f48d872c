"""Jobs whose worker went away: how often they are tried again, and what their clients hear."""

import pytest

from cluster.jobs import Finish, NodeUp, Progress, SessionClose
from tests.cluster.jobs.rig import Rig


def lose_a_run(rig, worker):
    rig.worker(worker, b"f")
    number = rig.grab(worker)
    return number, rig.say(SessionClose(worker))


class TestRetries:
    def test_go_on_for_ever_where_there_is_no_limit(self):
        rig = Rig(retries=-1)
        number = rig.background()
        for worker in range(1, 50):
            assert lose_a_run(rig, worker)[0] == number
        assert rig.table.jobs[number].attempts == 49

    @pytest.mark.parametrize("retries", [0, 1, 2, 5])
    def test_are_as_many_as_the_node_said(self, retries):
        rig = Rig(retries=retries)
        rig.open(100)
        number = rig.foreground(100)
        for worker in range(1, retries + 1):
            assert lose_a_run(rig, worker) == (number, [])
        assert lose_a_run(rig, retries + 1) == (number, [("failed", 100, number)])
        assert rig.state(number) is None

    def test_follow_the_newest_word(self):
        rig = Rig(retries=-1)
        number = rig.background()
        lose_a_run(rig, 1)
        rig.restart("b", retries=0)
        lose_a_run(rig, 2)
        assert rig.state(number) is None

    def test_tell_every_listener_of_the_failure_in_order(self):
        rig = Rig(retries=0)
        rig.open(100, 101)
        rig.foreground(101, unique=b"u")
        number = rig.foreground(100, unique=b"u")
        assert lose_a_run(rig, 1)[1] == [("failed", 101, number), ("failed", 100, number)]
        assert rig.table.nodes["a"].sessions[100].listening == {}

    def test_let_a_background_job_go_in_silence(self):
        rig = Rig(retries=0)
        number = rig.background()
        assert lose_a_run(rig, 1)[1] == []
        assert rig.state(number) is None
        assert rig.table.functions == {}

    def test_count_time_limits_too(self):
        rig = Rig(retries=0)
        rig.open(100)
        rig.worker(1, b"f", limit=1000)
        number = rig.foreground(100)
        rig.grab(1)
        assert rig.wait(1000) == [("revoked", 1, number, "TIME_LIMIT"), ("failed", 100, number)]

    def test_start_without_progress(self):
        rig = Rig()
        rig.worker(1, b"f")
        number = rig.background()
        rig.grab(1)
        rig.say(Progress(1, number, 3, 4))
        assert rig.table.jobs[number].numerator == 3
        rig.say(SessionClose(1))
        assert (rig.table.jobs[number].numerator, rig.table.jobs[number].denominator) == (0, 0)

    def test_are_not_used_up_by_a_worker_that_was_never_handed_the_job(self):
        rig = Rig(retries=0)
        number = rig.background()
        for worker in range(1, 5):
            rig.worker(worker, b"f")
            assert rig.ask(worker) == number
            rig.say(SessionClose(worker))
        assert rig.state(number) == "QUEUED"
        assert rig.table.jobs[number].attempts == 0

    def test_free_the_unique_key_when_they_are_over(self):
        rig = Rig(retries=0)
        first = rig.background(unique=b"u")
        lose_a_run(rig, 1)
        assert rig.background(unique=b"u") > first

    def test_of_more_than_the_first_come_from_a_repeated_start(self):
        rig = Rig(retries=0)
        rig.say(NodeUp(b"H:a", 1))
        number = rig.background()
        lose_a_run(rig, 1)
        assert rig.state(number) == "QUEUED"


class TestTheWordOfAWorker:
    @pytest.fixture
    def rig(self):
        rig = Rig()
        rig.worker(1, b"f")
        rig.worker(2, b"f")
        rig.worker(1, b"f", node="b")
        return rig

    def test_ends_the_job_that_it_holds(self, rig):
        number = rig.background()
        rig.grab(1)
        assert rig.say(Finish(1, number)) == [("ended", 1, number, [])]
        assert rig.table.jobs == {}

    def test_on_a_job_of_another_does_nothing(self, rig):
        number = rig.background()
        rig.grab(1)
        assert rig.say(Finish(2, number)) == []
        rig.say(Finish(1, number), Progress(1, number, 1, 2), node="b")
        assert rig.running(1) == [number]
        assert rig.table.jobs[number].numerator == 0

    def test_on_a_job_that_has_ended_does_nothing(self, rig):
        number = rig.background()
        rig.grab(1)
        rig.say(Finish(1, number))
        assert rig.say(Finish(1, number), Progress(1, number, 1, 2)) == []

    def test_on_a_job_that_never_was_does_nothing(self, rig):
        assert rig.say(Finish(1, 0), Finish(1, -1), Finish(1, 2**64 - 1), Progress(9, 1, 1, 1)) == []

    def test_can_concern_several_jobs_at_a_time(self, rig):
        jobs = [rig.background() for _ in range(3)]
        assert rig.grab_all(1) == jobs
        rig.say(Finish(1, jobs[1]))
        assert rig.running(1) == [jobs[0], jobs[2]]
