"""A node's membership: what it carries over from the time when it had no group, and what operators are told."""

from types import SimpleNamespace

import pytest

from cluster.formation import Founder, Presence, Proposal, State
from cluster.formation.messages import Message, Propose, Remove
from cluster.raft import bootstrap
from cluster.storage import Store
from node.configuration import Configuration
from node.membership import Membership, OrderRefusedError
from node.recovery import identify
from tests.node.stillness import EPOCH, StillLoop

PROPOSAL = Proposal("first", "a-1", ("a-1", "b-1"))


class Links:
    """`node.peers.Peers`, as far as membership asks: node `a-1` is linked, and what it is told is kept."""

    def __init__(self) -> None:
        self.mesh = self
        self.peers = {"a-1": None}
        self.told: list[tuple[str, Message]] = []

    def tell(self, node: str, message: Message) -> None:
        self.told.append((node, message))


class Newcomer:
    """Node `b-1`, whose disk is blank."""

    def __init__(self, tmp_path) -> None:
        self.loop = StillLoop()
        self.store = Store.open(tmp_path)
        self.links = Links()
        self.formed: list[str] = []
        self.failures: list[Exception] = []
        self._sequence = 0
        identity = identify(self.store, "b-1")
        self.membership = Membership(
            Configuration(name="b", data_dir=tmp_path, expect=2),
            identity,
            self.links,
            loop=self.loop,
            offload=lambda work, done, failed: done(work()),
            randrange=lambda n: n // 2,
            clock=lambda: EPOCH + self.loop.now,
            on_failure=self.failures.append,
        )
        self.membership.form(self.store, lambda: self.formed.append("formed"))

    def hear(self, **fields) -> None:
        """Have node `a-1` say something of itself."""
        self._sequence += 1
        said = {"state": State.BLANK, "expect": 2, "links": ("b-1",)} | fields
        time = int((EPOCH + self.loop.now) * 1000)
        self.membership.received("a-1", Presence("a-1", "a", 1, self._sequence, time, **said))

    def found(self) -> None:
        """Have a cluster founded with it."""
        self.hear()
        self.membership.received("a-1", Propose(PROPOSAL, 2))
        self.hear(state=State.MEMBER, group="first", members=("a-1", "b-1"), index=1)

    def take_part(self) -> None:
        """Go on as a member."""
        recovery = SimpleNamespace(record=Founder("first", ("a-1", "b-1")))
        base = bootstrap("a-1", "b-1")
        driver = SimpleNamespace(
            committed_configuration=base.configuration, committed_index=base.index, leads=False, removed=lambda: None
        )
        self.membership.take_part(recovery, driver, None)


@pytest.fixture
def newcomer(tmp_path):
    newcomer = Newcomer(tmp_path)
    yield newcomer
    newcomer.membership.close()
    newcomer.store.close()


class TestAFounder:
    def test_is_told_once_that_the_cluster_is_founded(self, newcomer):
        newcomer.found()
        assert newcomer.formed == ["formed"]
        assert not newcomer.failures

    def test_hears_at_once_those_that_it_knew_to_be_of_the_cluster_before_it_was(self, newcomer):
        newcomer.found()
        newcomer.take_part()
        assert newcomer.membership.comrade("a-1")

    def test_hears_those_that_come_to_be_of_the_cluster_while_it_recovers(self, newcomer):
        newcomer.hear()
        newcomer.membership.received("a-1", Propose(PROPOSAL, 2))
        newcomer.hear(state=State.MEMBER, group="first", members=("a-1", "b-1"), index=1)
        newcomer.hear(state=State.MEMBER, group="first", members=("a-1", "b-1"), index=1, leader="a-1")
        newcomer.take_part()
        assert newcomer.membership._machine.presence_of("a-1").leader == "a-1"

    def test_forgets_what_was_said_over_a_link_that_is_lost(self, newcomer):
        newcomer.found()
        newcomer.membership.unlinked("a-1")
        newcomer.take_part()
        assert not newcomer.membership.comrade("a-1")


class TestAnOperator:
    def test_is_told_that_a_node_without_a_group_takes_no_orders(self, newcomer):
        with pytest.raises(OrderRefusedError, match="no group yet"):
            newcomer.membership.ask(Remove("a-1"), print)

    def test_who_waits_when_the_node_stops_is_told_so(self, newcomer):
        newcomer.found()
        newcomer.take_part()
        answers = []
        newcomer.membership.ask(Remove("a-1"), answers.append)
        newcomer.membership.close()
        assert answers == ["this node is stopping"]
