"""Clients and workers of a cluster that take down every call, for `tests.histories` to judge.

All of them live in one event loop, so that one clock orders what they do: a call is taken down before it is sent, an
answer after it was read. Each does one thing at a time. Not for: faults; who expects some has them recorded.
"""

import asyncio
import itertools
import random
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Final, Self

from protocol import Packet, PacketType
from tests.harness.client import Client
from tests.harness.cluster import Node
from tests.harness.conditions import eventually
from tests.harness.connection import UnexpectedAnswerError
from tests.harness.worker import Worker
from tests.histories.history import (
    FAILED,
    NO_ROOM,
    QUEUE_FULL,
    CancelJob,
    CountJobs,
    GetStatus,
    GetStatusUnique,
    Key,
    Moment,
    Recorder,
    Run,
    RunBegins,
    SetLimit,
    Status,
    SubmitJob,
    Word,
)

RECENT: Final = 6
"""How many of the newest handles are asked after: those of jobs that are ending just now."""


class Book:
    """What all of them share: the record, and the handles that anybody was told."""

    def __init__(self) -> None:
        self.recorder = Recorder(lambda: asyncio.get_running_loop().time())
        self.handles: dict[bytes, Key] = {}
        """Accepted jobs, the newest last."""
        self.over: set[bytes] = set()
        """Those whose worker has ended them, or that were cancelled."""
        self.serials = itertools.count(1)


class RecordingClient:
    """One client, with a connection to each node that it uses in turn."""

    def __init__(self, book: Book, name: str, clients: Sequence[Client]) -> None:
        self._book = book
        self._name = name
        self._clients = clients
        self._turn = 0

    @property
    def _recorder(self) -> Recorder:
        return self._book.recorder

    def _next(self) -> tuple[str, Client]:
        """Give the connection to use now, and its name."""
        self._turn += 1
        place = self._turn % len(self._clients)
        return f"{self._name}.{place}" if len(self._clients) > 1 else self._name, self._clients[place]

    async def submit(self, key: Key, *, background: bool) -> Run | Word | None:
        """Submit a job; in the foreground, wait for its end and return it. Or else say why it is refused."""
        who, client = self._next()
        call = self._recorder.invoke(who, SubmitJob(background), key)
        client.send_job(key.function, key.workload, unique=key.unique, background=background)
        match await client.next():
            case Packet(PacketType.JOB_CREATED, [handle]):
                self._recorder.created(call, handle)
                self._book.handles[handle] = key
            case Packet(PacketType.ERROR, [b"QUEUE_ERROR", reason]):
                word = QUEUE_FULL if reason == b"Job queue is full" else NO_ROOM
                self._recorder.answer(call, word)
                return word
            case other:
                raise UnexpectedAnswerError(f"a submit is answered by {other}")
        if background:
            return None
        answer: Run | Word
        match await client.next():
            case Packet(PacketType.WORK_COMPLETE, [ended, serial]):
                answer = Run(ended, int(serial))
            case Packet(PacketType.WORK_FAIL, [ended]):
                answer = FAILED
            case other:
                raise UnexpectedAnswerError(f"no result of {handle!r} but {other}")
        self._recorder.result(who, ended, answer)
        return answer

    async def status(self, handle: bytes) -> None:
        """Ask for the status of a job."""
        who, client = self._next()
        call = self._recorder.invoke(who, GetStatus(handle))
        found = await client.status(handle)
        self._recorder.answer(call, Status(found.known, found.running))

    async def status_of_unique(self, unique: bytes) -> None:
        """Ask for the status of the job with a unique key."""
        who, client = self._next()
        call = self._recorder.invoke(who, GetStatusUnique(unique))
        found = await client.status_of_unique(unique)
        self._recorder.answer(call, Status(found.known, found.running))

    async def cancel(self, handle: bytes) -> None:
        """Cancel a job."""
        who, client = self._next()
        call = self._recorder.invoke(who, CancelJob(handle))
        answer = await client.line(b"cancel job " + handle)
        if answer not in (b"OK", b"ERR UNKNOWN_JOB"):
            raise UnexpectedAnswerError(f"`cancel job` is answered by {answer!r}")
        self._recorder.answer(call, answer == b"OK")
        if answer == b"OK":
            self._book.over.add(handle)

    async def count(self, function: bytes) -> None:
        """Ask by `status` for the number of jobs of a function."""
        who, client = self._next()
        call = self._recorder.invoke(who, CountJobs(function))
        rows = [row.split(b"\t") for row in await client.table("status")]
        self._recorder.answer(call, next((int(row[1]) for row in rows if row[0] == function), 0))

    async def limit(self, function: bytes, jobs: int) -> None:
        """Set the limit of a function's queue by `maxqueue`."""
        who, client = self._next()
        call = self._recorder.invoke(who, SetLimit(function, jobs))
        self._recorder.answer(call, await client.line(b"maxqueue %b %d" % (function, jobs)) == b"OK")

    async def show_jobs(self) -> None:
        """Ask by `show jobs` which of the newest jobs there are; it does not tell whether they run."""
        who, client = self._next()
        handles = list(self._book.handles)[-RECENT:]
        calls = [self._recorder.invoke(who, GetStatus(handle)) for handle in handles]
        listed = {row.split(b"\t")[0] for row in await client.table("show jobs")}
        for call, handle in zip(calls, handles, strict=True):
            self._recorder.answer(call, Status(handle in listed, None))

    async def live(self, chance: random.Random, keys: Sequence[Key], rounds: int) -> None:
        """Do so many things at random, mostly with a key that was used just now."""
        last = keys[0]
        for _ in range(rounds):
            key = last if chance.random() < 0.6 else chance.choice(keys)
            recent = list(self._book.handles)[-RECENT:]
            what = chance.choices(
                ("foreground", "background", "status", "unique", "cancel", "count", "show"), (40, 25, 12, 8, 4, 6, 5)
            )[0]
            if what == "foreground":
                last = key
                await self.submit(key, background=False)
            elif what == "background":
                last = key
                await self.submit(key, background=True)
            elif what == "unique":
                await self.status_of_unique(key.unique)
            elif what == "count":
                await self.count(key.function)
            elif what == "show":
                await self.show_jobs()
            elif recent and what == "status":
                await self.status(chance.choice(recent))
            elif recent:
                await self.cancel(chance.choice(recent))


