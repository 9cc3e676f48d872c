"""Time limits of running jobs, and jobs that are not to run before their time. Time is what entries say."""

import pytest

from cluster.jobs import Batch, Can, Cancel, Cant, Finish, Grab, Submit, Take, Unreserve, propose
from tests.cluster.jobs.rig import START, Rig


@pytest.fixture
def rig():
    return Rig()


class TestATimeLimit:
    def test_takes_the_job_from_its_worker_when_it_runs_out(self, rig):
        rig.worker(1, b"f", limit=1000)
        number = rig.background()
        rig.grab(1)
        assert rig.wait(999) == []
        assert rig.wait(1) == [("revoked", 1, number, "TIME_LIMIT")]
        assert rig.queue() == [number]
        assert rig.running(1) == []

    def test_uses_up_an_attempt_and_forgets_the_progress(self, rig):
        rig.worker(1, b"f", limit=1000)
        number = rig.background()
        rig.grab(1)
        rig.wait(1000)
        job = rig.table.jobs[number]
        assert (job.attempts, job.numerator, job.denominator, job.deadline) == (1, 0, 0, 0)

    def test_gives_the_job_to_a_sleeper(self, rig):
        rig.worker(1, b"f", limit=1000)
        rig.worker(2, b"f")
        number = rig.background()
        rig.grab(1)
        rig.park(2)
        told = rig.wait(1000)
        assert [effect[:3] for effect in told] == [("revoked", 1, number), ("reserved", 2, number)]

    def test_leaves_the_late_workers_word_without_effect(self, rig):
        rig.worker(1, b"f", limit=1000)
        number = rig.background()
        rig.grab(1)
        rig.wait(1000)
        assert rig.say(Finish(1, number)) == []
        assert rig.state(number) == "QUEUED"

    def test_begins_anew_with_each_run(self, rig):
        rig.worker(1, b"f", limit=1000)
        number = rig.background()
        rig.grab(1)
        rig.wait(600)
        rig.say(Unreserve(1, number))
        rig.grab(1)
        rig.wait(999)
        assert rig.running(1) == [number]
        rig.wait(1)
        assert rig.queue() == [number]

    def test_is_that_of_the_moment_at_which_the_run_began(self, rig):
        rig.worker(1, b"f", limit=1000)
        first = rig.background()
        rig.grab(1)
        rig.say(Can(1, b"f", 0))
        second = rig.background()
        rig.grab(1)
        rig.wait(1000)
        assert (rig.state(first), rig.state(second)) == ("QUEUED", "RUNNING")

    def test_still_holds_when_the_worker_cannot_do_the_function_any_more(self, rig):
        rig.worker(1, b"f", limit=1000)
        number = rig.background()
        rig.grab(1)
        rig.say(Cant(1, b"f"))
        assert rig.running(1) == [number]
        rig.wait(1000)
        assert rig.queue() == [number]

    def test_of_none_never_comes(self, rig):
        rig.worker(1, b"f", limit=0)
        number = rig.background()
        rig.grab(1)
        rig.wait(10**12)
        assert rig.running(1) == [number]
        assert rig.table.next_deadline() is None

    def test_of_a_finished_job_does_nothing(self, rig):
        rig.worker(1, b"f", limit=1000)
        number = rig.background()
        rig.grab(1)
        rig.say(Finish(1, number))
        assert rig.wait(1000) == []

    def test_is_announced_as_the_next_deadline(self, rig):
        rig.worker(1, b"f", limit=1000)
        rig.background()
        assert rig.table.next_deadline() is None
        rig.grab(1)
        assert rig.table.next_deadline() == START + 1000

    def test_runs_out_for_several_jobs_in_the_order_of_their_deadlines(self, rig):
        for worker, limit in ((1, 3000), (2, 1000), (3, 2000)):
            rig.worker(worker, b"f", limit=limit)
            rig.background()
            rig.grab(worker)
        assert [effect[1] for effect in rig.wait(5000)] == [2, 3, 1]


