"""Hosts that cannot reach one another, while clients and workers reach all of them."""

import pytest

from tests.harness import PacketType, UnexpectedAnswerError
from tests.harness.cluster_account import Account
from tests.harness.cluster_load import Load

NOTICED = 30.0
"""Seconds within which a node without a quorum has closed its port, on a busy machine."""

pytestmark = [pytest.mark.namespaces, pytest.mark.timeout(240)]


class TestOneNodeCutOff:
    @pytest.mark.parametrize("who", ["leader", "follower"])
    async def test_it_refuses_everybody_the_others_go_on_and_it_comes_back(
        self, new_cluster, segment, client_on, function, who
    ):
        cluster = await new_cluster(3, segment=segment)
        leader = await cluster.leader()
        alone = leader if who == "leader" else cluster.others(leader)[0]
        others = cluster.others(alone)
        account = Account()
        async with Load(cluster, account) as load:
            await load.progress()
            client = await client_on(alone)
            account.failed(alone.name, "cut off")
            segment.isolate(alone.place)
            client.send_job(function, b"", background=True)
            said = await client.until_closed(within=NOTICED)
            assert not [event for event in said if getattr(event, "kind", None) is PacketType.JOB_CREATED]
            await alone.refuses(within=NOTICED)
            assert (await alone.get("/readyz")).status == 503
            await cluster.leader(among=others, within=NOTICED)
            await load.progress(200)
            segment.heal()
            await alone.serves()
            await cluster.settles()
            account.recovered(alone.name, "cut off")
            await load.progress()
            await load.settle()
        assert account.violations() == []


class TestTwoSides:
    async def test_the_majority_of_five_goes_on_and_the_minority_acknowledges_nothing(
        self, new_cluster, segment, client_on, function
    ):
        cluster = await new_cluster(5, segment=segment)
        leader = await cluster.leader()
        minority = [leader, cluster.others(leader)[0]]
        majority = cluster.others(*minority)
        account = Account()
        async with Load(cluster, account) as load:
            await load.progress()
            for node in minority:
                account.failed(node.name, "in the minority")
            segment.split([node.place for node in minority], [node.place for node in majority])
            for node in minority:
                await node.refuses(within=NOTICED)
            new_leader = await cluster.leader(among=majority, within=NOTICED)
            assert new_leader in majority
            await load.progress(100)
            segment.heal()
            for node in minority:
                await node.serves()
            await cluster.settles()
            for node in minority:
                account.recovered(node.name, "in the minority")
            await load.settle()
        assert account.violations() == []

    async def test_without_any_majority_nobody_acknowledges_and_afterwards_nothing_is_missing(
        self, new_cluster, segment
    ):
        cluster = await new_cluster(3, segment=segment)
        account = Account()
        async with Load(cluster, account) as load:
            await load.progress()
            for node in cluster.nodes:
                account.failed(node.name, "alone")
            segment.split(*([node.place] for node in cluster.nodes))
            for node in cluster.nodes:
                await node.refuses(within=NOTICED)
            acknowledged = len(account.acknowledged)
            for node in cluster.nodes:
                with pytest.raises((OSError, UnexpectedAnswerError)):
                    await (await node.client(within=2.0)).submit_background(b"refused")
            assert len(account.acknowledged) == acknowledged
            segment.heal()
            for node in cluster.nodes:
                await node.serves()
                account.recovered(node.name, "alone")
            await cluster.settles()
            await load.progress()
            await load.settle()
        assert account.violations() == []


class TestOneWay:
    @pytest.mark.parametrize("deaf", ["leader", "follower"])
    async def test_a_node_that_is_heard_and_hears_nothing_does_not_stop_the_others(self, new_cluster, segment, deaf):
        """A leader that hears nobody steps down; a follower that hears nobody does not unseat the leader for good."""
        cluster = await new_cluster(3, segment=segment)
        leader = await cluster.leader()
        node = leader if deaf == "leader" else cluster.others(leader)[0]
        others = cluster.others(node)
        account = Account()
        async with Load(cluster, account) as load:
            await load.progress()
            account.failed(node.name, "deaf")
            for other in others:
                segment.cut_one_way(other.place, node.place)
            await node.refuses(within=NOTICED)
            await cluster.leader(among=others, within=NOTICED)
            await load.progress(200)
            segment.heal()
            await node.serves()
            await cluster.settles()
            account.recovered(node.name, "deaf")
            await load.settle()
        assert account.violations() == []

    async def test_two_nodes_that_do_not_reach_one_another_are_one_cluster_through_the_third(
        self, new_cluster, segment
    ):
        """The leader loses one follower and has the other: the cluster goes on, whoever leads in the end."""
        cluster = await new_cluster(3, segment=segment)
        leader = await cluster.leader()
        follower, middle = cluster.others(leader)
        account = Account()
        async with Load(cluster, account) as load:
            await load.progress()
            # Either of them may be the one that is outvoted.
            account.failed(leader.name, "cut from one")
            account.failed(follower.name, "cut from one")
            segment.cut(leader.place, follower.place)
            await load.progress(300)
            assert middle.running
            segment.heal()
            for node in cluster.nodes:
                await node.serves()
            await cluster.settles()
            account.recovered(leader.name, "cut from one")
            account.recovered(follower.name, "cut from one")
            await load.settle()
        assert account.violations() == []


class TestABadLine:
    async def test_a_node_that_loses_a_tenth_of_what_it_is_sent_costs_no_job(self, new_cluster, segment):
        cluster = await new_cluster(3, segment=segment)
        account = Account()
        async with Load(cluster, account) as load:
            await load.progress()
            node = await cluster.leader()
            with account.failing(node.name, "loses packets"):
                segment.lose(node.place, 10)
                await load.progress(200)
                segment.heal()
                await node.serves()
                await cluster.settles()
            await load.settle()
        assert account.violations() == []
