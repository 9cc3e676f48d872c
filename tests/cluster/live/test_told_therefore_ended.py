"""A client that was told how its job ended may rely on it, whichever node it or anybody else asks next.

Each acknowledged submit is answered, or run, by a run that ended after the submit was sent. What a node says of jobs,
and whether it refuses one, agrees with what any client was told before.

Client, worker and third parties are on the nodes that each test names. Nothing is timed: `Runs` numbers the submits and
the ends of runs in the order in which they were sent from here, and the result of a job is the number of its end. So a
result that is less than the number of the submit is the result of a run that had ended before.
"""

import asyncio
import itertools
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import NamedTuple

import pytest

from tests.harness import PATIENCE, Client, Connection, Packet, PacketType, Worker, eventually
from tests.harness.cluster import Cluster, Node
from tests.libraries.__main__ import line
from tests.libraries.calls import play
from tests.libraries.library import IN_PYTHON

CALLS = 200
LOOKS = 50
KEY = b"the key of every job"
WHOLE_TEST = 100.0
"""Seconds for which a worker may have nothing to do: as long as a test may last."""


class Runs:
    """When the runs of a function ended, on a clock that counts what was sent."""

    def __init__(self) -> None:
        self._moments = itertools.count(1)
        self.ends: dict[bytes, list[int]] = defaultdict(list)
        """By handle."""

    def now(self) -> int:
        """Give a number greater than those before: take it at once before something is sent."""
        return next(self._moments)

    def ended(self, handle: bytes) -> int:
        """Note that a run ends now."""
        self.ends[handle].append(moment := self.now())
        return moment

    @property
    def count(self) -> int:
        """How many runs there were."""
        return sum(map(len, self.ends.values()))

    def ended_after(self, handle: bytes, moment: int) -> bool:
        """Whether a run of this job ended after that moment."""
        return any(end > moment for end in self.ends[handle])


class Places(NamedTuple):
    """The nodes of a test, by what they do."""

    teller: Node
    """The node of the client that is told the result."""
    worker: Node
    third: Node

    def named(self, name: str) -> Node:
        """Give the node by the name that a test has for it."""
        return {"the client's node": self.teller, "the worker's node": self.worker, "a third node": self.third}[name]


RunJobs = Callable[..., Awaitable[Runs]]
PLACES = ["the client's node", "the worker's node", "a third node"]


@pytest.fixture(params=PLACES, ids="{} leads".format)
async def places(request: pytest.FixtureRequest, cluster: Cluster) -> Places:
    """Place client and worker on different nodes, once for each node that may be the leader."""
    leader = await cluster.leader()
    nodes = cluster.others(leader)
    nodes.insert(PLACES.index(request.param), leader)
    return Places(*nodes)


@pytest.fixture
async def run_jobs(connections: AsyncExitStack, worker_on, function: bytes) -> AsyncIterator[RunJobs]:
    """Have a worker on a node run all jobs of the function, until the test is over."""
    tasks: list[asyncio.Task[None]] = []

    async def work(worker: Worker, runs: Runs, *, fail: bool) -> None:
        while True:
            job = await worker.take(within=WHOLE_TEST)
            end = runs.ended(job.handle)
            if fail:
                worker.fail(job.handle)
            else:
                worker.complete(job.handle, b"%d" % end)

    async def start(node: Node, runs: Runs | None = None, *, fail: bool = False) -> Runs:
        runs = runs or Runs()
        tasks.append(asyncio.create_task(work(await worker_on(node, function), runs, fail=fail)))
        return runs

    yield start
    for task in tasks:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes), outcomes


class Call(NamedTuple):
    """A foreground job and its end."""

    handle: bytes
    sent: int
    ended: int

    @property
    def stale(self) -> bool:
        """Whether it was answered with the result of a run that had ended before the submit was sent."""
        return self.ended < self.sent


async def call(client: Client, function: bytes, runs: Runs, unique: bytes = KEY) -> Call:
    sent = runs.now()
    client.send_job(function, unique=unique)
    handle = await client.created()
    return Call(handle, sent, int(await client.completed(handle)))


async def jobs_of(connection: Connection, function: bytes) -> int:
    """Give what `status` says: the jobs of a function that wait or run."""
    rows = [row.split(b"\t") for row in await connection.table("status")]
    return next((int(row[1]) for row in rows if row[0] == function), 0)


async def all_ended(node: Node, function: bytes) -> None:
    """Wait until no job of the function is left, at a node that has acknowledged those in question: it knows them."""
    async with await node.connect() as connection:
        await eventually(lambda: jobs_of(connection, function), lambda jobs: jobs == 0)


def are_fresh(calls: list[Call], runs: Runs) -> None:
    stale = [number for number, one in enumerate(calls) if one.stale]
    assert not stale, (
        f"{len(stale)} of {len(calls)} calls were answered with the result of a run that had ended before, "
        f"the first of them number {stale[0]}; there were {runs.count} runs"
    )


