"""Every packet of the protocol, with the client on one node, the worker on another and the operator on a third."""

import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import pytest

from tests.harness import Client, Connection, JobStatus, PacketType, Worker, eventually
from tests.harness.cluster import Cluster

FAR_FUTURE = 4_000_000_000
P = PacketType


class Stage(NamedTuple):
    """Who is where."""

    cluster: Cluster
    client: Client
    worker: Worker
    operator: Connection
    other_worker: Worker
    """On the client's node."""
    function: bytes


Scenario = Callable[[Stage], Awaitable[None]]
SCENARIOS: dict[Scenario, frozenset[PacketType]] = {}


def scenario(*kinds: PacketType) -> Callable[[Scenario], Scenario]:
    """Say which packets are to be seen in a scenario."""

    def enter(play: Scenario) -> Scenario:
        SCENARIOS[play] = frozenset(kinds)
        return play

    return enter


async def row_of(operator: Connection, command: str, function: bytes) -> list[bytes]:
    """Give the fields of a function in a table of the text protocol."""
    rows = [row.split(b"\t") for row in await operator.table(command)]
    return next((row[1:] for row in rows if row[0] == function), [])


@scenario(P.CAN_DO, P.SUBMIT_JOB, P.JOB_CREATED, P.GRAB_JOB, P.JOB_ASSIGN, P.WORK_COMPLETE)
async def a_result_reaches_the_client(stage: Stage) -> None:
    _, client, worker, operator, _, function = stage
    handle = await client.submit(function, b"work\0load")
    await eventually(lambda: row_of(operator, "status", function), lambda row: row == [b"1", b"0", b"2"])
    job = await worker.take(P.GRAB_JOB)
    assert (job.handle, job.function, job.workload) == (handle, function, b"work\0load")
    worker.complete(handle, b"re\0sult")
    assert await client.completed(handle) == b"re\0sult"
    await eventually(lambda: row_of(operator, "status", function), lambda row: row == [b"0", b"0", b"2"])


@scenario(P.PRE_SLEEP, P.NOOP, P.NO_JOB, P.GRAB_JOB_UNIQ, P.JOB_ASSIGN_UNIQ)
async def a_sleeping_worker_is_woken_for_a_job_of_another_node(stage: Stage) -> None:
    _, client, worker, _, _, function = stage
    assert await worker.grab() is None
    worker.sleep()
    await worker.expect_nothing()
    handle = await client.submit(function, b"w", unique=b"key of " + function)
    # Of the two workers the one that slept last is woken, and the other one never slept.
    await worker.woken()
    job = await worker.take(P.GRAB_JOB_UNIQ)
    assert (job.handle, job.unique) == (handle, b"key of " + function)
    worker.complete(handle)
    assert await client.completed(handle) == b""


@scenario(P.WORK_DATA, P.WORK_WARNING, P.WORK_STATUS)
async def data_warnings_and_progress_reach_the_client_in_order(stage: Stage) -> None:
    _, client, worker, _, _, function = stage
    handle = await client.submit(function)
    await worker.take()
    worker.data(handle, b"part 1")
    worker.warn(handle, b"careful")
    worker.progress(handle, 1, 2)
    worker.data(handle, b"part 2" * 50_000)
    worker.complete(handle, b"end")
    assert await client.expect(P.WORK_DATA) == (handle, b"part 1")
    assert await client.expect(P.WORK_WARNING) == (handle, b"careful")
    assert await client.expect(P.WORK_STATUS) == (handle, b"1", b"2")
    assert await client.expect(P.WORK_DATA) == (handle, b"part 2" * 50_000)
    assert await client.completed(handle) == b"end"


@scenario(P.WORK_FAIL)
async def a_failure_reaches_the_client(stage: Stage) -> None:
    _, client, worker, _, _, function = stage
    handle = await client.submit(function)
    await worker.take()
    worker.fail(handle)
    await client.failed(handle)


@scenario(P.OPTION_REQ, P.OPTION_RES, P.WORK_EXCEPTION)
async def an_exception_reaches_a_client_that_asked_for_exceptions(stage: Stage) -> None:
    _, client, worker, _, _, function = stage
    await client.want_exceptions()
    handle = await client.submit(function)
    await worker.take()
    worker.throw(handle, b"what went wrong")
    assert await client.expect(P.WORK_EXCEPTION) == (handle, b"what went wrong")


@scenario(P.WORK_EXCEPTION, P.WORK_FAIL)
async def an_exception_is_a_failure_to_a_client_that_did_not_ask(stage: Stage) -> None:
    _, client, worker, _, _, function = stage
    handle = await client.submit(function)
    await worker.take()
    worker.throw(handle, b"what went wrong")
    await client.failed(handle)


