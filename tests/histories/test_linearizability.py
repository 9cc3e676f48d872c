"""The search for an order, against its definition, written out by brute force: all orders of tiny histories."""

from itertools import combinations, permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.histories.history import (
    FAILED,
    QUEUE_FULL,
    AwaitResult,
    Call,
    CancelJob,
    ClientLeaves,
    GetStatus,
    GetStatusUnique,
    Moment,
    Run,
    RunBegins,
    RunEnds,
    RunFails,
    Status,
    SubmitJob,
)
from tests.histories.linearizability import UndecidedError, check
from tests.histories.model import JobServer
from tests.histories.story import KEY


class Register:
    """One value: it can be written, and read."""

    initial = 0

    def step(self, state, call):
        kind, value = call.operation
        if kind == "write":
            return (value,)
        return (state,) if call.answer == state else ()

    def repeatable(self, call):
        return False

    def at_once(self, state, call):
        return state if call.operation[0] == "read" and call.answer == state else None

    def spent(self, state, call):
        return call.operation[0] == "read"


def call(number, invoked, answered, operation, answer=None, who="C"):
    return Call(
        number,
        f"{who}{number}",
        operation,
        Moment(invoked),
        None if answered is None else Moment(answered),
        answer,
        KEY,
    )


def has_an_order(calls, specification):
    """Try every order of every choice of unanswered calls."""
    answered = [one for one in calls if one.answered is not None]
    unanswered = [one for one in calls if one.answered is None]
    for count in range(len(unanswered) + 1):
        for taken in combinations(unanswered, count):
            for order in permutations([*answered, *taken]):
                if _real_time(order) and _possible(order, specification):
                    return True
    return False


def _real_time(order):
    return not any(
        later.answered is not None and later.answered < earlier.invoked
        for place, earlier in enumerate(order)
        for later in order[place + 1 :]
    )


def _possible(order, specification):
    states = {specification.initial}
    for one in order:
        states = {following for state in states for following in specification.step(state, one)}
    return bool(states)


@st.composite
def histories(draw, kinds):
    """Make calls of the kinds given, each an operation with a strategy for its answer, at any time, answered or not."""
    chosen = draw(st.lists(kinds, min_size=1, max_size=5))
    slots = draw(st.permutations(range(2 * len(chosen))))
    calls = []
    for number, (operation, answers) in enumerate(chosen):
        first, last = sorted(slots[2 * number : 2 * number + 2])
        if answers is None or draw(st.integers(0, 4)) == 0:
            calls.append(call(number, first, None, operation))
        else:
            calls.append(call(number, first, last, operation, draw(answers)))
    return sorted(calls, key=lambda one: one.invoked)


values = st.integers(0, 2)
register_calls = st.one_of(
    st.tuples(st.tuples(st.just("write"), values), st.just(st.none())),
    st.tuples(st.just(("read", None)), st.just(values)),
)

handles = st.sampled_from([b"H:1", b"H:2"])
runs = st.builds(Run, handles, st.integers(1, 2))
statuses = st.sampled_from([Status(False), Status(True), Status(True, True)])  # noqa: FBT003 - as its fields are named
submits = st.tuples(st.builds(SubmitJob, st.booleans()), st.just(handles | st.just(QUEUE_FULL)))
job_calls = st.one_of(
    submits,
    submits,
    st.tuples(st.builds(AwaitResult, st.integers(0, 2), handles), st.just(runs | st.just(FAILED))),
    st.tuples(st.builds(GetStatus, handles), st.just(statuses)),
    st.tuples(st.just(GetStatusUnique(b"u")), st.just(statuses)),
    st.tuples(st.builds(CancelJob, handles), st.just(st.booleans())),
    st.tuples(st.builds(RunBegins, runs), st.none()),
    st.tuples(st.builds(RunEnds, runs, st.booleans()), st.just(st.none())),
    st.tuples(st.builds(RunFails, runs), st.none()),
    st.tuples(st.just(ClientLeaves()), st.none()),
)


class TestTheSearch:
    @settings(max_examples=300, deadline=None)
    @given(histories(register_calls))
    def test_it_finds_an_order_of_a_register_exactly_when_one_of_all_orders_fits(self, calls):
        assert (check(calls, Register()) is None) == has_an_order(calls, Register())

    @settings(max_examples=600, deadline=None)
    @given(histories(job_calls))
    def test_it_finds_an_order_of_a_job_server_exactly_when_one_of_all_orders_fits(self, calls):
        assert (check(calls, JobServer()) is None) == has_an_order(calls, JobServer())

    @settings(max_examples=200, deadline=None)
    @given(histories(register_calls))
    def test_its_counterexample_is_the_shortest_beginning_without_an_order(self, calls):
        found = check(calls, Register())
        if found is None:
            return
        cut = found.impossible.answered
        assert not has_an_order(found.calls, Register())
        earlier = [
            one
            if one.answered is None or one.answered < cut
            else call(one.number, one.invoked.order, None, one.operation)
            for one in found.calls
        ]
        assert has_an_order([one for one in earlier if one.answered or one.operation[0] == "write"], Register())

    def test_it_takes_no_call_before_it_was_sent_or_after_it_was_answered(self):
        read = call(0, 1, 2, ("read", None), 7)
        assert check([read, call(1, 3, 4, ("write", 7))], Register()).impossible == read
        stale = call(2, 5, 6, ("read", None), 0)
        assert check([call(0, 1, 2, ("write", 7)), stale], Register()).impossible == stale

    def test_a_call_without_an_answer_may_have_taken_effect_at_any_later_time_or_never(self):
        lost = call(0, 1, None, ("write", 7))
        assert check([lost, call(1, 2, 3, ("read", None), 0), call(2, 4, 5, ("read", None), 7)], Register()) is None
        back = [call(1, 2, 3, ("read", None), 7), call(2, 4, 5, ("read", None), 0)]
        assert check([lost, *back], Register()).impossible == back[1]

    def test_calls_at_one_time_may_have_either_order(self):
        together = [call(0, 1, 4, ("write", 1)), call(1, 1, 4, ("write", 2))]
        assert check([*together, call(2, 5, 6, ("read", None), 1)], Register()) is None
        assert check([*together, call(2, 5, 6, ("read", None), 2)], Register()) is None

    def test_a_search_that_takes_too_long_is_given_up_and_not_passed(self):
        writes = [call(number, number, None, ("write", number)) for number in range(1, 13)]
        with pytest.raises(UndecidedError, match="no order found after 1000 steps"):
            check([*writes, call(13, 20, 21, ("read", None), 99)], Register(), bound=1000)
