"""`cancel job HANDLE`: the job is gone, and everybody who waits for it is told."""

import pytest

from tests.harness import JobStatus


@pytest.fixture
async def operator(connect):
    return await connect()


class TestCancel:
    async def test_a_queued_job_is_never_run(self, client, worker, operator, function):
        handle = await client.submit_background(function, b"1")
        kept = await client.submit_background(function, b"2")
        assert await operator.line(b"cancel job " + handle) == b"OK"
        assert (await worker.take()).handle == kept
        assert await worker.grab() is None
        assert await client.status(handle) == JobStatus(known=False, running=False, numerator=0, denominator=0)

    async def test_the_client_of_a_foreground_job_gets_a_failure(self, client, operator, function):
        handle = await client.submit(function)
        assert await operator.line(b"cancel job " + handle) == b"OK"
        await client.failed(handle)
        await client.expect_nothing()

    async def test_every_client_of_a_shared_job_gets_a_failure(self, new_client, operator, function):
        clients = [await new_client() for _ in range(3)]
        handles = {await client.submit(function, unique=b"shared") for client in clients}
        (handle,) = handles
        assert await operator.line(b"cancel job " + handle) == b"OK"
        for client in clients:
            await client.failed(handle)

    async def test_the_worker_of_a_running_job_may_end_it_and_hears_no_complaint(
        self, client, worker, operator, function
    ):
        handle = await client.submit_background(function)
        await worker.take()
        assert await operator.line(b"cancel job " + handle) == b"OK"
        worker.complete(handle, b"r")
        await worker.expect_nothing()
        assert await worker.grab() is None
        assert not (await client.status(handle)).known

    async def test_a_cancelled_job_is_not_queued_again_when_its_worker_goes(
        self, client, new_worker, operator, function
    ):
        handle = await client.submit_background(function)
        worker = await new_worker(function)
        await worker.take()
        assert await operator.line(b"cancel job " + handle) == b"OK"
        await worker.cut()
        next_job = await client.submit_background(function)
        assert (await (await new_worker(function)).take()).handle == next_job

    async def test_its_key_is_free_again(self, client, operator, function):
        handle = await client.submit_background(function, unique=b"u")
        assert await operator.line(b"cancel job " + handle) == b"OK"
        assert await client.submit_background(function, unique=b"u") != handle

    async def test_an_unknown_handle_is_refused(self, operator):
        assert await operator.line("cancel job H:nowhere:1") == b"ERR UNKNOWN_JOB"

    async def test_a_finished_job_is_refused(self, client, worker, operator, function):
        handle = await client.submit(function)
        await worker.take()
        worker.complete(handle)
        await client.completed(handle)
        assert await operator.line(b"cancel job " + handle) == b"ERR UNKNOWN_JOB"
