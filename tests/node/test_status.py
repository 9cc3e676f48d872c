"""What a node says of itself when it does not serve: the reason must lead an operator to what is wrong."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from cluster.jobs import Alarm, JobTable, Resource
from cluster.raft import Configuration as GroupConfiguration
from node.configuration import Configuration
from node.status import NodeStatus
from tests.node.still_cluster import StillCluster


@pytest.fixture
def status():
    return NodeStatus(Configuration(name="a", data_dir=Path("/nowhere")), "a-1")


def driver(*members, leader=""):
    """Give a driver of the node a-1 that does not serve."""
    raft = SimpleNamespace(
        configuration=GroupConfiguration(members),
        followers={},
        leader=leader,
        term=3,
        role="follower",
        last_index=5,
        commit=5,
        applied_index=5,
    )
    return SimpleNamespace(
        raft=raft, name="a-1", leads=False, serving=False, leader_changes=0, table=JobTable(), alarms={}
    )


def linked(troubles):
    """Give peers without a link."""
    return SimpleNamespace(mesh=SimpleNamespace(peers={}, troubles=troubles))


class TestTheReason:
    def test_comes_with_the_reasons_why_there_are_no_links(self, status):
        status.driver = driver("a-1", "b-1")
        status.membership = SimpleNamespace(reason="", removed=False, name_of=lambda node: node)
        status.peers = linked({"10.0.0.2:4731": "the two nodes do not have the same cluster secret"})
        reason = status.status().node.reason
        assert reason.startswith("no leader is known")
        assert reason.endswith("; no link with 10.0.0.2:4731: the two nodes do not have the same cluster secret")

    def test_is_enough_by_itself_for_a_node_that_was_removed(self, status):
        status.driver = driver("b-1")
        status.membership = SimpleNamespace(reason="it was removed", removed=True, name_of=lambda node: node)
        status.peers = linked({"10.0.0.2:4731": "a was removed from the group"})
        assert status.status().node.reason == "it was removed"

    def test_is_that_nothing_gets_on_and_where(self, status):
        status.driver = driver("a-1", "b-1", leader="b-1")
        status.driver.serving, status.driver.alone, status.driver.stuck = True, False, 3.21
        status.listening = True
        stands = "commands of this node have not been applied for 3.2 s: "
        assert status._reason() == f"{stands}the leader b-1 makes no progress"
        status.driver.leads = True
        assert status._reason() == f"{stands}it leads, and too few nodes take what it sends"
        status.driver.alone = True
        assert status._reason() == f"{stands}its disk does not finish a write"
        status.driver.stuck = 0
        assert status._reason() is None


class TestAnAlarm:
    @pytest.fixture
    def cluster(self):
        return StillCluster()

    @staticmethod
    def seen_by(member):
        status = NodeStatus(Configuration(name=member.name, data_dir=Path("/nowhere")), member.name)
        status.driver, status.gateway, status.listening = member.driver, member.gateway, True
        return status.status()

    def test_is_shown_by_every_node_as_a_warning_while_it_is_ready_and_with_its_member(self, cluster):
        cluster["b"].driver.alarm(Alarm(Resource.MEMORY, 9 << 20, 8 << 20))
        cluster.settle()
        for member in cluster:
            shown = self.seen_by(member)
            assert shown.node.ready
            assert shown.node.warnings == (
                "no new job is taken: Node b uses 9 MiB of memory, and its --max-memory is 8 MiB",
            )
            assert [[alarm.resource for alarm in other.alarms] for other in shown.members] == [[], ["memory"], []]

    def test_that_is_over_is_not_shown(self, cluster):
        cluster["b"].driver.alarm(Alarm(Resource.DISK, 1, 2))
        cluster.settle()
        cluster["b"].driver.alarm(Alarm(Resource.DISK, 3, 0))
        cluster.settle()
        for member in cluster:
            shown = self.seen_by(member)
            assert shown.node.warnings == ()
            assert not any(other.alarms for other in shown.members)
