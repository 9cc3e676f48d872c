"""Promises to clients that a history keeps or breaks by plain comparison of moments.

*Every acknowledged submit is answered, or run, by a run that ended after it was sent*, whichever node it was sent to
and however the client learned of the end. A run ends when its worker's final word takes effect: not before the worker
sends it, and not after anybody was told of it, or after the server answered what the worker sent next. So a submit that
was sent later than that must not be joined to the run's job.

*No submit is refused as one too many* while the function cannot have had so many jobs at any moment since it was sent,
whatever limit it may have had then. A job whose client was told its end does not count.

*The number of jobs* that `status` gives is one that there can have been at a moment since it was asked for.

Not for: everything else that one job server would not do (`model`).
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tests.histories.history import (
    QUEUE_FULL,
    AwaitResult,
    Call,
    CancelJob,
    ClientLeaves,
    CountJobs,
    GetStatus,
    Key,
    Moment,
    Run,
    RunEnds,
    RunFails,
    SetLimit,
    SubmitJob,
    describe,
    handle_of,
)

NEVER = Moment(2**63)
"""After everything."""
BEFORE = Moment(-1)


class Ending(NamedTuple):
    """The final word of a run."""

    call: Call
    latest: Moment
    """When it had taken effect for certain."""


# -- told, therefore ended --------------------------------------------------------------------------------------------


def wrongly_joined(calls: Iterable[Call], *, settled: bool = True, attempts_limited: bool = False) -> Iterator[str]:
    """Say of each acknowledged submit that no later run answers or runs why that is wrong.

    `settled`: the history goes on until everything acknowledged was run and told, so what is missing is missing.
    `attempts_limited`: a job whose runs failed may have been given up.
    """
    calls = list(calls)
    endings = _endings(calls)
    excused = {call.operation.run.handle for call in calls if isinstance(call.operation, RunFails)}
    cancelled = _cancelled(calls)
    left = {call.who for call in calls if isinstance(call.operation, ClientLeaves)}
    awaits = {call.operation.submit: call for call in calls if isinstance(call.operation, AwaitResult)}
    for call in calls:
        if not isinstance(call.operation, SubmitJob) or not isinstance(call.answer, bytes):
            continue
        handle, runs = call.answer, endings.get(call.answer, {})
        awaited = awaits.get(call.number)
        if awaited is not None and awaited.answered is None:
            if settled and call.who not in left:
                yield f"{_who(call)} was accepted as {_text(handle)}, and its client is never told the end"
        elif awaited is not None and isinstance(awaited.answer, Run):
            ending = runs.get(awaited.answer)
            if ending is None or ending.call.invoked > (awaited.answered or NEVER):
                yield f"{_who(call)} is answered by {awaited.answer}, which had not ended"
            elif ending.latest < call.invoked:
                yield f"{_who(call)} is answered by {awaited.answer}, which had ended before: {_proof(ending)}"
        elif handle in excused and (awaited is not None or attempts_limited):
            continue  # the result is lost, or the job has used up its attempts
        elif cancelled.get(handle, BEFORE) > call.invoked:
            continue
        elif awaited is not None:
            if not any(one.latest > call.invoked for one in runs.values() if one.call.operation.failed):
                yield f"{_who(call)} is told that {_text(handle)} failed; no worker said so, and nobody cancelled it"
        elif settled and not any(ending.latest > call.invoked for ending in runs.values()):
            ended = "; ".join(map(_proof, runs.values())) or "it was never run to its end"
            yield f"{_who(call)} was accepted as {_text(handle)} and not run after that: {ended}"


def _endings(calls: list[Call]) -> dict[bytes, dict[Run, Ending]]:
    """Give the final words of each job's runs."""
    told: dict[Run, Moment] = {}
    for call in calls:
        if isinstance(call.answer, Run) and call.answered is not None:
            told[call.answer] = min(told.get(call.answer, NEVER), call.answered)
    found: dict[bytes, dict[Run, Ending]] = {}
    for call in calls:
        if isinstance(call.operation, RunEnds):
            run = call.operation.run
            latest = min(told.get(run, NEVER), call.answered or NEVER)
            found.setdefault(run.handle, {})[run] = Ending(call, latest)
    return found


def _cancelled(calls: list[Call]) -> dict[bytes, Moment]:
    """Give the latest moment at which each job may have been cancelled."""
    found: dict[bytes, Moment] = {}
    for call in calls:
        if isinstance(call.operation, CancelJob) and (call.answered is None or call.answer):
            handle = call.operation.handle
            found[handle] = max(found.get(handle, BEFORE), call.answered or NEVER)
    return found


# -- how many jobs there are ------------------------------------------------------------------------------------------


class Life(NamedTuple):
    """When a job was there: certainly from `created` to `ending`, possibly from `sent` to `gone`."""

    sent: Moment
    created: Moment
    ending: Moment
    gone: Moment


def wrongly_refused(calls: Iterable[Call]) -> Iterator[str]:
    """Say which submits were refused though their function had fewer jobs than its limit."""
    calls = list(calls)
    lives = _lives(calls)
    for call in calls:
        if call.answer is not QUEUE_FULL or call.key is None or call.answered is None:
            continue
        most = _most(lives.get(call.key.function, ()), call.invoked, call.answered)
        limit = _lowest_limit(calls, call.key.function, call.invoked, call.answered)
        if limit == 0:
            yield f"{_who(call)} is refused, and there is no limit"
        elif most < limit:
            yield f"{_who(call)} is refused: the limit is {limit}, and there can have been {most} jobs"


