"""Who comes into a group and who leaves it: whole nodes, with the real consensus core."""

import pytest

from cluster.formation import Add, Joiner, Remove, Transfer, decode_record, encode_record
from cluster.raft import ChangeKind
from tests.cluster.formation.town import Town


@pytest.fixture
def three():
    town = Town("a", "b", "c", expect=3)
    town.wait(20, lambda: town.voters("a", "b", "c") and town.leader is not None)
    return town


def followers(town):
    return [resident for resident in town.residents if resident.running and resident is not town.leader]


def answered(town, resident, order, seconds=40):
    ticket = resident.ask(order)
    town.wait(seconds, lambda: ticket in resident.answers)
    return resident.answers[ticket]


class TestAGroup:
    def test_that_was_founded_elects_a_leader_and_serves(self, three):
        assert {resident.report for resident in three.residents} == {""}
        assert {resident.admission.group for resident in three.residents} == {three["a"].admission.group}

    def test_comes_back_after_all_of_it_was_stopped(self, three):
        for resident in three.residents:
            resident.stop()
        for resident in three.residents:
            resident.start()
        three.wait(20, lambda: three.leader is not None)
        assert three.voters("a", "b", "c")


class TestJoining:
    @pytest.mark.parametrize("loss", [0, 0.2])
    def test_grows_from_one_to_three_to_five(self, loss):
        town = Town("a")
        town.wait(20, lambda: town.leader is not None)
        town.loss = loss
        town.add("b")
        town.add("c")
        town.wait(60, lambda: town.voters("a", "b", "c"))
        town.add("d")
        town.add("e")
        town.wait(60, lambda: town.voters("a", "b", "c", "d", "e"))
        for name in "bcde":
            assert decode_record(town[name].record).admitted
            assert town[name].report == ""
        kinds = [tuple(step.kind for step in change.changes) for change in town.changes]
        assert set(kinds) == {(ChangeKind.ADD_LEARNER,), (ChangeKind.PROMOTE,)}

    def test_asks_a_follower_that_passes_it_on(self, three):
        leader = three.leader
        three.cut.add(frozenset(("d", leader.name)))
        joiner = three.add("d")
        three.wait(10, lambda: joiner.report and "has no link to" in joiner.report)
        assert f"{leader.name} ({leader.id}), the leader, has no link to d ({joiner.id}) yet" in joiner.report
        three.mend()
        three.wait(30, lambda: three.voters("a", "b", "c", "d"))

    def test_goes_on_after_the_leader_changed_at_any_moment(self, three):
        for ticks in range(1, 12):
            town = Town("a", "b", "c", expect=3, seed=ticks)
            town.wait(20, lambda town=town: town.leader is not None)
            town.add("d")
            town.wait(ticks / 10)
            old = town.leader
            old.stop()
            town.wait(30, lambda town=town: town.leader is not None)
            old.start()
            town.wait(60, lambda town=town: town.voters("a", "b", "c", "d"))

    def test_goes_on_after_the_joiner_was_killed_at_any_moment(self):
        for ticks in range(1, 16):
            town = Town("a", "b", "c", expect=3, seed=ticks)
            town.wait(20, lambda town=town: town.leader is not None)
            joiner = town.add("d")
            town.wait(ticks / 10)
            joiner.stop()
            town.wait(1)
            joiner.start()
            town.wait(60, lambda town=town: town.voters("a", "b", "c", "d"))

    def test_with_a_clock_that_is_off_is_refused_until_it_is_right(self, three):
        joiner = three.add("d")
        joiner.stop()
        joiner.wipe()
        joiner.offset = 40_000
        joiner.start()
        three.wait(5)
        assert joiner.forming is not None
        assert "the clock of a" in joiner.report
        joiner.offset = 0
        three.wait(30, lambda: three.voters("a", "b", "c", "d"))

    def test_with_a_clock_that_goes_wrong_later_is_refused_by_the_leader(self, three):
        leader = three.leader
        three.cut.add(frozenset(("d", leader.name)))
        joiner = three.add("d")
        three.wait(5, lambda: joiner.admission is not None)
        joiner.offset = -50_000
        three.mend()
        three.wait(5, lambda: joiner.report and "clock" in joiner.report)
        assert f"the clock of d ({joiner.id}) is 50 s behind this node's" in joiner.report
        assert ", the leader" in joiner.report
        joiner.offset = 0
        three.wait(30, lambda: three.voters("a", "b", "c", "d"))

    def test_under_the_name_of_a_member_that_is_there_is_refused(self, three):
        twin = three.add("d")
        twin.stop()
        twin.name = "a"
        twin.wipe()
        three.residents.remove(twin)
        three.residents.append(twin)
        twin.start()
        three.wait(5, lambda: twin.report and "is called as" in twin.report)
        assert f"a ({twin.id}) is called as {three['a'].id}, a member that is there" in twin.report
        assert three["b"].configuration.members == tuple(sorted(three[name].id for name in "abc"))

    def test_of_a_group_that_is_no_more_names_the_way_out(self):
        town = Town("b")
        joiner = town["b"]
        joiner.stop()
        joiner.record = encode_record(Joiner("gone", ("x-1", "y-1")))
        joiner.start()
        town.wait(1)
        assert joiner.report == (
            "waiting for a node of the group of x-1, y-1, which this node joins. If that group is no more, delete "
            "/var/lib/b (there are no jobs in it yet) and start this node again"
        )

    def test_of_a_group_without_a_majority_says_what_that_lacks(self, three):
        for resident in three.residents[:2]:
            resident.stop()
        joiner = three.add("d")
        three.wait(10, lambda: joiner.report and "to have a leader" in joiner.report)
        assert joiner.report.endswith("to have a leader: a majority of its voters must be up")
        three["a"].start()
        three.wait(30, lambda: joiner.id in three["a"].configuration.voters)

    def test_that_vanished_before_it_caught_up_is_let_go_after_a_while(self, three):
        joiner = three.add("d")
        three.wait(20, lambda: joiner.id in three.leader.configuration.learners)
        joiner.stop()
        three.wait(30)
        assert joiner.id in three.leader.configuration.members
        three.wait(620, lambda: three.voters("a", "b", "c"))