async def work(book: Book, name: str, worker: Worker, chance: random.Random) -> None:
    """Be a worker for ever. A job takes it as long as a few questions to its node."""
    recorder = book.recorder
    while True:
        asked = recorder.worker_asks(name)
        job = await worker.grab()
        recorder.worker_answered(name)
        if job is None:
            worker.sleep()
            await worker.woken()
            continue
        assert job.unique is not None
        run = await _run(book, name, worker, job.handle, Key.of(job.function, job.unique, job.workload), asked, chance)
        worker.complete(job.handle, b"%d" % run.serial)
        book.over.add(job.handle)


async def _run(
    book: Book, name: str, worker: Worker, handle: bytes, key: Key, asked: Moment, chance: random.Random
) -> Run:
    run = Run(handle, next(book.serials))
    book.recorder.invoke(name, RunBegins(run), key, since=asked)
    for _ in range(chance.choice((0, 0, 1, 3))):
        await worker.expect_nothing()
    book.recorder.run_ends(name, run, key)
    return run


class Company:
    """Recording clients and workers at the nodes of a cluster, from `async with` to its end."""

    def __init__(self, nodes: Sequence[Node], seed: int) -> None:
        self.book = Book()
        self._nodes = nodes
        self._seed = seed
        self._opened = AsyncExitStack()
        self._workers: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        for task in self._workers:
            task.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        await self._opened.aclose()

    async def worker(self, node: int, *functions: bytes) -> None:
        """Let a worker for these functions begin at a node."""
        name = f"worker{len(self._workers) + 1} at {self._nodes[node].name}"
        worker = await self._opened.enter_async_context(await self._nodes[node].worker(*functions))
        chance = random.Random(f"{self._seed} {name}")
        self._workers.append(asyncio.create_task(work(self.book, name, worker, chance)))

    async def client(self, name: str, *nodes: int) -> RecordingClient:
        """Connect a client to a node, or to several that it is to use in turn."""
        connections = [await self._opened.enter_async_context(await self._nodes[node].client()) for node in nodes]
        return RecordingClient(
            self.book, f"{name} at {'+'.join(self._nodes[node].name for node in nodes)}", connections
        )

    async def settle(self) -> None:
        """Wait until every accepted job was run to its end or cancelled, and no word of a worker is on its way."""

        async def unfinished() -> int:
            for task in self._workers:
                if task.done():
                    task.result()
            return len(self.book.handles.keys() - self.book.over)

        await eventually(unfinished, lambda count: count == 0)
