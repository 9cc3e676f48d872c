"""Names of functions: how many there may be, when they are forgotten, and what an idle one costs."""

import gc
import tracemalloc

import pytest

from cluster.jobs import (
    Batch,
    Can,
    Cancel,
    Cant,
    CantAny,
    CreateFunction,
    DropFunction,
    Finish,
    Grab,
    JobTable,
    MirrorWriter,
    NodeUp,
    Park,
    SessionClose,
    SessionOpen,
    SetLimit,
    Submit,
    decode_proposal,
    digest,
    encode_proposal,
    propose,
    restore,
)
from cluster.jobs.names import ABILITIES
from tests.cluster.jobs.rig import Rig


@pytest.fixture
def rig():
    rig = Rig()
    rig.open(1)
    return rig


def names(rig):
    return set(rig.table.functions)


def bound(rig, most):
    """Let the cluster have so many functions: the newest word holds."""
    rig.table.max_functions = most


def submit(name, **more):
    return Submit(0, name, b"", b"", 1, background=True, **more)


class TestANameIsForgotten:
    @pytest.mark.parametrize("end", [Cant(1, b"f"), CantAny(1), SessionClose(1)])
    def test_when_its_last_worker_cannot_do_it_any_more(self, rig, end):
        rig.say(Can(1, b"f", 0))
        assert names(rig) == {b"f"}
        rig.say(end)
        assert names(rig) == set()

    def test_when_its_last_job_has_ended_after_its_last_worker(self, rig):
        rig.say(Can(1, b"f", 0), submit(b"f"), Grab(1, 0), Cant(1, b"f"))
        assert names(rig) == {b"f"}
        rig.say(Finish(1, 1))
        assert names(rig) == set()

    def test_when_its_last_job_is_cancelled(self, rig):
        rig.say(submit(b"f"), submit(b"f", due=rig.time + 1000))
        rig.say(Cancel(1, b"H:a:1"))
        assert names(rig) == {b"f"}
        rig.say(Cancel(1, b"H:a:2"))
        assert names(rig) == set()

    def test_when_its_limit_is_lifted(self, rig):
        rig.say(SetLimit(1, b"f", 0, 5, 0))
        assert names(rig) == {b"f"}
        rig.say(SetLimit(1, b"f", 0, 0, 0))
        assert names(rig) == set()

    def test_when_its_node_has_gone(self, rig):
        rig.worker(1, b"f", b"g", node="b")
        rig.restart("b")
        assert names(rig) == set()

    def test_and_is_as_new_when_it_comes_again(self, rig):
        for _ in range(3):
            rig.say(Can(1, b"f", 0))
            number = rig.background()
            assert rig.grab(1) == number
            rig.say(Finish(1, number), Cant(1, b"f"))
            assert names(rig) == set()

    def test_in_the_mirror_as_well(self, rig):
        rig.say(Can(1, b"f", 0), SetLimit(1, b"g", 1, 1, 1), CreateFunction(1, b"h"))
        writer = MirrorWriter()
        writer.take(rig.table)
        rig.say(Cant(1, b"f"), SetLimit(1, b"g", 0, 0, 0), DropFunction(1, b"h"))
        mirror = writer.take(rig.table)
        table, _ = restore(mirror.meta, [each for each in mirror.segments if each[1] is not None], [])
        assert table.functions == {}
        assert [number for number, data in mirror.segments if data is None] == [-2]


class TestANameStays:
    def test_while_it_has_a_limit(self, rig):
        rig.say(SetLimit(1, b"f", 0, 0, 2), Can(1, b"f", 0), CantAny(1))
        assert rig.table.functions[b"f"].limits == (0, 0, 2)

    def test_once_it_was_created(self, rig):
        rig.say(CreateFunction(1, b"f"), submit(b"f"), Cancel(1, b"H:a:1"), SetLimit(1, b"f", 0, 0, 0))
        assert names(rig) == {b"f"}

    def test_with_its_settings_after_it_was_restored(self, rig):
        rig.say(CreateFunction(1, b"f"), SetLimit(1, b"g", 1, 2, 3))
        mirror = MirrorWriter().take(rig.table)
        table, writer = restore(mirror.meta, mirror.segments, [], "a")
        assert digest(table) == digest(rig.table)
        assert (table.functions[b"f"].created, table.functions[b"g"].limits) == (True, (1, 2, 3))
        rig.table = table
        rig.say(DropFunction(1, b"f"))
        assert names(rig) == {b"g"}
        assert [number for number, _ in writer.take(table).segments] == [-2]


