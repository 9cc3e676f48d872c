"""The smallest of the members' settings holds for all, also for connections that exist; what differs is said once."""

import pytest
import structlog

from cluster.jobs import Batch, JobTable, NodeDown, NodeUp, propose
from node.gateway.packet_limit import SmallestSetting
from protocol import PacketType as P
from tests.node.stillness import StillNode

MIB = 1 << 20


class Group:
    """A table in which nodes come up and go down, and node `a` looks."""

    def __init__(self, own: int) -> None:
        self.table = JobTable("a")
        self.packets = SmallestSetting("a", own, self.table)
        self.incarnations: dict[str, int] = {}

    def up(self, node: str, size: int) -> None:
        self.incarnations[node] = number = self.incarnations.get(node, 0) + 1
        self.table.apply(propose(1, [Batch(node, number, 1, [NodeUp(b"H", -1, size)])]))
        self.packets.look()

    def down(self, node: str) -> None:
        self.table.apply(propose(1, [], [NodeDown(node, self.incarnations[node])]))
        self.packets.look()

    @property
    def limit(self) -> tuple[int, str]:
        return self.packets.limit.size // MIB, self.packets.limit.setting


@pytest.fixture
def group():
    return Group(64 * MIB)


class TestTheLimit:
    def test_is_the_own_one_alone(self, group):
        group.packets.look()
        assert group.limit == (64, "--max-packet")

    def test_is_that_of_the_member_with_the_smallest(self, group):
        group.up("b", 16 * MIB)
        group.up("c", 8 * MIB)
        assert group.limit == (8, "the --max-packet of node c")

    def test_is_the_own_one_where_that_is_the_smallest(self, group):
        group.up("b", 128 * MIB)
        assert group.limit == (64, "--max-packet")

    def test_counts_nobody_who_is_down_or_does_not_say(self, group):
        group.up("b", 16 * MIB)
        group.up("c", 0)
        group.down("b")
        assert group.limit == (64, "--max-packet")
        assert group.packets.warning is None

    def test_follows_a_member_that_is_started_with_another_setting(self, group):
        group.up("b", 16 * MIB)
        group.up("b", 32 * MIB)
        assert group.limit == (32, "the --max-packet of node b")


class TestAMismatch:
    def test_is_named_with_both_nodes_and_values(self, group):
        group.up("b", MIB)
        assert group.packets.warning == (
            "the --max-packet of node a is 64 MiB, that of node b is 1 MiB: packets up to 1 MiB are taken"
        )

    def test_is_a_warning_in_the_log_once_though_the_node_comes_and_goes(self, group):
        with structlog.testing.capture_logs() as logs:
            for _ in range(3):
                group.up("b", MIB)
                group.up("b", MIB)
                group.down("b")
            assert len(logs) == 1
            group.up("b", 2 * MIB)
        assert [(log["log_level"], log["event"]) for log in logs] == [("warning", "max_packet_differs")] * 2
        assert "node b is 2 MiB" in logs[1]["why"]

    def test_is_none_where_all_have_the_same(self, group):
        with structlog.testing.capture_logs() as logs:
            group.up("b", 64 * MIB)
        assert (logs, group.packets.warning) == ([], None)


class TestAConnection:
    def test_that_exists_follows_the_limit(self):
        with StillNode() as node:
            peer = node.peer().say(P.ECHO_REQ, b"x" * 2000)
            node.settle()
            node.table.apply(propose(1, [Batch("b", 1, 1, [NodeUp(b"H", -1, 1024)])]))
            node.gateway.packets.look()
            peer.hears()
            peer.say(P.ECHO_REQ, b"x" * 1025)
            node.settle()
            ((kind, code, text),) = peer.hears()
            assert (kind, code) == (P.ERROR, b"ARGUMENT_TOO_LARGE")
            assert text == b"Packet of 1025 bytes announced, at most 1024 are taken: the --max-packet of node b"
            assert peer.wire.closed
