"""Sessions that end, and jobs that fall due: however many they are, one entry does only so much of it.

What is done is counted in bytecode, as in `test_costs`. The order of things is the model's test.
"""

from functools import partial

import pytest

from cluster.jobs import (
    Batch,
    Can,
    Cancel,
    Finish,
    Grab,
    JobState,
    MirrorWriter,
    NodeDown,
    Park,
    SessionClose,
    SessionOpen,
    Submit,
    Take,
    digest,
    propose,
)
from cluster.jobs import departures as departures_module
from cluster.jobs import lifecycle as lifecycle_module
from tests.cluster.jobs import soundness
from tests.cluster.jobs.disk import Disk
from tests.cluster.jobs.rig import Rig
from tests.cluster.jobs.test_costs import cost

MOST_STEPS = 1_000_000
"""Instructions of one entry at most: about 10 ms. A step of 2,000 takes a few hundred for each."""


@pytest.fixture
def rig():
    return Rig()


@pytest.fixture
def small_steps(monkeypatch):
    monkeypatch.setattr(departures_module, "STEP", 3)
    monkeypatch.setattr(lifecycle_module, "DUE", 3)


def costs_until_settled(rig, action):
    """Count the steps of the entry that begins something, and of every one that the table asks for after it."""
    counts = [cost(action).steps]
    while (due := rig.table.next_deadline()) is not None and due <= rig.time:
        counts.append(cost(lambda: rig.wait(0)).steps)
    return counts


def say_many(rig, commands, node="a"):
    for start in range(0, len(commands), 1000):
        rig.say(*commands[start : start + 1000], node=node)


def foreground(session, count):
    return [Submit(session, b"f", b"", b"", 1, background=False) for _ in range(count)]


def background(count, **more):
    return [Submit(0, b"f", b"", b"", 1, background=True, **more) for _ in range(count)]


class TestOneEntry:
    """Does a bounded part of it."""

    def test_of_the_end_of_a_node_with_many_sessions(self, rig):
        say_many(rig, [SessionOpen(number, "peer") for number in range(1, 20_001)], node="b")
        say_many(rig, [Can(number, b"f", 0) for number in range(1, 20_001)], node="b")
        say_many(rig, [Park(number) for number in range(1, 20_001)], node="b")
        counts = costs_until_settled(rig, lambda: rig.decide(NodeDown("b", 1)))
        assert max(counts) <= MOST_STEPS
        assert len(counts) >= 20_000 // departures_module.STEP
        assert rig.table.functions == {}
        soundness.check(rig.table)

    def test_of_the_next_incarnation_of_such_a_node(self, rig):
        say_many(rig, [SessionOpen(number, "peer") for number in range(1, 20_001)], node="b")
        counts = costs_until_settled(rig, lambda: rig.restart("b"))
        assert max(counts) <= MOST_STEPS
        assert rig.table.nodes["b"].sessions == {}

    def test_of_the_end_of_a_session_that_waits_for_many_jobs(self, rig):
        rig.open(1)
        say_many(rig, foreground(1, 20_000))
        counts = costs_until_settled(rig, lambda: rig.say(SessionClose(1)))
        assert max(counts) <= MOST_STEPS
        assert rig.table.jobs == {}

    def test_of_the_end_of_a_session_that_holds_many_jobs(self, rig):
        rig.worker(1, b"f")
        say_many(rig, background(20_000))
        say_many(rig, [Grab(1, 0)] * 20_000)
        say_many(rig, [Take(1, number) for number in range(1, 10_001)])
        counts = costs_until_settled(rig, lambda: rig.say(SessionClose(1)))
        assert max(counts) <= MOST_STEPS
        assert rig.queue() == list(range(1, 20_001))
        assert {job.attempts for job in rig.table.jobs.values()} == {0, 1}

    def test_of_the_ends_of_many_sessions(self, rig):
        say_many(rig, [SessionOpen(number, "peer") for number in range(1, 20_001)])
        say_many(rig, [Can(number, b"f", 0) for number in range(1, 20_001)])
        closes = [SessionClose(number) for number in range(1, 20_001)]
        alone = cost(lambda: rig.say(*[SessionClose(0)] * 20_000)).steps
        counts = costs_until_settled(rig, lambda: rig.say(*closes))
        assert max(counts) <= 6 * alone  # each of them gets a place in the line, and 2,000 are let go
        assert max(counts[1:]) <= MOST_STEPS

    @pytest.mark.parametrize("milliseconds", [0, 1])
    def test_of_jobs_that_fall_due(self, rig, milliseconds):
        """All in one moment, or one after the other, while the leader's clock leapt."""
        due = rig.time + 1000
        say_many(rig, [background(1, due=due + n * milliseconds)[0] for n in range(20_000)])
        counts = costs_until_settled(rig, lambda: rig.wait(100_000))
        assert max(counts) <= MOST_STEPS
        assert len(counts) >= 20_000 // lifecycle_module.DUE
        assert rig.queue() == list(range(1, 20_001))

    def test_of_time_limits_that_are_over(self, rig):
        rig.worker(1, b"f", limit=1000)
        say_many(rig, background(20_000))
        say_many(rig, [Grab(1, 0)] * 20_000)
        say_many(rig, [Take(1, number) for number in range(1, 20_001)])
        counts = costs_until_settled(rig, lambda: rig.wait(1000))
        assert max(counts) <= MOST_STEPS
        assert all(job.attempts == 1 for job in rig.table.jobs.values())

    @pytest.mark.parametrize("kept", [range(1, 20_001, 2), range(1, 5001)])
    def test_of_cancelled_jobs_in_a_queue(self, rig, kept):
        """No single cancel, and no job that is taken after it, sweeps the whole queue."""
        rig.worker(1, b"f")
        say_many(rig, background(20_000))
        gone = sorted(set(range(1, 20_001)) - set(kept), key=lambda number: number * 7919 % 20_011)
        for start in range(0, len(gone), 100):
            cancels = [Cancel(0, b"H:a:%d" % number) for number in gone[start : start + 100]]
            assert cost(partial(rig.say, *cancels)).steps <= 150_000
        first = cost(lambda: rig.say(Grab(1, 0)))
        assert first.steps <= MOST_STEPS // 5
        queue = rig.table.functions[b"f"].queues[1]
        assert len(list(queue)) <= 2 * queue.waiting + 100
        assert [job for job in rig.queue() if job not in kept] == []

    def test_of_cancelled_delayed_jobs(self, rig):
        say_many(rig, background(20_000, due=rig.time + 1000))
        for number in range(1, 19_991):
            cancel = partial(rig.say, Cancel(0, b"H:a:%d" % number))
            if number % 1000:
                cancel()
            else:
                assert cost(cancel).steps <= 5000
        assert len(rig.table.deadlines) == 10
        assert cost(lambda: rig.wait(1000)).steps <= 10_000
        assert rig.queue() == list(range(19_991, 20_001))


