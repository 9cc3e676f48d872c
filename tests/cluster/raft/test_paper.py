"""Sentences of the Raft paper (extended version) and of the dissertation, each with a test that it holds here."""

import random

import pytest

from cluster.log import Entry, EntryKind, HardState
from cluster.raft import (
    Change,
    ChangeKind,
    ConfigurationChange,
    DurableState,
    MemoryStore,
    NotLeaderError,
    Raft,
    RaftConfig,
    Role,
    bootstrap,
)
from cluster.raft.messages import (
    Append,
    AppendAck,
    AppendReject,
    Commit,
    Heartbeat,
    HeartbeatAck,
    PreVoteReply,
    PreVoteRequest,
    VoteReply,
    VoteRequest,
)
from tests.cluster.raft.stage import Disk, Group


def lone(*terms, term=1, vote="", voters=("1", "2", "3"), randrange=lambda _: 0):
    """Node 1 of a group, alone with its log of these terms; take its bundles with `take`."""
    disk = Disk(bootstrap(*voters), HardState(term, vote))
    disk._entries += [Entry(index, t, EntryKind.COMMANDS, b"") for index, t in enumerate(terms, 2)]
    raft = Raft(
        RaftConfig(id="1", randrange=randrange), DurableState(log=disk, base=disk.base, hard_state=disk.hard_state)
    )
    raft.disk = disk
    take(raft)
    return raft


def take(raft):
    """Carry out all bundles; return the messages."""
    messages = []
    while (ready := raft.ready()) is not None:
        messages += ready.messages
        if ready.write is not None:
            raft.disk.write(ready.write)
            raft.persisted(ready.write.sequence)
        if ready.committed:
            raft.applied(ready.committed[-1].index)
    return messages


def answer(raft, message):
    raft.step(message)
    return take(raft)


def make_candidate(raft):
    raft.campaign()
    take(raft)
    answer(raft, PreVoteReply("1", "2", raft.term + 1, granted=True))
    assert raft.role is Role.CANDIDATE


def make_leader(raft):
    raft.campaign()
    take(raft)
    answer(raft, PreVoteReply("1", "2", raft.term + 1, granted=True))
    sent = answer(raft, VoteReply("1", "2", raft.term, granted=True))
    assert raft.role is Role.LEADER
    return sent


class TestSection51Terms:
    """5.1 Raft basics."""

    @pytest.mark.parametrize("role", ["follower", "candidate", "leader"])
    def test_if_one_servers_current_term_is_smaller_than_the_others_it_updates_to_the_larger_value(self, role):
        raft = lone()
        if role != "follower":
            make_candidate(raft) if role == "candidate" else make_leader(raft)
        answer(raft, Append("1", "2", 9, 1, 1, (), 0))
        # "If a candidate or leader discovers that its term is out of date, it immediately reverts to follower state."
        assert (raft.term, raft.role, raft.leader) == (9, Role.FOLLOWER, "2")

    def test_if_a_server_receives_a_request_with_a_stale_term_number_it_rejects_the_request(self):
        raft = lone(term=5)
        assert answer(raft, VoteRequest("2", "1", 4, 9, 9)) == []
        assert answer(raft, VoteRequest("1", "2", 4, 9, 9)) == [VoteReply("2", "1", 5, granted=False)]
        assert answer(raft, Append("1", "2", 4, 1, 1, (Entry(2, 4, EntryKind.COMMANDS, b""),), 2)) == [
            HeartbeatAck("2", "1", 5, 0)
        ]
        assert raft.last_index == 1


