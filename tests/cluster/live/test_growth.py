"""A cluster that gets more nodes, and fewer, while clients and workers go on."""

import pytest

from tests.harness.cluster_account import Account
from tests.harness.cluster_load import Load


class TestGrowthAndShrinkage:
    @pytest.mark.timeout(300)
    async def test_from_one_to_three_to_five_and_back_to_three_under_load(self, new_cluster):
        cluster = await new_cluster(1)
        account = Account()
        async with Load(cluster, account) as load:
            await load.progress()
            for _ in range(4):
                await cluster.grow()
                await load.progress(50)
            assert len((await cluster.nodes[0].view()).voters) == 5
            for node in [await cluster.leader(), cluster.others(await cluster.leader())[0]]:
                await cluster.remove(node)
                await cluster.settles()
                await load.progress(50)
            assert len((await cluster.nodes[0].view()).voters) == 3
            await load.settle()
        assert account.violations() == []
        assert account.figures().repeated_after_failures == 0

    async def test_a_removed_node_stays_out(self, new_cluster, client_on, function):
        cluster = await new_cluster(3)
        client = await client_on(cluster.nodes[0])
        removed = cluster.nodes[2]
        outcome = await cluster.command(cluster.nodes[0], "remove", removed.name, "--force")
        assert outcome.status == 0, outcome.output
        await removed.refuses()
        removed.kill()
        removed.spawn()
        await cluster.settles(voters=cluster.nodes[:2], among=cluster.nodes[:2])
        await client.submit_background(function)
        await removed.refuses()
