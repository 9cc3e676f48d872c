"""Nodes killed without warning (SIGKILL) while jobs run on them and on others."""

import random
import time

import pytest

from tests.harness import JobStatus, PacketType, eventually
from tests.harness.cluster_account import Account
from tests.harness.cluster_load import Load

TAKEN_OVER = 15.0
"""Seconds within which others have the jobs of a dead worker, on a busy machine; `python -m benchmarks` measures it."""


class TestTheNodeOfTheWorker:
    async def test_its_running_jobs_are_run_by_workers_of_other_nodes(self, battered, client_on, worker_on, function):
        client_node, worker_node, other_node = battered.nodes
        client = await client_on(client_node)
        lost = [await worker_on(worker_node, function) for _ in range(3)]
        foreground = await client.submit(function, b"foreground")
        background = [await client.submit_background(function, b"%d" % number) for number in range(2)]
        assert {(await worker.take()).handle for worker in lost} == {foreground, *background}
        rescuer = await worker_on(other_node, function)
        worker_node.kill()
        rescued = set()
        for _ in range(3):
            job = await rescuer.take(within=TAKEN_OVER)
            rescued.add(job.handle)
            rescuer.complete(job.handle, b"from the rescuer")
        assert rescued == {foreground, *background}
        assert await client.completed(foreground) == b"from the rescuer"
        assert await rescuer.grab() is None

    async def test_jobs_that_were_reserved_for_its_sleeping_workers_go_to_others(
        self, battered, client_on, worker_on, function
    ):
        client_node, worker_node, other_node = battered.nodes
        sleepers = [await worker_on(worker_node, function) for _ in range(5)]
        rescuer = await worker_on(other_node, function)
        for worker in (rescuer, *sleepers):
            worker.sleep()
            await worker.expect_nothing()
        client = await client_on(client_node)
        # The last to sleep are the first to be woken: these five jobs are set aside on the node that dies.
        handles = {await client.submit_background(function) for _ in range(5)}
        worker_node.kill()
        await rescuer.woken(within=TAKEN_OVER)
        assert {(await rescuer.take(within=TAKEN_OVER)).handle for _ in handles} == handles

    async def test_a_result_that_its_client_has_is_not_taken_back(self, battered, client_on, worker_on, function):
        client_node, worker_node, other_node = battered.nodes
        client, worker = await client_on(client_node), await worker_on(worker_node, function)
        handle = await client.submit(function)
        await worker.take()
        worker.complete(handle, b"result")
        await worker.settle()
        assert await client.completed(handle) == b"result"
        worker_node.kill()
        rescuer = await worker_on(other_node, function)
        later = await client.submit(function, within=TAKEN_OVER)
        assert (await rescuer.take(within=TAKEN_OVER)).handle == later
        await client.expect_nothing()


class TestTheNodeOfTheClient:
    async def test_its_background_jobs_are_run_and_known_everywhere(self, battered, client_on, worker_on, function):
        client_node, worker_node, other_node = battered.nodes
        client, worker = await client_on(client_node), await worker_on(worker_node, function)
        running = await client.submit_background(function, b"running")
        assert (await worker.take()).handle == running
        queued = await client.submit_background(function, b"queued")
        client_node.kill()
        other = await client_on(other_node)
        assert await other.status(queued) == JobStatus(known=True, running=False, numerator=0, denominator=0)
        await eventually(lambda: other.status(running), lambda status: status.running)
        worker.complete(running)
        assert (await worker.take()).handle == queued

    async def test_a_job_that_only_it_waited_for_is_dropped_when_queued_and_ended_in_peace_when_running(
        self, battered, client_on, worker_on, function
    ):
        client_node, worker_node, other_node = battered.nodes
        client, worker = await client_on(client_node), await worker_on(worker_node, function)
        running = await client.submit(function, b"running")
        assert (await worker.take()).handle == running
        queued = await client.submit(function, b"queued")
        client_node.kill()
        other = await client_on(other_node)
        await eventually(lambda: other.status(queued), lambda status: not status.known, within=TAKEN_OVER)
        worker.complete(running, b"for nobody")
        await worker.expect_nothing()
        assert await worker.grab() is None

    async def test_a_client_of_another_node_that_shares_the_job_gets_the_result(
        self, battered, client_on, worker_on, function
    ):
        client_node, worker_node, other_node = battered.nodes
        client, other = await client_on(client_node), await client_on(other_node)
        handle = await client.submit(function, unique=b"u")
        assert await other.submit(function, unique=b"u") == handle
        worker = await worker_on(worker_node, function)
        await worker.take()
        client_node.kill()
        worker.complete(handle, b"result")
        assert await other.completed(handle, within=TAKEN_OVER) == b"result"


