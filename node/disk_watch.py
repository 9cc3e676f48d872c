"""Watches whether the disk answers: says so when a write takes long, and stops the node when it does not end.

A disk can hang for minutes: a network volume that is gone, a controller that resets. A leader whose disk hangs hands
over much earlier (`cluster.raft.stalling`), and entries are committed without this node's disk. But a node whose disk
never answers is of no use, and its log in memory grows. So it stops in the end, and the others go on without it. A node
alone only says so, and waits. A full disk is another matter: its writes fail at once, and are tried again until there
is room. Not for: how much is written (`node.monitor`), or the writes themselves (`cluster.storage`).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

import structlog

from cluster.storage import DiskHungError, Operation
from node.driver import AwakeClock, Handle, Loop

TICK: Final = 0.1
"""Seconds between two looks."""
BYTES_PER_SECOND: Final = 10_000_000
"""A disk that writes fewer is slow, however much it is given at once."""
STOP: Final = 15
"""How many times the disk timeout an operation may take before the node stops: half a minute by default."""

log = structlog.get_logger()


class Disk(Protocol):
    """The storage thread, as far as this looks at it."""

    @property
    def operation(self) -> Operation | None:
        """What it does with the disk now; None: nothing."""


class DiskWatch:
    """The watch over one node's disk."""

    def __init__(
        self,
        disk: Disk,
        directory: Path,
        timeout: float,
        *,
        loop: Loop,
        clock: AwakeClock,
        alone: Callable[[], bool],
        failed: Callable[[DiskHungError], None],
    ) -> None:
        """`timeout`: seconds that an operation may take, besides the time that its bytes need.

        `alone` tells whether there are no other nodes: then nobody goes on without this one, and it waits. Else
        `failed` is called when the node must stop, once.
        """
        self._disk = disk
        self._directory = directory
        self._timeout = timeout
        self._loop = loop
        self._clock = clock
        self._alone = alone
        self._failed = failed
        self._number = 0
        """The operation that was going on at the last look; 0: none was."""
        self._since = 0.0
        """When it was first seen."""
        self._slow = False
        """Whether it is in the log that it takes long."""
        self._timer: Handle | None = None

    def start(self) -> None:
        """Look again and again, until `stop`."""
        self._timer = self._loop.call_later(TICK, self._tick)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        self._timer = self._loop.call_later(TICK, self._tick)
        now, operation = self._clock.time(), self._disk.operation
        if operation is None or operation.number != self._number:
            if self._slow:
                self._slow = False
                log.info("disk_answers_again", seconds=round(now - self._since, 1))
            self._number = 0 if operation is None else operation.number
            self._since = now
            return
        took, needs = now - self._since, operation.size / BYTES_PER_SECOND
        if took > self._timeout + needs and not self._slow:
            self._slow = True
            others = f"this node hands over if it leads, and stops after {STOP * self._timeout:g} s; the others go on"
            log.warning(
                "disk_slow",
                data_dir=str(self._directory),
                why=f"a write of {operation.size} bytes has not ended for {took:.1f} s",
                effect="nothing is acknowledged until it ends" if self._alone() else others,
                cure="see what holds up the disk",
            )
        if took > STOP * self._timeout + needs and not self._alone():
            self.stop()
            self._failed(DiskHungError(self._directory, took))
