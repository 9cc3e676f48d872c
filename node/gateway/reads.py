"""Reads of the job table that agree with what any client could know: linearizable, but for what a failure brings.

Before an answer is given, everything is applied here that this node has proposed and any node has acknowledged, and
every end of a job that a client may have been told (`holders`). Nothing that was sent after the question overtakes it.
Not for: what is answered (`requests`, `administration`).
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from cluster.jobs import Job, Session
from node.gateway.connection import Connection
from node.gateway.holders import Verdict

if TYPE_CHECKING:
    from node.gateway.gateway import Gateway

Find = Callable[[], Job | None]
"""Look a job up in the table."""
Answer = Callable[[Job | None], None]
"""Answer with a job, or with None: there is none, or it has ended."""
_Held = tuple[str, int, int]
"""A node, its incarnation, and the number of a job that a worker there has."""


class Reads:
    """The questions of one node's connections."""

    def __init__(self, gateway: "Gateway") -> None:
        self._gateway = gateway
        self._driver = gateway.driver

    def when_settled(self, connection: Connection, answer: Callable[[], None]) -> None:
        """Answer once everything that was proposed here before is applied."""
        self._begin(connection)
        self._driver.when_settled(lambda: self._end(connection, answer))

    def when_empty(self, connection: Connection, answer: Callable[[], None]) -> None:
        """Answer once everything that was brought here before is applied, what is uploaded in parts included."""
        self._begin(connection)
        self._driver.when_empty(lambda: self._end(connection, answer))

    def when_known(self, connection: Connection, find: Find, answer: Answer) -> None:
        """Answer with a job, as far as any client could know of it by now."""
        self._begin(connection)
        self._driver.when_current(partial(self._look, connection, find, answer))

    def when_all_known(self, then: Callable[[], None]) -> None:
        """Call back once the table knows everything that any client could know by now, of whatever job."""
        self._driver.when_current(lambda: self._gateway.holders.settle(then))

    def _look(self, connection: Connection, find: Find, answer: Answer, before: _Held | None = None) -> None:
        """Answer with the job as the table has it, or ask the node whose worker has it.

        `before`: what was asked for and had ended there.
        """
        job = find()
        holder: Session | None = job.holder if job is not None else None
        if job is not None and holder is not None and holder.node.up and holder.node.name != self._driver.name:
            held = (holder.node.name, holder.node.incarnation, job.number)
            then = partial(self._decide, connection, find, answer, held)
            holders = self._gateway.holders
            (holders.ask if held != before else holders.ask_again)(*held, 0, then)
        elif job is not None and job.number in self._gateway.telling.endings:
            # Another job may have the same unique key.
            self._driver.when_settled(partial(self._look, connection, find, answer))
        else:
            self._end(connection, lambda: answer(job))

    def _decide(self, connection: Connection, find: Find, answer: Answer, held: _Held, verdict: Verdict) -> None:
        if verdict is not Verdict.APPLIED:
            self._end(connection, lambda: answer(find()))
        else:
            self._look(connection, find, answer, held)

    def _begin(self, connection: Connection) -> None:
        self._gateway.assigning.tell_taken()
        connection.waiting += 1
        connection.reading_table = True

    def _end(self, connection: Connection, answer: Callable[[], None]) -> None:
        connection.reading_table = False
        if not connection.closed:
            answer()
            connection.answered()
