"""What a node knows of its leader's commit index: enough to see how far it is behind, and nothing to commit by."""

import pytest

from cluster.raft import Message, Role
from cluster.raft.messages import Append, Heartbeat
from tests.cluster.raft.stage import Group

ABSURD = (2**63 - 1, 2**64 - 1, -1, -(2**63))


class Starving(Group):
    """A group in which node 3 is heard and hears, but gets no entries while it starves."""

    starves = False

    def accepts(self, message: Message) -> bool:
        return super().accepts(message) and not (self.starves and isinstance(message, Append) and message.to == "3")

    def commit_without_3(self, count: int) -> None:
        self.starves = True
        for number in range(count):
            self.propose("1", f"item {number}")
            self.deliver()

    def heartbeat(self) -> None:
        self.tick("1")
        self.deliver()


@pytest.fixture
def group():
    group = Starving("1", "2", "3")
    group.elect("1")
    group.heartbeat()
    return group


def standing(group: Group, node: str) -> tuple[int, int, int]:
    core = group[node]
    return core.commit, core.applied_index, core.last_index


class TestAFollower:
    def test_learns_how_much_is_committed_that_it_does_not_have(self, group):
        before = group["3"].commit
        assert group["3"].leader_commit == before
        group.commit_without_3(3)
        group.heartbeat()
        assert group["3"].leader_commit == group["1"].commit == before + 3

    def test_commits_and_applies_nothing_by_it(self, group):
        before = standing(group, "3")
        group.commit_without_3(3)
        group.heartbeat()
        assert standing(group, "3") == before

    def test_does_not_commit_by_it_what_it_has_either(self, group):
        group.propose("1", "x")
        group.deliver(("1", "3"))
        commit = group["3"].commit
        group["3"].step(Heartbeat("3", "1", group["1"].term, 1, 0, 1, group["3"].last_index))
        group.settle()
        assert group["3"].last_index > commit
        assert group["3"].commit == commit

    def test_has_all_of_it_once_it_gets_the_entries(self, group):
        group.commit_without_3(3)
        group.heartbeat()
        group.starves = False
        group.heartbeat()
        assert group["3"].applied_index == group["3"].leader_commit == group["1"].commit

    @pytest.mark.parametrize("absurd", ABSURD)
    def test_is_not_moved_by_a_number_out_of_all_proportion(self, group, absurd):
        before = standing(group, "3")
        group["3"].step(Heartbeat("3", "1", group["1"].term, 1, 0, 1, absurd))
        group.settle()
        assert standing(group, "3") == before
        assert group["3"].leader_commit == max(before[0], absurd)

    def test_forgets_such_a_number_with_the_next_heartbeat(self, group):
        group["3"].step(Heartbeat("3", "1", group["1"].term, 1, 0, 1, 2**62))
        group.heartbeat()
        assert group["3"].leader_commit == group["1"].commit

    def test_of_a_leader_that_does_not_say_goes_by_what_it_knows_itself(self, group):
        group.commit_without_3(3)
        group.heartbeat()
        group["3"].step(Heartbeat("3", "1", group["1"].term, 1, 0))
        assert group["3"].leader_commit == group["3"].commit


class TestALeader:
    def test_goes_by_its_own_commit_index_whatever_another_one_said_before(self, group):
        group["1"].transfer("3")
        group.settle()
        group["3"].step(Heartbeat("3", "1", group["1"].term, 1, 0, 1, 2**62))
        group.deliver()
        assert group["3"].role is Role.LEADER
        assert group["3"].leader_commit == group["3"].commit
