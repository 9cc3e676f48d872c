"""Who is thought to be alive: silence, evidence, removal, and coming back."""

import pytest

from cluster.jobs import Batch, JobTable, NodeDown, NodeUp, propose
from node.driver.vigil import Vigil

TIMEOUT = 3.0
MEMBERS = ("a", "b", "c")


class Scene:
    """What node `a` says as the leader."""

    def __init__(self) -> None:
        self.vigil = Vigil("a", TIMEOUT)
        self.table = JobTable()
        self.now = 100.0
        for name in MEMBERS:
            self.up(name, 1)

    def up(self, name: str, incarnation: int) -> None:
        self.table.apply(propose(1, [Batch(name, incarnation, 1, [NodeUp(b"H", -1)])]))

    def declare(self, after: float = 0.0, members: tuple[str, ...] = MEMBERS) -> list[tuple[str, int]]:
        """Let time pass and say who is down; the table hears it."""
        self.now += after
        words = list(self.vigil.declare(list(self.table.nodes.values()), members, self.now))
        for word in words:
            assert isinstance(word, NodeDown)
        return [(word.node, word.incarnation) for word in words]


@pytest.fixture
def scene():
    scene = Scene()
    scene.vigil.begin()
    assert scene.declare() == []
    return scene


class TestANode:
    def test_that_is_silent_too_long_is_down(self, scene):
        scene.now += 1
        scene.vigil.heard("b", scene.now)
        assert scene.declare(TIMEOUT - 0.5) == [("c", 1)]
        assert scene.declare(1) == [("b", 1)]

    def test_whose_process_is_gone_is_down_at_once(self, scene):
        scene.vigil.gone("b")
        assert scene.declare() == [("b", 1)]

    def test_that_was_removed_is_down_though_it_goes_on_talking(self, scene):
        scene.vigil.heard("c", scene.now)
        assert scene.declare(members=("a", "b")) == [("c", 1)]

    def test_is_declared_down_once_in_each_incarnation(self, scene):
        scene.vigil.gone("b")
        scene.declare()
        assert scene.declare() == []
        scene.up("b", 2)
        assert scene.declare() == [("b", 2)]

    def test_that_is_back_is_not_declared_down(self, scene):
        scene.vigil.gone("b")
        scene.vigil.back("b", scene.now)
        assert scene.declare() == []

    def test_that_the_table_knows_to_be_down_is_not_declared_so_again(self, scene):
        scene.table.apply(propose(2, [Batch("a", 1, 2, [NodeDown("b", 1)])]))
        scene.vigil.gone("b")
        assert scene.declare() == []

    def test_does_not_watch_itself(self, scene):
        for name in ("b", "c"):
            scene.vigil.heard(name, scene.now + 100)
        assert scene.declare(100) == []


class TestANewLeader:
    def test_gives_everybody_time_to_be_heard(self, scene):
        scene.now += 100
        scene.vigil.begin()
        assert scene.declare() == []
        assert scene.declare(TIMEOUT - 0.1) == []
        assert scene.declare(0.2) == [("b", 1), ("c", 1)]

    def test_says_again_what_may_have_been_lost_with_the_last_term(self, scene):
        scene.vigil.gone("b")
        scene.declare()
        scene.vigil.begin()
        assert scene.declare() == [("b", 1)]


class TestAQuorum:
    def test_may_be_there_as_long_as_a_majority_is_not_known_to_be_gone(self, scene):
        voters = ("a", "b", "c")
        assert scene.vigil.leaves_quorum(voters)
        scene.vigil.gone("b")
        assert scene.vigil.leaves_quorum(voters)
        scene.vigil.gone("c")
        assert not scene.vigil.leaves_quorum(voters)
        scene.vigil.back("b", scene.now)
        assert scene.vigil.leaves_quorum(voters)
