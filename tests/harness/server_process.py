"""Run a real server process for a test: start it, wait until it answers, kill it, start it again on its data.

The process is a child that dies with the test process. What it logs goes to a file that a failing test shows.
"""

import atexit
import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import weakref
from pathlib import Path
from types import TracebackType
from typing import Self

REPOSITORY = Path(__file__).parents[2]

GEARMAND = os.environ.get("GEARMESH_TEST_SERVER") == "gearmand"
"""Whether the tests run against gearmand instead, to tell a fault of a test from a fault of the server."""

_running: "weakref.WeakSet[ServerProcess]" = weakref.WeakSet()
_ports = random.Random(os.getpid())
_given_out: set[int] = set()


class ServerDiedError(Exception):
    """The server process ended, or did not come to answer in time; the message holds the end of its log."""


class ServerProcess:
    """Drive one server process on a data directory and a port that stay the same over restarts.

    `arguments` are appended to the command line. `environment` is added to the environment of the child, from which
    every GEARMESH_* variable has been removed.
    """

    def __init__(self, directory: Path, *arguments: str, environment: dict[str, str] | None = None) -> None:
        self.directory = directory
        self.data_directory = directory / "data"
        self.log_path = directory / "server.log"
        self.arguments = arguments
        self.environment = environment or {}
        self.host = "127.0.0.1"
        self.port = free_port()
        self.starts = 0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        if self._process is None:
            raise ServerDiedError("the server has not been started")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process exists and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def address(self) -> str:
        """HOST:PORT, as clients take it."""
        return f"{self.host}:{self.port}"

    def command(self) -> list[str]:
        """Return the command line, without the wrapper that ties the child to its parent."""
        if GEARMAND:
            return [
                *("gearmand", "-L", self.host, "-p", str(self.port), "-l", "stderr", "--verbose", "ERROR"),
                *self.arguments,
            ]
        return [
            *(sys.executable, "-m", "node", "serve", "--listen", self.address),
            *("--data-dir", str(self.data_directory), "--log-format", "json", "--http", "none"),
            *self.arguments,
        ]

    def start(self, *, within: float = 60.0) -> Self:
        """Start the process and return when it answers on its port; raises ServerDiedError when it does not in time."""
        self.spawn()
        self.wait_until_it_answers(within)
        return self

    def spawn(self) -> None:
        """Start the process and leave it to itself."""
        if self.running:
            raise RuntimeError("the server is running already")
        self.directory.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [*_dies_with_parent(), *self.command()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=REPOSITORY,
                env=clean_environment() | self.environment,
            )
        _running.add(self)
        self.starts += 1

    def restart(self, *, within: float = 60.0) -> Self:
        """Start again on the same data and the same port, after killing the process if it is still there."""
        self.kill()
        return self.start(within=within)

    def kill(self) -> None:
        """End the process as a power cut would (SIGKILL) and wait until it is gone."""
        if self._process is not None:
            if self._process.poll() is None:
                self._process.kill()
            self._process.wait()
            _running.discard(self)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the running process."""
        os.kill(self.pid, number)

    def terminate(self, *, within: float = 10.0) -> int:
        """Ask the process to stop (SIGTERM) and return its exit status; raises ServerDiedError when it does not end."""
        self.signal(signal.SIGTERM)
        return self.wait(within=within)

    def wait(self, *, within: float) -> int:
        """Wait for the process to end by itself and return its exit status."""
        if self._process is None:
            raise ServerDiedError("the server has not been started")
        try:
            status = self._process.wait(within)
        except subprocess.TimeoutExpired:
            raise ServerDiedError(f"the server had not ended after {within} s\n{self.log_tail()}") from None
        _running.discard(self)
        return status

    def log(self) -> str:
        """Return everything that the server has written, over all its starts."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def events(self, name: str, *, count: int = 1, within: float = 20.0) -> list[dict[str, object]]:
        """Wait until so many events of this name are in the log, and return them; raises ServerDiedError."""
        deadline = time.monotonic() + within
        while True:
            events = [event for event in map(json.loads, self.log().splitlines()) if event["event"] == name]
            if len(events) >= count:
                return events
            if time.monotonic() > deadline:
                raise ServerDiedError(f"{len(events)} of {count} events {name} after {within} s\n{self.log_tail()}")
            time.sleep(0.01)

    def log_tail(self, lines: int = 40) -> str:
        """Return the last lines of the log, for the message of a failure."""
        return "\n".join(self.log().splitlines()[-lines:])

    def wait_until_it_answers(self, within: float) -> None:
        """Return when the process answers on its port; raises ServerDiedError when it ends or does not in time."""
        deadline = time.monotonic() + within
        while not _answers(self.host, self.port, self.pid):
            if not self.running:
                raise ServerDiedError(f"the server ended with status {self.wait(within=1)}\n{self.log_tail()}")
            if time.monotonic() > deadline:
                self.kill()
                raise ServerDiedError(f"the server did not answer within {within} s\n{self.log_tail()}")
            # There is no event to wait for between a process and its port: look again soon.
            time.sleep(0.01)


def clean_environment() -> dict[str, str]:
    """Return the variables of this process without those that gearmesh reads."""
    return {name: value for name, value in os.environ.items() if not name.startswith("GEARMESH_")}


def running_servers() -> list[ServerProcess]:
    """Return the servers that are running now, for the report of a failed test."""
    return [server for server in _running if server.running]


def _answers(host: str, port: int, pid: int) -> bool:
    """Say whether this very process answers: another test's server may have taken the same port first."""
    try:
        with socket.create_connection((host, port), timeout=5) as probe:
            probe.sendall(b"getpid\n")
            return probe.recv(64).strip() == b"OK %d" % pid
    except OSError:
        return False


def free_port() -> int:
    """Choose a port below the ephemeral range, so that no outgoing connection takes it while its server restarts.

    None is given out twice: one that was chosen may not be listened on yet.
    """
    while True:
        port = _ports.randrange(20000, 32000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            if port not in _given_out:
                _given_out.add(port)
                return port


def _dies_with_parent() -> list[str]:
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []


@atexit.register
def _kill_what_is_left() -> None:
    for server in list(_running):
        server.kill()
