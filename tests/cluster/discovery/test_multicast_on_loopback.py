"""Nodes that find one another by real multicast DNS on the loopback interface.

Each test has clusters of its own names: others may announce theirs on the same host at the same time.
"""

import contextlib
import errno
import socket
import uuid

import pytest
from structlog.testing import capture_logs
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from cluster.discovery import Announcement, Discovery, Endpoint, MulticastSource, OwnEndpoints, local_hosts, static
from cluster.discovery.multicast import CLIENT_SERVICE
from tests.cluster.discovery.doubles import Receiver
from tests.harness.conditions import eventually


@pytest.fixture
def cluster():
    return f"test-{uuid.uuid4().hex}"


@pytest.fixture
async def start():
    """Starts nodes, and stops those that are left."""
    async with contextlib.AsyncExitStack() as nodes:

        async def start(cluster, port, node=None):
            started = Node(cluster, port, node or f"n{port}-{uuid.uuid4().hex[:8]}")
            await started.discovery.start(started)
            nodes.push_async_callback(started.discovery.close)
            return started

        yield start


class Node(Receiver):
    def __init__(self, cluster, port, node):
        super().__init__()
        self.announcement = Announcement(node=node, name="n", cluster=cluster, version="0.1.0")
        bound = Endpoint("127.0.0.1", port)
        self.discovery = Discovery(
            [MulticastSource(self.announcement, bound)], own=OwnEndpoints(bound, local=local_hosts)
        )

    async def knows_ports(self, *ports):
        await self.knows(*(("127.0.0.1", port) for port in ports), within=20)


class TestNodesOfOneCluster:
    async def test_three_find_one_another_and_themselves_never(self, start, cluster):
        nodes = [await start(cluster, port) for port in (21001, 21002, 21003)]
        await nodes[0].knows_ports(21002, 21003)
        await nodes[1].knows_ports(21001, 21003)
        await nodes[2].knows_ports(21001, 21002)

    async def test_one_that_leaves_says_goodbye(self, start, cluster):
        first, second = await start(cluster, 21001), await start(cluster, 21002)
        await first.knows_ports(21002)
        await second.discovery.close()
        await first.knows_ports()

    async def test_one_that_comes_back_at_another_port_is_followed(self, start, cluster):
        first, second = await start(cluster, 21001), await start(cluster, 21002)
        await first.knows_ports(21002)
        await second.discovery.close()
        await start(cluster, 21012, node=second.announcement.node)
        await first.knows_ports(21012)

    async def test_one_that_was_killed_and_comes_back_at_another_port_is_followed(self, start, cluster, monkeypatch):
        first, second = await start(cluster, 21001), await start(cluster, 21002)
        await first.knows_ports(21002)
        monkeypatch.setattr(AsyncZeroconf, "async_unregister_all_services", _say_nothing)
        await second.discovery.close()
        await start(cluster, 21012, node=second.announcement.node)
        await first.knows_ports(21012)
        assert ("lost", "127.0.0.1", 21002) in first.told

    async def test_a_copy_of_a_node_takes_another_name_so_that_both_are_found(self, start, cluster):
        with capture_logs() as logs:
            original = await start(cluster, 21001)
            onlooker = await start(cluster, 21003)
            await onlooker.knows_ports(21001)
            await start(cluster, 21002, node=original.announcement.node)
            await onlooker.knows_ports(21001, 21002)
        said = [entry["node"] for entry in logs if entry["event"] == "mdns_name_in_use"]
        assert said == [original.announcement.node]


class TestTwoClustersOnOneNetwork:
    async def test_they_do_not_mix(self, start, cluster):
        ours = [await start(cluster, 21001), await start(cluster, 21002)]
        theirs = [await start(f"{cluster}-2", 21003), await start(f"{cluster}-2", 21004)]
        await ours[0].knows_ports(21002)
        await theirs[0].knows_ports(21004)
        await ours[1].knows_ports(21001)
        await theirs[1].knows_ports(21003)
        everything = [told for node in (*ours, *theirs) for told in node.told]
        assert len(everything) == 4


class TestGearmansClients:
    async def test_they_can_browse_for_job_servers_that_serve(self, start, cluster):
        node = await start(cluster, 21001)
        name = f"{node.announcement.label}.{CLIENT_SERVICE}"
        async with AsyncZeroconf(interfaces=["127.0.0.1"]) as onlooker:
            heard = {}

            def note(*, name, state_change, **_):
                heard[name] = state_change.name

            async with AsyncServiceBrowser(onlooker.zeroconf, CLIENT_SERVICE, handlers=[note]):
                for port in (24730, 24740):
                    node.discovery.advertise_clients("127.0.0.1", port)
                    service = await eventually(
                        lambda: looked_up(onlooker, name), lambda found, port=port: found.port == port, within=20
                    )
                    assert service.parsed_addresses() == ["127.0.0.1"]
                    assert service.decoded_properties["cluster"] == cluster
                node.discovery.withdraw_clients()

                async def ask():
                    return heard.get(name)

                await eventually(ask, lambda state: state == "Removed", within=20)


class TestAHostWithoutMulticast:
    async def test_it_says_so_and_goes_on_looking_elsewhere(self, cluster, monkeypatch):
        def refuse(self, level, option, value):
            if option == socket.IP_ADD_MEMBERSHIP:
                raise OSError(errno.EINVAL, "Invalid argument")
            return set_option(self, level, option, value)

        set_option = socket.socket.setsockopt
        monkeypatch.setattr(socket.socket, "setsockopt", refuse)
        multicast = MulticastSource(Announcement("n-0", "n", cluster, "0.1.0"), Endpoint("127.0.0.1", 21001))
        discovery = Discovery([multicast, static([Endpoint("127.0.0.1", 21002)])])
        receiver = Receiver()
        with capture_logs() as logs:
            await discovery.start(receiver)

            async def ask():
                return [entry for entry in logs if entry["event"] == "mdns_unavailable"]

            await eventually(ask)
            await receiver.knows(("127.0.0.1", 21002))
            await discovery.close()
        assert [entry["reason"] for entry in await ask()] == ["no network interface takes part in multicast"]


async def looked_up(zeroconf, name):
    service = AsyncServiceInfo(CLIENT_SERVICE, name)
    await service.async_request(zeroconf.zeroconf, 1000)
    return service


async def _say_nothing(self):
    """Stand for a process that had no time to say goodbye."""
