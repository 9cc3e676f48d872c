"""Load a cluster with clients and workers that never give up, and enter all they see in an `Account`.

They do what well-behaved ones do: connect to any node, go to another when the connection breaks or an answer does not
come, and begin again. A job that was not acknowledged is given up, since nobody can know whether it was taken; the
client's wait goes on until its next one is.
"""

import asyncio
import itertools
import random
import secrets
import time
from collections.abc import Coroutine
from typing import Any, Self

from protocol import Packet, PacketType
from tests.harness.client import Client
from tests.harness.cluster import Cluster, Node
from tests.harness.cluster_account import Account, WorkerLife
from tests.harness.cluster_heavy import any_size, damaged, heavy, job_of
from tests.harness.conditions import eventually
from tests.harness.connection import Connection, UnexpectedAnswerError
from tests.harness.worker import Worker

BACKGROUND = b"background"
FOREGROUND = b"foreground"
"""A queue of their own, so that nobody who waits for a result waits for the backlog."""
HEAVY = b"heavy"
"""Jobs with workloads, and results, of up to many megabytes."""
FUNCTIONS = (BACKGROUND, FOREGROUND, HEAVY)
CONNECT_WITHIN = 1.0
"""Seconds after which another node is tried."""
ANSWER_WITHIN = 5.0
"""Seconds after which a client goes elsewhere: a node that is there may be stalled."""
RESULT_WITHIN = 30.0
HEAVY_WITHIN = 60.0
"""The same for an answer to a heavy job, and for its result: the cluster moves all of it, and may lose its leader."""
RETRY_EVERY = 0.02
WINDOW = 8
"""Submissions on the way at any time, for each background client."""
BACKLOG = 50
"""Jobs acknowledged and not run with which background clients wait a little."""
DELAYED = 0.02
"""The share of background jobs that are for later."""
LONG = 0.003
"""The share of background jobs that take longer than a node may be silent."""
_BROKEN = (UnexpectedAnswerError, OSError, EOFError)


