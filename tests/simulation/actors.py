"""What all actors have in common: they connect to any node, are patient for a while, and go to another one.

Not for: what clients and operators ask (`clients`), or what workers do (`workers`).
"""

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any, Final

from protocol import Fault, Packet, PacketType, TextLine, encode_request
from tests.simulation import sizes
from tests.simulation.calls import Calls
from tests.simulation.connections import Event, Wire
from tests.simulation.journal import Journal, ViolationError
from tests.simulation.machine import Machine
from tests.simulation.promises import Promises
from tests.simulation.schedule import MS, SECOND, Schedule

FUNCTIONS: Final = (b"f", b"g", b"h")
LIMITS_MS: Final = {b"f": 0, b"g": 0, b"h": 1000}
"""The time limit that workers declare for each function."""
REPORTS: Final = frozenset(
    {
        PacketType.WORK_DATA,
        PacketType.WORK_WARNING,
        PacketType.WORK_STATUS,
        PacketType.WORK_COMPLETE,
        PacketType.WORK_FAIL,
        PacketType.WORK_EXCEPTION,
    }
)
"""What comes unasked, whenever it is there."""


class World:
    """What actors know of their world."""

    def __init__(
        self,
        schedule: Schedule,
        random: Random,
        journal: Journal,
        promises: Promises,
        calls: Calls,
        machines: Callable[[], list[Machine]],
    ) -> None:
        """`calls` is told of every call of a client; `machines` gives those that are to be connected to."""
        self.schedule = schedule
        self.random = random
        self.journal = journal
        self.promises = promises
        self.calls = calls
        self.machines = machines
        self.calm = False
        """Whether the actors keep to what they began: no more pulled plugs."""
        self.submits = 0
        self._calls = 0
        self.weights = sizes.WEIGHTS
        """Bytes by which workloads are longer than they must be; one of these, by chance."""

    def chance(self, probability: float) -> bool:
        """Decide by chance."""
        return self.random.random() < probability

    def number_call(self) -> int:
        """Give the next call its number."""
        self._calls += 1
        return self._calls

    def departure(self) -> str:
        """Choose how to leave a connection."""
        return "close" if self.calm else self.random.choice(("close", "close", "close", "reset", "vanish"))


