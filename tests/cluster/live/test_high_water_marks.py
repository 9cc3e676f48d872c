"""While one node is short of memory or disk space, no node takes a new job; the queue is worked off, and that heals it.

Tests with small disks mount them, which is root's.
"""

from contextlib import ExitStack

import pytest

from tests.harness import eventually
from tests.harness.cluster_account import Account
from tests.harness.cluster_load import Load
from tests.harness.filling import fill_up, refusal, until_taken, work_off
from tests.harness.small_disk import SmallDisk

MEBIBYTE = 1 << 20
WORKLOAD = bytes(100_000)


async def alarmed(node, resource):
    """Tell which members have an alarm, as a node sees it."""
    answer = (await node.get("/metrics")).body.decode()
    lines = [line for line in answer.splitlines() if line.startswith("gearmesh_alarm{") and line.endswith(" 1.0")]
    return [line.split('name="')[1].split('"')[0] for line in lines if f'resource="{resource}"' in line]


async def everywhere(cluster, client_on, function):
    """Give the reasons for which each node refuses a job; empty where it takes one."""
    return [await refusal(await client_on(node), function) for node in cluster.nodes]


class TestOneNodeOfThreeBeyondItsMemoryMark:
    @pytest.mark.parametrize("who", ["leader", "follower"])
    async def test_makes_all_refuse_and_name_it_and_heals_when_the_queue_is_worked_off(
        self, new_cluster, client_on, worker_on, function, who
    ):
        cluster = await new_cluster(3)
        leader = await cluster.leader()
        small = leader if who == "leader" else cluster.others(leader)[0]
        small.arguments = ("--max-memory", str(160 * MEBIBYTE))
        small.kill()
        small.spawn()
        await small.serves()
        await cluster.settles()
        if who == "leader":
            outcome = await cluster.command(small, "transfer", small.name)
            assert outcome.status == 0, outcome.output
        other = cluster.others(small)[0]
        client, worker = await client_on(other), await worker_on(other, function)
        taken, text = await fill_up(client, function, WORKLOAD)
        name = (await small.view()).node.encode()
        assert text.startswith(b"Node %b uses " % name)
        for reason in await everywhere(cluster, client_on, function):
            assert reason.startswith(b"Node %b uses " % name)
        for node in cluster.nodes:
            ready = await node.get("/readyz")
            assert ready.status == 200
            assert ready.body.startswith(b"ready\nno new job is taken: Node %b uses " % name)
            assert await alarmed(node, "memory") == [small.name]
            shown = (await cluster.command(node, "members")).output
            assert [line.split()[1] for line in shown.splitlines() if " memory " in line][:1] == [small.name]
        assert ["alarm_raised" in node.log() for node in cluster.nodes] == [node is small for node in cluster.nodes]
        await work_off(worker, taken)
        for node in cluster.nodes:
            await until_taken(await client_on(node), b"%b-later" % function)


class TestThreeNodesBeyondTheirMemoryMark:
    async def test_refuse_and_heal_together_and_so_do_they_after_all_were_killed(
        self, new_cluster, client_on, worker_on, function
    ):
        cluster = await new_cluster(3, arguments=("--max-memory", str(160 * MEBIBYTE)))
        taken, _ = await fill_up(await client_on(cluster.nodes[0]), function, WORKLOAD)
        assert all(await everywhere(cluster, client_on, function))
        for node in cluster.nodes:
            node.kill()
        await cluster.start()
        await cluster.settles()
        worker = await worker_on(cluster.nodes[1], function)
        await work_off(worker, taken)
        for node in cluster.nodes:
            await until_taken(await client_on(node), b"%b-later" % function)


class TestANodeWithTooLittleDiskSpace:
    async def test_that_dies_keeps_the_others_from_nothing_and_does_so_again_when_it_is_back(
        self, new_cluster, client_on, function
    ):
        cluster = await new_cluster(3)
        short = cluster.nodes[1]
        short.arguments = ("--min-free-disk", "1024TiB")
        short.kill()
        short.spawn()
        await short.serves()
        await cluster.settles()
        reasons = await everywhere(cluster, client_on, function)
        assert all(b"--min-free-disk" in reason for reason in reasons)
        short.kill()
        client = await client_on(cluster.nodes[0])
        await until_taken(client, function)
        short.spawn()
        await short.serves()
        await eventually(lambda: refusal(client, function), lambda text: b"--min-free-disk" in text, every=0.05)

    async def test_that_is_removed_keeps_the_others_from_nothing(self, new_cluster, client_on, function):
        cluster = await new_cluster(3)
        short = cluster.nodes[2]
        short.arguments = ("--min-free-disk", "1024TiB")
        short.kill()
        short.spawn()
        await short.serves()
        await cluster.settles()
        outcome = await cluster.command(cluster.nodes[0], "remove", short.name, "--force")
        assert outcome.status == 0, outcome.output
        await until_taken(await client_on(cluster.nodes[0]), function)
        await until_taken(await client_on(cluster.nodes[1]), function)


