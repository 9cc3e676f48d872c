"""The time for which this process has run: a monotonic clock that leaves pauses of the process out.

A process can be stopped for seconds: by SIGSTOP, by `docker pause`, by a virtual machine that is moved. When it goes
on, nothing that came meanwhile has been read yet. By an ordinary clock all others would have been silent for that long.
By this one they have not. Use it wherever this node measures how long somebody else has taken. Not for: deadlines
that the outside world sets, such as the time at which a job is due.
"""

from collections.abc import Callable
from typing import Final

PAUSE: Final = 1.0
"""Seconds between two looks at the clock from which on they are a pause. The driver looks ten times a second. It is the
least election timeout: a leader that was away for so long may have been replaced."""


class AwakeClock:
    """One process's clock. It has to be read at least every `PAUSE` seconds, or that counts as a pause."""

    def __init__(self, time: Callable[[], float]) -> None:
        """`time` is the loop's monotonic clock, in seconds."""
        self._time = time
        self._read = time()
        self.paused = 0.0
        """Seconds of all pauses together."""

    def time(self) -> float:
        """Give the seconds for which the process has run, from an arbitrary beginning."""
        now = self._time()
        gap = now - self._read
        if gap > PAUSE:
            self.paused += gap
        self._read = now
        return now - self.paused
