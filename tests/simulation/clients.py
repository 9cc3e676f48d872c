"""Clients, who submit jobs and ask after them, and a monitor, which only asks.

Not for: workers (`workers`).
"""

from collections import deque
from typing import Final

from cluster.jobs.job import number_of
from node.gateway.listening import FINAL
from protocol import PacketType, encode_request
from tests.simulation.actors import FUNCTIONS, Caller, Question, World
from tests.simulation.calls import Submission
from tests.simulation.connections import Wire
from tests.simulation.journal import ViolationError
from tests.simulation.machine import EPOCH
from tests.simulation.schedule import MS, SECOND

P: Final = PacketType
LARGE: Final = 8192
"""Bytes of a packet behind which a client sends no other one before it has its answer."""
_SUBMITS: Final = {
    (0, True): P.SUBMIT_JOB_HIGH_BG,
    (1, True): P.SUBMIT_JOB_BG,
    (2, True): P.SUBMIT_JOB_LOW_BG,
    (0, False): P.SUBMIT_JOB_HIGH,
    (1, False): P.SUBMIT_JOB,
    (2, False): P.SUBMIT_JOB_LOW,
}
_TABLES: Final = {
    b"status": 3,
    b"workers": 0,
    b"show jobs": 3,
    b"show unique jobs": 0,
    b"prioritystatus": 4,
    b"show maxqueue": 3,
    b"show maxqueue f": 3,
}
"""Text commands that are answered by a table, and how many tabs its rows have."""


def packet_of(submission: Submission) -> bytes:
    """Give the packet that says so."""
    function, unique, workload = submission.function, submission.unique, submission.workload
    if submission.due:
        return encode_request(P.SUBMIT_JOB_EPOCH, function, unique, b"%d" % submission.due, workload)
    if submission.reducer:
        kind = P.SUBMIT_REDUCE_JOB_BACKGROUND if submission.background else P.SUBMIT_REDUCE_JOB
        return encode_request(kind, function, unique, submission.reducer, b"", workload)
    return encode_request(_SUBMITS[submission.priority, submission.background], function, unique, workload)


class Awaited:
    """A job whose end one connection is to be told."""

    __slots__ = ("calls", "pieces")

    def __init__(self) -> None:
        self.calls: deque[int] = deque()
        """The submits that it answers: each is told everything by itself."""
        self.pieces: dict[int, tuple[int, int]] = {}
        """How many pieces of each run have come, and how often the last of them."""


