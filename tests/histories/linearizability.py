"""Look for an order of concurrent calls in which a sequential specification gives the same answers.

Each call takes effect at one moment between its sending and its answer (Herlihy and Wing, 1990). The search is that of
Wing and Gong (1993) with the memory of Lowe (2017): it goes from event to event and keeps every set of (state, calls
that took effect and are not answered yet) that agrees with all answers so far. A call is made to take effect only when
an answer needs it. When no set is left at an answer, the history up to that answer is the shortest that has no order.

Not for: what a job server does (`model`).
"""

from collections.abc import Hashable, Iterable, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

from tests.histories.history import Call

BOUND = 200_000
"""How many sets are looked at before a search is given up. A short history of few clients needs some hundreds."""

S = TypeVar("S", bound=Hashable)


class Specification(Protocol[S]):
    """An object that does one thing at a time."""

    @property
    def initial(self) -> S:
        """Give the state before all calls."""

    def step(self, state: S, call: Call) -> Iterable[S]:
        """Give the states in which the call may leave the object, with the answer it has; none if it cannot be so."""

    def repeatable(self, call: Call) -> bool:
        """Tell whether an unanswered call that took effect has no effect when it is tried again."""

    def at_once(self, state: S, call: Call) -> S | None:
        """Give the state after an answered call that takes nothing from any other by taking effect now, if it can.

        A call that only reads is one: whatever the others do later, they can do after it as well.
        """

    def spent(self, state: S, call: Call) -> bool:
        """Tell whether an unanswered call can have no effect any more, whatever follows; False if in doubt."""


class Counterexample(NamedTuple, Generic[S]):
    """The shortest beginning of a history that has no order."""

    calls: tuple[Call, ...]
    """The calls sent before the answer for which there is no place, by the time of sending."""
    impossible: Call
    """The call with that answer."""
    states: tuple[S, ...]
    """The states in which the object may have been before that answer."""


class UndecidedError(Exception):
    """A search took more than its bound: the history is too long, or has too many calls at once."""

    def __init__(self, what: str, keys: int = 1) -> None:
        """`keys`: how many histories are not judged."""
        super().__init__(what)
        self.keys = keys


def check(calls: Sequence[Call], specification: Specification[S], bound: int = BOUND) -> Counterexample[S] | None:
    """Return None if the calls have an order, and else where they have none.

    Raises `UndecidedError` when that takes too long to find out.
    """
    events = [(call.invoked.order, False, call) for call in calls]
    events += [(call.answered.order, True, call) for call in calls if call.answered is not None]
    events.sort(key=lambda event: (event[0], event[1], event[2].number))
    configurations: set[tuple[S, frozenset[int]]] = {(specification.initial, frozenset())}
    pending: dict[int, Call] = {}
    looked_at = 0

    def with_what_costs_nothing(state: S, taken: frozenset[int]) -> tuple[S, frozenset[int]]:
        for number, other in pending.items():
            if other.answered is not None and number not in taken:
                after = specification.at_once(state, other)
                if after is not None:
                    state, taken = after, taken | {number}
        return state, taken

    for _, is_answer, call in events:
        if not is_answer:
            pending[call.number] = call
            continue
        agreeing: set[tuple[S, frozenset[int]]] = set()
        seen = {with_what_costs_nothing(*configuration) for configuration in configurations}
        work = list(seen)
        while work:
            state, taken = work.pop()
            looked_at += 1
            if looked_at > bound:
                raise UndecidedError(
                    f"no order found after {bound} steps; {len(calls)} calls, now at the answer of {call.number}"
                )
            if call.number in taken:
                agreeing.add((state, taken - {call.number}))
                continue
            for number, other in pending.items():
                if number in taken:
                    continue
                unanswered = other.answered is None
                marked = taken if unanswered and specification.repeatable(other) else taken | {number}
                for following in specification.step(state, other):
                    if unanswered and following == state:
                        continue
                    configuration = with_what_costs_nothing(following, marked)
                    if configuration not in seen:
                        seen.add(configuration)
                        work.append(configuration)
        if not agreeing:
            assert call.answered is not None
            sent = tuple(one for one in calls if one.invoked <= call.answered)
            return Counterexample(sent, call, tuple(dict.fromkeys(state for state, _ in configurations)))
        configurations = agreeing
        del pending[call.number]
        for number, other in list(pending.items()):
            if other.answered is None and all(
                number not in taken and specification.spent(state, other) for state, taken in agreeing
            ):
                del pending[number]
    return None
