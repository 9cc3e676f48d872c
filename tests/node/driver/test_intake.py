"""The leader's intake: batches of several nodes, with gaps, repeats, new incarnations and a change of leader."""

import pytest

from cluster.jobs import Batch, Identify, JobTable, NodeUp, decode_proposal, propose
from cluster.raft import NotLeaderError, Position
from node.driver import intake as module
from node.driver.gathering import MAX_WRITE_BATCHES
from node.driver.intake import HEAVY, HEAVY_COMMAND, Intake


class Log:
    """Consensus, as far as it takes proposals."""

    def __init__(self) -> None:
        self.entries: list[bytes] = []
        self.error: Exception | None = None
        self.room = 1 << 20

    def propose(self, data: bytes) -> Position:
        if self.error is not None:
            raise self.error
        self.entries.append(data)
        return Position(len(self.entries), 1)


class Scene:
    def __init__(self) -> None:
        self.log = Log()
        self.table = JobTable("a")
        self.intake = Intake(self.log, self.table)
        self._applied = 0

    def offer(self, first: int, count: int = 1, *, node: str = "b", incarnation: int = 1, weight: int = 1) -> None:
        commands = [NodeUp(b"H", -1) if first + n == 1 else Identify(1, b"%d" % (first + n)) for n in range(count)]
        self.intake.take([(Batch(node, incarnation, first, commands), weight)])

    def enter(self) -> list[list[tuple[str, int, int, int]]]:
        """Put what waits into the log; give each entry's batches."""
        before = len(self.log.entries)
        self.intake.enter(1)
        return [
            [(b.node, b.incarnation, b.first, len(b.commands)) for b in decode_proposal(data).batches]
            for data in self.log.entries[before:]
        ]

    def apply(self) -> None:
        """Apply what was put into the log."""
        for data in self.log.entries[self._applied :]:
            self.table.apply(decode_proposal(data))
        self._applied = len(self.log.entries)


@pytest.fixture
def scene():
    return Scene()


class TestBatches:
    def test_of_all_nodes_go_into_one_entry(self, scene):
        scene.offer(1, 2)
        scene.offer(1, node="c")
        scene.offer(3)
        assert scene.enter() == [[("b", 1, 1, 2), ("c", 1, 1, 1), ("b", 1, 3, 1)]]
        assert not scene.intake

    def test_that_came_before_in_this_term_are_passed_over(self, scene):
        scene.offer(1, 3)
        scene.offer(1, 3)
        scene.enter()
        scene.offer(1, 3)
        scene.offer(4)
        assert scene.enter() == [[("b", 1, 4, 1)]]

    def test_behind_a_gap_are_let_go_until_all_come(self, scene):
        scene.offer(1, 2)
        scene.offer(5, 2)
        assert scene.enter() == [[("b", 1, 1, 2)]]
        scene.offer(3, 2)
        scene.offer(5, 2)
        assert scene.enter() == [[("b", 1, 3, 2), ("b", 1, 5, 2)]]

    def test_behind_what_another_leader_took_in_are_taken(self, scene):
        scene.offer(7, 2)
        assert scene.enter() == [[("b", 1, 7, 2)]]

    def test_that_were_lost_with_another_leader_are_taken_though_later_ones_are_in_the_log(self, scene):
        """The table passed over the later ones; their node sends all again, from the first that is not applied."""
        scene.offer(7, 2)
        scene.enter()
        scene.offer(5, 2)
        scene.offer(7, 2)
        assert scene.enter() == [[("b", 1, 5, 2), ("b", 1, 7, 2)]]

    def test_that_follow_what_is_in_the_table_are_taken_whatever_was_repeated_in_between(self, scene):
        scene.table.apply(propose(1, [Batch("b", 1, 1, [NodeUp(b"H", -1), *[Identify(1, b"")] * 5])]))
        scene.offer(7, 3)
        scene.enter()
        scene.apply()
        scene.offer(5, 2)  # late
        scene.enter()
        scene.apply()
        scene.offer(10)
        assert scene.enter() == [[("b", 1, 10, 1)]]
        scene.apply()
        assert scene.table.nodes["b"].last == 10

    def test_that_repeat_some_and_bring_some_are_taken(self, scene):
        scene.offer(1, 3)
        scene.offer(1, 5)
        assert scene.enter() == [[("b", 1, 1, 3), ("b", 1, 1, 5)]]

    def test_of_a_new_incarnation_begin_anew(self, scene):
        scene.offer(1, 5)
        scene.offer(1, 1, incarnation=2)
        scene.offer(6, incarnation=1)
        scene.offer(2, incarnation=2)
        assert scene.enter() == [[("b", 1, 1, 5), ("b", 2, 1, 1), ("b", 2, 2, 1)]]

    def test_are_taken_anew_after_all_was_let_go(self, scene):
        scene.offer(1, 3)
        scene.intake.clear()
        assert scene.enter() == []
        scene.offer(1, 3)
        assert scene.enter() == [[("b", 1, 1, 3)]]


