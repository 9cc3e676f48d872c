"""Something is done with very many connections, but only with a few in each turn of the loop.

Tens of thousands of connections are closed, or read from again, for one and the same reason. In one turn that would
hold up everything else in the node, consensus included. Not for: what may not wait a moment; that is to be settled by
one mark for all of them (`Gateway.generation`).
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from node.gateway.connection import Connection

STEP: Final = 128
"""Connections in one turn: closing one takes some 30 us, with all that follows from it."""

Action = Callable[["Connection"], object]


class Steps:
    """What is to be done with many connections of one node."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: deque[tuple[list[Connection], Action, Callable[[], object]]] = deque()
        self._next: asyncio.Handle | None = None
        self._busy = False

    def each(
        self, connections: "Iterable[Connection]", action: Action, then: Callable[[], object] = lambda: None
    ) -> None:
        """Do something with each of these, after what was asked for before, the first few at once; then call back."""
        waiting = list(connections)
        waiting.reverse()
        self._queue.append((waiting, action, then))
        if self._next is None and not self._busy:
            self._step()

    def _step(self) -> None:
        self._next = None
        self._busy = True
        try:
            left = STEP
            while self._queue and left:
                connections, action, then = self._queue[0]
                while connections and left:
                    action(connections.pop())  # none is kept: to free very many at once takes long as well
                    left -= 1
                if not connections:
                    self._queue.popleft()
                    then()
        finally:
            self._busy = False
        if self._queue:
            self._next = self._loop.call_soon(self._step)
