"""Run the command-line tools that people use with a Gearman server."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.harness import PATIENCE, ServerProcess

PACKAGES = {"gearman": "gearman-tools", "gearadmin": "gearman-tools"}


def tool_path(name: str) -> str:
    """Return the path of an installed tool; where there is none, fail in CI and say elsewhere what to install."""
    path = shutil.which(name)
    if path is None:
        message = f"{name} is not installed: apt-get install {PACKAGES[name]} (or: brew install gearman)"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return path


class Tool:
    """One of the tools, pointed at one server."""

    def __init__(self, name: str, server: ServerProcess, background: ExitStack) -> None:
        self._path = tool_path(name)
        self._server = server
        self._background = background

    def command(self, *arguments: str) -> list[str]:
        """Return the whole command line."""
        return [self._path, "-h", self._server.host, "-p", str(self._server.port), *arguments]

    def __call__(self, *arguments: str, stdin: bytes = b"") -> bytes:
        """Run it to its end with this input and return what it printed; its exit status must be 0."""
        outcome = self.run(*arguments, stdin=stdin)
        assert outcome.returncode == 0, outcome.stderr.decode(errors="replace")
        return outcome.stdout

    def run(self, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run it to its end, whatever that is."""
        return subprocess.run(
            self.command(*arguments), input=stdin, capture_output=True, timeout=2 * PATIENCE, check=False
        )

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start it and leave it running until the test is over."""
        process = subprocess.Popen(
            self.command(*arguments), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self._background.callback(process.communicate)
        self._background.callback(process.kill)
        return process


@pytest.fixture
def background_tools() -> Iterator[ExitStack]:
    """Hold the tools that run beside the test."""
    with ExitStack() as running:
        yield running


@pytest.fixture
def gearman(server: ServerProcess, background_tools: ExitStack) -> Tool:
    """Give the `gearman` tool."""
    return Tool("gearman", server, background_tools)


@pytest.fixture
def gearadmin(server: ServerProcess, background_tools: ExitStack) -> Tool:
    """Give the `gearadmin` tool."""
    return Tool("gearadmin", server, background_tools)