class Alarm:
    """Something that is planned, unless something else is planned in its place."""

    __slots__ = ("_schedule", "_turn")

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._turn = 0

    def set(self, delay: int, action: Callable[..., None], *arguments: Any) -> None:
        """Plan this, and not what was planned before."""
        self._turn += 1
        self._schedule.after(delay, self._ring, self._turn, action, arguments)

    def cancel(self) -> None:
        """Plan nothing."""
        self._turn += 1

    def _ring(self, turn: int, action: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        if turn == self._turn:
            action(*arguments)


class Actor:
    """Someone with connections."""

    CONNECT_TIME: Final = 3 * SECOND
    """How long an actor waits for a connection."""
    ANSWER_TIME: Final = 4 * SECOND
    """How long an actor waits for an answer."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name

    def dial(self, *besides: Machine) -> Wire | None:
        """Begin to connect to any node that runs, if one does, and to another than these where possible."""
        running = [machine for machine in self.world.machines() if machine.process is not None]
        chosen = [machine for machine in running if machine not in besides] or running
        return Wire(self.world.random.choice(chosen), self, self.world.random) if chosen else None

    def note(self, event: str, *details: Any) -> None:
        """Write a line into the journal."""
        if self.world.journal.on:
            self.world.journal.write(self.name, event, *details)

    def send(self, wire: Wire, kind: PacketType, *args: bytes) -> None:
        """Send a packet."""
        if self.world.journal.on:
            self.note(kind.name, wire.machine.name, *map(_brief, args))
        wire.send(encode_request(kind, *args))

    def heard(self, wire: Wire, event: Event, given: int) -> None:
        """Take what came (`connections.End`)."""
        if isinstance(event, Packet):
            if self.world.journal.on:
                self.note(f"< {event.kind.name}", wire.machine.name, *map(_brief, event.args))
            self.packet(wire, event, given)
        elif isinstance(event, TextLine):
            self.line(wire, event.line)
        else:
            assert isinstance(event, Fault)
            raise ViolationError(f"{wire.machine.name} sends {self.name} what nobody can read: {event.text!r}")

    def packet(self, wire: Wire, packet: Packet, given: int) -> None:
        """Take a packet."""
        raise NotImplementedError

    def line(self, wire: Wire, line: bytes) -> None:
        """Take a line of text."""
        raise ViolationError(f"{wire.machine.name} sends {self.name} a line that it never asked for: {line!r}")

    def missed(self, wire: Wire, event: Event, given: int) -> None:
        """Take no note of what came after the actor had gone (`connections.End`)."""


class Question:
    """Something that a caller has asked on its connection."""

    __slots__ = ("answers", "call", "refusable", "rows", "table", "text", "then")

    def __init__(
        self,
        call: int,
        answers: PacketType | None,
        then: Callable[[list[bytes]], None],
        *,
        refusable: bool = False,
        table: bool = False,
    ) -> None:
        """`answers`: the packet that is the answer; None: text. `refusable`: or an ERROR, which `then` is not told."""
        self.call = call
        self.answers = answers
        self.then = then
        self.refusable = refusable
        self.table = table
        self.rows: list[bytes] = []


class Caller(Actor):
    """Someone who asks on one connection, of one node after the other, and is answered in order."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__(world, name)
        self.wire: Wire | None = None
        self.up = False
        """Whether the node has taken the connection in."""
        self.questions: deque[Question] = deque()
        self.alarm = Alarm(world.schedule)
        """What the actor does next."""
        self.patience = Alarm(world.schedule)
        """When it gives the connection up."""

    def connect(self) -> None:
        """Connect to any node that runs; try again later if none does."""
        self.wire = self.dial()
        if self.wire is None:
            self.alarm.set(SECOND, self.connect)
        else:
            self.patience.set(self.CONNECT_TIME, self.leave)

    def opened(self, wire: Wire) -> None:
        """Begin (`connections.End`)."""
        self.up = True
        self.patience.cancel()
        self.note("connects", wire.machine.name, f"session={wire.session}")
        self.begin(wire)

    def closed(self, wire: Wire) -> None:
        """Notice that the node has hung up (`connections.End`)."""
        if wire is self.wire:
            self.leave()

    def leave(self) -> None:
        """Hang up; come back in a while, perhaps elsewhere."""
        wire, self.wire, self.up = self.wire, None, False
        self.patience.cancel()
        if wire is not None:
            self.note("hangs up", wire.machine.name)
            wire.leave(self.world.departure())
            calls = [question.call for question in self.questions] + self.left()
            self.questions.clear()
            self.world.calls.lost(self.name, calls)
        self.alarm.set(self.world.random.randrange(50 * MS, 500 * MS), self.connect)

    def begin(self, wire: Wire) -> None:
        """Do what comes first on a new connection."""
        raise NotImplementedError

    def left(self) -> list[int]:
        """Forget what belonged to the connection; give the calls that were answered, and wait for more."""
        raise NotImplementedError

    # Questions

    def ask(
        self,
        kind: PacketType,
        args: tuple[bytes, ...],
        answers: PacketType,
        then: Callable[[list[bytes]], None] = lambda _: None,
        *,
        refusable: bool = False,
    ) -> None:
        """Ask something by a packet."""
        assert self.wire is not None
        call = self.world.number_call()
        self.world.calls.asked(self.name, call, self.wire.machine.name, (kind.name.encode(), *args))
        self.expect(Question(call, answers, then, refusable=refusable))
        self.send(self.wire, kind, *args)

    def ask_line(
        self, line: bytes, then: Callable[[list[bytes]], None] = lambda _: None, *, table: bool = False
    ) -> None:
        """Ask something by a line of text."""
        assert self.wire is not None
        call = self.world.number_call()
        self.world.calls.asked(self.name, call, self.wire.machine.name, (line,))
        self.expect(Question(call, None, then, table=table))
        self.note("asks", self.wire.machine.name, line.decode())
        self.wire.send(line + b"\n")

    def expect(self, question: Question) -> None:
        """Wait for an answer."""
        self.questions.append(question)
        self.patience.set(self.ANSWER_TIME, self.leave)

    def _answered(self) -> Question:
        question = self.questions.popleft()
        if self.questions:
            self.patience.set(self.ANSWER_TIME, self.leave)
        else:
            self.patience.cancel()
        return question

    def packet(self, wire: Wire, packet: Packet, given: int) -> None:
        """Take a packet: a report, or the answer to the first question."""
        kind, args = packet.kind, list(packet.args)
        if kind in REPORTS:
            self.report(kind, args)
            return
        head = self.questions[0] if self.questions else None
        if head is not None and kind is head.answers:
            self._answered()
            self.answer(head, args)
        elif head is not None and kind is PacketType.ERROR and head.refusable:
            self._answered()
            self.refused(head, *args)
        else:
            wanted = head.answers.name if head is not None and head.answers is not None else "no packet"
            raise ViolationError(f"{self.name} is sent {kind.name} {args} by {wire.machine.name}, and expects {wanted}")

    def line(self, wire: Wire, line: bytes) -> None:
        """Take a line of the answer to the first question."""
        head = self.questions[0] if self.questions else None
        if head is None or head.answers is not None:
            raise ViolationError(f"{wire.machine.name} sends {self.name} a line that it never asked for: {line!r}")
        if not head.table or line != b".":
            head.rows.append(line)
        if not head.table or line == b".":
            self._answered()
            self.answer(head, head.rows)

    def answer(self, question: Question, answer: list[bytes]) -> None:
        """Take an answer."""
        self.world.calls.answered(question.call, answer)
        question.then(answer)

    def refused(self, question: Question, code: bytes, text: bytes) -> None:
        """Take a refusal."""
        self.world.calls.refused(question.call, code, text)

    def report(self, kind: PacketType, args: list[bytes]) -> None:
        """Be told how a job goes."""
        raise ViolationError(f"{self.name} is told {kind.name} of {args[0]!r}, and never asked")


def _brief(argument: bytes) -> str:
    return argument[:40].decode("ascii", "backslashreplace")