class TestAnEntry:
    def test_holds_no_more_than_fits(self, scene, monkeypatch):
        monkeypatch.setattr(module, "BATCH_BYTES", 0)
        monkeypatch.setattr(module, "MAX_BATCH", 10)
        for number, weight in enumerate((4, 6, 1, 30, 1), 1):
            scene.offer(number, weight=weight)
        assert [len(batches) for batches in scene.enter()] == [2, 1, 1, 1]

    def test_holds_no_more_commands_than_a_batch_may(self, scene, monkeypatch):
        monkeypatch.setattr(module, "MAX_BATCH_COMMANDS", 5)
        for number, count in ((1, 2), (3, 3), (6, 1), (7, 5), (12, 1)):
            scene.offer(number, count)
        assert [sum(count for *_, count in batches) for batches in scene.enter()] == [5, 1, 5, 1]

    def test_is_one_of_a_few_in_one_write(self, scene, monkeypatch):
        monkeypatch.setattr(module, "MAX_BATCH", 1)
        for number in range(1, MAX_WRITE_BATCHES + 3):
            scene.offer(number)
        assert len(scene.enter()) == MAX_WRITE_BATCHES
        assert len(scene.enter()) == 2

    def test_that_there_is_no_room_for_is_not_even_encoded(self, scene, monkeypatch):
        scene.offer(1)
        scene.log.room = 0
        encode, encoded = module.encode_proposal, []
        monkeypatch.setattr(module, "encode_proposal", lambda proposal: encoded.append(proposal) or encode(proposal))
        assert scene.enter() == []
        assert encoded == []
        scene.log.room = 1
        assert scene.enter() == [[("b", 1, 1, 1)]]

    def test_that_is_refused_is_forgotten_with_all_that_came(self, scene):
        scene.offer(1)
        scene.log.error = NotLeaderError("c")
        assert scene.enter() == []
        assert not scene.intake
        scene.log.error = None
        scene.offer(1)
        assert scene.enter() == [[("b", 1, 1, 1)]]

    @pytest.mark.parametrize(
        ("weight", "count", "heavy"),
        [(HEAVY, 1, True), (HEAVY - 1, 1, False), (HEAVY, HEAVY // HEAVY_COMMAND + 1, False)],
    )
    def test_is_heavy_when_few_commands_have_many_bytes(self, scene, weight, count, heavy):
        scene.offer(1, count, weight=weight)
        scene.enter()
        assert scene.intake.heavy is heavy
        scene.offer(1 + count)
        scene.enter()
        assert not scene.intake.heavy


class TestTheIntake:
    def test_says_when_it_holds_too_much_and_when_it_does_not_any_more(self, scene, monkeypatch):
        monkeypatch.setattr(module, "MAX_WAITING", 10)
        scene.offer(1, weight=10)
        assert not scene.intake.full
        scene.offer(2, weight=1)
        assert scene.intake.full
        scene.enter()
        assert not scene.intake.full
        scene.offer(3, weight=11)
        scene.intake.clear()
        assert not scene.intake.full
