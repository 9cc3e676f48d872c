"""Nodes that go with very many jobs, and functions that are too many: all nodes of a cluster see the same of it."""

import pytest

from tests.harness import Connection, PacketType, eventually, procfs, request_bytes

JOBS = 60_000
NAMES = 10_000
MEBIBYTE = 1 << 20


async def jobs_on(node) -> int:
    async with await node.connect() as operator:
        return sum(int(row.split(b"\t")[1]) for row in await operator.table("status"))


async def functions_on(node) -> int:
    async with await node.connect() as operator:
        return len(await operator.table("status"))


async def submit_foreground(connection: Connection, count: int) -> None:
    for start in range(0, count, 5000):
        packets = (request_bytes(PacketType.SUBMIT_JOB, b"f\0\0%d" % n) for n in range(start, start + 5000))
        connection.send_bytes(b"".join(packets))
        for _ in range(5000):
            await connection.expect(PacketType.JOB_CREATED)


async def settled(connection: Connection) -> int:
    """Count the ERRORs that come before the answer to what goes through the job table."""
    connection.send_bytes(b"maxqueue no-such-function\n")
    errors = 0
    while hasattr(event := await connection.next(), "kind"):
        assert event.kind is PacketType.ERROR
        errors += 1
    return errors


class TestANodeThatGoesWithVeryManyJobs:
    @pytest.mark.timeout(180)
    async def test_lets_go_of_them_all_though_it_led(self, new_cluster, connect):
        """Whoever leads next begins with what departs, and goes on with it entry by entry."""
        cluster = await new_cluster()
        leader = await cluster.leader()
        others = cluster.others(leader)
        client = await connect(leader)
        await submit_foreground(client, JOBS)
        for node in cluster.nodes:
            assert await jobs_on(node) == JOBS
        leader.kill()
        client.abort()
        for node in others:
            await eventually(lambda node=node: jobs_on(node), lambda found: found == 0, within=60, every=0.05)
        leader.start()
        await cluster.settles()
        for node in cluster.nodes:
            assert await functions_on(node) == 0
        for node in cluster.nodes:
            async with await node.client() as after:
                await after.submit_background(b"after")


class TestFunctions:
    @pytest.mark.timeout(180)
    async def test_cost_little_on_every_node_and_are_forgotten_by_all(self, new_cluster, connect):
        cluster = await new_cluster()
        for node in cluster.nodes:
            async with await node.client() as client:
                await client.submit_background(b"warm-up")
        before = {node: procfs.resident_bytes(node.pid) for node in cluster.nodes}
        peers = [await connect(cluster.nodes[0]) for _ in range(3)]
        for number, peer in enumerate(peers):
            named = (request_bytes(PacketType.CAN_DO, b"tenant-%d-%09d" % (number, n)) for n in range(2 * NAMES))
            peer.send_bytes(b"".join(named))
            assert await settled(peer) == NAMES
        for node in cluster.nodes:
            await eventually(lambda node=node: functions_on(node), lambda found: found == 3 * NAMES + 1)
            assert procfs.resident_bytes(node.pid) - before[node] < 40 * MEBIBYTE
        for peer in peers:
            await peer.close()
        for node in cluster.nodes:
            await eventually(lambda node=node: functions_on(node), lambda found: found == 1)

    async def test_that_are_too_many_are_refused_by_every_node(self, new_cluster, connect):
        cluster = await new_cluster(arguments=("--max-functions", "2"))
        first, second, third = [await connect(node) for node in cluster.nodes]
        first.send(PacketType.CAN_DO, b"a")
        assert await settled(first) == 0
        assert await second.line(b"create function b") == b"OK"
        third.send(PacketType.CAN_DO, b"c")
        assert await settled(third) == 1
        async with await cluster.nodes[1].client() as client:
            client.send_job(b"d", b"", background=True)
            await client.expect_error(b"TOO_MANY_FUNCTIONS")
            await client.submit_background(b"a")
        leader = await cluster.leader()
        leader.kill()
        leader.start()
        await cluster.settles()
        async with await cluster.nodes[2].connect() as worker:
            worker.send(PacketType.CAN_DO, b"e")
            assert await settled(worker) == 1
            worker.send(PacketType.CAN_DO, b"b")
            assert await settled(worker) == 0
