"""Sleeping workers: who is woken, for which job, and what becomes of a job that is kept for somebody."""

import pytest

from cluster.jobs import (
    Can,
    Cancel,
    CantAny,
    Finish,
    Grab,
    MirrorWriter,
    Park,
    SessionClose,
    Submit,
    Take,
    Unreserve,
    restore,
)
from tests.cluster.jobs.rig import Rig
from tests.cluster.jobs.views import asleep


@pytest.fixture
def rig():
    return Rig()


def woken(effects):
    return [effect[1] for effect in effects if effect[0] == "reserved" and effect[4]]


class TestASleepingWorker:
    def test_is_woken_by_a_job_of_its_function(self, rig):
        rig.worker(1, b"f")
        assert rig.park(1) == []
        told = rig.say(Submit(0, b"f", b"u", b"w", 1, background=True, reducer=b"r"))
        assert told == [("created", 0, 1, b"H:a:1"), ("reserved", 1, 1, (b"H:a:1", b"f", b"u", b"w", b"r"), True)]
        assert rig.reserved(1) == [1]

    def test_is_woken_once(self, rig):
        rig.worker(1, b"f")
        rig.park(1)
        rig.background()
        assert woken(rig.say(Submit(0, b"f", b"", b"", 1, background=True))) == []

    def test_is_woken_at_once_when_a_job_waits(self, rig):
        rig.worker(1, b"f")
        number = rig.background()
        assert woken(rig.park(1)) == [1]
        assert rig.reserved(1) == [number]

    def test_is_not_woken_for_what_it_cannot_do(self, rig):
        rig.worker(1, b"f")
        rig.park(1)
        number = rig.background(b"g")
        assert rig.state(number) == "QUEUED"

    def test_is_not_woken_by_can_do_but_by_the_next_job(self, rig):
        rig.worker(1, b"f")
        rig.park(1)
        first = rig.background(b"g")
        assert rig.say(Can(1, b"g", 0)) == []
        rig.background(b"g")
        assert rig.reserved(1) == [first]

    def test_that_can_do_nothing_any_more_is_left_alone(self, rig):
        rig.worker(1, b"f")
        rig.park(1)
        rig.say(CantAny(1))
        assert rig.state(rig.background()) == "QUEUED"

    def test_that_closes_is_not_given_anything(self, rig):
        rig.worker(1, b"f")
        rig.park(1)
        rig.say(SessionClose(1))
        assert rig.state(rig.background()) == "QUEUED"

    def test_that_grabs_is_awake(self, rig):
        rig.worker(1, b"f")
        rig.park(1)
        assert rig.say(Grab(1, 0)) == [("no job", 1)]
        assert rig.state(rig.background()) == "QUEUED"

    def test_gets_the_best_job_not_the_one_that_woke_it(self, rig):
        rig.worker(1, b"f")
        rig.park(1)
        high = rig.background(b"g", priority=0)
        rig.say(Can(1, b"g", 0))
        low = rig.background(b"f", priority=2)
        assert rig.reserved(1) == [high]
        assert rig.queue(priority=2) == [low]

    def test_on_another_node_is_woken_there(self, rig):
        rig.worker(1, b"f", node="b")
        rig.park(1, node="b")
        assert rig.say(Submit(0, b"f", b"", b"", 1, background=True)) == [("created", 0, 1, b"H:a:1")]
        assert rig.reserved(1, node="b") == [1]


