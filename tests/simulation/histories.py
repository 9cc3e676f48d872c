"""What clients were told, taken down and judged: is it what one job server could have told them (`tests.histories`)?

A run may have failed from the moment on when the log has its job with nobody or with another worker, or has its
worker's session no more; one with a time limit at any time, since the same worker may be given the job again by the
entry that ends its time. Not for: whether the failure was real, which is for `promises`.
"""

from typing import Final

from cluster.jobs.job import number_of
from protocol import PacketType
from tests.histories.history import (
    FAILED,
    NO_ROOM,
    QUEUE_FULL,
    CancelJob,
    ClientLeaves,
    CountJobs,
    GetStatus,
    GetStatusUnique,
    Key,
    Moment,
    Recorder,
    RunBegins,
    RunFails,
    SetLimit,
    Status,
    SubmitJob,
    UnaskedError,
)
from tests.histories.history import Run as RecordedRun
from tests.histories.linearizability import UndecidedError
from tests.histories.verdict import judge
from tests.simulation.calls import Calls, Submission
from tests.simulation.connections import Wire
from tests.simulation.journal import ViolationError
from tests.simulation.runs import Run
from tests.simulation.safety import Safety
from tests.simulation.schedule import SECOND, Schedule

P: Final = PacketType
RECENT: Final = 4
"""In a list of all jobs, how many of the newest are looked for: those that are ending just now."""
BOUND: Final = 2_000
"""How far the search for an order of one key's calls goes. What is not decided by then is not judged."""


