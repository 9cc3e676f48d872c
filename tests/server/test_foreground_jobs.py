"""What passes between a client, the server and a worker while a foreground job runs."""

import pytest

from protocol import encode_response
from tests.harness import JobStatus, PacketType


class TestTheWayOfAResult:
    async def test_the_result_reaches_the_client(self, client, worker, function):
        handle = await client.submit(function, b"workload")
        job = await worker.take(PacketType.GRAB_JOB)
        assert (job.handle, job.function, job.workload) == (handle, function, b"workload")
        worker.complete(handle, b"result")
        assert await client.completed(handle) == b"result"

    @pytest.mark.parametrize("data", [b"", b"\0", b"a\0b\0", bytes(range(256)), b"x" * 300_000])
    async def test_workload_and_result_pass_through_unchanged(self, client, worker, function, data):
        handle = await client.submit(function, data)
        assert (await worker.take()).workload == data
        worker.complete(handle, data)
        assert await client.completed(handle) == data

    async def test_a_result_of_one_mebibyte_passes(self, client, worker, function):
        handle = await client.submit(function)
        await worker.take()
        worker.complete(handle, b"r" * (1 << 20))
        assert await client.completed(handle) == b"r" * (1 << 20)

    async def test_a_failure_reaches_the_client_as_the_bare_handle(self, client, worker, function):
        handle = await client.submit(function)
        await worker.take()
        client.transcript = bytearray()
        worker.fail(handle)
        await client.failed(handle)
        assert client.transcript == encode_response(PacketType.WORK_FAIL, handle)

    async def test_a_completion_without_a_separator_is_an_empty_result(self, client, worker, function):
        """Perl workers that return "" or "0" send the handle alone; gearmand loses the framing."""
        handle = await client.submit(function)
        await worker.take()
        worker.send_body(PacketType.WORK_COMPLETE, handle)
        assert await client.completed(handle) == b""
        await worker.expect_nothing()

    async def test_data_warnings_and_progress_reach_the_client_in_order_before_the_result(
        self, client, worker, function
    ):
        handle = await client.submit(function)
        await worker.take()
        worker.data(handle, b"part 1")
        worker.warn(handle, b"careful")
        worker.progress(handle, 1, 2)
        worker.data(handle, b"part 2")
        worker.complete(handle, b"end")
        assert await client.expect(PacketType.WORK_DATA) == (handle, b"part 1")
        assert await client.expect(PacketType.WORK_WARNING) == (handle, b"careful")
        assert await client.expect(PacketType.WORK_STATUS) == (handle, b"1", b"2")
        assert await client.expect(PacketType.WORK_DATA) == (handle, b"part 2")
        assert await client.completed(handle) == b"end"

    async def test_the_client_of_one_job_hears_nothing_of_another(self, new_client, worker, function):
        first, second = await new_client(), await new_client()
        await first.submit(function, b"1")
        other = await second.submit(function, b"2")
        await worker.take()
        assert (await worker.take()).handle == other
        worker.data(other, b"d")
        worker.complete(other, b"r")
        await second.expect(PacketType.WORK_DATA)
        await second.completed(other)
        await first.expect_nothing()

    async def test_a_client_with_many_jobs_gets_each_result_under_its_handle(self, client, worker, function):
        handles = [await client.submit(function, b"%d" % number) for number in range(50)]
        assert len(set(handles)) == 50
        for _ in handles:
            job = await worker.take()
            worker.complete(job.handle, b"result of " + job.workload)
        results = dict([await client.expect(PacketType.WORK_COMPLETE) for _ in handles])
        assert results == {handle: b"result of %d" % number for number, handle in enumerate(handles)}


