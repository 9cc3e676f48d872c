"""Commands on their way to a leader elsewhere: how many sendings there are, what is sent again, and when."""

import pytest

from cluster.jobs import CreateFunction
from node.driver.sending import MAX_FORWARDS, RESEND
from tests.node.driver.lonely import Lonely


def names(forwarded) -> list[tuple[str, list[list[bytes]]]]:
    """Give to whom what was sent: for each batch, the functions."""
    return [(leader, [[c.function for c in batch.commands] for batch in batches]) for leader, batches in forwarded]


@pytest.fixture
def node():
    node = Lonely()
    node.serve()
    yield node
    assert node.failures == []


def say(node: Lonely, name: bytes) -> None:
    node.driver.propose(CreateFunction(1, name))
    node.wait(0.01)


class TestCommands:
    def test_go_to_the_leader_as_long_as_few_sendings_are_on_their_way(self, node):
        for number in range(MAX_FORWARDS + 3):
            say(node, b"%d" % number)
        sent = names(node.take_forwarded())
        assert sent == [("b", [[b"%d" % number]]) for number in range(MAX_FORWARDS)]

    def test_that_gathered_meanwhile_go_together_once_one_is_applied(self, node):
        for number in range(MAX_FORWARDS + 3):
            say(node, b"%d" % number)
        first, *_ = node.take_forwarded()
        node.enter("b", *first[1])
        node.loop.settle()
        rest = [b"%d" % number for number in range(MAX_FORWARDS, MAX_FORWARDS + 3)]
        assert names(node.take_forwarded()) == [("b", [rest])]

    def test_wait_while_nobody_leads(self, node):
        node.wait(2)
        assert node.raft.leader == ""
        node.driver.propose(CreateFunction(1, b"f"))
        node.loop.settle()
        assert node.forwarded == []
        node.follow("c")
        assert names(node.forwarded) == [("c", [[b"f"]])]

    def test_are_all_sent_again_in_order_when_another_node_leads(self, node):
        say(node, b"1")
        say(node, b"2")
        node.take_forwarded()
        node.follow("c")
        assert names(node.take_forwarded()) == [("c", [[b"1"], [b"2"]])]

    def test_are_sent_again_when_nothing_comes_of_them(self, node):
        say(node, b"1")
        say(node, b"2")
        node.take_forwarded()
        node.append("b", [])
        node.wait(RESEND / 2)
        assert node.forwarded == []
        node.append("b", [])
        node.wait(RESEND)
        assert names(node.take_forwarded()) == [("b", [[b"1"], [b"2"]])]

    def test_that_are_applied_are_not_sent_again(self, node):
        say(node, b"1")
        node.take_in()
        say(node, b"2")
        node.take_forwarded()
        node.follow("c")
        assert names(node.take_forwarded()) == [("c", [[b"2"]])]

    def test_take_effect_once_though_they_came_twice(self, node):
        say(node, b"1")
        ((_, batches),) = node.take_forwarded()
        node.enter("b", *batches, *batches)
        node.enter("b", *batches)
        assert len(node.sink.effects) == 1
        assert node.driver.applied_number == node.driver.numbered

    def test_of_this_node_go_into_its_own_log_once_it_leads(self, node):
        say(node, b"1")
        node.take_forwarded()
        node.lead()
        node.acknowledge()
        assert node.forwarded == []
        assert b"1" in node.table.functions


class TestALeader:
    def test_takes_in_what_others_offer_in_their_own_name(self, node):
        other = Lonely()
        ((_, batches),) = [(leader, found) for leader, found in [*_opening(other)]]
        node.lead()
        node.driver.offer("c", [(_named(batch, "c"), 5) for batch in batches])
        node.driver.offer("c", [(_named(batch, "d"), 5) for batch in batches])
        node.loop.settle()
        node.acknowledge()
        assert node.table.nodes["c"].up
        assert "d" not in node.table.nodes

    def test_that_does_not_lead_takes_nothing_in(self, node):
        ((_, batches),) = _opening(Lonely())
        node.driver.offer("c", [(_named(batch, "c"), 5) for batch in batches])
        node.lead()
        node.acknowledge()
        assert "c" not in node.table.nodes

    def test_that_is_deposed_lets_go_of_what_was_not_in_the_log_and_takes_it_when_it_leads_again(self, node):
        ((_, batches),) = _opening(Lonely())
        theirs = [(_named(batch, "c"), 5) for batch in batches]
        node.lead()
        node.acknowledge()
        node.disk.held = True
        node.driver.propose(CreateFunction(1, b"f"))
        node.wait(0.01)
        node.driver.offer("c", theirs)
        node.loop.settle()
        assert "c" not in node.table.nodes
        node.index, node.previous = node.raft.commit, node.raft.entry_term(node.raft.commit)
        node.follow("b")
        assert not node.driver._intake
        assert names(node.take_forwarded()) == [("b", [[b"f"]])]
        node.disk.release()
        node.loop.settle()
        node.lead()
        node.driver.offer("c", theirs)
        node.loop.settle()
        node.acknowledge()
        assert node.table.nodes["c"].up
        assert b"f" in node.table.functions


def _opening(node: Lonely):
    """Give what a node says first."""
    node.follow("b")
    return node.take_forwarded()


def _named(batch, name: str):
    return type(batch)(name, batch.incarnation, batch.first, batch.commands)
