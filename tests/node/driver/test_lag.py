"""How old a node's job table is, by its own clock; and when that is too old for new clients."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.driver.awake_clock import AwakeClock
from node.driver.lag import MOST, SHORT_AGAIN, TOO_LONG, Lag

TICK = 0.1
ABSURD = 2**64 - 1


class Scene:
    """A node's lag, and the time, which the test moves."""

    def __init__(self) -> None:
        self.now = 500.0
        self.lag = Lag(AwakeClock(lambda: self.now))
        self.changes: list[tuple[float, bool]] = []
        """When it became too long, or short again."""

    def tick(self, committed: int, applied: int, after: float = TICK) -> float:
        """Let a tick pass; give the lag."""
        self.now += after
        self.lag.tick(committed, applied)
        if self.lag.judge():
            self.changes.append((self.now, self.lag.too_long))
        return self.lag.seconds

    def stand(self, seconds: float, committed: int, applied: int) -> float:
        """Let time pass in which nothing happens."""
        for _ in range(round(seconds / TICK)):
            self.tick(committed, applied)
        return self.lag.seconds

    def fall_behind(self, seconds: float, *, at: int = 0) -> int:
        """Let the leader commit an entry in each tick, and the table take in none; give the leader's commit index."""
        count = round(seconds / TICK)
        for number in range(1, count + 1):
            self.tick(at + number, at)
        return at + count


@pytest.fixture
def scene():
    return Scene()


class TestTheLag:
    def test_is_none_while_nothing_is_missing(self, scene):
        for index in range(50):
            assert scene.tick(index, index) == 0.0

    def test_grows_from_when_it_was_known_that_something_is_missing(self, scene):
        scene.tick(5, 5)
        assert scene.tick(6, 5) == 0.0
        assert scene.stand(3.0, 6, 5) == pytest.approx(3.0)

    def test_is_over_when_it_is_not_missing_any_more(self, scene):
        scene.tick(6, 5)
        scene.stand(3.0, 6, 5)
        assert scene.tick(6, 6) == 0.0

    def test_is_the_age_of_the_oldest_that_is_missing(self, scene):
        scene.fall_behind(5.0)
        assert scene.lag.seconds == pytest.approx(4.9)
        assert scene.tick(51, 20) == pytest.approx(3.0)
        assert scene.tick(51, 50) == pytest.approx(0.1)

    def test_does_not_grow_for_a_table_that_is_always_one_entry_behind(self, scene):
        for index in range(600):
            assert scene.tick(index + 1, index) == pytest.approx(0.0)

    def test_grows_as_long_as_less_is_applied_than_committed(self, scene):
        for number in range(200):
            scene.tick(2 * number, number)
        assert scene.lag.seconds == pytest.approx(10.0, abs=0.2)

    def test_is_not_made_by_a_pause_of_the_process(self, scene):
        scene.tick(6, 5)
        assert scene.tick(6, 5, after=60.0) == pytest.approx(0.0)

    def test_counts_from_the_end_of_a_pause_for_what_was_committed_in_it(self, scene):
        scene.tick(5, 5)
        scene.tick(5, 5, after=60.0)
        scene.tick(900, 5)
        assert scene.stand(2.0, 900, 5) == pytest.approx(2.0)

    def test_goes_on_when_another_leader_knows_of_less(self, scene):
        scene.tick(100, 5)
        scene.stand(3.0, 100, 5)
        assert scene.tick(50, 5) == pytest.approx(3.1)
        assert scene.tick(50, 50) == 0.0

    def test_is_made_by_a_number_out_of_proportion_and_heals_with_the_next_good_one(self, scene):
        scene.tick(ABSURD, 5)
        assert scene.stand(3.0, ABSURD, 5) == pytest.approx(3.0)
        assert scene.tick(6, 6) == 0.0

    def test_is_known_to_a_hundredth_however_long_it_is(self, scene):
        behind = scene.fall_behind(3600.0)
        assert scene.lag.seconds == pytest.approx(3599.9)
        for applied in range(0, behind, 997):
            true = (behind - applied) * TICK
            assert scene.tick(behind, applied, after=0.0) <= true
            assert scene.lag.seconds >= true - 36.0  # of an hour


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.floats(0.0, 5.0),
            st.one_of(st.integers(0, 50), st.integers(-5, ABSURD)),
            st.integers(0, 30),
        ),
        max_size=80,
    )
)
def test_whatever_a_leader_says_and_a_table_does(steps):
    """The lag is never negative, none where nothing is missing, and no longer than the node has run."""
    scene = Scene()
    began, applied = scene.now, 0
    for after, committed, more in steps:
        applied += more
        lag = scene.tick(committed, applied, after=after)
        assert 0.0 <= lag <= scene.now - began
        if committed <= applied:
            assert lag == 0.0
        marks = scene.lag._marks
        assert all(one.index < other.index and one.time <= other.time for one, other in pairwise(marks))
        assert all(applied < mark.index <= committed for mark in marks)


def test_the_marks_do_not_become_more_with_time(scene):
    for number in range(20 * MOST):
        scene.tick(number + 1, 0)
        assert len(scene.lag._marks) <= MOST


class TestALagThatIsTooLong:
    def test_is_not_one_that_is_a_little_shorter(self, scene):
        scene.tick(6, 5)
        scene.stand(TOO_LONG - 0.2, 6, 5)
        assert not scene.lag.too_long

    def test_is_noticed_once(self, scene):
        scene.tick(6, 5)
        scene.stand(3 * TOO_LONG, 6, 5)
        assert [too_long for _, too_long in scene.changes] == [True]

    def test_is_over_when_the_table_is_up_to_date(self, scene):
        scene.tick(6, 5)
        scene.stand(TOO_LONG + 1.0, 6, 5)
        scene.tick(6, 6)
        assert [too_long for _, too_long in scene.changes] == [True, False]

    def test_is_not_over_when_it_is_only_a_little_shorter(self, scene):
        behind = scene.fall_behind(TOO_LONG + 1.0)
        for applied in range(behind - round((SHORT_AGAIN + 0.2) / TICK)):
            scene.tick(behind, applied, after=0.0)
        assert scene.lag.seconds > SHORT_AGAIN
        assert scene.lag.too_long
        scene.tick(behind, behind - round((SHORT_AGAIN - 0.5) / TICK), after=0.0)
        assert not scene.lag.too_long

    def test_does_not_flap_where_the_lag_goes_up_and_down_around_either_bound(self, scene):
        for bound in (TOO_LONG, SHORT_AGAIN):
            for _ in range(20):
                for aim in (bound + 0.5, bound - 0.5):
                    self.bring_to(scene, aim)
        assert [too_long for _, too_long in scene.changes] == [True, False]

    @staticmethod
    def bring_to(scene, seconds):
        """Let the leader commit in each tick, and the table be as old as this."""
        first = getattr(scene, "committed", 0)
        for _ in range(round(TOO_LONG / TICK) + 20):
            first += 1
            scene.tick(first, max(0, first - round(seconds / TICK)))
        scene.committed = first
