"""Writes and their acknowledgements: in order, and none while a table is being read back from a snapshot."""

from collections.abc import Callable
from typing import Any

import pytest

from cluster.log import Entry, EntryKind, HardState
from cluster.raft import Configuration, SnapshotMeta, SnapshotPiece, Write
from node.driver.writing import Writing


class Scene:
    """Consensus, the disk and the thread in the test's hand."""

    def __init__(self) -> None:
        self.disk: list[tuple[str, Callable[[], None]]] = []
        self.threads: list[tuple[Callable[[Any], Any], Callable[[Exception], Any]]] = []
        self.acknowledged: list[int] = []
        self.events: list[str] = []
        self.writing = Writing(
            name="a",
            raft=self,  # type: ignore[arg-type]
            disk=self,  # type: ignore[arg-type]
            offload=lambda work, done, failed: self.threads.append((done, failed)),
            clock=lambda: 0.0,
            persisted=self.acknowledged.append,
            replacing=lambda: self.events.append("replacing"),
            replaced=self._replaced,
            failed=lambda error: self.events.append(f"failed: {error}"),
        )

    def persisted(self, sequence: int) -> None:
        self.acknowledged.append(sequence)

    def append(self, entries, hard_state, done) -> None:
        self.disk.append(("append", done))

    def write(self, entries, hard_state, pieces, install, done) -> None:
        self.disk.append(("install" if install else "pieces", done))

    def _replaced(self, loaded: str) -> None:
        self.events.append(loaded)
        self.writing.go_on()

    def written(self) -> str:
        """Let the first write that is under way be on disk; tell what it was."""
        what, done = self.disk.pop(0)
        done()
        return what

    def entry(self, sequence: int) -> None:
        self.writing.begin(Write(sequence, entries=(Entry(sequence, 1, EntryKind.COMMANDS, b""),)))

    def install(self, sequence: int) -> None:
        meta = SnapshotMeta(10, 1, Configuration(("a",)))
        self.writing.begin(Write(sequence, pieces=(SnapshotPiece(0, b"x"),), snapshot=meta))


@pytest.fixture
def scene():
    return Scene()


class TestAWrite:
    def test_is_acknowledged_when_it_is_on_disk(self, scene):
        scene.entry(1)
        scene.entry(2)
        assert (scene.writing.under_way, scene.acknowledged) == (2, [])
        scene.written()
        assert (scene.writing.under_way, scene.acknowledged) == (1, [1])
        scene.written()
        assert scene.acknowledged == [1, 2]

    def test_of_the_hard_state_alone_goes_to_the_disk(self, scene):
        scene.writing.begin(Write(1, HardState(2, "a")))
        assert scene.written() == "append"

    def test_of_pieces_is_one(self, scene):
        scene.writing.begin(Write(1, pieces=(SnapshotPiece(0, b"x"),)))
        assert scene.written() == "pieces"
        assert scene.acknowledged == [1]

    def test_with_nothing_for_the_disk_is_acknowledged_at_once(self, scene):
        scene.writing.begin(Write(1, compact=SnapshotMeta(5, 1)))
        assert (scene.disk, scene.acknowledged) == ([], [1])

    def test_with_nothing_for_the_disk_waits_for_those_under_way(self, scene):
        scene.entry(1)
        scene.writing.begin(Write(2, compact=SnapshotMeta(5, 1)))
        assert scene.acknowledged == []
        scene.written()
        assert scene.acknowledged == [2]


class TestAnInstallation:
    def test_is_acknowledged_when_the_table_is_read_back(self, scene):
        scene.install(1)
        assert scene.events == ["replacing"]
        assert scene.written() == "install"
        assert scene.acknowledged == []
        scene.threads.pop()[0]("loaded")
        assert scene.events == ["replacing", "loaded"]
        assert scene.acknowledged == [1]

    def test_holds_up_the_acknowledgements_of_what_is_written_behind_it(self, scene):
        """What follows from them would be applied to a table that is about to go."""
        scene.install(1)
        scene.entry(2)
        scene.written()
        scene.written()
        assert scene.acknowledged == []
        scene.threads.pop()[0]("loaded")
        assert scene.acknowledged == [2]
        scene.entry(3)
        scene.written()
        assert scene.acknowledged == [2, 3]

    def test_holds_up_the_acknowledgements_of_what_was_under_way_before_it(self, scene):
        scene.entry(1)
        scene.install(2)
        scene.written()
        assert scene.acknowledged == []
        scene.written()
        scene.threads.pop()[0]("loaded")
        assert scene.acknowledged == [2]

    def test_that_cannot_be_read_back_is_reported(self, scene):
        scene.install(1)
        scene.written()
        scene.threads.pop()[1](ValueError("no"))
        assert scene.events == ["replacing", "failed: no"]
        assert scene.acknowledged == []
