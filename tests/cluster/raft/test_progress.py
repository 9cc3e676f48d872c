"""What the leader knows of a follower: its invariants under any order of events, and each event's meaning."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cluster.raft.progress import Inflights, Progress, ProgressState


def progress(next_index=10, limit=3, limit_bytes=1000):
    return Progress(next_index, Inflights(limit, limit_bytes))


class TestInflights:
    def test_it_is_full_by_number(self):
        inflights = Inflights(2, 100)
        inflights.add(1, 1)
        assert not inflights.full
        inflights.add(2, 1)
        assert inflights.full
        inflights.free_to(1)
        assert len(inflights) == 1
        assert not inflights.full

    def test_it_is_full_by_bytes(self):
        inflights = Inflights(10, 100)
        inflights.add(1, 99)
        assert not inflights.full
        inflights.add(2, 1)
        assert inflights.full
        inflights.free_to(2)
        assert inflights.size == 0

    def test_freeing_a_place_frees_all_before_it(self):
        inflights = Inflights(10, 100)
        for index in (3, 5, 9):
            inflights.add(index, 10)
        inflights.free_to(4)
        assert len(inflights) == 2
        inflights.free_to(9)
        assert (len(inflights), inflights.size) == (0, 0)


class TestProbing:
    def test_one_append_at_a_time(self):
        follower = progress()
        assert follower.may_send
        follower.sent(12, 30, 5)
        assert not follower.may_send
        assert follower.next == 10

    def test_a_sign_of_life_lets_the_next_one_out(self):
        follower = progress()
        follower.sent(12, 30, 5)
        follower.heard()
        assert follower.may_send
        assert follower.active

    def test_a_refusal_moves_back_to_the_hint(self):
        follower = progress()
        follower.sent(12, 30, 5)
        assert follower.rejected(9, 4)
        assert (follower.next, follower.may_send) == (5, True)

    def test_bug_14_every_refusal_gets_nearer_even_with_a_useless_hint(self):
        follower = progress()
        for prev_index in range(9, 0, -1):
            follower.sent(prev_index, 0, 0)
            assert follower.rejected(prev_index, 100)
            assert follower.next == prev_index

    def test_bug_15_a_refusal_of_another_probe_is_ignored(self):
        follower = progress()
        follower.sent(12, 30, 5)
        assert not follower.rejected(7, 3)
        assert (follower.next, follower.may_send) == (10, False)

    def test_an_acknowledgement_ends_it(self):
        follower = progress()
        assert follower.acknowledged(9)
        assert follower.state is ProgressState.REPLICATE
        assert (follower.match, follower.next) == (9, 10)

    def test_an_acknowledgement_of_what_was_known_ends_it_too(self):
        follower = progress()
        follower.acknowledged(9)
        follower.rejected(12, 9)
        assert follower.state is ProgressState.PROBE
        assert not follower.acknowledged(9)
        assert follower.state is ProgressState.REPLICATE


class TestReplicating:
    def test_appends_go_on_without_answers_until_the_window_is_full(self):
        follower = progress(limit=2)
        follower.acknowledged(9)
        follower.sent(10, 5, 5)
        follower.sent(12, 5, 5)
        assert follower.next == 13
        assert not follower.may_send
        follower.acknowledged(10)
        assert follower.may_send

    def test_an_append_without_entries_takes_no_place(self):
        follower = progress(limit=1)
        follower.acknowledged(9)
        follower.sent(9, 0, 5)
        assert follower.may_send
        assert follower.commit_sent == 5

    def test_bug_15_late_and_repeated_acknowledgements_change_nothing(self):
        follower = progress()
        follower.acknowledged(9)
        follower.sent(12, 5, 5)
        assert follower.acknowledged(12)
        assert not follower.acknowledged(10)
        assert not follower.acknowledged(12)
        assert (follower.match, follower.next) == (12, 13)

    def test_bug_15_a_refusal_of_what_is_known_to_match_is_late(self):
        follower = progress()
        follower.acknowledged(9)
        assert not follower.rejected(9, 3)
        assert not follower.rejected(5, 3)
        assert follower.state is ProgressState.REPLICATE

    def test_a_refusal_goes_back_to_what_is_known_to_match(self):
        follower = progress()
        follower.acknowledged(9)
        follower.sent(12, 5, 5)
        assert follower.rejected(12, 11)
        assert (follower.state, follower.next, len(follower.inflights)) == (ProgressState.PROBE, 10, 0)

    def test_a_sign_of_life_makes_no_room_in_a_full_window(self):
        # The appends may be with the follower and wait for its disk: it is not to be sent more and more.
        follower = progress(limit=1)
        follower.acknowledged(9)
        follower.sent(10, 5, 5)
        follower.heard()
        assert not follower.may_send


class TestSnapshot:
    def test_nothing_is_appended_meanwhile(self):
        follower = progress()
        follower.become_snapshot(7)
        follower.heard()
        assert not follower.may_send
        assert not follower.rejected(9, 3)
        assert follower.stream == 7

    def test_afterwards_it_probes_from_what_is_known_to_match(self):
        follower = progress()
        follower.become_snapshot(7)
        follower.become_probe()
        assert follower.acknowledged(20)
        assert (follower.state, follower.match, follower.next, follower.stream) == (ProgressState.REPLICATE, 20, 21, 0)


class AnyOrder(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.follower = progress(next_index=5)
        self.last = 4
        self.highest = 0

    @rule(count=st.integers(1, 5))
    def append(self, count):
        self.last += count

    @rule(size=st.integers(0, 500), count=st.integers(0, 3))
    def send(self, size, count):
        if self.follower.may_send:
            self.follower.sent(min(self.follower.next - 1 + count, self.last), size, self.last)

    @rule(match=st.integers(0, 60))
    def acknowledge(self, match):
        # A follower can only acknowledge what it was sent.
        if match < self.follower.next:
            self.follower.acknowledged(match)

    @rule(prev_index=st.integers(0, 60), hint=st.integers(0, 60))
    def reject(self, prev_index, hint):
        self.follower.rejected(prev_index, hint)

    @rule()
    def hear(self):
        self.follower.heard()

    @rule(stream=st.integers(1, 9))
    def snapshot(self, stream):
        self.follower.become_snapshot(stream)

    @rule()
    def probe(self):
        self.follower.become_probe()

    @invariant()
    def match_is_before_next(self):
        assert 0 <= self.follower.match < self.follower.next

    @invariant()
    def match_never_goes_back(self):
        assert self.follower.match >= self.highest
        self.highest = self.follower.match

    @invariant()
    def only_replicating_has_appends_under_way(self):
        if self.follower.state is not ProgressState.REPLICATE:
            assert len(self.follower.inflights) == self.follower.inflights.size == 0

    @invariant()
    def a_stream_means_snapshot(self):
        assert bool(self.follower.stream) == (self.follower.state is ProgressState.SNAPSHOT)


TestAnyOrder = AnyOrder.TestCase
