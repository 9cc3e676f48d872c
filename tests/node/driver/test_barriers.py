"""Reads that must not be stale: one barrier for all questions of a moment, asked again when the leader changes."""

import pytest

from cluster.raft import NoLeaderError, ReadState
from node.driver.barriers import ReadBarriers


class Core:
    """Consensus, as far as it answers reads."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.leader = True

    def read_index(self, context: int) -> None:
        if not self.leader:
            raise NoLeaderError("nobody leads")
        self.asked.append(context)


class Scene:
    def __init__(self) -> None:
        self.core = Core()
        self.barriers = ReadBarriers(self.core)  # type: ignore[arg-type]
        self.answers: list[str] = []

    def ask(self, name: str) -> None:
        self.barriers.add(lambda: self.answers.append(name))

    def confirm(self, index: int | None, context: int | None = None) -> None:
        self.barriers.answered(ReadState(context or self.core.asked[-1], index))


@pytest.fixture
def scene():
    return Scene()


class TestQuestions:
    def test_of_one_moment_share_a_barrier(self, scene):
        scene.ask("one")
        scene.ask("two")
        scene.barriers.ask()
        scene.barriers.ask()
        assert len(scene.core.asked) == 1
        scene.confirm(5)
        scene.barriers.applied(5)
        assert scene.answers == ["one", "two"]

    def test_are_answered_once_the_table_has_come_so_far(self, scene):
        scene.ask("one")
        scene.barriers.ask()
        scene.barriers.applied(9)
        scene.confirm(5)
        scene.barriers.applied(4)
        assert scene.answers == []
        scene.barriers.applied(5)
        scene.barriers.applied(6)
        assert scene.answers == ["one"]

    def test_that_come_after_a_barrier_was_asked_for_get_another(self, scene):
        scene.ask("one")
        scene.barriers.ask()
        scene.ask("two")
        scene.barriers.ask()
        first, second = scene.core.asked
        scene.confirm(7, second)
        scene.confirm(5, first)
        scene.barriers.applied(5)
        assert scene.answers == ["one"]
        scene.barriers.applied(7)
        assert scene.answers == ["one", "two"]

    def test_wait_while_nobody_leads(self, scene):
        scene.core.leader = False
        scene.ask("one")
        scene.barriers.ask()
        scene.core.leader = True
        scene.barriers.ask()
        scene.confirm(3)
        scene.barriers.applied(3)
        assert scene.answers == ["one"]

    def test_whose_leader_was_lost_are_asked_again_before_those_that_came_since(self, scene):
        scene.ask("one")
        scene.barriers.ask()
        scene.ask("two")
        scene.confirm(None)
        scene.barriers.ask()
        assert len(scene.core.asked) == 2
        scene.confirm(4)
        scene.barriers.applied(4)
        assert scene.answers == ["one", "two"]

    def test_of_those_who_are_gone_are_answered_to_nobody(self, scene):
        scene.ask("asked")
        scene.barriers.ask()
        scene.ask("confirmed")
        scene.barriers.ask()
        scene.confirm(5)
        scene.ask("gathered")
        scene.barriers.forget()
        scene.confirm(6, scene.core.asked[0])
        scene.barriers.ask()
        scene.barriers.applied(9)
        assert scene.answers == []

    def test_of_those_who_are_gone_are_not_asked_again(self, scene):
        scene.ask("one")
        scene.barriers.ask()
        scene.barriers.forget()
        scene.confirm(None)
        scene.ask("two")
        scene.barriers.ask()
        scene.confirm(2)
        scene.barriers.applied(2)
        assert scene.answers == ["two"]