class TestADelayedJob:
    def later(self, rig, due, function=b"f", **more):
        rig.say(Submit(0, function, more.get("unique", b""), b"", more.get("priority", 1), background=True, due=due))
        return rig.table.last_job

    def test_waits_for_its_time_and_is_known_meanwhile(self, rig):
        number = self.later(rig, START + 1000)
        assert rig.state(number) == "DELAYED"
        assert rig.table.find(b"H:a:%d" % number) is rig.table.jobs[number]
        assert rig.table.functions[b"f"].total == 1
        assert rig.queue() == []

    def test_runs_with_no_other_traffic(self, rig):
        """gearmand#101: the table says when it wants to be told the time, and then the job is there."""
        number = self.later(rig, START + 1000)
        assert rig.table.next_deadline() == START + 1000
        rig.wait(999)
        assert rig.state(number) == "DELAYED"
        rig.wait(1)
        assert rig.queue() == [number]
        assert rig.table.next_deadline() is None

    def test_wakes_a_sleeper_when_it_is_due(self, rig):
        rig.worker(1, b"f")
        number = self.later(rig, START + 1000)
        rig.park(1)
        assert [effect[:3] for effect in rig.wait(1000)] == [("reserved", 1, number)]

    def test_blocks_nothing_of_its_function(self, rig):
        rig.worker(1, b"f")
        self.later(rig, START + 10**9, priority=0)
        number = rig.background(priority=2)
        assert rig.grab_all(1) == [number]

    def test_whose_time_has_passed_is_queued_at_once(self, rig):
        assert rig.state(self.later(rig, START)) == "QUEUED"
        assert rig.state(self.later(rig, 1)) == "QUEUED"

    def test_joins_and_is_joined_by_its_unique_key(self, rig):
        number = self.later(rig, START + 1000, unique=b"u")
        rig.background(unique=b"u")
        assert list(rig.table.jobs) == [number]
        assert rig.state(number) == "DELAYED"

    def test_can_be_cancelled(self, rig):
        number = self.later(rig, START + 1000)
        assert rig.say(Cancel(1, b"H:a:%d" % number)) == [("settled", 1, "DONE")]
        assert rig.wait(1000) == []
        assert rig.table.jobs == {}

    def test_queues_up_behind_what_waits_already(self, rig):
        late, early = self.later(rig, START + 200), self.later(rig, START + 100)
        number = rig.background()
        rig.wait(1000)
        assert rig.queue() == [number, early, late]

    def test_goes_back_to_the_queue_not_to_its_delay_after_a_lost_run(self, rig):
        rig.worker(1, b"f", limit=1000)
        number = self.later(rig, START + 100)
        rig.wait(100)
        rig.grab(1)
        rig.wait(1000)
        assert rig.state(number) == "QUEUED"
        assert rig.table.jobs[number].due == 0

    @pytest.mark.parametrize("due", [2**63, 2**64 - 1])
    def test_of_the_farthest_future_can_be_kept(self, rig, due):
        number = self.later(rig, due)
        rig.wait(10**15)
        assert rig.state(number) == "DELAYED"


class TestTheClock:
    def test_never_goes_back(self, rig):
        rig.worker(1, b"f", limit=1000)
        rig.background()
        rig.grab(1)
        rig.wait(-500_000)
        assert rig.table.now == START
        rig.background()
        rig.grab(1)
        assert {job.deadline for job in rig.table.jobs.values()} == {START + 1000}

    def test_moves_before_the_commands_of_its_entry(self, rig):
        rig.worker(1, b"f", limit=1000)
        number = rig.background()
        rig.grab(1)
        last = rig.table.nodes["a"].last
        said = [Finish(1, number), Grab(1, 0), Take(1, number)]
        rig.table.apply(propose(START + 1000, [Batch("a", 1, last + 1, said)]))
        assert rig.running(1) == [number]
        assert rig.table.jobs[number].attempts == 1
