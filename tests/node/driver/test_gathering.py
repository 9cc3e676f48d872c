"""A node's own commands: what is on its way, what is settled, and what a new incarnation begins without."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.jobs import Identify, Part, Submit
from node.driver import gathering as module
from node.driver.gathering import (
    COMMAND_BYTES,
    CROWD,
    GATHER_TIME,
    MAX_BACKLOG,
    MAX_BATCH_BYTES,
    QUIET_TURNS,
    Gathering,
)
from node.driver.uploads import PART, WINDOW
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
        assert (node.numbered, node.backlog) == (3, 30 + 3 * COMMAND_BYTES)
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

    def test_that_does_not_fit_into_a_batch_begins_another(self, node):
        node.say(size=MAX_BATCH_BYTES - 2 * COMMAND_BYTES)
        node.propose_all([Identify(1, b""), Identify(2, b"")], 0)
        node.propose_all([Identify(3, b"")], 0)
        node._loop.settle()
        assert node.written == [(1, 1), (2, 3)]


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
        crowd.say(size=MAX_BATCH_BYTES - COMMAND_BYTES)
        crowd._loop.turn()
        assert crowd.written == [(CROWD + 1, 1), (CROWD + 2, 1)]

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
        assert node.backlog == 130 + 2 * COMMAND_BYTES
        node.settle(1)
        assert node.backlog == 30 + COMMAND_BYTES
        node.settle(2)
        assert node.backlog == 0

    def test_weighs_until_the_last_of_its_batch_is_applied(self, node):
        node.say(size=100, count=2)
        node._loop.settle()
        node.settle(1)
        assert node.backlog == 200 + 2 * COMMAND_BYTES
        node.settle(2)
        assert node.backlog == 0

    def test_that_is_too_much_holds_up_clients(self, node):
        node.say(size=MAX_BATCH_BYTES - COMMAND_BYTES, count=MAX_BACKLOG // MAX_BATCH_BYTES)
        assert not node.congested
        node.say()
        assert not node.congested  # what a batch still takes in does not count
        node.say(size=MAX_BATCH_BYTES - COMMAND_BYTES)
        assert node.congested
        node._loop.settle()
        node.settle(8)
        assert not node.congested


class TestABatch:
    @given(st.lists(st.tuples(st.integers(0, MAX_BATCH_BYTES - COMMAND_BYTES), st.booleans()), max_size=40))
    def test_never_weighs_more_than_it_may(self, said):
        node = Writer()
        node._begin_anew(1)
        node.open = False
        for size, lazily in said:
            (node.propose_lazily if lazily else node.propose)(Identify(1, b""), size)
        node.open = True
        total = 0
        while weighed := node._take():
            for batch, weight in weighed:
                assert weight <= MAX_BATCH_BYTES
                total += len(batch.commands)
        assert total == len(said)


class TestAWorkloadThatIsTooLargeForOneCommand:
    def taken(self, node):
        """Take the next write; give its commands."""
        return [command for batch, _ in node._take() for command in batch.commands]

    def test_goes_in_parts_and_its_submit_brings_the_last(self, node):
        node.open = False
        workload = bytes(range(256)) * (5 * PART // 512)
        node.propose_submit(Submit(1, b"f", b"u", workload, 1, background=True))
        found = []
        while commands := self.taken(node):
            found += commands
            node.settle(node.numbered)
        *parts, submit = found
        assert all(type(part) is Part and part.upload == submit.upload for part in parts)
        assert b"".join(part.data for part in parts) + submit.workload == workload
        assert all(len(part.data) == PART for part in parts)
        assert (submit.function, submit.unique, submit.session, len(submit.workload)) == (b"f", b"u", 1, PART // 2)

    def test_lets_only_so_much_be_on_its_way_and_goes_on_when_that_is_applied(self, node):
        node.propose_submit(Submit(1, b"f", b"", bytes(10 * PART), 1, background=True))
        node._loop.settle()
        assert node.numbered == WINDOW // PART
        node.settle(1)
        node._loop.settle()
        assert node.numbered == WINDOW // PART + 1

    def test_waits_behind_what_was_said_before_and_lets_others_go_between_its_parts(self, node):
        node.open = False
        node.say()
        node.propose_submit(Submit(1, b"f", b"", bytes(5 * PART), 1, background=True))
        assert [type(command) for command in self.taken(node)] == [Identify, Part]
        node.say()
        node.settle(2)
        assert [type(command) for command in self.taken(node)] == [Identify, Part]

    def test_takes_turns_with_others_of_its_kind(self, node):
        node.open = False
        for name in (b"f", b"g"):
            node.propose_submit(Submit(1, name, b"", bytes(2 * PART), 1, background=True))
        found = []
        while commands := self.taken(node):
            found += commands
            node.settle(node.numbered)
        assert [command.upload for command in found] == [1, 2, 1, 2]

    def test_is_forgotten_with_its_incarnation(self, node):
        node.propose_submit(Submit(1, b"f", b"", bytes(10 * PART), 1, background=True))
        node._begin_anew(2)
        node._loop.settle()
        assert node.numbered == 0
        node.propose_submit(Submit(1, b"f", b"", bytes(2 * PART), 1, background=True))
        node.open = False
        assert [command.upload for command in self.taken(node)] == [1]

    def test_is_waited_for_by_who_waits_for_everything(self, node):
        answers = []
        node.when_empty(lambda: answers.append("nothing"))
        node.propose_submit(Submit(1, b"f", b"", bytes(3 * PART), 1, background=True))
        node.when_empty(lambda: answers.append("all"))
        node.when_settled(lambda: answers.append("proposed"))
        for _ in range(3):
            node._loop.settle()
            assert answers == ["nothing", "proposed"]
            node.settle(node.numbered)
        assert answers == ["nothing", "proposed", "all"]


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
