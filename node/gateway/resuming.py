"""The sessions of this node go on in a table that a snapshot brought, if they are in it.

A node that lags far behind is sent a table. The effects of the entries in between were never delivered here. What they
had to say is told from the two tables, and from what this node had on its way:

- A job that a worker here has and the new table has in its hands goes on. Any other is revoked.
- A job that the new table keeps for a worker here, and that its node does not know of, is given to it: as the answer to
  a GRAB_JOB which the table has seen, or with a NOOP. A worker that sleeps and is not asleep in the table is woken.
- An end that a worker here has told, and the table has seen, is told to those who had not heard it.
- A session that listens to a job which is gone hears the end that the worker's node has sent, or is going to send: each
  node is asked whether it has more to say. If none has, the job has failed.
- The answer to a submit, or to an administrative command, that the table has seen is not known. That connection is
  closed, for its client to ask again; so is one whose submit waits for another node's word.

Not for: a table that does not have this incarnation of the node. Then all its sessions are over (`Gateway.break_off`).
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from cluster.jobs import (
    Assigned,
    Can,
    Cancel,
    Cant,
    CantAny,
    Command,
    CreateFunction,
    DropFunction,
    Finish,
    Grab,
    Incapable,
    Job,
    JobTable,
    NoJob,
    Park,
    Reserved,
    Revocation,
    Revoked,
    Session,
    SetLimit,
    Submit,
    Unreserve,
)
from node.gateway.connection import Connection
from node.gateway.holders import NO_JOB, Verdict
from node.gateway.worker import NOOP, WorkerSession

if TYPE_CHECKING:
    from node.gateway.gateway import Gateway

_ANSWERED: Final = (Submit, Cancel, CreateFunction, DropFunction, SetLimit)
"""Commands that a client is waiting for an answer to which the tables do not tell."""


class Resuming:
    """What one node does about its sessions when its table is replaced."""

    def __init__(self, gateway: "Gateway") -> None:
        self._gateway = gateway
        self._driver = gateway.driver
        self._table = gateway.table

    def resume(self, before: JobTable, seen: Sequence[Command], pending: Sequence[Command]) -> int:
        """Go on in the table as it is now; tell how many connections had to be closed.

        `before` is the table that it took the place of. `seen`: the commands of this node that are in it and were not
        in the other. `pending`: those that are in neither.
        """
        gateway = self._gateway
        closing = {command.session for command in seen if isinstance(command, _ANSWERED)}
        closing |= gateway.joins.resume({command.ticket for command in seen if isinstance(command, Submit)})
        closed = [connection for number in closing if (connection := gateway.connections.get(number)) is not None]
        for connection in gateway.connections.values():
            connection.session = None
        told = self._end(before)
        given: defaultdict[int, set[int]] = defaultdict(set)
        for command in pending:
            if isinstance(command, Unreserve) or (
                isinstance(command, Finish) and self._attempts(command.job) == command.attempts
            ):
                given[command.session].add(command.job)
        grabs = Counter(command.session for command in seen if isinstance(command, Grab))
        parks = {command.session for command in pending if isinstance(command, Park)}
        for connection in list(gateway.connections.values()):
            if connection.worker is not None:
                number = connection.number
                self._resume_worker(connection, connection.worker, given[number], grabs[number], asleep=number in parks)
        self._drop_progress()
        self._tell_incapable(seen)
        for connection in closed:
            connection.close()
        self._find_ends(before, told, closing)
        if gateway.draining:
            gateway.check_drained()
        gateway.flush_later()
        return len(closed)

    def _attempts(self, number: int) -> int:
        job = self._table.jobs.get(number)
        return job.attempts if job is not None else -1

    def _keeps(self, session: int, job: Job) -> Job | None:
        """Give the job as the table has it, if it is still in the hands of this session, in the same run."""
        found = self._table.jobs.get(job.number)
        if found is None or not self._is_here(found) or found.attempts != job.attempts:
            return None
        return found if found.holder.number == session else None

    def _is_here(self, job: Job) -> bool:
        """Tell whether a session of this incarnation of this node has a job, by the table as it is now."""
        holder: Session | None = job.holder
        return holder is not None and holder.node is self._table.nodes.get(self._driver.name)

    # -- workers ------------------------------------------------------------------------------------------------------

    def _resume_worker(
        self, connection: Connection, worker: WorkerSession, given: set[int], grabs: int, *, asleep: bool
    ) -> None:
        """Go on with a worker.

        `given`: the jobs that it gives back, or has ended, and the table does not know. `grabs`: how many of its
        GRAB_JOBs the table has seen, and nobody has answered. `asleep`: that it sleeps is on its way to the table.
        """
        gateway, number = self._gateway, connection.number
        assigning = gateway.assigning
        known = set(given)
        for handle, job in list(worker.running.items()):
            kept = self._keeps(number, job)
            if kept is not None:
                worker.running[handle] = kept
                known.add(job.number)
                continue
            assigning.untold.pop(job.number, None)
            gone = job.number not in self._table.jobs
            gateway.revoke(connection, Revoked(number, job, Revocation.CANCELLED if gone else Revocation.TIME_LIMIT))
        reserved = [(kept, since) for job, since in worker.reserved if (kept := self._keeps(number, job)) is not None]
        worker.reserved.clear()
        worker.reserved.extend(reserved)
        worker.unwanted = [kept for job in worker.unwanted if (kept := self._keeps(number, job)) is not None]
        known.update(job.number for job, _ in reserved)
        known.update(job.number for job in worker.unwanted)
        session = gateway.session_of(connection)
        jobs = [self._table.jobs[each] for each in session.holding if each not in known] if session is not None else []
        jobs.sort(key=lambda job: (job.priority, job.number))
        for job in jobs:
            if grabs:
                grabs -= 1
                assigning.assigned(Assigned(number, job))
            else:
                assigning.reserved(Reserved(number, job, wake=True))
        for _ in range(grabs):
            assigning.no_job(NoJob(number))
        if worker.asleep and session is not None and not session.parked and not asleep:
            # A job was kept for it and went to another: it was to be woken for that.
            worker.asleep = False
            connection.send(NOOP)

    def _tell_incapable(self, seen: Sequence[Command]) -> None:
        """Tell workers of what they said that they can do, and the table has not taken."""
        wanted: dict[tuple[int, bytes], None] = {}
        for command in seen:
            if isinstance(command, Can):
                wanted[command.session, command.function] = None
            elif isinstance(command, Cant):
                wanted.pop((command.session, command.function), None)
            elif isinstance(command, CantAny):
                wanted = dict.fromkeys(key for key in wanted if key[0] != command.session)
        here = self._table.nodes[self._driver.name]
        for number, function in wanted:
            session = here.sessions.get(number)
            if session is not None and function not in session.abilities:
                self._gateway.abilities.incapable(Incapable(number, function))

    def _drop_progress(self) -> None:
        gateway = self._gateway
        running = {
            job.number
            for connection in gateway.connections.values()
            if connection.worker is not None
            for job in connection.worker.running.values()
        }
        for progress in (gateway.progress, gateway.untold_progress):
            for number in [number for number in progress if number not in running]:
                del progress[number]

    # -- the ends of jobs ---------------------------------------------------------------------------------------------

    def _end(self, before: JobTable) -> set[int]:
        """See to the jobs whose end a worker here has told; give those that are over.

        Those here who listened and were not told, because they joined while the end was on its way, are told now.
        """
        gateway = self._gateway
        telling = gateway.telling
        over = set()
        for number, (kind, args, told) in list(telling.endings.items()):
            job = before.jobs.get(number)
            if job is None:
                continue
            found = self._table.jobs.get(number)
            if found is None:
                over.add(number)
                telling.end(job)
            elif not self._is_here(found) or found.attempts != job.attempts:
                telling.revoked(job)
            else:
                names = {(each.node.name, each.node.incarnation, each.number) for each in told}
                still = [
                    each for each in found.listeners if (each.node.name, each.node.incarnation, each.number) in names
                ]
                telling.endings[number] = (kind, args, tuple(still))
        return over

    def _find_ends(self, before: JobTable, told: set[int], closing: set[int]) -> None:
        """See to it that those here who listen to jobs which are gone hear an end."""
        gateway = self._gateway
        listening = gateway.telling.listening
        here = before.nodes.get(self._driver.name)
        jobs = self._table.jobs
        left = [
            (number, before.jobs[each])
            for number, session in (here.sessions.items() if here is not None else ())
            if number in gateway.connections and number not in closing
            for each in sorted(session.listening)
            if each not in jobs and each not in told
            if listening.await_end(number, before.jobs[each])
        ]
        if left:
            self._ask_everybody(left)

    def _ask_everybody(self, left: list[tuple[int, Job]]) -> None:
        """Wait until no node can have anything more to say of these ends that was not heard."""
        gateway = self._gateway
        others = [node for node in self._table.nodes.values() if node.up and node.name != self._driver.name]
        asked, answered = len(others), True

        def one_more(verdict: Verdict) -> None:
            nonlocal asked, answered
            asked -= 1
            answered = answered and verdict is not Verdict.UNANSWERED
            if asked <= 0:
                self._give_up(left, answered=answered)

        for node in others:
            gateway.holders.ask(node.name, node.incarnation, NO_JOB, 0, one_more)
        if not others:
            self._give_up(left, answered=True)

    def _give_up(self, left: list[tuple[int, Job]], *, answered: bool) -> None:
        """End the waiting of those who have heard nothing: nobody has more to say; or not all have answered."""
        gateway = self._gateway
        for number, job in left:
            if answered:
                gateway.telling.listening.give_up(number, job)
            elif gateway.telling.listening.awaits(number, job.number) and number in gateway.connections:
                gateway.connections[number].close()
