"""Every node stopped in an orderly way (SIGTERM) and started again in turn, while clients and workers go on."""

import time

import pytest

from tests.harness.cluster_account import Account
from tests.harness.cluster_load import Load

LONGEST_WAIT = 6.0
"""Seconds that no client waits longer, on a machine that is busy with other tests; the benchmark holds it to 2."""


class TestRollingRestart:
    @pytest.mark.timeout(240)
    async def test_under_load_nothing_is_lost_nothing_is_run_twice_and_nobody_waits_long(self, battered):
        account = Account()
        async with Load(battered, account) as load:
            await load.progress()
            for node in battered.nodes:
                assert await node.stop() == 0
                await load.progress(50)
                node.spawn()
                await node.serves()
                await battered.settles()
                await load.progress(50)
            await load.settle()
        assert account.violations() == []
        assert account.figures().repeated_after_failures == 0
        assert account.longest_wait.seconds < LONGEST_WAIT, account.longest_wait

    async def test_a_leader_that_is_asked_to_stop_hands_over_first(self, battered, client_on, function):
        leader = await battered.leader()
        followers = battered.others(leader)
        client = await client_on(followers[0])
        await client.submit_background(function)
        before = (await followers[0].view()).term
        assert await leader.stop() == 0
        began = time.monotonic()
        await client.submit_background(function)
        waited = time.monotonic() - began
        assert await battered.leader() in followers
        assert (await followers[0].view()).term == before + 1
        assert waited < LONGEST_WAIT

    async def test_a_running_job_is_let_end_and_is_not_run_again(self, battered, client_on, worker_on, function):
        client_node, worker_node, other_node = battered.nodes
        client = await client_on(client_node)
        worker, other = await worker_on(worker_node, function), await worker_on(other_node, function)
        handle = await client.submit(function)
        assert (await worker.take()).handle == handle
        other.sleep()
        worker_node.signal(15)
        await worker_node.refuses()
        worker.complete(handle, b"result")
        assert await client.completed(handle) == b"result"
        assert await worker_node.ended() == 0
        await other.expect_nothing()
