"""Starts, watches and stops the servers under test.

Each is started on free ports of the loopback address with its files in a directory of its own, and
is ready when it answers the admin command `version`. Not for load: see `load`.
"""

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from time import monotonic, sleep
from urllib.request import urlopen

from benchmarks.connections import Address
from benchmarks.errors import ServerFailedError

HOST = "127.0.0.1"
PROBE_SECONDS = 0.02


def free_ports(count: int) -> list[int]:
    """Find TCP ports nobody listens on at this moment."""
    with contextlib.ExitStack() as stack:
        ports = []
        for _ in range(count):
            sock = stack.enter_context(socket.socket())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((HOST, 0))
            ports.append(sock.getsockname()[1])
        return ports


def admin(address: Address, command: bytes, end: bytes, seconds: float = 60.0) -> bytes:
    """Send a text admin command and read up to its end.

    Raises:
        OSError: nobody listens, or the server closed the connection or did not answer in time.
    """
    with socket.create_connection(address, timeout=seconds) as sock:
        sock.sendall(command + b"\n")
        answer = b""
        while not answer.endswith(end):
            data = sock.recv(65536)
            if not data:
                raise ConnectionError("closed before the answer was complete")
            answer += data
        return answer


class Server(ABC):
    """A server process, or several that act as one, under test."""

    name: str
    durable: bool

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True)
        self.directory = directory
        self._processes: list[subprocess.Popen[bytes]] = []
        self._ports: list[int] = []

    @classmethod
    def missing(cls) -> str | None:
        """Say why this server cannot be run here, None when it can."""
        return None

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where clients and workers connect, one address per node."""
        return tuple((HOST, port) for port in self._ports)

    @abstractmethod
    def _commands(self) -> list[list[str]]:
        """Give the command of each node."""

    def start(self, seconds: float = 60.0) -> float:
        """Start all nodes and wait until each answers.

        Returns:
            Seconds from the start to the last node's first answer.

        Raises:
            ServerFailedError: a process ended or did not answer in time.
        """
        commands = self._commands()
        began = monotonic()
        for index, command in enumerate(commands):
            with (self.directory / f"node{index}.log").open("ab") as log:
                self._processes.append(
                    subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=Path.cwd())
                )
        for index, address in enumerate(self.addresses):
            self._await_answer(index, address, began + seconds)
        return monotonic() - began

    def _await_answer(self, index: int, address: Address, deadline: float) -> None:
        while True:
            with contextlib.suppress(OSError):
                admin(address, b"version", b"\n")
                return
            if self._processes[index].poll() is not None:
                raise ServerFailedError(f"{self.name} ended while starting: {self.last_words(index)}")
            if monotonic() > deadline:
                raise ServerFailedError(f"{self.name} did not answer in time: {self.last_words(index)}")
            sleep(PROBE_SECONDS)

    def last_words(self, index: int = 0) -> str:
        """Give the end of what a node printed."""
        return (self.directory / f"node{index}.log").read_text(errors="replace")[-2000:].strip() or "(no output)"

    def stop(self, how: signal.Signals = signal.SIGTERM, seconds: float = 60.0) -> None:
        """Stop all nodes and keep their files; one that does not go in time is killed."""
        for process in self._processes:
            process.send_signal(how)
        for process in self._processes:
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()

    def remove(self) -> None:
        """Stop and delete all files."""
        self.stop(signal.SIGKILL)
        shutil.rmtree(self.directory, ignore_errors=True)

    def queued(self, function: bytes) -> int:
        """Count the jobs of a function that are queued or running."""
        for line in admin(self.addresses[0], b"status", b".\n").splitlines():
            name, _, rest = line.partition(b"\t")
            if name == function:
                return int(rest.split(b"\t")[0])
        return 0

    def left(self, function: bytes, seconds: float = 5.0) -> int:
        """Count the jobs of a function once there are none, or after so many seconds.

        A node may be told a moment later than another that a job has ended.
        """
        deadline = monotonic() + seconds
        while (jobs := self.queued(function)) and monotonic() < deadline:
            sleep(PROBE_SECONDS)
        return jobs

    def resident_bytes(self) -> int:
        """Give the memory resident now, of the largest node."""
        largest = 0
        for process in self._processes:
            answer = subprocess.run(["ps", "-o", "rss=", "-p", str(process.pid)], capture_output=True, check=True)
            largest = max(largest, int(answer.stdout) * 1024)
        return largest

    def cpu_seconds(self) -> float:
        """Give the CPU time used by all nodes since they started; 0.0 where /proc is not Linux's."""
        total = 0
        for process in self._processes:
            try:
                fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                return 0.0
            total += int(fields[11]) + int(fields[12])
        return total / os.sysconf("SC_CLK_TCK")


