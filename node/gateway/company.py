"""JOB_CREATED of a foreground job: at once, or together with the result.

A client *in step* has each of its jobs' results before it submits the next: all it does with JOB_CREATED is to read it
and wait on. For such a client it waits for the result, or for whatever else the client is sent first: one write, and
one read there, for both. It does not wait for long, and after it has waited in vain the client's next jobs are not
made to wait. Not for: other clients, who may have use for the handle; they are answered at once.
"""

import asyncio
from typing import TYPE_CHECKING, Final

from node.gateway.connection import Connection

if TYPE_CHECKING:
    from node.gateway.gateway import Gateway

COMPANY_TIME: Final = 0.1
"""Seconds that JOB_CREATED waits for company at the most; at the least it is half of them."""
PROVEN: Final = 2
"""After how many jobs in step a client is taken to go on like that."""
IN_VAIN: Final = 4
"""How many jobs a client is served at once after JOB_CREATED has waited in vain."""


class Company:
    """The clients of one node, as far as JOB_CREATED waits for company."""

    def __init__(self, gateway: "Gateway") -> None:
        self._gateway = gateway
        self._loop = asyncio.get_running_loop()
        self._waiting: set[Connection] = set()
        """Those whose JOB_CREATED, if it is not sent yet, waits since the last look at them."""
        self._longer: set[Connection] = set()
        """Those whose JOB_CREATED waits since the look before that."""
        self._look: asyncio.TimerHandle | None = None

    def announce(self, connection: Connection, packet: bytes) -> None:
        """Send a client the JOB_CREATED of a foreground job, now or later."""
        session = connection.session or self._gateway.session_of(connection)
        if session is None or len(session.listening) > 1:
            connection.in_step = 0
            connection.send(packet)
        elif connection.in_step < PROVEN:
            connection.in_step += 1
            connection.send(packet)
        else:
            self._waiting.add(connection)
            if self._look is None:
                self._look = self._loop.call_later(COMPANY_TIME / 2, self._end_waiting)
            connection.send_with_next(packet)

    def _end_waiting(self) -> None:
        for connection in self._longer - self._waiting:
            if connection.flush():
                connection.in_step = PROVEN - IN_VAIN
        self._waiting, self._longer = set(), self._waiting
        self._look = self._loop.call_later(COMPANY_TIME / 2, self._end_waiting) if self._longer else None

    def close(self) -> None:
        """Wait for nothing any more."""
        if self._look is not None:
            self._look.cancel()
