"""PRE_SLEEP and NOOP: a worker that sleeps is woken once when there is a job for it, and never otherwise."""

from tests.harness import PacketType, eventually


class TestWaking:
    async def test_a_sleeping_worker_is_woken_once_however_many_jobs_come(self, client, worker, function):
        worker.sleep()
        await worker.expect_nothing()
        for _ in range(5):
            await client.submit_background(function)
        await worker.woken()
        await worker.expect_nothing()
        assert await worker.grab() is not None

    async def test_a_worker_that_goes_to_sleep_while_a_job_waits_is_woken_at_once(self, client, worker, function):
        handle = await client.submit_background(function)
        worker.sleep()
        await worker.woken()
        assert (await worker.take()).handle == handle

    async def test_each_pre_sleep_is_answered_by_one_noop_while_jobs_wait(self, client, worker, function):
        for _ in range(3):
            await client.submit_background(function)
        for _ in range(3):
            worker.sleep()
        for _ in range(3):
            await worker.woken()
        await worker.expect_nothing()

    async def test_pre_sleep_and_grab_job_in_one_write_give_the_noop_and_then_the_job(self, client, worker, function):
        handle = await client.submit_background(function)
        worker.sleep()
        worker.send(PacketType.GRAB_JOB_UNIQ)
        await worker.woken()
        assert (await worker.assigned()).handle == handle

    async def test_a_worker_that_is_awake_gets_no_noop(self, client, worker, function):
        assert await worker.grab() is None
        await client.submit_background(function)
        await worker.expect_nothing()

    async def test_grab_job_ends_the_sleep(self, client, worker, function):
        worker.sleep()
        assert await worker.grab() is None
        await client.submit_background(function)
        await worker.expect_nothing()

    async def test_a_worker_without_functions_sleeps_on(self, client, new_worker, function):
        worker = await new_worker()
        worker.sleep()
        await client.submit_background(function)
        await worker.expect_nothing()

    async def test_a_job_of_another_function_does_not_wake(self, client, worker, function):
        worker.sleep()
        await worker.expect_nothing()
        await client.submit_background(function + b"-other")
        await worker.expect_nothing()

    async def test_registering_a_function_with_waiting_jobs_does_not_wake_and_the_next_job_does(
        self, client, new_worker, function
    ):
        await client.submit_background(function)
        worker = await new_worker()
        worker.sleep()
        await worker.can_do(function)
        await worker.expect_nothing()
        await client.submit_background(function)
        await worker.woken()
        assert await worker.grab() is not None

    async def test_a_worker_woken_for_a_job_that_another_has_taken_is_told_no_job_and_may_sleep_again(
        self, client, new_worker, function
    ):
        sleeper, rival = await new_worker(function), await new_worker(function)
        sleeper.sleep()
        await sleeper.expect_nothing()
        handle = await client.submit_background(function)
        await sleeper.woken()
        assert (await rival.take()).handle == handle
        assert await sleeper.grab() is None
        sleeper.sleep()
        await sleeper.expect_nothing()
        another = await client.submit_background(function)
        await sleeper.woken()
        assert (await sleeper.take()).handle == another

    async def test_a_worker_that_takes_several_jobs_on_one_connection_may_sleep_between(self, client, worker, function):
        first = await client.submit(function, b"1")
        assert (await worker.take()).handle == first
        worker.sleep()
        await worker.expect_nothing()
        second = await client.submit(function, b"2")
        await worker.woken()
        assert (await worker.take()).handle == second
        worker.complete(second, b"second")
        worker.complete(first, b"first")
        assert await client.completed(second) == b"second"
        assert await client.completed(first) == b"first"


class TestManySleepers:
    async def test_one_job_does_not_wake_the_whole_herd(self, client, new_worker, function):
        """gearmand#232: every sleeping worker is woken for every job."""
        workers = [await new_worker(function) for _ in range(30)]
        for worker in workers:
            worker.sleep()
            await worker.expect_nothing()
        handle = await client.submit_background(function)

        async def woken() -> list:
            return [worker for worker in workers if await worker.until_echo()]

        awake = await eventually(woken)
        assert (await awake[0].take()).handle == handle
        # On a busy machine a reservation may run out before it is fetched, and pass to the next worker.
        assert len(awake) + len(await woken()) <= 5

    async def test_a_job_passes_to_the_next_sleeper_when_the_one_woken_first_does_not_fetch_it(
        self, client, new_worker, function
    ):
        workers = [await new_worker(function) for _ in range(3)]
        for worker in workers:
            worker.sleep()
            await worker.expect_nothing()
        handle = await client.submit_background(function)
        for worker in workers:
            await worker.woken()
        assert (await workers[0].take()).handle == handle

    async def test_as_many_jobs_as_sleepers_wake_them_all(self, client, new_worker, function):
        workers = [await new_worker(function) for _ in range(10)]
        for worker in workers:
            worker.sleep()
            await worker.expect_nothing()
        handles = {await client.submit_background(function) for _ in workers}
        for worker in workers:
            await worker.woken()
        assert {(await worker.take()).handle for worker in workers} == handles

    async def test_no_job_is_left_behind_when_the_worker_it_was_kept_for_goes_away(self, client, new_worker, function):
        stays, goes = await new_worker(function), await new_worker(function)
        for worker in (stays, goes):
            worker.sleep()
            await worker.expect_nothing()
        handle = await client.submit_background(function)
        await goes.cut()
        await stays.woken()
        assert (await stays.take()).handle == handle
