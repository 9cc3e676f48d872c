"""The `gearadmin` command-line tool, every command that it has."""

import re

import pytest


@pytest.fixture
def name(function) -> str:
    return function.decode()


class TestGearadmin:
    async def test_status_lists_the_functions(self, gearadmin, client, new_worker, function):
        for _ in range(3):
            await client.submit_background(function)
        worker = await new_worker(function)
        await worker.take()
        assert function + b"\t3\t1\t1" in gearadmin("--status").splitlines()

    async def test_priority_status_lists_queued_jobs_by_priority(self, gearadmin, client, function):
        for priority in ("high", "normal", "normal", "low"):
            await client.submit_background(function, priority=priority)
        assert function + b"\t1\t2\t1\t0" in gearadmin("--priority-status").splitlines()

    async def test_workers_lists_the_connections(self, gearadmin, new_worker, function):
        await new_worker(function)
        assert any(line.endswith(b" - : " + function) for line in gearadmin("--workers").splitlines())

    async def test_show_jobs_and_show_unique_jobs_list_the_jobs(self, gearadmin, client, function):
        handle = await client.submit_background(function, unique=b"unique-" + function)
        assert handle + b"\t0\t0\t1" in gearadmin("--show-jobs").splitlines()
        assert b"unique-" + function in gearadmin("--show-unique-jobs").splitlines()

    async def test_cancel_job_cancels(self, gearadmin, client, function):
        handle = await client.submit(function)
        assert b"OK" in gearadmin("--cancel-job", handle.decode())
        await client.failed(handle)

    def test_cancel_job_of_an_unknown_handle_says_so(self, gearadmin):
        outcome = gearadmin.run("--cancel-job", "H:nowhere:1")
        assert b"UNKNOWN_JOB" in outcome.stdout + outcome.stderr

    def test_a_function_is_created_and_dropped(self, gearadmin, name, function):
        assert b"OK" in gearadmin("--create-function", name)
        assert function + b"\t0\t0\t0" in gearadmin("--status").splitlines()
        assert b"OK" in gearadmin("--drop-function", name)
        assert function not in gearadmin("--status")

    def test_the_version_is_told(self, gearadmin):
        assert re.search(rb"\d+\.\d+", gearadmin("--server-version"))

    def test_the_log_level_is_told(self, gearadmin):
        assert gearadmin("--server-verbose").strip()

    def test_the_process_is_told(self, gearadmin, server):
        assert str(server.pid).encode() in gearadmin("--getpid")
