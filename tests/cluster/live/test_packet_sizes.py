"""Nodes with different --max-packet are one cluster, in which the smallest setting holds for all."""

from protocol import PacketType
from tests.harness import eventually, request_bytes

MEBIBYTE = 1 << 20


def large(size):
    return request_bytes(PacketType.SUBMIT_JOB_BG, b"f\0\0" + bytes(size - 3))


class TestNodesWithDifferentSettings:
    async def test_take_what_the_smallest_allows_and_say_whose_limit_it_is(
        self, new_cluster, connect, client_on, worker_on, function
    ):
        cluster = await new_cluster(3)
        small = cluster.nodes[1]
        existing = [await connect(node) for node in cluster.others(small)]
        small.arguments = ("--max-packet", "1MiB")
        small.kill()
        small.spawn()
        await small.serves()
        await cluster.settles()
        name = (await small.view()).node
        for node in cluster.nodes:
            await eventually(lambda node=node: self._warned(node), every=0.1)
        for node, connection in zip(cluster.others(small), existing, strict=True):
            connection.send_bytes(large(2 * MEBIBYTE))
            text = await connection.expect_error(b"ARGUMENT_TOO_LARGE")
            assert text == (
                b"Packet of 2097152 bytes announced, at most 1048576 are taken: the --max-packet of node %b"
                % name.encode()
            )
            await connection.expect_closed()
            (warning,) = node.events("max_packet_differs")
            assert f"that of node {name} is 1 MiB" in str(warning["why"])
            assert "is 64 MiB" in str(warning["why"])
            assert warning["level"] == "warning"
            assert (await node.get("/readyz")).body.decode() == f"ready\n{warning['why']}\n"
        (own,) = small.events("max_packet_differs")
        assert f"of node {name} is 1 MiB, that of node" in str(own["why"])
        assert "warning: the --max-packet of node" in (await cluster.command(cluster.nodes[0], "members")).output
        client, worker = await client_on(cluster.nodes[0]), await worker_on(small, function)
        handle = await client.submit(function, bytes(MEBIBYTE - 100))
        job = await worker.take()
        assert job.handle == handle
        worker.complete(handle, b"r")
        assert await client.completed(handle) == b"r"

    async def test_go_back_to_their_own_when_that_node_is_gone(self, new_cluster, client_on, connect):
        cluster = await new_cluster(3)
        small = cluster.nodes[2]
        small.arguments = ("--max-packet", "1MiB")
        small.kill()
        small.spawn()
        await small.serves()
        await cluster.settles()
        node = cluster.nodes[0]
        await eventually(lambda: self._warned(node), every=0.1)
        small.kill()

        async def taken():
            connection = await connect(node)
            connection.send_bytes(large(2 * MEBIBYTE))
            return (await connection.next()).kind is PacketType.JOB_CREATED

        await eventually(taken, every=0.1)

    @staticmethod
    async def _warned(node):
        return "--max-packet" in (await node.get("/readyz")).body.decode()
