"""Decisions of the leader: each is proposed once in a term, and again as long as consensus refuses it."""

import pytest

from cluster.jobs import Batch, DownReason, JobTable, NodeDown, NodeUp, decode_proposal, propose
from cluster.raft import OverloadedError
from node.driver.awake_clock import AwakeClock
from node.driver.decisions import Decisions
from node.driver.failure_detector import FailureDetector

MEMBERS = ("a", "b", "c")


class Scene:
    """Node `a` as the leader, and a consensus that takes what it proposes, or does not."""

    def __init__(self) -> None:
        self.refuses = False
        self.proposed: list[NodeDown] = []
        self.detector = FailureDetector("a", 5.0, AwakeClock(lambda: 100.0))
        table = JobTable()
        for name in MEMBERS:
            table.apply(propose(1, [Batch(name, 1, 1, [NodeUp(b"H", -1, process=f"{name}-1")])]))
        self.decisions = Decisions(raft=self, table=table, detector=self.detector, clock=lambda: 7.0)  # type: ignore[arg-type]

    def propose(self, data: bytes) -> None:
        if self.refuses:
            raise OverloadedError("too much")
        proposal = decode_proposal(data)
        assert (proposal.time, proposal.batches) == (7000, [])
        self.proposed += proposal.decisions

    def tick(self) -> None:
        self.decisions.tick(MEMBERS, MEMBERS)


@pytest.fixture
def scene():
    return Scene()


class TestADecision:
    def test_is_proposed_once(self, scene):
        scene.detector.ended("b", "b-1", DownReason.ENDED)
        for _ in range(3):
            scene.tick()
        assert scene.proposed == [NodeDown("b", 1, DownReason.ENDED)]

    def test_that_is_refused_is_proposed_again(self, scene):
        scene.detector.ended("b", "b-1", DownReason.ENDED)
        scene.refuses = True
        scene.tick()
        scene.refuses = False
        scene.tick()
        assert scene.proposed == [NodeDown("b", 1, DownReason.ENDED)]

    def test_of_the_same_moment_goes_with_others(self, scene):
        scene.detector.ended("b", "b-1", DownReason.ENDED)
        scene.detector.ended("c", "c-1", DownReason.STOPPED)
        scene.tick()
        assert [each.node for each in scene.proposed] == ["b", "c"]

    def test_is_none_while_all_are_there(self, scene):
        scene.tick()
        assert scene.proposed == []
