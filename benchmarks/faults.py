"""What a fault of one node costs the clients of the others: `python -m benchmarks.faults`.

Each fault comes upon a cluster of its own: three nodes on hosts of their own (network namespaces, so it needs root).
Eight jobs are running in the hands of workers of the node that it concerns. Meanwhile clients of the healthy nodes go
on: one submits background jobs, one has foreground jobs run by a worker of a healthy node, one asks for `status`. The
table says how long the longest of each took, how many of their connections were closed, and how many of the eight jobs
were given to other workers, before their own workers were disconnected and after. Not for rates (`workloads`), nor for
promises, which the tests hold the cluster to.
"""

import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.harness import Client, Connection, UnexpectedAnswerError, Worker
from tests.harness.cluster import Cluster, Node
from tests.harness.cluster_hosts import Segment

HELD: Final = b"held"
"""The function of the jobs that are running when the fault comes."""
QUICK: Final = b"quick"
STORED: Final = b"stored"
AT_WORK: Final = 8
"""Jobs that are running then."""
WATCHED: Final = 15.0
"""Seconds from the beginning of the fault for which clients are watched."""
_BROKEN: Final = (UnexpectedAnswerError, OSError, EOFError, AssertionError)


@dataclass(slots=True)
class Costs:
    """What one fault cost."""

    fault: str
    longest: dict[str, float] = field(default_factory=dict)
    """The longest wait of each kind of client, in seconds, what a broken connection cost included."""
    closed: int = 0
    """Connections of clients of healthy nodes that were closed."""
    stolen: int = 0
    """Jobs that were given to other workers while their own were connected."""
    again: int = 0
    """Jobs that were given to other workers after that."""


@dataclass(slots=True)
class Scene:
    """What a fault comes upon."""

    cluster: Cluster
    segment: Segment
    leader: Node
    holder: Node
    """A follower, whose workers hold the jobs."""
    other: Node


Fault = Callable[[Scene], Coroutine[Any, Any, None]]


async def _frozen(seconds: float, *nodes: Node) -> None:
    for node in nodes:
        node.stall()
    await asyncio.sleep(seconds)
    for node in nodes:
        node.resume()


async def _leader_frozen(scene: Scene) -> None:
    await _frozen(4, scene.leader)


async def _all_frozen(scene: Scene) -> None:
    await _frozen(8, *scene.cluster.nodes)


async def _holder_frozen_briefly(scene: Scene) -> None:
    await _frozen(4, scene.holder)


async def _holder_frozen(scene: Scene) -> None:
    await _frozen(10, scene.holder)


async def _holder_killed(scene: Scene) -> None:
    scene.holder.kill()


async def _leader_killed(scene: Scene) -> None:
    scene.leader.kill()


async def _holder_rejected(scene: Scene) -> None:
    scene.segment.reject(scene.leader.place, scene.holder.place, "with tcp reset")  # type: ignore[arg-type]
    await asyncio.sleep(2.5)
    scene.segment.heal()


async def _holder_dropped(scene: Scene) -> None:
    scene.segment.cut(scene.leader.place, scene.holder.place)  # type: ignore[arg-type]
    await asyncio.sleep(2.5)
    scene.segment.heal()


async def _holder_isolated(scene: Scene) -> None:
    scene.segment.isolate(scene.holder.place)  # type: ignore[arg-type]
    await asyncio.sleep(12)
    scene.segment.heal()


async def _slow(node: Node, seconds: float, lasting: float) -> None:
    node.slow_disk(seconds)
    await asyncio.sleep(lasting)
    node.slow_disk(0)


async def _leader_disk_slow(scene: Scene) -> None:
    await _slow(scene.leader, 0.05, 12)


async def _leader_disk_slower(scene: Scene) -> None:
    await _slow(scene.leader, 0.3, 12)


async def _leader_disk_hangs(scene: Scene) -> None:
    await _slow(scene.leader, 12, 12)


FAULTS: Final[dict[str, Fault]] = {
    "leader frozen 4 s": _leader_frozen,
    "all nodes frozen 8 s": _all_frozen,
    "workers' node frozen 4 s": _holder_frozen_briefly,
    "workers' node frozen 10 s": _holder_frozen,
    "workers' node killed": _holder_killed,
    "leader killed": _leader_killed,
    "firewall rejects between leader and workers' node, 2.5 s": _holder_rejected,
    "nothing passes between leader and workers' node, 2.5 s": _holder_dropped,
    "workers' node cut off from all, 12 s": _holder_isolated,
    "leader's disk takes 50 ms a write": _leader_disk_slow,
    "leader's disk takes 300 ms a write": _leader_disk_slower,
    "leader's disk does not answer for 12 s": _leader_disk_hangs,
}


