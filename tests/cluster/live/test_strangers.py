"""Who does not belong to the cluster and speaks to it all the same."""

import asyncio
import os
import random
import socket

import pytest

from tests.harness import Client, procfs
from tests.harness.cluster import Cluster, Node

MEBIBYTE = 1 << 20


async def still_works(cluster: Cluster, function: bytes) -> None:
    """Have a job of one node run on another."""
    async with await cluster.nodes[0].client() as client, await cluster.nodes[1].worker(function) as worker:
        handle = await client.submit(function, b"w")
        assert (await worker.take()).handle == handle
        worker.complete(handle, b"r")
        assert await client.completed(handle) == b"r"


async def send(node: Node, data: bytes) -> None:
    """Send bytes to the mesh port and wait for the end, or for a while."""
    reader, writer = await asyncio.open_connection(node.host, node.mesh_port)
    try:
        writer.write(data)
        async with asyncio.timeout(2.0):
            await writer.drain()
            await reader.read(-1)
    except (OSError, TimeoutError):
        pass
    finally:
        writer.close()


class TestTwoClustersOnOneNetwork:
    async def test_told_of_one_another_they_stay_two(self, new_cluster, function, tmp_path):
        one = await new_cluster(2, name="one", secret="a secret that both share")
        other = await new_cluster(
            2,
            name="other",
            secret="a secret that both share",
            arguments=[argument for node in one.nodes for argument in ("--peer", node.mesh_address)],
        )
        for cluster in (one, other):
            await cluster.settles()
            await still_works(cluster, function)
        async with await one.nodes[0].client() as client:
            await client.submit_background(b"only in one")
        async with await other.nodes[0].connect() as connection:
            assert not [row for row in await connection.table("status") if row.startswith(b"only in one")]

    @pytest.mark.namespaces
    async def test_found_by_multicast_on_one_segment_they_stay_two(self, new_cluster, segment, function):
        mdns = ("--discovery", "mdns")
        one = await new_cluster(2, name="one", segment=segment, discovery=mdns, wait=False)
        other = await new_cluster(2, name="other", segment=segment, discovery=mdns, secret=one.secret, wait=False)
        for cluster in (one, other):
            for node in cluster.nodes:
                await node.serves()
            await cluster.settles()
            await still_works(cluster, function)


class TestAPeerWithAWrongSecret:
    async def test_it_does_not_get_in_and_the_cluster_says_so_and_goes_on(self, cluster, function):
        stranger = Node(cluster, "stranger", cluster.nodes[0].place)
        stranger.environment = {"GEARMESH_SECRET": "not the secret of this cluster"}
        stranger.known = tuple(node.mesh_address for node in cluster.nodes)
        with stranger.spawned():
            await asyncio.wait_for(refusal(stranger), 30)
            assert (await cluster.nodes[0].view()).voters == {node.name for node in cluster.nodes}
            await stranger.refuses()
            await still_works(cluster, function)


async def refusal(node: Node) -> None:
    """Wait until a node has said that it is not let in."""
    while "secret" not in node.log():
        assert node.running
        await asyncio.sleep(0.05)


class TestGarbage:
    async def test_bytes_of_any_kind_at_the_mesh_port_cost_a_connection_and_nothing_else(self, cluster, function):
        chance = random.Random(20261123)
        node = cluster.nodes[0]
        http = b"GET / HTTP/1.1\r\nHost: x\r\n"
        upgrade = http + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        garbage = [
            *(chance.randbytes(chance.randrange(1, 2000)) for _ in range(20)),
            b"\0REQ\0\0\0\7\0\0\0\5abcde",
            http + b"\r\n",
            http + b"X: " + b"y" * 100_000,
            upgrade + b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n" + chance.randbytes(5000),
            upgrade + b"\r\n",
        ]
        before = procfs.resident_bytes(node.pid)
        await asyncio.gather(*(send(node, data) for data in garbage))
        await still_works(cluster, function)
        assert procfs.resident_bytes(node.pid) - before < 32 * MEBIBYTE

    async def test_megabytes_from_one_that_has_proved_nothing_are_not_kept(self, cluster, function):
        node = cluster.nodes[0]
        before = procfs.resident_bytes(node.pid)
        await asyncio.gather(*(send(node, os.urandom(1024) * 16 * 1024) for _ in range(8)))
        await still_works(cluster, function)
        assert procfs.resident_bytes(node.pid) - before < 32 * MEBIBYTE

    async def test_connections_that_say_nothing_are_closed_and_let_a_real_node_in_meanwhile(
        self, new_cluster, function
    ):
        cluster = await new_cluster(3)
        node, away, _ = cluster.nodes
        away.kill()
        silent = [socket.create_connection((node.host, node.mesh_port)) for _ in range(200)]
        try:
            away.spawn()
            await away.serves()
            await cluster.settles()
            await still_works(cluster, function)
        finally:
            for connection in silent:
                connection.close()

    async def test_a_gearman_client_at_the_mesh_port_is_turned_away(self, cluster, function):
        node = cluster.nodes[0]
        async with await Client.open(node.mesh_port) as lost:
            lost.send_job(function, b"w")
            await lost.until_closed()
        await still_works(cluster, function)
