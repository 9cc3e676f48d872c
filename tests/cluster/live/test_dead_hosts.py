"""Hosts of workers and clients that fall silent: what was theirs is given to others in the time that keepalive has.

`--keepalive-idle`, `--keepalive-interval` and `--keepalive-count` come to 3 s here. Left to itself, Linux sends data
that nobody acknowledges again for some 15 minutes.
"""

import pytest

from tests.harness import Worker, procfs
from tests.harness.conditions import eventually

SHORT = ("--keepalive-idle", "1", "--keepalive-interval", "1", "--keepalive-count", "2")
NOTICED = 15.0
"""Seconds within which a host that is cut off counts as dead, on a busy machine."""

pytestmark = [pytest.mark.namespaces, pytest.mark.timeout(120)]


@pytest.fixture
async def node(new_cluster, segment):
    return (await new_cluster(1, segment=segment, arguments=SHORT)).nodes[0]


@pytest.fixture
def away(node, segment):
    """Give a host that can be cut off from the node, which the desk cannot."""
    return segment.add()


@pytest.fixture
def worker_away(node, away, connections):
    """Connect workers that are on that host."""

    async def connect(function):
        worker = await Worker.open(node.port, node.host, sock=away.socket())
        await connections.enter_async_context(worker)
        await worker.can_do(function)
        return worker

    return connect


@pytest.fixture
def in_flight(node):
    """Ask how many bytes the node has sent over a connection that have not been acknowledged."""

    def ask_about(connection):
        async def ask():
            return procfs.unacknowledged_bytes(node.pid, server_port=node.port, client_port=connection.local_port)

        return ask

    return ask_about


class TestADeadHost:
    async def test_that_was_just_sent_something_loses_its_workers_job_as_soon_as_a_silent_one(
        self, node, segment, away, worker_away, worker_on, client_on, in_flight, function
    ):
        worker, client = await worker_away(function), await client_on(node)
        handle = await client.submit_background(function, b"its own")
        assert (await worker.take()).handle == handle
        worker.sleep()
        await worker.expect_nothing()
        segment.cut(away, node.place)
        # It is the only sleeper, so it is sent the NOOP for this one.
        other = await client.submit_background(function, b"not its own")
        await eventually(in_flight(worker))
        rescuer = await worker_on(node, function)
        assert (await rescuer.take()).handle == other
        rescuer.complete(other)
        assert (await rescuer.take(within=NOTICED)).handle == handle

    async def test_that_was_sent_nothing_loses_its_workers_job_and_a_silent_one_that_is_there_keeps_its_own(
        self, node, segment, away, worker_away, worker_on, client_on, in_flight, function
    ):
        quiet, client = await worker_on(node, function), await client_on(node)
        kept = await client.submit(function, b"kept")
        assert (await quiet.take()).handle == kept
        worker = await worker_away(function)
        lost = await client.submit_background(function, b"lost")
        assert (await worker.take()).handle == lost
        await eventually(in_flight(worker), lambda unacknowledged: not unacknowledged)
        segment.cut(away, node.place)
        rescuer = await worker_on(node, function)
        assert (await rescuer.take(within=NOTICED)).handle == lost
        quiet.complete(kept, b"result")
        assert await client.completed(kept) == b"result"


class TestAHostThatIsThere:
    async def test_counts_as_dead_when_a_receive_buffer_on_it_stays_full(
        self, node, worker_on, client_on, in_flight, function
    ):
        """Long before `--stall-timeout`: of a closed window the kernel thinks as of data that nobody acknowledges."""
        worker, client, other = await worker_on(node, function), await client_on(node), await client_on(node)
        handle = await client.submit(function)
        assert (await worker.take()).handle == handle
        # The client takes some hundred KiB in, as every reader of asyncio does, and nothing more.
        worker.complete(handle, bytes(16 << 20))
        await eventually(in_flight(client))

        async def gone():
            try:
                await in_flight(client)()
            except LookupError:
                return True
            return False

        await eventually(gone, within=NOTICED)
        await other.expect_nothing()
