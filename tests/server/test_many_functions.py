"""Peers that name very many functions: what they are answered, and what they cost, while they are there and after."""

import pytest

from tests.harness import Connection, PacketType, ServerProcess, TextLine, eventually, procfs, request_bytes

MEBIBYTE = 1 << 20
TOO_MANY = b"TOO_MANY_FUNCTIONS"


@pytest.fixture
def server(start_server) -> ServerProcess:
    return start_server()


def names(count: int, kind: PacketType = PacketType.CAN_DO) -> bytes:
    """Give the packets of a peer that names so many functions."""
    return b"".join(request_bytes(kind, b"tenant-%09d" % number) for number in range(count))


async def refused(connection: Connection) -> int:
    """Count the ERRORs for too many functions that come before the answer to what goes through the job table."""
    connection.send_bytes(b"maxqueue no-such-function\n")
    count = 0
    while not isinstance(event := await connection.next(), TextLine):
        assert event.kind is PacketType.ERROR
        assert event.args[0] == TOO_MANY
        count += 1
    return count


async def functions(operator: Connection) -> int:
    return len(await operator.table("status"))


class TestOneConnectionThatNamesTooManyFunctions:
    async def test_is_told_so_and_costs_little_and_nothing_when_it_has_gone(self, server, connect, new_worker):
        """It took 3.4 KB a name, on every node, for ever: 400,000 names were 1.3 GiB."""
        await new_worker(b"warm-up")
        operator = await connect()
        before = procfs.resident_bytes(server.pid)
        async with await Connection.open(server.port) as peer:
            peer.send_bytes(names(50_000))
            assert await refused(peer) == 40_000
            assert await functions(operator) == 10_001
            assert procfs.resident_bytes(server.pid) - before < 40 * MEBIBYTE
        await eventually(lambda: functions(operator), lambda count: count == 1)
        server.restart()
        async with await Connection.open(server.port) as after:
            assert await functions(after) == 0
            assert procfs.resident_bytes(server.pid) < before + 10 * MEBIBYTE


class TestMoreFunctionsThanTheClusterMayKnow:
    @pytest.fixture
    def server(self, start_server) -> ServerProcess:
        return start_server("--max-functions", "3", "--max-worker-functions", "2")

    async def test_are_refused_by_any_way_in(self, server, connect, new_client, new_worker):
        client, operator = await new_client(), await connect()
        first = await new_worker(b"a", b"b")
        assert await operator.line(b"create function c") == b"OK"
        second = await connect()
        second.send(PacketType.CAN_DO, b"d")
        assert await refused(second) == 1
        client.send_job(b"d", b"", background=True)
        await client.expect_error(TOO_MANY)
        client.send_job(b"d", b"")
        await client.expect_error(TOO_MANY)
        for line in (b"create function d", b"maxqueue d 5"):
            assert await operator.line(line) == b"ERR TOO_MANY_FUNCTIONS There+may+be+no+further+function"
        assert await functions(operator) == 3
        await client.submit_background(b"a")
        await first.take()
        assert await operator.line(b"drop function c") == b"OK"
        second.send(PacketType.CAN_DO, b"d")
        assert await refused(second) == 0
        handle = await client.submit_background(b"d")
        second.send(PacketType.GRAB_JOB)
        assert (await second.expect(PacketType.JOB_ASSIGN))[0] == handle

    async def test_of_one_connection_are_refused_before_the_cluster_has_as_many(self, server, connect):
        worker = await connect()
        for name in (b"a", b"b", b"a"):
            worker.send(PacketType.CAN_DO, name)
        assert await refused(worker) == 0
        worker.send(PacketType.CAN_DO, b"c")
        assert await refused(worker) == 1
        worker.send(PacketType.CANT_DO, b"a")
        worker.send(PacketType.CAN_DO, b"c")
        assert await refused(worker) == 0

    async def test_do_not_count_for_a_worker_that_the_table_refused(self, server, connect, new_client):
        """What it was refused, it may name again; and it is given no job of it before."""
        client, operator, worker = await new_client(), await connect(), await connect()
        for name in (b"x", b"y", b"z"):
            assert await operator.line(b"create function " + name) == b"OK"
        for name in (b"a", b"b"):
            worker.send(PacketType.CAN_DO, name)
            assert await refused(worker) == 1
        worker.send(PacketType.CAN_DO, b"x")
        assert await refused(worker) == 0
        worker.send(PacketType.CAN_DO, b"y")
        assert await refused(worker) == 0
        handle = await client.submit_background(b"y")
        worker.send(PacketType.GRAB_JOB)
        assert (await worker.expect(PacketType.JOB_ASSIGN))[0] == handle