class Histories(Calls):
    """The record of one run of the simulation."""

    def __init__(self, schedule: Schedule, safety: Safety, *, attempts_limited: bool) -> None:
        """`attempts_limited`: whether a job is given up when it has failed too often."""
        self._schedule = schedule
        self._safety = safety
        self._attempts_limited = attempts_limited
        self._recorder = Recorder(lambda: schedule.now / SECOND)
        self._calls: dict[int, list[tuple[int, bytes]]] = {}
        """What each of the simulation's calls is taken down as, and the handle or function that each is about."""
        self._names: dict[str, tuple[str, Moment]] = {}
        """Each client's present connection, and since when it was used."""
        self._connections = 0
        self._wires: dict[Wire, tuple[str, Moment]] = {}
        """Each worker's connections, and when it asked for a job last."""
        self._keys: dict[bytes, Key] = {}
        """The key of each workload."""
        self._handles: list[bytes] = []
        self._runs: list[tuple[str, Run, RecordedRun]] = []
        """Runs that have not failed."""
        self._index = 0
        self.undecided = 0
        """How many keys' calls were too many to be judged."""

    # Clients

    def _who(self, client: str, node: str) -> str:
        self._look_for_failures()
        if client not in self._names:
            self._connections += 1
            self._names[client] = (f"{client}.{self._connections}@{node}", self._recorder.now())
        return self._names[client][0]

    def submitted(self, client: str, call: int, node: str, submission: Submission) -> None:
        key = Key.of(submission.function, submission.unique, submission.workload)
        self._keys[submission.workload] = key
        number = self._recorder.invoke(self._who(client, node), SubmitJob(submission.background), key)
        self._calls[call] = [(number, b"")]

    def created(self, call: int, handle: bytes) -> None:
        self._look_for_failures()
        self._recorder.created(self._calls[call][0][0], handle)
        self._handles.append(handle)

    def refused(self, call: int, code: bytes, text: bytes) -> None:
        self._look_for_failures()
        if code == b"QUEUE_ERROR":
            word = QUEUE_FULL if text == b"Job queue is full" else NO_ROOM
            self._recorder.answer(self._calls[call][0][0], word)

    def ended(self, call: int, kind: PacketType, args: list[bytes]) -> None:
        self._look_for_failures()
        handle = args[0]
        result = FAILED if kind is P.WORK_FAIL else RecordedRun(handle, int(args[1].split(b"/")[0]))
        submit = self._recorder.call(self._calls[call][0][0])
        try:
            self._recorder.result(submit.who, handle, result)
        except UnaskedError as error:
            raise ViolationError(str(error)) from error

    def asked(self, client: str, call: int, node: str, question: tuple[bytes, ...]) -> None:
        who, recorder = self._who(client, node), self._recorder
        what, *arguments = question
        if what == b"GET_STATUS" and number_of(arguments[0]) is not None:
            self._calls[call] = [(recorder.invoke(who, GetStatus(arguments[0])), arguments[0])]
        elif what == b"GET_STATUS_UNIQUE":
            self._calls[call] = [(recorder.invoke(who, GetStatusUnique(arguments[0])), arguments[0])]
        elif what.startswith(b"cancel job "):
            handle = what.removeprefix(b"cancel job ")
            self._calls[call] = [(recorder.invoke(who, CancelJob(handle)), handle)]
        elif what == b"show jobs":
            newest = dict.fromkeys(self._handles[-RECENT:])
            self._calls[call] = [(recorder.invoke(who, GetStatus(handle)), handle) for handle in newest]
        elif what.startswith(b"maxqueue "):
            function, *limits = what.split()[1:]
            limit = min((int(each) for each in limits if int(each)), default=0)
            self._calls[call] = [(recorder.invoke(who, SetLimit(function, limit)), function)]
        elif what == b"status":
            functions = sorted({key.function for key in self._keys.values()})
            self._calls[call] = [(recorder.invoke(who, CountJobs(function)), function) for function in functions]

    def answered(self, call: int, answer: list[bytes]) -> None:
        self._look_for_failures()
        recorder = self._recorder
        rows = [row.split(b"\t") for row in answer]
        for number, subject in self._calls.get(call, ()):
            operation = recorder.call(number).operation
            if isinstance(operation, CancelJob | SetLimit):
                recorder.answer(number, answer[0] == b"OK")
            elif isinstance(operation, CountJobs):
                recorder.answer(number, next((int(row[1]) for row in rows if row[0] == subject), 0))
            elif answer and answer[0] == subject:
                recorder.answer(number, Status(answer[1] == b"1", answer[2] == b"1"))
            else:
                recorder.answer(number, Status(any(row[0] == subject for row in rows), None))

    def lost(self, client: str, calls: list[int]) -> None:
        """A connection has ended. The node may have ended it at any time since it was first used."""
        self._look_for_failures()
        found = self._names.pop(client, None)
        if found is not None:
            self._recorder.invoke(found[0], ClientLeaves(), since=found[1])

    # Workers

    def _wire(self, wire: Wire) -> str:
        self._look_for_failures()
        if wire not in self._wires:
            self._connections += 1
            self._wires[wire] = (f"{wire.end.name}.{self._connections}@{wire.machine.name}", self._recorder.now())
        return self._wires[wire][0]

    def fetching(self, wire: Wire) -> None:
        who = self._wire(wire)
        self._wires[wire] = (who, self._recorder.worker_asks(who))

    def fetched(self, wire: Wire) -> None:
        self._recorder.worker_answered(self._wire(wire))

    def run_begins(self, wire: Wire, handle: bytes, workload: bytes, run: Run) -> None:
        who, recorded = self._wire(wire), RecordedRun(handle, run.serial)
        self._recorder.invoke(who, RunBegins(recorded), self._keys.get(workload), since=self._wires[wire][1])
        self._runs.append((who, run, recorded))
        self._index = -1  # the log may have given the job to another worker already

    def run_ends(self, wire: Wire, handle: bytes, run: Run, kind: PacketType) -> None:
        failed = kind is not P.WORK_COMPLETE  # an exception is a failure for clients that do not ask for exceptions
        self._recorder.run_ends(self._wire(wire), RecordedRun(handle, run.serial), failed=failed)

    def _look_for_failures(self) -> None:
        """Note which runs may count as failed by now."""
        safety = self._safety
        if safety.table_index == self._index:
            return
        self._index = safety.table_index
        table = safety.table
        healthy: list[tuple[str, Run, RecordedRun]] = []
        for one in self._runs:
            who, run, recorded = one
            node, job = table.nodes.get(run.node), table.jobs.get(run.job)
            alive = node is not None and node.up and node.incarnation == run.incarnation
            session = node.sessions.get(run.session) if node is not None and alive else None
            if run.limit or session is None or (job is not None and job.holder is not session):
                self._recorder.invoke(who, RunFails(recorded))
            else:
                healthy.append(one)
        self._runs = healthy

    # The verdict

    def check(self) -> None:
        """Judge what was taken down; raise `ViolationError` for the first thing that is wrong."""
        self._look_for_failures()
        try:
            wrong = judge(self._recorder.history(), attempts_limited=self._attempts_limited, bound=BOUND)
        except UndecidedError as error:
            self.undecided = error.keys
            return
        if wrong:
            raise ViolationError(wrong[0])
