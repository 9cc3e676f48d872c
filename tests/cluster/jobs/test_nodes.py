"""Incarnations, fencing, numbered commands: what a node says counts once, and only while it is the one that is up."""

import pytest

from cluster.jobs import (
    Batch,
    Can,
    Finish,
    Grab,
    JobTable,
    NodeDown,
    NodeUp,
    Park,
    SessionOpen,
    Submit,
    digest,
    propose,
)
from tests.cluster.jobs.rig import Rig
from tests.cluster.jobs.views import describe

BG = Submit(0, b"f", b"", b"", 1, background=True)


@pytest.fixture
def rig():
    return Rig()


class TestANewIncarnation:
    def test_ends_the_sessions_of_the_one_before(self, rig):
        rig.worker(1, b"f")
        number = rig.background()
        rig.grab(1)
        rig.restart("a")
        assert rig.table.nodes["a"].sessions == {}
        assert rig.queue() == [number]
        assert rig.table.functions[b"f"].workers == 0

    def test_must_begin_with_its_first_command_being_node_up(self, rig):
        before = digest(rig.table)
        for batch in (Batch("a", 2, 2, [NodeUp(b"X", -1)]), Batch("a", 2, 1, [BG]), Batch("a", 2, 1, [])):
            assert rig.table.apply(propose(rig.time, [batch])) == []
        assert digest(rig.table) == before

    def test_may_skip_numbers(self, rig):
        rig.table.apply(propose(rig.time, [Batch("a", 77, 1, [NodeUp(b"X", -1), BG])]))
        assert rig.table.nodes["a"].incarnation == 77
        assert rig.table.jobs[1].handle == b"X:1"

    def test_hears_nothing_that_was_meant_for_the_one_before(self, rig):
        rig.worker(1, b"f")
        last = rig.table.nodes["a"].last
        batches = [
            Batch("a", 1, last + 1, [BG, Grab(1, 0)]),
            Batch("a", 2, 1, [NodeUp(b"H:a", -1), SessionOpen(1, "")]),
        ]
        assert rig.table.apply(propose(rig.time, batches)) == []

    def test_leaves_the_handles_of_older_jobs_as_they_were(self, rig):
        rig.background()
        rig.table.apply(propose(rig.time, [Batch("a", 2, 1, [NodeUp(b"new", -1), BG])]))
        assert [job.handle for job in rig.table.jobs.values()] == [b"H:a:1", b"new:2"]

    def test_does_not_bring_back_the_number_of_a_job(self, rig):
        """gearmand#12: the handle of a finished job does not come back after a restart."""
        rig.worker(1, b"f")
        rig.background()
        rig.say(Finish(1, rig.grab(1)))
        rig.restart("a")
        assert rig.background() == 2

    @pytest.mark.parametrize("order", [(5, 3), (3, 5)])
    def test_takes_jobs_back_in_an_order_that_does_not_depend_on_who_opened_first(self, rig, order):
        rig.open(*order)
        rig.say(Can(3, b"f", 0), Can(5, b"f", 0))
        jobs = [rig.background() for _ in range(3)]
        rig.grab(3)
        rig.grab(5)
        rig.restart("a")
        assert rig.queue() == jobs


class TestAPastIncarnation:
    def test_changes_nothing(self, rig):
        rig.restart("a")
        before = digest(rig.table)
        for first in (1, 2, 3):
            assert rig.table.apply(propose(rig.time, [Batch("a", 1, first, [NodeUp(b"X", 5), BG])])) == []
        assert digest(rig.table) == before

    @pytest.mark.parametrize("incarnation", [0, -1, -(2**63)])
    def test_of_zero_or_less_is_none_at_all(self, rig, incarnation):
        before = digest(rig.table)
        for name in ("a", "new"):
            batch = Batch(name, incarnation, 1, [NodeUp(b"X", 5), BG])
            assert rig.table.apply(propose(rig.time, [batch])) == []
        assert digest(rig.table) == before
        assert set(rig.table.nodes) == {"a", "b"}


