"""Run several server processes that are to be one cluster, and do to them what happens to servers.

Nothing here sleeps: what takes time is waited for as a condition. Processes are started from the thread that runs the
loop, and waited for without holding it up, so that clients of the same test go on meanwhile.
"""

import asyncio
import resource
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from tests.harness import cluster_site, slow_disk
from tests.harness.client import Client
from tests.harness.cluster_hosts import Host, Segment, ThisMachine
from tests.harness.cluster_site import Answer, View
from tests.harness.conditions import eventually
from tests.harness.connection import PATIENCE, Connection, UnexpectedAnswerError
from tests.harness.server_process import REPOSITORY, ServerDiedError, ServerProcess, clean_environment, free_port
from tests.harness.worker import Worker

FORMING = 60.0
"""Seconds that a cluster may take until all its nodes serve, on a machine that is busy with other things."""
STATIC = ("--discovery", "static")
_LOOK_EVERY = 0.02


class Outcome(NamedTuple):
    """How a command ended."""

    status: int
    output: str


class Node(ServerProcess):
    """Drive one node of a cluster."""

    def __init__(self, cluster: "Cluster", name: str, host: Host, *arguments: str) -> None:
        super().__init__(cluster.directory / name, *arguments, environment=cluster.environment())
        self.cluster = cluster
        self.name = name
        self.place = host
        self.host = host.address
        self.mesh_port = free_port()
        self.http_port = free_port()
        self.module = "node"
        if cluster.slow_disks:
            self.module = "tests.harness.slow_disk"
            self.environment[slow_disk.VARIABLE] = str(self._slow_disk)
        self.known: tuple[str, ...] = ()
        """The mesh addresses that it is told of."""

    def __repr__(self) -> str:
        return self.name

    @property
    def mesh_address(self) -> str:
        """HOST:PORT, as other nodes take it."""
        return f"{self.host}:{self.mesh_port}"

    @property
    def http_address(self) -> str:
        """HOST:PORT of its site."""
        return f"{self.host}:{self.http_port}"

    def command(self) -> list[str]:
        """Return the command line."""
        return [
            *self.place.enter(),
            *(sys.executable, "-m", self.module, "serve", "--name", self.name, "--cluster", self.cluster.name),
            *("--listen", self.address, "--mesh", self.mesh_address, "--http", self.http_address),
            *("--data-dir", str(self.data_directory), "--log-format", "json"),
            *("--expect", str(self.cluster.expect), *self.cluster.discovery),
            *(argument for address in self.known for argument in ("--peer", address)),
            *self.cluster.arguments,
            *self.arguments,
        ]

    # What happens to it

    def stall(self) -> None:
        """Stop the process as a frozen virtual machine is: it keeps its connections and says nothing (SIGSTOP)."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a stalled process go on, as if no time had passed for it (SIGCONT)."""
        self.signal(signal.SIGCONT)

    def wipe(self) -> None:
        """Kill the process and take everything it had on disk, as when a server is set up anew."""
        self.kill()
        shutil.rmtree(self.data_directory)

    def fill_disk(self) -> None:
        """Let the running process write to no file any more: its disk is full. A new process has room again."""
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (0, 0))

    def slow_disk(self, seconds: float) -> None:
        """Let each write to the disk take this much longer from now on, in a cluster with `slow_disks`."""
        path = self._slow_disk
        if seconds:
            fresh = path.with_suffix(".new")
            fresh.write_text(str(seconds))
            fresh.replace(path)
        else:
            path.unlink(missing_ok=True)

    @property
    def _slow_disk(self) -> Path:
        return self.cluster.directory / f"{self.name}-slow"

    async def serves(self, *, within: float = FORMING) -> Self:
        """Wait until this very process answers Gearman clients; raises ServerDiedError when it ends or does not."""

        async def answers() -> bool:
            if not self.running:
                raise ServerDiedError(f"{self.name} ended with status {self.wait(within=1)}\n{self.log_tail()}")
            return await self._answers_to_its_pid()

        try:
            await eventually(answers, within=within, every=_LOOK_EVERY)
        except AssertionError:
            raise ServerDiedError(f"{self.name} did not serve within {within} s\n{self.log_tail()}") from None
        return self

    async def refuses(self, *, within: float = PATIENCE) -> None:
        """Wait until nobody is let in at its port."""

        async def closed() -> bool:
            try:
                await (await self.connect(within=2.0)).close()
            except OSError:
                return True
            return False

        await eventually(closed, within=within, every=_LOOK_EVERY)

    async def ended(self, *, within: float = 30.0) -> int:
        """Wait for the process to end, and return its exit status."""

        async def gone() -> bool:
            return not self.running

        try:
            await eventually(gone, within=within, every=_LOOK_EVERY)
        except AssertionError:
            raise ServerDiedError(f"{self.name} had not ended after {within} s\n{self.log_tail()}") from None
        return self.wait(within=1)

    async def stop(self, *, within: float = 30.0) -> int:
        """Ask the process to stop (SIGTERM), and return its exit status."""
        self.signal(signal.SIGTERM)
        return await self.ended(within=within)

    @contextmanager
    def spawned(self) -> Iterator[Self]:
        """Have the process run for as long as this lasts."""
        self.spawn()
        try:
            yield self
        finally:
            self.kill()

    # What can be asked of it

    async def connect(self, *, within: float = PATIENCE) -> Connection:
        """Open a connection from the desk."""
        return await Connection.open(self.port, self.host, sock=self.cluster.desk.socket(), within=within)

    async def client(self, *, within: float = PATIENCE) -> Client:
        """Connect a client."""
        return await Client.open(self.port, self.host, sock=self.cluster.desk.socket(), within=within)

    async def worker(self, *functions: bytes, timeout_ms: int | None = None, within: float = PATIENCE) -> Worker:
        """Connect a worker for these functions."""
        worker = await Worker.open(self.port, self.host, sock=self.cluster.desk.socket(), within=within)
        if functions:
            await worker.can_do(*functions, timeout_ms=timeout_ms)
        return worker

    async def get(self, path: str, *, within: float = 5.0) -> Answer:
        """Get a page of its site; raises OSError where it has none now."""
        return await cluster_site.get(self.cluster.desk, self.host, self.http_port, path, within=within)

    async def view(self) -> View:
        """Return what it thinks the cluster is."""
        answer = await self.get("/api/v1/cluster")
        assert answer.status == 200, f"the site of {self.name} answered {answer}"
        return cluster_site.view(answer.body)

    async def _answers_to_its_pid(self) -> bool:
        try:
            connection = await self.connect(within=5.0)
        except OSError:
            return False
        try:
            return await connection.line("getpid", within=5.0) == b"OK %d" % self.pid
        except (UnexpectedAnswerError, ConnectionError):
            return False
        finally:
            await connection.cut()


