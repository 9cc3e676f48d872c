"""A node whose table is old says so to whoever sends clients, goes on serving those that it has, and comes back.

Its disk hangs. It hears the leader, and applies what is committed without its disk, but acknowledges nothing, and so is
sent no more than what may be on its way to it. The others are ready all the time, with load on them.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from node.driver.lag import TOO_LONG
from tests.harness.cluster import Node
from tests.harness.conditions import eventually

PAYLOAD = b"x" * (100 << 10)
MORE_THAN_IS_UNDER_WAY = 200
"""Jobs of such a size: 20 MB, where 8 MiB are on their way to a node at the most."""


@contextlib.asynccontextmanager
async def working(nodes: list[Node], function: bytes) -> AsyncIterator[None]:
    """Have clients submit jobs to these nodes, and workers there do them, all the time."""

    async def submit(node: Node) -> None:
        async with await node.client() as client:
            while True:
                for _ in range(20):
                    client.send_job(function, b"work", background=True)
                for _ in range(20):
                    await client.created(within=30.0)

    async def work(node: Node) -> None:
        async with await node.worker(function) as worker:
            while True:
                job = await worker.grab(within=30.0)
                if job is None:
                    worker.sleep()
                    await worker.woken(within=30.0)
                else:
                    worker.complete(job.handle, b"done")

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(do(node)) for node in nodes for do in (submit, work)]
        yield
        for task in tasks:
            task.cancel()


class Watch:
    """What the readiness probe is told, looked at again and again."""

    def __init__(self, *nodes: Node) -> None:
        self.looks = 0
        self.unready: list[tuple[str, bytes]] = []
        """What was said by nodes that were not ready."""
        self._nodes = nodes

    async def go_on(self) -> None:
        while True:
            for node in self._nodes:
                answer = await node.get("/readyz")
                self.looks += 1
                if answer.status != 200:
                    self.unready.append((node.name, answer.body))
            await asyncio.sleep(0.05)  # a probe has an interval

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self.go_on())
            yield
            task.cancel()


async def fill(node: Node, function: bytes, jobs: int) -> None:
    async with await node.client() as client:
        for _ in range(jobs):
            client.send_job(function, PAYLOAD, background=True)
        for _ in range(jobs):
            await client.created(within=60.0)


class TestAFollowerWhoseTableIsOld:
    @pytest.mark.timeout(240)
    async def test_is_not_ready_serves_those_it_has_and_is_ready_again_by_itself(
        self, new_cluster, client_on, function
    ):
        cluster = await new_cluster(3, slow_disks=True, arguments=("--disk-timeout", "60"))
        leader = await cluster.leader()
        old, other = cluster.others(leader)
        connected = await client_on(old)
        watch = Watch(leader, other)
        async with working([leader, other], function), watch.watching():
            old.slow_disk(600.0)
            await fill(other, b"burst", MORE_THAN_IS_UNDER_WAY)

            async def says_that_it_is_old() -> bytes | None:
                answer = await old.get("/readyz")
                return answer.body if answer.status == 503 and b"table is" in answer.body else None

            reason = await eventually(says_that_it_is_old, within=TOO_LONG + 60.0, every=0.1)
            assert reason is not None
            assert reason.startswith(b"this node's table is 3")
            assert b"see what slows its processor, its disk or its network" in reason
            await connected.expect_nothing()
            await old.serves()

            old.slow_disk(0)

            async def is_ready() -> bool:
                return (await old.get("/readyz")).status == 200

            await eventually(is_ready, within=60.0, every=0.1)
        assert watch.unready == []
        assert watch.looks > 100
        (lagging,) = old.events("lagging")
        assert lagging["seconds"] == pytest.approx(TOO_LONG, abs=2.0)
        assert len(old.events("caught_up")) == 1
        assert '"lagging"' not in leader.log() + other.log()


class TestLoad:
    @pytest.mark.timeout(240)
    async def test_of_300_mb_as_fast_as_they_are_taken_makes_no_table_too_old(self, new_cluster):
        cluster = await new_cluster(3)
        watch = Watch(*cluster.nodes)
        async with watch.watching():
            await asyncio.gather(*(fill(node, b"burst", 250) for node in cluster.nodes for _ in range(4)))
        # On a machine that is busy with more than this all nodes may stand still for a second. They say so, and that is
        # not what this is about.
        assert [said for said in watch.unready if said[1].startswith(b"this node's table")] == []
        assert watch.looks > 20
        assert not any('"lagging"' in node.log() for node in cluster.nodes)
