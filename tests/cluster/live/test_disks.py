"""Disks that are full, and disks that are new."""

import pytest

from tests.harness.cluster_account import Account
from tests.harness.cluster_load import Load


class TestAFullDisk:
    @pytest.mark.parametrize("who", ["leader", "follower"])
    async def test_the_node_stops_the_others_go_on_and_it_comes_back_with_room(self, battered, who):
        leader = await battered.leader()
        node = leader if who == "leader" else battered.others(leader)[0]
        account = Account()
        async with Load(battered, account) as load:
            await load.progress()
            with account.failing(node.name, "its disk is full"):
                node.fill_disk()
                assert await node.ended() == 1
                await load.progress()
                node.spawn()
                await node.serves()
                await battered.settles()
            await load.progress()
            await load.settle()
        assert account.violations() == []


class TestAWipedNode:
    async def test_it_takes_its_old_place_under_a_new_identity_and_knows_all_jobs(
        self, battered, client_on, worker_on, function
    ):
        node, other, third = battered.nodes
        client = await client_on(other)
        handle = await client.submit_background(function, b"w")
        old_id = (await node.view()).node
        node.wipe()
        kept = await client.submit_background(function, b"while it was away")
        node.spawn()
        await node.serves()
        await battered.settles()
        view = await node.view()
        assert view.node != old_id
        assert old_id not in {member.node for member in view.members}
        assert view.voters == {node.name, other.name, third.name}
        own_client, worker = await client_on(node), await worker_on(node, function)
        assert (await own_client.status(handle)).known
        assert [(await worker.take()).handle for _ in range(2)] == [handle, kept]

    async def test_one_after_the_other_all_are_wiped_and_no_job_is_lost(self, battered):
        account = Account()
        async with Load(battered, account) as load:
            await load.progress()
            for node in battered.nodes:
                with account.failing(node.name, "wiped"):
                    node.wipe()
                    await load.progress(50)
                    node.spawn()
                    await node.serves()
                    await battered.settles()
            await load.progress()
            await load.settle()
        assert account.violations() == []

    async def test_a_second_node_of_a_name_that_is_alive_is_refused(self, battered, client_on, function):
        living = battered.nodes[0]
        impostor = battered.plan(living.name, "--data-dir", str(battered.directory / "impostor"))
        try:
            impostor.log_path = battered.directory / "impostor.log"
            impostor.spawn()
            client = await client_on(battered.nodes[1])
            await battered.settles(voters=[living, *battered.nodes[1:3]], among=battered.nodes[:3])
            await client.submit_background(function)
            assert "a member that is there" in str(impostor.events("waiting")[-1]["reason"])
            await impostor.refuses()
            await (await client_on(living)).submit_background(function)
        finally:
            impostor.kill()
            battered.nodes.remove(impostor)
