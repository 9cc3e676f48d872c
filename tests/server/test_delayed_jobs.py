"""SUBMIT_JOB_EPOCH: a background job that waits for its time."""

import time

from tests.harness import JobStatus, PacketType

FAR_FUTURE = 4_000_000_000


class TestDelayedJobs:
    async def test_a_job_is_run_when_it_is_due_with_no_other_traffic(self, new_client, worker, function):
        """gearmand#101: a delayed job waits until something else happens on the server."""
        client = await new_client()
        worker.sleep()
        await worker.expect_nothing()
        due = int(time.time()) + 1
        handle = await client.submit_at(due, function, b"w", unique=b"u")
        await client.close()
        await worker.woken()
        # The clock of the server is this machine's clock; a limit in whole seconds leaves no doubt about its start.
        assert time.time() >= due
        job = await worker.take()
        assert (job.handle, job.workload, job.unique) == (handle, b"w", b"u")

    async def test_a_waiting_job_is_known_and_is_given_to_nobody(self, client, worker, function):
        handle = await client.submit_at(FAR_FUTURE, function)
        assert await client.status(handle) == JobStatus(known=True, running=False, numerator=0, denominator=0)
        assert await worker.grab() is None
        worker.sleep()
        await worker.expect_nothing()

    async def test_a_job_of_the_far_future_does_not_hide_others_of_its_function(self, client, worker, function):
        """gearmand does not look behind it."""
        await client.submit_at(FAR_FUTURE, function, b"later")
        for priority in ("low", "normal", "high"):
            await client.submit_background(function, priority.encode(), priority=priority)
        assert [(await worker.take()).workload for _ in range(3)] == [b"high", b"normal", b"low"]
        assert await worker.grab() is None

    async def test_a_time_in_the_past_means_now(self, client, worker, function):
        handle = await client.submit_at(1, function)
        assert (await worker.take()).handle == handle

    async def test_a_time_of_zero_means_now(self, client, worker, function):
        handle = await client.submit_at(0, function)
        assert (await worker.take()).handle == handle

    async def test_a_job_due_earlier_goes_first_though_it_was_submitted_later(self, client, worker, function):
        now = int(time.time())
        second = await client.submit_at(now + 2, function)
        first = await client.submit_at(now + 1, function)
        assert [(await worker.take()).handle for _ in range(2)] == [first, second]

    async def test_submissions_with_the_key_of_a_waiting_job_join_it(self, client, function):
        unique = b"key-" + function
        handle = await client.submit_at(FAR_FUTURE, function, unique=unique)
        assert await client.submit_at(FAR_FUTURE, function, unique=unique) == handle

    async def test_a_waiting_job_can_be_cancelled(self, client, connect, function):
        handle = await client.submit_at(FAR_FUTURE, function)
        assert await (await connect()).line(b"cancel job " + handle) == b"OK"
        assert not (await client.status(handle)).known

    async def test_a_job_without_a_time_is_refused(self, client, function):
        client.send_body(PacketType.SUBMIT_JOB_EPOCH, function + b"\0\0w")
        await client.expect_error(b"INVALID_ARGUMENTS")
