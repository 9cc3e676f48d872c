"""A background job is acknowledged once and run without its client."""

from tests.harness import JobStatus, PacketType


class TestBackgroundJobs:
    async def test_the_client_hears_of_the_acknowledgement_and_of_nothing_else(self, client, worker, function):
        handle = await client.submit_background(function, b"w")
        job = await worker.take()
        assert (job.handle, job.workload) == (handle, b"w")
        worker.data(handle, b"d")
        worker.progress(handle, 1, 2)
        worker.complete(handle, b"r")
        await worker.expect_nothing()
        await client.expect_nothing()

    async def test_the_job_is_run_though_its_client_has_gone(self, new_client, worker, function):
        client = await new_client()
        handle = await client.submit_background(function, b"w")
        await client.cut()
        assert (await worker.take()).handle == handle

    async def test_progress_is_seen_by_whoever_asks_for_the_status(self, client, worker, function):
        handle = await client.submit_background(function)
        await worker.take()
        worker.progress(handle, 40, 100)
        await worker.expect_nothing()
        assert await client.status(handle) == JobStatus(known=True, running=True, numerator=40, denominator=100)

    async def test_a_failed_job_is_not_run_again(self, client, worker, function):
        handle = await client.submit_background(function)
        await worker.take()
        worker.fail(handle)
        assert await worker.grab() is None
        assert not (await client.status(handle)).known

    async def test_an_exception_ends_the_job(self, client, worker, function):
        handle = await client.submit_background(function)
        await worker.take()
        worker.throw(handle, b"boom")
        assert await worker.grab() is None
        assert not (await client.status(handle)).known

    async def test_handles_are_distinct_and_at_most_63_bytes_long(self, client, function):
        handles = [await client.submit_background(function) for _ in range(100)]
        assert len(set(handles)) == 100
        assert max(map(len, handles)) <= 63

    async def test_no_job_is_answered_at_once_when_the_queue_is_empty(self, worker):
        for kind in (PacketType.GRAB_JOB, PacketType.GRAB_JOB_UNIQ, PacketType.GRAB_JOB_ALL):
            assert await worker.grab(kind) is None