class TestTooManyFunctions:
    def test_are_refused_by_any_way_in(self, rig):
        bound(rig, 2)
        rig.open(2)
        assert rig.say(Can(1, b"f", 0), submit(b"g")) == [("created", 0, 1, b"H:a:1")]
        told = rig.say(Can(1, b"h", 0), submit(b"h"), CreateFunction(2, b"h"), SetLimit(2, b"h", 1, 1, 1))
        assert told == [
            ("incapable", 1, b"h"),
            ("refused", 0, "TOO_MANY_FUNCTIONS"),
            ("settled", 2, "TOO_MANY_FUNCTIONS"),
            ("settled", 2, "TOO_MANY_FUNCTIONS"),
        ]
        assert names(rig) == {b"f", b"g"}

    def test_keep_nobody_from_those_that_are_there(self, rig):
        bound(rig, 1)
        rig.say(Can(1, b"f", 0))
        rig.open(2)
        assert [effect[0] for effect in rig.say(Can(2, b"f", 0), submit(b"f"), CreateFunction(2, b"f"))] == [
            "created",
            "settled",
        ]
        assert rig.table.functions[b"f"].workers == 2

    def test_leave_room_again_when_one_is_forgotten(self, rig):
        bound(rig, 1)
        rig.say(Can(1, b"f", 0))
        assert rig.say(Can(1, b"g", 0)) == [("incapable", 1, b"g")]
        rig.say(Cant(1, b"f"))
        assert rig.say(Can(1, b"g", 0)) == []
        assert names(rig) == {b"g"}

    def test_are_no_reason_to_forget_those_that_were_there_before(self, rig):
        rig.say(Can(1, b"f", 0), Can(1, b"g", 0))
        bound(rig, 1)
        assert names(rig) == {b"f", b"g"}
        assert rig.say(submit(b"g")) == [("created", 0, 1, b"H:a:1")]
        assert rig.say(submit(b"h")) == [("refused", 0, "TOO_MANY_FUNCTIONS")]

    def test_are_as_many_as_the_node_said_that_came_last(self, rig):
        for node, most in (("a", 1), ("b", 2)):
            incarnation = rig.table.nodes[node].incarnation + 1
            rig.table.apply(propose(rig.time, [Batch(node, incarnation, 1, [NodeUp(b"H", -1, 0, most)])]))
            assert rig.table.max_functions == most
        mirror = MirrorWriter().take(rig.table)
        assert restore(mirror.meta, mirror.segments, [])[0].max_functions == 2

    def test_of_all_workers_together_are_refused_too(self, rig):
        """Many connections that name the same functions cost as much as one that names as many."""
        bound(rig, 2)
        rig.say(CreateFunction(1, b"f"), CreateFunction(1, b"g"))
        rig.open(*range(2, 13))
        able = [Can(session, name, 0) for session in range(2, 13) for name in (b"f", b"g")]
        told = rig.say(*able)
        assert told == [("incapable", 12, b"f"), ("incapable", 12, b"g")]
        assert rig.table.abilities == 2 * ABILITIES
        rig.say(SessionClose(2))
        assert rig.say(Can(12, b"f", 0)) == []
        assert rig.say(Can(12, b"f", 5), Can(12, b"g", 0), Can(12, b"x", 0)) == [("incapable", 12, b"x")]


class Meter:
    """Counts the memory that is in use, from when it was made."""

    def __init__(self):
        gc.collect()
        tracemalloc.start()
        self.start = tracemalloc.get_traced_memory()[0]

    def read(self):
        gc.collect()
        used = tracemalloc.get_traced_memory()[0] - self.start
        tracemalloc.stop()
        return used


NAMES = 20_000


def from_log(*batches):
    """Give a proposal as it comes out of the log: with objects of its own."""
    return decode_proposal(encode_proposal(propose(1, list(batches))))


class TestAnIdleName:
    """At most 400 bytes, whatever keeps it."""

    MOST = 400

    def say(self, table, commands):
        table.apply(from_log(Batch("a", 1, table.nodes["a"].last + 1, commands)))

    def told(self, make, end=()):
        table = JobTable("a")
        table.apply(from_log(Batch("a", 1, 1, [NodeUp(b"H", -1), SessionOpen(1, "peer"), SessionOpen(2, "peer")])))
        meter = Meter()
        for start in range(0, NAMES, 1000):
            self.say(table, [command for n in range(start, start + 1000) for command in make(b"name-%09d" % n, n)])
        self.say(table, list(end))
        while table.departing:
            table.apply(propose(1, []))
        return table, meter.read()

    @pytest.mark.parametrize("end", [(), (Park(1),)])
    def test_of_a_worker(self, end):
        table, used = self.told(lambda name, _: [Can(1, name, 0)], end)
        assert len(table.functions) == NAMES
        assert used / NAMES <= self.MOST

    def test_that_was_created(self):
        table, used = self.told(lambda name, _: [CreateFunction(1, name)])
        assert len(table.functions) == NAMES
        assert used / NAMES <= self.MOST

    def test_that_had_a_job(self):
        """Its queues go with its last job."""
        table, used = self.told(
            lambda name, n: [
                Can(1, name, 0),
                submit(name),
                Grab(1, 0),
                Finish(1, n + 1),
            ]
        )
        assert len(table.functions) == NAMES
        assert table.jobs == {}
        assert used / NAMES <= self.MOST

    @pytest.mark.parametrize("make", [lambda name, _: [CreateFunction(1, name)], lambda name, _: [Can(1, name, 0)]])
    def test_that_was_restored(self, make):
        table, _ = self.told(make, (Park(1),))
        mirror = MirrorWriter().take(table)
        segments = [(number, bytes(bytearray(data))) for number, data in mirror.segments]
        meter = Meter()
        restored, writer = restore(mirror.meta, segments, [])
        used = meter.read()
        assert len(restored.functions) == NAMES
        assert used / NAMES <= self.MOST
        assert writer.take(restored).segments == []

    def test_leaves_nothing_when_its_worker_has_gone(self):
        table, used = self.told(lambda name, _: [Can(1, name, 0)], (Park(1), SessionClose(1)))
        assert table.functions == {}
        assert used <= 64 * 1024

    def test_leaves_nothing_when_its_job_has_ended(self):
        table, used = self.told(
            lambda name, n: [Submit(0, name, b"", b"", 1, background=True), Cancel(2, b"H:%d" % (n + 1))]
        )
        assert table.functions == {}
        assert used <= 128 * 1024
