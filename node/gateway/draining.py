"""The end of a node's service, when it is to stop: what it waits for, and whom it sends to other nodes before.

Not for: stopping to give out jobs (`assigning`), or how long all this may take (`node.server`).
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from cluster.jobs import Session
from node.gateway.connection import Connection

if TYPE_CHECKING:
    from node.gateway.gateway import Gateway


class Draining:
    """What is left to do for the clients and workers of one node."""

    def __init__(self, gateway: "Gateway") -> None:
        self._gateway = gateway
        self._loop = asyncio.get_running_loop()
        self._driver = gateway.driver
        self._table = gateway.table
        self._connections = gateway.connections
        self._drained: Callable[[], None] | None = None
        self._hanging_up = False
        """Whether those who wait for nothing are being hung up on."""
        self._checking = False
        """Whether it is going to be seen what is left."""

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

    @property
    def _over(self) -> bool:
        """Tell whether no job runs here, and none that runs is waited for here."""
        if any(c.worker is not None and c.worker.running for c in self._connections.values()):
            return False
        here = self._table.nodes.get(self._driver.name)
        return here is None or not any(map(self._awaits, here.sessions.values()))

    def begin(self, drained: Callable[[], None]) -> None:
        """Call `drained` once no job runs here any more, and nobody here waits for one that runs."""
        self._drained = drained
        self.go_on()

    def go_on(self) -> None:
        """Hang up on whoever waits for nothing any more, and see whether that was all."""
        if not self._driver.alone and not self._hanging_up:  # alone, they have nowhere to go
            self._hanging_up = True
            self._gateway.steps.each(self._connections.values(), self._hang_up_if_idle, self._hung_up)
        self._check()

    def check_soon(self) -> None:
        """See at the end of this turn whether a job still runs here, or is waited for here."""
        if not self._checking:
            self._checking = True
            self._loop.call_soon(self._check)

    def _check(self) -> None:
        self._checking = False
        if self._drained is not None and self._over:
            self._drained()
            self._drained = None

    def _hung_up(self) -> None:
        self._hanging_up = False

    def _hang_up_if_idle(self, connection: Connection) -> None:
        here = self._table.nodes.get(self._driver.name)
        session = here.sessions.get(connection.number) if here is not None else None
        worker = connection.worker
        busy = connection.waiting or (worker is not None and worker.running)
        if not busy and not (session is not None and session.listening):
            connection.close()
