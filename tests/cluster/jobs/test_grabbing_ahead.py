"""How many jobs a fast worker may have reserved in advance: never so many that another worker goes without."""

import pytest

from cluster.jobs import Can, Grab, Park, Prefetch, SessionClose
from tests.cluster.jobs.rig import Rig


@pytest.fixture
def rig():
    return Rig()


class TestGrabbingAhead:
    @pytest.mark.parametrize(
        ("waiting", "workers", "ahead", "reserved"),
        [
            (1, 1, 10, 0),
            (2, 1, 10, 1),
            (11, 1, 10, 10),
            (100, 1, 10, 10),
            (21, 5, 10, 4),
            (20, 5, 10, 3),
            (6, 5, 10, 1),
            (5, 5, 10, 0),
            (100, 1, 0, 0),
            (100, 1, -5, 0),
            (100, 1, 2**64 - 1, 99),
        ],
    )
    def test_takes_at_most_an_even_share_of_what_waits(self, rig, waiting, workers, ahead, reserved):
        for worker in range(1, workers + 1):
            rig.worker(worker, b"f")
        jobs = [rig.background() for _ in range(waiting)]
        assert rig.grab(1, ahead=ahead) == jobs[0]
        assert rig.reserved(1) == jobs[1 : 1 + reserved]
        assert rig.queue() == jobs[1 + reserved :]

    def test_wakes_nobody(self, rig):
        rig.worker(1, b"f")
        for _ in range(5):
            rig.background()
        told = rig.say(Grab(1, 2))
        assert [effect[0] for effect in told] == ["assigned", "reserved", "reserved"]
        assert [effect[4] for effect in told[1:]] == [False, False]

    def test_leaves_the_shallow_queue_of_another_function_alone(self, rig):
        rig.worker(1, b"f", b"g")
        rig.worker(2, b"g")
        for _ in range(50):
            rig.background(b"f")
        only = rig.background(b"g")
        rig.grab(1, ahead=10)
        assert rig.state(only) == "QUEUED"

    def test_shares_each_of_several_deep_queues_by_its_own_depth(self, rig):
        rig.worker(1, b"f", b"g")
        rig.worker(2, b"g")
        for _ in range(41):
            rig.background(b"f")
            rig.background(b"g")
        rig.grab(1, ahead=100)
        reserved = [rig.table.jobs[number].function.name for number in rig.reserved(1)]
        assert reserved.count(b"g") == 20
        assert reserved.count(b"f") in (20, 21)

    def test_keeps_to_the_order_of_priorities(self, rig):
        rig.worker(1, b"f")
        low = [rig.background(priority=2) for _ in range(4)]
        high = [rig.background(priority=0) for _ in range(4)]
        assert rig.grab(1, ahead=3) == high[0]
        assert rig.reserved(1) == high[1:]
        assert rig.queue(priority=2) == low

    def test_gives_everything_back_in_order_when_the_worker_goes(self, rig):
        rig.worker(1, b"f")
        jobs = [rig.background() for _ in range(9)]
        rig.grab(1, ahead=4)
        rig.say(SessionClose(1))
        assert rig.queue() == jobs
        assert [rig.table.jobs[number].attempts for number in jobs] == [1] + [0] * 8

    def test_counts_all_workers_of_the_function_wherever_they_are(self, rig):
        rig.worker(1, b"f")
        for worker in range(1, 5):
            rig.worker(worker, b"f", node="b")
        for _ in range(21):
            rig.background()
        rig.grab(1, ahead=10)
        assert len(rig.reserved(1)) == 4

    def test_of_a_session_that_is_not_open_gets_nothing(self, rig):
        rig.background()
        assert rig.say(Grab(7, 10)) == [("no job", 7)]

    def test_of_a_worker_without_abilities_gets_nothing(self, rig):
        rig.open(1)
        rig.background()
        assert rig.say(Grab(1, 10)) == [("no job", 1)]
        rig.say(Can(1, b"f", 0))
        assert rig.grab(1) is not None


class TestPrefetching:
    @pytest.fixture
    def jobs(self, rig):
        for worker in range(1, 6):
            rig.worker(worker, b"f")
        return [rig.background() for _ in range(100)]

    def test_reserves_without_an_answer(self, rig, jobs):
        told = rig.say(Prefetch(1, 3))
        assert [(effect[0], effect[2], effect[4]) for effect in told] == [("reserved", job, False) for job in jobs[:3]]

    def test_takes_at_most_an_even_share(self, rig, jobs):
        rig.say(Prefetch(1, 50))
        assert rig.reserved(1) == jobs[:20]

    def test_again_and_again_leaves_a_job_for_every_other_worker(self, rig, jobs):
        rig.say(*(Prefetch(1, 50) for _ in range(200)))
        assert len(rig.queue()) == 4
        assert all(rig.grab(worker) is not None for worker in range(2, 6))

    def test_of_a_sleeper_does_nothing(self, rig):
        rig.worker(1, b"g")
        assert rig.say(Park(1)) == []
        for _ in range(50):
            rig.background(b"f")
        rig.say(Can(1, b"f", 0))
        assert rig.say(Prefetch(1, 3)) == []
        assert rig.reserved(1) == []

    def test_of_a_session_that_is_not_open_does_nothing(self, rig, jobs):
        assert rig.say(Prefetch(77, 3)) == []
        assert rig.queue() == jobs
