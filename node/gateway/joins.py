"""Submits that joined a job which a worker of another node has: answered once it is known that they joined in time.

A client may have been told the end of a job that the table still has, and submit the same unique key again: another
run is to answer it. So a submit that joins such a job is not acknowledged before the worker's node has said that the
job runs (`holders`). If it had ended, the submit is proposed again once the table knows, and makes a new job. What
the worker says of the job is kept meanwhile (`listening`), and so is whatever else this connection would be sent.

A submit that is refused because its queue is full is treated in the same way: jobs that have ended do not count.
Not for: submits that join a job which waits, or which a worker of this node has: these have joined in time.
"""

from collections.abc import Container
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from cluster.jobs import Job, Joined, Refused, Session, Submit
from node.gateway.connection import Connection
from node.gateway.holders import Verdict
from node.gateway.withheld import Owed
from protocol import encode_job_created

if TYPE_CHECKING:
    from node.gateway.gateway import Gateway


ROUNDS: Final = 8
"""How often a submit that finds its queue full looks again, while jobs end and others take their places."""

log = structlog.get_logger()


class Join:
    """One submit that is not answered yet."""

    __slots__ = ("again", "connection", "index", "job", "listens", "owed", "rounds", "submit", "ticket")

    def __init__(self, submit: Submit, connection: Connection | None, owed: Owed | None, ticket: int) -> None:
        self.submit = submit
        self.connection = connection
        """None: it has gone; the job of a background submit is to be run all the same."""
        self.owed = owed
        """The place of its answer."""
        self.ticket = ticket
        self.job: Job | None = None
        """What it has joined; None while it is on its way to the table again."""
        self.listens = False
        """Whether reports on that job are kept for it: it listens, and did not listen before."""
        self.again = False
        """Whether it listened to that job before."""
        self.index = 0
        """Of the entry by which it joined."""
        self.rounds = 0
        """How often it found its queue full."""


