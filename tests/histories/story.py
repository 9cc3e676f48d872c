"""Histories for tests: written by hand, or made by clients and workers of a server that does one thing at a time.

Not for: real servers. Those are recorded by tests/cluster/live and tests/simulation.
"""

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

from tests.histories.history import (
    FAILED,
    NO_ROOM,
    QUEUE_FULL,
    CancelJob,
    ClientLeaves,
    GetStatus,
    GetStatusUnique,
    Key,
    Recorder,
    Run,
    RunBegins,
    RunFails,
    Status,
    SubmitJob,
    Word,
)

KEY = Key(b"f", b"u")


class Story(Recorder):
    """A history by hand: each line is one event, a thousandth of a second after the one before."""

    def __init__(self) -> None:
        self.seconds = 0.0
        super().__init__(self._tick)

    def _tick(self) -> float:
        self.seconds += 0.001
        return self.seconds

    def submit(self, who: str, handle: bytes | None, *, background: bool = False, key: Key = KEY) -> int:
        """Submit, and be accepted at once, unless there is no handle: then no answer comes."""
        number = self.invoke(who, SubmitJob(background), key)
        if handle is not None:
            self.created(number, handle)
        return number

    def refused(self, who: str, key: Key = KEY) -> None:
        """Submit, and be refused."""
        self.answer(self.invoke(who, SubmitJob(background=True), key), QUEUE_FULL)

    def no_room(self, who: str, key: Key = KEY) -> None:
        """Submit, and be refused because a node is short of something."""
        self.answer(self.invoke(who, SubmitJob(background=True), key), NO_ROOM)

    def begin(self, handle: bytes, serial: int, key: Key = KEY) -> Run:
        """Let the worker W be handed a job."""
        run = Run(handle, serial)
        self.invoke("W", RunBegins(run), key)
        return run

    def end(self, run: Run, key: Key = KEY, *, failed: bool = False) -> None:
        """Let the worker send its final word, which the server may read later."""
        self.run_ends("W", run, key, failed=failed)

    def read(self) -> None:
        """Let the worker ask for the next job, and the server answer."""
        self.worker_asks("W")
        self.worker_answered("W")

    def ended(self, handle: bytes, serial: int, key: Key = KEY) -> Run:
        """Let a run begin and end, and the server have read of it."""
        run = self.begin(handle, serial, key)
        self.end(run, key)
        self.read()
        return run

    def status(self, who: str, handle: bytes, *, known: bool, running: bool | None = False) -> None:
        """Ask for the status of a job."""
        self.answer(self.invoke(who, GetStatus(handle)), Status(known, running))

    def status_of_unique(self, who: str, unique: bytes, *, known: bool, running: bool | None = False) -> None:
        """Ask for the status of the job of a unique key."""
        self.answer(self.invoke(who, GetStatusUnique(unique)), Status(known, running))

    def cancel(self, who: str, handle: bytes, *, done: bool) -> None:
        """Cancel a job."""
        self.answer(self.invoke(who, CancelJob(handle)), done)


class Server:
    """A job server for one key that does one thing at a time. `fault` is one that it has."""

    def __init__(self, fault: str = "") -> None:
        self._fault = fault
        self._jobs = 0
        self.handle = b""
        """The job, if there is one."""
        self._background = False
        self._waiting: list[str] = []
        self.running: Run | None = None
        self.results: list[tuple[str, bytes, Run | Word]] = []
        """What is on its way to clients."""
        self._ended: tuple[bytes, Run] | None = None
        self._listed: set[bytes] = set()
        """Jobs that the server, having a fault, still shows as known, or still finds when they are cancelled."""

    def submit(self, who: str, *, background: bool) -> bytes:
        if self._fault == "joins the last job" and not self.handle and self._ended is not None:
            handle, run = self._ended
            if not background:
                self.results.append((who, handle, run))
            return handle
        if not self.handle:
            self._jobs += 1
            self.handle, self._background, self._waiting = b"H:%d" % self._jobs, False, []
        self._background |= background
        if not background:
            self._waiting.append(who)
        return self.handle

    def begin(self, serial: int) -> Run | None:
        if not self.handle or self.running is not None:
            return None
        self.running = Run(self.handle, serial)
        return self.running

    def end(self, run: Run, *, failed: bool) -> None:
        if self.running != run:
            return
        self._tell(FAILED if failed else run)
        self._ended = (run.handle, run)
        if self._fault:
            self._listed.add(run.handle)
        self.handle, self.running = b"", None

    def fail(self, run: Run) -> None:
        """Let a run fail: its job is to be run again."""
        if self.running == run:
            self.running = None

    def cancel(self, handle: bytes) -> bool:
        if self._fault == "cancels twice" and handle in self._listed:
            return True
        if handle != self.handle or not handle:
            return False
        self._tell(FAILED)
        if self._fault:
            self._listed.add(handle)
        self.handle, self.running = b"", None
        return True

    def status(self, handle: bytes | None) -> Status:
        if self._fault == "shows ended jobs" and handle in self._listed:
            return Status(known=True)
        known = bool(self.handle) and handle in (None, self.handle)
        return Status(known, known and self.running is not None)

    def leave(self, who: str) -> None:
        self._waiting = [listener for listener in self._waiting if listener != who]
        if self.handle and not self._background and not self._waiting and self.running is None:
            self.handle = b""

    def _tell(self, answer: Run | Word) -> None:
        if self._fault == "old result" and self._ended is not None and isinstance(answer, Run):
            answer = self._ended[1]
        self.results += [(who, self.handle, answer) for who in self._waiting]


