"""Nodes that are kept from each other by a cable, or by firewalls: a job is run again only when its worker is gone.

A firewall that rejects answers as a host does on which a process has ended: with a reset, or with an ICMP error. The
node that is cut off hangs up on its workers before the others give their jobs away.
"""

import asyncio
import time

import pytest

SHORT = 2.5
"""Seconds, half the node timeout: nothing follows from being cut off for so long."""
GIVEN_UP = 30.0
"""Seconds within which a node that is cut off is down, on a busy machine."""

pytestmark = [pytest.mark.namespaces, pytest.mark.timeout(180)]


def drop(segment, one, other):
    """Let nothing pass."""
    segment.cut(one, other)


def reset(segment, one, other):
    """Answer with resets."""
    segment.reject(one, other, "with tcp reset")


def unreachable(segment, one, other):
    """Answer with ICMP errors."""
    segment.reject(one, other)


@pytest.fixture
async def parted(new_cluster, segment):
    return await new_cluster(3, segment=segment)


@pytest.mark.parametrize("wall", [drop, reset, unreachable])
@pytest.mark.parametrize("where", ["from the leader", "from all", "as the leader"])
class TestTheNodeOfAWorker:
    async def test_that_is_cut_off_loses_no_job_while_its_worker_is_connected(
        self, parted, segment, client_on, worker_on, function, wall, where
    ):
        leader = await parted.leader()
        cut_off, other = parted.others(leader)
        if where == "as the leader":
            leader, cut_off = cut_off, leader
        worker, rescuer = await worker_on(cut_off, function), await worker_on(other, function)
        client = await client_on(other)
        handle = await client.submit(function)
        assert (await worker.take()).handle == handle
        rescuer.sleep()

        def part():
            for node in (leader,) if where == "from the leader" else (leader, other):
                wall(segment, cut_off.place, node.place)

        if where != "as the leader":  # there a short cut makes another one lead
            part()
            began = time.monotonic()
            while time.monotonic() - began < SHORT:
                await client.submit_background(b"unrelated " + function)
            await rescuer.expect_nothing()
            segment.heal()
            await parted.settles()
            await worker.settle()
            assert await parted.leader() is leader

        part()
        given_away = asyncio.create_task(_next(rescuer))
        await worker.expect_closed(within=GIVEN_UP)
        assert not given_away.done(), "the job was given away while its worker was connected"
        assert await given_away == handle
        rescuer.complete(handle, b"of the rescuer")
        assert await client.completed(handle, within=GIVEN_UP) == b"of the rescuer"
        segment.heal()
        await parted.settles()


async def _next(worker) -> bytes:
    """Wait for the next job of a worker that sleeps, and give its handle."""
    return (await worker.take(within=GIVEN_UP)).handle
