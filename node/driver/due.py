"""What is due when nobody says anything: the leader proposes an entry that only tells the table what time it is.

Not for: what happens then (delayed jobs, time limits), which is the table's.
"""

from collections.abc import Callable
from typing import Final

from node.driver.surroundings import Handle, Loop

COARSENESS: Final = 0.001
"""Seconds by which the loop's timers may be early: one that fires early would write entries until the time has come."""


class DueTimer:
    """The timer for the table's next deadline."""

    def __init__(self, loop: Loop, clock: Callable[[], float], tell: Callable[[], None]) -> None:
        """`clock` gives seconds since the epoch; `tell` is called when something is due."""
        self._loop = loop
        self._clock = clock
        self._tell = tell
        self._timer: Handle | None = None
        self._due = 0

    def arm(self, due: int | None) -> None:
        """Call back when it is `due` (milliseconds since the epoch); None: nothing is, and a timer stays as it is."""
        if due is None or (self._timer is not None and self._due == due):
            return
        self.cancel()
        self._due = due
        self._timer = self._loop.call_later(max(0.0, due / 1000 - self._clock()) + COARSENESS, self._fire)

    def again(self, delay: float) -> None:
        """Call back once more after so many seconds: it could not be told now."""
        self.cancel()
        self._timer = self._loop.call_later(delay, self._fire)

    def cancel(self) -> None:
        """Call back no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fire(self) -> None:
        self._timer = None
        self._tell()
