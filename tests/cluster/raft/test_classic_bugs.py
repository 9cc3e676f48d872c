"""Raft's classic bugs, by number: each test fails if the bug is here.

The list, and where those that do not concern the core alone are covered, is in docs/raft.md. Bugs of a single part have
their tests beside it: 4, 13, 16, 17, 19 in test_window, 14, 15 in test_progress, 22 in test_history, 24, 25 in
test_streaming, 27, 28 in test_membership and test_quorum, 34 in test_outbox, 40 in test_wire.
"""

import zlib

import msgspec
import pytest

from cluster.log import Entry, EntryKind, HardState
from cluster.raft import (
    CampaignRefusedError,
    Change,
    ChangeKind,
    Configuration,
    ConfigurationChange,
    ConfigurationRefusedError,
    OverloadedError,
    RaftInvariantError,
    Role,
    SnapshotMeta,
    SnapshotRefusedError,
    bootstrap,
    encode_configuration,
)
from cluster.raft.messages import (
    Append,
    AppendAck,
    Heartbeat,
    HeartbeatAck,
    PreVoteReply,
    PreVoteRequest,
    ReadReply,
    SnapshotAck,
    SnapshotChunk,
    SnapshotState,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from tests.cluster.raft.stage import Disk, Group


def change(kind, node):
    return ConfigurationChange((Change(kind, node),))


def entry(index, term, data=b""):
    return Entry(index, term, EntryKind.COMMANDS, data)


def waiting(group, sender, to, kind=object):
    return [m for m in group.network if (m.sender, m.to) == (sender, to) and isinstance(m, kind)]


@pytest.fixture
def group():
    """Three nodes, of which "1" leads in term 2."""
    group = Group("1", "2", "3")
    group.elect("1")
    return group


class TestElections:
    def test_bug_01_neither_vote_nor_term_leaves_before_it_is_durable(self):
        group = Group("1", "2", "3")
        for actor in group.actors.values():
            actor.disk.held = True
        group["1"].campaign()
        group.settle()
        group.deliver()
        # Pre-vote is over; the candidate's own vote is not on its disk, so nobody was asked.
        assert group["1"].role is Role.CANDIDATE
        assert group.network == []
        group.actors["1"].persist()
        group.settle()
        group.deliver()
        # Both others have given their votes, but said nothing yet.
        assert group["2"].vote == group["3"].vote == "1"
        assert group["1"].role is Role.CANDIDATE
        group.actors["2"].persist()
        group.settle()
        group.deliver()
        assert group["1"].role is Role.LEADER

    def test_bug_01_a_vote_in_a_term_that_is_durable_already_waits_too(self):
        group = Group("1", "2", "3")
        group["3"].step(VoteRequest("3", "1", 5, 0, 0))
        group.settle()
        group.drop()
        assert group.actors["3"].disk.hard_state == HardState(5, "")
        group.actors["3"].disk.held = True
        group["3"].step(VoteRequest("3", "1", 5, 9, 9))
        group.settle()
        assert group.network == []
        group.actors["3"].persist()
        group.settle()
        assert group.actors["3"].disk.hard_state == HardState(5, "1")
        assert waiting(group, "3", "1") == [VoteReply("1", "3", 5, granted=True)]

    def test_bug_01_a_candidates_own_vote_counts_when_it_is_durable_itself(self):
        group = Group("1")
        group.elect("1")
        group.propose("1", "x")
        group.restart("1")
        group.actors["1"].disk.held = True
        group["1"].step(VoteRequest("1", "9", 7, 0, 0))
        group.settle()
        group["1"].campaign()
        group.settle()
        group.actors["1"].persist(1)
        assert (group["1"].role, group["1"].term) == (Role.CANDIDATE, 8)
        group.actors["1"].persist(1)
        assert group["1"].role is Role.LEADER

    def test_bug_01_a_candidate_asks_for_votes_only_with_a_log_that_is_durable(self, group):
        # With votes got for a longer log than a crash leaves, it could win without entries that are committed.
        group.actors["2"].disk.held = True
        group.propose("1", "x")
        group.deliver(("1", "2"))
        group.drop()
        group["2"].step(TimeoutNow("2", "1", 2))
        group.settle()
        assert group["2"].role is Role.CANDIDATE
        assert waiting(group, "2", "3") == []
        group.actors["2"].persist()
        group.settle()
        (request,) = waiting(group, "2", "3")
        assert request.last_index == group.actors["2"].disk.last_index() == 3

    def test_bug_02_no_second_vote_in_a_term_after_a_restart(self):
        group = Group("1", "2", "3")
        group["3"].step(VoteRequest("3", "1", 5, 1, 1))
        group.settle()
        group.restart("3")
        group.drop()
        group["3"].step(VoteRequest("3", "2", 5, 9, 4))
        group.settle()
        assert waiting(group, "3", "2") == [VoteReply("2", "3", 5, granted=False)]

    def test_bug_02_no_second_vote_in_a_term_after_stepping_down(self, group):
        group["1"].step(Append("1", "2", 3, 1, 1, (), 0))
        assert group["1"].role is Role.FOLLOWER
        group["2"].step(VoteRequest("2", "3", 2, 9, 9))
        group.settle()
        assert waiting(group, "2", "3", VoteReply) == [VoteReply("3", "2", 2, granted=False)]
        # And the leader that lost its quorum votes for nobody else in its own term.
        group = Group("1", "2", "3")
        group.elect("1")
        group.tick("1", 20)
        assert group["1"].role is Role.FOLLOWER
        group.drop()
        group["1"].step(VoteRequest("1", "3", 2, 9, 9))
        group.settle()
        assert waiting(group, "1", "3") == [VoteReply("3", "1", 2, granted=False)]

    def test_bug_03_repeated_stale_and_foreign_vote_replies_do_not_count(self):
        group = Group("1", "2", "3", "4", "5")
        group["1"].campaign()
        group.settle()
        for peer in ("2", "2", "2", "9"):
            group["1"].step(PreVoteReply("1", peer, 2, granted=True))
        assert group["1"].role is Role.PRE_CANDIDATE
        group["1"].step(PreVoteReply("1", "3", 3, granted=True))
        assert group["1"].role is Role.PRE_CANDIDATE
        group["1"].step(PreVoteReply("1", "3", 2, granted=True))
        group.settle()
        assert group["1"].role is Role.CANDIDATE
        # Late answers to the asking around are no votes.
        group["1"].step(PreVoteReply("1", "4", 2, granted=True))
        group["1"].step(PreVoteReply("1", "5", 2, granted=True))
        for peer in ("2", "2", "2", "9"):
            group["1"].step(VoteReply("1", peer, 2, granted=True))
        group["1"].step(VoteReply("1", "3", 1, granted=True))
        assert group["1"].role is Role.CANDIDATE
        # Nor can anybody take back a vote, or give it after refusing.
        group["1"].step(VoteReply("1", "4", 2, granted=False))
        group["1"].step(VoteReply("1", "4", 2, granted=True))
        assert group["1"].role is Role.CANDIDATE
        group["1"].step(VoteReply("1", "5", 2, granted=True))
        assert group["1"].role is Role.LEADER

    def test_bug_05_no_campaign_before_the_log_and_its_snapshot_are_there(self):
        group = Group("1", "2", "3", chunk_bytes=1000)
        group.elect("1")
        group.cut |= {("1", "3"), ("3", "1")}
        group.propose("1", "x", "y")
        group.deliver()
        group.actors["1"].compact(4)
        group.cut.clear()
        group.tick("1")
        group.actors["3"].disk.held = True
        group.deliver()
        assert group["3"].first_index == 5
        with pytest.raises(CampaignRefusedError, match="installing a snapshot"):
            group["3"].campaign()
        group["3"].step(TimeoutNow("3", "1", 2))
        group.tick("3", 30)
        assert group["3"].role is Role.FOLLOWER
        group.actors["3"].persist()
        group["3"].campaign()
        assert group["3"].role is Role.PRE_CANDIDATE

    def test_bug_05_a_restarted_node_knows_its_whole_log_before_it_can_campaign(self, group):
        group.propose("1", "x", "y")
        group.deliver()
        group.restart("2")
        assert group["2"].last_index == 4
        group.drop()
        group["2"].campaign()
        group.settle()
        assert waiting(group, "2", "3") == [PreVoteRequest("3", "2", 3, 4, 2)]

    def test_bug_06_only_the_leader_and_a_granted_vote_restart_the_timer(self, group):
        def ticks_to_campaign(event):
            group.restart("3")
            group["3"].step(Heartbeat("3", "1", 2, 0, 0))
            group.tick("3", 11)
            event(group["3"])
            ticks = 0
            while group["3"].role is not Role.PRE_CANDIDATE:
                group.tick("3")
                ticks += 1
            return ticks

        term = group["3"].term
        assert ticks_to_campaign(lambda _: None) == 1
        assert ticks_to_campaign(lambda raft: raft.step(VoteRequest("3", "2", term, 9, 9))) == 1
        assert ticks_to_campaign(lambda raft: raft.step(PreVoteRequest("3", "2", term + 1, 9, 9))) == 1
        assert ticks_to_campaign(lambda raft: raft.step(Append("3", "2", term - 1, 1, 1, (), 0))) == 1
        assert ticks_to_campaign(lambda raft: raft.step(HeartbeatAck("3", "2", term, 0))) == 1
        assert ticks_to_campaign(lambda raft: raft.step(Append("3", "1", term, 1, 1, (), 0))) == 12
        assert ticks_to_campaign(lambda raft: raft.step(Append("3", "1", term, 9, 9, (), 0))) == 12

    def test_bug_06_a_refused_vote_in_a_later_term_does_not_restart_the_timer(self, group):
        group.tick("3", 11)
        group["3"].step(VoteRequest("3", "2", 9, 1, 1))
        assert (group["3"].term, group["3"].vote) == (9, "")
        group.tick("3")
        assert group["3"].role is Role.PRE_CANDIDATE

    def test_bug_06_a_granted_vote_restarts_the_timer(self, group):
        group.tick("3", 11)
        group["3"].step(VoteRequest("3", "2", 9, 9, 9))
        assert group["3"].vote == "2"
        group.tick("3", 11)
        assert group["3"].role is Role.FOLLOWER

    def test_bug_07_a_returning_node_with_an_equal_log_is_refused_while_the_leader_is_heard(self, group):
        group.tick("3", 12)
        assert group["3"].role is Role.PRE_CANDIDATE
        group.deliver()
        assert group["3"].role is Role.FOLLOWER
        assert (group["1"].role, group["1"].term) == (Role.LEADER, 2)

    def test_bug_07_a_stranger_with_a_later_term_deposes_nobody(self, group):
        for kind in (AppendAck, HeartbeatAck):
            group["1"].step(kind("1", "9", 99, 0))
        group["1"].step(VoteReply("1", "9", 99, granted=False))
        assert (group["1"].role, group["1"].term) == (Role.LEADER, 2)

    def test_bug_07_a_node_that_hears_the_leader_but_is_not_heard_does_not_flap(self, group):
        # Node 3 gets nothing from the leader, but the leader gets its messages.
        group.cut.add(("1", "3"))
        for _ in range(50):
            for name in group.actors:
                group.tick(name)
            group.deliver()
        assert group["1"].role is Role.LEADER
        assert group["1"].term == 2

    def test_bug_07_a_leader_that_can_send_but_not_hear_gives_way(self, group):
        group.cut |= {("2", "1"), ("3", "1")}
        leaders = set()
        for step in range(80):
            for name in group.actors:
                if name != "3" or step % 4:  # clocks differ a little, or the two would always stand at once
                    group.tick(name)
            group.deliver()
            leaders |= {name for name in group.actors if group[name].role is Role.LEADER}
        assert group["1"].role is not Role.LEADER
        assert leaders & {"2", "3"}

    def test_bug_08_a_pre_candidate_in_an_old_term_learns_the_new_one(self):
        group = Group("1", "2", "3")
        # Node 1 has the longest log but an old term; the others are in a later term and cannot win without it.
        for name, term in (("2", 7), ("3", 7)):
            group.actors[name].crash()
            group.actors[name].disk.hard_state = HardState(term, "")
            group.restart(name)
        group.actors["1"].disk._entries.append(entry(2, 1))
        group.restart("1")
        for name in ("2", "3"):
            group[name].campaign()
        group.settle()
        group.deliver()
        assert not any(group[name].role is Role.LEADER for name in ("2", "3")) or group["1"].term >= 7
        group["1"].campaign()
        group.settle()
        group.deliver()
        for _ in range(60):
            if any(actor.core.role is Role.LEADER for actor in group.actors.values()):
                break
            group.tick("1")
            group.deliver()
        assert group["1"].role is Role.LEADER
        assert group["1"].term > 7

    def test_bug_08_a_node_whose_term_ran_ahead_is_not_stuck(self, group):
        group.actors["3"].crash()
        group.actors["3"].disk.hard_state = HardState(50, "")
        group.restart("3")
        for _ in range(60):
            for name in group.actors:
                group.tick(name)
            group.deliver()
        leader = next(name for name in group.actors if group[name].role is Role.LEADER)
        assert group["3"].leader == leader
        assert group[leader].term > 50


class TestLog:
    def test_bug_09_an_earlier_terms_entry_is_not_committed_by_counting(self):
        group = Group("1", "2", "3", max_append_bytes=1)
        for name in ("1", "2"):
            group.actors[name].crash()
            group.actors[name].disk._entries.append(entry(2, 2, b"old"))
            group.actors[name].disk.hard_state = HardState(2, "")
            group.restart(name)
        group["1"].campaign()
        group.settle()
        for _ in range(2):
            group.deliver(("1", "2"))
            group.deliver(("2", "1"))
        assert group["1"].role is Role.LEADER
        group["1"].step(AppendAck("1", "2", 3, 2))
        group["1"].step(AppendAck("1", "3", 3, 2))
        assert group["1"].commit == 1
        group["1"].step(AppendAck("1", "2", 3, 3))
        assert group["1"].commit == 3

    def test_bug_10_a_leader_opens_its_term_with_an_entry_of_its_own(self, group):
        assert group.log[2] == Entry(2, 2, EntryKind.BARRIER, b"")
        group["1"].transfer("2")
        group.settle()
        group.deliver()
        assert group.log[3] == Entry(3, 3, EntryKind.BARRIER, b"")

    @pytest.mark.parametrize("entries", [(), (2,), (2, 3)])
    def test_bug_11_a_late_or_short_append_truncates_nothing(self, group, entries):
        group.propose("1", "x", "y")
        group.deliver()
        known = tuple(e for e in group.actors["3"].disk._entries if e.index in entries)
        # Uncommitted as far as this node goes: restarted, it does not know what is committed.
        group.restart("3")
        group["3"].step(Append("3", "1", 2, 1, 1, known, 1))
        group.settle()
        assert group["3"].last_index == 4
        assert waiting(group, "3", "1") == [AppendAck("1", "3", 2, 1 + len(entries))]

    def test_bug_12_a_follower_commits_no_further_than_the_last_new_entry(self, group):
        group["3"].step(Append("3", "2", 3, 2, 2, (entry(3, 3), entry(4, 3)), 2))
        group["3"].step(Append("3", "1", 4, 2, 2, (), 4))
        # The new leader's log may be another one after index 2.
        assert group["3"].commit == 2

    def test_bug_13_a_leader_that_contradicts_what_is_committed_stops_the_node(self, group):
        with pytest.raises(RaftInvariantError, match="committed"):
            group["3"].step(Append("3", "2", 9, 1, 1, (entry(2, 9),), 2))
        with pytest.raises(RaftInvariantError, match="committed"):
            group["2"].step(Append("2", "3", 9, 2, 1, (), 2))

    @pytest.mark.parametrize("length", [0, 1, 40])
    def test_bug_14_probing_converges_from_any_tail(self, length):
        group = Group("1", "2", "3")
        tail = [entry(2 + n, 2 + n // 3) for n in range(length)]
        group.actors["3"].crash()
        group.actors["3"].disk._entries += tail
        group.actors["3"].disk.hard_state = HardState(30, "")
        for name in ("1", "2"):
            group.actors[name].crash()
            group.actors[name].disk._entries += [entry(2 + n, 20) for n in range(20)]
            group.actors[name].disk.hard_state = HardState(30, "")
            group.restart(name)
        group.restart("3")
        group.elect("1")
        group.tick("1")
        group.deliver()
        assert group["3"].last_index == group["1"].last_index
        assert group["3"].commit == group["1"].commit

    def test_bug_14_an_empty_append_finds_the_conflict_too(self, group):
        group["3"].step(Append("3", "2", 3, 2, 2, (entry(3, 3),), 2))
        group.settle()
        group.drop()
        group["3"].step(Append("3", "1", 4, 3, 2, (), 3))
        group.settle()
        (reject,) = waiting(group, "3", "1")
        assert (reject.prev_index, reject.hint_index) == (3, 2)

    def test_bug_15_reordered_replies_move_nothing_back(self, group):
        group.propose("1", *"abcdef")
        group.deliver()
        follower = group["1"].followers["2"]
        assert (follower.match, follower.next) == (8, 9)
        group["1"].step(AppendAck("1", "2", 2, 3))
        group["1"].step(AppendAck("1", "2", 2, 0))
        assert (follower.match, follower.next) == (8, 9)
        assert group["1"].commit == 8

    def test_bug_16_after_a_restart_nothing_is_committed_that_is_not_in_the_log(self, group):
        group.actors["3"].disk.held = True
        group.propose("1", "x")
        group.deliver()
        assert group["3"].commit == 3
        group.restart("3")
        assert (group["3"].last_index, group["3"].commit) == (2, 1)
        group.tick("1")
        group.deliver()
        assert group["3"].commit == 3

    def test_bug_17_an_overwritten_entry_is_never_acknowledged(self, group):
        third = group.actors["3"]
        third.disk.held = True
        third.core.step(Append("3", "1", 2, 2, 2, (entry(3, 2), entry(4, 2)), 2))
        group.settle()
        third.core.step(Append("3", "2", 3, 2, 2, (entry(3, 3),), 2))
        group.settle()
        third.persist(1)
        group.settle()
        assert third.core.stable_index == 2
        assert waiting(group, "3", "1") == []
        assert waiting(group, "3", "2") == []
        third.persist()
        group.settle()
        assert waiting(group, "3", "2", AppendAck) == [AppendAck("2", "3", 3, 3)]
        assert waiting(group, "3", "1") == []

    def test_bug_18_a_group_of_one_commits_after_its_own_disk_has_it(self):
        group = Group("1")
        group.elect("1")
        group.actors["1"].disk.held = True
        group.propose("1", "x")
        assert (group["1"].commit, group.actors["1"].items) == (2, [])
        group.actors["1"].persist()
        group.settle()
        assert (group["1"].commit, group.actors["1"].items) == (3, ["x"])

    def test_bug_18_a_leader_counts_its_own_copy_only_as_far_as_it_is_durable(self, group):
        for name in ("1", "3"):
            group.actors[name].disk.held = True
        group.propose("1", "x")
        group.propose("1", "y")
        group.deliver()
        assert group["1"].followers["2"].match == 4
        assert group["1"].commit == 2
        group.actors["1"].persist(1)
        assert group["1"].commit == 3
        group.actors["1"].persist(1)
        assert group["1"].commit == 4

    def test_bug_19_nothing_is_handed_out_while_a_snapshot_is_being_installed(self):
        group = Group("1", "2", "3", chunk_bytes=1000)
        group.elect("1")
        third = group.actors["3"]
        group.cut |= {("1", "3"), ("3", "1")}
        group.propose("1", "a", "b")
        group.deliver()
        group.actors["1"].compact(4)
        group.cut.clear()
        third.disk.held = True
        group.tick("1")
        group.deliver()
        assert third.core.commit == 4
        third.core.step(Append("3", "1", 2, 4, 2, (entry(5, 2, b"c"),), 5))
        third.bundles.clear()
        group.settle()
        assert all(bundle.committed == () for bundle in third.bundles)
        # A late word of the driver about entries from before does no harm.
        third.core.applied(2)
        with pytest.raises(SnapshotRefusedError, match="being installed"):
            third.core.snapshot_meta(4)
        third.persist()
        group.settle()
        assert third.items == ["a", "b", "c"]

    def test_bug_34_nothing_is_acknowledged_on_top_of_a_snapshot_that_is_not_durable(self):
        group = Group("1", "2", "3", chunk_bytes=1000)
        group.elect("1")
        group.cut |= {("1", "3"), ("3", "1")}
        group.propose("1", "a", "b")
        group.deliver()
        group.actors["1"].compact(4)
        group.cut.clear()
        group.actors["3"].disk.held = True
        group.tick("1")
        group.deliver()
        assert group["3"].first_index == 5
        for prev_index, prev_term in ((4, 2), (1, 1)):
            group["3"].step(Append("3", "1", 2, prev_index, prev_term, (), 4))
            group.settle()
        assert group.network == []
        group.deliver()
        assert group["1"].followers["3"].match < 4
        group.actors["3"].persist()
        group.settle()
        group.deliver()
        assert group["1"].followers["3"].match == 4


class TestSnapshots:
    @pytest.fixture
    def compacted(self):
        """Node 3 is at 2, the others have compacted up to 6."""
        group = Group("1", "2", "3", chunk_bytes=3, chunk_window=1)
        group.elect("1")
        group.cut |= {("1", "3"), ("3", "1"), ("2", "3"), ("3", "2")}
        group.propose("1", *"abcd")
        group.deliver()
        for name in ("1", "2"):
            group.actors[name].compact(6)
        group.settle()
        group.cut.clear()
        return group

    def test_bug_20_an_append_right_after_the_compacted_log_works(self, compacted):
        compacted.propose("1", "e")
        compacted.deliver()
        assert compacted.actors["2"].items == list("abcde")
        compacted.restart("2")
        compacted.propose("1", "f")
        compacted.deliver()
        assert compacted.actors["2"].items == list("abcdef")

    def test_bug_20_an_append_at_index_0_to_a_compacted_log_is_answered(self, compacted):
        compacted["2"].step(Append("2", "1", 2, 0, 0, (), 6))
        compacted.settle()
        assert waiting(compacted, "2", "1", AppendAck) == [AppendAck("1", "2", 2, 6)]

    def test_bug_21_an_append_that_begins_inside_the_compacted_prefix_works(self, compacted):
        entries = tuple(entry(index, 2, b"x") for index in range(4, 9))
        compacted["2"].step(Append("2", "1", 2, 3, 2, entries, 6))
        compacted.settle()
        assert compacted["2"].last_index == 8
        assert waiting(compacted, "2", "1", AppendAck) == [AppendAck("1", "2", 2, 8)]

    def test_bug_22_a_snapshot_replaces_a_longer_divergent_log_and_its_membership(self, compacted):
        third = compacted.actors["3"]
        third.core.step(Append("3", "2", 2, 2, 2, (), 2))
        third.crash()
        stray = Configuration(("1", "2", "3", "9"))
        third.disk._entries += [
            Entry(3, 2, EntryKind.CONFIGURATION, encode_configuration(stray)),
            *(entry(n, 2, b"stray") for n in range(4, 20)),
        ]
        third.disk.hard_state = HardState(2, "")
        # These entries are of a term-2 leader that never was; the real one sends a snapshot.
        third.start()
        assert third.core.configuration == stray
        meta = compacted["1"].snapshot_meta(6)
        third.core.step(SnapshotChunk("3", "1", 3, 1, bootstrap("1", "2", "3"), 0, b"", 0, done=True))
        assert third.core.configuration == stray
        data, checksum = self.image(compacted)
        third.core.step(SnapshotChunk("3", "1", 3, 2, self.at_term(meta, 3), 0, data, checksum, done=True))
        compacted.settle()
        assert (third.core.first_index, third.core.last_index) == (7, 6)
        assert third.core.configuration.voters == ("1", "2", "3")
        assert third.items == list("abcd")
        assert third.disk.last_index() == 6

    def image(self, group):
        data = msgspec.msgpack.encode((6, group.actors["1"].items))
        return data, zlib.crc32(data)

    def at_term(self, meta, term):
        return SnapshotMeta(meta.index, term, meta.configuration)

    def test_bug_23_a_crash_at_any_write_of_an_installation_leaves_a_whole_node(self, compacted):
        compacted.tick("1")
        third = compacted.actors["3"]
        third.disk.held = True
        compacted.deliver()
        pieces = 0
        while third.core.first_index < 7:
            third.persist(1)
            pieces += 1
            compacted.settle()
            compacted.deliver()
        assert pieces > 1
        # The log in memory is the new one, the disk's still the old one, with its base and its state machine.
        assert third.disk.base.index == 1
        compacted.restart("3")
        assert (third.core.last_index, third.items) == (2, [])
        for _ in range(30):
            compacted.tick("1")
            compacted.deliver()
        assert third.items == list("abcd")

    def test_bug_23_the_log_is_compacted_on_disk_after_what_came_before(self, compacted):
        writes = compacted.actors["1"].disk.writes
        assert writes[-1].compact.index == 6
        assert writes[-1].compact.configuration.voters == ("1", "2", "3")
        with pytest.raises(SnapshotRefusedError, match="no snapshot at 99"):
            compacted["1"].compact(99)

    def test_bug_24_a_candidate_takes_a_snapshot_of_the_leader_of_its_term(self, compacted):
        compacted["3"].campaign()
        compacted["3"].step(PreVoteReply("3", "2", 3, granted=True))
        assert compacted["3"].role is Role.CANDIDATE
        data, checksum = self.image(compacted)
        meta = compacted["1"].snapshot_meta(6)
        compacted["3"].step(SnapshotChunk("3", "1", 3, 1, meta, 0, data, checksum, done=True))
        compacted.settle()
        assert (compacted["3"].role, compacted.actors["3"].items) == (Role.FOLLOWER, list("abcd"))

    def test_bug_24_a_second_snapshot_in_short_order_is_not_refused(self, compacted):
        data, checksum = self.image(compacted)
        meta = compacted["1"].snapshot_meta(6)
        third = compacted.actors["3"]
        third.disk.held = True
        third.core.step(SnapshotChunk("3", "1", 2, 1, meta, 0, data, checksum, done=True))
        compacted.settle()
        # While the first is being installed the next one waits; it is not lost, and not refused for ever.
        later = SnapshotMeta(8, 2, meta.configuration)
        compacted.drop()
        third.core.step(SnapshotChunk("3", "1", 2, 2, later, 0, data, checksum, done=True))
        compacted.settle()
        assert compacted.network == []
        third.persist()
        compacted.settle()
        compacted.drop()
        third.core.step(SnapshotChunk("3", "1", 2, 2, later, 0, data[:3], 0, done=False))
        compacted.settle()
        (ack,) = waiting(compacted, "3", "1")
        assert ack == SnapshotAck("1", "3", 2, 2, 0, SnapshotState.LOST)

    def test_bug_25_a_torn_snapshot_is_never_installed(self, compacted):
        data, _ = self.image(compacted)
        meta = compacted["1"].snapshot_meta(6)
        compacted["3"].step(SnapshotChunk("3", "1", 2, 1, meta, 0, data[:-1], 12345, done=True))
        compacted.settle()
        assert compacted["3"].last_index == 2
        assert waiting(compacted, "3", "1", SnapshotAck) == [SnapshotAck("1", "3", 2, 1, 0, SnapshotState.LOST)]

    def test_a_snapshot_is_not_begun_for_a_node_that_is_silent(self):
        group = Group("1", "2", "3")
        group.cut |= {("1", "3"), ("3", "1")}
        group.elect("1")
        group.propose("1", "x")
        group.deliver()
        group.actors["1"].compact(3)
        group.tick("1", 5)
        assert group.actors["1"].streams == {}

    def open_a_stream(self, group):
        group.tick("1")
        for _ in range(2):
            group.deliver(("1", "3"))
            group.deliver(("3", "1"))
        assert len(group.actors["1"].streams) == 1

    def test_the_log_behind_a_snapshot_under_way_is_kept(self, compacted):
        self.open_a_stream(compacted)
        compacted.propose("1", "e", "f")
        compacted.deliver(("1", "2"))
        compacted.deliver(("2", "1"))
        assert compacted["1"].compact(8) == 6
        assert compacted["1"].first_index == 7
        compacted.deliver()
        assert compacted["1"].compact(8) == 8

    def test_a_transfer_without_progress_is_given_up_and_begun_anew_when_the_node_is_back(self, compacted):
        self.open_a_stream(compacted)
        compacted.cut |= {("1", "3"), ("3", "1")}
        compacted.drop(("1", "3"))
        for _ in range(101):
            compacted.tick("1")
            compacted.deliver()
        assert compacted.actors["1"].streams == {}
        assert compacted["1"].role is Role.LEADER
        compacted.cut.clear()
        for _ in range(30):
            compacted.tick("1")
            compacted.deliver()
        assert compacted.actors["3"].items == list("abcd")

    def test_a_piece_that_overtakes_the_first_one_does_not_begin_the_transfer_anew(self, compacted):
        self.open_a_stream(compacted)
        (stream,) = compacted.actors["1"].streams
        compacted["1"].step(SnapshotAck("1", "3", 2, stream, 0, SnapshotState.LOST))
        compacted.settle()
        assert list(compacted.actors["1"].streams) == [stream]
        compacted.deliver(("1", "3"))
        compacted.deliver(("3", "1"))
        # With the beginning acknowledged and gone from memory, a loss is one.
        compacted["1"].step(SnapshotAck("1", "3", 2, stream, 0, SnapshotState.LOST))
        compacted.settle()
        assert list(compacted.actors["1"].streams) == [stream + 1]

    def test_a_leader_that_steps_down_closes_its_transfers(self, compacted):
        self.open_a_stream(compacted)
        compacted["1"].step(Heartbeat("1", "2", 9, 0, 0))
        compacted.settle()
        assert compacted.actors["1"].streams == {}

    def test_a_driver_that_cannot_serve_a_snapshot_is_asked_again(self, compacted):
        self.open_a_stream(compacted)
        (stream,) = compacted.actors["1"].streams
        compacted["1"].snapshot_failed(stream)
        compacted.settle()
        assert compacted.actors["1"].streams == {}
        compacted.drop()
        for _ in range(30):
            compacted.tick("1")
            compacted.deliver()
        assert compacted.actors["3"].items == list("abcd")

    def test_a_snapshot_that_follows_an_append_which_brought_as_much_is_given_up(self, compacted):
        self.open_a_stream(compacted)
        compacted["3"].step(Append("3", "1", 2, 2, 2, tuple(compacted.log[n] for n in range(3, 7)), 6))
        compacted.settle()
        compacted.deliver()
        assert compacted.actors["1"].streams == {}
        assert compacted["1"].followers["3"].match == 6
        assert compacted["3"].first_index == 2


class TestMembership:
    def test_bug_26_no_change_before_an_entry_of_the_own_term_is_committed(self):
        # The schedule of Ongaro's message of 2015: two leaders in turn, each adding another node.
        group = Group("1", "2", "3", joining=("4", "5"))
        group.elect("1")
        group.cut |= {("1", "2"), ("1", "3"), ("2", "1"), ("3", "1")}
        group["1"].propose_configuration(change(ChangeKind.ADD_LEARNER, "4"))
        group.settle()
        group.tick("3", 10)
        group.tick("2", 12)
        while group["2"].role is not Role.LEADER:
            group.deliver(("2", "3"))
            group.deliver(("3", "2"))
        with pytest.raises(ConfigurationRefusedError, match="own term"):
            group["2"].propose_configuration(change(ChangeKind.REMOVE, "3"))

    def test_bug_27_two_changes_at_once_are_refused(self, group):
        group["1"].propose_configuration(change(ChangeKind.ADD_LEARNER, "4"))
        with pytest.raises(ConfigurationRefusedError, match="under way"):
            group["1"].propose_configuration(change(ChangeKind.ADD_LEARNER, "5"))

    def test_bug_27_a_removed_leader_does_not_stay(self, group):
        group["1"].propose_configuration(change(ChangeKind.REMOVE, "1"))
        group.settle()
        group.deliver()
        group.tick("1", 50)
        assert group["1"].role is Role.FOLLOWER
        assert "1" not in group["2"].configuration.members

    def test_bug_27_a_removed_node_does_not_campaign(self, group):
        group["1"].propose_configuration(change(ChangeKind.REMOVE, "3"))
        group.settle()
        group.deliver()
        group.tick("3", 50)
        with pytest.raises(CampaignRefusedError, match="not a voter"):
            group["3"].campaign()
        assert group["3"].term == 2

    def test_bug_27_a_learner_that_restarts_is_still_a_learner(self):
        group = Group("1", "2", "3", joining=("4",))
        group.elect("1")
        group["1"].propose_configuration(change(ChangeKind.ADD_LEARNER, "4"))
        group.settle()
        group.deliver()
        group.tick("1")
        group.deliver()
        group.restart("4")
        group.tick("4", 50)
        assert group["4"].configuration.learners == ("4",)
        assert group["4"].role is Role.FOLLOWER

    def test_bug_28_a_joint_commit_needs_both_halves(self):
        group = Group("1", "2", "3", joining=("4", "5"))
        group.elect("1")
        for node in ("4", "5"):
            group["1"].propose_configuration(change(ChangeKind.ADD_LEARNER, node))
            group.settle()
            group.deliver()
            group.tick("1")
            group.deliver()
        before = group["1"].commit
        group["1"].propose_configuration(
            ConfigurationChange(
                tuple(Change(kind, node) for kind, node in zip((2, 2, 4, 4), ("4", "5", "2", "3"), strict=True))
            )
        )
        group["1"].step(AppendAck("1", "4", 2, before + 1))
        group["1"].step(AppendAck("1", "5", 2, before + 1))
        group["1"].ready()
        assert group["1"].commit == before
        group.actors["1"].core.persisted(group["1"]._server.outbox.sequence)
        assert group["1"].commit == before
        group["1"].step(AppendAck("1", "2", 2, before + 1))
        assert group["1"].commit == before + 1

    def test_bug_29_a_wiped_voter_grants_no_vote(self, group):
        # An entry is committed by the leader and node 2. Node 2 is wiped, and node 3, which lacks the entry, asks it.
        group.cut |= {("1", "3"), ("3", "1")}
        group.propose("1", "precious")
        group.deliver()
        assert group["1"].commit == 3
        group.hard_states.pop("2")
        group.add("2", Disk())
        group.actors["1"].crash()
        group.cut.clear()
        group.drop()
        for _ in range(40):
            group.tick("3")
            group.deliver()
        assert group["3"].role is not Role.LEADER

    def test_bug_29_a_blank_node_grants_no_vote_even_if_asked_in_earnest(self):
        group = Group("1", "2", "3", joining=("4",))
        group["4"].step(VoteRequest("4", "1", 5, 9, 9))
        group["4"].step(PreVoteRequest("4", "1", 6, 9, 9))
        group.settle()
        assert waiting(group, "4", "1") == [
            VoteReply("1", "4", 5, granted=False),
            PreVoteReply("1", "4", 5, granted=False),
        ]

    def test_bug_29_a_wiped_voter_stops_when_the_leader_speaks_of_what_it_had(self, group):
        group.hard_states.pop("2")
        group.add("2", Disk())
        group.tick("1")
        group.deliver()
        assert group.actors["2"].raft is None
        assert "it has lost data" in str(group.actors["2"].stopped)
        assert group["1"].followers["2"].match == 2


class TestReads:
    def test_bug_30_a_deposed_leader_serves_no_read(self, group):
        group.cut |= {("1", "2"), ("1", "3"), ("2", "1"), ("3", "1")}
        group["1"].read_index(1)
        group.settle()
        group.tick("3", 10)
        group.tick("2", 12)
        group.deliver()
        group.propose("2", "newer")
        group.deliver()
        # Confirmations of an earlier round, or of the new term, are none.
        group["1"].step(HeartbeatAck("1", "2", 2, 0))
        group.settle()
        assert group.actors["1"].reads == {}
        group["1"].step(HeartbeatAck("1", "2", 3, 1))
        group.settle()
        assert group.actors["1"].reads == {1: None}

    def test_bug_30_a_confirmation_must_be_of_a_round_begun_after_the_read(self, group):
        group["1"].read_index(1)
        group.settle()
        group.deliver()
        assert group.actors["1"].reads == {1: 2}
        group["1"].read_index(2)
        group.settle()
        group["1"].step(HeartbeatAck("1", "2", 2, 1))
        group.settle()
        assert 2 not in group.actors["1"].reads
        group["1"].step(HeartbeatAck("1", "2", 2, 2))
        group.settle()
        assert group.actors["1"].reads[2] == 2

    def test_bug_30_a_learner_or_a_stranger_confirms_nothing(self):
        group = Group("1", "2", "3", joining=("4",))
        group.elect("1")
        group["1"].propose_configuration(change(ChangeKind.ADD_LEARNER, "4"))
        group.settle()
        group.deliver()
        group["1"].read_index(1)
        group.settle()
        for node in ("4", "9"):
            group["1"].step(HeartbeatAck("1", node, 2, 1))
        group.settle()
        assert group.actors["1"].reads == {}

    def test_bug_30_an_answer_meant_for_an_earlier_run_of_the_node_answers_nothing(self, group):
        group["3"].read_index(1)
        group.settle()
        group.deliver(("3", "1"))
        group.deliver(("1", "2"))
        group.deliver(("2", "1"))
        (late,) = waiting(group, "1", "3", ReadReply)
        group.restart("3")
        group["3"].step(Heartbeat("3", "1", 2, 2, 0))
        group["3"].read_index(1)
        group["3"].step(late)
        group.settle()
        assert group.actors["3"].reads == {}

    def test_bug_32_a_read_asked_of_a_leader_that_goes_is_answered_all_the_same(self, group):
        group["3"].read_index(1)
        group.settle()
        group.drop()
        group["3"].step(Heartbeat("3", "2", 3, 0, 0))
        group.settle()
        assert group.actors["3"].reads == {1: None}


class TestTheDisk:
    def test_bug_34_an_acknowledgement_waits_for_the_disk(self, group):
        for name in ("2", "3"):
            group.actors[name].disk.held = True
        group.propose("1", "x")
        group.deliver()
        assert group["1"].commit == 2
        group.actors["2"].persist()
        group.settle()
        group.deliver()
        assert group["1"].commit == 3

    def test_bug_35_what_was_not_acknowledged_is_not_given_out_again(self, group):
        actor = group.actors["1"]
        actor.disk.held = True
        group.propose("1", "x")
        group.propose("1", "y")
        first, second = actor.disk.waiting
        assert [e.index for e in first.entries + second.entries] == [3, 4]
        group.tick("1", 5)
        assert len(actor.disk.waiting) == 2

    def test_bug_37_what_is_proposed_and_not_committed_is_bounded(self):
        group = Group("1", "2", "3", max_uncommitted_bytes=10)
        group.elect("1")
        assert group["1"].room == 10
        group.propose("1", "123456")
        assert group["1"].room == 4
        group.propose("1", "12345")
        assert group["1"].room == 0
        with pytest.raises(OverloadedError, match="wait for commits"):
            group["1"].propose(b"1")
        assert group["2"].room == 0  # it does not lead
        group.deliver()
        group.propose("1", "12345")
        group.deliver()
        # One proposal is always let through, or nothing larger than the limit ever could be.
        group.propose("1", "1" * 100)
        group.deliver()
        assert group["3"].commit == 6

    def test_bug_38_heartbeats_do_not_wait_for_a_slow_disk(self, group):
        for actor in group.actors.values():
            actor.disk.held = True
        group.propose("1", "x")
        for _ in range(50):
            for name in group.actors:
                group.tick(name)
            group.deliver()
        assert (group["1"].role, group["1"].term) == (Role.LEADER, 2)

    def test_bug_38_a_leader_that_was_paused_steps_down_at_the_first_word_of_the_new_term(self, group):
        group.cut |= {("1", "2"), ("1", "3"), ("2", "1"), ("3", "1")}
        group.tick("3", 10)
        group.tick("2", 12)
        group.deliver()
        assert group["2"].role is Role.LEADER
        group.cut.clear()
        # It wakes up, thinks that it leads, and proposes.
        group.propose("1", "from the past")
        group.deliver()
        assert group["1"].role is Role.FOLLOWER
        assert "from the past" not in group.actors["2"].items
