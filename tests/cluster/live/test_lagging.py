"""Nodes that lag behind while much comes: no session ends for that, no job is run twice, and they catch up."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest

from tests.harness import Client, UnexpectedAnswerError, Worker
from tests.harness.cluster import Cluster, Node
from tests.harness.conditions import eventually

PAYLOAD = b"x" * (100 << 10)
CLIENTS = 12


class Sessions:
    """A client and a worker on each node: the worker runs a job that the client of the next node waits for."""

    def __init__(self) -> None:
        self.pairs: list[tuple[Client, Worker, bytes]] = []

    @classmethod
    async def begin(cls, nodes: list[Node], client_on, worker_on, function: bytes) -> "Sessions":
        sessions = cls()
        for number, node in enumerate(nodes):
            name = b"%s-%d" % (function, number)
            client = await client_on(nodes[(number + 1) % len(nodes)])
            worker = await worker_on(node, name)
            handle = await client.submit(name)
            assert (await worker.take()).handle == handle
            sessions.pairs.append((client, worker, handle))
        return sessions

    async def go_on(self) -> None:
        """See that every worker still has its job, and every client hears how it ends, once."""
        for client, worker, handle in self.pairs:
            worker.complete(handle, b"done")
            assert await client.completed(handle, within=30.0) == b"done"
            await worker.expect_nothing()
            await client.expect_nothing()


async def burst(cluster: Cluster, function: bytes, jobs: int, *, among: list[Node] | None = None) -> float:
    """Submit so many large background jobs through all nodes at once; give the seconds that it took."""
    nodes = among or cluster.nodes
    began = time.monotonic()

    async def submit(number: int) -> None:
        async with await nodes[number % len(nodes)].client() as client:
            for _ in range(jobs // CLIENTS):
                client.send_job(function, PAYLOAD, background=True)
            for _ in range(jobs // CLIENTS):
                await client.created(within=120.0)

    await asyncio.gather(*map(submit, range(CLIENTS)))
    return time.monotonic() - began


@contextlib.asynccontextmanager
async def loaded(cluster: Cluster, function: bytes, among: list[Node]) -> AsyncIterator[list[int]]:
    """Keep submitting through these nodes; the list has the count of the acknowledged jobs."""
    count = [0]

    async def submit(node: Node) -> None:
        async with await node.client() as client:
            while True:
                for _ in range(8):
                    client.send_job(function, PAYLOAD, background=True)
                for _ in range(8):
                    await client.created(within=60.0)
                    count[0] += 1

    tasks = [asyncio.create_task(submit(node)) for node in among for _ in range(2)]
    try:
        yield count
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def said(cluster: Cluster, event: str) -> list[str]:
    """Give the lines in which any node says so."""
    return [line for node in cluster.nodes for line in node.log().splitlines() if f'"{event}"' in line]


class TestABurst:
    @pytest.mark.timeout(240)
    async def test_of_300_mb_ends_no_session_on_any_node_and_runs_no_job_twice(
        self, new_cluster, client_on, worker_on, function
    ):
        cluster = await new_cluster(3)
        sessions = await Sessions.begin(cluster.nodes, client_on, worker_on, function)
        await burst(cluster, b"burst", 3000)
        await sessions.go_on()
        assert said(cluster, "snapshot_installed") == []

    @pytest.mark.timeout(240)
    async def test_while_the_disk_of_a_follower_is_slow_ends_no_session_either(
        self, new_cluster, client_on, worker_on, function
    ):
        cluster = await new_cluster(3, slow_disks=True)
        leader = await cluster.leader()
        slow = cluster.others(leader)[0]
        sessions = await Sessions.begin(cluster.nodes, client_on, worker_on, function)
        slow.slow_disk(0.3)
        await burst(cluster, b"burst", 1500)
        await sessions.go_on()
        assert said(cluster, "snapshot_installed") == []

    @pytest.mark.timeout(240)
    async def test_while_a_follower_is_frozen_for_two_seconds_ends_no_session_either(
        self, new_cluster, client_on, worker_on, function
    ):
        cluster = await new_cluster(3)
        leader = await cluster.leader()
        frozen, other = cluster.others(leader)
        sessions = await Sessions.begin(cluster.nodes, client_on, worker_on, function)
        async with loaded(cluster, b"burst", [leader, other]):
            frozen.stall()
            await asyncio.sleep(2.0)  # the time is what is tested
            frozen.resume()
            await cluster.settles()
            await sessions.go_on()


class TestAWipedNode:
    @pytest.mark.timeout(240)
    async def test_catches_up_while_the_load_goes_on(self, new_cluster, function):
        cluster = await new_cluster(3)
        leader = await cluster.leader()
        wiped, other = cluster.others(leader)
        await burst(cluster, b"burst", 1200)
        wiped.wipe()
        async with loaded(cluster, b"load", [leader, other]) as count:
            wiped.spawn()
            await wiped.serves(within=90.0)
            await cluster.settles(within=90.0)
            before = count[0]

            async def went_on() -> bool:
                return count[0] >= before + 50

            await eventually(went_on, within=30.0)
        (sending,) = leader.events("snapshot_sending")
        assert sending["oldest_kept"] > sending["has"] + 1
        (installed,) = wiped.events("snapshot_installed")
        assert installed["index"] == sending["index"]
        assert installed["bytes"] > 100 * len(PAYLOAD)


class TestALeader:
    @pytest.mark.timeout(120)
    async def test_whose_disk_hangs_hands_over_and_is_not_waited_for(self, new_cluster, client_on, function):
        cluster = await new_cluster(3, slow_disks=True)
        leader = await cluster.leader()
        others = cluster.others(leader)
        client = await client_on(others[0])
        leader.slow_disk(30.0)
        longest = 0.0
        until = time.monotonic() + 8.0
        while time.monotonic() < until:
            began = time.monotonic()
            try:
                await client.submit_background(function)
            except UnexpectedAnswerError:  # an election that took long: a client goes on with another connection
                await others[0].serves()
                client = await client_on(others[0])
                await client.submit_background(function)
            longest = max(longest, time.monotonic() - began)
        assert longest < 5.0  # the disk hangs for 30 s
        assert await cluster.leader(among=others) in others
        assert "disk" in str(leader.events("leader_stalled")[0]["why"])
        leader.slow_disk(0)
        leader.kill()


class TestADisk:
    @pytest.mark.timeout(120)
    @pytest.mark.parametrize("leads", [True, False], ids=["of the leader", "of a follower"])
    async def test_that_never_answers_stops_its_node_with_an_error_and_the_others_go_on(
        self, new_cluster, client_on, function, leads
    ):
        cluster = await new_cluster(3, slow_disks=True, arguments=("--disk-timeout", "0.3"))
        leader = await cluster.leader()
        node, other = (leader, cluster.others(leader)[0]) if leads else cluster.others(leader)
        own, client = await client_on(node), await client_on(other)
        node.slow_disk(600.0)
        await client.submit_background(function)
        assert await node.ended(within=60.0) == 1
        await own.expect_closed()
        assert node.events("disk_slow")
        (failed,) = node.events("failed")
        assert "has not answered" in str(failed["error"])
        assert "--disk-timeout" in str(failed["error"])
        await (await client_on(other)).submit_background(function)
        node.slow_disk(0)
        node.spawn()
        await node.serves()
        await cluster.settles()

    @pytest.mark.timeout(120)
    async def test_that_hangs_while_another_comes_to_lead_makes_its_node_hang_up_before_its_jobs_are_given_away(
        self, new_cluster, client_on, worker_on, function
    ):
        """The others cannot hear the node before the new term is on its disk, though it hears the leader."""
        cluster = await new_cluster(3, slow_disks=True)
        leader = await cluster.leader()
        other = cluster.others(leader)[0]
        worker, rescuer = await worker_on(leader, function), await worker_on(other, function)
        client = await client_on(other)
        handle = await client.submit_background(function)
        assert (await worker.take()).handle == handle
        leader.slow_disk(600.0)
        await client.submit_background(b"unrelated " + function)
        given_away = asyncio.create_task(rescuer.take(within=60.0))
        await worker.expect_closed(within=60.0)
        assert not given_away.done(), "the job was given away while its worker was connected"
        assert (await given_away).handle == handle
        assert "disk" in str(leader.events("not_listening")[0]["why"])
        leader.slow_disk(0)