class TestTheLeader:
    async def test_running_jobs_go_on_and_are_not_run_again(self, battered, client_on, worker_on, function):
        leader = await battered.leader()
        client_node, worker_node = battered.others(leader)
        client, worker = await client_on(client_node), await worker_on(worker_node, function)
        foreground = await client.submit(function, b"foreground")
        assert (await worker.take()).handle == foreground
        background = await client.submit_background(function, b"background")
        assert (await worker.take()).handle == background
        waiting = await client.submit_background(function, b"waiting")
        leader.kill()
        worker.complete(foreground, b"result")
        worker.complete(background)
        assert await client.completed(foreground, within=TAKEN_OVER) == b"result"
        assert (await worker.take(within=TAKEN_OVER)).handle == waiting
        worker.complete(waiting)
        later = await client.submit_background(function, within=TAKEN_OVER)
        assert (await worker.take(within=TAKEN_OVER)).handle == later
        assert await worker.grab() is None

    async def test_what_was_sent_to_it_and_not_answered_is_answered_by_the_next(
        self, battered, client_on, worker_on, function
    ):
        leader = await battered.leader()
        client_node, worker_node = battered.others(leader)
        client = await client_on(client_node)
        for number in range(200):
            client.send_job(function, b"%d" % number, background=True)
        await client.created()
        leader.kill()
        for _ in range(199):
            await client.created(within=TAKEN_OVER)
        worker = await worker_on(worker_node, function)
        jobs = await worker.drain()
        assert [int(job.workload) for job in jobs] == list(range(200))

    async def test_its_own_clients_are_hung_up_on_and_served_by_the_others(
        self, battered, client_on, worker_on, function
    ):
        leader = await battered.leader()
        client = await client_on(leader)
        handle = await client.submit_background(function)
        leader.kill()
        await client.expect_closed()
        for node in battered.others(leader):
            other = await client_on(node)
            other.send(PacketType.GET_STATUS, handle)
            answered, known, *_ = await other.expect(PacketType.STATUS_RES, within=TAKEN_OVER)
            assert (answered, known) == (handle, b"1")


class TestOneNodeAfterAnother:
    @pytest.mark.timeout(180)
    async def test_killed_under_load_nothing_is_lost_and_nothing_repeated_without_reason(self, battered):
        account, chance = Account(), random.Random(20261123)
        async with Load(battered, account) as load:
            await load.progress()
            for node in [await battered.leader(), *chance.sample(battered.nodes, 2), await battered.leader()]:
                with account.failing(node.name, "killed"):
                    node.kill()
                    await load.progress(200)
                    node.spawn()
                    await node.serves()
                    await battered.settles()
            await load.settle()
        assert account.violations() == []

    async def test_all_of_them_at_once_as_in_a_power_cut_lose_nothing(self, battered):
        account = Account()
        async with Load(battered, account) as load:
            await load.progress(200)
            for node in battered.nodes:
                account.failed(node.name, "power cut")
            for node in battered.nodes:
                node.kill()
            await battered.start()
            for node in battered.nodes:
                account.recovered(node.name, "power cut")
            await load.progress(200)
            await load.settle()
        assert account.violations() == []

    async def test_two_of_three_dead_the_third_takes_nothing_and_says_so(self, battered, client_on, function):
        survivor, *others = battered.nodes
        client = await client_on(survivor)
        for node in others:
            node.kill()
        began = time.monotonic()
        client.send_job(function, b"", background=True)
        events = await client.until_closed()
        assert not any(getattr(event, "kind", None) is PacketType.JOB_CREATED for event in events)
        await survivor.refuses()
        assert time.monotonic() - began < TAKEN_OVER
        ready = await survivor.get("/readyz")
        assert ready.status == 503
        assert (await survivor.get("/livez")).status == 200
        others[0].spawn()
        await survivor.serves()
        assert (await survivor.get("/readyz")).status == 200
