"""Which submits join a job that is there, and what becomes of it then."""

import pytest

from cluster.jobs import Finish, SessionClose, SetLimit, Submit
from tests.cluster.jobs.rig import Rig


@pytest.fixture
def rig():
    rig = Rig()
    rig.open(1, 2)
    return rig


class TestAUniqueKey:
    def test_joins_a_job_of_the_same_function_and_key(self, rig):
        first = rig.background(unique=b"u", workload=b"first")
        told = rig.say(Submit(0, b"f", b"u", b"second", 1, background=True))
        assert told == [("created", 0, first, b"H:a:%d" % first)]
        assert len(rig.table.jobs) == 1
        assert rig.table.jobs[first].workload == b"first"

    def test_joins_across_nodes_under_the_first_handle(self, rig):
        first = rig.background(unique=b"u")
        rig.open(1, node="b")
        rig.foreground(1, unique=b"u", node="b")
        assert list(rig.table.jobs) == [first]
        assert [session.node.name for session in rig.table.jobs[first].listeners] == ["b"]

    def test_means_nothing_to_another_function(self, rig):
        assert rig.background(b"f", unique=b"u") != rig.background(b"g", unique=b"u")
        assert len(rig.table.jobs) == 2

    def test_finds_the_oldest_job_of_whatever_function(self, rig):
        rig.worker(3, b"f")
        jobs = [rig.background(function, unique=b"u") for function in (b"f", b"g", b"h")]
        assert rig.table.find_unique(b"u").number == jobs[0]
        rig.say(Finish(3, rig.grab(3)))
        assert rig.table.find_unique(b"u").number == jobs[1]

    def test_is_free_again_when_the_job_has_ended(self, rig):
        rig.worker(3, b"f")
        first = rig.background(unique=b"u")
        rig.say(Finish(3, rig.grab(3)))
        assert rig.table.find_unique(b"u") is None
        assert rig.background(unique=b"u") > first

    def test_joins_a_job_that_runs(self, rig):
        rig.worker(3, b"f")
        first = rig.background(unique=b"u")
        rig.grab(3)
        rig.foreground(1, unique=b"u")
        assert rig.say(Finish(3, first)) == [("ended", 3, first, [("a", 1)])]

    def test_of_no_length_joins_nothing(self, rig):
        rig.background(unique=b"")
        rig.background(unique=b"")
        assert len(rig.table.jobs) == 2
        assert rig.table.find_unique(b"") is None


class TestADash:
    def test_makes_the_workload_the_key(self, rig):
        rig.background(unique=b"-", workload=b"same")
        rig.background(unique=b"-", workload=b"same")
        rig.background(unique=b"-", workload=b"other")
        rig.background(unique=b"", workload=b"same")
        assert [job.workload for job in rig.table.jobs.values()] == [b"same", b"other", b"same"]

    def test_tells_many_workloads_apart(self, rig):
        for number in range(1000):
            rig.background(unique=b"-", workload=b"%d" % number)
        assert len(rig.table.jobs) == 1000

    def test_stays_the_unique_key_that_its_worker_is_shown(self, rig):
        number = rig.background(unique=b"-", workload=b"w")
        assert rig.table.jobs[number].unique == b"-"

    def test_is_nobodys_key_to_look_for(self, rig):
        rig.background(unique=b"-", workload=b"w")
        assert rig.table.find_unique(b"-") is None

    def test_does_not_meet_a_key_that_is_the_same_as_a_workload(self, rig):
        rig.background(unique=b"w")
        rig.background(unique=b"-", workload=b"w")
        assert len(rig.table.jobs) == 2


class TestJoining:
    def test_adds_listeners_in_the_order_in_which_they_asked(self, rig):
        number = rig.foreground(2, unique=b"u")
        rig.foreground(1, unique=b"u")
        assert [session.number for session in rig.table.jobs[number].listeners] == [2, 1]

    def test_twice_makes_one_listener(self, rig):
        number = rig.foreground(1, unique=b"u")
        rig.foreground(1, unique=b"u")
        assert len(rig.table.jobs[number].listeners) == 1

    def test_in_the_background_keeps_a_foreground_job_when_its_client_goes(self, rig):
        number = rig.foreground(1, unique=b"u")
        rig.background(unique=b"u")
        rig.say(SessionClose(1))
        assert rig.state(number) == "QUEUED"

    def test_in_the_foreground_does_not_make_a_background_job_depend_on_its_client(self, rig):
        number = rig.background(unique=b"u")
        rig.foreground(1, unique=b"u")
        rig.say(SessionClose(1))
        assert rig.state(number) == "QUEUED"
        assert not rig.table.jobs[number].listeners

    def test_does_not_change_the_priority_or_the_place_in_the_queue(self, rig):
        jobs = [rig.background(unique=b"u", priority=2), rig.background(priority=2)]
        rig.say(Submit(0, b"f", b"u", b"", 0, background=True))
        assert rig.queue(priority=2) == jobs
        assert rig.queue(priority=0) == []

    def test_is_allowed_when_the_queue_is_full(self, rig):
        number = rig.background(unique=b"u")
        rig.say(SetLimit(0, b"f", 1, 1, 1))
        assert rig.say(Submit(0, b"f", b"u", b"", 1, background=True))[0][:3] == ("created", 0, number)
        assert rig.say(Submit(0, b"f", b"v", b"", 1, background=True)) == [("refused", 0, "QUEUE_FULL")]

    def test_needs_an_open_session_in_the_foreground(self, rig):
        rig.background(unique=b"u")
        assert rig.say(Submit(9, b"f", b"u", b"", 1, background=False)) == [("refused", 9, "NO_SESSION")]
