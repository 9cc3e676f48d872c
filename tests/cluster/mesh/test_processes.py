"""What becomes of links when the process at the other end is killed, stopped or started again."""

import asyncio
import contextlib
import pathlib
import signal
import sys

import pytest

from cluster.mesh import Lane
from tests.cluster.mesh.nodes import QUICK, bound, changed

ROOT = pathlib.Path(__file__).parents[3]


@pytest.fixture
async def spawn():
    """Start processes that are nodes called z; they end with the test."""
    processes = []

    async def spawn(port=0, instance="1"):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.cluster.mesh.another_process",
            str(port),
            instance,
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
        )
        processes.append(process)
        return process, int(await process.stdout.readline())

    yield spawn
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def watches(node):
    """Wait until there is a liveness connection, and the process has read all that came with it."""
    await node.watches("z")
    node.mesh.send("z", Lane.REPORTS, b"read it all?")
    await node.has_got(1)


class TestAKilledProcess:
    async def test_is_noticed_at_once(self, nodes, spawn):
        one = await nodes.start("a")
        process, port = await spawn()
        one.mesh.dial("127.0.0.1", port)
        await watches(one)
        loop = asyncio.get_running_loop()
        process.kill()
        began = loop.time()
        await one.told_of("ended", "z")
        assert one.told == [("up", "z"), ("down", "z"), ("ended", "z")]
        # Some hundredths of a second on a quiet machine. Without the evidence it would take the silence of four pings.
        assert loop.time() - began < 3.0

    async def test_is_noticed_when_it_had_dialled(self, nodes, spawn):
        one = await nodes.start("a")
        process, port = await spawn()
        # The other end hears of this node's address from b, and b dials first.
        two = await nodes.start("b")
        two.mesh.dial("127.0.0.1", port)
        await watches(two)
        one.dial(two)
        await watches(one)
        process.kill()
        await one.told_of("ended", "z")
        await two.told_of("ended", "z")

    async def test_is_linked_again_when_it_is_started_again(self, nodes, spawn):
        one = await nodes.start("a")
        process, port = await spawn()
        one.mesh.dial("127.0.0.1", port)
        await watches(one)
        process.kill()
        await one.told_of("ended", "z")
        await spawn(port, "2")
        await one.told_times(2, "up", "z")
        one.mesh.send("z", Lane.REPORTS, b"again")
        await one.has_got(2)
        assert one.told == [("up", "z"), ("down", "z"), ("ended", "z"), ("up", "z")]


class TestAStoppedProcess:
    async def test_is_down_after_a_while_and_not_gone(self, nodes, spawn):
        one = await nodes.start("a", timing=changed(QUICK, ping=0.05, dead=0.3))
        process, port = await spawn()
        one.mesh.dial("127.0.0.1", port)
        await one.told_of("up", "z")
        process.send_signal(signal.SIGSTOP)
        await one.told_of("down", "z")
        process.send_signal(signal.SIGCONT)
        await one.told_times(2, "up", "z")
        assert one.told == [("up", "z"), ("down", "z"), ("up", "z")]


class TestAnAddress:
    async def test_that_nobody_answers_at_yet_is_linked_when_a_process_starts_there(self, nodes, spawn):
        listener = bound()
        port = listener.getsockname()[1]
        listener.close()
        one = await nodes.start("a")
        one.mesh.dial("127.0.0.1", port)
        await spawn(port)
        await one.told_of("up", "z")
