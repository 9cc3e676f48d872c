"""What things cost as the table grows, by count of the bytecode that the table runs: no clock, so no luck.

Work done inside C (a heap's sift, a dict's probe) is not seen; a copy or a scan there shows as memory, which is
measured too.
"""

import sys
import tracemalloc
from dataclasses import dataclass

import pytest

from cluster.jobs import (
    Can,
    Cancel,
    CantAny,
    Finish,
    Grab,
    NodeDown,
    Park,
    Progress,
    SessionClose,
    SessionOpen,
    Submit,
    Take,
    Unreserve,
)
from tests.cluster.jobs.rig import Rig
from tests.cluster.jobs.views import reachable

FEW, MANY = 1_000, 100_000


@dataclass(frozen=True)
class Cost:
    """What one action cost."""

    steps: int
    """Bytecode instructions run in modules of the table."""
    memory: int
    """Bytes allocated at the same time, at most."""


def cost(action) -> Cost:
    """Count what an action costs."""
    steps = 0

    def trace(frame, event, argument):
        nonlocal steps
        if not frame.f_globals["__name__"].startswith("cluster.jobs"):
            return None
        frame.f_trace = trace  # before the next line, or Python 3.13 passes over it
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        steps += event == "opcode"
        return trace

    before = sys.gettrace()
    tracemalloc.start()
    sys._getframe().f_trace_opcodes = True  # from Python 3.12 on, settrace asks whether anybody wants instructions
    sys.settrace(trace)
    try:
        action()
    finally:
        sys.settrace(before)
        memory = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert steps, "nothing was counted"
    return Cost(steps, memory)


def background(count, function=b"f", **more):
    return [Submit(0, function, b"", b"", 1, background=True, **more) for _ in range(count)]


