"""CAN_DO_TIMEOUT: a job that takes longer than its worker promised goes back to the queue."""

import pytest

from tests.harness import PacketType, eventually


class TestTimeLimits:
    async def test_a_job_over_its_limit_is_given_to_another_worker_and_the_first_one_is_refused(
        self, client, new_worker, function
    ):
        """gearmand#301: no job hangs on a worker that does not answer."""
        stuck = await new_worker(function, timeout_ms=1000)
        handle = await client.submit(function, b"w")
        assert (await stuck.take()).handle == handle
        rescuer = await new_worker(function)
        assert (await rescuer.take()).handle == handle
        stuck.complete(handle, b"too late")
        await stuck.expect_error(b"JOB_NOT_FOUND")
        await client.expect_nothing()
        rescuer.complete(handle, b"in time")
        assert await client.completed(handle) == b"in time"

    async def test_a_worker_that_sleeps_is_woken_for_the_job_that_another_did_not_end_in_time(
        self, client, new_worker, function
    ):
        """gearmand#301, with nothing else happening on the server."""
        stuck = await new_worker(function, timeout_ms=1000)
        handle = await client.submit(function)
        await stuck.take()
        sleeper = await new_worker(function)
        sleeper.sleep()
        await sleeper.woken()
        assert (await sleeper.take()).handle == handle

    async def test_the_connection_of_the_slow_worker_is_kept_and_may_take_the_job_again(
        self, client, new_worker, function
    ):
        worker = await new_worker(function, timeout_ms=1000)
        handle = await client.submit(function)
        assert (await worker.take()).handle == handle
        await eventually(lambda: client.status(handle), lambda status: not status.running)
        assert (await worker.take()).handle == handle
        worker.complete(handle, b"second try")
        assert await client.completed(handle) == b"second try"

    async def test_a_job_within_its_limit_ends_as_any_other(self, client, new_worker, function):
        worker = await new_worker(function, timeout_ms=60_000)
        handle = await client.submit(function)
        await worker.take()
        worker.complete(handle, b"r")
        assert await client.completed(handle) == b"r"

    async def test_a_limit_under_a_second_counts_as_a_second(self, client, new_worker, function):
        worker = await new_worker(function, timeout_ms=1)
        handle = await client.submit(function)
        await worker.take()
        assert (await client.status(handle)).running
        worker.complete(handle, b"r")
        assert await client.completed(handle) == b"r"

    async def test_neither_no_limit_nor_a_sleeping_worker_lets_a_job_run_out(self, client, new_worker, function):
        """libgearman's own tests rely on it that PRE_SLEEP cancels the limit of the job in hand."""
        asleep = await new_worker(function, timeout_ms=1000)
        unlimited = await new_worker(function, timeout_ms=0)
        slow = await new_worker(function, timeout_ms=1000)
        handles = [await client.submit(function) for _ in range(3)]
        for worker, handle in zip((asleep, unlimited, slow), handles, strict=True):
            assert (await worker.take()).handle == handle
        asleep.sleep()
        await asleep.expect_nothing()
        # The last limit to begin has run out: so would the first have, had it still been counting.
        await eventually(lambda: client.status(handles[2]), lambda status: not status.running)
        assert (await client.status(handles[0])).running
        assert (await client.status(handles[1])).running

    @pytest.mark.parametrize("limit", [b"soon", b"-1", b"", b"\0\0\x13\x88", b"9" * 20, b"1" * 21, b"1.5"], ids=repr)
    async def test_a_limit_that_is_no_number_neither_harms_the_server_nor_hides_the_function(
        self, client, new_worker, function, limit
    ):
        """Twenty nines end gearmand; npm's gearman sends four binary bytes and means no limit."""
        worker = await new_worker()
        worker.send_body(PacketType.CAN_DO_TIMEOUT, function + b"\0" + limit)
        complaints = await worker.until_echo()
        handle = await client.submit(function)
        if not complaints:
            assert (await worker.take()).handle == handle
        assert (await client.status(handle)).known
