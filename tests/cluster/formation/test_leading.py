"""What a member says and does, above all a leader, told from its side: consensus says what the story wants."""

import random

import pytest

from cluster.formation import (
    Add,
    Admission,
    AdmissionSettings,
    Answered,
    Dial,
    Founder,
    Joiner,
    Presence,
    Proposal,
    ProposeConfiguration,
    Remove,
    Removed,
    Send,
    State,
    Transfer,
    TransferLeadership,
)
from cluster.formation.messages import Answer, JoinRequest, Refusal, Request, Withdrawn
from cluster.raft import ChangeKind, Configuration

WALL = 1_700_000_000_000
VOTERS = ("a-1", "b-1", "c-1")


class Member:
    """The node under test, a."""

    def __init__(self, voters=VOTERS, learners=(), record=None, *, leads=True):
        self.now = 1000
        self.alive = set()
        self.sequence = 0
        self.configuration = Configuration(voters=voters, learners=learners)
        self.index = 5
        self.admission = Admission(
            AdmissionSettings(node="a-1", name="a", place="/var/lib/a"),
            record or Founder("g", voters),
            self.configuration,
            self.index,
            alive=self.alive.__contains__,
            randrange=random.Random(3).randrange,
            now=self.now,
            wall=WALL + self.now,
        )
        if leads:
            self.admission.standing("a-1")

    def take(self, kind):
        return [action for action in self.admission.take() if isinstance(action, kind)]

    def steps(self):
        """What was proposed since the last look."""
        return [
            [(step.kind, step.node) for step in action.change.changes] for action in self.take(ProposeConfiguration)
        ]

    def meet(self, node, **fields):
        if node not in self.admission._neighbours:
            self.admission.linked(node)
        self.alive.add(node)
        self.sequence += 1
        defaults = {
            "name": node[0],
            "instance": 1,
            "sequence": self.sequence,
            "time": WALL + self.now,
            "state": State.MEMBER,
            "expect": 1,
            "group": "g",
            "members": self.configuration.members,
            "index": self.index,
        }
        self.admission.received(node, Presence(node=node, **(defaults | fields)))

    def lose(self, node):
        self.alive.discard(node)
        self.admission.unlinked(node)

    def join(self, node, sender=None, **fields):
        request = {"group": "g", "node": node, "name": node[0], "time": WALL + self.now} | fields
        self.admission.received(sender or node, JoinRequest(**request))

    def wait(self, milliseconds):
        for _ in range(milliseconds // 100):
            self.now += 100
            self.admission.tick(self.now, WALL + self.now)

    def commit(self, voters, learners=(), outgoing=()):
        self.index += 1
        self.configuration = Configuration(voters, learners, outgoing)
        self.admission.applied(self.configuration, self.index)


class TestOneChangeAtATime:
    @pytest.fixture
    def leader(self):
        leader = Member()
        leader.meet("d-1", state=State.JOINING)
        leader.meet("e-1", state=State.JOINING)
        leader.join("d-1")
        leader.join("e-1")
        assert leader.steps() == [[(ChangeKind.ADD_LEARNER, "d-1")]]
        return leader

    def test_waits_for_the_word_of_consensus_and_for_the_commit(self, leader):
        leader.wait(500)
        assert leader.steps() == []
        leader.admission.proposed()
        leader.wait(500)
        assert leader.steps() == []
        leader.commit(VOTERS, ("d-1",))
        assert leader.steps() == [[(ChangeKind.PROMOTE, "d-1")]]

    def test_is_not_over_while_the_configuration_is_joint(self, leader):
        leader.admission.proposed()
        leader.commit(VOTERS, ("d-1",), outgoing=VOTERS)
        leader.wait(300)
        assert leader.steps() == []
        leader.commit(VOTERS, ("d-1",))
        assert len(leader.steps()) == 1

    def test_that_was_committed_before_consensus_answered_is_over(self, leader):
        leader.commit(VOTERS, ("d-1",))
        assert leader.steps() == []
        leader.admission.proposed()
        assert leader.steps() == [[(ChangeKind.PROMOTE, "d-1")]]

    def test_is_proposed_again_a_little_later_when_it_was_refused(self, leader):
        leader.admission.proposed("not now")
        assert leader.steps() == []
        leader.wait(200)
        assert leader.steps() == [[(ChangeKind.ADD_LEARNER, "d-1")]]

    def test_is_forgotten_with_the_leadership(self, leader):
        leader.admission.proposed()
        leader.admission.standing("b-1")
        leader.wait(3000)
        assert leader.steps() == []
        leader.admission.standing("a-1")
        assert leader.steps() == []
        leader.join("e-1")
        assert leader.steps() == [[(ChangeKind.ADD_LEARNER, "e-1")]]


class TestTakingIn:
    def test_a_joiner_that_asks_no_more_is_forgotten(self):
        leader = Member()
        leader.meet("d-1", state=State.JOINING)
        leader.meet("e-1", state=State.JOINING)
        leader.join("d-1")
        leader.join("e-1")
        leader.admission.proposed("not now")
        leader.steps()
        for _ in range(4):
            leader.admission.proposed("not now")
            leader.wait(900)
            leader.join("e-1")
        leader.steps()
        leader.admission.proposed("not now")
        leader.wait(300)
        assert leader.steps() == [[(ChangeKind.ADD_LEARNER, "e-1")]]

    def test_a_laggard_does_not_hold_up_the_next(self):
        leader = Member(learners=("d-1", "e-1"))
        leader.meet("d-1", state=State.JOINING)
        leader.meet("e-1", state=State.JOINING)
        assert leader.steps() == [[(ChangeKind.PROMOTE, "d-1")]]
        leader.admission.proposed("d-1 has not caught up")
        leader.wait(200)
        assert leader.steps() == [[(ChangeKind.PROMOTE, "e-1")]]
        leader.admission.proposed()
        leader.commit((*VOTERS, "e-1"), ("d-1",))
        leader.wait(1000)
        assert leader.steps() == [[(ChangeKind.PROMOTE, "d-1")]]

    def test_a_namesake_that_another_member_hears_is_there(self):
        leader = Member()
        leader.meet("b-1", links=("a-1", "c-1"))
        leader.meet("c-2", state=State.JOINING, name="c")
        leader.admission.take()
        leader.join("c-2", name="c")
        ((refusal,), _) = ([a.message for a in leader.take(Send) if isinstance(a.message, Refusal)], None)
        assert "c (c-2) is called as c-1, a member that is there" in refusal.reason
        leader.meet("b-1", links=("a-1",))
        leader.join("c-2", name="c")
        assert leader.steps() == [[(ChangeKind.ADD_LEARNER, "c-2")]]

    def test_a_namesake_that_has_come_back_keeps_its_place(self):
        leader = Member(learners=("c-2",))
        leader.meet("c-1")
        leader.meet("c-2", state=State.JOINING, name="c")
        leader.wait(5000)
        assert leader.steps() == []
        leader.lose("c-1")
        assert leader.steps() == [[(ChangeKind.PROMOTE, "c-2"), (ChangeKind.REMOVE, "c-1")]]

    def test_a_learner_stays_as_long_as_it_is_heard_however_long_it_takes(self):
        leader = Member(learners=("d-1",))
        leader.meet("d-1", state=State.JOINING)
        for _ in range(90):
            leader.admission.proposed("d-1 has not caught up")
            leader.wait(10_000)
        assert {step for (step,) in leader.steps()} == {(ChangeKind.PROMOTE, "d-1")}
        leader.lose("d-1")
        leader.admission.proposed("d-1 has not caught up")
        leader.wait(599_000)
        assert leader.steps() == []
        leader.wait(2000)
        assert leader.steps() == [[(ChangeKind.REMOVE, "d-1")]]

    def test_a_node_that_is_in_is_not_let_in_again_after_its_removal(self):
        leader = Member()
        leader.meet("d-1", state=State.JOINING, members=())
        leader.join("d-1")
        assert leader.steps() == [[(ChangeKind.ADD_LEARNER, "d-1")]]
        leader.admission.proposed()
        leader.admission.ask(Remove("b-1"))
        leader.commit(VOTERS, ("d-1",))
        assert leader.steps() == [[(ChangeKind.REMOVE, "b-1")]]
        leader.admission.ask(Remove("d-1"))
        leader.admission.proposed()
        leader.commit(("a-1", "c-1"), ("d-1",))
        assert leader.steps() == [[(ChangeKind.REMOVE, "d-1")]]
        leader.admission.proposed()
        leader.commit(("a-1", "c-1"))
        leader.wait(200)
        assert not leader.steps()

    def test_a_learner_that_says_that_it_was_removed_is_let_go(self):
        leader = Member(learners=("d-1",))
        leader.meet("d-1", state=State.REMOVED)
        assert leader.steps() == [[(ChangeKind.REMOVE, "d-1")]]

    def test_of_another_group_is_none_of_its_business(self):
        leader = Member()
        leader.meet("d-1", state=State.JOINING)
        leader.join("d-1", group="h")
        assert leader.steps() == []


class TestWhatItProposedBeforeItHadAGroup:
    @pytest.mark.parametrize(
        ("proposal", "released"),
        [
            (Proposal("old", "a-1", ("a-1", "d-1")), True),
            (Proposal("g", "a-1", ("a-1", "d-1")), False),
            (Proposal("other", "b-1", ("b-1", "d-1")), False),
        ],
    )
    def test_binds_nobody_any_more_unless_it_is_this_group(self, proposal, released):
        member = Member()
        member.meet("d-1", state=State.BLANK, group="", members=(), accepted=proposal)
        withdrawn = [action.message for action in member.take(Send) if isinstance(action.message, Withdrawn)]
        assert withdrawn == [Withdrawn(proposal.id)] * released


class TestOrders:
    def answers(self, member):
        return [(action.ticket, action.error) for action in member.take(Answered)]

    def test_that_are_repeated_are_taken_once_and_answered_as_often(self):
        leader = Member()
        leader.meet("b-1")
        leader.meet("c-1")
        leader.admission.take()
        for _ in range(3):
            leader.admission.received("b-1", Request(7, Transfer("c-1")))
        assert leader.take(TransferLeadership) == [TransferLeadership("c-1")]
        for _ in range(2):
            leader.admission.received("b-1", Request(8, Add("h", 4731)))
        actions = leader.admission.take()
        assert [action for action in actions if isinstance(action, Dial)] == [Dial("h", 4731)]
        assert [action for action in actions if isinstance(action, Send)] == [Send("b-1", Answer(8, ""))] * 2

    def test_that_consensus_refuses_are_answered_with_its_reason(self):
        leader = Member()
        leader.meet("c-1")
        ticket = leader.admission.ask(Transfer("c"))
        leader.admission.transfer_refused("not now")
        assert self.answers(leader) == [(ticket, "not now")]

    def test_to_remove_the_leader_make_another_one_lead_and_that_again_and_with_the_next(self):
        leader = Member()
        leader.meet("b-1")
        leader.meet("c-1")
        leader.admission.ask(Remove("a"))
        (first,) = leader.take(TransferLeadership)
        leader.wait(2900)
        assert leader.take(TransferLeadership) == []
        leader.wait(200)
        assert {first.to, leader.take(TransferLeadership)[0].to} == {"b-1", "c-1"}
        assert leader.steps() == []

    def test_to_remove_the_leader_want_an_heir(self):
        leader = Member()
        ticket = leader.admission.ask(Remove("a"))
        ((answered, error),) = self.answers(leader)
        assert (answered, error) == (ticket, "a-1 leads, and there is no other voter that is up to hand over to")

    def test_to_remove_the_only_voter_are_refused(self):
        leader = Member(voters=("a-1",), learners=("d-1",))
        leader.admission.ask(Remove("a"))
        ((_, error),) = self.answers(leader)
        assert "a-1 is the only voter of the group of a (a-1), d (d-1): wait until another one has caught up" in error

    def test_go_to_whoever_leads_and_are_done_when_their_effect_is_seen(self):
        member = Member(leads=False)
        member.meet("b-1")
        ticket = member.admission.ask(Remove("c"))
        assert not [a for a in member.take(Send) if isinstance(a.message, Request)]
        member.admission.standing("b-1")
        assert Send("b-1", Request(ticket, Remove("c-1"))) in member.admission.take()
        member.wait(1100)
        assert Send("b-1", Request(ticket, Remove("c-1"))) in member.admission.take()
        member.commit(("a-1", "b-1"))
        assert self.answers(member) == [(ticket, "")]
        member.admission.received("b-1", Answer(ticket, "c-1 is not in the group"))
        member.wait(20_000)
        assert self.answers(member) == []

    def test_are_answered_by_the_leader_alone(self):
        member = Member(leads=False)
        member.meet("b-1")
        member.meet("c-1")
        member.admission.standing("b-1")
        ticket = member.admission.ask(Remove("c"))
        member.admission.received("c-1", Answer(ticket, "no"))
        assert self.answers(member) == []
        member.admission.received("b-1", Answer(ticket, "no"))
        assert self.answers(member) == [(ticket, "no")]

    def test_under_a_name_that_several_have_want_an_id(self):
        leader = Member(learners=("c-2",))
        leader.meet("c-2", name="c", state=State.JOINING)
        leader.admission.ask(Remove("c"))
        ((_, error),) = self.answers(leader)
        assert error == "several members are called c: say which by its id, c-1 or c-2"


class TestBeingRemoved:
    @pytest.mark.parametrize(("index", "removed"), [(7, False), (10, False), (11, True)])
    def test_is_told_by_members_of_later_entries_only(self, index, removed):
        """The node was let in by entry 10, and after its restart stands at an earlier snapshot."""
        member = Member(("b-1",), record=Joiner("g", ("b-1",), admitted=10), leads=False)
        assert not member.admission.removed
        member.meet("b-1", members=("b-1",), index=index)
        assert member.admission.removed is removed
        assert len(member.take(Removed)) == removed
        assert member.admission.state is (State.REMOVED if removed else State.MEMBER)

    def test_ends_every_order_and_takes_none(self):
        leader = Member()
        leader.meet("b-1")
        leader.admission.ask(Remove("c"))
        leader.admission.take()
        leader.commit(("b-1", "c-1"))
        leader.admission.ask(Remove("c"))
        reasons = [action.error for action in leader.take(Answered)]
        assert reasons == ["this node, a-1, was removed from the group; delete /var/lib/a to join again"] * 2
        leader.admission.standing("a-1")
        leader.admission.received("b-1", Request(1, Remove("c-1")))
        leader.wait(1000)
        assert leader.steps() == []


class TestDoubts:
    def test_are_none_of_members_that_could_be_let_in(self):
        member = Member()
        member.meet("b-1")
        member.meet("c-1", time=WALL + member.now + 29_000)
        assert member.admission.doubts() == ()

    def test_name_a_clock_that_is_far_off_for_as_long_as_it_is(self):
        member = Member()
        member.meet("b-1", time=WALL + member.now + 300_000)
        ((node, reason),) = member.admission.doubts()
        assert node == "b-1"
        assert "the clock of b (b-1) is 300 s ahead" in reason
        member.meet("b-1")
        assert member.admission.doubts() == ()

    def test_name_a_member_that_was_given_this_ones_name(self):
        member = Member()
        member.meet("b-1", name="a")
        assert member.admission.doubts() == (
            ("b-1", "a-1 and b-1 are both called a: give each node a --name of its own"),
        )

    def test_are_of_this_nodes_own_clock_where_most_members_have_another_time(self):
        member = Member()
        member.meet("b-1", time=WALL + member.now + 300_000)
        assert not member.admission.astray
        member.meet("c-1", time=WALL + member.now + 300_000)
        assert member.admission.astray
        member.meet("c-1", time=WALL + member.now + 300)
        assert not member.admission.astray

    def test_are_none_of_those_who_are_no_members(self):
        member = Member()
        member.meet("d-1", name="a", time=0, state=State.JOINING)
        assert member.admission.doubts() == ()
