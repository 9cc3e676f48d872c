"""A process that is frozen for a while (SIGSTOP) and wakes up without knowing it: the worst kind of dead node."""

import time

import pytest

from tests.harness import Packet, PacketType
from tests.harness.cluster_account import Account
from tests.harness.cluster_load import Load

STALL = 10.0
"""Seconds: longer than every timeout of the cluster."""
NODE_TIMEOUT = 5.0
"""Seconds after which a silent node is taken for dead, by default."""


class TestAStalledLeader:
    @pytest.mark.timeout(240)
    async def test_ten_seconds_under_load_lose_nothing_and_what_it_held_is_run_elsewhere(
        self, battered, client_on, worker_on, function
    ):
        leader = await battered.leader()
        followers = battered.others(leader)
        worker, rescuer = await worker_on(leader, function), await worker_on(followers[0], function)
        client = await client_on(followers[1])
        handle = await client.submit(function)
        assert (await worker.take()).handle == handle
        account = Account()
        async with Load(battered, account) as load:
            await load.progress()
            account.failed(leader.name, "stalled")
            leader.stall()
            began = time.monotonic()
            new_leader = await battered.leader(among=followers)
            assert new_leader is not leader
            assert (await rescuer.take(within=STALL)).handle == handle
            while time.monotonic() - began < STALL:
                await load.progress(50)
            leader.resume()
            await battered.settles()
            await leader.serves()
            account.recovered(leader.name, "stalled")
            # Until its node has caught up with the end of its session, the first worker's word counts as well.
            worker.complete(handle, b"of the first")
            rescuer.complete(handle, b"of the rescuer")
            assert await client.completed(handle) in (b"of the first", b"of the rescuer")
            await rescuer.settle()
            await client.expect_nothing()
            await load.progress()
            await load.settle()
        assert account.violations() == []

    async def test_what_it_was_sent_while_stalled_is_run_if_it_is_acknowledged(
        self, battered, client_on, worker_on, function
    ):
        leader = await battered.leader()
        followers = battered.others(leader)
        client = await client_on(leader)
        await client.submit_background(function, b"before")
        leader.stall()
        for number in range(10):
            client.send_job(function, b"stalled %d" % number, background=True)
        new_leader = await battered.leader(among=followers)
        other = await client_on(new_leader)
        for number in range(10):
            await other.submit_background(function, b"elsewhere %d" % number)
        leader.resume()
        await battered.settles()
        await leader.serves()
        client.finish_sending()
        acknowledged = sum(
            isinstance(event, Packet) and event.kind is PacketType.JOB_CREATED for event in await client.until_closed()
        )
        run = [job.workload for job in await (await worker_on(followers[0], function)).drain()]
        assert len(run) == len(set(run))
        assert {b"before", *(b"elsewhere %d" % number for number in range(10))} <= set(run)
        assert {b"stalled %d" % number for number in range(acknowledged)} <= set(run)


class TestAStalledFollower:
    async def test_a_short_stall_is_not_a_death(self, battered, client_on, worker_on, function):
        """Half of the node timeout: its running job stays with its worker."""
        leader = await battered.leader()
        follower, other = battered.others(leader)
        worker, rescuer = await worker_on(follower, function), await worker_on(other, function)
        client = await client_on(leader)
        handle = await client.submit(function)
        assert (await worker.take()).handle == handle
        rescuer.sleep()
        follower.stall()
        # The cluster goes on without it: so much later than a heartbeat, and well before the node timeout.
        began = time.monotonic()
        while time.monotonic() - began < NODE_TIMEOUT / 2:
            await client.submit_background(b"unrelated " + function)
        follower.resume()
        worker.complete(handle, b"result")
        assert await client.completed(handle) == b"result"
        await rescuer.expect_nothing()
