"""The connections of a simulated node: what `node.gateway` is to the driver, without packets.

Reports of workers on other nodes, and to them, go through the real `node.relay` and `node.gateway.listening`; how a
job ended here is kept until the table knows, as `node.gateway.telling` does. Not for: what actors do with what they
are told.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

from cluster.jobs import (
    Concluded,
    Created,
    Effect,
    Ended,
    Failed,
    Finish,
    Job,
    Node,
    Park,
    Progress,
    Revoked,
    Session,
    SessionClose,
    SessionOpen,
    Take,
)
from node.driver import Driver
from node.gateway.assigning import TAKE_DELAY
from node.gateway.listening import FINAL, Listening, Report
from node.relay import Parcel, Relay
from protocol import PacketType
from tests.simulation.loop import Handle

if TYPE_CHECKING:
    from tests.simulation.machine import Machine

_LAZY = (SessionOpen, Take, Progress)


class Line(Protocol):
    """A client or worker, as its node sees it."""

    def effect(self, effect: Effect, index: int) -> None: ...
    def report(self, kind: PacketType, args: list[bytes]) -> None: ...
    def disconnected(self) -> None: ...


class Connection:
    """One connection."""

    __slots__ = ("line", "opened", "running")

    def __init__(self, line: Line) -> None:
        self.line = line
        self.opened = False
        """Whether the table knows of it, or will."""
        self.running: dict[int, Job] = {}


class Gateway:
    """All connections of one process (`node.driver.EffectSink`)."""

    def __init__(
        self,
        machine: "Machine",
        driver: Driver,
        send: Callable[[str, Parcel], bool],
        applied_index: Callable[[], int],
        begun: Callable[[int], None],
    ) -> None:
        """`applied_index` tells which entry the effects are of; `begun` is told of each new incarnation."""
        self._machine = machine
        self._driver = driver
        self._applied_index = applied_index
        self._begun = begun
        self._numbered = 0
        self.connections: dict[int, Connection] = {}
        self.reads: set[int] = set()
        """Questions that are not answered."""
        self._asked = 0
        self._endings: dict[int, tuple[PacketType, list[bytes], tuple[Session, ...]]] = {}
        """Jobs whose end is on its way to the table, and which listeners have been told."""
        self._overdue: dict[int, tuple[PacketType, list[bytes], tuple[Session, ...]]] = {}
        """Of the jobs that a worker here ended when their time was over: the table may take its word all the same."""
        self.relay = Relay(driver.table, driver.name, send, self._reported)
        self._listening = Listening(driver.name, driver.table, self._say)
        self._flush: Handle | None = None

    # Connections

    def connect(self, line: Line) -> int:
        """Take a connection in and return its number; 0 when nobody is served here."""
        if not self._driver.serving:
            return 0
        self._numbered += 1
        self.connections[self._numbered] = Connection(line)
        return self._numbered

    def close(self, number: int) -> None:
        """Note that a connection is gone."""
        connection = self.connections.pop(number, None)
        if connection is not None:
            self._listening.disconnected(number)
            if connection.opened:
                self._driver.propose(SessionClose(number))

    def bring(self, number: int, commands: Iterable[Any]) -> None:
        """Bring what a connection says before the table, if the connection still is one."""
        connection = self.connections.get(number)
        if connection is None:
            return
        driver = self._driver
        for command in commands:
            kind = type(command)
            if kind is SessionOpen:
                connection.opened = True
            if kind in _LAZY:
                driver.propose_lazily(command)
            elif kind is Park and self._machine.random.random() < 0.5:
                driver.propose_while_idle(command)
            else:
                driver.propose(command, len(getattr(command, "workload", b"")))

    def take(self, number: int, job: Job, *, timed: bool) -> None:
        """Let a worker begin with a job; the table need not hear of it at once unless its time is limited."""
        connection = self.connections.get(number)
        if connection is not None:
            connection.running[job.number] = job
            if timed:
                self._driver.propose_lazily(Take(number, job.number))
            else:
                self._machine.loop.call_later(TAKE_DELAY, self._tell_taken, number, job.number)

    def _tell_taken(self, number: int, job: int) -> None:
        connection = self.connections.get(number)
        if connection is not None and job in connection.running:
            self._driver.propose_lazily(Take(number, job))

    def report(self, number: int, job: Job, kind: PacketType, args: list[bytes]) -> bool:
        """Take what a worker says of its job; tell whether there still is a connection on which it can say it."""
        connection = self.connections.get(number)
        if connection is None:
            return False
        if job.number not in connection.running:
            return True
        listeners = job.listeners
        if listeners:
            self._tell(job, self._listeners_of(job), kind, args)
        if kind in FINAL:
            del connection.running[job.number]
            self._endings[job.number] = (kind, args, tuple(listeners))
            if job.background:
                self._driver.propose_promptly(Finish(number, job.number))
            else:
                self._driver.propose_lazily(Finish(number, job.number))
        return True

    def read(self, answer: Callable[[], None]) -> None:
        """Answer from the table once it is current."""
        if not self._driver.serving:
            return
        self._asked += 1
        number = self._asked
        self.reads.add(number)

        def current() -> None:
            self.reads.discard(number)
            answer()

        self._driver.when_current(current)

    @property
    def unfinished(self) -> str:
        """Say what is still to be told or answered, and what was kept for nobody."""
        left = {
            "reads": len(self.reads),
            "bytes of reports without a receipt": self.relay._size,
            "words awaited": len(self._listening._awaiting),
            "reports that came early": len(self._listening._early),
            "ends that were told": len(self._listening._told),
            "ends on their way": len(self._endings) + len(self._overdue),
        }
        return ", ".join(f"{count} {what}" for what, count in left.items() if count)

    # Other nodes

    def parcel(self, node: str, parcel: Parcel) -> None:
        """Take reports from another node."""
        self.relay.received(node, parcel)
        self._flush_later()

    def linked(self, node: str) -> None:
        """Note a new link."""
        self.relay.linked(node)
        self._flush_later()

    # What the driver says

    def deliver(self, effects: list[Effect]) -> None:
        """Tell the sessions what happened."""
        self._machine.point()
        index = self._applied_index()
        for effect in effects:
            if type(effect) is Ended:
                self._ended(effect)
            elif type(effect) is Concluded:
                if effect.session in self.connections:
                    self._listening.concluded(effect)
            elif type(effect) is Failed and self._listening.failed(effect.session, effect.job):
                pass
            else:
                if type(effect) is Revoked:
                    self._revoked(effect)
                connection = self.connections.get(effect.session)
                if connection is not None:
                    connection.line.effect(effect, index)
                    if type(effect) is Created and effect.listens:
                        self._listening.created(effect.session, effect.job)

    def flush(self) -> None:
        """Send what there is for other nodes."""
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None
        self.relay.flush()

    def tick(self) -> None:
        """See to what nothing else reminds of."""
        self._listening.tick()
        self._overdue = {
            number: ending for number, ending in self._overdue.items() if number in self._driver.table.jobs
        }
        self.relay.tick()

    def begin(self, incarnation: int) -> None:
        """Begin with the sessions of a new incarnation."""
        self.relay.begin(incarnation)
        self._begun(incarnation)

    def hang_up(self) -> None:
        """Let everybody go to another node: this one cannot serve them now."""
        self.reads.clear()
        for number, connection in list(self.connections.items()):
            self.close(number)
            self._machine.schedule.after(0, connection.line.disconnected)

    def break_off(self) -> None:
        """Break all connections: their sessions are over."""
        connections = list(self.connections.values())
        self.connections.clear()
        self.reads.clear()
        self._endings.clear()
        self._overdue.clear()
        self._listening.reset()
        for connection in connections:
            self._machine.schedule.after(0, connection.line.disconnected)

    # Who is told what

    def _ended(self, effect: Ended) -> None:
        job = effect.job
        overdue = self._overdue.pop(job.number, None)
        ending = self._endings.pop(job.number, overdue)
        self._listening.ended(job.number)
        if overdue is not None and (connection := self.connections.get(effect.session)) is not None:
            connection.line.effect(effect, self._applied_index())
        if ending is not None:
            kind, args, told = ending
            untold = [listener for listener in job.listeners if listener not in told]
            if untold:
                self._tell(job, untold, kind, args)

    def _revoked(self, effect: Revoked) -> None:
        job = effect.job
        ending = self._endings.pop(job.number, None)
        if ending is not None:
            self._overdue[job.number] = ending
            kind, args, told = ending
            for listener in told:
                if listener.node.name == self._driver.name:
                    self._listening.told(listener.number, Report(job.number, [], kind, args))
        connection = self.connections.get(effect.session)
        if connection is not None:
            connection.running.pop(job.number, None)

    def _listeners_of(self, job: Job) -> Iterable[Session]:
        here, was_told = self._driver.name, self._listening.was_told
        return [each for each in job.listeners if each.node.name != here or not was_told(each.number, job.number)]

    def _tell(self, job: Job, listeners: Iterable[Session], kind: PacketType, args: list[bytes]) -> None:
        elsewhere: dict[Node, list[int]] = {}
        for listener in listeners:
            if listener.node.name == self._driver.name:
                self._say(listener.number, kind, args)
            else:
                elsewhere.setdefault(listener.node, []).append(listener.number)
        for node, sessions in elsewhere.items():
            self.relay.report(node.name, node.incarnation, Report(job.number, sessions, kind, args))
        if elsewhere:
            self._flush_later()

    def _reported(self, report: Report) -> None:
        sessions = [session for session in report.sessions if session in self.connections]
        ending = self._endings.get(report.job)
        if ending is not None:
            told = {listener.number for listener in ending[2] if listener.node.name == self._driver.name}
            sessions = [session for session in sessions if session not in told]
        self._listening.reported(Report(report.job, sessions, report.kind, report.args))

    def _say(self, session: int, kind: PacketType, args: list[bytes]) -> None:
        connection = self.connections.get(session)
        if connection is not None:
            connection.line.report(kind, args)

    def _flush_later(self) -> None:
        if self._flush is None and not self._driver.in_turn:
            self._flush = self._machine.loop.call_soon(self.flush)
