"""Majorities against their definition, written out by brute force."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.raft import Configuration
from cluster.raft.quorum import Outcome, is_quorum, reached, tally

ids = st.lists(st.sampled_from("abcdefg"), unique=True, max_size=7).map(lambda nodes: tuple(sorted(nodes)))
some_ids = ids.filter(bool)
configurations = st.builds(Configuration, some_ids, st.just(("x", "y")), ids)
values = st.dictionaries(st.sampled_from("abcdefgxy"), st.integers(0, 9))
votes = st.dictionaries(st.sampled_from("abcdefgxy"), st.booleans())


def halves(configuration):
    return [half for half in (configuration.voters, configuration.outgoing) if half]


def majorities(half):
    return [set(group) for group in combinations(half, len(half) // 2 + 1)]


class TestReached:
    @given(configurations, values)
    def test_it_is_the_highest_value_that_some_majority_of_each_half_has(self, configuration, values):
        def has(value):
            return all(
                any(all(values.get(node, 0) >= value for node in group) for group in majorities(half))
                for half in halves(configuration)
            )

        assert reached(configuration, values) == max(value for value in range(10) if has(value))

    @pytest.mark.parametrize(
        ("acknowledged", "expected"),
        [((5,), 5), ((5, 3), 3), ((5, 3, 4), 4), ((5, 3, 4, 9), 4), ((5, 3, 4, 9, 1), 4)],
    )
    def test_bug_28_a_quorum_is_more_than_half(self, acknowledged, expected):
        voters = tuple("abcde"[: len(acknowledged)])
        assert reached(Configuration(voters), dict(zip(voters, acknowledged, strict=True))) == expected

    def test_bug_28_a_joint_quorum_needs_both_halves(self):
        joint = Configuration(("a", "b", "c"), (), ("c", "d", "e"))
        assert reached(joint, {"a": 9, "b": 9, "c": 9}) == 0
        assert reached(joint, {"a": 9, "b": 9, "c": 9, "d": 4}) == 4

    def test_nobody_decides_nothing(self):
        assert reached(Configuration(), {"a": 5}) == 0

    def test_learners_do_not_count(self):
        assert reached(Configuration(("a", "b", "c"), ("x", "y")), {"a": 5, "x": 5, "y": 5}) == 0


class TestTally:
    @given(configurations, votes)
    def test_won_and_lost_are_what_no_further_vote_can_change(self, configuration, votes):
        def won(assumed):
            granted = {node for node, grant in assumed.items() if grant}
            return all(any(group <= granted for group in majorities(half)) for half in halves(configuration))

        voters = {node for half in halves(configuration) for node in half}
        missing = voters - votes.keys()
        best = won(votes | dict.fromkeys(missing, True))
        expected = Outcome.WON if won(votes) else Outcome.PENDING if best else Outcome.LOST
        assert tally(configuration, votes) is expected


class TestIsQuorum:
    @given(configurations, st.sets(st.sampled_from("abcdefgxy")))
    def test_it_holds_a_majority_of_each_half(self, configuration, nodes):
        expected = all(any(group <= nodes for group in majorities(half)) for half in halves(configuration))
        assert is_quorum(configuration, nodes) is expected

    @given(configurations, st.sets(st.sampled_from("abcdefg")), st.sets(st.sampled_from("abcdefg")))
    def test_two_quorums_always_share_a_node(self, configuration, one, other):
        if is_quorum(configuration, one) and is_quorum(configuration, other):
            assert one & other
