"""When the table is mirrored, and when there is nothing that may be."""

import contextlib

import pytest

from cluster.jobs import SEGMENT, Batch, JobTable, MirrorWriter, NodeUp, Submit, propose
from cluster.raft import Configuration, SnapshotMeta, SnapshotRefusedError
from cluster.storage import Mirror
from node.driver.mirroring import MIRROR_INTERVAL, STEP_SEGMENTS, Mirroring
from tests.node.stillness import StillLoop


class Core:
    """Consensus, as far as a mirror asks it."""

    def __init__(self, applied: int) -> None:
        self.applied_index = applied
        self.first_index = applied + 1
        self.installing = False

    def snapshot_meta(self, index: int) -> SnapshotMeta:
        if self.installing:
            raise SnapshotRefusedError("a snapshot is being installed")
        return SnapshotMeta(index, 1, Configuration(("a",)))

    def compact(self, index: int) -> int:
        self.first_index = max(self.first_index, index + 1)
        return index


class Scene:
    def __init__(self, applied: int = 1) -> None:
        self.loop = StillLoop()
        self.core = Core(applied)
        self.table = JobTable("a")
        self.writer = MirrorWriter()
        self.mirrors: list[Mirror] = []
        self.done: list[object] = []
        self.failures: list[Exception] = []
        self.mirroring = Mirroring(
            name="a",
            table=self.table,
            writer=self.writer,
            raft=self.core,  # type: ignore[arg-type]
            disk=self,  # type: ignore[arg-type]
            loop=self.loop,
            guard=contextlib.nullcontext,
            done=lambda: None,
            drained=lambda: None,
        )

    def mirror(self, mirror: Mirror, done: object) -> None:
        self.mirrors.append(mirror)
        self.done.append(done)

    def change(self, index: int) -> None:
        """Let an entry be applied."""
        self.table.apply(propose(index, [Batch(f"n{index}", 1, 1, [NodeUp(b"H", -1)])]))
        self.core.applied_index = index
        self.mirroring.applied(index, 10)
        self.mirroring.see_to_it()

    def fill(self, index: int, segments: int) -> None:
        """Let an entry be applied that submits so many segments of jobs."""
        submit = Submit(0, b"f", b"", b"w", 1, background=True)
        first = self.table.last_job + 1
        count = segments * SEGMENT - (first == 1)  # there is no job 0
        commands = [NodeUp(b"H", -1), *[submit] * count]
        self.table.apply(propose(index, [Batch(f"n{index}", 1, 1, commands)]))
        self.core.applied_index = index
        self.mirroring.applied(index, 10)

    def take(self) -> None:
        """Let a mirror be begun, and encoded."""
        self.mirroring.begin()
        self.loop.settle()


@pytest.fixture
def scene():
    return Scene()


class TestAMirror:
    def test_is_begun_a_while_after_a_change(self, scene):
        scene.change(2)
        scene.loop.advance(MIRROR_INTERVAL * 1.1)
        assert [mirror.applied_index for mirror in scene.mirrors] == [2]

    def test_of_many_jobs_is_encoded_in_turns_of_its_own_and_none_is_long(self, scene):
        scene.fill(2, 3 * STEP_SEGMENTS)
        scene.mirroring.begin()
        for _ in range(2):
            scene.loop.turn()
            assert scene.mirrors == []
        scene.loop.turn()
        assert [mirror.applied_index for mirror in scene.mirrors] == [2]
        assert [number for number, _ in scene.mirrors[0].segments] == list(range(3 * STEP_SEGMENTS))

    def test_is_of_the_moment_it_was_begun_and_the_next_has_what_came_meanwhile(self, scene):
        scene.fill(2, 2 * STEP_SEGMENTS)
        scene.mirroring.begin()
        scene.fill(3, 1)
        scene.mirroring.begin()
        scene.loop.settle()
        scene.done.pop()()
        scene.take()
        assert [(mirror.applied_index, [number for number, _ in mirror.segments]) for mirror in scene.mirrors] == [
            (2, list(range(2 * STEP_SEGMENTS))),
            (3, [2 * STEP_SEGMENTS]),
        ]

    def test_that_is_half_encoded_when_the_node_stops_goes_to_disk_before_the_last_one(self, scene):
        scene.fill(2, 2 * STEP_SEGMENTS)
        scene.mirroring.begin()
        scene.fill(3, 2 * STEP_SEGMENTS)
        scene.mirroring.stop()
        assert [(mirror.applied_index, len(mirror.segments)) for mirror in scene.mirrors] == [
            (2, 2 * STEP_SEGMENTS),
            (3, 2 * STEP_SEGMENTS),
        ]
        scene.loop.settle()
        assert len(scene.mirrors) == 2

    def test_that_is_half_encoded_when_a_snapshot_comes_is_never_written(self, scene):
        scene.fill(2, 2 * STEP_SEGMENTS)
        scene.mirroring.begin()
        scene.mirroring.suspend()
        scene.loop.settle()
        scene.mirroring.go_on(MirrorWriter(), 10)
        scene.loop.settle()
        assert scene.mirrors == []

    def test_of_a_node_that_was_sent_nothing_yet_is_none(self):
        """With the group's configuration missing it could never be read back."""
        scene = Scene(applied=0)
        scene.mirroring.stop()
        assert scene.mirrors == []

    def test_is_not_begun_in_the_moment_before_a_snapshot_takes_the_table_s_place(self, scene):
        scene.change(2)
        scene.core.installing = True
        scene.loop.advance(MIRROR_INTERVAL * 1.1)
        assert scene.mirrors == []
        scene.core.installing = False
        scene.take()
        assert [mirror.applied_index for mirror in scene.mirrors] == [2]

    def test_lets_go_of_the_log_up_to_the_one_that_is_on_disk(self, scene):
        for index in (2, 3, 4):
            scene.change(index)
            scene.take()
            scene.done.pop()()
        assert [mirror.compact_to for mirror in scene.mirrors] == [1, 2, 3]

    def test_goes_on_with_what_a_snapshot_brought(self, scene):
        scene.mirroring.suspend()
        scene.mirroring.begin()
        assert scene.mirrors == []
        scene.mirroring.go_on(MirrorWriter(), 10)
        scene.core.first_index = 11
        scene.change(11)
        scene.take()
        assert [(mirror.applied_index, mirror.compact_to) for mirror in scene.mirrors] == [(11, 10)]

    def test_is_the_last_one_when_the_node_stops(self, scene):
        scene.change(2)
        scene.mirroring.stop()
        scene.change(3)
        scene.loop.advance(MIRROR_INTERVAL * 2)
        assert [mirror.applied_index for mirror in scene.mirrors] == [2]
