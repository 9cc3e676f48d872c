"""The connections of a simulated node: what `node.gateway` is to the driver, without packets of clients and workers.

Who is told what of a job, here and elsewhere, is the real `node.gateway.telling`, with the real `node.relay` and
`node.gateway.listening`. Not for: what actors do with what they are told.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol, Self

from cluster.jobs import (
    Concluded,
    Created,
    Effect,
    Ended,
    Failed,
    Finish,
    Job,
    Park,
    Progress,
    Revoked,
    SessionClose,
    SessionOpen,
    Take,
)
from node.driver import Driver
from node.gateway.assigning import TAKE_DELAY
from node.gateway.listening import FINAL
from node.gateway.telling import Telling
from node.relay import Parcel
from protocol import Packet, PacketType, PeerDecoder
from tests.simulation.journal import ViolationError
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

    __slots__ = ("failing", "line", "opened", "running")

    exceptions = True

    def __init__(self, line: Line) -> None:
        self.line = line
        self.failing: tuple[Failed, int] | None = None
        """The effect that is being told: a failure without a worker's word."""
        self.opened = False
        """Whether the table knows of it, or will."""
        self.running: dict[int, Job] = {}

    @property
    def worker(self) -> Self:
        """Give the worker's side, which here is no other."""
        return self

    def send(self, data: bytes) -> None:
        """Take a packet for the actor."""
        if self.failing is not None:
            self.line.effect(*self.failing)
            return
        for packet in PeerDecoder().feed(data):
            assert isinstance(packet, Packet)
            self.line.report(packet.kind, list(packet.args))


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
        self.driver = driver
        self.table = driver.table
        self._applied_index = applied_index
        self._begun = begun
        self._numbered = 0
        self.connections: dict[int, Connection] = {}
        self.reads: set[int] = set()
        """Questions that are not answered."""
        self._asked = 0
        self.assigning = self
        self.draining = False
        self.telling = Telling(self, send)  # type: ignore[arg-type] - as far as it asks for it
        self._flush: Handle | None = None

    # Connections

    def connect(self, line: Line) -> int:
        """Take a connection in and return its number; 0 when nobody is served here."""
        if not self.driver.serving:
            return 0
        self._numbered += 1
        self.connections[self._numbered] = Connection(line)
        return self._numbered

    def close(self, number: int) -> None:
        """Note that a connection is gone."""
        connection = self.connections.pop(number, None)
        if connection is not None:
            self.telling.listening.disconnected(number)
            if connection.opened:
                self.driver.propose(SessionClose(number))

    def bring(self, number: int, commands: Iterable[Any]) -> None:
        """Bring what a connection says before the table, if the connection still is one."""
        connection = self.connections.get(number)
        if connection is None:
            return
        driver = self.driver
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
                self.driver.propose_lazily(Take(number, job.number))
            else:
                self._machine.loop.call_later(TAKE_DELAY, self._tell_taken, number, job.number)

    def _tell_taken(self, number: int, job: int) -> None:
        connection = self.connections.get(number)
        if connection is not None and job in connection.running:
            self.driver.propose_lazily(Take(number, job))

    def report(self, number: int, job: Job, kind: PacketType, args: list[bytes]) -> bool:
        """Take what a worker says of its job; tell whether there still is a connection on which it can say it."""
        connection = self.connections.get(number)
        if connection is None:
            return False
        if job.number not in connection.running:
            return True
        listeners = job.listeners
        if listeners:
            self.telling.tell(job, kind, args)
        if kind in FINAL:
            del connection.running[job.number]
            self.telling.endings[job.number] = (kind, args, tuple(listeners))
            if job.background:
                self.driver.propose_promptly(Finish(number, job.number))
            else:
                self.driver.propose_lazily(Finish(number, job.number))
        return True

    def read(self, answer: Callable[[], None]) -> None:
        """Answer from the table once it is current."""
        if not self.driver.serving:
            return
        self._asked += 1
        number = self._asked
        self.reads.add(number)

        def current() -> None:
            self.reads.discard(number)
            answer()

        self.driver.when_current(current)

    @property
    def unfinished(self) -> str:
        """Say what is still to be told or answered, and what was kept for nobody."""
        telling = self.telling
        left = {
            "reads": len(self.reads),
            "bytes of reports without a receipt": telling.relay._size,
            "words awaited": len(telling.listening._awaiting),
            "reports that came early": len(telling.listening._early),
            "ends that were told": len(telling.listening.told),
            "ends on their way": len(telling.endings) + len(telling._overdue),
        }
        return ", ".join(f"{count} {what}" for what, count in left.items() if count)

    # Other nodes

    def parcel(self, node: str, parcel: Parcel) -> None:
        """Take reports from another node."""
        self.telling.received(node, parcel)

    def linked(self, node: str) -> None:
        """Note a new link."""
        self.telling.relay.linked(node)
        self.flush_later()

    # What the driver says

    def deliver(self, effects: list[Effect]) -> None:
        """Tell the sessions what happened."""
        self._machine.point()
        for effect in effects:
            if type(effect) is Ended:
                self.telling.ended(effect)
            elif type(effect) is Concluded:
                self.telling.concluded(effect)
            else:
                self._pass_on(effect, self._applied_index())

    def _pass_on(self, effect: Any, index: int) -> None:
        """Tell one session."""
        if type(effect) is Revoked:
            self.telling.revoked(effect.job)
        connection = self.connections.get(effect.session)
        if connection is None:
            return
        if type(effect) is Failed:
            connection.failing = (effect, index)
            self.telling.failed(effect)
            connection.failing = None
            return
        if type(effect) is Revoked:
            connection.running.pop(effect.job.number, None)
        connection.line.effect(effect, index)
        if type(effect) is Created and effect.listens:
            self.telling.listening.created(effect.session, effect.job)

    def flush(self) -> None:
        """Send what there is for other nodes."""
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None
        self.telling.relay.flush()

    def tick(self) -> None:
        """See to what nothing else reminds of."""
        self.telling.tick()

    def begin(self, incarnation: int) -> None:
        """Begin with the sessions of a new incarnation."""
        self.telling.relay.begin(incarnation)
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
        self.telling.reset()
        for connection in connections:
            self._machine.schedule.after(0, connection.line.disconnected)

    # What the telling of reports asks for

    def drop(self, connection: Connection, effect: Ended) -> None:
        """Let a worker forget a job that was kept for it once more and is over."""
        connection.line.effect(effect, self._applied_index())

    def check_drained(self) -> None:
        """Never called: it is not asked to drain."""
        raise ViolationError("drained")

    def flush_later(self) -> None:
        if self._flush is None and not self.driver.in_turn:
            self._flush = self._machine.loop.call_soon(self.flush)
