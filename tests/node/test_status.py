"""What a node says of itself when it does not serve: the reason must lead an operator to what is wrong."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from cluster.jobs import Alarm, JobTable, Resource
from cluster.raft import Configuration as GroupConfiguration
from cluster.raft.messages import Append
from node.configuration import Configuration
from node.driver.lag import TOO_LONG
from node.status import NodeStatus
from protocol import PacketType
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
        raft=raft,
        name="a-1",
        leads=False,
        serving=False,
        leader_changes=0,
        table=JobTable(),
        alarms={},
        lag=0,
        lags=False,
        stuck=0.0,
        alone=False,
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
        status.driver.lag = 3400
        assert status._reason() == f"{stands}its table is 3.4 s old"
        status.driver.lag, status.driver.leads = 200, True
        assert status._reason() == f"{stands}it leads, and too few nodes take what it sends"
        status.driver.alone = True
        assert status._reason() == f"{stands}its disk does not finish a write"
        status.driver.stuck = 0
        assert status._reason() is None

    def test_is_that_the_table_is_old_before_what_follows_from_that(self, status):
        status.driver = driver("a-1", "b-1", leader="b-1")
        status.driver.serving = status.listening = status.driver.lags = True
        status.driver.lag, status.driver.stuck = 31_260, 8.0
        assert status._reason() == (
            "this node's table is 31.3 s old: see what slows its processor, its disk or its network. It serves those "
            "who are connected, and is ready again when it has caught up"
        )


@pytest.fixture
def cluster():
    return StillCluster()


def seen_by(member):
    """Give what the site of a node of a still cluster shows."""
    status = NodeStatus(Configuration(name=member.name, data_dir=Path("/nowhere")), member.name)
    status.driver, status.gateway, status.listening = member.driver, member.gateway, True
    return status.status()


class TestALag:
    """Node c is heard and hears that jobs come, and is sent no entries."""

    @pytest.fixture
    def starved(self, cluster, monkeypatch):
        leader = cluster.leader
        send = leader.send
        assert leader.name == "a"

        def send_no_entries_to_c(message):
            if not (message.to == "c" and isinstance(message, Append)):
                send(message)

        monkeypatch.setattr(leader, "send", send_no_entries_to_c)
        return cluster["c"]

    @staticmethod
    def load(cluster, seconds):
        """Let a job be submitted to node b again and again; give who is ready in each second."""
        client = cluster["b"].peer()
        ready = []
        for _ in range(seconds):
            client.say(PacketType.SUBMIT_JOB_BG, b"f", b"", b"")
            cluster.wait(1.0)
            ready.append("".join(member.name for member in cluster if seen_by(member).node.ready))
        assert len(client.hears()) == seconds
        return ready

    def test_that_is_too_long_is_the_reason_of_the_node_that_has_it_alone(self, cluster, starved):
        seconds = round(TOO_LONG)
        assert self.load(cluster, seconds + 5) == ["abc"] * seconds + ["ab"] * 5
        shown = seen_by(starved)
        assert shown.node.reason.startswith("this node's table is 3")
        assert TOO_LONG * 1000 < shown.raft.lag_ms < (TOO_LONG + 5.5) * 1000
        assert [seen_by(cluster[name]).raft.lag_ms for name in "ab"] == [0, 0]

    def test_keeps_nobody_from_being_served(self, cluster, starved):
        worker = starved.peer()
        self.load(cluster, round(TOO_LONG) + 5)
        assert starved.serving
        worker.say(PacketType.ECHO_REQ, b"there?")
        cluster.settle()
        assert worker.hears() == [(PacketType.ECHO_RES, b"there?")]

    def test_of_a_table_that_stands_still_keeps_the_node_s_own_commands_waiting(self, cluster, starved):
        starved.peer().say(PacketType.SUBMIT_JOB_BG, b"f", b"", b"")
        self.load(cluster, 12)
        reason = seen_by(starved).node.reason
        assert reason.startswith("commands of this node have not been applied for 11.")
        assert "its table is 11." in reason

    def test_of_a_table_that_gets_on_is_no_standstill_of_the_commands_that_wait_behind(self, cluster, monkeypatch):
        late = cluster["c"]
        leader, send = cluster.leader, cluster.leader.send

        def send_entries_late_to_c(message):
            if message.to == "c" and isinstance(message, Append) and message.entries:
                cluster.loop.call_later(5.0, send, message)
            else:
                send(message)

        monkeypatch.setattr(leader, "send", send_entries_late_to_c)
        self.load(cluster, 6)
        client = late.peer().say(PacketType.SUBMIT_JOB_BG, b"f", b"", b"")
        assert self.load(cluster, 4) == ["abc"] * 4
        assert client.hears() == []
        assert 4000 < late.driver.lag < 6000
        assert self.load(cluster, 4) == ["abc"] * 4
        ((kind, _),) = client.hears()
        assert kind is PacketType.JOB_CREATED

    def test_is_not_over_while_a_snapshot_is_in_the_log_and_not_in_the_table(self, cluster, starved):
        self.load(cluster, 5)
        leader = cluster.leader.raft
        starved.raft._server.restore(leader.snapshot_meta(leader.applied_index))
        cluster.wait(0.1)
        assert starved.raft.applied_index == leader.applied_index
        assert seen_by(starved).raft.lag_ms > 4000

    def test_is_over_by_itself_once_the_entries_come(self, cluster, starved, monkeypatch):
        self.load(cluster, round(TOO_LONG) + 5)
        monkeypatch.undo()
        cluster.wait(0.5)
        assert seen_by(starved).node.ready
        assert seen_by(starved).raft.lag_ms == 0
        assert len(starved.table.jobs) == round(TOO_LONG) + 5

    def test_is_logged_when_it_begins_to_matter_and_when_it_is_over(self, cluster, starved, monkeypatch):
        with capture_logs() as logs:
            self.load(cluster, round(TOO_LONG) + 5)
            monkeypatch.undo()
            cluster.wait(0.5)
        lagging, caught_up = [entry for entry in logs if entry["event"] in ("lagging", "caught_up")]
        assert (lagging["log_level"], lagging["seconds"]) == ("warning", pytest.approx(TOO_LONG, abs=0.2))
        assert "new clients go to other nodes" in lagging["effect"]
        assert (caught_up["log_level"], caught_up["after_seconds"]) == ("info", pytest.approx(5.0, abs=1.1))

    def test_of_a_node_that_stood_still_counts_from_when_it_goes_on(self, cluster, starved):
        self.load(cluster, 5)
        cluster.loop.pause(60.0)
        assert seen_by(starved).raft.lag_ms < 6000


class TestAnAlarm:
    def test_is_shown_by_every_node_as_a_warning_while_it_is_ready_and_with_its_member(self, cluster):
        cluster["b"].driver.alarm(Alarm(Resource.MEMORY, 9 << 20, 8 << 20))
        cluster.settle()
        for member in cluster:
            shown = seen_by(member)
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
            shown = seen_by(member)
            assert shown.node.warnings == ()
            assert not any(other.alarms for other in shown.members)
