"""While a node that is up has too little memory or disk space, no node's clients get a new job into the table."""

import pytest

from cluster.jobs import Alarm, JobTable, MirrorWriter, NodeDown, Resource, SetLimit, Submit, digest, restore
from tests.cluster.jobs.rig import Rig

NEW = Submit(0, b"f", b"", b"", 1, background=True)
UNIQUE = Submit(0, b"f", b"u", b"", 1, background=True)
REFUSED = [("refused", 0, "NO_ROOM")]
SHORT = Alarm(Resource.DISK, 10, 20)


@pytest.fixture
def rig() -> Rig:
    return Rig()


class TestWhileANodeHasAnAlarm:
    def test_a_submit_that_would_make_a_job_is_refused_wherever_it_comes_from(self, rig):
        rig.say(SHORT, node="b")
        assert rig.say(NEW) == REFUSED
        rig.say(NEW, node="b")
        assert not rig.table.jobs

    def test_a_refused_submit_leaves_no_function_behind(self, rig):
        rig.say(SHORT, node="b")
        rig.say(NEW)
        assert not rig.table.functions

    def test_a_submit_that_joins_a_job_is_taken(self, rig):
        number = rig.background(unique=b"u")
        rig.say(SHORT, node="b")
        assert rig.say(UNIQUE) == [("created", 0, number, b"H:a:%d" % number)]

    def test_jobs_are_given_out_and_end(self, rig):
        number = rig.background()
        rig.say(SHORT, node="b")
        rig.worker(1, b"f")
        assert rig.grab(1) == number

    def test_that_is_the_reason_though_the_queue_is_full_too(self, rig):
        rig.say(SetLimit(0, b"f", 1, 1, 1))
        rig.background()
        rig.say(SHORT, node="b")
        assert rig.say(NEW) == REFUSED

    def test_the_table_says_which_node_and_what(self, rig):
        rig.say(SHORT, node="b")
        node, resource = rig.table.alarm
        assert (node.name, resource, node.alarms[resource]) == ("b", Resource.DISK, (10, 20))

    def test_of_several_nodes_the_first_by_name_is_named(self, rig):
        rig.say(SHORT, node="b")
        rig.say(Alarm(Resource.MEMORY, 1, 2), SHORT)
        node, resource = rig.table.alarm
        assert (node.name, resource) == ("a", Resource.MEMORY)

    def test_that_is_kept_by_the_mirror(self, rig):
        rig.say(SHORT, node="b")
        mirror = MirrorWriter().take(rig.table)
        restored, _ = restore(mirror.meta, [], [])
        assert digest(restored) == digest(rig.table)
        assert restored.alarm is not None

    def test_a_resource_that_there_is_not_counts_for_nothing(self, rig):
        rig.say(Alarm(3, 10, 20), node="b")
        assert rig.table.alarm is None


class TestAnAlarm:
    def test_is_over_when_its_node_says_so(self, rig):
        rig.say(SHORT, node="b")
        rig.say(Alarm(Resource.DISK, 30, 0), node="b")
        assert rig.say(NEW)[0][0] == "created"

    def test_of_one_resource_says_nothing_of_the_other(self, rig):
        rig.say(SHORT, Alarm(Resource.MEMORY, 2, 1), node="b")
        rig.say(Alarm(Resource.DISK, 30, 0), node="b")
        assert rig.say(NEW) == REFUSED

    def test_is_over_when_its_node_goes(self, rig):
        rig.say(SHORT, node="b")
        rig.decide(NodeDown("b", 1))
        assert rig.say(NEW)[0][0] == "created"

    def test_is_over_when_its_node_begins_anew(self, rig):
        rig.say(SHORT, node="b")
        rig.restart("b")
        assert rig.say(NEW)[0][0] == "created"

    def test_that_a_past_incarnation_says_changes_nothing(self, rig):
        rig.decide(NodeDown("b", 1))
        rig.say(SHORT, node="b")
        assert rig.table.alarm is None

    def test_is_not_cleared_by_another_node(self, rig):
        rig.say(SHORT, node="b")
        rig.say(Alarm(Resource.DISK, 30, 0), node="a")
        assert rig.say(NEW) == REFUSED


def test_a_table_begins_without_alarms():
    assert JobTable().alarm is None