class TestWaking:
    def test_takes_the_last_one_parked_first(self, rig):
        for worker in (1, 2, 3):
            rig.worker(worker, b"f")
        rig.park(2, 3, 1)
        wakes = [woken(rig.say(Submit(0, b"f", b"", b"", 1, background=True))) for _ in range(4)]
        assert wakes == [[1], [3], [2], []]

    def test_regards_a_second_park_as_the_later_one(self, rig):
        for worker in (1, 2):
            rig.worker(worker, b"f")
        rig.park(1, 2, 1)
        assert woken(rig.say(Submit(0, b"f", b"", b"", 1, background=True))) == [1]

    @pytest.mark.parametrize(("jobs", "sleepers"), [(3, 10), (10, 3), (5, 5)])
    def test_wakes_exactly_as_many_as_there_are_jobs(self, rig, jobs, sleepers):
        for worker in range(1, sleepers + 1):
            rig.worker(worker, b"f")
            rig.park(worker)
        told = rig.say(*(Submit(0, b"f", b"", b"", 1, background=True) for _ in range(jobs)))
        assert len(woken(told)) == len(set(woken(told))) == min(jobs, sleepers)
        assert len(rig.queue()) == max(0, jobs - sleepers)

    def test_goes_on_to_the_next_when_the_first_has_something_better_to_do(self, rig):
        rig.worker(2, b"f")
        rig.worker(1, b"f")
        rig.park(2, 1)
        better = rig.background(b"g", priority=0)
        rig.say(Can(1, b"g", 0))
        told = rig.say(Submit(0, b"f", b"", b"", 1, background=True))
        assert woken(told) == [1, 2]
        assert rig.reserved(1) == [better]
        assert rig.reserved(2) == [better + 1]

    def test_spans_the_nodes_of_the_cluster(self, rig):
        for node in ("a", "b"):
            rig.worker(1, b"f", node=node)
            rig.park(1, node=node)
        jobs = [rig.background(), rig.background()]
        assert rig.reserved(1, node="b") == [jobs[0]]
        assert rig.reserved(1, node="a") == [jobs[1]]

    def test_keeps_to_the_order_of_parking_when_can_do_comes_late(self, rig):
        """And so does a table that was written and read back: nodes must agree on whom to wake."""
        for worker in (1, 2):
            rig.worker(worker, b"f" if worker == 2 else b"g")
        rig.park(1, 2)
        rig.say(Can(1, b"f", 0))
        mirror = MirrorWriter().take(rig.table)
        restored, _ = restore(mirror.meta, mirror.segments, [], "a")
        assert woken(rig.say(Submit(0, b"f", b"", b"", 1, background=True))) == [2]
        assert [session.number for session in asleep(restored, restored.functions[b"f"])] == [1, 2]

    def test_for_a_job_that_comes_back_finds_a_sleeper(self, rig):
        for worker in (1, 2):
            rig.worker(worker, b"f")
        number = rig.background()
        rig.grab(1)
        rig.park(2)
        assert woken(rig.say(SessionClose(1))) == [2]
        assert rig.reserved(2) == [number]

    def test_for_all_jobs_that_come_back_finds_as_many_sleepers(self, rig):
        for worker in (1, 2, 3):
            rig.worker(worker, b"f", b"g")
        jobs = [rig.background(b"f"), rig.background(b"g")]
        rig.grab_all(1)
        rig.park(2, 3)
        assert woken(rig.say(SessionClose(1))) == [3, 2]
        assert rig.reserved(3) == [jobs[0]]
        assert rig.reserved(2) == [jobs[1]]