@pytest.mark.namespaces
class TestDisksThatFill:
    """They are file systems of their own, of 256 MiB each; the mark is a quarter of that."""

    SIZE = 256 * MEBIBYTE

    @pytest.fixture
    def disks(self, tmp_path):
        """Make the data directories of a cluster of three such disks."""
        with ExitStack() as mounted:
            yield [
                mounted.enter_context(SmallDisk(tmp_path / "cluster-1" / name / "data", self.SIZE))
                for name in ("node1", "node2", "node3")
            ]

    async def test_by_jobs_end_in_an_error_to_all_clients_and_heal(
        self, disks, new_cluster, client_on, worker_on, function
    ):
        cluster = await new_cluster(3)
        taken, text = await fill_up(await client_on(cluster.nodes[0]), function, WORKLOAD)
        assert b" of disk space left, and its --min-free-disk is 64 MiB" in text
        assert all(await everywhere(cluster, client_on, function))
        await work_off(await worker_on(cluster.nodes[1], function), taken)
        for node in cluster.nodes:
            await until_taken(await client_on(node), b"%b-later" % function)
        assert all(node.running and node.starts == 1 for node in cluster.nodes)
        assert min(disk.free for disk in disks) > 64 * MEBIBYTE

    @pytest.mark.parametrize("who", ["leader", "follower"])
    async def test_one_of_them_to_the_last_byte_by_somebody_else_stops_nobody_and_loses_nothing(
        self, disks, new_cluster, client_on, worker_on, function, who
    ):
        cluster = await new_cluster(3)
        leader = await cluster.leader()
        full = leader if who == "leader" else cluster.others(leader)[0]
        client, worker = await client_on(full), await worker_on(cluster.others(full)[0], function)
        handles = [await client.submit_background(function) for _ in range(20)]
        disk = disks[cluster.nodes.index(full)]
        disk.fill()
        await eventually(
            lambda: everywhere(cluster, client_on, function),
            lambda reasons: all(b"--min-free-disk" in reason for reason in reasons),
            every=0.2,
        )
        await work_off(worker, handles[:10])
        disk.empty()
        await work_off(worker, handles[10:])
        for node in cluster.nodes:
            await until_taken(await client_on(node), b"%b-later" % function)
        assert all(node.running and node.starts == 1 for node in cluster.nodes)

    async def test_all_of_them_to_the_last_byte_by_somebody_else_stop_the_cluster_until_there_is_room(
        self, disks, new_cluster, client_on, worker_on, function
    ):
        cluster = await new_cluster(3)
        client, worker = await client_on(cluster.nodes[0]), await worker_on(cluster.nodes[1], function)
        handles = [await client.submit_background(function, b"%d" % number) for number in range(20)]
        for disk in disks:
            disk.fill()
        for node in cluster.nodes:
            await eventually(lambda node=node: _logged(node, "alarm_raised"), every=0.1)
        reasons = await everywhere(cluster, client_on, function)
        assert all(b"--min-free-disk" in reason for reason in reasons)
        for disk in disks:
            disk.empty()
        await until_taken(client, b"%b-later" % function)
        await work_off(worker, handles)
        assert all(node.running and node.starts == 1 for node in cluster.nodes)

    async def test_do_not_keep_killed_nodes_from_starting_once_there_is_room(
        self, disks, new_cluster, client_on, worker_on, function
    ):
        cluster = await new_cluster(3)
        client = await client_on(cluster.nodes[0])
        handles = [await client.submit_background(function) for _ in range(20)]
        for disk, node in zip(disks, cluster.nodes, strict=True):
            node.kill()
            disk.fill()
            node.spawn()
        for node in cluster.nodes:
            await eventually(lambda node=node: _waits_for_room(node), every=0.1)
            assert node.running
        for disk in disks:
            disk.empty()
        for node in cluster.nodes:
            await node.serves()
        await cluster.settles()
        await work_off(await worker_on(cluster.nodes[2], function), handles)
        assert [node.starts for node in cluster.nodes] == [2, 2, 2]


async def _waits_for_room(node):
    """Tell whether a node says that it has too little space, be it that it can start or not."""
    return "disk_full" in node.log() or "alarm_raised" in node.log()


async def _logged(node, event):
    return f'"{event}"' in node.log()


@pytest.mark.namespaces
class TestUnderLoad:
    async def test_a_disk_that_fills_up_and_is_emptied_loses_nothing(self, tmp_path, new_cluster):
        with SmallDisk(tmp_path / "cluster-1" / "node1" / "data", 128 * MEBIBYTE) as disk:
            cluster = await new_cluster(3)
            account = Account()
            async with Load(cluster, account) as load:
                await load.progress()
                disk.fill()
                await cluster.nodes[0].get("/readyz")
                await eventually(lambda: _logged(cluster.nodes[0], "alarm_raised"), every=0.1)
                disk.empty()
                await load.progress()
                await load.settle()
            assert account.violations() == []
            assert all(node.starts == 1 for node in cluster.nodes)
