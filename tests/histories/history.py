"""Records of calls to a job server: who called what, when it was sent, when it was answered, and with what.

A call that was never answered may or may not have taken effect. Workers and misfortunes are recorded as calls too: the
end of a run takes effect some time after the worker has sent it, like any other call.

Not for: judging (`model`, `rules`), or making calls.
"""

from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any, NamedTuple

import msgspec


class Moment(NamedTuple):
    """When something was recorded. Moments compare in the order of recording."""

    order: int
    """Its place among everything that was recorded, so that no two moments are the same."""
    time: float = 0.0
    """Seconds on the recorder's clock, for people."""

    def __str__(self) -> str:
        return f"{self.time:.6f}"


class Key(NamedTuple):
    """What makes two submits one job: the function and the unique key; for the key `-` the workload as well."""

    function: bytes
    unique: bytes
    workload: bytes = b""

    @classmethod
    def of(cls, function: bytes, unique: bytes, workload: bytes) -> "Key":
        """Make the key of a submit."""
        return cls(function, unique, workload if unique == b"-" else b"")

    def __str__(self) -> str:
        unique = repr(self.unique.decode(errors="replace")) if self.unique else "no unique key"
        return f"{self.function.decode(errors='replace')} with {unique}"


class Run(NamedTuple):
    """One run of a job by a worker. The worker's result says which it is."""

    handle: bytes
    serial: int
    """Its number among all runs of the history."""

    def __str__(self) -> str:
        return f"run {self.serial} of {self.handle.decode(errors='replace')}"


UNKNOWN = b""
"""The handle of a job whose submit was never answered."""

# What is called


class SubmitJob(msgspec.Struct, frozen=True):
    """SUBMIT_JOB and its like. Answered by a handle (JOB_CREATED), or by `QUEUE_FULL` or `NO_ROOM`."""

    background: bool = False


class AwaitResult(msgspec.Struct, frozen=True):
    """A client waits for the end of the job that it submitted. Answered by the `Run` that ended it, or `FAILED`."""

    submit: int
    """The number of the call that submitted it."""
    handle: bytes


class GetStatus(msgspec.Struct, frozen=True):
    """GET_STATUS, or a row of `show jobs`. Answered by `Status`."""

    handle: bytes


class GetStatusUnique(msgspec.Struct, frozen=True):
    """GET_STATUS_UNIQUE. Answered by `Status`."""

    unique: bytes


class CancelJob(msgspec.Struct, frozen=True):
    """The `cancel job` command. Answered by True, or by False when the server knows no such job."""

    handle: bytes


class CountJobs(msgspec.Struct, frozen=True):
    """A row of the `status` command. Answered by the number of jobs of the function, waiting and running."""

    function: bytes


class SetLimit(msgspec.Struct, frozen=True):
    """The `maxqueue` command. Answered by True."""

    function: bytes
    limit: int
    """The lowest limit that it sets for any priority; 0: none."""


class RunBegins(msgspec.Struct, frozen=True):
    """A worker asks for a job and is handed this one. Sent when it asks; never answered."""

    run: Run


class RunEnds(msgspec.Struct, frozen=True):
    """A worker sends its final word on a job. Answered by the server's answer to a question sent after it.

    That answer shows that the server has read the word. Without such an answer the word may be lost.
    """

    run: Run
    failed: bool = False
    """Whether clients may be told WORK_FAIL, which does not carry the run's number."""


class RunFails(msgspec.Struct, frozen=True):
    """From now on the cluster may count this run as failed: its worker, its node or its time limit may be gone.

    The job may be run again then, though its worker has sent its final word, and a result may be lost. Never answered.
    """

    run: Run


class ClientLeaves(msgspec.Struct, frozen=True):
    """From now on the cluster may count this client's connection as closed. Never answered."""

    submit: int | None = None
    """If set, this is only about what the connection waits for since that call."""
    handle: bytes = UNKNOWN
    """The handle that the call was answered with, if it was."""


Operation = (
    SubmitJob
    | AwaitResult
    | GetStatus
    | GetStatusUnique
    | CancelJob
    | CountJobs
    | SetLimit
    | RunBegins
    | RunEnds
    | RunFails
    | ClientLeaves
)

# What is answered


