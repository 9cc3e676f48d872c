"""Whether a history is one that a single job server could have made: everything that is checked, in words.

Not for: the checks themselves (`linearizability`, `model`, `rules`).
"""

from collections.abc import Iterable

from tests.histories import rules
from tests.histories.history import Call, Key, Subject, SubmitJob, by_subject, describe, handle_of
from tests.histories.linearizability import BOUND, Counterexample, UndecidedError, check
from tests.histories.model import JobServer, State, describe_state

SHOWN = 30
"""How many calls of a counterexample are shown: the last ones before the impossible answer."""


def judge(
    calls: Iterable[Call],
    *,
    settled: bool = True,
    attempts_limited: bool = False,
    bound: int = BOUND,
) -> list[str]:
    """Say everything that is wrong with a history.

    `settled`: it goes on until everything acknowledged was run and told. `attempts_limited`: a job is given up when its
    runs have failed too often. `bound` is that of the search for each key. Raises `UndecidedError` when nothing is
    found wrong and some key has too many calls for that.
    """
    calls = list(calls)
    wrong = [
        *rules.wrongly_joined(calls, settled=settled, attempts_limited=attempts_limited),
        *rules.wrongly_refused(calls),
        *rules.wrongly_counted(calls),
    ]
    undecided: list[UndecidedError] = []
    for subject, some in by_subject(calls).items():
        try:
            found = check(some, JobServer(), bound)
        except UndecidedError as error:
            undecided.append(error)
        else:
            if found is not None:
                wrong.append(explain(subject, found))
    if undecided and not wrong:
        raise UndecidedError(f"{len(undecided)} keys are not judged: {undecided[0]}", len(undecided))
    return wrong


def explain(subject: Subject, found: Counterexample[State]) -> str:
    """Show a counterexample: the calls up to the answer for which there is no place, by the time of sending."""
    name = str(subject) if isinstance(subject, Key) else f"job {subject.decode(errors='replace')}"
    calls = _concerned(found)
    lines = [f"no order of the calls for {name} explains the last answer:"]
    if len(calls) < len(found.calls):
        lines.append(f"  ({len(found.calls) - len(calls)} earlier calls)")
    lines += [f"  {call.number if call.number >= 0 else '':4} {call}" for call in calls]
    impossible = found.impossible
    lines.append(
        f"  there is no place for this answer to {impossible.number}, {impossible.who}: {describe(impossible)}"
    )
    lines += [f"  before that answer: {said}" for said in sorted(set(map(describe_state, found.states)))]
    return "\n".join(lines)


def _concerned(found: Counterexample[State]) -> tuple[Call, ...]:
    """Leave out what was over before the job in question was first named, and the runs of other jobs before that."""
    handle = handle_of(found.impossible)
    named = [call for call in found.calls if handle is not None and handle_of(call) == handle]
    since = min((call.invoked for call in named), default=found.impossible.invoked)

    def matters(call: Call) -> bool:
        if call.answered is not None:
            return call.answered >= since
        return call.invoked >= since or isinstance(call.operation, SubmitJob) or handle_of(call) == handle

    return tuple(call for call in found.calls if matters(call))[-SHOWN:]