def _lowest_limit(calls: Iterable[Call], function: bytes, first: Moment, last: Moment) -> int:
    """Give the lowest limit that a function may have had at some moment of a time; 0 if it had none."""
    changes = [
        call
        for call in calls
        if isinstance(call.operation, SetLimit) and call.operation.function == function and call.invoked < last
    ]
    done = max(
        (call.invoked for call in changes if call.answered is not None and call.answered < first), default=BEFORE
    )
    # What was answered before a change that was done in time was sent is not in force any more.
    possible = [call.operation.limit for call in changes if (call.answered or NEVER) >= done]
    return min((limit for limit in possible if limit), default=0)


def wrongly_counted(calls: Iterable[Call]) -> Iterator[str]:
    """Say which answers of `status` give a number of jobs that there never was while it was asked for."""
    calls = list(calls)
    lives = _lives(calls)
    for call in calls:
        if not isinstance(call.operation, CountJobs) or call.answered is None:
            continue
        there = lives.get(call.operation.function, ())
        least, most = _least(there, call.invoked, call.answered), _most(there, call.invoked, call.answered)
        if not least <= call.answer <= most:
            yield f"{call.who} {describe(call)}, at {call.answered}; there were {least} to {most}"


def _lives(calls: list[Call]) -> dict[bytes, list[Life]]:
    """Give the lives of the jobs of each function."""
    ends: dict[bytes, list[tuple[Moment, Moment]]] = {}
    revived: set[bytes] = set()
    left: dict[str, Moment] = {}
    submits: dict[bytes, list[Call]] = {}
    unknown: dict[bytes, list[Call]] = {}
    unanswered: list[Call] = []
    of_key: dict[Key, list[Call]] = {}
    for call in calls:
        operation, answered = call.operation, call.answered or NEVER
        if isinstance(operation, ClientLeaves):
            left[call.who] = call.invoked
        elif isinstance(operation, RunFails):
            revived.add(operation.run.handle)
        elif isinstance(operation, RunEnds | CancelJob):
            ends.setdefault(handle_of(call) or b"", []).append((call.invoked, answered))
        elif isinstance(operation, AwaitResult):
            ends.setdefault(operation.handle, []).append((NEVER, answered))
        elif isinstance(operation, GetStatus) and call.answered is not None and not call.answer.known:
            unknown.setdefault(operation.handle, []).append(call)
        elif isinstance(operation, SubmitJob) and isinstance(call.answer, bytes):
            submits.setdefault(call.answer, []).append(call)
        elif isinstance(operation, SubmitJob) and call.answered is None:
            unanswered.append(call)
        if isinstance(operation, SubmitJob) and call.key is not None and call.key.unique:
            of_key.setdefault(call.key, []).append(call)
    lives: dict[bytes, list[Life]] = {}
    for handle, accepted in submits.items():
        key = accepted[0].key
        if key is None:
            continue
        created = min(call.answered or NEVER for call in accepted)
        sent = min(call.invoked for call in accepted)
        later = [call for call in unknown.get(handle, ()) if call.invoked > created]
        for other in of_key.get(key, ()):
            if other.answered is None:
                sent = min(sent, other.invoked)  # it may be the one that made the job
            elif isinstance(other.answer, bytes) and other.answer != handle and other.invoked > created:
                later.append(other)  # its job is another one
        told = [*ends.get(handle, ()), *((NEVER, call.answered or NEVER) for call in later)]
        ending = min((earliest for earliest, _ in told), default=NEVER)
        gone = min((latest for _, latest in told), default=NEVER)
        if any(call.who in left for call in accepted):
            ending = min(ending, *(left.get(call.who, NEVER) for call in accepted))
        ending = sent if handle in revived else min(ending, gone)
        gone = NEVER if handle in revived else gone
        lives.setdefault(key.function, []).append(Life(sent, created, ending, gone))
    for call in unanswered:
        if call.key is not None:
            lives.setdefault(call.key.function, []).append(Life(call.invoked, NEVER, NEVER, NEVER))
    return lives


def _most(lives: Iterable[Life], first: Moment, last: Moment) -> int:
    """Give how many jobs there may have been at one moment of a time."""
    lives = list(lives)
    moments = [first, *(life.sent for life in lives if first < life.sent < last)]
    return max(sum(life.sent <= moment < life.gone for life in lives) for moment in moments)


def _least(lives: Iterable[Life], first: Moment, last: Moment) -> int:
    """Give how many jobs there were for certain at every moment of a time."""
    lives = list(lives)
    moments = [first, *(life.ending for life in lives if first < life.ending < last)]
    return min(sum(life.created <= moment < life.ending for life in lives) for moment in moments)


def _who(call: Call) -> str:
    kind = "background submit" if call.operation.background else "submit"
    return f"the {kind} of {call.key} that {call.who} sent at {call.invoked}"


def _proof(ending: Ending) -> str:
    call = ending.call
    until = "" if ending.latest == NEVER else f", and somebody was told by {ending.latest}"
    return f"{call.who} ended {call.operation.run} at {call.invoked}{until}"


def _text(value: bytes) -> str:
    return value.decode(errors="replace")
