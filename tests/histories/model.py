"""One Gearman job server for one unique key, which does one thing at a time: what clients may be told.

What ends a job is its worker's final word. So there is a job of a key from its first submit until the word of a run, a
cancel, or the end of all attempts; a submit in between joins it, a submit after it makes a new one. Who waits is owed
the end that came after he joined.

What a failure excuses (`RunFails`) is possible from that moment on and never required: the job is run again, also after
its end was told, since the failed node may have been the only one that knew of it; its attempts are used up; its
result is lost. What the client's leaving excuses (`ClientLeaves`): a job that nobody waits for and that is not running
may be dropped.

Not for: whether a failure was real, how often a job is run, or in which order jobs are run.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tests.histories.history import (
    FAILED,
    NO_ROOM,
    QUEUE_FULL,
    UNKNOWN,
    AwaitResult,
    Call,
    CancelJob,
    ClientLeaves,
    GetStatus,
    GetStatusUnique,
    Run,
    RunBegins,
    RunEnds,
    RunFails,
    SubmitJob,
    Word,
)


class Job(NamedTuple):
    """The job of the key."""

    handle: bytes
    background: bool
    """Whether it was submitted in the background, and so is kept when nobody waits."""
    listeners: frozenset[tuple[str, int]]
    """Who waits for its end: connections, and the numbers of their submits."""
    running: Run | None = None
    ended_by: Run | None = None
    """For a job that is over: the run whose word ended it."""


class State(NamedTuple):
    """What the server knows of the key."""

    job: Job | None = None
    """The job, if there is one."""
    last: Job | None = None
    """The job before, which comes back if the run that ended it turns out to have failed."""
    used: frozenset[bytes] = frozenset()
    """The handles that were given out."""
    owed: frozenset[tuple[int, Run | Word]] = frozenset()
    """What is to be told, by the number of the submit."""
    failed: frozenset[Run] = frozenset()
    """Runs that count as failed; nothing that they say has an effect."""


class JobServer:
    """The specification (`linearizability.Specification`)."""

    initial = State()

    def step(self, state: State, call: Call) -> Iterable[State]:
        """Give the states after a call, with the answer that it has."""
        operation = call.operation
        match operation:
            case SubmitJob(background):
                return self._submit(state, call, background)
            case AwaitResult(submit, handle):
                return self._told(state, submit, handle, call.answer)
            case GetStatus(handle):
                return self._status(state, call, handle)
            case GetStatusUnique():
                return self._status(state, call, None)
            case CancelJob(handle):
                return self._cancel(state, call, handle)
            case RunBegins(run):
                return self._begin(state, run)
            case RunEnds(run, failed):
                return (self._end(state, run, failed=failed),)
            case RunFails(run):
                return self._fail(state, run)
            case ClientLeaves(submit):
                return self._leave(state, call.who, submit)
        raise TypeError(operation)

    def repeatable(self, call: Call) -> bool:
        """Tell whether a call does nothing when it is tried again: every call but a submit."""
        return not isinstance(call.operation, SubmitJob)

    def at_once(self, state: State, call: Call) -> State | None:
        """Give the state after a question or a result, which change nothing that anybody else can see."""
        operation = call.operation
        if isinstance(operation, AwaitResult):
            return next(iter(self.step(state, call)), None)
        if isinstance(operation, GetStatus | GetStatusUnique) and state in self.step(state, call):
            return state
        return None

    def spent(self, state: State, call: Call) -> bool:
        """Tell whether an unanswered call can do nothing any more: its job is over, and does not come back."""
        operation = call.operation
        match operation:
            case SubmitJob():
                return False
            case ClientLeaves(_, handle) if handle == UNKNOWN:
                return False
            case ClientLeaves(_, handle):
                pass
            case RunBegins(run) | RunEnds(run, _):
                handle = run.handle
            case RunFails(run):
                handle = run.handle
                if any(cause == run for _, cause in state.owed):
                    return False
            case CancelJob(handle):
                pass
            case _:
                return True  # what only reads, and told nobody
        there = (job.handle for job in (state.job, state.last) if job is not None)
        return handle in state.used and handle not in there

    # -- clients ------------------------------------------------------------------------------------------------------

    def _submit(self, state: State, call: Call, background: bool) -> Iterator[State]:  # noqa: FBT001 - as it is matched
        handle = call.answer if call.answered is not None else UNKNOWN
        if handle is NO_ROOM:
            yield state  # whether there was a job to join is for each node to know
            return
        listener = frozenset() if background else frozenset({(call.who, call.number)})
        for before in _with_abandoned_dropped(state):
            if before.job is None:
                if handle is QUEUE_FULL:
                    yield before
                elif handle not in before.used:
                    job = Job(handle, background, listener)
                    used = before.used | {handle} if handle else before.used
                    yield before._replace(job=job, last=None, used=used, failed=frozenset())
            elif handle is not QUEUE_FULL:
                known = before.job
                found = (before, known) if handle == UNKNOWN else _named(before, handle)
                if found is not None:
                    named, known = found
                    listeners = known.listeners | listener
                    joined = known._replace(background=known.background or background, listeners=listeners)
                    yield named._replace(job=joined)

    def _told(self, state: State, submit: int, handle: bytes, answer: Run | Word) -> Iterator[State]:
        for owed in state.owed:
            number, cause = owed
            if number != submit:
                continue
            # A result may overtake the cancel of its job on the way to the client.
            overtaking = cause is FAILED and isinstance(answer, Run) and answer.handle == handle
            if cause == answer or overtaking:
                yield state._replace(owed=frozenset(other for other in state.owed if other[0] != submit))

    def _status(self, state: State, call: Call, handle: bytes | None) -> Iterator[State]:
        if call.answered is None:
            return
        known, running = call.answer
        if known:
            job = state.job
            found = (state, job) if handle is None and job is not None else _named(state, handle or UNKNOWN)
            if found is not None and running in (None, found[1].running is not None):
                yield found[0]
            return
        for before in _with_abandoned_dropped(state):
            if before.job is None or (handle is not None and before.job.handle != handle):
                yield before

    def _cancel(self, state: State, call: Call, handle: bytes) -> Iterator[State]:
        if call.answered is None or call.answer:
            found = _named(state, handle)
            if found is not None:
                yield _over(*found, FAILED)
            return
        for before in _with_abandoned_dropped(state):
            if before.job is None or before.job.handle != handle:
                yield before

    def _leave(self, state: State, who: str, submit: int | None) -> Iterator[State]:
        if state.job is None:
            return
        leaving = {one for one in state.job.listeners if one[0] == who and submit in (None, one[1])}
        if leaving:
            yield state._replace(job=state.job._replace(listeners=state.job.listeners - leaving))

    # -- workers ------------------------------------------------------------------------------------------------------

    def _begin(self, state: State, run: Run) -> Iterator[State]:
        found = _named(state, run.handle)
        if found is not None and run not in state.failed:
            named, job = found
            yield named._replace(job=job._replace(running=run))

    def _end(self, state: State, run: Run, *, failed: bool) -> State:
        found = _named(state, run.handle)
        if found is None or run in state.failed:
            return state  # it was cancelled, or given to another worker
        return _over(*found, FAILED if failed else run, run)

    def _fail(self, state: State, run: Run) -> Iterator[State]:
        found = _named(state, run.handle)
        if found is not None:
            named, job = found
            if job.running in (None, run) and run not in state.failed:
                marked = named._replace(failed=state.failed | {run})
                yield marked._replace(job=job._replace(running=None))
                yield _over(marked, job, FAILED)  # it was the last attempt
            return
        last = state.last
        if last is not None and last.ended_by == run and state.job is None:
            job = last._replace(running=None, ended_by=None)
            yield state._replace(job=job, last=None, failed=state.failed | {run})
        lost = frozenset((number, FAILED) for number, cause in state.owed if cause == run)
        if lost - state.owed:
            yield state._replace(owed=state.owed | lost)


def _named(state: State, handle: bytes) -> tuple[State, Job] | None:
    """Give the state and its job if the job has this handle, or may have it: then it has it from now on."""
    job = state.job
    if job is None:
        return None
    if job.handle == handle:
        return state, job
    if job.handle == UNKNOWN and handle not in state.used:
        job = job._replace(handle=handle)
        return state._replace(job=job, used=state.used | {handle}), job
    return None


def _over(state: State, job: Job, cause: Run | Word, run: Run | None = None) -> State:
    """End the job: all that wait for it are owed this."""
    owed = state.owed | {(number, cause) for _, number in job.listeners}
    return state._replace(job=None, last=None if run is None else job._replace(ended_by=run), owed=owed)


def _with_abandoned_dropped(state: State) -> Iterator[State]:
    """Give the state, and the one in which a job that nobody waits for was dropped, if there is such a job."""
    yield state
    job = state.job
    if job is not None and not job.background and not job.listeners and job.running is None:
        yield state._replace(job=None, last=None)


def describe_state(state: State) -> str:
    """Say what the server knows, in words."""
    job = state.job
    if job is None:
        said = "there is no job of this key"
        if state.last is not None:
            said += f" any more: {state.last.ended_by} has ended it"
    else:
        handle = job.handle.decode(errors="replace") or "with a handle that nobody was told"
        said = f"there is job {handle}, {f'in {job.running}' if job.running else 'not running'}"
    owed = sorted((number, str(cause.value if isinstance(cause, Word) else cause)) for number, cause in state.owed)
    if owed:
        said += "; to be told: " + ", ".join(f"submit {number} of {cause}" for number, cause in owed)
    return said
