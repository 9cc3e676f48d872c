"""Jobs whose workload travels to the job table in parts, on one node: their order, refusals, and kills half-way."""

import asyncio
import sqlite3

from node.driver import PART
from protocol import encode_request
from tests.harness import Client, PacketType, Worker

LARGE = bytes(range(256)) * (5 * PART // 512)
"""Two parts and a half."""


def pieces(server) -> int:
    """Count the pieces of workloads on the disk of a server that is stopped."""
    with sqlite3.connect(server.data_directory / "node.db") as db:
        return db.execute("SELECT count(*) FROM payloads WHERE job < 0").fetchone()[0]


class TestOnOneConnection:
    async def test_large_and_small_jobs_are_answered_and_queued_in_the_order_in_which_they_were_sent(
        self, new_client, new_worker, function
    ):
        client, worker = await new_client(), await new_worker()
        workloads = [b"1", LARGE, b"2", b"3", LARGE + b"!", LARGE + b"?", b"4"]
        kind = PacketType.SUBMIT_JOB_BG
        sent = [encode_request(kind, function, b"", workload) for workload in workloads]
        client.send_bytes(b"".join(sent) + encode_request(PacketType.ECHO_REQ, b"end"))
        handles = [await client.created() for _ in workloads]
        await client.expect(PacketType.ECHO_RES)
        assert [int(handle.rpartition(b":")[2]) for handle in handles] == sorted(
            int(handle.rpartition(b":")[2]) for handle in handles
        )
        await worker.can_do(function)
        for handle, workload in zip(handles, workloads, strict=True):
            job = await worker.take()
            assert (job.handle, job.workload) == (handle, workload)
            worker.complete(job.handle)

    async def test_a_large_foreground_job_is_answered_and_done(self, new_client, new_worker, function):
        client, worker = await new_client(), await new_worker(function)
        handle = await client.submit(function, LARGE)
        job = await worker.take()
        assert (job.handle, job.workload) == (handle, LARGE)
        worker.complete(handle, LARGE)
        assert await client.completed(handle) == LARGE

    async def test_a_large_job_with_a_key_joins_another_and_one_without_a_place_is_refused(
        self, new_client, new_worker, function
    ):
        client = await new_client()
        await client.line(b"maxqueue " + function + b" 1")
        handle = await client.submit_background(function, LARGE, unique=b"u")
        assert await client.submit_background(function, LARGE + b"other", unique=b"u") == handle
        client.send_job(function, LARGE, background=True)
        await client.expect_error(b"QUEUE_ERROR")
        worker = await new_worker(function)
        assert (await worker.take()).workload == LARGE
        worker.complete(handle)

    async def test_a_client_that_leaves_right_after_a_background_job_leaves_the_whole_job(
        self, new_client, new_worker, function
    ):
        client = await new_client()
        client.send_job(function, LARGE, background=True)
        client.finish_sending()
        await client.until_closed()
        worker = await new_worker(function)
        assert (await worker.take()).workload == LARGE


class TestARestart:
    async def test_brings_the_whole_workload_back_and_the_end_of_the_job_takes_its_pieces_away(self, start_server):
        server = start_server()
        async with await Client.open(server.port) as client:
            handle = await client.submit_background(b"f", LARGE)
        assert server.terminate() == 0
        assert pieces(server) == 3
        server.start()
        async with await Worker.open(server.port) as worker:
            await worker.can_do(b"f")
            job = await worker.take()
            assert (job.handle, job.workload) == (handle, LARGE)
            worker.complete(job.handle)
            await worker.settle()
        assert server.terminate() == 0
        assert pieces(server) == 0

    async def test_after_a_kill_half_way_leaves_nothing_of_what_was_not_acknowledged(self, start_server, new_client):
        server = start_server()
        many = [await new_client(server) for _ in range(8)]
        for number, client in enumerate(many):
            client.send_job(b"f", LARGE * 8, background=True, unique=b"%d" % number)
        created = [asyncio.ensure_future(client.created()) for client in many]
        await asyncio.wait(created, return_when=asyncio.FIRST_COMPLETED)
        server.kill()
        await asyncio.wait(created)
        acknowledged = {each.result() for each in created if not each.exception()}
        assert acknowledged
        server.start()
        async with await Client.open(server.port) as client:
            rows = await client.table(b"show jobs")
            assert acknowledged <= {row.split(b"\t")[0] for row in rows}
        assert server.terminate() == 0
        assert pieces(server) == 20 * len(rows)
