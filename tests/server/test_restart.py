"""What a server knows after it was killed, or stopped, and started again on the same data."""

import time

import pytest

from tests.harness import GEARMAND, ServerProcess


@pytest.fixture
def server(start_server) -> ServerProcess:
    return start_server(*([] if GEARMAND else ["--drain-timeout", "0"]))


async def drained(worker) -> list[bytes]:
    return [job.handle for job in await worker.drain()]


@pytest.fixture(params=["kill -9", "SIGTERM"])
def bounce(server, request):
    """Stop the server in one way or the other and start it again."""

    def bounce() -> None:
        if request.param == "SIGTERM":
            server.terminate()
        server.restart()

    return bounce


class TestWhatSurvives:
    async def test_acknowledged_background_jobs_are_run_after_a_restart_in_their_order(
        self, new_client, new_worker, bounce
    ):
        """gearmand#216, gearmand#369: jobs are lost by a restart."""
        client = await new_client()
        submitted = [
            (await client.submit_background(b"f", b"%s %d" % (priority.encode(), number), priority=priority), priority)
            for number in range(20)
            for priority in ("low", "normal", "high")
        ]
        bounce()
        taken = await drained(await new_worker(b"f"))
        assert taken == [
            handle for wanted in ("high", "normal", "low") for handle, priority in submitted if priority == wanted
        ]

    async def test_every_part_of_a_job_survives(self, new_client, new_worker, bounce):
        client = await new_client()
        workload = bytes(range(256)) * 100
        handle = await client.submit_background(b"name with spaces \xff", workload, unique=b"u" * 64)
        bounce()
        worker = await new_worker(b"name with spaces \xff")
        job = await worker.take()
        assert (job.handle, job.workload, job.unique) == (handle, workload, b"u" * 64)

    async def test_a_job_in_hand_is_run_again_and_one_that_was_finished_is_not(self, new_client, new_worker, bounce):
        client, worker = await new_client(), await new_worker(b"f")
        finished, in_hand, queued = [await client.submit_background(b"f") for _ in range(3)]
        assert [(await worker.take()).handle for _ in range(2)] == [finished, in_hand]
        worker.complete(finished)
        await worker.settle()
        bounce()
        assert await drained(await new_worker(b"f")) == [in_hand, queued]

    async def test_a_failed_and_a_cancelled_job_do_not_come_back(self, new_client, new_worker, bounce):
        client, worker = await new_client(), await new_worker(b"f")
        failed, cancelled, kept = [await client.submit_background(b"f") for _ in range(3)]
        assert (await worker.take()).handle == failed
        worker.fail(failed)
        assert await worker.line(b"cancel job " + cancelled) == b"OK"
        await worker.settle()
        bounce()
        assert await drained(await new_worker(b"f")) == [kept]

    async def test_a_delayed_job_still_waits_for_its_time(self, new_client, new_worker, bounce):
        client = await new_client()
        later = await client.submit_at(4_000_000_000, b"f")
        due = int(time.time()) + 2
        soon = await client.submit_at(due, b"f")
        bounce()
        worker, client = await new_worker(b"f"), await new_client()
        assert (await client.status(later)).known
        worker.sleep()
        await worker.woken()
        assert time.time() >= due
        assert await drained(worker) == [soon]

    async def test_unique_keys_still_coalesce(self, new_client, bounce):
        handle = await (await new_client()).submit_background(b"f", b"w", unique=b"u")
        hashed = await (await new_client()).submit_background(b"f", b"w", unique=b"-")
        bounce()
        client = await new_client()
        assert await client.submit_background(b"f", b"w", unique=b"u") == handle
        assert await client.submit_background(b"f", b"w", unique=b"-") == hashed

    async def test_limits_and_created_functions_survive(self, connect, bounce):
        operator = await connect()
        await operator.line("create function made")
        await operator.line("create function limited")
        await operator.line("maxqueue limited 3 2 1")
        bounce()
        operator = await connect()
        assert b"made\t0\t0\t0" in await operator.table("status")
        assert await operator.table("show maxqueue limited") == [b"limited\t3\t2\t1"]

    async def test_attempts_are_still_counted(self, new_client, new_worker, connect, bounce):
        client, worker = await new_client(), await new_worker(b"f")
        handle = await client.submit_background(b"f")
        assert (await worker.take()).handle == handle
        await worker.cut()
        assert (await (await new_worker(b"f")).take()).handle == handle
        bounce()
        (row,) = await (await connect()).table("show jobs")
        assert row.split(b"\t")[0] == handle
        assert int(row.split(b"\t")[1]) >= 1

    async def test_foreground_jobs_go_with_their_clients(self, new_client, new_worker, bounce):
        await (await new_client()).submit(b"f")
        background = await (await new_client()).submit_background(b"f")
        bounce()
        assert await drained(await new_worker(b"f")) == [background]

    async def test_nobody_is_connected_after_a_restart(self, new_client, new_worker, connect, bounce):
        await (await new_client()).submit_background(b"f")
        await (await new_worker(b"f")).take()
        bounce()
        operator = await connect()
        assert await operator.table("status") == [b"f\t1\t0\t0"]
        assert len(await operator.table("workers")) == 1


class TestHandles:
    async def test_the_handle_of_a_finished_job_does_not_come_back(self, new_client, new_worker, bounce):
        """gearmand#12: numbers begin again at 1, and a client that polls an old handle sees somebody else's job."""
        handles = set()
        for _ in range(3):
            client, worker = await new_client(), await new_worker(b"f")
            fresh = {await client.submit_background(b"f") for _ in range(10)}
            fresh |= {await client.submit(b"f") for _ in range(10)}
            assert not fresh & handles
            handles |= fresh
            await drained(worker)
            await worker.settle()
            bounce()
        client = await new_client()
        assert not any([(await client.status(handle)).known for handle in handles])


class TestRepeatedRestarts:
    async def test_jobs_survive_five_restarts_in_a_row(self, server, new_client, new_worker):
        handles = []
        for round_number in range(5):
            client = await new_client()
            handles.append(await client.submit_background(b"f", b"%d" % round_number))
            server.restart()
        assert await drained(await new_worker(b"f")) == handles

    async def test_a_server_that_was_started_and_stopped_with_nothing_to_do_keeps_its_jobs(
        self, server, new_client, new_worker
    ):
        handle = await (await new_client()).submit_background(b"f")
        for _ in range(3):
            server.terminate()
            server.start()
        assert await drained(await new_worker(b"f")) == [handle]