class TestSection52Election:
    """5.2 Leader election."""

    def test_when_servers_start_up_they_begin_as_followers(self):
        assert lone().role is Role.FOLLOWER

    def test_if_a_follower_receives_no_communication_over_the_election_timeout_it_begins_an_election(self):
        raft = lone()
        for _ in range(9):
            raft.tick()
        assert raft.role is Role.FOLLOWER
        raft.tick()
        assert raft.role is Role.PRE_CANDIDATE
        answer(raft, PreVoteReply("1", "2", 2, granted=True))
        # "To begin an election, a follower increments its current term and transitions to candidate state. It then
        # votes for itself and issues RequestVote RPCs in parallel to each of the other servers in the cluster."
        assert (raft.term, raft.role, raft.vote) == (2, Role.CANDIDATE, "1")

    def test_it_issues_request_vote_to_each_of_the_other_servers(self):
        raft = lone()
        raft.campaign()
        take(raft)
        sent = answer(raft, PreVoteReply("1", "2", 2, granted=True))
        assert sent == [VoteRequest("2", "1", 2, 1, 1), VoteRequest("3", "1", 2, 1, 1)]

    @pytest.mark.parametrize(
        ("size", "answers", "role"),
        [
            (1, {}, Role.LEADER),
            (3, {"2": True, "3": True}, Role.LEADER),
            (3, {"2": True}, Role.LEADER),
            (5, {"2": True, "3": True}, Role.LEADER),
            (5, {"2": True}, Role.CANDIDATE),
            (3, {"2": False, "3": False}, Role.FOLLOWER),
            (5, {"2": False, "3": False, "4": False, "5": False}, Role.FOLLOWER),
            (5, {"2": True, "3": False, "4": False, "5": False}, Role.FOLLOWER),
            (5, {"2": True, "3": False, "4": False}, Role.CANDIDATE),
            (3, {}, Role.CANDIDATE),
            (5, {"2": True, "3": False}, Role.CANDIDATE),
        ],
    )
    def test_a_candidate_wins_an_election_if_it_receives_votes_from_a_majority(self, size, answers, role):
        raft = lone(voters=tuple("12345"[:size]))
        raft.campaign()
        take(raft)
        for peer in "2345"[: size - 1]:
            answer(raft, PreVoteReply("1", peer, 2, granted=True))
        for peer, granted in answers.items():
            answer(raft, VoteReply("1", peer, 2, granted))
        assert raft.role is role

    @pytest.mark.parametrize(
        ("vote", "candidate", "granted"), [("", "2", True), ("", "3", True), ("2", "2", True), ("2", "3", False)]
    )
    def test_each_server_will_vote_for_at_most_one_candidate_in_a_given_term(self, vote, candidate, granted):
        raft = lone(term=2, vote=vote)
        assert answer(raft, VoteRequest("1", candidate, 2, 1, 1)) == [VoteReply(candidate, "1", 2, granted)]

    def test_once_a_candidate_wins_it_sends_messages_to_all_of_the_other_servers(self):
        sent = make_leader(lone())
        assert {message.to for message in sent} == {"2", "3"}
        assert all(isinstance(message, Append) and message.term == 2 for message in sent)

    @pytest.mark.parametrize(("term", "role"), [(2, Role.FOLLOWER), (3, Role.FOLLOWER), (1, Role.CANDIDATE)])
    def test_if_the_leaders_term_is_at_least_as_large_the_candidate_returns_to_follower_state(self, term, role):
        raft = lone()
        make_candidate(raft)
        raft.step(Append("1", "3", term, 1, 1, (), 1))
        # "If the term in the RPC is smaller than the candidate's current term, then the candidate rejects the RPC and
        # continues in candidate state."
        assert raft.role is role
        assert raft.term == max(term, 2)

    def test_leaders_send_periodic_heartbeats_to_all_followers(self):
        raft = lone()
        make_leader(raft)
        raft.tick()
        assert take(raft) == [Heartbeat("2", "1", 2, 0, 0, 1, 1), Heartbeat("3", "1", 2, 0, 0, 1, 1)]

    def test_if_many_followers_become_candidates_at_the_same_time_each_candidate_will_time_out_and_start_again(self):
        raft = lone()
        make_candidate(raft)
        for _ in range(10):
            raft.tick()
        assert raft.role is Role.PRE_CANDIDATE
        answer(raft, PreVoteReply("1", "3", 3, granted=True))
        assert (raft.term, raft.role) == (3, Role.CANDIDATE)

    def test_election_timeouts_are_chosen_randomly_from_a_fixed_interval(self):
        waits = set()
        raft = lone(randrange=random.Random(1).randrange)
        for _ in range(200):
            ticks = 0
            while not any(isinstance(message, PreVoteRequest) for message in take(raft)):
                raft.tick()
                ticks += 1
            waits.add(ticks)
            answer(raft, Heartbeat("1", "2", raft.term + 1, 0, 0))
        assert waits == set(range(10, 20))

    def test_each_heartbeat_is_reason_to_wait_on(self):
        raft = lone()
        for _ in range(100):
            raft.tick()
            raft.step(Heartbeat("1", "2", 2, 0, 0))
        assert raft.role is Role.FOLLOWER