@scenario(P.GET_STATUS, P.STATUS_RES)
async def every_node_knows_the_status_of_a_job(stage: Stage) -> None:
    cluster, client, worker, operator, _, function = stage
    handle = await client.submit_background(function)
    # A handle that one node has just given out is known to every other.
    operator.send(P.GET_STATUS, handle)
    assert await operator.expect(P.STATUS_RES) == (handle, b"1", b"0", b"0", b"0")
    await worker.take()
    worker.progress(handle, 3, 7)
    await eventually(
        lambda: client.status(handle),
        lambda status: status == JobStatus(True, True, 3, 7),  # noqa: FBT003 - as named
    )
    worker.complete(handle)
    for node in cluster.nodes:
        async with await node.client() as asker:
            await eventually(lambda asker=asker: asker.status(handle), lambda status: not status.known)


@scenario(P.GET_STATUS_UNIQUE, P.STATUS_RES_UNIQUE)
async def every_node_knows_the_status_of_a_unique_key(stage: Stage) -> None:
    cluster, client, _, _, _, function = stage
    key = b"key of " + function
    await client.submit(function, unique=key)
    for node in cluster.nodes:
        async with await node.client() as asker:
            asker.kinds = client.kinds
            status = await asker.status_of_unique(key)
            assert (status.known, status.running, status.waiting_clients) == (True, False, 1)


@scenario(P.ECHO_REQ, P.ECHO_RES)
async def an_echo_is_answered_by_every_node(stage: Stage) -> None:
    for node in stage.cluster.nodes:
        async with await node.connect() as connection:
            connection.kinds = stage.client.kinds
            connection.send(P.ECHO_REQ, b"a\0b")
            assert await connection.expect(P.ECHO_RES) == (b"a\0b",)


@scenario(
    *(P.SUBMIT_JOB_BG, P.SUBMIT_JOB_HIGH_BG, P.SUBMIT_JOB_LOW_BG),
    *(P.SUBMIT_JOB, P.SUBMIT_JOB_HIGH, P.SUBMIT_JOB_LOW),
)
async def priorities_hold_over_all_nodes(stage: Stage) -> None:
    cluster, client, worker, operator, _, function = stage
    for background, priority in ((True, "low"), (False, "low"), (True, "normal"), (False, "normal")):
        await client.submit(function, priority.encode(), priority=priority, background=background)
    async with await cluster.nodes[0].client() as other:
        other.kinds = client.kinds
        for background in (True, False):
            await other.submit(function, b"high", priority="high", background=background)
        assert await row_of(operator, "prioritystatus", function) == [b"2", b"2", b"2", b"2"]
        jobs = [await worker.take() for _ in range(6)]
        assert [job.workload for job in jobs] == [b"high"] * 2 + [b"normal"] * 2 + [b"low"] * 2


@scenario(P.SUBMIT_JOB_EPOCH)
async def a_delayed_job_is_run_when_it_is_due(stage: Stage) -> None:
    _, client, worker, operator, _, function = stage
    worker.sleep()
    await worker.expect_nothing()
    due = int(time.time()) + 1
    handle = await client.submit_at(due, function, b"w")
    await client.submit_at(FAR_FUTURE, function, b"later")
    operator.send(P.GET_STATUS, handle)
    assert await operator.expect(P.STATUS_RES) == (handle, b"1", b"0", b"0", b"0")
    await worker.woken()
    assert time.time() >= due
    assert (await worker.take()).handle == handle


@scenario(P.SUBMIT_REDUCE_JOB, P.SUBMIT_REDUCE_JOB_BACKGROUND, P.GRAB_JOB_ALL, P.JOB_ASSIGN_ALL)
async def reduce_jobs_are_assigned_with_their_reducers(stage: Stage) -> None:
    _, client, worker, _, _, function = stage
    client.send(P.SUBMIT_REDUCE_JOB, function, b"", b"reducer", b"aggregator", b"data")
    handle = await client.created()
    job = await worker.take(P.GRAB_JOB_ALL)
    assert (job.handle, job.reducer, job.workload) == (handle, b"reducer", b"data")
    worker.complete(handle, b"reduced")
    assert await client.completed(handle) == b"reduced"
    client.send(P.SUBMIT_REDUCE_JOB_BACKGROUND, function, b"", b"second reducer", b"", b"data")
    handle = await client.created()
    job = await worker.take(P.GRAB_JOB_ALL)
    assert (job.handle, job.reducer) == (handle, b"second reducer")


@scenario(P.CANT_DO, P.CAN_DO, P.RESET_ABILITIES)
async def a_worker_that_gives_a_function_up_gets_none_of_its_jobs(stage: Stage) -> None:
    _, client, worker, operator, other_worker, function = stage
    worker.send(P.CANT_DO, function)
    await eventually(lambda: row_of(operator, "status", function), lambda row: row[2:] == [b"1"])
    handle = await client.submit_background(function)
    assert await worker.grab() is None
    await worker.can_do(function)
    assert (await worker.take()).handle == handle
    other_worker.send(P.RESET_ABILITIES)
    await eventually(lambda: row_of(operator, "status", function), lambda row: row[2:] == [b"1"])


