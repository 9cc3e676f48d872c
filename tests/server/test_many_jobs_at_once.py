"""Very many jobs to which something happens in one moment: others are answered meanwhile.

How much one entry does is counted in `tests/cluster/jobs/test_departures.py`; here it is only seen that it is not all.
"""

import asyncio
import time

import pytest

from tests.harness import Client, Connection, PacketType, ServerProcess, eventually, request_bytes

JOBS = 200_000
STEP = 5000
LONGEST = 0.25
"""Seconds. In one entry it took 0.4 and more; in steps it takes 0.01, and the rest is the machine's."""


@pytest.fixture
def server(start_server) -> ServerProcess:
    return start_server()


async def submit_many(client: Client, count: int, kind: PacketType, *args: bytes) -> float:
    """Submit so many jobs, each with a workload of its own, and wait until all of them are in; give the seconds."""
    began = time.perf_counter()
    for start in range(0, count, STEP):
        packets = (request_bytes(kind, b"\0".join((*args, b"%d" % n))) for n in range(start, start + STEP))
        client.send_bytes(b"".join(packets))
        for _ in range(STEP):
            await client.created()
    return time.perf_counter() - began


async def longest_wait(peer: Connection, until: asyncio.Event) -> float:
    """Ask for echoes, one after the other, and give the longest time that one took."""
    longest = 0.0
    while not until.is_set():
        began = time.perf_counter()
        peer.send(PacketType.ECHO_REQ, b"still there?")
        await peer.expect(PacketType.ECHO_RES)
        longest = max(longest, time.perf_counter() - began)
        await asyncio.sleep(0)
    return longest


async def totals(operator: Connection) -> tuple[int, int]:
    """Give how many jobs there are, and how many of them wait for their time or a worker."""
    rows = [row.split(b"\t") for row in await operator.table("status")]
    return sum(int(row[1]) for row in rows), sum(int(row[2]) for row in rows)


@pytest.mark.timeout(240)
class TestVeryManyJobs:
    async def test_that_fall_due_in_one_moment_hold_nobody_up(self, server, connect, new_client, new_worker):
        client, ping, worker = await new_client(), await connect(), await new_worker(b"later")
        alike = (PacketType.SUBMIT_JOB_EPOCH, b"later", b"")
        some = await submit_many(client, 2 * STEP, *alike, b"%d" % (time.time() + 3600))
        due = int(time.time() + 2 * some * JOBS / (2 * STEP)) + 3
        await submit_many(client, JOBS, *alike, b"%d" % due)
        assert time.time() < due, "the machine was much slower all at once"
        over = asyncio.Event()
        waiting = asyncio.create_task(longest_wait(ping, over))
        worker.sleep()
        await worker.woken(within=60)
        await submit_after(client)
        over.set()
        assert await waiting < LONGEST

    async def test_whose_client_goes_hold_nobody_up(self, server, connect, new_client):
        client, ping, operator = await new_client(), await connect(), await connect()
        await submit_many(client, JOBS, PacketType.SUBMIT_JOB, b"f", b"")
        assert await totals(operator) == (JOBS, 0)
        over = asyncio.Event()
        waiting = asyncio.create_task(longest_wait(ping, over))
        client.abort()
        await eventually(lambda: totals(operator), lambda found: found == (0, 0), within=60, every=0.02)
        over.set()
        assert await waiting < LONGEST


async def submit_after(client: Client) -> None:
    """Submit a job behind those that fall due: its answer says that an entry was applied meanwhile."""
    for _ in range(20):
        await client.submit_background(b"after")
