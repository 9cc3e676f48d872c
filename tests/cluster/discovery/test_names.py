"""Names that are resolved again and again, and addresses that need not be."""

import asyncio
import contextlib
import socket

import pytest
from structlog.testing import capture_logs

from cluster.discovery import Endpoint, NameSource, dns, static
from cluster.discovery.names import EAGER_INTERVAL, INTERVAL, resolve
from tests.cluster.discovery.doubles import Reports, StillTime, turns

UNKNOWN = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
UNREACHABLE = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


class Zone:
    """Answers look-ups from a table that the test changes."""

    def __init__(self, **names):
        self.names = names

    async def resolve(self, host, port):
        answer = self.names[host]
        if isinstance(answer, Exception):
            raise answer
        return answer


@contextlib.asynccontextmanager
async def running(source, reports):
    task = asyncio.create_task(source.run(reports))
    await turns()
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def time():
    return StillTime()


@pytest.fixture
def reports():
    return Reports()


def nodes(zone, time):
    return NameSource("dns:nodes", [Endpoint("nodes", 4731)], resolve=zone.resolve, sleep=time.sleep)


class TestAddressesWrittenDown:
    async def test_they_are_reported_at_once_and_for_good(self, reports):
        source = static([Endpoint("10.0.0.1", 4731), Endpoint("fd00::1", 4741)])
        await source.run(reports)
        assert source.name == "static"
        assert reports.all == [[("10.0.0.1", 4731), ("fd00::1", 4741)]]


class TestNames:
    async def test_every_address_of_the_name_is_reported_with_the_port(self, time, reports):
        async with running(nodes(Zone(nodes=["fd00::1", "10.0.0.1", "fe80::1"]), time), reports):
            assert reports.all[-1] == [("10.0.0.1", 4731), ("fd00::1", 4731)]

    async def test_an_address_that_left_the_answers_is_lost(self, time, reports):
        zone = Zone(nodes=["10.0.0.1", "10.0.0.2"])
        async with running(nodes(zone, time), reports):
            zone.names["nodes"] = ["10.0.0.2", "10.0.0.3"]
            await time.pass_by()
            assert reports.all[-1] == [("10.0.0.2", 4731), ("10.0.0.3", 4731)]

    async def test_answers_in_another_order_change_nothing(self, time, reports):
        zone = Zone(nodes=["10.0.0.1", "10.0.0.2"])
        async with running(nodes(zone, time), reports):
            before = len(reports.all)
            zone.names["nodes"] = ["10.0.0.2", "10.0.0.1"]
            await time.pass_by()
            assert len(reports.all) == before

    async def test_a_name_that_is_gone_takes_its_addresses_with_it(self, time, reports):
        zone = Zone(nodes=["10.0.0.1"])
        async with running(nodes(zone, time), reports):
            zone.names["nodes"] = UNKNOWN
            await time.pass_by()
            assert reports.all[-1] == []

    async def test_a_resolver_out_of_reach_changes_nothing(self, time, reports):
        zone = Zone(nodes=["10.0.0.1"])
        async with running(nodes(zone, time), reports):
            zone.names["nodes"] = UNREACHABLE
            await time.pass_by()
            assert reports.all[-1] == [("10.0.0.1", 4731)]

    async def test_a_slow_name_does_not_hold_up_another(self, time, reports):
        async def slow_or_not(host, port):
            return await asyncio.Event().wait() if host == "slow" else ["10.0.0.1"]

        endpoints = [Endpoint("slow", 1), Endpoint("quick", 2), Endpoint("10.0.0.9", 3)]
        source = NameSource("static", endpoints, resolve=slow_or_not, sleep=time.sleep)
        async with running(source, reports):
            assert reports.all[-1] == [("10.0.0.1", 2), ("10.0.0.9", 3)]

    async def test_it_looks_more_often_while_it_knows_nobody(self, time, reports):
        reports.alone = True
        async with running(nodes(Zone(nodes=UNKNOWN), time), reports):
            reports.alone = False
            await time.pass_by()
            assert time.asked == [EAGER_INTERVAL, INTERVAL]

    @pytest.mark.parametrize(
        "error", [UNKNOWN, UNREACHABLE, UnicodeError("label too long"), OSError(24, "no files left")]
    )
    async def test_a_failure_is_said_once_until_it_changes(self, time, reports, error):
        zone = Zone(nodes=error)
        with capture_logs() as logs:
            async with running(nodes(zone, time), reports):
                await time.pass_by()
                await time.pass_by()
                zone.names["nodes"] = ["10.0.0.1"]
                await time.pass_by()
                zone.names["nodes"] = error
                await time.pass_by()
        assert [entry["event"] for entry in logs] == ["name_not_resolved", "name_resolved", "name_not_resolved"]

    async def test_a_name_without_a_usable_address_is_said_to_have_none(self, time, reports):
        with capture_logs() as logs:
            async with running(nodes(Zone(nodes=["0.0.0.0"]), time), reports):
                assert reports.all[-1] == []
        assert [entry["reason"] for entry in logs] == ["it has no address that can be connected to"]


class TestTheSystemsResolver:
    async def test_localhost_is_this_host(self):
        assert {"127.0.0.1", "::1"} & set(await resolve("localhost", 4731))

    async def test_a_name_that_cannot_exist_is_an_error(self):
        with pytest.raises(OSError):
            await resolve("no-such-host.invalid", 4731)

    def test_a_name_of_dns_is_a_source_of_its_own(self):
        assert dns("nodes.default.svc", 4731).name == "dns:nodes.default.svc"