class TestAWipedNode:
    def test_takes_the_place_of_what_it_was(self, three):
        old = three["c"].id
        three["c"].stop()
        three["c"].wipe()
        three["c"].start()
        three.wait(60, lambda: three.voters("a", "b", "c"))
        (replacement,) = [change for change in three.changes if len(change.changes) > 1]
        assert [(step.kind, step.node) for step in replacement.changes] == [
            (ChangeKind.PROMOTE, three["c"].id),
            (ChangeKind.REMOVE, old),
        ]

    def test_twice_leaves_nothing_of_either(self, three):
        for _ in range(2):
            three["c"].stop()
            three["c"].wipe()
            three["c"].start()
            three.wait(2.5)
        three.wait(60, lambda: three.voters("a", "b", "c"))

    def test_that_led_comes_back_as_another(self, three):
        name = three.leader.name
        three[name].stop()
        three[name].wipe()
        three[name].start()
        three.wait(60, lambda: three.voters("a", "b", "c"))


class TestRemoving:
    def test_of_a_follower_by_name_asked_of_any_node(self, three):
        gone, asked = followers(three)
        assert answered(three, asked, Remove(gone.name)) == ""
        assert gone.id not in asked.configuration.members
        three.wait(5, lambda: gone.removed)
        assert gone.removed == (
            f"this node, {gone.id}, was removed from the group; delete /var/lib/{gone.name} to join again"
        )

    def test_of_the_one_that_is_asked(self, three):
        gone, _ = followers(three)
        assert answered(three, gone, Remove(gone.id)) == ""
        three.wait(5, lambda: gone.removed)

    def test_of_the_leader_hands_over_first(self, three):
        leader = three.leader
        assert answered(three, leader, Remove(leader.name)) == ""
        three.wait(10, lambda: leader.removed)
        rest = [resident for resident in three.residents if resident is not leader]
        three.wait(10, lambda: any(resident.leads for resident in rest))
        assert rest[0].configuration.voters == tuple(sorted(resident.id for resident in rest))

    def test_of_the_leader_asked_of_a_follower(self, three):
        leader, asked = three.leader, followers(three)[0]
        assert answered(three, asked, Remove(leader.name)) == ""
        assert leader.id not in asked.configuration.members

    def test_of_one_that_is_down_and_learns_of_it_when_it_is_back(self, three):
        gone, asked = followers(three)
        gone.stop()
        assert answered(three, asked, Remove(gone.name)) == ""
        gone.start()
        assert not gone.removed
        three.wait(5, lambda: gone.removed)
        gone.stop()
        gone.start()
        three.wait(5, lambda: gone.removed)
        gone.stop()
        gone.wipe()
        gone.start()
        three.wait(60, lambda: three.voters("a", "b", "c"))

    def test_shrinks_five_to_three_to_one(self):
        town = Town("a", "b", "c", "d", "e", expect=5)
        town.wait(20, lambda: town.leader is not None)
        for name in "edcb":
            asked = town["a"]
            assert answered(town, asked, Remove(name)) == ""
            town[name].stop()
        assert town.voters("a")
        assert "is the last node of the group" in answered(town, town["a"], Remove("a"))

    def test_of_an_unknown_one_names_the_members(self, three):
        error = answered(three, three["a"], Remove("zz"))
        assert error.startswith("zz is not in the group of a (a-")
        assert three["c"].id in error

    def test_that_would_leave_no_majority_is_refused_unless_forced(self, three):
        down, asked = followers(three)
        down.stop()
        error = answered(three, asked, Remove(asked.name))
        assert f"without {asked.id} only 1 of 2 voters would be up, which is no majority" in error
        assert asked.id in three.leader.configuration.voters
        ticket = asked.ask(Remove(asked.name, force=True))
        three.wait(5)
        assert asked.id not in next(r for r in three.residents if r is not asked and r.running).configuration.voters
        down.start()
        three.wait(60, lambda: asked.removed and ticket in asked.answers)
        assert asked.answers[ticket] == ""

    def test_without_a_leader_is_answered_in_the_end(self, three):
        asked = followers(three)[0]
        for resident in three.residents:
            if resident is not asked:
                resident.stop()
        error = answered(three, asked, Remove("a"))
        assert error.startswith("not done within 15 s (")

    def test_is_carried_out_by_the_next_leader_when_one_dies_over_it(self):
        for ticks in range(6):
            town = Town("a", "b", "c", "d", "e", expect=5, seed=ticks)
            town.wait(20, lambda town=town: town.leader is not None)
            leader = town.leader
            asked, gone, *_ = followers(town)
            ticket = asked.ask(Remove(gone.id))
            town.wait(ticks / 10)
            leader.stop()
            town.wait(60, lambda asked=asked, ticket=ticket: ticket in asked.answers)
            assert asked.answers[ticket] == ""
            assert gone.id not in asked.configuration.members


