"""Which nodes are down: proof that a process has ended, silence, removal; and what counts for none of them."""

import pytest

from cluster.jobs import Batch, DownReason, JobTable, NodeDown, NodeUp, propose
from node.driver.awake_clock import PAUSE, AwakeClock
from node.driver.failure_detector import GRACE, FailureDetector

TIMEOUT = 5.0
MEMBERS = ("a", "b", "c")
TICK = 0.1


class Scene:
    """What node `a` finds as the leader. Its process runs, and looks ten times a second, unless it is paused."""

    def __init__(self) -> None:
        self.now = 100.0
        clock = AwakeClock(lambda: self.now)
        self.detector = FailureDetector("a", TIMEOUT, clock)
        self.table = JobTable()
        self.members = self.committed = MEMBERS
        for name in MEMBERS:
            self.up(name, 1)

    def up(self, name: str, incarnation: int, timeout: int = 0, process: str = "") -> None:
        command = NodeUp(b"H", -1, process=process or f"{name}-{incarnation}", timeout=timeout)
        self.table.apply(propose(1, [Batch(name, incarnation, 1, [command])]))

    def wait(self, seconds: float, *heard: str) -> list[tuple[str, int]]:
        """Let time pass in which these nodes are heard; give who was found down meanwhile."""
        down = []
        for _ in range(round(seconds / TICK)):
            self.now += TICK
            for name in heard:
                self.detector.heard(name)
            down += self.look()
        return down

    def look(self) -> list[tuple[str, int]]:
        """Give who is down now, and let the log have it."""
        decisions = list(self.detector.judge(self.table.nodes.values(), self.members, self.committed))
        for decision in decisions:
            self.detector.decided(decision)
        return [(decision.node, decision.incarnation) for decision in decisions]

    def pause(self, seconds: float) -> None:
        """Let the process of this node stand still."""
        self.now += seconds


@pytest.fixture
def scene():
    scene = Scene()
    scene.detector.begin()
    assert scene.look() == []
    return scene


class TestANodeIsDown:
    def test_when_it_is_silent_for_the_node_timeout(self, scene):
        assert scene.wait(1, "b") == []
        assert scene.wait(TIMEOUT - 0.5) == [("c", 1)]
        assert scene.wait(1) == [("b", 1)]

    def test_after_its_own_timeout_where_that_is_longer(self, scene):
        scene.up("b", 2, timeout=8000)
        assert scene.wait(7.8, "c") == []
        assert scene.wait(0.4, "c") == [("b", 2)]

    def test_at_once_when_its_process_has_ended(self, scene):
        scene.detector.ended("b", "b-1", DownReason.ENDED)
        assert scene.look() == [("b", 1)]

    def test_when_it_was_removed_though_it_goes_on_talking(self, scene):
        scene.members = scene.committed = ("a", "b")
        assert scene.wait(TICK, "b", "c") == [("c", 1)]

    def test_once_in_each_incarnation(self, scene):
        scene.detector.ended("b", "b-1", DownReason.ENDED)
        assert scene.look() == [("b", 1)]
        assert scene.look() == []
        scene.up("b", 2)
        scene.detector.ended("b", "b-2", DownReason.ENDED)
        assert scene.look() == [("b", 2)]

    @pytest.mark.parametrize("how", [DownReason.ENDED, DownReason.STOPPED])
    def test_for_a_reason_that_the_decision_names(self, scene, how):
        scene.detector.ended("b", "b-1", how)
        scene.committed = ("a", "b")
        found = scene.detector.judge(scene.table.nodes.values(), MEMBERS, scene.committed)
        assert {each.node: each.reason for each in found} == {"b": how, "c": DownReason.REMOVED}

    def test_though_the_one_that_looks_is_paused_again_and_again(self, scene):
        down = []
        for _ in range(10):
            down += scene.wait(2.0, "b")
            scene.pause(PAUSE + 0.1)
            down += scene.look()
        assert down == [("c", 1)]