class TestAReservedJob:
    @pytest.fixture
    def number(self, rig):
        rig.worker(1, b"f")
        rig.worker(2, b"f")
        rig.park(1)
        return rig.background()

    def test_runs_when_it_is_taken(self, rig, number):
        assert rig.say(Take(1, number)) == []
        assert rig.running(1) == [number]
        assert rig.table.functions[b"f"].running == 1

    def test_runs_once_though_it_is_taken_twice(self, rig, number):
        rig.say(Take(1, number), Take(1, number))
        assert rig.table.functions[b"f"].running == 1

    def test_can_be_taken_by_its_holder_only(self, rig, number):
        rig.say(Take(2, number))
        assert rig.reserved(1) == [number]

    def test_is_not_there_for_others(self, rig, number):
        assert rig.grab(2) is None

    def test_counts_as_pending_and_not_as_waiting(self, rig, number):
        function = rig.table.functions[b"f"]
        assert (function.total, function.running, function.pending, function.waiting) == (1, 0, (0, 1, 0), (0, 0, 0))

    def test_goes_on_to_the_next_sleeper_when_it_is_given_back(self, rig, number):
        rig.park(2)
        assert woken(rig.say(Unreserve(1, number))) == [2]
        assert rig.reserved(2) == [number]
        assert rig.reserved(1) == []

    def test_given_back_has_used_up_no_attempt(self, rig, number):
        rig.say(Unreserve(1, number))
        assert rig.table.jobs[number].attempts == 0

    def test_uses_up_no_attempt_when_its_holder_goes(self, rig, number):
        rig.say(SessionClose(1))
        assert rig.state(number) == "QUEUED"
        assert rig.table.jobs[number].attempts == 0

    def test_given_back_twice_is_given_back_once(self, rig, number):
        rig.say(Unreserve(1, number), Unreserve(1, number))
        assert rig.queue() == [number]

    def test_that_was_given_back_cannot_be_taken(self, rig, number):
        rig.say(Unreserve(1, number), Take(1, number))
        assert rig.state(number) == "QUEUED"

    def test_that_was_cancelled_is_revoked(self, rig, number):
        told = rig.say(Cancel(9, b"H:a:%d" % number))
        assert told == [("revoked", 1, number, "CANCELLED"), ("settled", 9, "DONE")]
        rig.say(Take(1, number))
        assert rig.running(1) == []

    def test_is_dropped_when_given_back_and_nobody_listens_any_more(self, rig, number):
        rig.open(5)
        rig.park(2)
        wanted = rig.foreground(5)
        rig.say(SessionClose(5))
        assert rig.state(wanted) == "RESERVED"
        rig.say(Unreserve(2, wanted))
        assert rig.state(wanted) is None

    def test_has_no_time_limit_until_it_is_taken(self, rig):
        rig.worker(3, b"t", limit=1000)
        rig.park(3)
        number = rig.background(b"t")
        rig.wait(5000)
        assert rig.state(number) == "RESERVED"
        rig.say(Take(3, number))
        assert rig.table.jobs[number].deadline == rig.time + 1000


class TestGrabbing:
    def test_keeps_the_job_for_the_worker_until_it_is_handed_over(self, rig):
        rig.worker(1, b"f", limit=1000)
        number = rig.background()
        assert rig.say(Grab(1, 0)) == [("assigned", 1, number, (b"H:a:1", b"f", b"", b"", b""))]
        rig.wait(5000)
        assert rig.reserved(1) == [number]
        rig.say(Take(1, number))
        assert rig.running(1) == [number]
        assert rig.table.jobs[number].deadline == rig.time + 1000


class TestGivingBackARunningJob:
    def test_takes_it_from_a_worker_that_never_saw_it_at_no_cost(self, rig):
        """An assignment that came too late for its worker was answered with NO_JOB."""
        rig.worker(1, b"f", limit=1000)
        number = rig.background()
        rig.grab(1)
        rig.say(Unreserve(1, number))
        job = rig.table.jobs[number]
        assert (job.state.name, job.attempts, job.deadline, job.holder) == ("QUEUED", 0, 0, None)


class TestParkingWithAJobInHand:
    def test_stops_the_clock_of_the_job(self, rig):
        rig.worker(1, b"f", limit=1000)
        number = rig.background()
        rig.grab(1)
        rig.park(1)
        rig.wait(10_000)
        assert rig.running(1) == [number]

    def test_can_reserve_another(self, rig):
        rig.worker(1, b"f")
        first = rig.background()
        rig.grab(1)
        rig.park(1)
        second = rig.background()
        assert (rig.running(1), rig.reserved(1)) == ([first], [second])
        rig.say(Finish(1, first), Take(1, second), Park(1))
        assert rig.running(1) == [second]