class Word(Enum):
    """Answers that say one thing."""

    QUEUE_FULL = "refused: the queue is full"
    NO_ROOM = "refused: a node has too little memory or disk space"
    FAILED = "told that its job failed"
    READ = "read by the server"


QUEUE_FULL, NO_ROOM, FAILED, READ = Word.QUEUE_FULL, Word.NO_ROOM, Word.FAILED, Word.READ


class Status(NamedTuple):
    """What a server knows of a job."""

    known: bool
    running: bool | None = False
    """None: the answer does not tell."""

    def __str__(self) -> str:
        if not self.known or self.running is None:
            return "known" if self.known else "unknown"
        return "known and running" if self.running else "known, not running"


class Call(msgspec.Struct, frozen=True):
    """One call."""

    number: int
    """Its place in the history."""
    who: str
    """The connection that made it."""
    operation: Any
    """An `Operation`."""
    invoked: Moment
    """When it was sent, or before."""
    answered: Moment | None = None
    """When its answer was read, or after; None if it never was."""
    answer: Any = None
    key: Key | None = None
    """For a submit and a run: of which key. For the others it follows from the handle."""

    def __str__(self) -> str:
        when = f"{self.invoked} to {self.answered}" if self.answered else f"{self.invoked}, never answered"
        return f"{self.who}: {describe(self)}  [{when}]"


class UnaskedError(AssertionError):
    """A client is told something that it does not wait for."""


class Recorder:
    """Takes down calls as they are made. For one thread: what is recorded first was first."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` gives the time in seconds; it is only shown."""
        self._clock = clock
        self._events = 0
        self._calls: list[Call] = []
        self._awaited: dict[tuple[str, bytes], list[int]] = {}
        """The unanswered `AwaitResult` calls, by connection and handle, oldest first."""
        self._ends: dict[str, list[int]] = {}
        """The unanswered `RunEnds` calls, by the worker's connection."""
        self._asked_after: dict[str, list[int]] = {}
        """Those of them that were sent before the worker's latest question."""

    def now(self) -> Moment:
        """Take down this moment, for a call of which only its answer tells what it is about."""
        self._events += 1
        return Moment(self._events, self._clock())

    def invoke(self, who: str, operation: Operation, key: Key | None = None, *, since: Moment | None = None) -> int:
        """Record that a call is about to be sent, or was sent after the moment `since`; return its number."""
        number = len(self._calls)
        self._calls.append(Call(number, who, operation, since or self.now(), key=key))
        return number

    def answer(self, number: int, answer: Any) -> None:
        """Record the answer to a call."""
        call = self._calls[number]
        if call.answered is not None:
            raise UnaskedError(f"answered twice: {call}; the second answer is {answer}")
        self._calls[number] = msgspec.structs.replace(call, answered=self.now(), answer=answer)

    def created(self, number: int, handle: bytes) -> None:
        """Record JOB_CREATED. If the job is a foreground job, its client waits from now on."""
        self.answer(number, handle)
        call = self._calls[number]
        if not call.operation.background:
            waits = self.invoke(call.who, AwaitResult(number, handle))
            self._awaited.setdefault((call.who, handle), []).append(waits)

    def result(self, who: str, handle: bytes, answer: Run | Word) -> None:
        """Record that a client is told the end of a job: the oldest of its submits of that job is answered."""
        waiting = self._awaited.get((who, handle))
        if not waiting:
            raise UnaskedError(f"{who} is told the end of {_text(handle)}, for which it does not wait")
        self.answer(waiting.pop(0), answer)

    def run_ends(self, who: str, run: Run, key: Key | None = None, *, failed: bool = False) -> None:
        """Record that a worker is about to send its final word."""
        self._ends.setdefault(who, []).append(self.invoke(who, RunEnds(run, failed), key))

    def worker_asks(self, who: str) -> Moment:
        """Record that a worker is about to ask for a job; return the moment."""
        if who in self._ends:
            self._asked_after.setdefault(who, []).extend(self._ends.pop(who))
        return self.now()

    def worker_answered(self, who: str) -> None:
        """Record that the server answers that question: it has read the final words that were sent before it."""
        for number in self._asked_after.pop(who, ()):
            self.answer(number, READ)

    def call(self, number: int) -> Call:
        """Give a call as it is known by now."""
        return self._calls[number]

    def history(self) -> tuple[Call, ...]:
        """Give what was recorded so far."""
        return tuple(self._calls)