class Watch:
    """The clients of the healthy nodes."""

    def __init__(self, costs: Costs, nodes: list[Node]) -> None:
        self._costs = costs
        self._nodes = nodes

    @contextlib.asynccontextmanager
    async def _connected(self, opened: Callable[[Node], Coroutine[Any, Any, Connection]]) -> AsyncIterator[Connection]:
        """Connect to the first healthy node that lets anybody in."""
        while True:
            for node in self._nodes:
                try:
                    connection = await opened(node)
                except _BROKEN:
                    continue
                try:
                    yield connection
                finally:
                    await connection.cut()
                return
            await asyncio.sleep(0.02)

    async def go_on(
        self,
        what: str,
        opened: Callable[[Node], Coroutine[Any, Any, Connection]],
        ask: Callable[[Any], Coroutine[Any, Any, object]],
    ) -> None:
        """Ask again and again, on another connection when one breaks, and note the longest wait."""
        longest = self._costs.longest
        longest[what] = 0.0
        began = time.monotonic()
        while True:
            async with self._connected(opened) as connection:
                try:
                    while True:
                        await ask(connection)
                        now = time.monotonic()
                        longest[what] = max(longest[what], now - began)
                        began = now
                except _BROKEN:
                    self._costs.closed += 1
                finally:
                    longest[what] = max(longest[what], time.monotonic() - began)


async def _submit(client: Client) -> None:
    await client.submit_background(STORED, within=60)


async def _have_run(client: Client) -> None:
    handle = await client.submit(QUICK, within=60)
    await client.completed(handle, within=60)


async def _ask(client: Client) -> None:
    await client.table(b"status", within=60)


async def _work(node: Node) -> None:
    while True:
        try:
            worker = await node.worker(QUICK)
            while True:
                worker.complete((await worker.take(within=60)).handle)
        except _BROKEN:
            await asyncio.sleep(0.02)


async def _lose(worker: Worker, connected: set[bytes], handle: bytes) -> None:
    """Note when a worker that holds a job is disconnected."""
    with contextlib.suppress(*_BROKEN):
        await worker.until_closed(within=2 * WATCHED)
    connected.discard(handle)


async def _rescue(node: Node, costs: Costs, connected: set[bytes]) -> None:
    """Take the jobs that are given away, and note whether their own workers are still connected."""
    while True:
        try:
            worker = await node.worker(HELD)
            while True:
                handle = (await worker.take(within=60)).handle
                if handle in connected:
                    costs.stolen += 1
                else:
                    costs.again += 1
                worker.complete(handle)
        except _BROKEN:
            await asyncio.sleep(0.02)


async def measure(name: str) -> Costs:
    """Let a fault come upon a cluster, and tell what it costs."""
    costs, fault = Costs(name), FAULTS[name]
    with (
        tempfile.TemporaryDirectory() as directory,
        Segment() as segment,
        Cluster(Path(directory), segment=segment, slow_disks=True) as cluster,
    ):
        await cluster.start()
        leader = await cluster.leader()
        scene = Scene(cluster, segment, leader, *cluster.others(leader))
        concerns_leader = name.startswith("leader")
        at_work = scene.leader if fault is _leader_killed else scene.holder
        healthy = [scene.other, scene.holder if concerns_leader else scene.leader]
        client = await scene.other.client()
        connected: set[bytes] = set()
        tasks = []
        for _ in range(AT_WORK):
            handle = await client.submit_background(HELD)
            worker = await at_work.worker(HELD)
            assert (await worker.take()).handle == handle
            connected.add(handle)
            tasks.append(asyncio.create_task(_lose(worker, connected, handle)))
        watch = Watch(costs, healthy)
        tasks += [
            asyncio.create_task(_rescue(scene.other, costs, connected)),
            asyncio.create_task(_work(scene.other)),
            asyncio.create_task(watch.go_on("submit", Node.client, _submit)),
            asyncio.create_task(watch.go_on("run", Node.client, _have_run)),
            asyncio.create_task(watch.go_on("status", Node.client, _ask)),
        ]
        await asyncio.sleep(1)
        began = time.monotonic()
        for what in costs.longest:
            costs.longest[what] = 0.0
        await fault(scene)
        await asyncio.sleep(max(0.0, WATCHED - (time.monotonic() - began)))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return costs


def main() -> None:
    """Measure the faults in whose names one of the arguments is, or all, and print a table."""
    chosen = [name for name in FAULTS if any(part in name for part in sys.argv[1:])] or list(FAULTS)
    print("| fault | longest submit | longest job | longest `status` | closed | run again | of these too early |")
    print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for name in chosen:
        costs = asyncio.run(measure(name))
        waits = " | ".join(f"{costs.longest.get(what, 0.0):.2f} s" for what in ("submit", "run", "status"))
        again = costs.again + costs.stolen
        print(f"| {costs.fault} | {waits} | {costs.closed} | {again} | {costs.stolen} |", flush=True)


if __name__ == "__main__":
    main()