def were_run(acknowledged: list[tuple[bytes, int]], runs: Runs) -> None:
    never = [number for number, (handle, sent) in enumerate(acknowledged) if not runs.ended_after(handle, sent)]
    assert not never, (
        f"{len(never)} of {len(acknowledged)} acknowledged background jobs were not run after they were submitted, "
        f"the first of them number {never[0]}"
    )


class TestASubmitAfterTheResult:
    """The client has the result of a job, and a client submits the same key at once."""

    async def test_each_of_the_same_calls_is_run_and_answered_by_a_run_that_ended_after_it_was_sent(
        self, places, client_on, run_jobs, function
    ):
        runs = await run_jobs(places.worker)
        client = await client_on(places.teller)
        calls = [await call(client, function, runs) for _ in range(CALLS)]
        are_fresh(calls, runs)
        assert runs.count == len({one.handle for one in calls}) == CALLS

    @pytest.mark.parametrize("elsewhere", ["the worker's node", "a third node"])
    async def test_a_second_client_on_another_node_is_answered_by_a_run_of_its_own(
        self, places, client_on, run_jobs, function, elsewhere
    ):
        runs = await run_jobs(places.worker)
        clients = [await client_on(places.teller), await client_on(places.named(elsewhere))]
        calls = [await call(clients[number % 2], function, runs) for number in range(CALLS)]
        are_fresh(calls, runs)
        assert runs.count == CALLS

    async def test_a_second_client_elsewhere_is_so_too_when_the_worker_is_on_the_first_ones_node(
        self, places, client_on, run_jobs, function
    ):
        runs = await run_jobs(places.teller)
        clients = [await client_on(places.teller), await client_on(places.third)]
        calls = [await call(clients[number % 2], function, runs) for number in range(CALLS)]
        are_fresh(calls, runs)
        assert runs.count == CALLS

    async def test_a_background_job_that_follows_a_foreground_job_of_the_same_key_is_run(
        self, places, client_on, run_jobs, function
    ):
        runs = await run_jobs(places.worker)
        client = await client_on(places.teller)
        calls, acknowledged = [], []
        for _ in range(CALLS // 2):
            calls.append(await call(client, function, runs))
            sent = runs.now()
            acknowledged.append((await client.submit_background(function, unique=KEY), sent))
        await all_ended(places.teller, function)
        were_run(acknowledged, runs)
        are_fresh(calls, runs)

    async def test_a_background_job_of_another_client_on_a_third_node_is_run(
        self, places, client_on, run_jobs, function
    ):
        runs = await run_jobs(places.worker)
        told, other = await client_on(places.teller), await client_on(places.third)
        acknowledged = []
        for _ in range(CALLS // 2):
            await call(told, function, runs)
            sent = runs.now()
            acknowledged.append((await other.submit_background(function, unique=KEY), sent))
        await all_ended(places.third, function)
        were_run(acknowledged, runs)

    async def test_a_call_that_follows_a_failure_is_run(self, places, client_on, run_jobs, function):
        runs = await run_jobs(places.worker, fail=True)
        client = await client_on(places.teller)
        for _ in range(CALLS):
            client.send_job(function, unique=KEY)
            await client.failed(await client.created())
        assert runs.count == CALLS, f"{runs.count} of {CALLS} calls that failed were run"

    @pytest.mark.parametrize("elsewhere", ["the client's node", "a third node"])
    async def test_a_job_that_follows_an_end_seen_in_its_status_is_run(
        self, places, client_on, run_jobs, function, elsewhere
    ):
        """Nobody waits for the first job: its end is learned from GET_STATUS, at the node that knows it first."""
        runs = await run_jobs(places.worker)
        client, looker = await client_on(places.named(elsewhere)), await client_on(places.worker)
        acknowledged = []
        for _ in range(LOOKS):
            sent = runs.now()
            acknowledged.append((handle := await client.submit_background(function, unique=KEY), sent))
            # A node may hear of a job later than the client's: until it was seen running, unknown does not mean ended.
            await eventually(lambda handle=handle: asyncio.sleep(0, runs.ends[handle]), every=0)
            await eventually(lambda handle=handle: looker.status(handle), lambda status: not status.known, every=0)
        await all_ended(places.named(elsewhere), function)
        were_run(acknowledged, runs)


@pytest.mark.parametrize("asked", PLACES)
class TestWhatIsSaidAfterTheResult:
    """The client has the result of a job, and somebody asks a node for that job at once."""

    async def test_the_job_is_not_known_by_its_handle(self, places, client_on, run_jobs, function, asked):
        runs = await run_jobs(places.worker)
        client, looker = await client_on(places.teller), await client_on(places.named(asked))
        known = 0
        for _ in range(LOOKS):
            known += (await looker.status((await call(client, function, runs, b"")).handle)).known
        assert known == 0, f"{known} of {LOOKS} ended jobs were known"

    async def test_the_job_is_not_known_by_its_key(self, places, client_on, run_jobs, function, asked):
        runs = await run_jobs(places.worker)
        client, looker = await client_on(places.teller), await client_on(places.named(asked))
        known = 0
        for number in range(LOOKS):
            unique = b"%s %d" % (function, number)
            await call(client, function, runs, unique)
            known += (await looker.status_of_unique(unique)).known
        assert known == 0, f"{known} of {LOOKS} ended jobs were known"

    async def test_the_function_has_no_jobs(self, places, client_on, connect, run_jobs, function, asked):
        runs = await run_jobs(places.worker)
        client, operator = await client_on(places.teller), await connect(places.named(asked))
        counted = 0
        for _ in range(LOOKS):
            await call(client, function, runs, b"")
            counted += await jobs_of(operator, function)
        assert counted == 0, f"{counted} of {LOOKS} ended jobs were counted"

    @pytest.mark.parametrize("command", ["show jobs", "show unique jobs"])
    async def test_the_job_is_in_no_list(self, places, client_on, connect, run_jobs, function, asked, command):
        runs = await run_jobs(places.worker)
        client, operator = await client_on(places.teller), await connect(places.named(asked))
        listed = 0
        for number in range(LOOKS):
            unique = b"%s.%d" % (function, number)
            handle = (await call(client, function, runs, unique)).handle
            rows = await operator.table(command)
            listed += any(name in row.split(b"\t") for row in rows for name in (handle, unique))
        assert listed == 0, f"{listed} of {LOOKS} ended jobs were listed"


class TestALossOfTheWorkersNodeAfterTheResult:
    @pytest.mark.parametrize("leads", [True, False], ids=["it leads", "it follows"])
    @pytest.mark.parametrize("fate", ["killed", "stalled"])
    async def test_the_same_call_of_any_client_is_answered_by_a_run_on_another_node(
        self, battered, client_on, worker_on, run_jobs, function, fate, leads
    ):
        leader = await battered.leader()
        lost = leader if leads else battered.others(leader)[0]
        here, there = battered.others(lost)
        client, other = await client_on(here), await client_on(there)
        worker, runs = await worker_on(lost, function), Runs()
        client.send_job(function, unique=KEY)
        job = await worker.take()
        first = runs.ended(job.handle)
        worker.complete(job.handle, b"%d" % first)
        assert await client.completed(await client.created()) == b"%d" % first
        try:
            (lost.kill if fate == "killed" else lost.stall)()
            sent = runs.now()
            for one in (client, other):
                one.send_job(function, unique=KEY)
            await run_jobs(there, runs)
            for one in (client, other):
                assert int(await one.completed(await one.created())) > sent
        finally:
            if fate == "stalled":
                lost.resume()
        if fate == "stalled":
            await (
                worker.until_closed()
            )  # the node has heard that it was down, and begins anew: the next test may use it


class TestLibraries:
    @pytest.mark.parametrize("library", IN_PYTHON, ids=lambda library: library.name)
    async def test_each_of_the_same_calls_is_answered_by_a_run_of_its_own(self, cluster, function, library):
        count = await play(library, cluster, function.decode(), CALLS)
        assert count.right, line(library, count)


class TestALimitOfOneJob:
    @pytest.mark.parametrize("unique", [b"", KEY], ids=["no key", "keyed"])
    async def test_a_client_that_submits_one_job_at_a_time_is_never_refused(
        self, places, client_on, connect, run_jobs, function, unique
    ):
        runs = await run_jobs(places.worker)
        assert await (await connect(places.teller)).line(b"maxqueue %s 1" % function) == b"OK"
        client = await client_on(places.teller)
        refused = await refusals(client, client, function, unique)
        assert refused == 0, f"{refused} of {CALLS} jobs were refused, {runs.count} were run"

    @pytest.mark.parametrize("elsewhere", ["the worker's node", "a third node"])
    async def test_two_clients_that_submit_in_turn_on_different_nodes_are_never_refused(
        self, places, client_on, connect, run_jobs, function, elsewhere
    ):
        runs = await run_jobs(places.worker)
        assert await (await connect(places.teller)).line(b"maxqueue %s 1" % function) == b"OK"
        clients = await client_on(places.teller), await client_on(places.named(elsewhere))
        refused = await refusals(*clients, function, b"")
        assert refused == 0, f"{refused} of {CALLS} jobs were refused, {runs.count} were run"


async def refusals(one: Client, other: Client, function: bytes, unique: bytes) -> int:
    """Have two clients submit in turn, each when the result of the job before has arrived, and count the refusals."""
    refused = 0
    for number in range(CALLS):
        client = (one, other)[number % 2]
        client.send_job(function, unique=unique)
        match await client.next(within=PATIENCE):
            case Packet(PacketType.JOB_CREATED, [handle]):
                await client.completed(handle)
            case Packet(PacketType.ERROR, [b"QUEUE_ERROR", _]):
                refused += 1
            case other_answer:
                pytest.fail(f"a submit was answered with {other_answer}")
    return refused
