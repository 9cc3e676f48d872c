"""Which job a worker is given first: priority over all its functions, then turns, then age."""

import pytest

from tests.harness import PacketType

PRIORITIES = ("high", "normal", "low")


async def drain(worker) -> list[tuple[bytes, bytes]]:
    return [(job.function, job.workload) for job in await worker.drain()]


class TestWithinOneFunction:
    async def test_jobs_of_one_priority_go_in_the_order_of_their_submission(self, client, worker, function):
        workloads = [b"%d" % number for number in range(30)]
        for workload in workloads:
            await client.submit_background(function, workload)
        assert [workload for _, workload in await drain(worker)] == workloads

    async def test_high_goes_before_normal_and_normal_before_low(self, client, worker, function):
        for number in range(3):
            for priority in reversed(PRIORITIES):
                await client.submit_background(function, b"%s %d" % (priority.encode(), number), priority=priority)
        assert [workload for _, workload in await drain(worker)] == [
            b"%s %d" % (priority.encode(), number) for priority in PRIORITIES for number in range(3)
        ]

    async def test_the_order_holds_over_a_long_queue(self, client, worker, function):
        """However fast the worker is, and whatever is made ready for it in advance."""
        submitted = []
        for number in range(200):
            for priority in reversed(PRIORITIES):
                workload = b"%s %d" % (priority.encode(), number)
                submitted.append((priority, workload))
                client.send_job(function, workload, priority=priority, background=True)
        for _ in submitted:
            await client.created()
        assert [workload for _, workload in await drain(worker)] == [
            workload for wanted in PRIORITIES for priority, workload in submitted if priority == wanted
        ]

    async def test_foreground_and_background_jobs_share_one_queue(self, client, worker, function):
        await client.submit_background(function, b"1")
        await client.submit(function, b"2")
        await client.submit_background(function, b"3")
        await client.submit(function, b"0", priority="high")
        assert [(await worker.take()).workload for _ in range(4)] == [b"0", b"1", b"2", b"3"]


class TestOverTheFunctionsOfAWorker:
    @pytest.mark.parametrize("registered_first", [0, 1])
    async def test_a_high_job_of_one_function_goes_before_a_normal_job_of_another(
        self, client, new_worker, function, registered_first
    ):
        """gearmand#173: 1.1 exhausts one function before it looks at the next."""
        functions = [function + b"-a", function + b"-b"]
        await client.submit_background(functions[0], b"normal", priority="normal")
        await client.submit_background(functions[1], b"low", priority="low")
        await client.submit_background(functions[1], b"high", priority="high")
        await client.submit_background(functions[0], b"low", priority="low")
        worker = await new_worker(functions[registered_first], functions[1 - registered_first])
        taken = [workload for _, workload in await drain(worker)]
        assert taken == [b"high", b"normal", b"low", b"low"]

    async def test_functions_of_equal_priority_take_turns(self, client, new_worker, function):
        functions = [function + suffix for suffix in (b"-a", b"-b", b"-c")]
        for name in functions:
            for number in range(4):
                await client.submit_background(name, b"%d" % number)
        taken = await drain(await new_worker(*functions))
        for turn in range(4):
            in_this_turn = taken[turn * 3 : turn * 3 + 3]
            assert {name for name, _ in in_this_turn} == set(functions)
            assert {workload for _, workload in in_this_turn} == {b"%d" % turn}

    async def test_a_busy_function_does_not_starve_a_quiet_one(self, client, new_worker, function):
        busy, quiet = function + b"-busy", function + b"-quiet"
        for number in range(50):
            await client.submit_background(busy, b"%d" % number)
        await client.submit_background(quiet, b"at last")
        taken = [name for name, _ in await drain(await new_worker(busy, quiet))]
        assert taken.index(quiet) <= 1

    async def test_a_worker_is_given_no_job_of_a_function_that_it_has_not_registered(self, client, worker, function):
        await client.submit_background(function + b"-other", b"w")
        assert await worker.grab() is None


class TestChangingAbilities:
    async def test_after_cant_do_no_job_of_the_function_is_given(self, client, new_worker, function):
        kept, dropped = function + b"-kept", function + b"-dropped"
        worker = await new_worker(dropped, kept)
        await client.submit_background(dropped, b"1")
        await client.submit_background(kept, b"2")
        worker.send(PacketType.CANT_DO, dropped)
        assert await drain(worker) == [(kept, b"2")]

    async def test_after_a_reset_no_job_is_given_until_a_function_is_registered_again(self, client, worker, function):
        await client.submit_background(function, b"1")
        worker.send(PacketType.RESET_ABILITIES)
        assert await worker.grab() is None
        await worker.can_do(function)
        assert (await worker.take()).workload == b"1"

    @pytest.mark.parametrize("change", [PacketType.CANT_DO, PacketType.RESET_ABILITIES])
    async def test_the_job_in_hand_is_kept(self, client, worker, function, change):
        """gearmand puts it back into the queue, and the worker's result is refused."""
        handle = await client.submit(function)
        await worker.take()
        worker.send(change, *([function] if change is PacketType.CANT_DO else []))
        worker.complete(handle, b"r")
        await worker.expect_nothing()
        assert await client.completed(handle) == b"r"
