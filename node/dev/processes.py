"""One node's process: started in a process group of its own, its lines passed on, its end awaited.

Not for: which processes there should be (`session`).
"""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Self

LONGEST_LINE: Final = 64 * 1024
"""Bytes after which a line is passed on although its end has not come."""


class NodeProcess:
    """A process that has been started."""

    def __init__(self, process: asyncio.subprocess.Process, on_line: Callable[[str], None]) -> None:
        self._process = process
        self._on_line = on_line

    @classmethod
    async def start(
        cls, command: Sequence[str], environment: Mapping[str, str], on_line: Callable[[str], None]
    ) -> Self:
        """Start a process; raises OSError.

        It has a process group of its own: Ctrl-C is for the one who started it, and reaches it from there.
        """
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=environment,
            process_group=0,
        )
        return cls(process, on_line)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    async def ended(self) -> int:
        """Pass on every line until the process ends; return its status, negative for the signal that ended it."""
        assert self._process.stdout is not None
        rest = b""
        while chunk := await self._process.stdout.read(LONGEST_LINE):
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > LONGEST_LINE:
                lines.append(rest)
                rest = b""
            for line in lines:
                self._pass_on(line)
        if rest:
            self._pass_on(rest)
        return await self._process.wait()

    def terminate(self) -> None:
        """Ask the process to stop."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()

    def kill(self) -> None:
        """End the process at once."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    def _pass_on(self, line: bytes) -> None:
        self._on_line(line.rstrip(b"\r").decode("utf-8", "backslashreplace"))


def outcome(status: int) -> str:
    """Say in words how a process ended."""
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"
