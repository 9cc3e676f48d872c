"""The three ways to ask for a job, and the form of the answer to each."""

from tests.harness import Assignment, PacketType


class TestAssignmentForms:
    async def test_grab_job_is_answered_by_job_assign(self, client, worker, function):
        handle = await client.submit_background(function, b"w", unique=b"u")
        assert await worker.take(PacketType.GRAB_JOB) == Assignment(PacketType.JOB_ASSIGN, handle, function, b"w")

    async def test_grab_job_uniq_is_answered_by_job_assign_uniq(self, client, worker, function):
        handle = await client.submit_background(function, b"w", unique=b"u")
        assert await worker.take(PacketType.GRAB_JOB_UNIQ) == Assignment(
            PacketType.JOB_ASSIGN_UNIQ, handle, function, b"w", b"u"
        )

    async def test_a_job_without_a_key_is_assigned_with_an_empty_one(self, client, worker, function):
        await client.submit_background(function, b"w")
        assert (await worker.take(PacketType.GRAB_JOB_UNIQ)).unique == b""

    async def test_grab_job_all_of_a_plain_job_is_answered_by_job_assign_all_with_an_empty_reducer(
        self, client, worker, function
    ):
        """gearmand answers JOB_ASSIGN_UNIQ; aiogear needs JOB_ASSIGN_ALL, and libgearman takes both."""
        handle = await client.submit_background(function, b"w", unique=b"u")
        assert await worker.take(PacketType.GRAB_JOB_ALL) == Assignment(
            PacketType.JOB_ASSIGN_ALL, handle, function, b"w", b"u", b""
        )

    async def test_a_workload_with_nuls_is_not_split_in_any_form(self, client, worker, function):
        for kind in (PacketType.GRAB_JOB, PacketType.GRAB_JOB_UNIQ, PacketType.GRAB_JOB_ALL):
            await client.submit_background(function, b"\0a\0b\0")
            assert (await worker.take(kind)).workload == b"\0a\0b\0"


class TestReduceJobs:
    async def test_a_reduce_job_is_assigned_with_its_reducer(self, client, worker, function):
        client.send(PacketType.SUBMIT_REDUCE_JOB, function, b"u", b"reducer", b"aggregator", b"data")
        handle = await client.created()
        assert await worker.take(PacketType.GRAB_JOB_ALL) == Assignment(
            PacketType.JOB_ASSIGN_ALL, handle, function, b"data", b"u", b"reducer"
        )
        worker.complete(handle, b"r")
        assert await client.completed(handle) == b"r"

    async def test_a_reduce_job_in_the_background_is_run_without_its_client(self, new_client, worker, function):
        client = await new_client()
        client.send(PacketType.SUBMIT_REDUCE_JOB_BACKGROUND, function, b"", b"reducer", b"", b"da\0ta")
        handle = await client.created()
        await client.cut()
        job = await worker.take()
        assert (job.handle, job.workload) == (handle, b"da\0ta")

    async def test_a_worker_that_does_not_know_reducers_may_take_a_reduce_job(self, client, worker, function):
        client.send(PacketType.SUBMIT_REDUCE_JOB, function, b"u", b"reducer", b"", b"data")
        handle = await client.created()
        assert await worker.take(PacketType.GRAB_JOB_UNIQ) == Assignment(
            PacketType.JOB_ASSIGN_UNIQ, handle, function, b"data", b"u"
        )
