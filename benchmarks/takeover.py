"""What a death costs: nodes of a cluster are killed and restarted, and clients and workers say how long they waited.

The clients are those of the tests (`tests.harness`): they go to another node when theirs is gone. Not for rates, which
`workloads` has, nor for promises, which the tests hold the cluster to; but a job that is lost ends the run here too.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import monotonic
from typing import Any

from benchmarks.errors import JobsUnaccountedError, ServerFailedError
from benchmarks.workloads import Progress
from tests.harness import Client, UnexpectedAnswerError, Worker
from tests.harness.cluster import Cluster, Node
from tests.harness.cluster_account import Account, Figures
from tests.harness.cluster_load import Load
from tests.harness.server_process import ServerDiedError

FUNCTION = b"takeover"
JOBS_AT_WORK = 16
"""Jobs that are running on the node whose death is measured."""
GIVEN_UP = 60.0
RETRY_SECONDS = 0.005
REST_SECONDS = 1.0
"""Between a node's return and the next kill: links that have only just come up are redialled with caution."""


@dataclass(frozen=True, slots=True)
class Takeovers:
    """How long it took until the others had taken over, once for each kill.

    Attributes:
        what: who was killed, and what was waited for.
        seconds: one figure for each kill.
    """

    what: str
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle figure."""
        return median(self.seconds)

    @property
    def worst(self) -> float:
        """The longest: of twenty kills, their 99th percentile too."""
        return max(self.seconds)

    def as_dict(self) -> dict[str, Any]:
        """Give plain data for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Restarts:
    """What the clients and workers of a cluster noticed when all its nodes were restarted in turn.

    Attributes:
        rounds: how often each node was restarted.
        seconds: how long it took.
        account: the jobs.
    """

    rounds: int
    seconds: float
    account: Figures

    def as_dict(self) -> dict[str, Any]:
        """Give plain data for JSON."""
        return {"rounds": self.rounds, "seconds": self.seconds, "account": self.account._asdict()}


WORKER_NODE = "a worker's node is killed: its jobs run elsewhere"
LEADER = "the leader is killed: every client has a submit acknowledged again"


def measure_deaths(directory: Path, nodes: int, kills: int, progress: Progress) -> list[Takeovers]:
    """Kill nodes of a cluster that does little else.

    Raises:
        JobsUnaccountedError: a job of a dead worker was run by nobody.
        ServerFailedError: the cluster did not come back to life.
    """

    async def measure(cluster: Cluster) -> list[Takeovers]:
        found: list[Takeovers] = []
        await asyncio.sleep(REST_SECONDS)
        for what, once in ((WORKER_NODE, _kill_worker_node), (LEADER, _kill_leader)):
            seconds = []
            for number in range(kills):
                progress(f"{what}, {number + 1} of {kills}")
                killed, waited = await once(cluster)
                seconds.append(waited)
                killed.spawn()
                await killed.serves()
                await cluster.settles()
                await asyncio.sleep(REST_SECONDS)
            found.append(Takeovers(what, tuple(seconds)))
        return found

    return _with_cluster(directory, nodes, measure)


def measure_restarts(directory: Path, nodes: int, rounds: int, progress: Progress) -> Restarts:
    """Restart the nodes one after the other under a load of background jobs, foreground jobs and workers.

    Raises:
        ServerFailedError: the cluster did not come back to life.
    """

    async def measure(cluster: Cluster) -> Restarts:
        account = Account()
        async with Load(cluster, account) as load:
            await load.progress()
            began = monotonic()
            for number in range(rounds):
                for node in cluster.nodes:
                    progress(f"rolling restart {number + 1} of {rounds}: {node.name}")
                    await node.stop()
                    node.spawn()
                    await node.serves()
                    await cluster.settles()
                    await load.progress(50)
            seconds = monotonic() - began
            await load.settle()
        return Restarts(rounds, seconds, account.figures())

    return _with_cluster(directory, nodes, measure)


def _with_cluster(directory: Path, nodes: int, measure: Callable[[Cluster], Coroutine[Any, Any, Any]]) -> Any:
    async def run() -> Any:
        with Cluster(directory, nodes, arguments=("--log-level", "warning")) as cluster:
            await cluster.start()
            await cluster.settles()
            return await measure(cluster)

    logging.getLogger("asyncio").setLevel(logging.ERROR)  # it warns of every write to a server that is gone
    try:
        return asyncio.run(run())
    except (ServerDiedError, OSError, UnexpectedAnswerError) as error:
        raise ServerFailedError(f"the cluster of {nodes} nodes failed: {error}") from error
    except AssertionError as error:
        raise JobsUnaccountedError(f"a cluster of {nodes} nodes did not get to where it should: {error}") from error


async def _kill_worker_node(cluster: Cluster) -> tuple[Node, float]:
    """Kill the node of workers that are all busy; give the seconds until the last of their jobs runs elsewhere."""
    victim = (await cluster.followers())[0]
    others = cluster.others(victim)
    async with AsyncExitStack() as stack:
        client: Client = await stack.enter_async_context(await others[0].client())
        handles = {await client.submit_background(FUNCTION) for _ in range(JOBS_AT_WORK)}
        for _ in range(JOBS_AT_WORK):
            doomed: Worker = await stack.enter_async_context(await victim.worker(FUNCTION))
            await doomed.take()
        rescuers: list[Worker] = [
            await stack.enter_async_context(await others[number % len(others)].worker(FUNCTION))
            for number in range(JOBS_AT_WORK)
        ]
        for rescuer in rescuers:
            rescuer.sleep()
            await rescuer.expect_nothing()
        began = monotonic()
        victim.kill()
        taken = {job.handle for job in await asyncio.gather(*map(_rescue, rescuers))}
        seconds = monotonic() - began
        if taken != handles:
            raise JobsUnaccountedError(f"{len(handles - taken)} jobs of a dead worker were run by nobody")
        for rescuer in rescuers:
            await rescuer.settle()
    return victim, seconds


async def _rescue(worker: Worker) -> Any:
    """Take the one job that this worker is woken for, and end it."""
    await worker.woken(within=GIVEN_UP)
    job = await worker.take(within=GIVEN_UP)
    worker.complete(job.handle)
    return job


async def _kill_leader(cluster: Cluster) -> tuple[Node, float]:
    """Kill the leader while every node has a client; give the seconds until all of them submit again."""
    leader = await cluster.leader()
    function = b"unattended"
    clients = [(node, await node.client()) for node in cluster.nodes]
    for _, client in clients:
        await client.submit_background(function)
    began = monotonic()
    leader.kill()
    waits = [_submits_again(cluster.others(leader), node, client, function, began) for node, client in clients]
    async with asyncio.timeout(GIVEN_UP):
        return leader, max(await asyncio.gather(*waits))


async def _submits_again(living: list[Node], node: Node, client: Client, function: bytes, began: float) -> float:
    """Submit, and go from node to node until that is acknowledged; give the seconds since the kill."""
    tried = 0
    while True:
        try:
            await client.submit_background(function, within=GIVEN_UP)
        except (UnexpectedAnswerError, OSError):
            await client.cut()
        else:
            await client.close()
            return monotonic() - began
        while True:
            tried += 1
            node = living[tried % len(living)]
            try:
                client = await node.client(within=1.0)
            except OSError:
                await asyncio.sleep(RETRY_SECONDS)
            else:
                break