class Client(Caller):
    """Submits a number of jobs, one after the other or several at once, and reads in between."""

    def __init__(self, world: World, name: str, jobs: int) -> None:
        super().__init__(world, name)
        self.remaining = jobs
        self._exceptions = False
        """Whether this connection is to be told of exceptions."""
        self._awaited: dict[bytes, Awaited] = {}
        self._again: tuple[bytes, bytes] | None = None
        """Function and key of the last job, if it is to be submitted once more at once."""
        self._last: tuple[bytes, bytes] | None = None
        """Function and key of the last job."""
        self._submitting = False
        """Whether it has jobs under way that it waits for, in one way or another."""
        self._pause = 0
        """How long it does nothing after that."""
        self._handle = b"H:nowhere:77777"
        """Of a job that it may ask after."""
        self.alarm.set(world.random.randrange(SECOND), self.connect)

    @property
    def done(self) -> bool:
        """Tell whether all its jobs are in, and all that it waited for have come."""
        return self.remaining <= 0 and not self._awaited

    def begin(self, wire: Wire) -> None:
        """Say what kind of client this is, and go on soon."""
        self._exceptions = self.world.chance(0.5)
        if self._exceptions:
            self.ask(P.OPTION_REQ, (b"exceptions",), P.OPTION_RES)
        self.alarm.set(self.world.random.randrange(300 * MS), self._act)

    # What it does

    def _act(self) -> None:
        if not self.up or self.wire is None:
            return
        world, random = self.world, self.world.random
        if self.remaining <= 0:
            if not world.calm:
                self._look()
                self.alarm.set(SECOND, self._act)
            return
        if world.chance(0.2):
            self._look()
        if world.chance(0.06):
            self._administer()
        self._submitting = True
        many = min(self.remaining, random.choice((1, 1, 1, 2, 5, 9)))
        alike = random.choice((0.0, 0.0, 0.5))
        packets = []
        for _ in range(many):
            if self._last is not None and world.chance(alike):
                self._again = self._last
            packets.append(self._submit(self.wire))
            if len(packets[-1]) > LARGE:
                break
        if world.chance(0.5):
            self.wire.send(b"".join(packets))
        else:
            for packet in packets:
                self.wire.send(packet)
        if not world.calm and world.chance(0.06):
            self.wire.stop_reading()
            world.schedule.after(random.randrange(2 * SECOND), self.wire.read_on)

    def _submit(self, wire: Wire) -> bytes:
        world = self.world
        world.submits += 1
        submission = self.choose(b"%s/%d" % (self.name.encode(), world.submits))
        call = world.number_call()
        world.calls.submitted(self.name, call, wire.machine.name, submission)
        world.promises.punctuality.asked(
            submission.workload, submission.function, submission.priority, submission.due * 1000
        )
        what = submission.function, submission.unique, submission.workload[:20]
        self.note("SUBMITS", wire.machine.name, f"call={call}", *what)

        def created(answer: list[bytes]) -> None:
            self._created(call, submission, answer[0])

        self.expect(Question(call, P.JOB_CREATED, created, refusable=True))
        return packet_of(submission)

    def choose(self, workload: bytes) -> Submission:
        """Draw what to submit; `workload` is how it begins."""
        world, random = self.world, self.world.random
        function = random.choice(FUNCTIONS)
        unique = b"" if world.chance(0.5) else b"u%d" % random.randrange(4)
        if world.chance(0.05):
            unique = b"-"
        if self._again is not None:
            function, unique = self._again
            self._again = None
        self._last = function, unique
        workload += b"." * random.choice(world.weights)
        submission = Submission(function, unique, workload, random.randrange(3), world.chance(0.5))
        if world.chance(0.1):
            # By the client's own clock, which is right.
            due = (EPOCH + world.schedule.now) // SECOND + random.randrange(1, 3)
            submission = Submission(function, unique, workload, 1, background=True, due=due)
        elif world.chance(0.05):
            submission = Submission(function, unique, workload, 1, submission.background, reducer=b"sum")
        return submission

    def _administer(self) -> None:
        random = self.world.random
        function = random.choice((*FUNCTIONS, b"idle", b"spare"))
        what = random.randrange(4)
        if what == 3:
            self.ask(P.ECHO_REQ, (b"me%d" % random.randrange(9),), P.ECHO_RES)
            return
        limit = random.choice((b"0", b"0", b"1", b"3", b"50"))
        lines = (
            b"create function %b" % function,
            b"drop function %b" % function,
            b"maxqueue %b 0 %b" % (function, limit),
        )
        self.ask_line(lines[what])

    def _look(self) -> None:
        """Ask how things stand."""
        what = self.world.random.randrange(4)
        if what == 0:
            self.ask_line(self.world.random.choice(list(_TABLES)), table=True)
        elif what == 1:
            self.ask(P.GET_STATUS_UNIQUE, (b"u%d" % self.world.random.randrange(4),), P.STATUS_RES_UNIQUE)
        else:
            handle = self._handle if what == 2 else b"H:nowhere:77777"
            self.ask(P.GET_STATUS, (handle,), P.STATUS_RES, lambda answer: self._status(handle, answer))

    def _status(self, handle: bytes, answer: list[bytes]) -> None:
        if answer[0] != handle:
            raise ViolationError(f"{self.name} asks after {handle!r} and is told of {answer[0]!r}")
        if answer[1] == b"0":
            self.world.promises.unknown(number_of(handle) or 0)

    # What it is told

    def _created(self, call: int, submission: Submission, handle: bytes) -> None:
        world = self.world
        assert self.wire is not None
        world.calls.created(call, handle)
        self._handle = handle
        if submission.background:
            job = number_of(handle)
            assert job is not None
            world.promises.acknowledged(job, self.wire.created[job])
            if world.chance(0.04):
                self.ask_line(b"cancel job " + handle)
            self.remaining -= 1
            self._plan(submission)
            return
        self._awaited.setdefault(handle, Awaited()).calls.append(call)
        self._plan(submission)
        if not world.calm and world.chance(0.1):
            self.alarm.set(world.random.randrange(SECOND), self.leave)

    def refused(self, question: Question, code: bytes, text: bytes) -> None:
        """Submit something else in a while."""
        super().refused(question, code, text)
        if code != b"QUEUE_ERROR":
            raise ViolationError(f"{self.name} is refused with {code!r}")
        if text != b"Job queue is full":
            self.world.promises.no_room(text)
        self._pause = SECOND
        self._go_on()

    def answer(self, question: Question, answer: list[bytes]) -> None:
        """Take an answer; that of a submit is made known as such."""
        if question.answers is P.JOB_CREATED:
            question.then(answer)
        else:
            super().answer(question, answer)
        self._go_on()

    def report(self, kind: PacketType, args: list[bytes]) -> None:
        """Hear how a job goes: each piece once for each time that it was asked for, and in order."""
        handle = args[0]
        job = number_of(handle)
        awaited = self._awaited.get(handle)
        if awaited is None or job is None:
            raise ViolationError(f"{self.name} is told {kind.name} of job {job}, for which it does not wait")
        if kind is P.WORK_FAIL:
            self.world.promises.failed(job, exceptions=self._exceptions)
        elif kind is P.WORK_EXCEPTION and not self._exceptions:
            raise ViolationError(f"{self.name} is told of an exception in job {job}, and never asked for those")
        elif kind is not P.WORK_STATUS:
            self._piece(job, awaited, kind, args[1])
        if kind not in FINAL:
            for call in awaited.calls:
                self.world.calls.reported(call, kind, args)
            return
        self.world.calls.ended(awaited.calls.popleft(), kind, args)
        if not awaited.calls:
            del self._awaited[handle]
        self.remaining -= 1
        self._ask_after_the_end(handle)
        self._go_on()

    def _ask_after_the_end(self, handle: bytes) -> None:
        """Ask at once after a job whose end it was told: it is to be over for everybody."""
        if self.wire is None or not self.world.chance(0.2):
            return
        match self.world.random.randrange(4):
            case 0:
                self.ask_line(b"show jobs", table=True)
            case 1:
                self.ask_line(b"status", table=True)
            case _:
                self.ask(P.GET_STATUS, (handle,), P.STATUS_RES, lambda answer: self._status(handle, answer))

    def _piece(self, job: int, awaited: Awaited, kind: PacketType, data: bytes) -> None:
        serial, piece = map(int, data.split(b"/"))
        known = awaited.pieces.get(serial)
        if known is None:
            last, times = piece, 1
        elif kind in FINAL or (piece == known[0] and known[1] < len(awaited.calls)):
            last, times = known[0], known[1] + 1
        else:
            last, times = known[0] + 1, 1
        if piece != last:
            raise ViolationError(f"{self.name} hears piece {piece} of run {serial} of job {job} after {known}")
        awaited.pieces[serial] = (last, times)
        if kind in FINAL:
            self.world.promises.told(job, serial)

    def _plan(self, submission: Submission) -> None:
        """Decide what comes next: perhaps the same once more, before its end is known everywhere."""
        if self.world.chance(0.1):
            self._again = submission.function, submission.unique
            self._pause = self.world.random.randrange(3 * MS)
        else:
            self._pause = self.world.random.randrange(50 * MS, 1500 * MS)

    def _go_on(self) -> None:
        """Go on once everything is answered."""
        if self._submitting and not self._awaited and not self.questions:
            self._submitting = False
            self.alarm.set(self._pause, self._act)

    def left(self) -> list[int]:
        """Forget what it waited for."""
        calls = [call for awaited in self._awaited.values() for call in awaited.calls]
        self._awaited = {}
        self._submitting = False
        return calls