class TestANodeIsNotDown:
    def test_when_the_process_that_seemed_to_have_ended_is_linked_again(self, scene):
        """Something between the nodes had closed all connections."""
        scene.detector.ended("b", "b-1", DownReason.ENDED)
        assert scene.look() == [("b", 1)]
        scene.detector.linked("b", "b-1")
        scene.up("b", 2, process="b-1")
        assert scene.wait(1, "b", "c") == []

    def test_when_an_earlier_process_of_it_has_ended(self, scene):
        """The proof may come late: another node leads by now, and the next process has opened its incarnation."""
        scene.up("b", 2)
        scene.detector.ended("b", "b-1", DownReason.ENDED)
        assert scene.look() == []

    def test_when_several_processes_have_ended_and_a_further_one_runs(self, scene):
        scene.detector.ended("b", "b-1", DownReason.ENDED)
        scene.detector.ended("b", "b-2", DownReason.ENDED)
        scene.up("b", 3)
        assert scene.wait(1, "b", "c") == []

    def test_when_the_table_knows_that_it_is(self, scene):
        scene.table.apply(propose(2, [], [NodeDown("b", 1)]))
        scene.detector.ended("b", "b-1", DownReason.ENDED)
        assert scene.look() == []

    def test_when_it_is_the_one_that_looks(self, scene):
        scene.committed = ("b", "c")
        assert scene.wait(TIMEOUT + 1, "b", "c") == []

    @pytest.mark.parametrize("pause", [PAUSE + 0.1, 3.3, 4.2, TIMEOUT + 0.1, 60.0])
    def test_when_the_silence_was_a_pause_of_the_one_that_looks(self, scene, pause):
        """What came during the pause is read within the grace."""
        assert scene.wait(TIMEOUT - 0.2) == []
        scene.pause(pause)
        assert scene.look() == []
        assert scene.wait(GRACE - 0.2) == []
        assert scene.wait(TIMEOUT - 1, "b", "c") == []

    def test_when_it_is_silent_because_a_change_leaves_it_out_that_is_not_committed(self, scene):
        scene.members = ("a", "b")
        assert scene.wait(2 * TIMEOUT, "b") == []
        scene.committed = ("a", "b")
        assert scene.wait(TICK, "b") == [("c", 1)]

    def test_when_a_change_that_left_it_out_was_taken_back(self, scene):
        scene.members = ("a", "b")
        scene.wait(1, "b")
        scene.members = MEMBERS
        assert scene.wait(2, "b", "c") == []


class TestANewLeader:
    def test_gives_everybody_the_node_timeout_to_be_heard(self, scene):
        scene.wait(3)
        scene.detector.begin()
        assert scene.wait(TIMEOUT - 0.1) == []
        assert scene.wait(0.3) == [("b", 1), ("c", 1)]

    def test_decides_again_what_may_have_been_lost_with_the_last_term(self, scene):
        scene.detector.ended("b", "b-1", DownReason.ENDED)
        scene.look()
        scene.detector.begin()
        assert scene.look() == [("b", 1)]


class TestADecision:
    def test_that_could_not_be_proposed_is_made_again(self, scene):
        scene.detector.ended("b", "b-1", DownReason.ENDED)
        for _ in range(3):
            found = scene.detector.judge(scene.table.nodes.values(), MEMBERS, MEMBERS)
            assert [each.node for each in found] == ["b"]


class TestAQuorum:
    def test_may_be_there_as_long_as_a_majority_has_not_ended(self, scene):
        detector = scene.detector
        assert detector.leaves_quorum(MEMBERS)
        detector.ended("b", "b-1", DownReason.ENDED)
        assert detector.leaves_quorum(MEMBERS)
        detector.ended("c", "c-1", DownReason.ENDED)
        assert not detector.leaves_quorum(MEMBERS)
        detector.linked("b", "b-2")
        assert detector.leaves_quorum(MEMBERS)