class TestNodeDown:
    def test_ends_the_sessions_of_the_incarnation_named(self, rig):
        rig.worker(1, b"f", node="b")
        number = rig.background()
        rig.grab(1, node="b")
        rig.decide(NodeDown("b", 1))
        assert rig.queue() == [number]
        assert not rig.table.nodes["b"].up
        assert rig.table.nodes["b"].sessions == {}

    def test_of_another_incarnation_or_of_nobody_does_nothing(self, rig):
        rig.open(1, node="b")
        rig.decide(NodeDown("b", 2), NodeDown("b", 0), NodeDown("stranger", 1), NodeDown("", 0))
        assert rig.table.nodes["b"].up
        assert set(rig.table.nodes["b"].sessions) == {1}

    def test_lets_nothing_more_of_that_incarnation_in(self, rig):
        """Nobody would end what it opened: a node that was declared down comes back with a new one."""
        rig.decide(NodeDown("b", 1))
        before = digest(rig.table)
        rig.say(SessionOpen(1, ""), BG, node="b")
        rig.say(NodeUp(b"H:b", -1), node="b")
        assert digest(rig.table) == before

    def test_is_applied_after_what_its_node_still_had_to_say(self, rig):
        """A job whose end comes with the same entry is not run again."""
        rig.worker(1, b"f", node="b")
        number = rig.background()
        rig.grab(1, node="b")
        last = rig.table.nodes["b"].last
        rig.table.apply(propose(rig.time, [Batch("b", 1, last + 1, [Finish(1, number)])], [NodeDown("b", 1)]))
        assert rig.table.jobs == {}
        assert not rig.table.nodes["b"].up

    def test_gives_the_jobs_to_sleepers_elsewhere(self, rig):
        rig.worker(1, b"f", node="b")
        rig.worker(2, b"f", node="b")
        rig.worker(3, b"f")
        number = rig.background()
        rig.grab(1, node="b")
        rig.park(2, node="b")
        rig.park(3)
        assert [effect[:3] for effect in rig.decide(NodeDown("b", 1))] == [("reserved", 3, number)]

    def test_tells_listeners_elsewhere_of_jobs_that_may_not_be_tried_again(self):
        rig = Rig(retries=0)
        rig.open(1)
        rig.worker(1, b"f", node="b")
        number = rig.foreground(1)
        rig.grab(1, node="b")
        assert rig.decide(NodeDown("b", 1)) == [("failed", 1, number)]

    def test_is_over_with_the_next_incarnation(self, rig):
        rig.decide(NodeDown("b", 1))
        rig.restart("b")
        assert rig.table.nodes["b"].up


class TestRepeats:
    def test_are_passed_over(self, rig):
        rig.say(BG, BG)
        assert rig.say(BG, BG, again=2) == []
        assert len(rig.table.jobs) == 2

    def test_of_the_beginning_do_not_open_the_way_for_the_rest(self, rig):
        rig.say(BG, BG, BG)
        first = rig.table.nodes["a"].last - 2
        rig.say(BG, again=3)
        assert rig.table.apply(propose(rig.time, [Batch("a", 1, first + 1, [BG, BG])])) == []
        assert len(rig.table.jobs) == 3

    def test_that_overlap_are_applied_from_where_they_are_new(self, rig):
        rig.say(BG, BG)
        told = rig.say(BG, BG, BG, Park(1), again=2)
        assert told == [("created", 0, 3, b"H:a:3")]
        assert len(rig.table.jobs) == 3
        assert rig.table.nodes["a"].last == 5

    def test_within_one_proposal_count_once(self, rig):
        last = rig.table.nodes["a"].last
        batch = Batch("a", 1, last + 1, [BG])
        rig.table.apply(propose(rig.time, [batch, batch, batch]))
        assert len(rig.table.jobs) == 1

    def test_of_the_start_of_an_incarnation_do_not_end_its_sessions(self, rig):
        rig.open(1)
        rig.table.apply(propose(rig.time, [Batch("a", 1, 1, [NodeUp(b"H:a", -1)])]))
        assert set(rig.table.nodes["a"].sessions) == {1}

    def test_are_known_as_such_for_each_node_by_itself(self, rig):
        rig.say(BG)
        assert rig.say(BG, node="b") == []
        assert len(rig.table.jobs) == 2


class TestAGap:
    def test_passes_over_the_whole_batch(self, rig):
        before = digest(rig.table)
        assert rig.say(BG, BG, again=-1) == []
        assert digest(rig.table) == before

    def test_is_closed_by_what_was_missing(self, rig):
        rig.say(BG, again=-1)
        rig.say(BG)
        rig.say(BG)
        assert len(rig.table.jobs) == 2

    @pytest.mark.parametrize("first", [0, -1, -(2**63)])
    def test_before_the_first_number_is_no_way_in(self, rig, first):
        rig.table.apply(propose(rig.time, [Batch("a", 1, first, [BG, BG])]))
        assert len(rig.table.jobs) == 0


class TestAnAudience:
    def test_hears_of_its_own_sessions_only(self):
        tables = {name: JobTable(name) for name in ("a", "b")}
        told = {}
        for name, table in tables.items():
            batches = [Batch(node, 1, 1, [NodeUp(b"H", -1), BG]) for node in ("a", "b")]
            told[name] = [describe(effect) for effect in table.apply(propose(1, batches))]
        assert told == {"a": [("created", 0, 1, b"H:1")], "b": [("created", 0, 2, b"H:2")]}
        assert digest(tables["a"]) == digest(tables["b"])

    def test_may_be_nobody(self):
        rig = Rig(audience=None)
        rig.worker(1, b"f")
        assert rig.say(BG, Grab(1, 0)) == []
        assert rig.reserved(1) == [1]
        assert all(not node.effects for node in rig.table.nodes.values())
