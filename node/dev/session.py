"""A cluster on one machine from start to stop: its processes, and the person in front of it.

A node that ends by itself, or is killed, is reported and stays down until somebody starts it again: watching the others
go on without it is what this is for. Not for: what the nodes do (`node.server`).
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import aiohttp

from node.dev.guide import guide
from node.dev.layout import ClusterLayout, NodeLayout, environment, shown
from node.dev.processes import NodeProcess, outcome
from node.dev.readiness import ready
from node.dev.screen import Screen

SLOW: Final = 20.0
"""Seconds after which nodes that are not ready are named, with their reasons."""

_CLEAN: Final = (0, -signal.SIGTERM)
"""Exit statuses of a node that was asked to stop; the second, when it was asked before it could hear it."""
_STDIN: Final = 0


class Session:
    """Runs every node of a layout until it is told to stop; `slow` is `SLOW`, for tests to shorten."""

    def __init__(self, layout: ClusterLayout, screen: Screen, *, slow: float = SLOW) -> None:
        self._layout = layout
        self._screen = screen
        self._slow = slow
        self._alive: set[str] = set()
        self._processes: dict[str, NodeProcess] = {}
        self._not_ready: dict[str, str] = {}
        self._was_ready = False
        self._stopping = False
        self._killing = False
        self._failed = False
        self._over = asyncio.Event()

    async def run(self) -> int:
        """Start all nodes and return the exit status after the last has ended.

        0 after a stop that was asked for and in which every node ended cleanly, else 1.
        """
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self._interrupt)
        loop.add_signal_handler(signal.SIGTERM, self._interrupt)
        # The terminal was closed: whatever else says so, too, is no second request.
        loop.add_signal_handler(signal.SIGHUP, self._stop)
        self._screen.on_lost = self._stop
        self._say_what_else_is_there()
        with _lines_typed(self._start_ended) as self._interactive:
            async with aiohttp.ClientSession() as self._http, asyncio.TaskGroup() as self._tasks:
                for node in self._layout.nodes:
                    self._start(node)
                complaint = self._tasks.create_task(self._complain_when_slow())
                await self._over.wait()
                complaint.cancel()
        return 1 if self._failed or not self._stopping else 0

    def _say_what_else_is_there(self) -> None:
        directory = self._layout.directory
        if (directory / "node.db").exists():
            self._screen.say(f"{directory} also holds the queue of a single node; it is left as it is", "yellow")
        beyond = _kept_nodes(directory) - {node.name for node in self._layout.nodes}
        if beyond:
            self._screen.say(
                f"{directory} also holds {', '.join(sorted(beyond))}: members that stay down count as lost nodes",
                "yellow",
            )

    def _start(self, node: NodeLayout) -> None:
        self._alive.add(node.name)
        self._tasks.create_task(self._live(node))

    def _start_ended(self) -> None:
        for node in self._layout.nodes:
            if node.name not in self._alive and not self._stopping:
                self._start(node)

    async def _live(self, node: NodeLayout) -> None:
        """Run one node from its start to its end."""
        command = self._layout.command(node)
        try:
            process = await NodeProcess.start(
                command, environment(os.environ), lambda line: self._screen.log_line(node.name, line)
            )
        except OSError as error:
            self._screen.say(f"{node.name} cannot be started: {error.strerror}: {command[0]}", "bold red")
            self._ended(node.name)
            return
        self._processes[node.name] = process
        self._screen.say(f"{node.name} is process {process.pid}: Gearman at {node.listen}, site at {node.site}")
        if self._killing:  # asked for while it was being started
            process.kill()
        elif self._stopping:
            process.terminate()
        becoming_ready = self._tasks.create_task(self._become_ready(node, process))
        try:
            status = await process.ended()
        except BaseException:
            process.kill()
            raise
        becoming_ready.cancel()
        self._failed |= self._stopping and status not in _CLEAN
        del self._processes[node.name]
        self._not_ready.pop(node.name, None)
        self._say_how_it_ended(node, process, status)
        self._ended(node.name)

    def _say_how_it_ended(self, node: NodeLayout, process: NodeProcess, status: int) -> None:
        if not self._stopping:
            self._screen.say(f"{node.name} (process {process.pid}) {outcome(status)}", "bold red")
            self._screen.say(f"start it again with: {shown(self._layout.command(node))}")
        elif status not in _CLEAN and not self._killing:
            self._screen.say(f"{node.name} {outcome(status)}", "bold red")

    def _ended(self, name: str) -> None:
        self._alive.remove(name)
        if self._alive:
            return
        if self._stopping or not (self._interactive and self._was_ready):
            self._over.set()
        else:
            self._screen.say("no node is left: Enter starts them again, Ctrl-C ends", "yellow")

    async def _become_ready(self, node: NodeLayout, process: NodeProcess) -> None:
        started = time.monotonic()
        self._not_ready[node.name] = "starting"
        await ready(self._http, node.site, lambda reason: self._not_ready.update({node.name: reason}))
        del self._not_ready[node.name]
        self._screen.say(f"{node.name} (process {process.pid}) is ready, {time.monotonic() - started:.1f} s", "green")
        if not self._was_ready and not self._not_ready and len(self._processes) == len(self._layout.nodes):
            self._was_ready = True
            self._screen.show(guide(self._layout, can_start_again=self._interactive))

    async def _complain_when_slow(self) -> None:
        await asyncio.sleep(self._slow)
        if not self._stopping and not self._was_ready:
            for name, reason in sorted(self._not_ready.items()):
                self._screen.say(f"{name} is not ready after {self._slow:g} s: {reason}", "yellow")

    def _interrupt(self) -> None:
        """Ask all nodes to stop; asked a second time, end them at once."""
        if not self._stopping:
            self._stop()
            return
        self._killing = True
        self._screen.say("killing what still runs", "yellow")
        for process in self._processes.values():
            process.kill()

    def _stop(self) -> None:
        if self._stopping:
            return
        self._stopping = True
        if not self._alive:
            self._over.set()
            return
        self._screen.say("stopping the nodes; once more to kill them", "yellow")
        for process in self._processes.values():
            process.terminate()


def _kept_nodes(directory: Path) -> set[str]:
    return {found.name for found in directory.glob("node-[0-9]") if found.is_dir()}


@contextlib.contextmanager
def _lines_typed(on_line: Callable[[], None]) -> Iterator[bool]:
    """Call `on_line` for what is typed at the terminal, while the context lasts; its value: whether there is one."""
    loop = asyncio.get_running_loop()

    def typed() -> None:
        # A background job that reads from its terminal is stopped by the system.
        if _in_front() and _read():
            on_line()
        else:
            loop.remove_reader(_STDIN)

    watched = _in_front()
    if watched:
        loop.add_reader(_STDIN, typed)
    try:
        yield watched
    finally:
        if watched:
            loop.remove_reader(_STDIN)


def _in_front() -> bool:
    """Tell whether standard input is a terminal, and this process the one that it is for."""
    try:
        return os.tcgetpgrp(_STDIN) == os.getpgrp()
    except OSError:
        return False


def _read() -> bytes:
    """Return what was typed; nothing at the end of the input."""
    try:
        return os.read(_STDIN, 4096)
    except OSError:
        return b""