def crowded(size: int) -> dict[str, Cost]:
    """Do everything once in a table that has so many jobs of every kind."""
    rig = Rig()
    rig.worker(1, b"f", b"run")
    rig.worker(2, b"timed", limit=10_000)
    rig.worker(3, b"idle")
    rig.open(4)
    rig.say(*background(size))
    rig.say(*background(size // 4, b"timed"))
    rig.run(2, size // 4)
    rig.say(*background(size // 4, b"later", due=rig.time + 5000))
    rig.say(*(Submit(4, b"unique", b"u%d" % n, b"", 1, background=False) for n in range(size // 4)))
    middle = size // 2
    costs = {}

    def measure(name, action):
        costs[name] = cost(action)

    measure("a submit", lambda: rig.say(*background(1)))
    measure("a submit with a unique key", lambda: rig.say(Submit(4, b"unique", b"new", b"", 1, background=False)))
    measure("a submit that joins", lambda: rig.say(Submit(1, b"unique", b"u5", b"", 1, background=False)))
    measure("a submit for later", lambda: rig.say(*background(1, b"later", due=rig.time + 4000)))
    measure("a grab", lambda: rig.say(Grab(1, 0)))
    job = rig.reserved(1)[0]
    measure("a take", lambda: rig.say(Take(1, job)))
    measure("progress", lambda: rig.say(Progress(1, job, 1, 2)))
    measure("an end", lambda: rig.say(Finish(1, job)))
    rig.say(*background(1, b"timed"), Grab(2, 0))
    timed = rig.reserved(2)[0]
    measure("a take with a time limit", lambda: rig.say(Take(2, timed)))
    measure("an end before the time limit", lambda: rig.say(Finish(2, timed)))
    measure("a cancel in the middle", lambda: rig.say(Cancel(0, b"H:a:%d" % middle)))
    measure("a park", lambda: rig.say(Park(3)))
    measure("a wake", lambda: rig.say(*background(1, b"idle")))
    reserved = rig.reserved(3)[0]
    measure("an unreserve", lambda: rig.say(Unreserve(3, reserved)))
    measure("a session that loses its job", lambda: rig.say(Grab(3, 0), Take(3, reserved), SessionClose(3)))
    measure("a deadline", lambda: rig.wait(4000))
    measure("a look by handle", lambda: rig.table.find(b"H:a:%d" % (middle + 1)))
    measure("a look by unique key", lambda: rig.table.find_unique(b"u7"))
    return costs


@pytest.fixture(scope="module")
def few():
    return crowded(FEW)


@pytest.fixture(scope="module")
def many():
    return crowded(MANY)


class TestAHundredThousandJobs:
    @pytest.mark.parametrize(
        "action",
        [
            "a submit",
            "a submit with a unique key",
            "a submit that joins",
            "a submit for later",
            "a grab",
            "progress",
            "an end",
            "a take with a time limit",
            "an end before the time limit",
            "a cancel in the middle",
            "a park",
            "a wake",
            "a take",
            "an unreserve",
            "a session that loses its job",
            "a deadline",
            "a look by handle",
            "a look by unique key",
        ],
    )
    def test_make_no_action_dearer_than_a_thousand(self, action, few, many):
        assert many[action].steps <= 1.2 * few[action].steps

    def test_are_cancelled_one_by_one_at_the_same_cost_each(self):
        """A queue lets go of what has ended in its middle now and then, not each time."""

        def each(size):
            rig = Rig()
            rig.say(*background(size))
            handles = [b"H:a:%d" % number for number in range(size, 0, -1)]
            return cost(lambda: rig.say(*(Cancel(0, handle) for handle in handles))).steps / size

        assert each(3000) <= 1.2 * each(500)

    def test_are_taken_one_by_one_at_the_same_cost_each_behind_cancelled_ones(self):
        def each(size):
            rig = Rig()
            rig.worker(1, b"f")
            rig.say(*background(2 * size))
            rig.say(*(Cancel(0, b"H:a:%d" % number) for number in range(2, 2 * size, 2)))
            return cost(lambda: rig.say(*(Grab(1, 0) for _ in range(size)))).steps / size

        assert each(2000) <= 1.2 * each(500)


class TestTwentyThousandFunctionsAndAThousandWorkers:
    """gearmand#6, gearmand#393."""

    @staticmethod
    def busy(functions, workers, each):
        """Make a table where every worker sleeps, and can do some of the functions."""
        rig = Rig()
        names = [b"f%d" % number for number in range(functions)]
        for worker in range(1, workers + 1):
            mine = [names[(worker * each + offset) % functions] for offset in range(each)]
            rig.say(SessionOpen(worker, ""), *(Can(worker, name, 0) for name in mine), Park(worker))
        return rig

    def test_do_not_slow_a_submit_that_waits(self):
        def submit(rig):
            rig.say(*(background(1, name)[0] for name in list(rig.table.functions)))
            rig.say(*background(1, b"f1"))
            return cost(lambda: rig.say(*background(1, b"f1"))).steps

        assert submit(self.busy(20_000, 1000, 20)) <= 1.2 * submit(self.busy(100, 5, 20))

    def test_do_not_slow_a_submit_that_wakes(self):
        def submit(rig):
            return cost(lambda: rig.say(*background(1, b"f1"))).steps

        assert submit(self.busy(20_000, 1000, 20)) <= 1.2 * submit(self.busy(100, 5, 20))

    def test_do_not_slow_a_grab(self):
        def grab(rig):
            rig.say(*(background(1, name)[0] for name in list(rig.table.functions)))
            rig.say(*background(100, b"f1"))
            return cost(lambda: rig.say(Grab(1, 0))).steps

        assert grab(self.busy(20_000, 1000, 20)) <= 1.2 * grab(self.busy(100, 5, 20))

    def test_do_not_slow_a_submit_though_a_thousand_workers_do_the_same(self):
        def submit(rig):
            return cost(lambda: rig.say(*background(1, b"f1"))).steps

        assert submit(self.busy(20, 1000, 20)) <= 1.2 * submit(self.busy(20, 5, 20))

    def test_do_not_slow_a_submit_that_wakes_a_worker_for_everything(self):
        def submit(rig):
            return cost(lambda: rig.say(*background(1, b"f1"))).steps

        assert submit(self.busy(20_000, 1, 20_000)) <= 10 * submit(self.busy(20, 1, 20))

    def test_do_not_slow_the_grab_of_a_worker_for_everything(self):
        def grab(rig):
            rig.say(CantAny(2), *background(2, b"f1"))
            return cost(lambda: rig.say(Grab(1, 0))).steps

        assert grab(self.busy(20_000, 1, 20_000)) <= 1.2 * grab(self.busy(20, 1, 20))

    def test_do_not_slow_a_submit_with_a_key_that_all_functions_use(self):
        def submit(functions):
            rig = Rig()
            rig.say(*(Submit(0, b"f%d" % n, b"same", b"", 1, background=True) for n in range(functions)))
            new = cost(lambda: rig.say(Submit(0, b"new", b"same", b"", 1, background=True)))
            end = cost(lambda: rig.say(Cancel(0, b"H:a:%d" % functions)))
            return new.steps + end.steps, new.memory + end.memory

        few, many = submit(100), submit(20_000)
        assert many[0] <= 1.2 * few[0]
        assert many[1] <= few[1] + 2_000_000, "one growth of a dict; not a copy each time"


class TestManyClientsOfOneJob:
    def test_join_it_at_the_same_cost_each(self):
        def join(clients):
            rig = Rig()
            rig.open(*range(1, clients + 2))
            rig.say(*(Submit(client, b"f", b"u", b"", 1, background=False) for client in range(1, clients + 1)))
            return cost(lambda: rig.say(Submit(clients + 1, b"f", b"u", b"", 1, background=False)))

        few, many = join(100), join(10_000)
        assert many.steps <= 1.2 * few.steps
        assert many.memory <= few.memory + 10_000, "a copy of the listeners would take 80 kB"

    def test_leave_it_with_their_node_at_the_same_cost_each(self):
        def leave(clients):
            rig = Rig()
            rig.open(*range(1, clients + 1), node="b")
            said = [Submit(client, b"f", b"u", b"", 1, background=False) for client in range(1, clients + 1)]
            rig.say(*said, node="b")
            return cost(lambda: rig.decide(NodeDown("b", 1))).steps / clients

        assert leave(3000) <= 1.2 * leave(300)


class TestEndedJobs:
    def test_do_not_pile_up_behind_one_that_waits(self):
        rig = Rig(audience=None)
        rig.background()
        size = len(reachable(rig.table))
        for start in range(2, 10_000, 100):
            rig.say(*background(100))
            rig.say(*(Cancel(0, b"H:a:%d" % number) for number in range(start, start + 100)))
        assert rig.queue() == [1]
        assert len(reachable(rig.table)) <= size + 500


class TestDeadlines:
    def test_of_jobs_that_have_finished_do_not_pile_up(self):
        rig = Rig(audience=None)
        rig.worker(1, b"f", limit=3_600_000)
        size = len(reachable(rig.table))
        for _ in range(100):
            rig.say(*background(100))
            running = rig.run(1, 100)
            assert len(running) == 100
            rig.say(*(Finish(1, number) for number in running))
        assert len(reachable(rig.table)) <= size + 3 * 1100

    def test_of_jobs_that_were_cancelled_do_not_pile_up(self):
        rig = Rig(audience=None)
        size = len(reachable(rig.table))
        for _ in range(100):
            rig.say(*background(100, due=rig.time + 10**9))
            rig.say(*(Cancel(0, job.handle) for job in rig.table.jobs.values()))
        assert len(reachable(rig.table)) <= size + 3 * 1100

    def test_are_swept_at_the_same_cost_for_each_job(self):
        def each(size):
            rig = Rig(audience=None)
            rig.worker(1, b"f", limit=3_600_000)
            rig.say(*background(size))
            numbers = rig.run(1, size)
            assert len(numbers) == size
            return cost(lambda: rig.say(*(Finish(1, number) for number in numbers))).steps / size

        assert each(3000) <= 1.2 * each(1500)
