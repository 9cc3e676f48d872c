"""A node that was away while the queue grew, so that only a snapshot can bring it back."""

import asyncio
import time

import pytest

from tests.harness import Client
from tests.harness.cluster import Node

JOBS = 200_000
AT_ONCE = 2_000
LONGEST_PAUSE = 1.0
"""Seconds that a client of the sending leader may wait at worst, on a machine that is busy with other tests."""


async def fill(node: Node, function: bytes, jobs: int) -> None:
    """Submit so many background jobs over one connection."""
    client = await node.client()
    async with client:
        for _ in range(0, jobs, AT_ONCE):
            for _ in range(AT_ONCE):
                client.send_job(function, b"x" * 100, background=True)
            for _ in range(AT_ONCE):
                await client.created()


async def jobs_of(node: Node, function: bytes) -> int:
    """Count the jobs of a function as one node does."""
    async with await node.connect() as connection:
        for row in await connection.table("status"):
            name, total, *_ = row.split(b"\t")
            if name == function:
                return int(total)
    return 0


class Pulse:
    """A client that submits all the time and notes its longest wait."""

    def __init__(self, client: Client, function: bytes) -> None:
        self._client = client
        self._function = function
        self.longest = 0.0
        self.beats = 0

    async def beat(self) -> None:
        """Go on until cancelled."""
        while True:
            began = time.monotonic()
            await self._client.submit_background(self._function)
            self.longest = max(self.longest, time.monotonic() - began)
            self.beats += 1


class TestASnapshot:
    @pytest.mark.timeout(240)
    async def test_two_hundred_thousand_jobs_reach_a_wiped_node_while_the_cluster_works(
        self, new_cluster, client_on, function
    ):
        cluster = await new_cluster(3)
        leader = await cluster.leader()
        away, other = cluster.others(leader)
        away.wipe()
        await fill(other, function, JOBS)
        assert await jobs_of(leader, function) == JOBS
        pulse = Pulse(await client_on(leader), b"pulse")
        beating = asyncio.create_task(pulse.beat())
        away.spawn()
        await away.serves(within=120.0)
        await cluster.settles()
        beating.cancel()
        assert await jobs_of(away, function) == JOBS
        assert pulse.beats > 10
        assert pulse.longest < LONGEST_PAUSE
        # It is whole: with the node that had sent it everything gone, the jobs are still there.
        leader.kill()
        assert await cluster.leader(within=30.0) in (away, other)
        assert await jobs_of(away, function) == JOBS
