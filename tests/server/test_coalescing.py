"""One job for all who submit the same function and unique key while it is queued or running."""

import pytest

from tests.harness import PacketType, eventually


class TestCoalescing:
    async def test_clients_with_the_same_key_share_one_job_and_its_result(self, new_client, worker, function):
        first, second = await new_client(), await new_client()
        handle = await first.submit(function, b"w", unique=b"key")
        assert await second.submit(function, b"w", unique=b"key") == handle
        assert (await worker.take()).handle == handle
        assert await worker.grab() is None
        worker.progress(handle, 1, 2)
        worker.complete(handle, b"for both")
        for client in (first, second):
            assert await client.expect(PacketType.WORK_STATUS) == (handle, b"1", b"2")
            assert await client.completed(handle) == b"for both"

    async def test_a_running_job_is_joined_too(self, new_client, worker, function):
        first, second = await new_client(), await new_client()
        handle = await first.submit(function, unique=b"key")
        await worker.take()
        worker.data(handle, b"early")
        assert await first.expect(PacketType.WORK_DATA) == (handle, b"early")
        assert await second.submit(function, unique=b"key") == handle
        worker.complete(handle, b"r")
        assert await first.completed(handle) == b"r"
        assert await second.completed(handle) == b"r"

    async def test_a_finished_job_is_not_joined(self, client, worker, function):
        first = await client.submit(function, unique=b"key")
        await worker.take()
        worker.complete(first)
        await client.completed(first)
        assert await client.submit(function, unique=b"key") != first

    async def test_a_key_is_unique_within_its_function_only(self, client, function):
        first = await client.submit_background(function + b"-a", unique=b"key")
        assert await client.submit_background(function + b"-b", unique=b"key") != first

    async def test_jobs_without_a_key_are_never_joined(self, client, worker, function):
        first = await client.submit_background(function, b"same")
        assert await client.submit_background(function, b"same") != first
        assert [(await worker.take()).workload for _ in range(2)] == [b"same", b"same"]

    async def test_a_dash_means_that_the_workload_is_the_key(self, client, worker, function):
        first = await client.submit_background(function, b"one", unique=b"-")
        assert await client.submit_background(function, b"one", unique=b"-") == first
        assert await client.submit_background(function, b"two", unique=b"-") != first
        assert [(await worker.take()).workload for _ in range(2)] == [b"one", b"two"]
        assert await worker.grab() is None

    async def test_a_dash_takes_a_workload_longer_than_a_key_may_be(self, client, worker, function):
        workload = b"long " * 1000
        first = await client.submit_background(function, workload, unique=b"-")
        assert await client.submit_background(function, workload, unique=b"-") == first
        assert await client.submit_background(function, workload + b"!", unique=b"-") != first
        assert (await worker.take()).workload == workload

    async def test_a_foreground_client_joins_a_background_job(self, new_client, worker, function):
        first, second = await new_client(), await new_client()
        handle = await first.submit_background(function, unique=b"key")
        assert await second.submit(function, unique=b"key") == handle
        await worker.take()
        worker.complete(handle, b"r")
        assert await second.completed(handle) == b"r"
        await first.expect_nothing()

    async def test_a_background_submission_that_joins_a_foreground_job_keeps_it_when_the_client_goes(
        self, new_client, worker, function
    ):
        """The second client was told that its job has been taken: it must be run."""
        first, second = await new_client(), await new_client()
        handle = await first.submit(function, b"w", unique=b"key")
        assert await second.submit_background(function, b"w", unique=b"key") == handle
        await first.cut()
        await eventually(lambda: second.status_of_unique(b"key"), lambda status: status.waiting_clients == 0)
        assert (await worker.take()).handle == handle

    async def test_a_background_job_is_kept_when_the_foreground_client_that_joined_it_goes(
        self, new_client, worker, function
    ):
        first, second = await new_client(), await new_client()
        unique = b"key-" + function
        handle = await first.submit_background(function, unique=unique)
        await second.submit(function, unique=unique)
        assert (await first.status_of_unique(unique)).waiting_clients == 1
        await second.cut()
        await eventually(lambda: first.status_of_unique(unique), lambda status: status.waiting_clients == 0)
        assert (await worker.take()).handle == handle

    async def test_one_of_two_clients_may_go_and_the_other_still_gets_the_result(self, new_client, worker, function):
        unique = b"key-" + function
        first, second = await new_client(), await new_client()
        handle = await first.submit(function, unique=unique)
        await second.submit(function, unique=unique)
        await first.cut()
        await eventually(lambda: second.status_of_unique(unique), lambda status: status.waiting_clients == 1)
        await worker.take()
        worker.complete(handle, b"r")
        assert await second.completed(handle) == b"r"

    @pytest.mark.parametrize("length", [1, 63, 64])
    async def test_keys_are_kept_whole(self, client, worker, function, length):
        """gearmand cuts a key of 64 bytes to 63."""
        unique = b"u" * length
        first = await client.submit_background(function, unique=unique)
        other = await client.submit_background(function, unique=b"u" * (length - 1) + b"v")
        assert first != other
        assert (await worker.take()).unique == unique

    async def test_a_key_of_65_bytes_is_refused_and_the_next_job_is_taken(self, client, function):
        client.send_job(function, unique=b"u" * 65)
        client.send_job(function, unique=b"u" * 64)
        await client.expect_error(b"ARGUMENT_TOO_LARGE")
        await client.created()