class TestSection53Replication:
    """5.3 Log replication."""

    def test_the_leader_appends_the_command_to_its_log_then_issues_append_entries_in_parallel(self):
        raft = lone()
        make_leader(raft)
        for peer in "23":
            answer(raft, AppendAck("1", peer, 2, 2))
        position = raft.propose(b"x")
        ready = raft.ready()
        entry = Entry(3, 2, EntryKind.COMMANDS, b"x")
        assert (position.index, position.term) == (3, 2)
        assert ready.write.entries == (entry,)
        assert ready.messages == (Append("2", "1", 2, 2, 2, (entry,), 2), Append("3", "1", 2, 2, 2, (entry,), 2))

    @pytest.mark.parametrize(
        ("size", "acknowledging", "committed"),
        [(1, "", True), (3, "", False), (3, "2", True), (5, "2", False), (5, "23", True), (5, "2345", True)],
    )
    def test_a_log_entry_is_committed_once_the_leader_has_replicated_it_on_a_majority(
        self, size, acknowledging, committed
    ):
        raft = lone(voters=tuple("12345"[:size]))
        raft.campaign()
        take(raft)
        for reply in (PreVoteReply, VoteReply):
            for peer in "2345"[: size - 1]:
                answer(raft, reply("1", peer, 2, granted=True))
        for peer in acknowledging:
            answer(raft, AppendAck("1", peer, 2, 2))
        assert (raft.commit == 2) is committed

    def test_this_also_commits_all_preceding_entries_including_those_by_previous_leaders(self):
        raft = lone(1, 1, 2, term=2)
        make_leader(raft)
        assert raft.commit == 1
        answer(raft, AppendAck("1", "2", 3, 5))
        assert raft.commit == 5

    def test_the_leader_includes_the_highest_committed_index_in_future_append_entries(self):
        raft = lone()
        make_leader(raft)
        sent = answer(raft, AppendAck("1", "2", 2, 2))
        assert sent == [Commit("2", "1", 2, 2, 2, 2)]
        assert answer(raft, AppendAck("1", "3", 2, 2)) == [Commit("3", "1", 2, 2, 2, 2)]
        raft.propose(b"x")
        assert raft.ready().messages[0].commit == 2

    def test_once_a_follower_learns_that_an_entry_is_committed_it_applies_the_entry(self):
        raft = lone()
        entry = Entry(2, 2, EntryKind.COMMANDS, b"x")
        raft.step(Append("1", "2", 2, 1, 1, (entry,), 2))
        ready = raft.ready()
        assert ready.committed == (entry,)
        assert ready.write.entries == (entry,)
        assert not any(isinstance(message, AppendAck) for message in ready.messages)

    @pytest.mark.parametrize(
        ("prev_index", "prev_term", "accepted"),
        [(1, 1, True), (3, 2, True), (3, 1, False), (3, 3, False), (4, 2, False)],
    )
    def test_if_the_follower_does_not_find_an_entry_with_the_same_index_and_term_it_refuses(
        self, prev_index, prev_term, accepted
    ):
        raft = lone(1, 2, term=2)
        (reply,) = answer(raft, Append("1", "2", 3, prev_index, prev_term, (), 0))
        assert isinstance(reply, AppendAck if accepted else AppendReject)

    @pytest.mark.parametrize(
        ("sent", "prev", "terms"),
        [
            # What follows index `prev`, and all terms in the end.
            ((3,), 3, (1, 1, 2, 3)),
            ((3, 4), 2, (1, 1, 3, 4)),
            ((3,), 1, (1, 3)),
            ((1,), 1, (1, 1, 2)),
            ((1, 2), 1, (1, 1, 2)),
            ((2,), 2, (1, 1, 2)),
        ],
    )
    def test_conflicting_entries_in_follower_logs_will_be_overwritten(self, sent, prev, terms):
        raft = lone(1, 2, term=2)
        entries = tuple(Entry(index, term, EntryKind.COMMANDS, b"") for index, term in enumerate(sent, prev + 1))
        answer(raft, Append("1", "2", 4, prev, raft.entry_term(prev), entries, 0))
        assert tuple(raft.entry_term(index) for index in range(1, raft.last_index + 1)) == terms

    def test_a_leader_never_overwrites_or_deletes_entries_in_its_own_log(self):
        raft = lone(1, 2, term=2)
        make_leader(raft)
        answer(raft, Append("1", "2", 3, 1, 1, (Entry(2, 3, EntryKind.COMMANDS, b""),), 0))
        assert [raft.entry_term(index) for index in range(1, raft.last_index + 1)] == [1, 1, 2, 3]
        assert raft.role is Role.LEADER

    def test_a_follower_that_is_asked_to_append_names_the_leader_to_clients(self):
        raft = lone()
        answer(raft, Heartbeat("1", "3", 2, 0, 0))
        with pytest.raises(NotLeaderError) as refusal:
            raft.propose(b"x")
        assert refusal.value.leader == "3"


