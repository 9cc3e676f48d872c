"""A node that is short of memory or disk space takes no new job, says why, works off what it has, and heals."""

import pytest

from tests.harness import procfs
from tests.harness.filling import fill, fill_up, refusal, until_taken, work_off

MEBIBYTE = 1 << 20
MARK = 160 * MEBIBYTE
"""Some 90 MiB more than a server without jobs uses."""
WORKLOAD = bytes(100_000)


@pytest.fixture
def server(start_server):
    return start_server("--max-memory", str(MARK))


class TestANodeBeyondItsMemoryMark:
    async def test_refuses_new_jobs_and_says_whose_memory_it_is(self, server, new_client, function):
        taken, text = await fill(await new_client(), function, WORKLOAD)
        assert len(taken) > 100
        assert b" of memory, and its --max-memory is 160 MiB: no job is taken until that is over" in text
        assert text.startswith(b"Node ")
        assert procfs.resident_bytes(server.pid) < MARK + 64 * MEBIBYTE
        assert server.events("alarm_raised")[0]["level"] == "warning"

    async def test_does_not_grow_however_often_it_is_asked(self, server, new_client, function):
        client = await new_client()
        await fill_up(client, function, WORKLOAD)
        before = procfs.resident_bytes(server.pid)
        for _ in range(20):
            await fill(client, function, WORKLOAD)
        assert procfs.resident_bytes(server.pid) < before + 32 * MEBIBYTE

    async def test_goes_on_to_give_out_jobs_and_takes_new_ones_once_they_are_done(
        self, server, new_client, new_worker, function
    ):
        client, worker = await new_client(), await new_worker(function)
        waiting = await client.submit(b"%b-foreground" % function)
        taken, _ = await fill_up(client, function, WORKLOAD)
        await work_off(worker, taken)
        await until_taken(client, b"%b-later" % function)
        cleared = server.events("alarm_cleared")[-1]
        assert cleared["level"] == "info"
        answering = await new_worker(b"%b-foreground" % function)
        answering.complete((await answering.take()).handle, b"result")
        assert await client.completed(waiting) == b"result"

    async def test_lets_submits_join_jobs_that_are_there(self, server, new_client, function):
        client = await new_client()
        handle = await client.submit_background(function, unique=b"u")
        await fill(client, function, WORKLOAD)
        assert await client.submit_background(function, unique=b"u") == handle

    async def test_is_so_after_a_restart_as_well_and_heals(self, server, new_client, new_worker, function):
        taken, _ = await fill(await new_client(), function, WORKLOAD)
        server.restart()
        client, worker = await new_client(), await new_worker(function)
        # What a start reads is smaller than what was there: it takes a few more jobs, and then none.
        more, text = await fill(client, function, WORKLOAD)
        assert b"--max-memory" in text
        await work_off(worker, taken + more)
        await until_taken(client, function)

    async def test_that_is_started_beyond_it_says_so_before_anything_else_and_works_its_jobs_off(
        self, start_server, new_client, new_worker, function
    ):
        server = start_server()
        handles = [await (await new_client(to=server)).submit_background(function, WORKLOAD) for _ in range(3)]
        server.arguments = ("--max-memory", str(64 * MEBIBYTE))  # less than a server without any job uses
        server.restart()
        client, worker = await new_client(to=server), await new_worker(function, to=server)
        assert b"--max-memory is 64 MiB" in await refusal(client, function)
        await work_off(worker, handles)


class TestANodeWithTooLittleDiskSpace:
    @pytest.fixture
    def server(self, start_server):
        return start_server("--min-free-disk", "1024TiB")

    async def test_refuses_new_jobs_from_its_start_and_says_whose_disk_it_is(self, server, new_client, function):
        text = await refusal(await new_client(), function)
        assert text.startswith(b"Node ")
        assert b" of disk space left, and its --min-free-disk is 1048576 GiB: no job is taken" in text
        (raised,) = server.events("alarm_raised")
        assert "make room on the file system" in raised["advice"]

    async def test_works_off_the_jobs_that_it_had(self, server, new_client, new_worker, function):
        server.arguments = ("--min-free-disk", "0")
        server.restart()
        handles = [await (await new_client()).submit_background(function) for _ in range(3)]
        server.arguments = ("--min-free-disk", "1024TiB")
        server.restart()
        assert await refusal(await new_client(), function)
        await work_off(await new_worker(function), handles)
        client = await new_client()
        for handle in handles:
            assert not (await client.status(handle)).known
        server.restart()
        assert await (await new_worker(function)).grab() is None


class TestTheDefaults:
    async def test_are_said_at_the_start(self, start_server):
        (marks,) = start_server().events("high_water_marks")
        assert marks["memory"] != "none"
        assert marks["free_disk"] != "none"
