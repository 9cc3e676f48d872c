"""When a node announces itself anew, and what it does where there is no network: without sockets and without time."""

import asyncio
import contextlib

import pytest
from structlog.testing import capture_logs

from cluster.discovery import Announcement, Endpoint, MulticastSource
from cluster.discovery.multicast.network import Interface
from cluster.discovery.multicast.responder import NoMulticastError
from tests.cluster.discovery.doubles import Reports, StillTime, turns

ALPHA = Announcement(node="alpha-0a1b2c3d", name="alpha", cluster="orders", version="0.1.0")
ANYWHERE = Endpoint("0.0.0.0", 4731)
LO, ETH, WLAN = Interface(1, ("127.0.0.1",)), Interface(2, ("192.0.2.7",)), Interface(3, ("198.51.100.7",))


class Host:
    """A host whose interfaces come and go, and the stays on its networks."""

    def __init__(self, *interfaces):
        self.interfaces = list(interfaces)
        self.refusal = None
        self.stays = []

    async def open(self, network, announcement, heard):
        if self.refusal is not None:
            raise self.refusal
        self.stays.append(Stay(heard))
        return self.stays[-1]


class Stay:
    def __init__(self, heard):
        self.heard = heard
        self.node = self.clients = None
        self.announcements_to_clients = 0
        self.closed = False

    async def announce_node(self, hosts, port):
        self.node = (tuple(hosts), port)

    async def announce_clients(self, hosts, port):
        self.clients = (tuple(hosts), port)
        self.announcements_to_clients += 1

    async def withdraw_clients(self):
        self.clients = None

    async def close(self):
        self.closed = True


@pytest.fixture
def time():
    return StillTime()


@pytest.fixture
def reports():
    return Reports()


@contextlib.asynccontextmanager
async def running(host, time, reports, bound=ANYWHERE, **options):
    source = MulticastSource(
        ALPHA, bound, interfaces=lambda: host.interfaces, open_responder=host.open, sleep=time.sleep, **options
    )
    task = asyncio.create_task(source.run(reports))
    await turns()
    try:
        yield source
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def events(logs):
    return [entry["event"] for entry in logs]


class TestAnnouncingANode:
    async def test_it_is_announced_where_it_can_be_reached(self, time, reports):
        host = Host(LO, ETH)
        async with running(host, time, reports):
            assert host.stays[0].node == (("192.0.2.7",), 4731)

    async def test_another_address_can_be_told_instead(self, time, reports):
        host = Host(LO, ETH)
        async with running(host, time, reports, advertised=Endpoint("203.0.113.5", 14731)):
            assert host.stays[0].node == (("203.0.113.5",), 14731)

    async def test_what_is_heard_is_reported(self, time, reports):
        host = Host(LO, ETH)
        async with running(host, time, reports):
            host.stays[0].heard([Endpoint("192.0.2.8", 4731)])
            assert reports.all == [[("192.0.2.8", 4731)]]

    async def test_it_says_goodbye_when_it_ends(self, time, reports):
        host = Host(LO, ETH)
        async with running(host, time, reports):
            assert not host.stays[0].closed
        assert host.stays[0].closed


class TestANetworkThatChanges:
    async def test_nothing_is_done_while_it_stays_the_same(self, time, reports):
        host = Host(LO, ETH)
        async with running(host, time, reports):
            for _ in range(5):
                await time.pass_by()
            assert len(host.stays) == 1
            assert not host.stays[0].closed

    async def test_a_new_interface_has_everything_announced_anew(self, time, reports):
        host = Host(LO, ETH)
        async with running(host, time, reports) as source:
            source.advertise_clients("0.0.0.0", 4730)
            await turns()
            host.interfaces.append(WLAN)
            await time.pass_by()
            assert host.stays[0].closed
            assert host.stays[1].node == (("192.0.2.7", "198.51.100.7"), 4731)
            assert host.stays[1].clients == (("192.0.2.7", "198.51.100.7"), 4730)

    async def test_without_any_interface_it_says_so_once_and_comes_back_later(self, time, reports):
        host = Host()
        with capture_logs() as logs:
            async with running(host, time, reports):
                await time.pass_by()
                await time.pass_by()
                assert events(logs) == ["mdns_unavailable"]
                host.interfaces = [LO]
                await time.pass_by()
                assert host.stays[0].node == (("127.0.0.1",), 4731)
        assert events(logs) == ["mdns_unavailable", "mdns_started"]

    async def test_when_the_last_interface_goes_what_was_heard_is_lost(self, time, reports):
        host = Host(LO, ETH)
        async with running(host, time, reports):
            host.stays[0].heard([Endpoint("192.0.2.8", 4731)])
            host.interfaces = []
            await time.pass_by()
            assert reports.all[-1] == []

    @pytest.mark.parametrize("refusal", [NoMulticastError("no multicast here"), OSError(98, "Address already in use")])
    async def test_sockets_that_cannot_be_had_are_tried_again(self, time, reports, refusal):
        host = Host(LO, ETH)
        host.refusal = refusal
        with capture_logs() as logs:
            async with running(host, time, reports):
                await time.pass_by()
                host.refusal = None
                await time.pass_by()
                assert host.stays[0].node is not None
        assert events(logs) == ["mdns_unavailable", "mdns_started"]


class TestAnnouncingClients:
    async def test_it_is_switched_on_changed_and_off(self, time, reports):
        host = Host(LO, ETH)
        async with running(host, time, reports) as source:
            source.advertise_clients("0.0.0.0", 4730)
            await turns()
            assert host.stays[0].clients == (("192.0.2.7",), 4730)
            source.advertise_clients("192.0.2.7", 4740)
            await turns()
            assert host.stays[0].clients == (("192.0.2.7",), 4740)
            source.withdraw_clients()
            await turns()
            assert host.stays[0].clients is None

    async def test_the_same_again_is_not_announced_again(self, time, reports):
        host = Host(LO, ETH)
        async with running(host, time, reports) as source:
            for _ in range(3):
                source.advertise_clients("0.0.0.0", 4730)
                await turns()
            assert host.stays[0].announcements_to_clients == 1

    async def test_it_may_be_asked_for_before_there_is_a_network(self, time, reports):
        host = Host()
        async with running(host, time, reports) as source:
            source.advertise_clients("0.0.0.0", 4730)
            host.interfaces = [ETH]
            await time.pass_by()
            assert host.stays[0].clients == (("192.0.2.7",), 4730)

    async def test_a_listener_on_loopback_is_not_told_to_other_hosts(self, time, reports):
        host = Host(LO, ETH)
        async with running(host, time, reports) as source:
            source.advertise_clients("127.0.0.1", 4730)
            await turns()
            assert host.stays[0].clients is None

    async def test_among_nodes_on_loopback_it_is(self, time, reports):
        host = Host(LO, ETH)
        async with running(host, time, reports, bound=Endpoint("127.0.0.1", 4731)) as source:
            source.advertise_clients("127.0.0.1", 4730)
            await turns()
            assert host.stays[0].clients == (("127.0.0.1",), 4730)
