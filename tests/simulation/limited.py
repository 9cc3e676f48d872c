"""Clients that submit one job at a time to a function which takes as many jobs as there are clients: none is refused.

A client that was told the end of its job has room for the next one, whichever node it submits it to. Not for: limits
that are too low for their clients, which the others set now and then (`clients`).
"""

from typing import Final

from tests.simulation.actors import World
from tests.simulation.clients import Client, Submission
from tests.simulation.connections import Wire
from tests.simulation.schedule import MS

FUNCTION: Final = b"f"


class Limited(Client):
    """One of them."""

    def __init__(self, world: World, name: str, jobs: int, limit: int) -> None:
        """`limit`: how many clients there are."""
        super().__init__(world, name, jobs)
        self._limit = limit

    def begin(self, wire: Wire) -> None:
        """Set the limit, then submit."""
        super().begin(wire)
        self.ask_line(b"maxqueue %b 0 %d 0" % (FUNCTION, self._limit))

    def choose(self, workload: bytes) -> Submission:
        """Give the next job: always of the function and priority that the limit is for, and waited for."""
        return Submission(FUNCTION, b"", workload, 1, background=False)

    def _act(self) -> None:
        """Submit one job."""
        if self.up and self.wire is not None and self.remaining > 0:
            self._submitting = True
            self.wire.send(self._submit(self.wire))

    def _plan(self, submission: Submission) -> None:
        """Submit the next one mostly in the moment when the end of this one is told."""
        self._pause = self.world.random.choice((0, 0, 0, 20 * MS))
