"""Which waiting job a worker gets next."""

import pytest

from cluster.jobs import Can, Cant, Finish, SessionClose, Unreserve
from tests.cluster.jobs.rig import Rig


@pytest.fixture
def rig():
    return Rig()


class TestPriorities:
    def test_high_goes_before_normal_before_low(self, rig):
        rig.worker(1, b"f")
        low, normal, high = (rig.background(priority=priority) for priority in (2, 1, 0))
        assert rig.grab_all(1) == [high, normal, low]

    def test_count_over_all_functions_of_a_worker(self, rig):
        """A high job of one function goes before a normal job of another (gearmand#173)."""
        rig.worker(1, b"f", b"g", b"h")
        jobs = [rig.background(b"f", priority=1), rig.background(b"g", priority=2), rig.background(b"h", priority=0)]
        assert rig.grab_all(1) == [jobs[2], jobs[0], jobs[1]]

    def test_of_functions_that_the_worker_cannot_do_do_not_matter(self, rig):
        rig.worker(1, b"f")
        rig.background(b"g", priority=0)
        job = rig.background(b"f", priority=2)
        assert rig.table.waiting.best_priority(rig.table.nodes["a"].sessions[1]) == 2
        assert rig.grab_all(1) == [job]
        assert rig.table.waiting.best_priority(rig.table.nodes["a"].sessions[1]) is None

    @pytest.mark.parametrize("priority", [-(2**63), -4, -1, 3, 2**64 - 1])
    def test_out_of_range_are_taken_for_normal(self, rig, priority):
        """One such command in the log would otherwise stop every node, again and again."""
        rig.worker(1, b"f")
        number = rig.background(priority=priority)
        assert rig.queue(priority=1) == [number]
        assert rig.grab(1) == number


class TestRoundRobin:
    def test_takes_functions_of_equal_priority_in_turn(self, rig):
        rig.worker(1, b"f", b"g")
        f = [rig.background(b"f") for _ in range(3)]
        g = [rig.background(b"g") for _ in range(3)]
        assert rig.grab_all(1) == [f[0], g[0], f[1], g[1], f[2], g[2]]

    def test_passes_over_functions_that_have_nothing(self, rig):
        rig.worker(1, b"f", b"g", b"h")
        f = [rig.background(b"f") for _ in range(2)]
        h = [rig.background(b"h") for _ in range(2)]
        assert rig.grab_all(1) == [f[0], h[0], f[1], h[1]]

    def test_gives_the_function_served_longest_ago_its_turn(self, rig):
        rig.worker(1, b"f", b"g")
        rig.background(b"f")
        rig.grab(1)
        f, g = rig.background(b"f"), rig.background(b"g")
        assert rig.grab_all(1) == [g, f]

    def test_is_each_workers_own(self, rig):
        for worker in (1, 2):
            rig.worker(worker, b"f", b"g")
        f = [rig.background(b"f") for _ in range(2)]
        rig.background(b"g")
        assert [rig.grab(1), rig.grab(2)] == f

    def test_puts_a_function_that_was_given_up_and_taken_again_behind(self, rig):
        rig.worker(1, b"f", b"g")
        f, g = rig.background(b"f"), rig.background(b"g")
        rig.say(Cant(1, b"f"), Can(1, b"f", 0))
        assert rig.grab_all(1) == [g, f]

    def test_does_not_count_a_repeated_can_do(self, rig):
        rig.worker(1, b"f", b"g")
        f, g = rig.background(b"f"), rig.background(b"g")
        rig.say(Can(1, b"f", 0))
        assert rig.grab_all(1) == [f, g]

    def test_serves_every_one_of_many_functions_before_any_again(self, rig):
        names = [b"f%d" % number for number in range(20)]
        rig.worker(1, *names)
        jobs = {rig.background(name): name for name in names * 2}
        served = [jobs[number] for number in rig.grab_all(1)]
        assert served == names * 2


class TestOneQueue:
    def test_is_first_in_first_out(self, rig):
        rig.worker(1, b"f")
        jobs = [rig.background() for _ in range(10)]
        assert rig.grab_all(1) == jobs

    def test_takes_a_lost_workers_jobs_back_at_its_front_the_oldest_first(self, rig):
        rig.worker(1, b"f")
        rig.worker(2, b"f")
        jobs = [rig.background() for _ in range(5)]
        for _ in range(3):
            rig.grab(1)
        rig.say(SessionClose(1))
        assert rig.queue() == jobs
        assert rig.grab_all(2) == jobs

    def test_takes_jobs_back_in_the_order_in_which_they_come(self, rig):
        for worker in (1, 2):
            rig.worker(worker, b"f")
        jobs = [rig.background() for _ in range(3)]
        rig.grab(1)
        rig.grab(2)
        rig.say(SessionClose(1), SessionClose(2))
        assert rig.queue() == [jobs[1], jobs[0], jobs[2]]

    def test_takes_an_unreserved_job_back_at_its_front(self, rig):
        rig.worker(1, b"f")
        rig.park(1)
        first = rig.background()
        second = rig.background()
        rig.say(Unreserve(1, first))
        assert rig.queue() == [first, second]

    def test_keeps_its_order_when_jobs_in_the_middle_end(self, rig):
        rig.open(1)
        rig.worker(2, b"f")
        kept = []
        for _ in range(100):
            rig.foreground(1)
            kept.append(rig.background())
            rig.foreground(1)
        rig.say(SessionClose(1))
        assert rig.queue() == kept
        assert rig.grab_all(2) == kept

    def test_goes_on_after_it_was_empty(self, rig):
        rig.worker(1, b"f")
        for _ in range(3):
            number = rig.background()
            assert rig.grab(1) == number
            rig.say(Finish(1, number))
            assert rig.grab(1) is None
