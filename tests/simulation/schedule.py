"""Virtual time: what happens when. Not for: deciding what happens."""

import heapq
from collections.abc import Callable
from typing import Any, Final

MS: Final = 1000
SECOND: Final = 1000 * MS
"""Times are integers, in microseconds."""


class Schedule:
    """A queue of events in order of time; those of one moment in the order in which they were planned."""

    __slots__ = ("_planned", "_queue", "happened", "now")

    def __init__(self) -> None:
        self.now = 0
        self.happened = 0
        self._planned = 0
        self._queue: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []

    def after(self, delay: int, action: Callable[..., None], *arguments: Any) -> None:
        """Plan an event `delay` microseconds from now."""
        self._planned += 1
        heapq.heappush(self._queue, (self.now + delay, self._planned, action, arguments))

    def run(self, until: int, stop: Callable[[], bool] | None = None) -> bool:
        """Let things happen up to a time, or until `stop`, asked twice a second, says so; tell whether it did."""
        queue, pop = self._queue, heapq.heappop
        ask = self.now
        while queue and queue[0][0] <= until:
            self.now, _, action, arguments = pop(queue)
            self.happened += 1
            action(*arguments)
            if stop is not None and self.now >= ask:
                if stop():
                    return True
                ask = self.now + SECOND // 2
        self.now = max(self.now, until)
        return False