def handle_of(call: Call) -> bytes | None:
    """Give the handle that a call or its answer names, if any."""
    operation = call.operation
    if isinstance(operation, SubmitJob):
        return call.answer if isinstance(call.answer, bytes) else None
    if isinstance(operation, RunBegins | RunEnds | RunFails):
        return operation.run.handle
    return getattr(operation, "handle", None)


Subject = Key | bytes
"""What a short history is about: a key, or the handle of a job without one."""


def by_subject(calls: Iterable[Call]) -> dict[Subject, list[Call]]:
    """Split a history into those of each key. A job without a unique key has a history of its own, by its handle.

    Jobs of different keys do not influence one another, so each short history has an order by itself or has none.
    """
    calls = list(calls)
    keys: dict[bytes, Key] = {}
    for call in calls:
        handle = handle_of(call)
        if handle is not None and call.key is not None and call.key.unique:
            keys[handle] = call.key
    found: dict[Subject, list[Call]] = {}
    of_unique: dict[bytes, set[Subject]] = {}
    waiting: dict[str, list[tuple[Subject, Call]]] = {}
    """The foreground submits of each connection."""
    for call in calls:
        handle = handle_of(call)
        subject: Subject | None = call.key if call.key is not None and call.key.unique else None
        if subject is None and handle is not None:
            subject = keys.get(handle, handle)
        if subject is None:
            continue
        found.setdefault(subject, []).append(call)
        if isinstance(subject, Key):
            of_unique.setdefault(subject.unique, set()).add(subject)
        if isinstance(call.operation, SubmitJob) and not call.operation.background:
            waiting.setdefault(call.who, []).append((subject, call))
    for call in calls:
        if isinstance(call.operation, ClientLeaves):
            for subject, submit in waiting.get(call.who, ()):
                found[subject].append(_leaves(call, submit))
        elif isinstance(call.operation, GetStatusUnique) and call.answered is not None:
            subjects = of_unique.get(call.operation.unique, set())
            if not call.answer.known or len(subjects) == 1:  # else the answer may be about any of them
                for subject in subjects:
                    found[subject].append(call)
    return {subject: sorted(some, key=_invoked) for subject, some in found.items()}


def _leaves(call: Call, submit: Call) -> Call:
    """Give what a client's leaving means for one of its submits. It has a number of its own, which is no call's."""
    operation = ClientLeaves(submit.number, submit.answer if isinstance(submit.answer, bytes) else UNKNOWN)
    invoked = max(call.invoked, submit.invoked)
    return msgspec.structs.replace(call, number=-1 - submit.number, operation=operation, invoked=invoked)


def _invoked(call: Call) -> Moment:
    return call.invoked


def describe(call: Call) -> str:
    """Say what was called and answered, in words."""
    answer = call.answer
    told = "no answer" if call.answered is None else _text(answer)
    match call.operation:
        case SubmitJob(background):
            what = "submits in the background" if background else "submits and waits"
            key = f" {call.key}" if call.key else ""
            return f"{what}{key}: {f'accepted as {told}' if isinstance(answer, bytes) else told}"
        case AwaitResult(_, handle):
            result = f"told the end of {told}" if isinstance(answer, Run) else told
            return f"waits for {_text(handle)}: {result}"
        case GetStatus(handle):
            return f"asks for the status of {_text(handle)}: {told}"
        case GetStatusUnique(unique):
            return f"asks for the status of unique key {_text(unique)}: {told}"
        case CancelJob(handle):
            return f"cancels {_text(handle)}: {_cancelled(call)}"
        case CountJobs(function):
            return f"asks for the number of jobs of {_text(function)}: {told}"
        case SetLimit(function, limit):
            return f"sets the limit of {_text(function)} to {limit}"
        case RunBegins(run):
            return f"asks for a job, and begins {run}"
        case RunEnds(run, failed):
            return f"ends {run}{' with WORK_FAIL' if failed else ''}"
        case RunFails(run):
            return f"from here on, {run} may have failed"
        case ClientLeaves():
            return "hangs up"
    raise TypeError(call.operation)


def _cancelled(call: Call) -> str:
    if call.answered is None:
        return "no answer"
    return "done" if call.answer else "told that there is no such job"


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return str(value.value if isinstance(value, Word) else value)