class Load:
    """Background clients, foreground clients and workers, from `async with` to `settle`."""

    def __init__(
        self,
        cluster: Cluster,
        account: Account,
        *,
        background: int = 3,
        foreground: int = 3,
        workers: int = 6,
        heavy_clients: int = 0,
        largest: int = 60 << 20,
        chance: random.Random | None = None,
    ) -> None:
        """Plan so many of each; of `heavy_clients`, each submits jobs of up to `largest` bytes."""
        self.account = account
        self._cluster = cluster
        self._chance = chance or random.Random(0)
        self._numbers = itertools.count()
        self._mark = secrets.token_hex(3).encode()
        """Tells its jobs from those that an earlier load has left in the queue."""
        self._sizes = (background, foreground, workers)
        self._heavy = heavy_clients
        self._largest = largest
        self._submitting = True
        self._working = True
        self._clients: list[asyncio.Task[None]] = []
        self._workers: list[asyncio.Task[None]] = []
        self._connections: set[Connection] = set()

    async def __aenter__(self) -> Self:
        background, foreground, workers = self._sizes
        for number in range(workers):
            self._workers.append(self._begin(self._work(f"worker{number}")))
        for number in range(background):
            self._clients.append(self._begin(self._submit(b"background%d" % number)))
        for number in range(foreground):
            self._clients.append(self._begin(self._ask(b"foreground%d" % number)))
        for number in range(self._heavy):
            self._clients.append(self._begin(self._strain(b"heavy%d" % number)))
        return self

    async def __aexit__(self, *error: object) -> None:
        for task in (*self._clients, *self._workers):
            task.cancel()
        await asyncio.gather(*self._clients, *self._workers, return_exceptions=True)

    async def progress(self, jobs: int = 100, *, within: float = 60.0) -> None:
        """Wait until so many more background jobs are acknowledged, and a foreground job has a result."""
        acknowledged, results = len(self.account.acknowledged), self.account.results

        async def enough() -> bool:
            self._raise()
            return len(self.account.acknowledged) >= acknowledged + jobs and (
                self._sizes[1] == 0 or self.account.results > results
            )

        await eventually(enough, within=within, every=0.01)

    def pull_plugs(self, count: int) -> None:
        """Cut so many of the connections as if their clients and workers had crashed."""
        present = sorted(self._connections, key=lambda connection: connection.local_port)
        for connection in self._chance.sample(present, min(count, len(present))):
            connection.abort()

    async def settle(self, *, within: float = 60.0) -> None:
        """Submit no more, and wait until every acknowledged job was run; then let the workers go.

        Raises AssertionError when clients do not come to an end or jobs stay unrun.
        """
        self._submitting = False

        async def told() -> bool:
            self._raise()
            return all(task.done() for task in self._clients)

        async def unrun() -> int:
            self._raise()
            return self.account.outstanding

        await eventually(told, within=within, every=0.02)
        await eventually(unrun, lambda count: count == 0, within=within, every=0.05)
        self._working = False

    def _begin(self, what: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return asyncio.create_task(what)

    def _raise(self) -> None:
        """Pass on what a client or worker failed with: a fault of the harness."""
        for task in (*self._clients, *self._workers):
            if task.done() and not task.cancelled() and task.exception() is not None:
                task.result()

    def _node(self) -> Node:
        return self._chance.choice(self._cluster.nodes)

    def _name(self, kind: bytes) -> bytes:
        return b"%b-%b-%d" % (kind, self._mark, next(self._numbers))

    async def _submit(self, kind: bytes) -> None:
        """Be a client that submits background jobs."""
        wanted: float | None = None  # since when the oldest job that has no answer is wanted
        while self._submitting:
            try:
                client = await self._node().client(within=CONNECT_WITHIN)
            except OSError:
                wanted = wanted or time.monotonic()
                await asyncio.sleep(RETRY_EVERY)
                continue
            waiting: list[tuple[bytes, float]] = []
            self._connections.add(client)
            try:
                while self._submitting or waiting:
                    while self._submitting and len(waiting) < WINDOW and self.account.outstanding <= BACKLOG:
                        job = self._name(kind)
                        self._send(client, job)
                        waiting.append((job, wanted or time.monotonic()))
                    if not waiting:
                        await asyncio.sleep(RETRY_EVERY)
                        continue
                    handle = await client.created(within=ANSWER_WITHIN)
                    job, since = waiting.pop(0)
                    self.account.acknowledge(job, handle)
                    self.account.waited(time.monotonic() - since, f"the acknowledgement of {job!r}")
                    wanted = None
            except _BROKEN:
                wanted = waiting[0][1] if waiting else time.monotonic()
            finally:
                self._connections.discard(client)
                await client.cut()

    def _send(self, client: Client, job: bytes) -> None:
        """Submit a background job of any priority, or one for later."""
        if self._chance.random() < DELAYED:
            due = int(time.time()) + self._chance.randint(1, 3)
            self.account.delay(job, due)
            client.send(PacketType.SUBMIT_JOB_EPOCH, BACKGROUND, b"", b"%d" % due, job)
        else:
            priority = self._chance.choice(("high", "normal", "low"))
            client.send_job(BACKGROUND, job, priority=priority, background=True)

    async def _ask(self, kind: bytes) -> None:
        """Be a client that waits for results."""
        wanted: float | None = None
        while self._submitting:
            node = self._node()
            try:
                client = await node.client(within=CONNECT_WITHIN)
            except OSError:
                wanted = wanted or time.monotonic()
                await asyncio.sleep(RETRY_EVERY)
                continue
            self._connections.add(client)
            try:
                while self._submitting:
                    wanted = wanted or time.monotonic()
                    job = self._name(kind)
                    client.send_job(FOREGROUND, job, priority="high")
                    handle = await self._handle(client, job)
                    await self._result(client, node, job, handle)
                    self.account.waited(time.monotonic() - wanted, f"the result of {job!r}")
                    wanted = None
                    await asyncio.sleep(self._chance.uniform(0.01, 0.05))  # what the client does with the result
            except _BROKEN:
                wanted = wanted or time.monotonic()
            finally:
                self._connections.discard(client)
                await client.cut()

    async def _strain(self, kind: bytes) -> None:
        """Be a client whose jobs are large: in the background, or waited for."""
        wanted: float | None = None
        while self._submitting:
            node = self._node()
            try:
                client = await node.client(within=CONNECT_WITHIN)
            except OSError:
                wanted = wanted or time.monotonic()
                await asyncio.sleep(RETRY_EVERY)
                continue
            self._connections.add(client)
            try:
                while self._submitting:
                    wanted = wanted or time.monotonic()
                    job = self._name(kind)
                    workload = heavy(job, any_size(self._chance, self._largest))
                    background = self._chance.random() < 0.5
                    client.send_job(HEAVY, workload, background=background)
                    handle = await self._handle(client, job, within=HEAVY_WITHIN)
                    if background:
                        self.account.acknowledge(job, handle)
                    else:
                        await self._result(client, node, job, handle, within=HEAVY_WITHIN)
                    self.account.waited_for_much(time.monotonic() - wanted, f"{job!r} of {len(workload)} bytes")
                    wanted = None
            except _BROKEN:
                wanted = wanted or time.monotonic()
            finally:
                self._connections.discard(client)
                await client.cut()

    async def _handle(self, client: Client, job: bytes, *, within: float = ANSWER_WITHIN) -> bytes:
        match await client.next(within=within):
            case Packet(PacketType.JOB_CREATED, [handle]):
                return handle
            case Packet(PacketType.WORK_COMPLETE | PacketType.WORK_FAIL as kind, [ended, *_]):
                self.account.broken.append(f"before {job!r} was taken came another {kind.name} of {ended!r}")
        raise UnexpectedAnswerError("the job was not taken")

    async def _result(
        self, client: Client, node: Node, job: bytes, handle: bytes, *, within: float = RESULT_WITHIN
    ) -> None:
        since = time.monotonic()
        try:
            event = await client.next(within=within)
        except UnexpectedAnswerError:
            self.account.no_result(job, node.name, since, f"none came within {within} s")
            raise
        match event:
            case Packet(PacketType.WORK_COMPLETE, [answered, result]) if answered == handle:
                if damaged(result):
                    self.account.broken.append(f"the result of {job!r} is damaged")
                self.account.result(job, job_of(result))
            case Packet(PacketType.WORK_FAIL, [answered]) if answered == handle:
                self.account.no_result(job, node.name, since, "it is said to have failed")
            case other:
                raise UnexpectedAnswerError(f"no result but {other}")

    async def _work(self, name: str) -> None:
        """Be a worker."""
        while self._working:
            node = self._node()
            try:
                worker = await node.worker(within=CONNECT_WITHIN)
            except OSError:
                await asyncio.sleep(RETRY_EVERY)
                continue
            life = WorkerLife(name, node.name)
            self._connections.add(worker)
            try:
                for function in FUNCTIONS:
                    worker.send(PacketType.CAN_DO, function)
                while self._working:
                    job = await worker.grab(within=HEAVY_WITHIN if self._heavy else ANSWER_WITHIN)
                    if job is None:
                        worker.sleep()
                        await worker.woken(within=ANSWER_WITHIN)
                        continue
                    if damaged(job.workload):
                        self.account.broken.append(f"the workload of {job_of(job.workload)!r} is damaged")
                    self.account.run(job_of(job.workload), job.handle, life)
                    await self._run(worker, self._duration(job.function))
                    worker.complete(job.handle, job.workload)
            except _BROKEN:
                pass
            finally:
                life.end()
                self._connections.discard(worker)
                await worker.cut()

    async def _run(self, worker: Worker, seconds: float) -> None:
        """Do what a job takes; notice at once when the connection ends meanwhile."""
        try:
            event = await worker.next(within=seconds)
        except UnexpectedAnswerError:
            return
        raise UnexpectedAnswerError(f"in the middle of a job: {event}")

    def _duration(self, function: bytes) -> float:
        """Give the seconds that a job takes: few for most, many for some, so that there are always jobs at work."""
        kind = self._chance.random()
        if function == BACKGROUND and kind < LONG:
            return self._chance.uniform(1.0, 4.0)
        return self._chance.uniform(0.001, 0.2 if kind > 0.9 else 0.01)
