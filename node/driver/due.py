"""What is due when nobody says anything: the leader proposes an entry that only tells the table what time it is.

Not for: what happens then (delayed jobs, time limits), which is the table's.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final

from cluster.jobs import JobTable, encode_proposal, propose
from cluster.raft import Raft, RefusedError, Role
from node.driver.gathering import LAZY_DELAY
from node.driver.pace import COARSENESS
from node.driver.surroundings import Handle, Loop

REFUSED_DELAY: Final = 0.1
"""Seconds after which the time is told that consensus would not take now."""


class DueTimer:
    """The timer for the table's next deadline."""

    def __init__(
        self,
        *,
        table: JobTable,
        raft: Raft,
        may_write: Callable[[], bool],
        loop: Loop,
        clock: Callable[[], float],
        guard: Callable[[], AbstractContextManager[None]],
        done: Callable[[], None],
    ) -> None:
        """Watch the table's deadlines; `clock` gives seconds since the epoch.

        `may_write` tells whether the disk is free enough for another entry. `done` carries out what follows from a
        proposal, which is made under `guard`.
        """
        self._table = table
        self._raft = raft
        self._may_write = may_write
        self._loop = loop
        self._clock = clock
        self._guard = guard
        self._done = done
        self._timer: Handle | None = None
        self._due = 0
        self._stopped = False

    def arm(self) -> None:
        """See to it that the time is told when something is due, if this node leads."""
        if self._raft.role is not Role.LEADER:
            return
        due = self._table.next_deadline()
        if due is None or (self._timer is not None and self._due == due):
            return
        self._due = due
        self._call_later(max(0.0, due / 1000 - self._clock()) + COARSENESS)

    def _call_later(self, delay: float) -> None:
        self._cancel()
        self._timer = self._loop.call_later(delay, self._fire)

    def _fire(self) -> None:
        self._timer = None
        if self._stopped or self._raft.role is not Role.LEADER:
            return
        if not self._may_write():
            self._call_later(LAZY_DELAY)
            return
        with self._guard():
            try:
                self._raft.propose(encode_proposal(propose(int(self._clock() * 1000), [])))
            except RefusedError:
                self._call_later(REFUSED_DELAY)
            self._done()

    def stop(self) -> None:
        """Tell the time no more."""
        self._stopped = True
        self._cancel()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
