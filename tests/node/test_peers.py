"""What nodes send one another, and what is not believed of it."""

import msgspec
import pytest

from cluster.jobs import Batch, Identify
from cluster.mesh import Lane
from node.driver.gathering import MAX_BATCH
from node.peers import MAX_BATCHES, Kind, Peers


class Scene:
    """A node whose mesh notes what it is to refuse, and whose group notes the batches that come."""

    def __init__(self) -> None:
        self.peers = Peers()
        self.peers.mesh = self.peers.formation = self.peers.group = self
        self.refused: list[str] = []
        self.taken: list[tuple[Batch, int]] = []

    def comrade(self, node: str) -> bool:
        return True

    def refuse(self, node: str, reason: str) -> None:
        self.refused.append(reason)

    def batches(self, node: str, batches: list[tuple[Batch, int]]) -> None:
        self.taken += batches

    def receive(self, *batches: Batch) -> None:
        data = bytes((Kind.BATCHES,)) + msgspec.msgpack.encode(list(batches))
        self.peers.received("b", Lane.ENTRIES, data)


@pytest.fixture
def scene():
    return Scene()


def batch(*sizes: int, node: str = "b") -> Batch:
    return Batch(node, 1, 1, [Identify(1, bytes(size)) for size in sizes])


class TestBatches:
    def test_come_each_with_its_bytes(self, scene):
        sent = [batch(10), batch(1000, 1000), batch(1)]
        scene.receive(*sent)
        assert scene.taken == [(each, len(msgspec.msgpack.encode(each))) for each in sent]

    def test_may_be_as_long_as_the_longest_batch(self, scene):
        scene.receive(batch(MAX_BATCH - 100))
        assert len(scene.taken) == 1

    def test_that_are_longer_cost_the_link(self, scene):
        scene.receive(batch(MAX_BATCHES))
        assert scene.taken == []
        assert "where" in scene.refused[0]
        assert str(MAX_BATCHES) in scene.refused[0]

    def test_in_the_name_of_another_node_cost_the_link(self, scene):
        scene.receive(batch(1, node="c"))
        assert (scene.taken, len(scene.refused)) == ([], 1)
