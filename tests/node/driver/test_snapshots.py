"""Snapshots for nodes that lag: read beside everything else, in pieces, and closed whatever happens."""

from collections.abc import Callable
from typing import Any

import pytest

from cluster.raft import CloseSnapshot, OpenSnapshot, ReadSnapshot, SnapshotRefusedError
from cluster.storage import CorruptionError, StorageError
from node.driver.snapshots import SnapshotService


class View:
    """A mirror with nothing in it."""

    def __init__(self) -> None:
        self.applied_index = 7
        self.applied_term = 2
        self.meta = b"meta"
        self.closed = False

    def segments(self):
        return iter([(1, b"segment")])

    def payloads(self):
        return iter([])

    def close(self) -> None:
        self.closed = True


class Scene:
    """Consensus, the disk, and the thread, all in the test's hand."""

    def __init__(self) -> None:
        self.views: list[View] = []
        self.threads: list[tuple[Callable[[], Any], Callable[[Any], Any], Callable[[Exception], Any]]] = []
        self.said: list[tuple[Any, ...]] = []
        self.pumped = 0
        self.refuses = False
        self.broken = False
        self.damaged: list[Exception] = []
        self.corrupt = False
        self.service = SnapshotService(self, self, self.offload, self.pump, self.damaged.append)  # type: ignore[arg-type]

    def pump(self) -> None:
        self.pumped += 1

    def offload(self, *work) -> None:
        self.threads.append(work)

    def run(self) -> None:
        """Let the threads do what they were given."""
        while self.threads:
            work, done, failed = self.threads.pop(0)
            try:
                result = work()
            except StorageError as error:
                failed(error)
            else:
                done(result)

    def view(self) -> View:
        if self.broken:
            raise StorageError("no")
        if self.corrupt:
            raise CorruptionError("node.db is damaged")
        self.views.append(View())
        return self.views[-1]

    def snapshot_opened(self, stream: int, index: int) -> None:
        if self.refuses:
            raise SnapshotRefusedError("too old")
        self.said.append(("opened", stream, index))

    def snapshot_data(self, stream: int, data: bytes, *, done: bool) -> None:
        self.said.append(("data", stream, data, done))

    def snapshot_failed(self, stream: int) -> None:
        self.said.append(("failed", stream))


@pytest.fixture
def scene():
    return Scene()


class TestASnapshot:
    def test_is_read_to_its_end_in_pieces(self, scene):
        scene.service.serve(OpenSnapshot(1, "b"))
        assert scene.said == []
        scene.run()
        assert scene.said == [("opened", 1, 7)]
        pieces = []
        while not pieces or not pieces[-1][3]:
            scene.service.serve(ReadSnapshot(1, 10))
            scene.run()
            pieces.append(scene.said[-1])
        whole = b"".join(piece[2] for piece in pieces)
        assert whole.startswith(b"GEARMESH")
        assert b"segment" in whole
        assert scene.pumped == 1 + len(pieces)
        assert scene.views[0].closed

    def test_is_closed_when_nobody_wants_it_any_more(self, scene):
        scene.service.serve(OpenSnapshot(1, "b"))
        scene.run()
        scene.service.serve(CloseSnapshot(1))
        scene.run()
        assert scene.views[0].closed
        scene.service.serve(ReadSnapshot(1, 10))
        scene.run()
        assert scene.said == [("opened", 1, 7)]

    def test_that_is_not_wanted_any_more_before_it_is_open_is_closed_then(self, scene):
        scene.service.serve(OpenSnapshot(1, "b"))
        scene.service.serve(CloseSnapshot(1))
        scene.run()
        assert scene.views[0].closed
        assert scene.said == []

    def test_that_is_closed_while_it_is_read_says_nothing_more(self, scene):
        scene.service.serve(OpenSnapshot(1, "b"))
        scene.run()
        scene.service.serve(ReadSnapshot(1, 10))
        scene.service.serve(CloseSnapshot(1))
        scene.run()
        assert scene.said == [("opened", 1, 7)]

    def test_that_consensus_cannot_use_is_given_up(self, scene):
        scene.refuses = True
        scene.service.serve(OpenSnapshot(1, "b"))
        scene.run()
        assert scene.said == [("failed", 1)]
        assert scene.views[0].closed

    def test_that_cannot_be_opened_is_given_up(self, scene):
        scene.broken = True
        scene.service.serve(OpenSnapshot(1, "b"))
        scene.run()
        assert scene.said == [("failed", 1)]
        assert scene.pumped == 1

    def test_that_cannot_be_read_is_given_up_and_closed(self, scene, monkeypatch):
        scene.service.serve(OpenSnapshot(1, "b"))
        scene.run()
        scene.views[0].close()
        scene.service.serve(ReadSnapshot(1, 10))
        scene.run()
        assert scene.said == [("opened", 1, 7), ("failed", 1)]

    def test_of_a_damaged_mirror_ends_the_node_that_has_it(self, scene):
        """A leader that only gave the stream up would begin others for ever, and its follower would stay behind."""
        scene.corrupt = True
        scene.service.serve(OpenSnapshot(1, "b"))
        scene.run()
        assert [str(error) for error in scene.damaged] == ["node.db is damaged"]
        assert scene.said == []

    def test_goes_its_way_beside_others(self, scene):
        scene.service.serve(OpenSnapshot(1, "b"))
        scene.service.serve(OpenSnapshot(2, "c"))
        scene.run()
        scene.service.serve(CloseSnapshot(1))
        scene.service.serve(ReadSnapshot(2, 1000))
        scene.run()
        assert [word[:2] for word in scene.said] == [("opened", 1), ("opened", 2), ("data", 2)]
