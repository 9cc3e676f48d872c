"""Killed at random moments under load, ten times: what was acknowledged is run, what was finished stays finished."""

import asyncio
import itertools
import random
import sqlite3
from collections import Counter

import pytest

from tests.harness import Client, ServerProcess, UnexpectedAnswerError, Worker

WINDOW = 30
"""Submissions on the way at any time, for each client."""


class History:
    """What clients and workers know for certain, over all the server's lives."""

    def __init__(self) -> None:
        self.numbers = itertools.count()
        self.acknowledged: set[bytes] = set()
        self.runs: Counter[bytes] = Counter()
        self.settled: set[bytes] = set()
        """Jobs whose completion was followed, on the worker's connection, by an acknowledgement from the disk."""
        self.resurrected: set[bytes] = set()
        self.handles: dict[bytes, bytes] = {}
        self.handles_given_twice: set[bytes] = set()
        self._goal = 0
        self._goal_reached = asyncio.Event()

    def acknowledge(self, name: bytes, handle: bytes) -> None:
        """A client was told that its job has been taken."""
        self.acknowledged.add(name)
        if len(self.acknowledged) >= self._goal:
            self._goal_reached.set()
        if self.handles.setdefault(handle, name) != name:
            self.handles_given_twice.add(handle)

    async def acknowledges(self, more: int) -> None:
        """Wait until so many more jobs have been acknowledged."""
        self._goal = len(self.acknowledged) + more
        self._goal_reached.clear()
        async with asyncio.timeout(30):
            await self._goal_reached.wait()

    def run(self, name: bytes) -> None:
        """A worker was given a job."""
        self.runs[name] += 1
        if name in self.settled:
            self.resurrected.add(name)


async def submit_until_cut(server: ServerProcess, history: History, priorities: random.Random) -> None:
    async with await Client.open(server.port) as client:
        waiting: list[bytes] = []
        try:
            while True:
                while len(waiting) < WINDOW:
                    name = b"job-%d" % next(history.numbers)
                    priority = priorities.choice(["high", "normal", "low"])
                    client.send_job(b"work", name, priority=priority, background=True)
                    waiting.append(name)
                handle = await client.created()
                history.acknowledge(waiting.pop(0), handle)
        except (UnexpectedAnswerError, ConnectionError):
            # The server has been killed: whatever is still waiting may or may not have been taken.
            return


async def work_until_cut(server: ServerProcess, history: History) -> None:
    try:
        async with await Worker.open(server.port) as worker:
            await worker.can_do(b"work")
            completed: list[bytes] = []
            while True:
                job = await worker.take()
                history.run(job.workload)
                worker.complete(job.handle, b"r")
                completed.append(job.workload)
                if len(completed) >= 5:
                    await worker.settle()
                    history.settled.update(completed)
                    completed = []
    except (UnexpectedAnswerError, ConnectionError):
        return


async def kill_after(server: ServerProcess, history: History, acknowledgements: int) -> None:
    """Kill the server in the moment when so many more jobs have been acknowledged."""
    await history.acknowledges(acknowledgements)
    server.kill()


async def drain(server: ServerProcess, history: History) -> None:
    async with await Worker.open(server.port) as worker:
        await worker.can_do(b"work")
        for job in await worker.drain():
            history.run(job.workload)


class TestKillNine:
    @pytest.mark.parametrize("seed", [20261123])
    async def test_no_acknowledged_job_is_lost_and_no_finished_one_comes_back(self, start_server, seed):
        chance = random.Random(seed)
        history = History()
        server = start_server()
        for _ in range(10):
            async with asyncio.TaskGroup() as load:
                for _ in range(2):
                    load.create_task(submit_until_cut(server, history, chance))
                    load.create_task(work_until_cut(server, history))
                load.create_task(kill_after(server, history, chance.randrange(1, 400)))
            server.start()
        await drain(server, history)
        assert len(history.acknowledged) > 500
        assert history.acknowledged - history.runs.keys() == set()
        assert history.resurrected == set()
        assert history.handles_given_twice == set()
        server.terminate()
        self.check_file(server)

    async def test_a_kill_in_the_middle_of_large_jobs_leaves_a_sound_file(self, start_server):
        server = start_server()
        for size in (10_000, 1_000_000, 5_000_000):
            client = await Client.open(server.port)
            acknowledged = {await client.submit_background(b"large", b"w" * size) for _ in range(2)}
            for _ in range(4):
                client.send_job(b"large", b"w" * size, background=True)
            await client.drain(within=30)
            server.restart()
            await client.cut()
            async with await Worker.open(server.port) as worker:
                await worker.can_do(b"large")
                jobs = await worker.drain()
                await worker.settle()
            assert acknowledged <= {job.handle for job in jobs}
            assert {len(job.workload) for job in jobs} == {size}
        server.kill()
        self.check_file(server)

    def check_file(self, server: ServerProcess) -> None:
        connection = sqlite3.connect(server.data_directory / "node.db")
        try:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        finally:
            connection.close()
