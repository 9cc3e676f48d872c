"""One connection may hold several jobs, as Go, Java and abraxas workers do."""

import pytest

from tests.harness import PacketType, eventually


class TestSeveralJobsAtOnce:
    async def test_jobs_may_be_ended_in_any_order(self, client, worker, function):
        handles = [await client.submit(function, b"%d" % number) for number in range(4)]
        for handle in handles:
            assert (await worker.take()).handle == handle
        for handle in (handles[2], handles[0], handles[3], handles[1]):
            worker.complete(handle, handle)
            assert await client.completed(handle) == handle

    async def test_requests_for_jobs_sent_in_one_write_are_each_answered_in_order(self, client, worker, function):
        handles = [await client.submit_background(function) for _ in range(4)]
        for _ in range(6):
            worker.send(PacketType.GRAB_JOB)
        for handle in handles:
            assert (await worker.assigned()).handle == handle
        assert await worker.assigned() is None
        assert await worker.assigned() is None

    async def test_all_of_them_are_queued_again_in_their_order_when_the_connection_ends(
        self, client, new_worker, function
    ):
        handles = [await client.submit_background(function) for _ in range(3)]
        worker = await new_worker(function)
        for _ in handles:
            await worker.take()
        await worker.cut()
        await eventually(lambda: client.status(handles[2]), lambda status: not status.running)
        successor = await new_worker(function)
        assert [(await successor.take()).handle for _ in handles] == handles

    @pytest.mark.parametrize("count", [200])
    async def test_a_connection_may_hold_hundreds(self, client, worker, function, count):
        handles = [await client.submit(function) for _ in range(count)]
        for _ in handles:
            worker.send(PacketType.GRAB_JOB)
        taken = [(await worker.assigned()).handle for _ in handles]
        assert taken == handles
        for handle in handles:
            worker.complete(handle, b"r")
        assert {(await client.expect(PacketType.WORK_COMPLETE))[0] for _ in handles} == set(handles)
