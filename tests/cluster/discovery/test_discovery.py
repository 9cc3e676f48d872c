"""Several sources, one receiver: every candidate once."""

import asyncio

import pytest
from structlog.testing import capture_logs

from cluster.discovery import Discovery, Endpoint, OwnEndpoints
from cluster.discovery.discovery import MAX_CANDIDATES
from tests.cluster.discovery.doubles import Receiver, StillTime, turns

A, B = Endpoint("10.0.0.1", 4731), Endpoint("10.0.0.2", 4731)


class Puppet:
    """A source that reports what the test tells it to."""

    def __init__(self, name, *failures):
        self.name = name
        self.failures = list(failures)
        self.runs = 0
        self.said_goodbye = False
        self.clients = None

    async def run(self, sightings):
        self.runs += 1
        self.sightings = sightings
        if self.failures:
            raise self.failures.pop(0)
        try:
            await asyncio.Event().wait()
        finally:
            self.said_goodbye = True

    def sees(self, *endpoints):
        self.sightings.report(endpoints)

    def advertise_clients(self, host, port):
        self.clients = (host, port)

    def withdraw_clients(self):
        self.clients = None


@pytest.fixture
def receiver():
    return Receiver()


async def begun(receiver, *sources, **options):
    discovery = Discovery(sources, **options)
    await discovery.start(receiver)
    await turns()
    return discovery


class TestSightingsOfSeveralSources:
    async def test_what_two_sources_see_is_found_once_and_lost_when_neither_sees_it(self, receiver):
        mdns, dns = Puppet("mdns"), Puppet("dns:nodes")
        discovery = await begun(receiver, mdns, dns)
        mdns.sees(A)
        dns.sees(A, B)
        assert receiver.told == [("found", "10.0.0.1", 4731), ("found", "10.0.0.2", 4731)]
        assert discovery.known == {A: ("mdns", "dns:nodes"), B: ("dns:nodes",)}
        mdns.sees()
        assert len(receiver.told) == 2
        dns.sees(B)
        assert receiver.told[2:] == [("lost", "10.0.0.1", 4731)]
        await discovery.close()

    async def test_a_report_that_changes_nothing_tells_nothing(self, receiver):
        source = Puppet("mdns")
        discovery = await begun(receiver, source)
        source.sees(A, B)
        source.sees(B, A, B)
        assert len(receiver.told) == 2
        await discovery.close()

    async def test_a_node_is_alone_until_somebody_else_is_seen(self, receiver):
        source = Puppet("mdns")
        own = OwnEndpoints(A, local=set)
        discovery = await begun(receiver, source, own=own)
        source.sees(A)
        assert receiver.told == []
        assert discovery.alone
        source.sees(A, B)
        assert not source.sightings.alone
        await discovery.close()

    async def test_a_flood_of_addresses_is_cut_and_said_once(self, receiver):
        source = Puppet("mdns")
        discovery = await begun(receiver, source)
        flood = [Endpoint("10.0.0.1", port) for port in range(1, MAX_CANDIDATES + 100)]
        with capture_logs() as logs:
            source.sees(*flood)
            source.sees(*flood)
        assert len(receiver.current) == MAX_CANDIDATES
        assert [entry["event"] for entry in logs if entry["log_level"] == "warning"] == ["too_many_candidates"]
        await discovery.close()


class TestSourcesThatEnd:
    async def test_a_source_that_fails_is_logged_and_run_again(self, receiver):
        time = StillTime()
        failing, sound = Puppet("mdns", ValueError("broken")), Puppet("static")
        with capture_logs() as logs:
            discovery = await begun(receiver, failing, sound, sleep=time.sleep)
        assert [(entry["event"], entry["source"]) for entry in logs] == [("discovery_source_failed", "mdns")]
        sound.sees(B)
        await time.pass_by()
        failing.sees(A)
        assert failing.runs == 2
        assert receiver.current == [("10.0.0.2", 4731), ("10.0.0.1", 4731)]
        await discovery.close()

    async def test_closing_lets_sources_say_goodbye_and_tells_the_receiver_nothing(self, receiver):
        source = Puppet("mdns")
        discovery = await begun(receiver, source)
        source.sees(A)
        await discovery.close()
        source.sees(B)
        assert source.said_goodbye
        assert receiver.told == [("found", "10.0.0.1", 4731)]

    async def test_closing_what_never_started_is_nothing(self, receiver):
        await Discovery([Puppet("mdns")]).close()
        assert receiver.told == []


class TestAnnouncingClients:
    async def test_it_reaches_the_sources_that_can_announce(self, receiver):
        class Deaf:
            name = "static"

            async def run(self, sightings):
                sightings.report([])

        source = Puppet("mdns")
        discovery = await begun(receiver, Deaf(), source)
        discovery.advertise_clients("0.0.0.0", 4730)
        assert source.clients == ("0.0.0.0", 4730)
        discovery.withdraw_clients()
        assert source.clients is None
        await discovery.close()