class TestSection54Safety:
    """5.4 Safety."""

    @pytest.mark.parametrize(
        ("last_term", "last_index", "granted"),
        [(2, 3, True), (2, 4, True), (3, 1, True), (2, 2, False), (1, 9, False)],
    )
    def test_the_voter_denies_its_vote_if_its_own_log_is_more_up_to_date(self, last_term, last_index, granted):
        raft = lone(1, 2, term=3)
        assert answer(raft, VoteRequest("1", "2", 4, last_index, last_term)) == [VoteReply("2", "1", 4, granted)]
        raft = lone(1, 2, term=3)
        (reply,) = answer(raft, PreVoteRequest("1", "2", 4, last_index, last_term))
        assert reply.granted is granted

    @pytest.mark.parametrize(("match", "commit"), [(2, 1), (3, 1), (4, 4)])
    def test_only_entries_from_the_leaders_current_term_are_committed_by_counting_replicas(self, match, commit):
        raft = lone(1, 2, term=2)
        make_leader(raft)
        answer(raft, AppendAck("1", "2", 3, match))
        assert raft.commit == commit


class TestSection55Crashes:
    """5.5 Follower and candidate crashes."""

    def test_raft_rpcs_are_idempotent(self):
        raft = lone()
        append = Append("1", "2", 2, 1, 1, (Entry(2, 2, EntryKind.COMMANDS, b"x"),), 2)
        assert answer(raft, append) == answer(raft, append) == [AppendAck("2", "1", 2, 2)]
        assert raft.last_index == 2
        vote = VoteRequest("1", "2", 3, 9, 9, transfer=True)
        assert answer(raft, vote) == answer(raft, vote) == [VoteReply("2", "1", 3, granted=True)]


