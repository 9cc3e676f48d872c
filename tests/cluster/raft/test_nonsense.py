"""Whatever peers say, in any role and at any time: it is ignored or refused, it never breaks the node.

Two things only stop a node, both said by the leader it follows and both meaning that somebody has lost data: other
entries where this node has committed some, and a commit of what this node no longer has."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.log import Entry, EntryKind
from cluster.raft import Change, ChangeKind, ConfigurationChange, RaftInvariantError, SnapshotMeta
from cluster.raft.messages import (
    Append,
    AppendAck,
    AppendReject,
    Heartbeat,
    HeartbeatAck,
    PreVoteReply,
    PreVoteRequest,
    ReadReply,
    ReadRequest,
    SnapshotAck,
    SnapshotChunk,
    SnapshotState,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from tests.cluster.raft.stage import Group

names = st.sampled_from(["1", "2", "3", "9", ""])
terms = st.one_of(st.integers(0, 5), st.sampled_from([2**62, 2**63, -1]))
numbers = st.one_of(st.integers(0, 8), st.sampled_from([-1, 2**40, 2**63]))
booleans = st.booleans()
entries = st.lists(
    st.builds(Entry, numbers, terms, st.sampled_from([EntryKind.COMMANDS, EntryKind.BARRIER]), st.binary(max_size=3)),
    max_size=3,
).map(tuple)
metas = st.builds(SnapshotMeta, numbers, terms)
messages = st.one_of(
    st.builds(PreVoteRequest, names, names, terms, numbers, terms),
    st.builds(PreVoteReply, names, names, terms, booleans),
    st.builds(VoteRequest, names, names, terms, numbers, terms, booleans),
    st.builds(VoteReply, names, names, terms, booleans),
    st.builds(Append, names, names, terms, numbers, terms, entries, numbers),
    st.builds(AppendAck, names, names, terms, numbers),
    st.builds(AppendReject, names, names, terms, numbers, numbers, terms),
    st.builds(Heartbeat, names, names, terms, numbers, numbers),
    st.builds(HeartbeatAck, names, names, terms, numbers),
    st.builds(TimeoutNow, names, names, terms),
    st.builds(ReadRequest, names, names, terms, numbers),
    st.builds(ReadReply, names, names, terms, numbers, numbers),
    st.builds(SnapshotChunk, names, names, terms, numbers, metas, numbers, st.binary(max_size=3), numbers, booleans),
    st.builds(SnapshotAck, names, names, terms, numbers, numbers, st.sampled_from(SnapshotState)),
)


def scene(role):
    """A group whose node 1 is in the given role, with something in its log."""
    group = Group("1", "2", "3")
    group.elect("2" if role in ("follower", "candidate", "pre-candidate") else "1")
    group.propose(group.leaders[2], "x", "y")
    group.deliver()
    core = group["1"]
    if role in ("pre-candidate", "candidate"):
        core.campaign()
    if role == "candidate":
        core.step(PreVoteReply("1", "2", 3, granted=True))
    if role == "busy leader":
        core.propose_configuration(ConfigurationChange((Change(ChangeKind.ADD_LEARNER, "9"),)))
        core.transfer("3")
    group.settle()
    return core


class TestNonsense:
    @pytest.mark.parametrize("role", ["follower", "pre-candidate", "candidate", "leader", "busy leader"])
    @settings(max_examples=60, deadline=None)
    @given(said=st.lists(messages, min_size=1, max_size=8))
    def test_no_message_breaks_a_node(self, role, said):
        core = scene(role)
        for message in said:
            try:
                core.step(message)
                while core.ready() is not None:
                    pass
            except RaftInvariantError:
                assert isinstance(message, Append | Heartbeat)
                assert message.sender == core.leader
                return
            assert core.commit >= 4
            assert core.applied_index <= core.commit <= core.last_index

    def test_what_is_not_for_this_node_or_from_nobody_is_not_heeded(self):
        core = scene("follower")
        core.step(Heartbeat("2", "3", 99, 0, 0))
        core.step(Heartbeat("1", "1", 99, 0, 0))
        core.step(Heartbeat("1", "", 99, 0, 0))
        core.step(Heartbeat("1", "3", 2**62 + 1, 0, 0))
        core.step(Heartbeat("1", "3", -1, 0, 0))
        assert (core.term, core.leader) == (2, "2")

    @pytest.mark.parametrize(
        "entries",
        [
            (Entry(6, 2, EntryKind.COMMANDS, b""),),
            (Entry(5, 2, EntryKind.COMMANDS, b""), Entry(7, 2, EntryKind.COMMANDS, b"")),
            (Entry(5, 3, EntryKind.COMMANDS, b""),),
            (Entry(5, 1, EntryKind.COMMANDS, b""),),
            (Entry(5, 2, EntryKind.COMMANDS, b""), Entry(6, 1, EntryKind.COMMANDS, b"")),
        ],
    )
    def test_entries_that_do_not_fit_together_are_not_appended(self, entries):
        core = scene("follower")
        core.step(Append("1", "2", 2, 4, 2, entries, 9))
        assert core.last_index == 4

    def test_a_second_leader_of_the_same_term_is_not_heeded(self):
        core = scene("follower")
        core.step(Append("1", "3", 2, 4, 2, (Entry(5, 2, EntryKind.COMMANDS, b""),), 5))
        assert (core.leader, core.last_index) == ("2", 4)

    def test_the_pieces_of_a_snapshot_without_sense_are_not_taken(self):
        core = scene("follower")
        for meta in (SnapshotMeta(), SnapshotMeta(9, 2), SnapshotMeta(9, 99), SnapshotMeta(-1, 1)):
            core.step(SnapshotChunk("1", "2", 2, 1, meta, 0, b"", 0, done=True))
        assert (core.first_index, core.last_index) == (2, 4)
