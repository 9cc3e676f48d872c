"""What operators see of a server over weeks: its cost when idle, memory after a peak, speed among many functions."""

import time

import pytest

from tests.harness import Connection, PacketType, ServerProcess, eventually, procfs

KIBIBYTE = 1024


@pytest.fixture
def server(start_server) -> ServerProcess:
    return start_server()


async def submit_many(client, function: bytes, count: int, workload: bytes = b"w" * 100) -> None:
    """Submit background jobs in windows of 500."""
    for _ in range(count // 500):
        for _ in range(500):
            client.send_job(function, workload, background=True)
        for _ in range(500):
            await client.created()


async def drain(worker, count: int) -> None:
    """Take and complete so many jobs, in windows of up to 100."""
    while count:
        window = min(100, count)
        for _ in range(window):
            worker.send(PacketType.GRAB_JOB)
        for _ in range(window):
            if (job := await worker.assigned()) is not None:
                worker.complete(job.handle)
                count -= 1


class TestAnIdleServer:
    async def test_sleeping_workers_and_idle_clients_cost_no_processor_time(self, server, new_client, new_worker):
        """gearmand#232: a sleeping worker causes a storm of wake-ups, or a busy loop."""
        client = await new_client()
        workers = [await new_worker(b"f", b"g", b"h") for _ in range(100)]
        alarm = await new_worker(b"alarm")
        for worker in (*workers, alarm):
            worker.sleep()
            await worker.expect_nothing()
        # The time during which nothing happens is measured by a job that is due at its end.
        await client.submit_at(int(time.time()) + 3, b"alarm")
        began, used, switches = (
            time.monotonic(),
            procfs.processor_seconds(server.pid),
            procfs.context_switches(server.pid),
        )
        await alarm.woken()
        elapsed = time.monotonic() - began
        assert procfs.processor_seconds(server.pid) - used < 0.05 * elapsed
        assert procfs.context_switches(server.pid) - switches < 100 * elapsed
        for worker in workers:
            await worker.expect_nothing()

    async def test_workers_that_are_woken_and_do_not_come_get_one_noop_each(self, server, new_client, new_worker):
        """gearmand#232: the job is offered to each sleeper once, and then it waits in peace."""
        client = await new_client()
        workers = [await new_worker(b"f") for _ in range(10)]
        for worker in workers:
            worker.sleep()
            await worker.expect_nothing()
        handle = await client.submit_background(b"f")
        for worker in workers:
            await worker.woken()
        alarm = await new_worker(b"alarm")
        alarm.sleep()
        await alarm.expect_nothing()
        used, began = procfs.processor_seconds(server.pid), time.monotonic()
        await client.submit_at(int(time.time()) + 2, b"alarm")
        await alarm.woken()
        assert procfs.processor_seconds(server.pid) - used < 0.1 * (time.monotonic() - began)
        for worker in workers:
            await worker.expect_nothing()
        assert (await workers[3].take()).handle == handle


class TestMemory:
    async def test_memory_is_given_back_when_a_long_queue_has_drained(self, server, new_client, new_worker):
        """gearmand#284."""
        client, worker = await new_client(), await new_worker(b"f")
        await submit_many(client, b"f", 2_000)
        await drain(worker, 2_000)
        at_rest = procfs.resident_bytes(server.pid)
        await submit_many(client, b"f", 20_000, b"w" * 4 * KIBIBYTE)
        at_peak = procfs.resident_bytes(server.pid)
        assert at_peak - at_rest > 60_000 * KIBIBYTE
        await drain(worker, 20_000)

        async def resident() -> int:
            await client.expect_nothing()
            return procfs.resident_bytes(server.pid)

        await eventually(resident, lambda now: now - at_rest < (at_peak - at_rest) / 3, within=20)

    async def test_connections_that_come_and_go_leave_nothing_behind(self, server, new_client):
        client = await new_client()

        async def round_of_connections(number: int) -> int:
            for index in range(60):
                async with await Connection.open(server.port) as connection:
                    connection.send(PacketType.SET_CLIENT_ID, b"worker-%d-%d" % (number, index))
                    connection.send(PacketType.CAN_DO, b"shared")
                    connection.send(PacketType.SUBMIT_JOB, b"never-run", b"", b"w" * 30_000)
                    connection.send(PacketType.PRE_SLEEP)
                    await connection.expect(PacketType.JOB_CREATED)
                    await connection.cut()
            await client.expect_nothing()
            return procfs.resident_bytes(server.pid)

        sizes = [await round_of_connections(number) for number in range(30)]
        # The log in memory grows and shrinks with each mirror, so floors are compared, once all caches are full.
        # Everything left behind would be 2 MB of jobs a round.
        assert min(sizes[20:]) - min(sizes[10:20]) < 5_000 * KIBIBYTE


class TestScale:
    async def test_20000_functions_and_1000_workers_do_not_slow_a_submit(self, server, new_client, new_worker):
        """gearmand#6, gearmand#393: the cost of a submit grows with the functions and the workers.

        Counted in processor time of the server, so that a busy machine makes no difference.
        """
        client = await new_client()

        async def cost() -> float:
            used = procfs.processor_seconds(server.pid)
            await submit_many(client, b"measured", 5_000)
            return procfs.processor_seconds(server.pid) - used

        await cost()
        alone = await cost()
        for number in range(1000):
            worker = await new_worker()
            await worker.can_do(*[b"function-%d-%d" % (number, index) for index in range(20)])
            worker.sleep()
            await worker.expect_nothing()
        assert len(await client.table("status")) > 20_000
        among_many = await cost()
        assert among_many < 3 * alone

    async def test_a_worker_of_many_functions_takes_jobs_as_fast_as_one_of_few(self, server, new_client, new_worker):
        """gearmand#6: the cost of a grab grows with the functions."""
        client = await new_client()

        async def cost(worker) -> float:
            await submit_many(client, b"measured", 4_000)
            used = procfs.processor_seconds(server.pid)
            await drain(worker, 4_000)
            return procfs.processor_seconds(server.pid) - used

        few = await new_worker(b"measured")
        await cost(few)
        alone = await cost(few)
        await few.close()
        many = await new_worker(b"measured", *[b"function-%d" % number for number in range(5_000)])
        assert await cost(many) < 3 * alone


class TestKeepalive:
    async def test_accepted_connections_have_their_keepalive_armed(self, server, connect):
        """gearmand#386: the option is set on the listening socket alone."""
        connection = await connect()
        await connection.expect_nothing()
        # An acknowledgement on its way has the same timer slot: look until it has gone out.

        async def armed() -> bool:
            return procfs.keepalive_is_armed(server_port=server.port, client_port=connection.local_port)

        await eventually(armed)