@scenario(P.CAN_DO_TIMEOUT, P.ERROR)
async def a_job_over_its_time_limit_goes_to_a_worker_of_another_node(stage: Stage) -> None:
    _, client, worker, _, other_worker, function = stage
    await worker.can_do(function, timeout_ms=500)
    handle = await client.submit(function)
    assert (await worker.take()).handle == handle
    assert (await other_worker.take()).handle == handle
    await worker.settle()  # its node has heard of the end of the time limit too
    worker.complete(handle, b"too late")
    await worker.expect_error(b"JOB_NOT_FOUND")
    other_worker.complete(handle, b"in time")
    assert await client.completed(handle) == b"in time"


@scenario(P.SET_CLIENT_ID)
async def a_worker_is_listed_with_its_identifier_by_its_own_node(stage: Stage) -> None:
    cluster, _, worker, _, _, function = stage
    worker.send(P.SET_CLIENT_ID, b"id-of-" + function)

    async def listings() -> int:
        count = 0
        for node in cluster.nodes:
            async with await node.connect() as connection:
                rows = await connection.table("workers")
                count += any(b" id-of-%b : %b" % (function, function) in row for row in rows)
        return count

    await eventually(listings)


@scenario(P.ALL_YOURS, P.SUBMIT_JOB_SCHED, P.ERROR)
async def what_no_server_can_do_is_refused_by_every_node(stage: Stage) -> None:
    for node in stage.cluster.nodes:
        async with await node.connect() as connection:
            connection.kinds = stage.client.kinds
            connection.send(P.ALL_YOURS)
            await connection.expect_error(b"INVALID_COMMAND")
            connection.send(P.SUBMIT_JOB_SCHED, stage.function, b"u", b"1", b"2", b"3", b"4", b"5", b"x")
            await connection.expect(P.ERROR)


@scenario(P.WORK_FAIL)
async def an_operator_on_a_third_node_cancels_a_job(stage: Stage) -> None:
    _, client, worker, operator, _, function = stage
    handle = await client.submit(function)
    assert await operator.line(b"cancel job " + handle) == b"OK"
    await client.failed(handle)
    assert await worker.grab() is None


@scenario(P.SUBMIT_JOB_BG)
async def an_operator_on_a_third_node_sees_the_jobs_and_their_keys(stage: Stage) -> None:
    _, client, worker, operator, _, function = stage
    key = b"key-of-" + function
    handle = await client.submit_background(function, unique=key)
    assert [row for row in await operator.table("show jobs") if row.startswith(handle + b"\t")]
    assert key in await operator.table("show unique jobs")
    await worker.take()
    worker.complete(handle)

    async def shown() -> list[bytes]:
        return [row for row in await operator.table("show jobs") if row.startswith(handle + b"\t")]

    await eventually(shown, lambda rows: not rows)


@scenario(P.ERROR)
async def a_queue_limit_set_on_one_node_holds_on_every_other(stage: Stage) -> None:
    cluster, client, _, operator, _, function = stage
    assert await operator.line(b"maxqueue %b 1" % function) == b"OK"
    await client.submit_background(function)
    for node in cluster.nodes:
        async with await node.client() as other:
            other.send_job(function, b"", background=True)
            await other.expect_error(b"QUEUE_ERROR")
    client.send_job(function, b"", background=True)
    await client.expect_error(b"QUEUE_ERROR")


@scenario(P.ECHO_RES)
async def functions_are_created_and_dropped_for_all_nodes(stage: Stage) -> None:
    cluster, client, _, operator, _, function = stage
    name = b"made-" + function
    assert await operator.line(b"create function " + name) == b"OK"
    for node in cluster.nodes:
        async with await node.connect() as connection:
            assert await row_of(connection, "status", name) == [b"0", b"0", b"0"]
    assert await operator.line(b"drop function " + name) == b"OK"
    for node in cluster.nodes:
        async with await node.connect() as connection:
            assert await row_of(connection, "status", name) == []
    await client.expect_nothing()


class TestFromNodeToNode:
    @pytest.mark.parametrize("leader_is", ["client", "worker", "operator"])
    @pytest.mark.parametrize("play", SCENARIOS, ids=lambda play: play.__name__)
    async def test_a_packet_means_the_same_as_on_one_node(
        self, cluster, client_on, worker_on, connect, function, play, leader_is
    ):
        leader = await cluster.leader()
        first, second = cluster.others(leader)
        place = {
            "client": (leader, first, second),
            "worker": (first, leader, second),
            "operator": (first, second, leader),
        }[leader_is]
        client, worker = await client_on(place[0]), await worker_on(place[1])
        operator, other_worker = await connect(place[2]), await worker_on(place[0], function)
        client.kinds = worker.kinds = operator.kinds = other_worker.kinds = set()
        await worker.can_do(function)
        await play(Stage(cluster, client, worker, operator, other_worker, function))
        assert SCENARIOS[play] <= client.kinds

    def test_no_packet_type_is_left_out(self):
        assert set().union(*SCENARIOS.values()) == set(PacketType)
