"""What becomes of jobs when the connection of a worker or of a client ends."""

import pytest

from tests.harness import JobStatus, ServerProcess, eventually


async def gone_from(client, handle) -> None:
    await eventually(lambda: client.status(handle), lambda status: not status.running)


class TestAWorkerThatGoesAway:
    async def test_its_job_goes_to_the_front_of_the_queue(self, client, new_worker, function):
        first, second = [await client.submit_background(function, b"%d" % number) for number in range(2)]
        worker = await new_worker(function)
        assert (await worker.take()).handle == first
        await worker.cut()
        await gone_from(client, first)
        successor = await new_worker(function)
        assert [(await successor.take()).handle for _ in range(2)] == [first, second]

    async def test_an_orderly_close_does_the_same(self, client, new_worker, function):
        handle = await client.submit(function, b"w")
        worker = await new_worker(function)
        await worker.take()
        await worker.close()
        successor = await new_worker(function)
        assert (await successor.take()).handle == handle
        successor.complete(handle, b"r")
        assert await client.completed(handle) == b"r"

    async def test_a_sleeping_worker_is_woken_for_its_job(self, client, new_worker, function):
        handle = await client.submit(function)
        worker, sleeper = await new_worker(function), await new_worker(function)
        await worker.take()
        sleeper.sleep()
        await sleeper.expect_nothing()
        await worker.cut()
        await sleeper.woken()
        assert (await sleeper.take()).handle == handle

    async def test_the_progress_of_the_lost_attempt_is_forgotten(self, client, new_worker, function):
        handle = await client.submit_background(function)
        worker = await new_worker(function)
        await worker.take()
        worker.progress(handle, 90, 100)
        await worker.expect_nothing()
        await worker.cut()
        await gone_from(client, handle)
        assert await client.status(handle) == JobStatus(known=True, running=False, numerator=0, denominator=0)

    async def test_a_priority_is_kept(self, client, new_worker, function):
        low = await client.submit_background(function, priority="low")
        worker = await new_worker(function)
        await worker.take()
        high = await client.submit_background(function, priority="high")
        await worker.cut()
        await gone_from(client, low)
        successor = await new_worker(function)
        assert [(await successor.take()).handle for _ in range(2)] == [high, low]


class TestRetries:
    @pytest.fixture
    def server(self, start_server, request) -> ServerProcess:
        return start_server("--job-retries", str(request.param))

    @pytest.mark.parametrize("server", [0], indirect=True)
    async def test_with_no_retries_the_job_fails_when_its_first_worker_goes(self, client, new_worker, function):
        handle = await client.submit(function)
        worker = await new_worker(function)
        await worker.take()
        await worker.cut()
        await client.failed(handle)
        assert not (await client.status(handle)).known

    @pytest.mark.parametrize("server", [2], indirect=True)
    async def test_with_two_retries_the_job_fails_when_its_third_worker_goes(self, client, new_worker, function):
        handle = await client.submit(function)
        for _ in range(3):
            worker = await new_worker(function)
            assert (await worker.take()).handle == handle
            await worker.cut()
        await client.failed(handle)
        assert await (await new_worker(function)).grab() is None

    @pytest.mark.parametrize("server", [0], indirect=True)
    async def test_a_background_job_past_its_retries_is_dropped(self, client, new_worker, function):
        handle = await client.submit_background(function)
        worker = await new_worker(function)
        await worker.take()
        await worker.cut()
        await eventually(lambda: client.status(handle), lambda status: not status.known)

    @pytest.mark.parametrize("server", [-1], indirect=True)
    async def test_without_a_limit_a_job_is_given_out_again_and_again(self, client, new_worker, function):
        handle = await client.submit(function)
        for _ in range(8):
            worker = await new_worker(function)
            assert (await worker.take()).handle == handle
            await worker.cut()
        await client.expect_nothing()
        assert (await client.status(handle)).known

    @pytest.mark.parametrize("server", [0], indirect=True)
    async def test_a_time_limit_uses_up_an_attempt(self, client, new_worker, function):
        worker = await new_worker(function, timeout_ms=1000)
        handle = await client.submit(function)
        await worker.take()
        await client.failed(handle)


class TestAClientThatGoesAway:
    async def test_its_queued_foreground_job_is_dropped(self, client, new_client, worker, function):
        leaver = await new_client()
        handle = await leaver.submit(function)
        kept = await client.submit(function)
        await leaver.cut()
        await eventually(lambda: client.status(handle), lambda status: not status.known)
        assert (await worker.take()).handle == kept
        assert await worker.grab() is None

    async def test_its_running_job_goes_on_and_the_result_is_taken_in_silence(
        self, client, new_client, worker, function
    ):
        leaver = await new_client()
        handle = await leaver.submit(function)
        await worker.take()
        await leaver.cut()
        unique = await client.submit(function)
        worker.data(handle, b"d")
        worker.complete(handle, b"r")
        await worker.expect_nothing()
        assert not (await client.status(handle)).known
        assert (await worker.take()).handle == unique

    async def test_its_background_jobs_stay(self, client, new_client, worker, function):
        leaver = await new_client()
        handle = await leaver.submit_background(function)
        await leaver.cut()
        assert (await worker.take()).handle == handle

    async def test_its_other_jobs_are_dropped_all_of_them(self, client, new_client, worker, function):
        leaver = await new_client()
        handles = [await leaver.submit(function) for _ in range(50)]
        await leaver.cut()
        await eventually(lambda: client.status(handles[-1]), lambda status: not status.known)
        assert await worker.grab() is None