class Gearmand(Server):
    """gearmand with its queue in memory."""

    name = "gearmand"
    durable = False

    @classmethod
    def missing(cls) -> str | None:
        """Say that gearmand is not installed."""
        return None if shutil.which("gearmand") else "gearmand is not installed"

    def _commands(self) -> list[list[str]]:
        # The default backlog of 32 drops handshakes when 256 clients come at once, which costs them a second.
        self._ports = free_ports(1)
        return [
            [
                "gearmand",
                f"--listen={HOST}",
                f"--port={self._ports[0]}",
                "--backlog=1024",
                f"--pid-file={self.directory / 'gearmand.pid'}",
                "--log-file=stderr",
                *self._queue_flags(),
            ]
        ]

    def _queue_flags(self) -> list[str]:
        return []


class GearmandSqlite(Gearmand):
    """gearmand with its SQLite queue, which commits each background job by itself."""

    name = "gearmand-sqlite"
    durable = True

    def _queue_flags(self) -> list[str]:
        return ["--queue-type=libsqlite3", f"--libsqlite3-db={self.directory / 'queue.db'}"]


class Gearmesh(Server):
    """gearmesh, one node or several.

    Args:
        directory: where its files go.
        nodes: number of nodes of the cluster.
        profile: file prefix; each node is run under the sampler of `sampling` and writes its
            profile there when it stops.
        flags: further flags for `serve`.
    """

    name = "gearmesh"
    durable = True

    def __init__(self, directory: Path, nodes: int = 1, profile: Path | None = None, flags: Sequence[str] = ()) -> None:
        super().__init__(directory)
        self._nodes = nodes
        self._profile = profile
        self._flags = list(flags)

    def _commands(self) -> list[list[str]]:
        # Fresh ports at every start would move the mesh addresses a cluster has agreed on.
        if not self._ports:
            ports = iter(free_ports(self._nodes * 3))
            self._ports, self._mesh_ports, self._http_ports = (list(islice(ports, self._nodes)) for _ in range(3))
            secret = self.directory / "secret"
            secret.touch(0o600)
            secret.write_text(f"{secrets.token_hex(16)}\n")
        return [self._command(index) for index in range(self._nodes)]

    def _command(self, index: int) -> list[str]:
        launcher = ["-m", "node"]
        if self._profile is not None:
            launcher = ["-m", "benchmarks.sampling", f"{self._profile}-node{index}.txt", "node"]
        command = [sys.executable, *launcher, "serve", "--listen", f"{HOST}:{self._ports[index]}"]
        command += ["--data-dir", str(self.directory / f"data{index}"), "--log-level", "warning", *self._flags]
        if self._nodes > 1:
            command += ["--name", f"bench-{index}", "--mesh", f"{HOST}:{self._mesh_ports[index]}"]
            command += ["--http", f"{HOST}:{self._http_ports[index]}"]
            command += ["--expect", str(self._nodes), "--discovery", "static"]
            command += ["--secret-file", str(self.directory / "secret")]
            for other, port in enumerate(self._mesh_ports):
                if other != index:
                    command += ["--peer", f"{HOST}:{port}"]
        else:
            command += ["--http", "none"]
        return command

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where clients and workers connect: followers first, the leader last."""
        addresses = super().addresses
        if self._nodes == 1:
            return addresses
        leader = self._leader()
        return (*addresses[leader + 1 :], *addresses[: leader + 1])

    def _leader(self, seconds: float = 30.0) -> int:
        """Ask the nodes who leads, until one knows; give its place."""
        deadline = monotonic() + seconds
        while monotonic() < deadline:
            for port in self._http_ports:
                with contextlib.suppress(OSError), urlopen(f"http://{HOST}:{port}/api/v1/cluster", timeout=5) as answer:
                    said = json.load(answer)
                    for member in said["members"]:
                        if member["id"] == said["leader"]:
                            return int(member["name"].removeprefix("bench-"))
            sleep(PROBE_SECONDS)
        raise ServerFailedError(f"no leader within {seconds:.0f} s: {self.last_words()}")


TARGETS: dict[str, type[Server]] = {kind.name: kind for kind in (Gearmesh, Gearmand, GearmandSqlite)}
