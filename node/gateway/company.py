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
"""Seconds that JOB_CREATED waits for company."""
PROVEN: Final = 2
"""After how many jobs in step a client is taken to go on like that."""
IN_VAIN: Final = 4
"""How many jobs a client is served at once after JOB_CREATED has waited in vain."""


class Company:
    """The clients of one node, as far as JOB_CREATED waits for company."""

    def __init__(self, gateway: "Gateway") -> None:
        self._gateway = gateway
        self._table = gateway.table
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[Connection, float] = {}
        """Until when the JOB_CREATED of each, if it is not sent yet, may wait."""
        self._end: asyncio.TimerHandle | None = None

    def announce(self, connection: Connection, packet: bytes) -> None:
        """Send a client the JOB_CREATED of a foreground job, now or later."""
        if not self._in_step(connection):
            connection.send(packet)
        else:
            self._waiting.pop(connection, None)
            self._waiting[connection] = self._loop.time() + COMPANY_TIME
            if self._end is None:
                self._end = self._loop.call_later(COMPANY_TIME, self._end_waiting)
            connection.send_with_next(packet)

    def _in_step(self, connection: Connection) -> bool:
        session = self._table.nodes[self._gateway.driver.name].sessions.get(connection.number)
        if session is None or len(session.listening) > 1:
            connection.in_step = 0
            return False
        connection.in_step += 1
        return connection.in_step > PROVEN

    def _end_waiting(self) -> None:
        self._end = None
        now = self._loop.time()
        waiting = self._waiting
        while waiting:
            connection, until = next(iter(waiting.items()))
            if until > now:
                self._end = self._loop.call_later(until - now, self._end_waiting)
                return
            del waiting[connection]
            if connection.flush():
                connection.in_step = PROVEN - IN_VAIN

    def close(self) -> None:
        """Wait for nothing any more."""
        if self._end is not None:
            self._end.cancel()
