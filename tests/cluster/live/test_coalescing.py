"""A unique key is unique in the whole cluster, whichever nodes its clients are connected to."""

import asyncio

from tests.harness import PacketType


class TestCoalescing:
    async def test_clients_of_all_nodes_share_one_job_and_each_gets_the_result_once(
        self, cluster, client_on, worker_on, function
    ):
        clients = [await client_on(node) for node in cluster.nodes for _ in range(2)]
        for client in clients:
            client.send_job(function, b"w", unique=b"shared " + function)
        handles = {await client.created() for client in clients}
        (handle,) = handles
        worker = await worker_on(cluster.nodes[1], function)
        assert (await worker.take()).handle == handle
        assert (await clients[0].status_of_unique(b"shared " + function)).waiting_clients == 6
        worker.data(handle, b"part")
        worker.complete(handle, b"result")
        for client in clients:
            assert await client.expect(PacketType.WORK_DATA) == (handle, b"part")
            assert await client.completed(handle) == b"result"
            await client.expect_nothing()
        assert await worker.grab() is None

    async def test_a_client_that_joins_a_running_job_from_another_node_gets_its_result(
        self, cluster, client_on, worker_on, function
    ):
        client, late = await client_on(cluster.nodes[0]), await client_on(cluster.nodes[2])
        handle = await client.submit(function, unique=b"u")
        worker = await worker_on(cluster.nodes[1], function)
        await worker.take()
        assert await late.submit(function, unique=b"u") == handle
        worker.complete(handle, b"result")
        assert await client.completed(handle) == b"result"
        assert await late.completed(handle) == b"result"

    async def test_a_background_submit_joins_a_foreground_job_of_another_node_and_keeps_it_alive(
        self, cluster, client_on, worker_on, function
    ):
        waiting, other = await client_on(cluster.nodes[0]), await client_on(cluster.nodes[1])
        handle = await waiting.submit(function, unique=b"u")
        assert await other.submit_background(function, unique=b"u") == handle
        await waiting.cut()
        worker = await worker_on(cluster.nodes[2], function)
        assert (await worker.take()).handle == handle
        worker.complete(handle)

    async def test_a_key_is_free_again_on_every_node_when_its_job_has_ended(
        self, cluster, client_on, worker_on, function
    ):
        first, second = await client_on(cluster.nodes[0]), await client_on(cluster.nodes[1])
        worker = await worker_on(cluster.nodes[2], function)
        handle = await first.submit(function, unique=b"u")
        await worker.take()
        worker.complete(handle, b"1")
        assert await first.completed(handle) == b"1"
        await worker.settle()  # the end of the job has taken effect
        assert await second.submit(function, unique=b"u") != handle

    async def test_many_submits_of_few_keys_from_all_nodes_at_once_make_as_many_jobs_as_there_are_keys(
        self, cluster, client_on, worker_on, function
    ):
        clients = [await client_on(node) for node in cluster.nodes]
        handles: dict[int, set[bytes]] = {key: set() for key in range(20)}

        async def submit(client, number):
            for key in handles:
                client.send_job(function, b"", unique=b"%d" % ((key + number * 7) % 20), background=True)
            for key in handles:
                handles[(key + number * 7) % 20].add(await client.created())

        await asyncio.gather(*(submit(client, number) for number, client in enumerate(clients)))
        assert all(len(given) == 1 for given in handles.values())
        worker = await worker_on(cluster.nodes[0], function)
        assert {job.handle for job in await worker.drain()} == set().union(*handles.values())