class TestExceptions:
    async def test_a_client_that_wants_exceptions_gets_the_exception_and_no_failure_after_it(
        self, client, worker, function
    ):
        await client.want_exceptions()
        handle = await client.submit(function)
        await worker.take()
        worker.throw(handle, b"division by zero")
        assert await client.expect(PacketType.WORK_EXCEPTION) == (handle, b"division by zero")
        assert await client.status(handle) == JobStatus(known=False, running=False, numerator=0, denominator=0)

    async def test_a_client_that_does_not_want_exceptions_gets_a_failure_with_the_bare_handle(
        self, client, worker, function
    ):
        """gearmand leaves a NUL behind the handle, and libgearman, PHP, Perl and python-gearman then wait for ever."""
        handle = await client.submit(function)
        await worker.take()
        client.transcript = bytearray()
        worker.throw(handle, b"division by zero")
        await client.failed(handle)
        assert client.transcript == encode_response(PacketType.WORK_FAIL, handle)
        await client.expect_nothing()

    async def test_two_clients_of_one_job_each_get_the_form_that_they_asked_for(self, new_client, worker, function):
        wants, does_not = await new_client(), await new_client()
        await wants.want_exceptions()
        handle = await wants.submit(function, unique=b"shared")
        assert await does_not.submit(function, unique=b"shared") == handle
        await worker.take()
        worker.throw(handle, b"boom")
        assert await wants.expect(PacketType.WORK_EXCEPTION) == (handle, b"boom")
        await does_not.failed(handle)

    async def test_the_name_of_the_option_is_taken_in_any_case(self, client, worker, function):
        client.send(PacketType.OPTION_REQ, b"EXCEPTIONS")
        assert await client.expect(PacketType.OPTION_RES) == (b"EXCEPTIONS",)
        handle = await client.submit(function)
        await worker.take()
        worker.throw(handle, b"boom")
        await client.expect(PacketType.WORK_EXCEPTION)

    async def test_a_failure_that_follows_the_workers_own_exception_is_taken_in_silence(self, client, worker, function):
        """Perl, python-gearman and abraxas workers send both; an ERROR ends a Perl worker."""
        handle = await client.submit(function)
        await worker.take()
        worker.throw(handle, b"boom")
        worker.fail(handle)
        await worker.expect_nothing()
        await client.failed(handle)
        await client.expect_nothing()

    async def test_an_exception_after_the_completion_harms_nothing(self, client, worker, function):
        """gearmand#312: it crashed the server."""
        handle = await client.submit(function)
        await worker.take()
        worker.complete(handle, b"done")
        worker.throw(handle, b"too late")
        await worker.expect_error(b"JOB_NOT_FOUND")
        assert await client.completed(handle) == b"done"
        await client.expect_nothing()
        another = await client.submit(function)
        assert (await worker.take()).handle == another

    async def test_an_unknown_option_is_refused_by_name_of_the_fault(self, client):
        client.send(PacketType.OPTION_REQ, b"telepathy")
        await client.expect_error(b"UNKNOWN_OPTION")


class TestStatus:
    async def test_a_queued_job_is_known_and_not_running(self, client, function):
        handle = await client.submit(function)
        assert await client.status(handle) == JobStatus(known=True, running=False, numerator=0, denominator=0)

    async def test_a_job_in_hand_is_running_and_shows_its_progress(self, client, worker, function):
        handle = await client.submit(function)
        await worker.take()
        assert await client.status(handle) == JobStatus(known=True, running=True, numerator=0, denominator=0)
        worker.progress(handle, 3, 7)
        await client.expect(PacketType.WORK_STATUS)
        assert await client.status(handle) == JobStatus(known=True, running=True, numerator=3, denominator=7)

    async def test_a_finished_job_is_not_known(self, client, worker, function):
        handle = await client.submit(function)
        await worker.take()
        worker.complete(handle)
        await client.completed(handle)
        assert await client.status(handle) == JobStatus(known=False, running=False, numerator=0, denominator=0)

    async def test_any_connection_may_ask(self, client, new_client, function):
        handle = await client.submit(function)
        assert (await (await new_client()).status(handle)).known

    async def test_the_status_of_a_unique_key_starts_with_the_key_and_counts_the_waiting_clients(
        self, new_client, worker, function
    ):
        first, second = await new_client(), await new_client()
        handle = await first.submit(function, unique=b"status-" + function)
        await second.submit(function, unique=b"status-" + function)
        status = await first.status_of_unique(b"status-" + function)
        assert (status.known, status.running, status.waiting_clients) == (True, False, 2)
        assert (await worker.take()).handle == handle
        assert (await first.status_of_unique(b"status-" + function)).running
        worker.complete(handle)
        await first.completed(handle)
        assert await first.status_of_unique(b"status-" + function) == (False, False, 0, 0, 0)


class TestReportsOnAJobThatIsNotHeld:
    @pytest.mark.parametrize(
        ("kind", "arguments"),
        [
            (PacketType.WORK_STATUS, (b"1", b"2")),
            (PacketType.WORK_DATA, (b"d",)),
            (PacketType.WORK_WARNING, (b"w",)),
            (PacketType.WORK_COMPLETE, (b"r",)),
            (PacketType.WORK_FAIL, ()),
            (PacketType.WORK_EXCEPTION, (b"e",)),
        ],
    )
    async def test_another_worker_gets_an_error_and_the_job_goes_on(
        self, client, worker, new_worker, function, kind, arguments
    ):
        handle = await client.submit(function)
        assert (await worker.take()).handle == handle
        stranger = await new_worker(function)
        stranger.send(kind, handle, *arguments)
        await stranger.expect_error(b"JOB_NOT_FOUND")
        await client.expect_nothing()
        assert (await client.status(handle)).running
        worker.complete(handle, b"mine")
        assert await client.completed(handle) == b"mine"

    async def test_a_second_completion_gets_an_error(self, client, worker, function):
        handle = await client.submit(function)
        await worker.take()
        worker.complete(handle, b"one")
        worker.complete(handle, b"two")
        await worker.expect_error(b"JOB_NOT_FOUND")
        assert await client.completed(handle) == b"one"
        await client.expect_nothing()
