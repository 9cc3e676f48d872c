"""The pace of a leader's entries: the next one goes into the log when it is worth what it costs.

An entry costs a write here, and messages to and from all nodes. So what comes while one is under way waits for company,
and in a crowd entries of several nodes do not follow each other at once. Not for: what goes into an entry (`intake`),
or when a node's own commands are sent (`gathering`).
"""

from collections.abc import Callable
from typing import Final

from cluster.raft import Raft
from node.driver.gathering import CROWD
from node.driver.intake import Intake
from node.driver.surroundings import Handle, Loop
from node.driver.writing import Writing

MAX_WRITES: Final = 1
"""Writes that may be on their way to the disk at once: what comes meanwhile makes the next one worth its price."""
MAX_WRITES_AHEAD: Final = 2
"""The same where a second one is worth its price at once. On a node alone, when much has gathered: the disk goes on
with it while the loop sees to what the first one brought. On a leader of others, when its entries hold little: their
disks need not wait for its own."""
MAX_WRITES_OF_MUCH: Final = 8
"""The same on a leader of others whose last entries held many bytes. Then the disks are what takes long, and each takes
all that waits for it in one transaction."""
SLOW: Final = 0.005
"""Seconds after which a leader of others waits no longer for its own disk where theirs have committed what it sent: it
goes at their pace then. Disks that are as quick as its own take no longer. What may wait for the disk is bounded by
consensus (`Raft.room`)."""
TOO_SLOW: Final = 0.05
"""Seconds after which it does not wait for its own disk whatever the others have: entries of many bytes follow each
other before those in front are committed."""
COARSENESS: Final = 0.001
"""Seconds by which the loop's timers may be early: what fires early would have to wait once more."""
ENTRY_GAP: Final = 0.002
"""Seconds from one entry to the next while much comes from several nodes."""


PATIENCE: Final = 0.001
"""Seconds that an entry for which nobody waits is put off, so as to go with one for which somebody does."""


class Pace:
    """The pace of one node's entries while it leads. `alone` says that there is no other node in the group."""

    def __init__(self, raft: Raft, intake: Intake, writing: Writing, loop: Loop, go_on: Callable[[], None]) -> None:
        """`go_on` is called when it is time for an entry that was not allowed for the time since the last."""
        self._raft = raft
        self._intake = intake
        self._writing = writing
        self._loop = loop
        self._go_on = go_on
        self._entered = 0.0
        """When something last went into the log here."""
        self._gap: Handle | None = None
        self._gap_ends = 0.0
        self._patient_until = 0.0
        """When what nobody waits for goes in all the same; 0: nothing such is being put off."""

    def disk_allows(self, *, alone: bool, much: bool) -> bool:
        """Tell whether the disk is free enough for another entry, with much in it or little."""
        writing = self._writing
        ahead = much if alone else self._intake.crowd < CROWD
        most = MAX_WRITES_AHEAD if ahead else MAX_WRITES
        if self._intake.heavy and not alone:
            most = MAX_WRITES_OF_MUCH
        if writing.under_way < most:
            return True
        if alone:
            return False
        waited = self._loop.time() - writing.since
        if waited <= SLOW:
            self._call_in(SLOW - waited + COARSENESS)
            return False
        return waited > TOO_SLOW or self._raft.commit >= self._raft.last_index

    def allows(self, *, alone: bool) -> bool:
        """Tell whether it is time for another entry, which is then to be made; if not, it is seen to when it is."""
        # What a node alone has let into its intake was worth a write when it did.
        if not self.disk_allows(alone=alone, much=alone):
            return False
        now = self._loop.time()
        crowded = self._intake.crowd >= CROWD and not self._intake.heavy
        if not alone and crowded and now - self._entered < ENTRY_GAP:
            self._call_in(ENTRY_GAP)
            return False
        if not alone and not self._intake.urgent:
            if not self._patient_until:
                self._patient_until = now + PATIENCE
            if now < self._patient_until:
                self._call_in(PATIENCE)
                return False
        self._patient_until = 0.0
        self._entered = now
        return True

    def _call_in(self, delay: float) -> None:
        """Call `go_on` after so many seconds, or earlier if that is planned already."""
        due = self._loop.time() + delay
        if self._gap is not None:
            if self._gap_ends <= due:
                return
            self._gap.cancel()
        self._gap_ends = due
        self._gap = self._loop.call_later(delay, self._end_gap)

    def _end_gap(self) -> None:
        self._gap = None
        self._go_on()

    def cancel(self) -> None:
        """Call nobody any more."""
        if self._gap is not None:
            self._gap.cancel()