class Monitor(Caller):
    """Asks any node how things stand, all the time, until there is peace."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__(world, name)
        self._ends = False
        """Whether it asks nothing more, and only waits for the answers and for the node to hang up."""
        self.alarm.set(world.random.randrange(SECOND), self.connect)

    def connect(self) -> None:
        """Connect, unless there is peace."""
        if not self.world.calm:
            super().connect()

    def begin(self, wire: Wire) -> None:
        """Ask at once."""
        self._ends = False
        self._ask()

    def _ask(self) -> None:
        if not self.up or self.wire is None or self._ends:
            return
        if self.world.calm:
            self.leave()
            return
        random = self.world.random
        for _ in range(random.choice((1, 1, 1, 3))):
            if self._ends:
                return
            what = random.randrange(8)
            if what == 0:
                self._blunder()
            elif what == 1:
                self.ask_line(random.choice((b"version", b"verbose", b"getpid", b"nonsense")))
            else:
                self._ask_table(random.choice(list(_TABLES)))
        if not self._ends and self.world.chance(0.2):
            self._ends = True
            self.wire.finish()
        self.alarm.set(random.randrange(50 * MS, 900 * MS), self._ask)

    def _blunder(self) -> None:
        """Ask for what is not, or for what cannot be."""
        what = self.world.random.randrange(5)
        if what == 0:
            self.ask(P.OPTION_REQ, (b"wishes",), P.OPTION_RES, refusable=True)
        elif what == 1:
            args = (b"f", b"", b"%d" % 10**15, b"never")
            self.ask(P.SUBMIT_JOB_EPOCH, args, P.JOB_CREATED, self._impossible, refusable=True)
        elif what == 2 and self.wire is not None:
            # The first half of a packet, and no other half.
            self.expect(Question(0, P.ECHO_RES, self._impossible, refusable=True))
            self.wire.send(encode_request(P.ECHO_REQ, b"half")[:-2])
            self.patience.set(3600 * SECOND, self.leave)
            self._ends = True
        elif what == 3 and self.wire is not None:
            self.expect(Question(0, P.ECHO_RES, self._impossible, refusable=True))
            self.wire.send(b"\0REQUEST")
            self._ends = True
        else:
            self.ask(P.GET_STATUS, (b"H:nowhere:%d" % self.world.random.randrange(50, 99),), P.STATUS_RES)

    def _impossible(self, answer: list[bytes]) -> None:
        raise ViolationError(f"{self.name} is answered {answer}, and asked for what cannot be")

    def _ask_table(self, line: bytes) -> None:
        def check(rows: list[bytes]) -> None:
            for row in rows:
                if row.count(b"\t") != _TABLES[line]:
                    raise ViolationError(f"{self.name} asks for {line!r} and is given the row {row!r}")

        self.ask_line(line, check, table=True)

    def closed(self, wire: Wire) -> None:
        """Come back; everything that was asked has been answered, if it was the monitor that wanted to end."""
        if self._ends and self.questions and not wire.cast_off:
            raise ViolationError(f"{wire.machine.name} hangs up on {self.name} before it has answered")
        super().closed(wire)

    def left(self) -> list[int]:
        """Forget nothing: it waits for no jobs."""
        return []