class Play:
    """Clients and workers of a `Server`, from one seed, until all is done."""

    def __init__(self, seed: int, fault: str = "", *, events: int = 120) -> None:
        self._random = Random(seed)
        self._server = Server(fault)
        self.recorder = Recorder(lambda: 0.0)
        self._sent: list[tuple[str, int | None, Callable[[], Any]]] = []
        """Calls that have not taken effect."""
        self._answers: list[tuple[int, Any]] = []
        """Answers on their way."""
        self._serial = 0
        self._connections = 0
        self._clients = [self._connection() for _ in range(3)]
        self._busy: set[str] = set()
        self._handles: list[bytes] = [b"H:1"]
        self._work: Run | None = None
        for _ in range(events):
            self._random.choice((self._send, self._send, self._serve, self._serve, self._deliver, self._worker))()
        while self._sent or self._answers or self._server.results or self._server.handle or self._work:
            for step in (self._serve, self._deliver, self._worker):
                step()

    def _connection(self) -> str:
        self._connections += 1
        return f"C{self._connections}"

    def _send(self) -> None:
        who, server = self._random.choice(self._clients), self._server
        if who in self._busy:
            return
        if self._random.random() < 0.1:
            self.recorder.invoke(who, ClientLeaves())
            self._sent.append((who, None, partial(server.leave, who)))
            self._clients[self._clients.index(who)] = self._connection()
            return
        self._busy.add(who)
        handle = self._random.choice(self._handles[-3:])
        match self._random.choice(("submit", "submit", "status", "unique", "cancel")):
            case "submit":
                background = self._random.random() < 0.5
                number = self.recorder.invoke(who, SubmitJob(background), KEY)
                self._sent.append((who, number, partial(server.submit, who, background=background)))
            case "status":
                self._sent.append((who, self.recorder.invoke(who, GetStatus(handle)), partial(server.status, handle)))
            case "unique":
                number = self.recorder.invoke(who, GetStatusUnique(KEY.unique))
                self._sent.append((who, number, partial(server.status, None)))
            case "cancel":
                self._sent.append((who, self.recorder.invoke(who, CancelJob(handle)), partial(server.cancel, handle)))

    def _serve(self) -> None:
        """Let a call take effect. One connection's are taken in their order."""
        if not self._sent:
            return
        who = self._random.choice(self._sent)[0]
        position = next(place for place, sent in enumerate(self._sent) if sent[0] == who)
        _, number, effect = self._sent.pop(position)
        answer = effect()
        if number is not None:
            self._answers.append((number, answer))

    def _deliver(self) -> None:
        """Let an answer or a result arrive."""
        calls = self.recorder.history()
        if self._answers and (not self._server.results or self._random.random() < 0.5):
            number, answer = self._answers.pop(self._random.randrange(len(self._answers)))
            call = calls[number]
            self._busy.discard(call.who)
            if call.who not in self._clients:
                return
            if isinstance(call.operation, SubmitJob):
                self.recorder.created(number, answer)
                self._handles.append(answer)
            else:
                self.recorder.answer(number, answer)
        elif self._server.results:
            who, handle, answer = self._server.results[0]
            if any(calls[number].who == who for number, _ in self._answers):
                return  # what was answered before comes first
            del self._server.results[0]
            if who in self._clients:
                self.recorder.result(who, handle, answer)

    def _worker(self) -> None:
        server = self._server
        if self._work is None:
            self._serial += 1
            self._work = server.begin(self._serial)
            if self._work is not None:
                self.recorder.invoke("W", RunBegins(self._work), KEY)
        elif not any(sent[0] == "W" for sent in self._sent):
            run, self._work = self._work, None
            if self._random.random() < 0.1:
                self.recorder.invoke("W", RunFails(run))
                self._sent.append(("W", None, partial(server.fail, run)))
                return
            failed = self._random.random() < 0.1
            self.recorder.run_ends("W", run, KEY, failed=failed)
            self._sent.append(("W", None, partial(server.end, run, failed=failed)))
