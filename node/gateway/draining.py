"""The end of a node's service, when it is to stop: what it waits for, and whom it sends to other nodes before.

Not for: stopping to give out jobs (`assigning`), or how long all this may take (`node.server`).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from cluster.jobs import Session

if TYPE_CHECKING:
    from node.gateway.gateway import Gateway


class Draining:
    """What is left to do for the clients and workers of one node."""

    def __init__(self, gateway: "Gateway") -> None:
        self._driver = gateway.driver
        self._table = gateway.table
        self._connections = gateway.connections
        self._drained: Callable[[], None] | None = None

    @property
    def running(self) -> int:
        """How many jobs the workers of this node run at the moment."""
        return sum(len(c.worker.running) for c in self._connections.values() if c.worker is not None)

    @property
    def awaited(self) -> int:
        """How many jobs that workers of other nodes have are waited for by clients of this one."""
        here = self._table.nodes.get(self._driver.name)
        return 0 if here is None else sum(self._awaits(session) for session in list(here.sessions.values()))

    def _awaits(self, session: Session) -> bool:
        jobs = self._table.jobs
        return any(number in jobs and jobs[number].holder is not None for number in session.listening)

    def begin(self, drained: Callable[[], None]) -> None:
        """Call `drained` once no job runs here any more, and nobody here waits for one that runs."""
        self._drained = drained
        self.go_on()

    def go_on(self) -> None:
        """Hang up on whoever waits for nothing any more, and see whether that was all."""
        self._hang_up_on_the_idle()
        self.check()

    def check(self) -> None:
        """Say so when no job runs here any more, or is waited for here."""
        if self._drained is not None and not self.running and not self.awaited:
            self._drained()
            self._drained = None

    def _hang_up_on_the_idle(self) -> None:
        if self._driver.alone:
            return  # they have nowhere to go
        here = self._table.nodes.get(self._driver.name)
        sessions = here.sessions if here is not None else {}
        for number, connection in list(self._connections.items()):
            session = sessions.get(number)
            worker = connection.worker
            busy = connection.waiting or (worker is not None and worker.running)
            if not busy and not (session is not None and session.listening):
                connection.close()