class TestFigure2:
    """Figure 2, the condensed summary."""

    def test_persistent_state_is_updated_on_stable_storage_before_responding(self):
        raft = lone()
        raft.step(VoteRequest("1", "2", 2, 9, 9))
        ready = raft.ready()
        assert ready.write.hard_state == HardState(2, "2")
        assert ready.messages == ()
        raft.persisted(ready.write.sequence)
        assert raft.ready().messages == (VoteReply("2", "1", 2, granted=True),)

    def test_if_leader_commit_is_greater_set_commit_index_to_the_minimum_of_it_and_the_last_new_entry(self):
        raft = lone(1, 1, 1)
        answer(raft, Append("1", "2", 2, 2, 1, (Entry(3, 1, EntryKind.COMMANDS, b""),), 9))
        assert raft.commit == 3
        answer(raft, Append("1", "2", 2, 3, 1, (), 9))
        assert raft.commit == 3
        answer(raft, Append("1", "2", 2, 4, 1, (), 9))
        assert raft.commit == 4

    def test_next_index_is_initialized_to_the_leaders_last_log_index_plus_one(self):
        raft = lone(1, 2, term=2)
        sent = make_leader(raft)
        assert [(message.prev_index, message.prev_term) for message in sent] == [(3, 2), (3, 2)]
        assert all(progress.match == 0 for progress in raft.followers.values())


class TestSection6Membership:
    """6 Cluster membership changes."""

    def test_a_server_always_uses_the_latest_configuration_in_its_log_committed_or_not(self):
        group = Group("1", "2", "3")
        group.elect("1")
        group["1"].propose_configuration(ConfigurationChange((Change(ChangeKind.REMOVE, "3"),)))
        assert group["1"].configuration.voters == ("1", "2")
        assert group["1"].commit < group["1"].last_index

    def test_servers_disregard_request_vote_when_they_believe_a_current_leader_exists(self):
        raft = lone()
        answer(raft, Heartbeat("1", "2", 2, 0, 0))
        for _ in range(9):
            raft.tick()
            assert answer(raft, VoteRequest("1", "3", 9, 9, 9)) == []
            assert raft.term == 2
        raft.step(VoteRequest("1", "3", 9, 9, 9, transfer=True))
        assert (raft.term, raft.vote) == (9, "3")


class TestDissertation:
    """Consensus: Bridging Theory and Practice."""

    def test_section_4_2_2_a_leader_that_removes_itself_does_not_count_itself(self):
        group = Group("1", "2", "3")
        group.elect("1")
        group["1"].propose_configuration(ConfigurationChange((Change(ChangeKind.REMOVE, "1"),)))
        group.settle()
        group.deliver(("1", "2"))
        group.deliver(("2", "1"))
        assert group["1"].commit == 2
        group.deliver()
        assert group["1"].role is Role.FOLLOWER

    def test_section_6_2_a_leader_steps_down_if_an_election_timeout_elapses_without_a_round_of_heartbeats(self):
        raft = lone()
        make_leader(raft)
        for _ in range(30):
            raft.tick()
            answer(raft, HeartbeatAck("1", "2", 2, 0))
        assert raft.role is Role.LEADER
        for _ in range(20):
            raft.tick()
        assert (raft.role, raft.leader, raft.term) == (Role.FOLLOWER, "", 2)

    def test_section_6_4_a_read_waits_for_an_entry_of_the_leaders_own_term(self):
        raft = lone(1)
        make_leader(raft)
        raft.read_index(7)
        assert take(raft) == []
        answer(raft, AppendAck("1", "2", 2, 3))
        raft.tick()
        raft.step(HeartbeatAck("1", "2", 2, 1))
        assert raft.ready().reads[0].index == 3

    def test_section_9_6_a_pre_vote_changes_nothing(self):
        raft = lone()
        assert answer(raft, PreVoteRequest("1", "2", 5, 9, 9)) == [PreVoteReply("2", "1", 5, granted=True)]
        assert (raft.term, raft.vote, raft.disk.hard_state.vote) == (1, "", "")
        assert answer(raft, PreVoteRequest("1", "3", 5, 9, 9)) == [PreVoteReply("3", "1", 5, granted=True)]

    def test_a_blank_node_starts_without_a_configuration(self):
        raft = Raft(RaftConfig(id="9", randrange=lambda _: 0), DurableState(log=MemoryStore()))
        for _ in range(50):
            raft.tick()
        assert (raft.role, raft.term) == (Role.FOLLOWER, 0)
