"""Play the calls of one library against a cluster, and count.

The client makes the same call with the same unique key again and again, each when it has the result of the one before.
The worker numbers its runs, and a result is the number of the run. So the calls are right when each has the result of a
run of its own. Not for deciding which libraries are called: see `library`.
"""

import asyncio
import contextlib
import subprocess
from asyncio.subprocess import Process
from typing import NamedTuple

from tests.harness import eventually
from tests.harness.cluster import Cluster, Node
from tests.libraries.library import Library

CLIENT_TIMEOUT = 180.0
"""Seconds for all calls of a client: a call takes milliseconds."""
REGISTERED_TIMEOUT = 30.0
"""Seconds until a worker has registered its function."""


class Count(NamedTuple):
    """What became of the calls.

    Attributes:
        calls: how many were to be made.
        answered: how many had a result.
        own: how many had the result of a run that answered no call before.
        runs: how many runs there were.
        trouble: what the client said on its error stream, when it failed.
    """

    calls: int
    answered: int
    own: int
    runs: int
    trouble: str = ""

    @property
    def right(self) -> bool:
        """Whether each call was answered by a run of its own."""
        return self.answered == self.own == self.runs == self.calls and not self.trouble


async def play(library: Library, cluster: Cluster, function: str, calls: int) -> Count:
    """Have a client on one node call a worker on another, both of them followers where there are three nodes."""
    nodes = [*await cluster.followers(), await cluster.leader()]
    client_node, worker_node = nodes[0], nodes[1 % len(nodes)]
    runs_path = cluster.directory / f"{function}.runs"
    with runs_path.open("wb") as runs:
        worker = await asyncio.create_subprocess_exec(
            *library.command("worker", worker_node.address, function), stdin=subprocess.DEVNULL, stdout=runs
        )
    try:
        await _registered(worker, client_node, function)
        answers, trouble = await _call(library.command("client", client_node.address, function, str(calls)))
    finally:
        with contextlib.suppress(ProcessLookupError):
            worker.kill()
        await worker.wait()
    return Count(calls, len(answers), len(set(answers)), len(_lines(runs_path.read_bytes())), trouble)


async def _registered(worker: Process, node: Node, function: str) -> None:
    """Wait until the client's node knows a worker for the function."""
    async with await node.connect() as operator:

        async def known() -> bool:
            if worker.returncode is not None:
                raise ChildProcessError(f"the worker ended with status {worker.returncode}")
            rows = [row.split(b"\t") for row in await operator.table("status")]
            return any(row[0] == function.encode() and int(row[3]) > 0 for row in rows)

        await eventually(known, within=REGISTERED_TIMEOUT, every=0.02)


async def _call(command: list[str]) -> tuple[list[bytes], str]:
    """Run a client to its end; give the results that it had, and what went wrong."""
    client = await asyncio.create_subprocess_exec(
        *command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    trouble = ""
    try:
        async with asyncio.timeout(CLIENT_TIMEOUT):
            output, errors = await client.communicate()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            client.kill()
        output, errors = await client.communicate()
        trouble = f"stopped after {CLIENT_TIMEOUT:.0f} s; "
    if trouble or client.returncode:
        trouble += f"status {client.returncode}: {errors.decode(errors='replace').strip()[-500:]}"
    return _lines(output), trouble


def _lines(output: bytes) -> list[bytes]:
    """Give the lines that hold a number: an interpreter may print warnings between them."""
    return [line for line in output.split() if line.isdigit()]
