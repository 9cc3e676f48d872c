"""The gateway: every connection of this node, and the way from the table's effects back to them.

Packets become commands in `requests`, reports of workers in `reports`; text commands are answered in `administration`.
Workers get their jobs in `assigning`, listeners their results in `telling`; the other effects become packets here. What
is left to do when the node is to stop is in `draining`. Not for: batching and durability, which are the driver's.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Any, Final

import structlog

from cluster import keepalive
from cluster.jobs import (
    Assigned,
    Command,
    Concluded,
    Created,
    Effect,
    Ended,
    Failed,
    Incapable,
    Job,
    JobTable,
    Joined,
    NoJob,
    Outcome,
    Refusal,
    Refused,
    Reserved,
    Revocation,
    Revoked,
    Session,
    SessionClose,
    SessionOpen,
    Settled,
    Submit,
)
from node.configuration import Configuration
from node.driver import PART, Driver
from node.gateway import reports, requests
from node.gateway.abilities import TOO_MANY, Abilities
from node.gateway.administration import Administration
from node.gateway.admission import Admission
from node.gateway.assigning import Assigning
from node.gateway.budget import Budget, share
from node.gateway.company import Company
from node.gateway.connection import Connection
from node.gateway.draining import Draining
from node.gateway.holders import Holders
from node.gateway.joins import Joins
from node.gateway.packet_limit import SmallestSetting
from node.gateway.reads import Reads
from node.gateway.resuming import Resuming
from node.gateway.shortage import Shortage
from node.gateway.steps import Steps
from node.gateway.telling import Telling
from node.gateway.worker import WorkerSession
from node.relay import Parcel, Send
from protocol import (
    FUNCTION_HAS_JOBS,
    FUNCTION_IN_USE,
    FUNCTION_NOT_FOUND,
    TOO_MANY_FUNCTIONS,
    UNKNOWN_JOB,
    AdminCommand,
    encode_error,
    encode_job_created,
    ok_line,
)

MAX_UPLOADS: Final = 32 << 20
"""Bytes of large workloads waiting for their turn beyond which no further one is read. One of them may be larger."""
TURN: Final = 1024
"""Requests that waited, of all connections, after which those of no further one are processed in this turn."""
CHECKS: Final = 4
"""How often within the stall timeout it is looked whether transfers go on."""

_REFUSALS: Final = {
    Refusal.QUEUE_FULL: encode_error(b"QUEUE_ERROR", b"Job queue is full"),
    Refusal.NO_SESSION: encode_error(b"QUEUE_ERROR", b"The connection is closing"),
    Refusal.TOO_MANY_FUNCTIONS: TOO_MANY,
}
_OUTCOMES: Final = {
    Outcome.DONE: ok_line(),
    Outcome.NO_SUCH_JOB: UNKNOWN_JOB,
    Outcome.NO_SUCH_FUNCTION: FUNCTION_NOT_FOUND,
    Outcome.FUNCTION_IN_USE: FUNCTION_IN_USE,
    Outcome.FUNCTION_HAS_JOBS: FUNCTION_HAS_JOBS,
    Outcome.TOO_MANY_FUNCTIONS: TOO_MANY_FUNCTIONS,
}

log = structlog.get_logger()


class Gateway:
    """All connections of one node."""

    def __init__(self, configuration: Configuration, driver: Driver, send: Send, *, memory: int = 0) -> None:
        """`send` takes reports to other nodes; `memory`: the bytes of memory that the node may take, if known."""
        self.driver = driver
        self.table = driver.table
        self.exceptions = configuration.exceptions
        self.max_unread = (64 << 20) + configuration.max_packet
        """Unsent bytes at which a connection that does not read is closed."""
        self.transfer_timeout = configuration.stall_timeout
        """Seconds that a peer may let a packet, or what it is sent, stand still (`node.gateway.progress`)."""
        self.connections: dict[int, Connection] = {}
        self.generation = 0
        """Connections of an earlier one say nothing more: all of them are being closed."""
        self.unread_from: dict[Connection, None] = {}
        """Connections that are not read from at the moment."""
        self.budget = Budget(share(memory, configuration.max_packet))
        self.steps = Steps()
        self.progress: dict[int, tuple[int, int]] = {}
        """The latest progress of jobs that run here, by number: the table is told less often."""
        self.untold_progress: dict[int, Connection] = {}
        """Of these, those whose latest progress the table has not been told, and whose worker says it."""
        self.overloaded = False
        """Whether so much is on its way to the table, or to other nodes, that nobody is read from."""
        self.uploads_full = False
        """Whether so many bytes of large workloads wait for their turn that no large packet is read on."""
        self.draining = False
        """Whether nothing more is given out: the node is to stop."""
        self._configuration = configuration
        self._loop = asyncio.get_running_loop()
        self.time = driver.awake.time
        self._numbers = 0
        self.unflushed = False
        """Whether there is something to write at the end of the turn."""
        self._unsent: list[Connection] = []
        """Connections with something to send then."""
        self._resumable: list[Connection] = []
        """Connections that can go on with what they were held back with."""
        self._next_turn: asyncio.Handle | None = None
        self._flush: asyncio.Handle | None = None
        self._progress_timer: asyncio.TimerHandle | None = None
        self._check: asyncio.TimerHandle | None = None
        self._checking = False
        """Whether it is being looked whether transfers go on."""
        self._leaving: dict[Connection, None] = {}
        """Connections of sessions that are over, as long as they are not closed."""
        self._admission = Admission()
        self.telling = Telling(self, send)
        self.relay = self.telling.relay
        self._listening = self.telling.listening
        self.holders = Holders(self, configuration.node_timeout)
        self.joins = Joins(self)
        self.reads = Reads(self)
        self.shortage = Shortage(self)
        self.packets = SmallestSetting(driver.name, configuration.max_packet, driver.table)
        self.assigning = Assigning(self)
        self.abilities = Abilities(self, configuration.max_worker_functions)
        self._company = Company(self)
        self._draining = Draining(self)
        self._resuming = Resuming(self)
        asking, self.run_handlers = requests.handlers(self)
        self.handlers = {**asking, **reports.handlers(self)}
        self._administration = Administration(self, configuration)
        # Each handler takes its own kind of effect, which no type of a dict can say.
        self._effects: dict[type[Any], Callable[[Any], None]] = {
            Created: self._created,
            Joined: self.joins.joined,
            Refused: self._refused,
            Assigned: self.assigning.assigned,
            NoJob: self.assigning.no_job,
            Reserved: self.assigning.reserved,
            Revoked: self._revoked,
            Failed: self.telling.failed,
            Ended: self.telling.ended,
            Concluded: self.telling.concluded,
            Incapable: self.abilities.incapable,
            Settled: self._settled,
        }

    # -- connections --------------------------------------------------------------------------------------------------

    def accept(self) -> Connection:
        """Make the protocol object of a new connection."""
        self._numbers += 1
        return Connection(self, self._numbers)

    def prepare_socket(self, accepted: socket.socket) -> None:
        """Let an accepted connection end when the host at its other end is dead (gearmand#386)."""
        settings = self._configuration
        if settings.keepalive:
            keepalive.arm(accepted, settings.keepalive_idle, settings.keepalive_interval, settings.keepalive_count)

    def connected(self, connection: Connection, accepted: socket.socket | None) -> None:
        """Take a connection in; there may be no socket that one could look at."""
        if self.draining or not self.driver.serving:
            connection.abort()
            return
        if accepted is not None:
            if not self._admission.admits(accepted.fileno(), self.time()):
                connection.abort()
                return
            self.prepare_socket(accepted)
        self.connections[connection.number] = connection
        if self._check is None:
            self._check = self._loop.call_later(self.transfer_timeout / CHECKS, self._check_transfers)

    def disconnected(self, connection: Connection, error: Exception | None) -> None:
        """Let a connection go; the table gives back what it held."""
        self.unread_from.pop(connection, None)
        if self.connections.pop(connection.number, None) is None:
            self._leaving.pop(connection, None)  # its session is over, or never began
            return
        self.assigning.forget(connection)
        self.joins.disconnected(connection.number)
        self.telling.disconnected(connection.number)
        worker = connection.worker
        if worker is not None:
            for job in worker.running.values():
                self.progress.pop(job.number, None)
                self.untold_progress.pop(job.number, None)
        if connection.opened:
            if worker is None:  # nobody waits for what it leaves: if anything, jobs that no worker has
                self.driver.propose_lazily(SessionClose(connection.number))
            else:
                self.driver.propose(SessionClose(connection.number))
        if self.draining:
            self.check_drained()
        if error is not None:
            log.debug("connection_lost", peer=connection.peer, error=str(error))

    def open_session(self, connection: Connection) -> None:
        """Make the table know this connection, if it does not yet."""
        if not connection.opened:
            connection.opened = True
            self.driver.propose_lazily(SessionOpen(connection.number, connection.peer))

    def session_of(self, connection: Connection) -> Session | None:
        """Give the connection's session in the table; None: the table does not know it yet, or any more."""
        session = connection.session
        if session is None:
            node = self.table.nodes.get(self.driver.name)
            session = node.sessions.get(connection.number) if node is not None else None
            connection.session = session
        return session

    def worker_of(self, connection: Connection) -> WorkerSession:
        """Give the connection's worker side; it becomes a worker by that."""
        if connection.worker is None:
            connection.worker = WorkerSession()
            self.open_session(connection)
        return connection.worker

    def submit(self, connection: Connection, submit: Submit) -> None:
        """Bring a job before the table that this connection submits; its answer is awaited."""
        connection.waiting += 1
        if self.driver.propose_submit(submit):
            connection.uploading = True
        if not self.uploads_full and self.driver.uploading > MAX_UPLOADS:
            self.uploads_full = True
            for other in self.budget.larger_than(PART):
                other.regulate()

    def administer(self, connection: Connection, command: AdminCommand) -> None:
        """Answer a text command."""
        self.assigning.tell_taken()
        self._administration.answer(connection, command)

    # -- turns --------------------------------------------------------------------------------------------------------

    def send_later(self, connection: Connection) -> None:
        """Write what this connection has to send at the end of the turn."""
        self._unsent.append(connection)
        self.unflushed = True
        if self._flush is None and not self.driver.in_turn:
            self._flush = self._loop.call_soon(self.flush)

    def flush_later(self) -> None:
        """Write everything there is to write at the end of the turn."""
        self.unflushed = True
        if self._flush is None and not self.driver.in_turn:
            self._flush = self._loop.call_soon(self.flush)

    def resume_later(self, connection: Connection) -> None:
        """Let the connection go on with what it was held back with, in the next turn."""
        self._resumable.append(connection)
        if self._next_turn is None:
            self._next_turn = self._loop.call_soon(self._resume)

    def _resume(self) -> None:
        self._next_turn = None
        resumable, self._resumable = self._resumable, []
        left = TURN
        for position, connection in enumerate(resumable):
            if left <= 0:
                self._resumable[:0] = resumable[position:]
                break
            if not connection.closed:
                left -= connection.resume()
        if self._resumable and self._next_turn is None:
            self._next_turn = self._loop.call_soon(self._resume)
        self.flush()

    def flush(self) -> None:
        """Write everything there is to write: one write for each connection."""
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None
        self.unflushed = False
        holders = self.holders
        if holders.busy:
            holders.check()
        if self._unsent:
            unsent, self._unsent = self._unsent, []
            for connection in unsent:
                connection.flush()
        if holders.unsent:
            holders.send()
        relay = self.relay
        if relay.unsent or relay.owed:
            relay.flush()
        overloaded = self.driver.congested or relay.congested or self.telling.congested
        if overloaded is not self.overloaded:
            self.overloaded = overloaded
            if not overloaded:
                self.steps.each(self.unread_from, Connection.regulate)
        if self.uploads_full and self.driver.uploading <= MAX_UPLOADS:
            self.uploads_full = False
            self.steps.each(self.unread_from, Connection.regulate)

    def deliver(self, effects: list[Effect]) -> None:
        """Carry out the effects of one entry."""
        handlers = self._effects
        position, end = 0, len(effects)
        while position < end:
            effect = effects[position]
            if type(effect) is Created and not effect.listens and not effect.ticket:
                position = self._acknowledge(effects, position)
            else:
                handlers[type(effect)](effect)
                position += 1

    # -- effects ------------------------------------------------------------------------------------------------------

    def _acknowledge(self, effects: list[Effect], position: int) -> int:
        """Answer a run of submits of one session that does not wait for results; tell where in the effects it ends."""
        session = effects[position].session
        packets = []
        while position < len(effects):
            effect = effects[position]
            if type(effect) is not Created or effect.session != session or effect.listens or effect.ticket:
                break
            packets.append(encode_job_created(effect.job.handle))
            position += 1
        connection = self.connections.get(session)
        if connection is not None:
            connection.answer(*packets)
        return position

    def _created(self, effect: Created) -> None:
        job = effect.job
        packet = encode_job_created(job.handle)
        connection = self.connections.get(effect.session)
        if effect.ticket:
            self.joins.answer(effect.ticket, packet)
        elif connection is not None:
            if job.background:
                connection.send(packet)
            else:
                self._company.announce(connection, packet)
        if connection is None:
            return
        if effect.listens:
            self.telling.created(effect)
        if not effect.ticket:
            connection.answered()

    def _refused(self, effect: Refused) -> None:
        packet = _REFUSALS.get(effect.refusal) or self.shortage.refusal()
        connection = self.connections.get(effect.session)
        if not effect.ticket and connection is None:
            return
        if self.joins.refused(effect, packet):
            return
        if effect.ticket:
            self.joins.answer(effect.ticket, packet)
        elif connection is not None:
            connection.answer(packet)

    def _settled(self, effect: Settled) -> None:
        connection = self.connections.get(effect.session)
        if connection is not None:
            connection.answer(_OUTCOMES[effect.outcome])

    def _revoked(self, effect: Revoked) -> None:
        self.telling.revoked(effect.job)
        connection = self.connections.get(effect.session)
        if connection is not None:
            self.revoke(connection, effect)

    def revoke(self, connection: Connection, effect: Revoked) -> None:
        """Take a job from a worker."""
        worker, job = connection.worker, effect.job
        if worker is None:
            return
        if self.assigning.drop(worker, effect):
            return
        self.forget_progress(job)
        if worker.running.pop(job.handle, None) is not None and effect.why is Revocation.CANCELLED:
            worker.muted.add(job.handle)

    # -- progress -----------------------------------------------------------------------------------------------------

    def forget_progress(self, job: Job) -> None:
        """Drop what is known of the job's progress."""
        if self.progress and self.progress.pop(job.number, None) is not None:
            self.untold_progress.pop(job.number, None)

    def watch_progress(self) -> None:
        """See to it that untold progress is told."""
        if self._progress_timer is None:
            self._progress_timer = self._loop.call_later(reports.PROGRESS_INTERVAL, self._tell_progress)

    def _tell_progress(self) -> None:
        self._progress_timer = None
        reports.tell_progress(self)

    # -- other nodes --------------------------------------------------------------------------------------------------

    def parcel(self, node: str, parcel: Parcel) -> None:
        """Take what another node's workers report, or the receipt for what was reported there."""
        self.telling.received(node, parcel)

    def complete(self, commands: Sequence[Command]) -> None:
        """Add to what is about to be written what workers may have of the jobs in it."""
        self.assigning.complete(commands)

    def tick(self) -> None:
        """See to what nothing else reminds of."""
        self.packets.look()
        self.telling.tick()
        self.joins.tick()
        if self.holders.busy:
            self.holders.tick()
        if self.draining:
            self._draining.go_on()

    # -- stalls and the end -------------------------------------------------------------------------------------------

    def _check_transfers(self) -> None:
        """Look, a few in each turn, which connections have let a packet or unread bytes stand still for too long."""
        self._check = None
        if self.connections or self._leaving:
            self._check = self._loop.call_later(self.transfer_timeout / CHECKS, self._check_transfers)
            if not self._checking:
                self._checking = True
                self.steps.each([*self.connections.values(), *self._leaving], Connection.check, self._checked)

    def _checked(self) -> None:
        self._checking = False

    @property
    def running(self) -> int:
        """How many jobs the workers of this node run at the moment."""
        return self._draining.running

    @property
    def awaited(self) -> int:
        """How many jobs that workers of other nodes have are waited for by clients of this one."""
        return self._draining.awaited

    def drain(self, drained: Callable[[], None]) -> None:
        """Give out nothing more: reservations go back, workers are told NO_JOB, new connections are refused.

        Where there are other nodes, whoever waits for nothing here is hung up on, so as to go on there. `drained` is
        called once no job runs here any more, and nobody here waits for one that runs.
        """
        self.draining = True
        self.assigning.drain()
        self._draining.begin(drained)

    def check_drained(self) -> None:
        """See whether anything is left to wait for, while draining."""
        self._draining.check_soon()

    def begin(self, incarnation: int) -> None:
        """Begin with the sessions of a new incarnation of this node."""
        self.relay.begin(incarnation)

    def hang_up(self) -> None:
        """Close every connection: this node cannot serve anybody now, and another one can.

        From now on nothing that comes over them is taken; to close very many takes several turns.
        """
        self.generation += 1
        self.steps.each(self.connections.values(), Connection.close)

    def resume(self, before: JobTable, seen: Sequence[Command], pending: Sequence[Command]) -> int:
        """Go on with the sessions of this incarnation in a table that a snapshot brought (`node.gateway.resuming`)."""
        return self._resuming.resume(before, seen, pending)

    def break_off(self) -> None:
        """Close every connection: the table has let their sessions go, and those of a new incarnation are others.

        From now on they say nothing, and are told nothing; to close very many takes several turns.
        """
        self.generation += 1
        leaving = list(self.connections.values())
        self._leaving |= dict.fromkeys(leaving)
        self.connections.clear()
        self.assigning.reset()
        self.progress.clear()
        self.untold_progress.clear()
        self.holders.reset()
        self.joins.reset()
        self.telling.reset()
        self.steps.each(leaving, Connection.close)

    def close(self, closed: Callable[[], object] = lambda: None) -> None:
        """Close every connection, once what it was sent is written. `closed` is called when that has begun for all."""
        self.assigning.close()
        self._company.close()
        for timer in (self._progress_timer, self._check):
            if timer is not None:
                timer.cancel()
        self.steps.each(self.connections.values(), Connection.close, closed)
