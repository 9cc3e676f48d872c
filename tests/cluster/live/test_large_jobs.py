"""Jobs of many megabytes, on nodes that do other things meanwhile: they get through, and stop nobody."""

import asyncio
import hashlib

import pytest

from protocol import encode_request
from tests.harness import PacketType

MIB = 1 << 20


def workload(number: int, size: int) -> bytes:
    """Make one that differs from every other, all along."""
    block = hashlib.shake_256(b"%d" % number).digest(64 * 1024)
    return (block * (size // len(block) + 1))[:size]


def dropped(cluster) -> list[str]:
    """Give the lines about messages that could not be sent."""
    return [line for node in cluster.nodes for line in node.log_tail(100_000).splitlines() if "message_dropped" in line]


async def burst(connection, function: bytes, sizes: list[int]) -> int:
    """Send a small job, an echo, and then jobs of these sizes at once; return how many are acknowledged in the end."""
    kind = PacketType.SUBMIT_JOB_BG
    packets = [encode_request(kind, function, b"", b"small"), encode_request(PacketType.ECHO_REQ, b"echo")]
    packets += [encode_request(kind, function, b"", workload(n, size)) for n, size in enumerate(sizes)]
    connection.send_bytes(b"".join(packets))
    handles = set()
    handles.add((await connection.expect(PacketType.JOB_CREATED, within=60))[0])
    await connection.expect(PacketType.ECHO_RES, within=60)
    for _ in sizes:
        handles.add((await connection.expect(PacketType.JOB_CREATED, within=60))[0])
    return len(handles)


class TestABurstOfLargeJobsOnOneConnection:
    @pytest.mark.timeout(240)
    async def test_gets_through_though_the_followers_were_frozen_when_it_came(
        self, battered, connect, client_on, function
    ):
        """It was one entry that is longer than any message: the leader led on, and nothing was ever committed again."""
        leader = await battered.leader()
        others = battered.others(leader)
        connection = await connect(leader)
        for node in others:
            node.stall()
        sending = asyncio.ensure_future(burst(connection, function, [8 * MIB] * 15))
        await asyncio.wait([sending], timeout=1.0)
        for node in others:
            node.resume()
        assert await sending == 16
        await battered.settles()
        for node in battered.nodes:
            await (await client_on(node)).submit_background(function, b"after")
        assert dropped(battered) == []

    @pytest.mark.timeout(240)
    async def test_gets_through_where_only_small_packets_are_taken(self, new_cluster):
        cluster = await new_cluster(arguments=("--max-packet", "1MiB"))
        node = (await cluster.followers())[0]
        async with await node.connect() as connection:
            assert await burst(connection, b"f", [1_000_000] * 60) == 61
        assert dropped(cluster) == []


class TestThreeJobsOf60MiBAtOnce:
    @pytest.mark.timeout(300)
    async def test_are_acknowledged_while_everybody_else_is_served_and_outlive_a_restart(
        self, battered, client_on, worker_on, function
    ):
        clients = [await client_on(node) for node in battered.nodes]
        others = [await client_on(node) for node in battered.nodes]
        for number, client in enumerate(clients):
            client.send_job(function, workload(number, 60 * MIB), background=True, unique=b"u%d" % number)
        created = [asyncio.ensure_future(client.created(within=120)) for client in clients]
        served = 0
        while not all(each.done() for each in created):
            for other in others:
                await other.submit_background(function + b"-small", b"")
                served += 1
        handles = [await each for each in created]
        assert served >= 3 * 10
        for node in battered.nodes:
            assert (await node.stop()) == 0
        await battered.start()
        await battered.settles()
        worker = await worker_on(battered.nodes[1], function)
        found = {}
        for _ in handles:
            job = await worker.take(within=60)
            found[job.handle] = hashlib.sha256(job.workload).digest()
            worker.complete(job.handle)
        expected = {handle: hashlib.sha256(workload(n, 60 * MIB)).digest() for n, handle in enumerate(handles)}
        assert found == expected