class Joins:
    """The submits of one node that wait for another node's word."""

    def __init__(self, gateway: "Gateway") -> None:
        self._gateway = gateway
        self._driver = gateway.driver
        self._table = gateway.table
        self._connections = gateway.connections
        self._joins: dict[int, Join] = {}
        """By ticket."""
        self._of: dict[int, dict[int, Join]] = {}
        """The same, for each session."""
        self._tickets = 0

    def __len__(self) -> int:
        return len(self._joins)

    # -- what the table says ------------------------------------------------------------------------------------------

    def joined(self, effect: Joined) -> None:
        """Take a submit that joined a job of another node's worker."""
        join = self._join(effect.session, effect.submit)
        if join is None:
            return
        job = join.job = effect.job
        foreground = not effect.submit.background
        join.again = foreground and effect.again
        join.listens = foreground and not effect.again
        join.index = self._driver.delivering
        if join.listens and self._gateway.telling.listening.hold(effect.session, job):
            self._accept(join)  # the worker's last word was sent to this session, so it came after the submit
        else:
            self._ask(join, effect.node, effect.incarnation)

    def refused(self, effect: Refused, packet: bytes) -> bool:
        """Take a submit that found its queue full of jobs some of which may have ended; tell whether it has to wait.

        `packet` is the refusal.
        """
        if effect.submit is None or self._driver.alone:
            return False
        join = self._join(effect.session, effect.submit)
        if join is not None:
            self._settle(join, packet)
        return True

    def _settle(self, join: Join, packet: bytes) -> None:
        """Refuse a submit once it is certain that its queue was full; propose it again if there may be room."""
        join.rounds += 1
        last = self._table.last_job

        def then() -> None:
            if join.ticket not in self._joins:
                return  # its client has gone
            function = self._table.functions.get(join.submit.function)
            limit = function.limits[join.submit.priority] if function is not None else 0
            if function is None or not 0 < limit <= function.total:
                if join.rounds <= ROUNDS:
                    self._propose_again(join)
                    return
            else:
                uncertain = self._table.last_job - last + len(self._gateway.telling.endings)
                if function.total - uncertain < limit and join.rounds <= ROUNDS:
                    self._settle(join, packet)
                    return
            self.answer(join.ticket, packet)

        self._gateway.holders.settle(then)

    def answer(self, ticket: int, packet: bytes) -> None:
        """Answer a submit that was proposed again."""
        join = self._joins.get(ticket)
        if join is not None:
            self._forget(join)
            self._give(join, packet)

    def failed(self, session: int, job: Job) -> bool:
        """Note that a job has failed. What joined it and is not answered is proposed again.

        Tell whether that is all there is to do: nobody has told this session of the job.
        """
        alone = False
        joins = list(self._of.get(session, {}).values())
        for join in [each for each in joins if each.job is not None and each.job.number == job.number]:
            alone = alone or join.listens
            self._propose_again(join)
        return alone

    # -- what the worker's node says ----------------------------------------------------------------------------------

    def _ask(self, join: Join, node: str, incarnation: int, *, again: bool = False) -> None:
        job = join.job
        assert job is not None
        session = 0 if join.submit.background else join.submit.session

        def then(verdict: Verdict) -> None:
            if join.ticket in self._joins and join.job is job:
                self._decide(join, job, verdict, node, incarnation)

        holders = self._gateway.holders
        (holders.ask_again if again else holders.ask)(node, incarnation, job.number, session, then)

    def _decide(self, join: Join, job: Job, verdict: Verdict, node: str, incarnation: int) -> None:
        listening, session = self._gateway.telling.listening, join.submit.session
        known = self._table.jobs.get(job.number)
        holder: Session | None = known.holder if known is not None else None
        there = (holder.node.name, holder.node.incarnation) if holder is not None and holder.node.up else None
        if join.again and listening.told_since(session, job.number, join.index + 1):
            self._accept(join)  # the run that ended then began after it had joined
        elif join.again and job.number not in self._table.jobs and not listening.awaits(session, job.number):
            self._propose_again(join)  # the first request has been answered: nothing more comes of this job
        elif verdict is Verdict.RUNS or (join.listens and listening.has_end(session, job)):
            self._accept(join)
        elif job.number not in self._table.jobs:
            self._propose_again(join)
        elif there == (node, incarnation):
            self._ask(join, node, incarnation, again=verdict is Verdict.APPLIED)
        else:
            self._accept(join)  # the job has gone back to its queue since, and is going to be run once more

    def _accept(self, join: Join) -> None:
        self._forget(join)
        job, session = join.job, join.submit.session
        assert job is not None
        self._give(join, encode_job_created(job.handle))
        listening = self._gateway.telling.listening
        if join.listens:
            listening.release(session, job)
        elif join.again:
            self._gateway.telling.again(session, job, join.index + 1)

    def _propose_again(self, join: Join) -> None:
        if join.ticket not in self._joins:
            return  # its client has gone
        job, join.job = join.job, None
        submit = join.submit
        if join.listens and job is not None:
            self._gateway.telling.listening.discard(submit.session, job)
        self._driver.propose_submit(msgspec.structs.replace(submit, ticket=join.ticket))

    # -- answers ------------------------------------------------------------------------------------------------------

    def _join(self, session: int, submit: Submit) -> Join | None:
        """Give the submit that an effect is about; None: its client has gone, and it need not be seen to."""
        if submit.ticket:
            return self._joins.get(submit.ticket)
        connection = self._connections.get(session)
        if connection is None and not submit.background:
            return None
        self._tickets += 1
        owed = connection.owe() if connection is not None else None
        join = self._joins[self._tickets] = Join(submit, connection, owed, self._tickets)
        self._of.setdefault(session, {})[join.ticket] = join
        if connection is not None:
            connection.keep(len(submit.workload))
        return join

    def _forget(self, join: Join) -> None:
        session = join.submit.session
        del self._joins[join.ticket], self._of[session][join.ticket]
        if join.connection is not None:
            join.connection.keep(-len(join.submit.workload))
        if not self._of[session]:
            del self._of[session]

    def _give(self, join: Join, packet: bytes) -> None:
        if join.connection is not None and join.owed is not None:
            join.connection.give(join.owed, packet)

    def disconnected(self, session: int) -> None:
        """Let a connection go: what it submitted in the background is to be run all the same."""
        for join in list(self._of.get(session, {}).values()):
            join.connection = join.owed = None
            if not join.submit.background:
                self._forget(join)
                if join.listens and join.job is not None:
                    self._gateway.telling.listening.discard(session, join.job)

    def resume(self, seen: Container[int]) -> set[int]:
        """Go on in a table that a snapshot brought; give the sessions whose answer is not known.

        `seen`: the tickets of the submits that it has seen, and whose effects nobody has.
        """
        sessions = {join.submit.session for join in self._joins.values() if join.connection is not None}
        for join in list(self._joins.values()):
            if join.ticket in seen:
                self._forget(join)
            elif join.job is not None and join.job.number not in self._table.jobs and join.submit.background:
                self._propose_again(join)
        return sessions

    def tick(self) -> None:
        """Close connections behind whose unknown answers too much has gathered."""
        for connection in {join.connection for join in self._joins.values() if join.connection is not None}:
            if connection.withheld > self._gateway.max_unread:
                log.warning("connection_closed", peer=connection.peer, why="too much waits behind a submit")
                connection.abort()

    def reset(self) -> None:
        """Forget all of them."""
        self._joins.clear()
        self._of.clear()
