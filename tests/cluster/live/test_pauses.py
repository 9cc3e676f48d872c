"""Processes that are stopped for a while and go on (SIGSTOP, `docker pause`): what follows, and what must not.

The simulator plays pauses of every length from 0.5 to 10 s; here are some of a real process. A job is run again only
when its worker's node was silent for the node timeout. Then that node hangs up on the worker as soon as it goes on.
"""

import time

import pytest

from tests.harness.conditions import eventually

NODE_TIMEOUT = 5.0
TAKEN_OVER = 15.0
"""Seconds within which others have the jobs of a node that is down, on a busy machine."""

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
async def running(battered, client_on, worker_on, function):
    """Have a job run by a worker of a follower, and a client and a sleeping rescuer on the other one."""
    leader = await battered.leader()
    node, other = battered.others(leader)
    worker, rescuer = await worker_on(node, function), await worker_on(other, function)
    client = await client_on(other)
    handle = await client.submit(function)
    assert (await worker.take()).handle == handle
    rescuer.sleep()
    await rescuer.expect_nothing()
    return leader, node, other, worker, rescuer, client, handle


def wait(seconds):
    """Let time pass in which nothing that could be waited for happens: the processes are stopped."""
    time.sleep(seconds)


def _times_declared_down(node):
    """Tell how often a node has learned that the others had taken it for down."""
    return node.log().count('"declared_down"')


async def _has_heard(node, before):
    """Tell whether a node knows that it was declared down once more."""
    return _times_declared_down(node) > before


async def ends_once(running, function):
    """See the job end in the hands of its first worker, and nobody else be given it."""
    _, _, _, worker, rescuer, client, handle = running
    worker.complete(handle, b"of the first worker")
    assert await client.completed(handle, within=TAKEN_OVER) == b"of the first worker"
    later = await client.submit(function, b"later", within=TAKEN_OVER)
    await rescuer.woken(within=TAKEN_OVER)
    assert (await rescuer.take()).handle == later
    rescuer.complete(later)


class TestAPause:
    @pytest.mark.parametrize("seconds", [1.5, 3.7, 10.0])
    async def test_of_the_leader_ends_no_session_of_other_nodes(self, battered, running, function, seconds):
        leader = running[0]
        before = _times_declared_down(leader)
        leader.stall()
        wait(seconds)
        leader.resume()
        if seconds > NODE_TIMEOUT:  # its own sessions end; the next test is not to meet that
            await eventually(lambda: _has_heard(leader, before))
        await battered.settles()
        await ends_once(running, function)

    @pytest.mark.parametrize("seconds", [1.5, 5.5, 10.0])
    async def test_of_all_nodes_ends_no_session(self, battered, running, function, seconds):
        for node in battered.nodes:
            node.stall()
        wait(seconds)
        for node in battered.nodes:
            node.resume()
        await battered.settles()
        await ends_once(running, function)

    @pytest.mark.parametrize("seconds", [0.5, 4.0])
    async def test_of_the_worker_s_node_that_is_shorter_than_the_node_timeout_ends_no_session(
        self, battered, running, function, seconds
    ):
        node = running[1]
        node.stall()
        wait(seconds)
        node.resume()
        await battered.settles()
        await ends_once(running, function)

    async def test_of_the_worker_s_node_that_is_longer_gives_its_job_away_and_hangs_up_when_it_goes_on(
        self, battered, running
    ):
        _, node, _, worker, rescuer, client, handle = running
        node.stall()
        assert (await rescuer.take(within=TAKEN_OVER)).handle == handle
        node.resume()
        await worker.expect_closed(within=TAKEN_OVER)
        rescuer.complete(handle, b"of the rescuer")
        assert await client.completed(handle) == b"of the rescuer"
        await battered.settles()
