"""A node's own commands: what is on its way, what is settled, and what a new incarnation begins without."""

import pytest

from cluster.jobs import Identify
from node.driver import gathering as module
from node.driver.gathering import CROWD, GATHER_TIME, MAX_BACKLOG, MAX_BATCH_BYTES, QUIET_TURNS, Gathering
from tests.node.stillness import StillLoop


class Writer(Gathering):
    """Takes what has gathered whenever it may."""

    def __init__(self) -> None:
        super().__init__("a", StillLoop())
        self.open = True
        self.written: list[tuple[int, int]] = []
        """The first number and the count of each batch that was written."""

    def _may_write(self) -> bool:
        return self.open

    def _write(self) -> None:
        self.written += [(batch.first, len(batch.commands)) for batch, _ in self._take()]

    def say(self, size: int = 0, count: int = 1) -> None:
        for _ in range(count):
            self.propose(Identify(1, b""), size)

    def settle(self, number: int) -> None:
        self._settled(number)
        self._call_settled()


@pytest.fixture
def node():
    node = Writer()
    node._begin_anew(1)
    return node


class TestARun:
    def test_is_numbered_weighed_and_written_as_one_by_one(self, node):
        node.say(size=10)
        node.propose_all([Identify(1, b""), Identify(2, b"")], 20)
        assert (node.numbered, node.backlog) == (3, 30)
        node._loop.settle()
        assert node.written == [(1, 3)]
        node.settle(3)
        assert node.backlog == 0

    def test_fills_a_batch(self, node, monkeypatch):
        monkeypatch.setattr(module, "MAX_BATCH_COMMANDS", 4)
        node.say(count=2)
        node.propose_all([Identify(1, b"")] * 3, 0)
        node.propose_all([Identify(1, b"")], 0)
        node._loop.settle()
        assert node.written == [(1, 5), (6, 1)]


class TestAWriteInACrowd:
    @pytest.fixture
    def crowd(self, node):
        node.say(count=CROWD)
        node._loop.settle()
        node.written.clear()
        return node

    def turns(self, node):
        """Count the turns of the loop until something is written."""
        for count in range(1, 100):
            node._loop.turn()
            if node.written:
                return count
        return None

    def test_waits_for_some_turns_that_bring_nothing_more(self, crowd):
        crowd.say()
        assert self.turns(crowd) == 1 + QUIET_TURNS

    def test_waits_anew_after_a_turn_that_brings_more(self, crowd):
        crowd.say()
        for _ in range(QUIET_TURNS):
            crowd._loop.turn()
        crowd.say()
        assert self.turns(crowd) == 1 + QUIET_TURNS
        assert crowd.written == [(CROWD + 1, 2)]

    def test_does_not_wait_for_long_though_every_turn_brings_more(self, crowd):
        for _ in range(10):
            crowd.say()
            crowd._loop.turn()
        assert crowd.written == []
        crowd._loop.now += GATHER_TIME
        crowd.say()
        crowd._loop.turn()
        assert crowd.written == [(CROWD + 1, 11)]

    def test_does_not_wait_when_a_batch_is_full(self, crowd):
        crowd.say()
        crowd._loop.turn()
        crowd.say(size=MAX_BATCH_BYTES + 1)
        crowd._loop.turn()
        assert crowd.written == [(CROWD + 1, 2)]

    def test_is_the_last_to_wait_when_it_carries_little(self, crowd):
        crowd.say()
        crowd._loop.settle()
        crowd.say()
        assert self.turns(crowd) == 1


class TestWhatIsOnItsWay:
    def test_weighs_until_it_is_applied(self, node):
        node.say(size=100)
        node._loop.settle()
        node.say(size=30)
        node._loop.settle()
        assert node.backlog == 130
        node.settle(1)
        assert node.backlog == 30
        node.settle(2)
        assert node.backlog == 0

    def test_weighs_until_the_last_of_its_batch_is_applied(self, node):
        node.say(size=100, count=2)
        node._loop.settle()
        node.settle(1)
        assert node.backlog == 200
        node.settle(2)
        assert node.backlog == 0

    def test_that_is_too_much_holds_up_clients(self, node):
        node.say(size=MAX_BACKLOG)
        assert not node.congested
        node.say(size=1)
        assert not node.congested  # what a batch still takes in does not count
        node.say(size=MAX_BATCH_BYTES)
        assert node.congested
        node._loop.settle()
        node.settle(3)
        assert not node.congested


class TestNumbers:
    def test_are_given_without_a_gap_while_nothing_may_be_written(self, node, monkeypatch):
        monkeypatch.setattr(module, "MAX_BATCH_COMMANDS", 3)
        monkeypatch.setattr(module, "MAX_WRITE_BATCHES", 2)
        node.open = False
        node.say(count=8)
        node._loop.settle()
        assert node.written == []
        node.open = True
        node.end_turn()
        assert node.written == [(1, 3), (4, 3)]
        node._loop.settle()
        node.end_turn()
        node.say()
        node._loop.settle()
        assert node.written == [(1, 3), (4, 3), (7, 2), (9, 1)]

    def test_begin_anew_with_an_incarnation_and_nothing_is_left_of_the_last(self, node):
        answers = []
        node.say(size=10, count=2)
        node._loop.settle()
        node.say(size=10)
        node.when_settled(lambda: answers.append("old"))
        node._begin_anew(2)
        assert (node.numbered, node.backlog, node.incarnation) == (0, 0, 2)
        node._loop.settle()
        node.say()
        node.when_settled(lambda: answers.append("new"))
        node._loop.settle()
        node.settle(1)
        assert node.written == [(1, 2), (1, 1)]
        assert answers == ["new"]


class TestSettling:
    def test_waits_for_all_that_was_proposed_before_and_for_nothing_after(self, node):
        answers = []
        node.say(count=2)
        node.when_settled(lambda: answers.append(2))
        node.say()
        node.when_settled(lambda: answers.append(3))
        node._loop.settle()
        node.settle(1)
        assert answers == []
        node.settle(2)
        assert answers == [2]
        node.settle(3)
        assert answers == [2, 3]
