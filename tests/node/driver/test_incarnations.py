"""A node's incarnations and its service: when each begins and ends, and what may not be said outside of it."""

import pytest

from cluster.jobs import Batch, CreateFunction, NodeDown, NodeUp, SetLimit, Settled, propose
from cluster.raft import Configuration
from node.driver.incarnations import leaderless_timeout
from tests.node.driver.lonely import Lonely
from tests.node.stillness import NODE_TIMEOUT


def create(name: bytes = b"f") -> CreateFunction:
    return CreateFunction(1, name)


@pytest.fixture
def node():
    """A node that serves under `b`."""
    node = Lonely()
    node.serve()
    assert node.driver.serving
    yield node
    assert node.failures == []


class TestANumber:
    def test_is_on_disk_before_anything_is_said_under_it(self):
        node = Lonely(slow=True)
        node.follow("b")
        node.driver.propose(create())
        node.wait(0.5)
        assert node.forwarded == []
        node.disk.noting.pop()()
        node.loop.settle()
        ((leader, (batch,)),) = node.forwarded
        assert (leader, batch.incarnation, batch.first) == ("b", 1, 1)
        assert batch.commands == [NodeUp(b"H:a", -1), create()]

    def test_is_higher_than_all_that_were_noted_or_are_in_the_table(self):
        node = Lonely(incarnation=6)
        assert node.driver.incarnation == 7
        assert node.disk.notes["incarnation"] == b"7"
        node.follow("b")
        node.enter("b", Batch("a", 11, 1, [NodeUp(b"H:a", -1)]))
        assert node.driver.incarnation == 12
        assert node.disk.notes["incarnation"] == b"12"

    def test_whose_note_comes_late_opens_nothing_when_there_is_a_later_one(self):
        node = Lonely(slow=True)
        node.follow("b")
        node.enter("b", Batch("a", 3, 1, [NodeUp(b"H:a", -1)]))
        assert node.driver.incarnation == 4
        first, second = node.disk.noting
        first()
        node.loop.settle()
        assert node.forwarded == []
        second()
        node.loop.settle()
        assert [batch.incarnation for _, batches in node.forwarded for batch in batches] == [4]

    def test_begins_with_a_node_up_though_this_node_leads_and_has_to_say_that_another_is_down(self):
        node = Lonely(slow=True)
        node.table.apply(propose(1, [Batch("z", 1, 1, [NodeUp(b"H:z", -1)])]))  # was removed: nobody hears it
        node.lead()
        node.wait(0.3)
        node.disk.noting.pop()()
        node.wait(0.3)
        node.acknowledge()
        assert node.table.nodes["a"].up
        assert not node.table.nodes["z"].up


class TestService:
    def test_begins_when_the_node_up_is_applied(self):
        node = Lonely()
        node.follow("b")
        assert node.serving == []
        node.take_in()
        assert node.serving == [True]

    def test_goes_on_through_elections_and_ends_when_nobody_leads_for_too_long(self, node):
        node.wait(2)  # until it has not heard the leader for an election timeout
        assert node.driver.raft.leader == ""
        node.wait(leaderless_timeout(NODE_TIMEOUT) - 2.2)
        assert node.driver.serving
        node.wait(0.4)
        assert node.serving == [True, False]
        assert node.sink.told == [1, "hang up"]

    def test_of_a_leader_that_hears_nobody_ends_as_early_as_that_of_others(self):
        """The others may have elected another one in the moment when it was cut off."""
        node = Lonely()
        node.lead()
        node.acknowledge()
        assert node.driver.serving
        node.wait(leaderless_timeout(NODE_TIMEOUT) - 0.2)
        assert node.driver.serving
        node.wait(0.5)
        assert node.serving == [True, False]

    def test_ends_when_the_disk_does_not_take_the_term_in_which_it_hears_a_leader(self):
        """Until it does, the others hear nothing of this node."""
        node = Lonely()
        node.serve()
        node.disk.held = True
        node.follow("c")
        for _ in range(round(leaderless_timeout(NODE_TIMEOUT) / 0.1) - 2):
            node.hear()
            node.wait(0.1)
        assert node.driver.raft.leader == "c"
        assert node.serving == [True]
        for _ in range(5):
            node.hear()
            node.wait(0.1)
        assert node.serving == [True, False]
        assert node.sink.told == [1, "hang up"]
        node.disk.acknowledge()
        node.hear()
        node.wait(0.2)
        assert node.serving == [True, False, True]

    def test_ends_before_the_others_give_its_jobs_away(self):
        """They do so after the node timeout; by default it is longer than two elections take."""
        for timeout in (5.0, 10.0, 60.0):
            assert 4.0 <= leaderless_timeout(timeout) <= timeout - 1.0

    @pytest.mark.parametrize("pause", [1.5, 5.0, 60.0])
    def test_goes_on_after_a_pause_of_this_process(self, node, pause):
        node.loop.pause(pause)
        assert node.driver.serving
        node.wait(0.5)
        node.hear()
        assert node.serving == [True]

    def test_goes_on_while_a_change_that_leaves_this_node_out_is_not_committed(self, node):
        node.configure("b", Configuration(voters=("b", "c")), commit=False)
        assert "a" not in node.driver.raft.configuration.voters
        assert node.serving == [True]
        node.append("b", [])
        node.wait(0.1)
        assert node.serving == [True, False]

    def test_goes_on_in_the_same_incarnation_when_somebody_leads_again(self, node):
        node.wait(6)
        assert not node.driver.serving
        node.follow("c")
        node.wait(0.1)
        assert node.serving == [True, False, True]
        assert node.driver.incarnation == 1

    def test_ends_and_begins_again_when_the_group_has_declared_the_node_down(self, node):
        node.enter("b", decisions=[NodeDown("a", 1)])
        assert node.serving == [True, False]
        assert node.sink.told == [1, "break off", 2]
        node.take_in()
        assert node.serving == [True, False, True]
        assert node.table.nodes["a"].incarnation == 2

    def test_does_not_end_for_what_is_said_of_an_earlier_incarnation(self, node):
        node.enter("b", decisions=[NodeDown("a", 1)])
        node.take_in()
        node.enter("b", decisions=[NodeDown("a", 1)])
        assert node.driver.serving
        assert node.driver.incarnation == 2


class TestEffects:
    def test_of_this_incarnation_are_delivered(self, node):
        node.driver.propose(create())
        node.wait(0.01)
        node.take_in()
        assert [type(effect) for effect in node.sink.effects] == [Settled]

    def test_of_an_earlier_one_are_not(self):
        node = Lonely(incarnation=1)  # it has begun its second
        node.follow("b")
        node.enter("b", Batch("a", 1, 1, [NodeUp(b"H:a", -1), create(), SetLimit(1, b"f", 1, 1, 1)]))
        assert b"f" in node.table.functions
        assert node.sink.effects == []

    def test_of_one_that_was_declared_down_are_not(self, node):
        node.driver.propose(create())
        node.wait(0.01)
        ((_, batches),) = node.take_forwarded()
        node.enter("b", decisions=[NodeDown("a", 1)])
        node.enter("b", *batches)
        assert b"f" not in node.table.functions
        assert node.sink.effects == []


class TestWhoAsked:
    def test_in_an_incarnation_that_is_over_is_not_answered(self, node):
        answers = []
        node.driver.propose(create())
        node.driver.when_settled(lambda: answers.append("settled"))
        node.driver.when_current(lambda: answers.append("current"))
        node.loop.settle()
        node.enter("b", decisions=[NodeDown("a", 1)])
        node.take_in()
        node.wait(1)
        assert answers == []
