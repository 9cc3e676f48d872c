"""`create function` and `drop function`."""

import pytest

from tests.harness import eventually


@pytest.fixture
async def operator(connect):
    return await connect()


async def rows_of(operator, function) -> list[bytes]:
    return [row for row in await operator.table("status") if row.split(b"\t")[0] == function]


class TestCreate:
    @pytest.mark.parametrize("line_end", [b"", b"\r"], ids=["LF", "CRLF"])
    async def test_a_created_function_is_listed_under_its_whole_name(self, operator, function, line_end):
        """gearmand takes the last letter off when the line ends in LF alone."""
        assert await operator.line(b"create function " + function + line_end) == b"OK"
        assert await rows_of(operator, function) == [function + b"\t0\t0\t0"]

    async def test_creating_it_again_is_no_fault(self, client, operator, function):
        await client.submit_background(function)
        assert await operator.line(b"create function " + function) == b"OK"
        assert await rows_of(operator, function) == [function + b"\t1\t0\t0"]

    @pytest.mark.parametrize("line", ["create", "create function", "create other x", "create function x y"])
    async def test_anything_else_is_refused(self, operator, line):
        assert await operator.line(line) == (
            b"ERR INVALID_ARGUMENTS An+incomplete+set+of+arguments+was+sent+to+this+command+create"
        )


class TestDrop:
    @pytest.mark.parametrize("line_end", [b"", b"\r"], ids=["LF", "CRLF"])
    async def test_a_dropped_function_is_no_longer_listed(self, operator, function, line_end):
        await operator.line(b"create function " + function)
        assert await operator.line(b"drop function " + function + line_end) == b"OK"
        assert await rows_of(operator, function) == []

    async def test_an_unknown_function_is_refused(self, operator, function):
        assert await operator.line(b"drop function " + function) == b"ERR function not found"

    async def test_a_function_with_a_worker_is_kept_until_the_worker_has_gone(self, operator, new_worker, function):
        worker = await new_worker(function)
        assert await operator.line(b"create function " + function) == b"OK"
        assert await operator.line(b"drop function " + function) == (
            b"ERR there are still connected workers or executing clients"
        )
        await worker.close()
        await eventually(lambda: operator.line(b"drop function " + function), lambda answer: answer == b"OK")

    async def test_a_function_with_queued_jobs_is_kept_and_so_are_the_jobs(
        self, client, operator, new_worker, function
    ):
        """gearmand says OK and the jobs are never heard of again."""
        handle = await client.submit_background(function)
        assert (await operator.line(b"drop function " + function)).startswith(b"ERR ")
        assert (await (await new_worker(function)).take()).handle == handle

    async def test_a_function_with_a_running_job_whose_worker_cannot_do_it_any_more_is_kept(
        self, client, operator, worker, function
    ):
        handle = await client.submit(function)
        await worker.take()
        assert (await operator.line(b"drop function " + function)).startswith(b"ERR ")
        worker.complete(handle, b"r")
        assert await client.completed(handle) == b"r"