class TestWhatDeparts:
    """Is over from the moment of its end, though the table goes on with it."""

    @pytest.fixture(autouse=True)
    def _small(self, small_steps):
        self.disk, self.writer = Disk(), MirrorWriter()

    def departing(self, rig, sessions=10):
        """Let node b go down with workers that sleep."""
        for number in range(1, sessions + 1):
            rig.worker(number, b"f", node="b")
        rig.park(*range(1, sessions + 1), node="b")
        rig.decide(NodeDown("b", 1))
        assert rig.table.departing

    def test_is_given_no_job(self, rig):
        self.departing(rig)
        number = rig.background()
        assert rig.queue() == [number]
        rig.settle()
        assert rig.queue() == [number]
        soundness.check(rig.table)

    def test_does_not_keep_a_job_from_a_worker_that_slept_before_it(self, rig):
        rig.worker(1, b"f")
        rig.park(1)
        self.departing(rig)
        number = rig.background()
        assert rig.reserved(1) == [number]

    def test_is_not_mixed_up_with_the_next_incarnation(self, rig):
        for number in range(1, 6):
            rig.worker(number, b"f", node="b")
        jobs = [rig.background() for _ in range(5)]
        for number in range(1, 6):
            rig.grab(number, node="b")
        rig.restart("b")
        assert rig.table.departing
        for number in range(1, 6):
            rig.worker(number, b"g", node="b")
        rig.say(*(Finish(number, job) for number, job in zip(range(1, 6), jobs, strict=True)), node="b")
        assert set(rig.table.jobs) == set(jobs)
        rig.table, self.writer = self.restored(rig)
        rig.settle()
        assert sorted(rig.queue()) == jobs
        assert set(rig.table.nodes["b"].sessions) == set(range(1, 6))
        assert set(rig.table.functions) == {b"f", b"g"}
        soundness.check(rig.table)

    def test_is_not_mixed_up_with_a_session_that_gets_its_number(self, rig):
        rig.open(1)
        first = [rig.foreground(1) for _ in range(9)]
        rig.say(SessionClose(1), SessionOpen(1, "again"))
        second = rig.foreground(1, b"g")
        assert rig.table.departing
        rig.table, self.writer = self.restored(rig)
        rig.say(SessionClose(1), SessionOpen(1, "once more"))
        third = rig.foreground(1, b"h")
        rig.settle()
        assert list(rig.table.jobs) == [third]
        assert first
        assert second
        soundness.check(rig.table)

    def test_hears_of_no_end(self, rig):
        rig.open(1)
        rig.worker(2, b"f", node="b")
        for _ in range(9):
            rig.foreground(1)
        numbers = [rig.grab(2, node="b") for _ in range(9)]
        rig.say(SessionClose(1))
        assert rig.table.departing
        assert rig.say(*(Finish(2, number) for number in numbers), node="b") == []
        rig.settle()
        assert rig.table.jobs == {}
        soundness.check(rig.table)

    def test_answers_no_question_about_a_job_that_it_still_holds(self, rig):
        """It will not say how the run ended: who asks for the job again is told at once that it is accepted."""
        for number in range(1, 10):
            rig.worker(number, b"f", node="b")
            rig.background(unique=b"u%d" % number)
            rig.grab(number, node="b")
        rig.decide(NodeDown("b", 1))
        assert rig.table.jobs[9].state is JobState.RUNNING
        assert not rig.table.jobs[9].runs
        rig.open(1)
        effects = rig.say(Submit(1, b"f", b"u9", b"", 1, background=False))
        assert effects == [("created", 1, 9, b"H:a:9")]
        rig.settle()
        assert rig.queue() != []
        assert rig.state(9) == "QUEUED"

    def test_goes_on_in_a_table_that_was_restored(self, rig):
        rig.open(1)
        rig.worker(2, b"f")
        for _ in range(20):
            rig.foreground(1)
        for _ in range(8):
            rig.grab(2)
        rig.say(SessionClose(1), SessionClose(2))
        tables = [rig.table, self.restored(rig)[0]]
        for _ in range(100):
            if not rig.table.departing:
                break
            tables.append(self.restored(rig)[0])
            for table in tables:
                table.apply(propose(rig.time, []))
            assert len({digest(table) for table in tables}) == 1
        assert not any(table.departing for table in tables)
        assert all(not table.jobs for table in tables)

    def test_lets_go_of_the_oldest_first_whatever_it_joined_first(self, rig):
        rig.open(1, 2)
        numbers = [rig.foreground(2, unique=b"u%d" % n) for n in range(9)]
        for n in reversed(range(9)):
            rig.foreground(1, unique=b"u%d" % n)
        restored, _ = self.restored(rig)
        for table in (rig.table, restored):
            batch = Batch("a", 1, table.nodes["a"].last + 1, [SessionClose(2), SessionClose(1)])
            table.apply(propose(rig.time, [batch]))
            assert list(table.jobs) == numbers
            for _ in range(4):
                table.apply(propose(rig.time, []))
        assert 0 < len(rig.table.jobs) < 9
        assert digest(restored) == digest(rig.table)
        while rig.table.departing:
            for table in (rig.table, restored):
                table.apply(propose(rig.time, []))
            assert digest(restored) == digest(rig.table)
        assert rig.table.jobs == {}

    def test_makes_the_table_ask_for_an_entry_at_once(self, rig):
        self.departing(rig)
        entries = 0
        while rig.table.departing:
            assert rig.table.next_deadline() == 0
            rig.wait(0)
            entries += 1
        assert entries > 1
        assert rig.table.next_deadline() is None

    def test_of_jobs_falls_due_in_order(self, rig):
        jobs = [rig.say(Submit(0, b"f", b"", b"", 1, background=True, due=rig.time + 1000 - n)) for n in range(10)]
        rig.wait(1000)
        assert rig.table.next_deadline() <= rig.time
        assert len(rig.queue()) == 3
        assert rig.settle() == 3
        assert rig.queue() == list(range(len(jobs), 0, -1))

    def restored(self, rig):
        self.disk.write(self.writer.take(rig.table))
        table, writer = self.disk.read("a")
        assert digest(table) == digest(rig.table)
        soundness.check(table)
        return table, writer


class TestTheEndOfANode:
    def test_changes_no_page_of_its_sessions(self, rig):
        """Or it would take as long as they are many."""
        say_many(rig, [SessionOpen(number, "peer") for number in range(1, 10_001)], node="b")
        writer = MirrorWriter()
        assert len(writer.take(rig.table).segments) == 10_000 // 16 + 1
        rig.decide(NodeDown("b", 1))
        mirror = writer.take(rig.table)
        assert len(mirror.segments) <= departures_module.STEP // 16 + 2
        assert len(mirror.meta) <= 500