class Cluster:
    """Drive the nodes of one cluster, which are numbered from 1.

    Use it as a context manager that kills whatever is left, or call `close`.
    """

    def __init__(
        self,
        directory: Path,
        size: int = 3,
        *,
        name: str = "tested",
        secret: str | None = None,
        segment: Segment | None = None,
        discovery: Iterable[str] = STATIC,
        expect: int | None = None,
        arguments: Iterable[str] = (),
        slow_disks: bool = False,
    ) -> None:
        """Plan `size` nodes that wait for `expect` (all of them), on the hosts of a segment or on this machine.

        `slow_disks`: their disks can be made slow. With discovery by other means than a static list, nodes are not told
        of one another.
        """
        self.directory = directory
        self.name = name
        self.secret = secrets.token_hex(16) if secret is None else secret
        self.segment = segment
        self.desk: Host = ThisMachine() if segment is None else segment.desk
        self.discovery = tuple(discovery)
        self.expect = size if expect is None else expect
        self.arguments = tuple(arguments)
        self.slow_disks = slow_disks
        self.nodes: list[Node] = []
        self._numbers = 0
        for _ in range(size):
            self.plan()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kill all nodes."""
        for node in self.nodes:
            node.kill()

    def environment(self) -> dict[str, str]:
        """Give the variables that hold the secret."""
        return {"GEARMESH_SECRET": self.secret} if self.secret else {}

    @property
    def running(self) -> list[Node]:
        """The nodes whose processes are there, stalled ones among them."""
        return [node for node in self.nodes if node.running]

    def plan(self, name: str | None = None, *arguments: str) -> Node:
        """Add a node that is not started yet."""
        self._numbers += 1
        node = Node(self, name or f"node{self._numbers}", self._host(), *arguments)
        self.nodes.append(node)
        self._introduce()
        return node

    def others(self, *nodes: Node) -> list[Node]:
        """Give the running nodes but these."""
        return [node for node in self.running if node not in nodes]

    def named(self, name: str) -> Node:
        """Give a node by its name."""
        return next(node for node in self.nodes if node.name == name)

    async def start(self, *, within: float = FORMING) -> Self:
        """Start what is not running, and wait until every node serves."""
        for node in self.nodes:
            if not node.running:
                node.spawn()
        await asyncio.gather(*(node.serves(within=within) for node in self.nodes))
        return self

    async def grow(self, *, within: float = FORMING) -> Node:
        """Start one more node, and wait until it is a voter and serves."""
        node = self.plan()
        node.spawn()
        await node.serves(within=within)
        await self.settles(within=within)
        return node

    async def leader(self, *, among: Iterable[Node] | None = None, within: float = PATIENCE) -> Node:
        """Wait until the running nodes (or those of `among`) agree on a leader that is one of them, and return it."""
        asked = list(self.running if among is None else among)

        async def agreed() -> Node | None:
            views = await self._views(asked)
            leaders = {(view.leader, view.term) for view in views if view is not None}
            if len(views) != len(asked) or None in views or len(leaders) != 1:
                return None
            ((leader, _term),) = leaders
            by_id = {view.node: node for view, node in zip(views, asked, strict=True) if view is not None}
            return by_id.get(leader or "")

        found = await eventually(agreed, within=within, every=_LOOK_EVERY)
        assert found is not None
        return found

    async def followers(self, *, within: float = PATIENCE) -> list[Node]:
        """Give the running nodes that do not lead."""
        return self.others(await self.leader(within=within))

    async def settles(
        self,
        *,
        voters: Iterable[Node] | None = None,
        among: Iterable[Node] | None = None,
        within: float = FORMING,
    ) -> None:
        """Wait until the running nodes (or those of `among`) are ready, and agree on the leader and on the members.

        These are `voters`, by default all that run, and all of them vote.
        """
        wanted = {node.name for node in (self.running if voters is None else voters)}
        asked = list(self.running if among is None else among)

        async def as_wanted() -> bool:
            views = await self._views(asked)
            return len({(view.leader, view.term) for view in views if view is not None}) == 1 and all(
                view is not None
                and view.ready
                and view.leader is not None
                and view.voters == wanted
                and len(view.members) == len(wanted)
                for view in views
            )

        await eventually(as_wanted, within=within, every=_LOOK_EVERY)

    async def command(self, node: Node, *arguments: str, within: float = 60.0) -> Outcome:
        """Run `gearmesh cluster ...` against the site of a node."""
        process = await asyncio.create_subprocess_exec(
            *self.desk.enter(),
            *(sys.executable, "-m", "node", "cluster", *arguments, "--site", f"http://{node.http_address}"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=REPOSITORY,
            env=clean_environment() | self.environment(),
        )
        try:
            async with asyncio.timeout(within):
                output, _ = await process.communicate()
        except BaseException:
            process.kill()
            await process.wait()
            raise
        assert process.returncode is not None
        return Outcome(process.returncode, output.decode(errors="replace"))

    async def remove(self, node: Node, *, within: float = 60.0) -> None:
        """Stop a node, and take it out of the cluster by the command that people use."""
        if node.running:
            await node.stop()
        outcome = await self.command(self.running[0], "remove", node.name, within=within)
        assert outcome.status == 0, outcome.output
        self.nodes.remove(node)
        self._introduce()

    def _host(self) -> Host:
        return ThisMachine() if self.segment is None else self.segment.add()

    def _introduce(self) -> None:
        if self.discovery != STATIC:
            return
        for node in self.nodes:
            node.known = tuple(other.mesh_address for other in self.nodes if other is not node)

    @staticmethod
    async def _views(nodes: list[Node]) -> list[View | None]:
        async def ask(node: Node) -> View | None:
            try:
                return await node.view()
            except (OSError, ValueError):
                return None

        return list(await asyncio.gather(*map(ask, nodes)))