class TestTransfer:
    def test_hands_leadership_to_whom_the_operator_wants(self, three):
        heir, other = followers(three)
        assert answered(three, other, Transfer(heir.name)) == ""
        assert heir.leads

    def test_to_the_leader_is_done_already(self, three):
        assert answered(three, followers(three)[0], Transfer(three.leader.name)) == ""
        assert answered(three, three.leader, Transfer(three.leader.id)) == ""

    def test_to_one_that_is_down_or_unknown_is_refused(self, three):
        heir, other = followers(three)
        heir.stop()
        assert answered(three, other, Transfer(heir.name)) == f"{heir.id} is down, so it cannot lead"
        assert "zz is not in the group" in answered(three, other, Transfer("zz"))

    def test_to_a_learner_is_refused(self, three):
        learner = three.add("d")
        three.wait(20, lambda: learner.id in three.leader.configuration.learners)
        learner.stop()
        three.wait(1)
        assert answered(three, three.leader, Transfer("d")) == f"{learner.id} has not caught up yet, so it cannot lead"


class TestAdding:
    def test_has_the_leader_look_for_the_address(self, three):
        assert answered(three, followers(three)[0], Add("10.0.0.9", 4731)) == ""
        assert three.dialled == [(three.leader.name, "10.0.0.9", 4731)]


class TestTwoGroups:
    def test_that_meet_refuse_one_another_and_name_both(self):
        town = Town("a", "b")
        town.cut.add(frozenset("ab"))
        for resident in town.residents:
            resident.stop()
            resident.start()
        town.wait(20, lambda: all(resident.leads for resident in town.residents))
        town.mend()
        town.wait(2)
        assert {name for name, _, _ in town.refusals} == {"a", "b"}
        reason = next(reason for name, _, reason in town.refusals if name == "a")
        for text in (town["a"].id, town["b"].id, town["a"].admission.group, "--cluster"):
            assert text in reason
        assert town["a"].configuration.members == (town["a"].id,)


class TestAnyHistory:
    @pytest.mark.parametrize("seed", range(24))
    def test_ends_with_every_node_a_voter_and_no_trace_of_lost_disks(self, seed):
        town = Town("a", "b", "c", expect=3, seed=seed)
        rng = town.rng
        names = ["a", "b", "c"]
        for _ in range(60):
            town.loss = rng.choice((0, 0.1, 0.4))
            resident = town[rng.choice(names)]
            dice = rng.random()
            if dice < 0.25:
                if resident.running:
                    resident.stop()
                else:
                    resident.start()
            elif dice < 0.35:
                town.separate(resident.name)
            elif dice < 0.5:
                town.mend()
            elif dice < 0.55 and len(names) < 5:
                names.append("de"[len(names) - 3])
                town.add(names[-1], expect=3)
            elif dice < 0.6 and town.voters(*names) and all(town[name].running for name in names):
                resident.stop()
                resident.wipe()
                resident.start()
            town.wait(rng.choice((0.1, 0.3, 1.0, 3.0)))
        town.loss = 0
        town.mend()
        for name in names:
            if not town[name].running:
                town[name].start()
        town.wait(120, lambda: town.voters(*names))
        assert len({town[name].admission.group for name in names}) == 1
        assert not any(town[name].removed for name in names)
