"""Changes of configuration: what may follow what, and that the quorums on both sides of every step overlap."""

from itertools import chain, combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.raft import Change, ChangeKind, Configuration, ConfigurationChange, ConfigurationRefusedError
from cluster.raft.membership import enter, leave
from cluster.raft.quorum import is_quorum

nodes = st.sampled_from("abcdef")
sets = st.sets(nodes)
configurations = st.builds(
    lambda voters, learners: Configuration(tuple(sorted(voters)), tuple(sorted(learners - voters))),
    st.sets(nodes, min_size=1, max_size=5),
    sets,
)
changes = st.builds(
    ConfigurationChange,
    st.lists(st.builds(Change, st.sampled_from(ChangeKind), nodes), max_size=3).map(tuple),
    st.booleans(),
)


def change(*steps, joint=False):
    return ConfigurationChange(tuple(Change(kind, node) for kind, node in steps), joint)


def quorums(configuration):
    everybody = configuration.members
    groups = chain.from_iterable(combinations(everybody, size) for size in range(len(everybody) + 1))
    return [set(group) for group in groups if is_quorum(configuration, group)]


class TestSafety:
    @given(configurations, changes)
    def test_every_quorum_of_a_configuration_meets_every_quorum_of_the_next_one(self, current, change):
        try:
            entered = enter(current, change)
        except ConfigurationRefusedError:
            return
        path = [current, entered] + ([leave(entered)] if entered.joint else [])
        for before, after in pairwise(path):
            for one in quorums(before):
                for other in quorums(after):
                    assert one & other, f"{before} and {after} can decide without each other"

    @given(configurations, changes)
    def test_what_comes_out_is_sound(self, current, change):
        try:
            entered = enter(current, change)
        except ConfigurationRefusedError:
            return
        assert entered.sound
        assert leave(entered).sound
        assert not leave(entered).joint
        if entered.joint:
            assert entered.outgoing == current.voters

    @given(configurations, changes)
    def test_only_a_change_of_one_voter_does_without_the_joint_step(self, current, change):
        try:
            entered = enter(current, change)
        except ConfigurationRefusedError:
            return
        moved = set(current.voters) ^ set(entered.voters)
        assert entered.joint == (change.joint or len(moved) > 1)


class TestSteps:
    base = Configuration(("a", "b", "c"), ("x",))

    @pytest.mark.parametrize(
        ("steps", "expected"),
        [
            ([(ChangeKind.ADD_LEARNER, "y")], Configuration(("a", "b", "c"), ("x", "y"))),
            ([(ChangeKind.PROMOTE, "x")], Configuration(("a", "b", "c", "x"))),
            ([(ChangeKind.DEMOTE, "a")], Configuration(("b", "c"), ("a", "x"))),
            ([(ChangeKind.REMOVE, "a")], Configuration(("b", "c"), ("x",))),
            ([(ChangeKind.REMOVE, "x")], Configuration(("a", "b", "c"))),
            (
                [(ChangeKind.PROMOTE, "x"), (ChangeKind.REMOVE, "a")],
                Configuration(("b", "c", "x"), (), ("a", "b", "c")),
            ),
        ],
    )
    def test_each_kind_does_what_it_says(self, steps, expected):
        assert enter(self.base, change(*steps)) == expected

    @pytest.mark.parametrize(
        ("steps", "words"),
        [
            ([], "empty"),
            ([(ChangeKind.ADD_LEARNER, "")], "must not be empty"),
            ([(ChangeKind.ADD_LEARNER, "a")], "in the group already"),
            ([(ChangeKind.ADD_LEARNER, "x")], "in the group already"),
            ([(ChangeKind.PROMOTE, "a")], "not a learner"),
            ([(ChangeKind.PROMOTE, "z")], "not a learner"),
            ([(ChangeKind.DEMOTE, "x")], "not a voter"),
            ([(ChangeKind.REMOVE, "z")], "not in the group"),
            ([(ChangeKind.ADD_LEARNER, "y"), (ChangeKind.PROMOTE, "y")], "only one step"),
            ([(ChangeKind.REMOVE, "a"), (ChangeKind.REMOVE, "b"), (ChangeKind.REMOVE, "c")], "no voter"),
        ],
    )
    def test_nonsense_is_refused_with_the_reason(self, steps, words):
        with pytest.raises(ConfigurationRefusedError, match=words):
            enter(self.base, change(*steps))

    def test_bug_27_no_change_on_top_of_a_joint_configuration(self):
        joint = enter(self.base, change((ChangeKind.REMOVE, "a"), joint=True))
        with pytest.raises(ConfigurationRefusedError, match="not complete"):
            enter(joint, change((ChangeKind.REMOVE, "b")))

    def test_a_demoted_voter_votes_in_the_old_half_until_the_joint_step_is_over(self):
        joint = enter(self.base, change((ChangeKind.DEMOTE, "a"), joint=True))
        assert joint.votes("a")
        assert joint.learners == ("a", "x")
        assert not leave(joint).votes("a")
