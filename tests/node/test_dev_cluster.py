"""`gearmesh dev` with real nodes: they find each other by mDNS, take jobs together, and stop together."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from node.dev.layout import arrange, require_free_ports
from node.errors import ListenError
from tests.harness import Client, UnexpectedAnswerError, Worker, eventually
from tests.harness.server_process import free_port

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0


def free_base() -> int:
    while True:
        base = free_port()
        try:
            require_free_ports(arrange(nodes=3, directory=Path(), listen_base=base, host="127.0.0.1"))
        except ListenError:
            continue
        return base


class DevCluster:
    def __init__(self, directory: Path):
        self.base = free_base()
        self.directory = directory
        self.log = directory / "dev.log"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GEARMESH_")}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "node", "dev", "--listen-base", str(self.base)),
                    *("--data-dir", str(directory / "cluster")),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env=environment,
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.send_signal(signal.SIGTERM)  # the second request kills
            try:
                self.process.wait(PATIENCE)
            finally:
                self.process.kill()

    def until(self, text: str) -> str:
        deadline = time.monotonic() + PATIENCE
        while text not in (seen := self.log.read_text(errors="replace")):
            assert self.process.poll() is None, f"ended, but waited for {text!r}:\n{seen}"
            assert time.monotonic() < deadline, f"waited for {text!r}:\n{seen}"
            time.sleep(0.02)
        return seen

    def port(self, node: int) -> int:
        return self.base + 10 * (node - 1)

    def pid(self, node: int) -> int:
        return int(re.findall(rf"node-{node} is process (\d+)", self.log.read_text())[-1])


async def echo(worker_port: int, client_port: int, workload: bytes) -> bytes:
    """Have a worker at one port run a job of a client at another, and return the result."""
    async with await Worker.open(worker_port) as worker, await Client.open(client_port) as client:
        await worker.can_do(b"echo")
        handle = await client.submit(b"echo", workload)
        job = await worker.take()
        worker.complete(job.handle, job.workload)
        return await client.completed(handle)


@pytest.mark.timeout(300)
class TestRealCluster:
    async def test_three_processes_are_one_job_server_that_outlives_one_of_them_and_a_restart(self, tmp_path):
        with DevCluster(tmp_path) as cluster:
            await asyncio.to_thread(cluster.until, "Ready: 3 nodes, one job server")
            assert await echo(cluster.port(1), cluster.port(3), b"before") == b"before"

            os.kill(cluster.pid(2), signal.SIGKILL)
            seen = await asyncio.to_thread(cluster.until, "start it again with: ")
            assert f"node-2 (process {cluster.pid(2)}) was ended by SIGKILL" in seen
            assert await eventually(lambda: served(cluster, b"after")) == b"after"
            async with await Client.open(cluster.port(1)) as client:
                await client.submit_background(b"later", b"kept")

            cluster.process.send_signal(signal.SIGINT)
            assert await asyncio.to_thread(cluster.process.wait, PATIENCE) == 0

        with DevCluster(tmp_path) as cluster:
            await asyncio.to_thread(cluster.until, "Ready: 3 nodes, one job server")
            async with await Worker.open(cluster.port(2)) as worker:
                await worker.can_do(b"later")
                assert (await worker.take()).workload == b"kept"


async def served(cluster: DevCluster, workload: bytes) -> bytes | None:
    """Have a job run by the nodes that are left; None while they are without a leader and turn clients away."""
    try:
        return await echo(cluster.port(1), cluster.port(3), workload)
    except (OSError, UnexpectedAnswerError):
        return None
