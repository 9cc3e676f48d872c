"""A blank node's way to a group, told from one node's side."""

import random

import pytest

from cluster.formation import (
    Accepted,
    Forming,
    FormingSettings,
    Found,
    Founder,
    Free,
    Join,
    Joiner,
    Persist,
    Presence,
    Proposal,
    Refuse,
    Report,
    Send,
    State,
    decode_record,
)
from cluster.formation.messages import Answer, Decline, Propose, Withdrawn

WALL = 1_700_000_000_000


class Blank:
    """The node under test, called b; everything it does is kept."""

    def __init__(self, expect=3, record=None, node="b-1", **settings):
        self.now = 5000
        self.done = []
        self.sequence = 0
        self.forming = Forming(
            FormingSettings(node=node, name=node[0], expect=expect, place="/var/lib/b", **settings),
            record or Free(),
            randrange=random.Random(3).randrange,
            now=self.now,
            wall=WALL + self.now,
        )
        self.collect()

    def collect(self):
        actions = self.forming.take()
        self.done += actions
        return actions

    def link(self, *nodes):
        for node in nodes:
            self.forming.linked(node)
        return self.collect()

    def unlink(self, node):
        self.forming.unlinked(node)
        return self.collect()

    def hear(self, node, message):
        self.forming.received(node, message)
        return self.collect()

    def meet(self, node, **fields):
        """Link a node if it is not, and hear from it."""
        if node not in self.forming._neighbours:
            self.link(node)
        return self.hear(node, self.presence(node, **fields))

    def presence(self, node, **fields):
        self.sequence += 1
        defaults = {
            "name": node[0],
            "instance": 1,
            "sequence": self.sequence,
            "time": WALL + self.now,
            "state": State.BLANK,
            "expect": 3,
            "links": tuple(other for other in ("a-1", "b-1", "c-1", "d-1") if other != node),
        }
        return Presence(node=node, **(defaults | fields))

    def wait(self, milliseconds):
        end = self.now + milliseconds
        actions = []
        while self.now < end:
            self.now += 100
            self.forming.tick(self.now, WALL + self.now)
            actions += self.collect()
        return actions

    def written(self):
        self.forming.persisted()
        return self.collect()

    @property
    def report(self):
        return [action.reason for action in self.done if isinstance(action, Report)][-1]


def sent(actions, kind):
    return [
        (action.to, action.message) for action in actions if isinstance(action, Send) and type(action.message) is kind
    ]


def records(actions):
    return [decode_record(action.record) for action in actions if isinstance(action, Persist)]


def member(node, group="g", members=("x-1", "y-1"), **fields):
    return {"state": State.MEMBER, "group": group, "members": members, "index": 1, **fields}


PROPOSAL = Proposal("p1", "a-1", ("a-1", "b-1", "c-1"))


class TestANodeThatExpectsNoOthers:
    def test_founds_a_group_alone_after_a_look_around(self):
        node = Blank(expect=1)
        assert records(node.wait(2900)) == []
        (record,) = records(node.wait(100))
        assert record == Founder(record.group, ("b-1",))
        assert not node.forming.over
        assert [type(action) for action in node.written()] == [Found]
        assert node.forming.over

    def test_joins_a_group_that_it_sees_meanwhile(self):
        node = Blank(expect=1)
        node.wait(2000)
        actions = node.meet("x-1", **member("x-1"))
        assert records(actions) == [Joiner("g", ("x-1", "y-1"))]
        assert node.written() == [Join("g")]
        assert node.forming.over

    def test_does_not_go_before_a_linked_node_has_spoken(self):
        node = Blank(expect=1)
        node.link("z-1")
        assert records(node.wait(10_000)) == []
        assert node.report == "waiting to hear from z"
        assert len(records(node.meet("z-1", expect=1))) == 1

    def test_leaves_it_to_a_lower_one_as_long_as_that_is_there(self):
        node = Blank(expect=1)
        node.meet("a-1", expect=1)
        assert records(node.wait(20_000)) == []
        assert node.report == "waiting for a (a-1) to found the group"
        node.unlink("a-1")
        assert len(records(node.wait(2000))) == 1

    def test_waits_for_a_group_that_it_has_seen_though_that_is_gone(self):
        node = Blank(expect=1)
        node.meet("x-1", **member("x-1", state=State.JOINING))
        node.unlink("x-1")
        assert records(node.wait(20_000)) == []
        assert "waiting for the group of x-1, y-1, which was seen" in node.report
        assert sent(node.link("c-1"), Presence)[0][1].sees == "g"


class TestANodeThatExpectsOthers:
    def test_never_founds_alone(self):
        node = Blank()
        node.meet("c-1")
        assert records(node.wait(100_000)) == []
        assert node.report == "waiting for 3 nodes: found b, c"

    def test_proposes_when_it_is_the_lowest_and_the_view_has_been_quiet(self):
        node = Blank()
        node.meet("c-1")
        node.wait(3000)
        node.meet("d-1")
        assert sent(node.wait(900), Propose) == []
        proposals = sent(node.wait(100), Propose)
        assert [to for to, _ in proposals] == ["c-1", "d-1"]
        assert proposals[0][1].proposal.members == ("b-1", "c-1", "d-1")
        assert node.report == "waiting for c (c-1), d (d-1) to agree to found a group"

    def test_takes_the_lowest_when_there_are_more(self):
        node = Blank()
        for other in ("c-1", "f-1", "e-1", "d-1"):
            node.meet(other, links=("b-1", "c-1", "d-1", "e-1", "f-1"))
        ((_, message), *_) = sent(node.wait(1500), Propose)
        assert message.proposal.members == ("b-1", "c-1", "d-1")

    def test_does_not_propose_when_it_is_not_the_lowest(self):
        node = Blank()
        node.meet("a-1")
        node.meet("c-1")
        assert sent(node.wait(5000), Propose) == []

    def test_wants_the_founders_linked_to_one_another(self):
        node = Blank()
        node.meet("c-1", links=("b-1",))
        node.meet("d-1")
        assert sent(node.wait(5000), Propose) == []
        assert node.report == "c (c-1) has no link to d (d-1): can each reach the other's mesh address?"

    @pytest.mark.parametrize(
        ("fields", "reason"),
        [
            ({"expect": 5}, "d (d-1) expects 5 nodes and this one, b, expects 3: give both the same --expect"),
            ({"name": "c"}, "c-1 and d-1 are both called c: give each node a --name of its own"),
            ({"name": "b"}, "b-1 and d-1 are both called b: give each node a --name of its own"),
            ({"time": WALL + 45_000}, "the clock of d (d-1) is 40 s ahead of this node's, and may differ by 30 s"),
            ({"time": WALL - 35_000}, "the clock of d (d-1) is 40 s behind this node's"),
            ({"sees": "g"}, "d sees a group that is there already"),
            (
                {"accepted": Proposal("q", "z-9", ("d-1", "z-9"))},
                "d (d-1) has agreed to found a group with z-9 and waits to hear from it whether that came to pass",
            ),
        ],
    )
    def test_passes_nobody_over_and_says_what_is_in_the_way(self, fields, reason):
        node = Blank()
        node.meet("c-1")
        node.meet("d-1", **fields)
        assert sent(node.wait(20_000), Propose) == []
        assert reason in node.report
        node.meet("d-1")
        assert sent(node.wait(1500), Propose)


class TestAProposer:
    @pytest.fixture
    def node(self):
        node = Blank()
        node.meet("c-1")
        node.meet("d-1")
        (_, message), *_ = sent(node.wait(1000), Propose)
        self.proposal = message.proposal
        return node

    def accept(self, node, *others):
        actions = []
        for other in others:
            actions += node.meet(other, accepted=self.proposal)
        return actions

    def test_decides_when_all_have_accepted_and_not_before(self, node):
        assert records(self.accept(node, "c-1", "c-1")) == []
        assert records(self.accept(node, "d-1")) == [Founder(self.proposal.id, ("b-1", "c-1", "d-1"))]
        assert node.written() == [Found(self.proposal.id, ("b-1", "c-1", "d-1"))]

    def test_asks_again_those_who_have_not(self, node):
        self.accept(node, "c-1")
        assert {to for to, _ in sent(node.wait(1500), Propose)} == {"d-1"}

    def test_gives_up_after_a_while_and_makes_a_new_one(self, node):
        self.accept(node, "c-1")
        actions = node.wait(10_000)
        assert {to for to, _ in sent(actions, Withdrawn)} == {"c-1", "d-1"}
        assert node.report == "d (d-1) did not answer the proposal to found a group"
        (_, message), *_ = sent(node.wait(3000), Propose)
        assert message.proposal.id != self.proposal.id

    def test_drops_it_when_a_founder_leaves_or_a_lower_one_comes(self, node):
        self.accept(node, "c-1")
        assert sent(node.unlink("d-1"), Withdrawn) == [("c-1", Withdrawn(self.proposal.id))]
        assert records(self.accept(node, "d-1", "c-1")) == []

    def test_drops_it_when_one_declines_and_says_why(self, node):
        actions = node.hear("d-1", Decline(self.proposal.id, "d would rather not"))
        assert {to for to, _ in sent(actions, Withdrawn)} == {"c-1", "d-1"}
        assert node.report == "d (d-1): d would rather not"

    def test_passes_over_a_decline_of_another(self, node):
        assert sent(node.hear("d-1", Decline("other", "no")), Withdrawn) == []

    def test_holds_on_while_a_newcomer_has_not_spoken_but_does_not_decide(self, node):
        node.link("e-1")
        assert records(self.accept(node, "c-1", "d-1")) == []
        actions = node.meet("e-1", links=("b-1",))
        assert records(actions) == [Founder(self.proposal.id, ("b-1", "c-1", "d-1"))]

    def test_joins_a_group_that_appears_before_it_has_decided(self, node):
        actions = node.meet("x-1", **member("x-1"))
        assert {to for to, _ in sent(actions, Withdrawn)} == {"c-1", "d-1"}
        assert records(actions) == [Joiner("g", ("x-1", "y-1"))]

    def test_has_decided_from_the_moment_the_record_is_on_its_way(self, node):
        self.accept(node, "c-1", "d-1")
        actions = node.unlink("d-1") + node.hear("c-1", Decline(self.proposal.id, "no")) + node.meet("a-1")
        actions += node.meet("x-1", **member("x-1")) + node.meet("c-1", accepted=self.proposal) + node.wait(20_000)
        assert sent(actions, Withdrawn) == []
        assert records(actions) == []
        assert node.written() == [Found(self.proposal.id, ("b-1", "c-1", "d-1"))]

    def test_tells_of_one_that_it_does_not_know_that_it_is_withdrawn(self, node):
        old = Proposal("old", "b-1", ("b-1", "c-1", "d-1"))
        assert sent(node.meet("c-1", accepted=old), Withdrawn) == [("c-1", Withdrawn("old"))]

    def test_counts_no_acceptance_of_an_old_one(self, node):
        node.meet("c-1", accepted=Proposal("old", "b-1", self.proposal.members))
        assert records(self.accept(node, "d-1")) == []


class TestAnAcceptor:
    @pytest.fixture
    def node(self):
        node = Blank()
        node.meet("a-1")
        node.meet("c-1")
        return node

    def test_accepts_durably_before_it_says_so(self, node):
        actions = node.hear("a-1", Propose(PROPOSAL, 3))
        assert records(actions) == [Accepted(PROPOSAL)]
        assert all(message.accepted is None for _, message in sent(actions + node.wait(2000), Presence))
        assert {to: m.accepted for to, m in sent(node.written(), Presence)} == {"a-1": PROPOSAL, "c-1": PROPOSAL}

    @pytest.mark.parametrize(
        "proposal",
        [
            Proposal("p1", "a-1", ("a-1", "b-1")),
            Proposal("p1", "a-1", ("a-1", "b-1", "d-1")),
            Proposal("p1", "a-1", ("a-1", "b-1", "c-1", "d-1")),
        ],
    )
    def test_declines_other_founders_than_it_sees(self, node, proposal):
        actions = node.hear("a-1", Propose(proposal, 3))
        assert records(actions) == []
        assert "b would found a group of a-1, b-1, c-1, not of" in sent(actions, Decline)[0][1].reason

    @pytest.mark.parametrize(
        ("sender", "proposal"),
        [
            ("c-1", PROPOSAL),
            ("a-1", Proposal("p1", "a-1", ("a-1", "c-1", "d-1"))),
            ("a-1", Proposal("p1", "a-1", ("b-1", "c-1", "d-1"))),
            ("a-1", Proposal("p1", "a-1", ("b-1", "a-1", "c-1"))),
        ],
    )
    def test_passes_over_nonsense(self, node, sender, proposal):
        assert node.hear(sender, Propose(proposal, 3)) == []

    def test_says_nothing_before_every_linked_node_has_spoken(self, node):
        node.link("e-1")
        assert node.hear("a-1", Propose(PROPOSAL, 3)) == []
        node.meet("e-1")
        assert records(node.hear("a-1", Propose(PROPOSAL, 3))) == [Accepted(PROPOSAL)]

    def test_declines_as_long_as_another_in_sight_is_bound_elsewhere(self, node):
        node.meet("e-1", accepted=Proposal("q", "z-1", ("e-1", "z-1")))
        assert (
            "e (e-1) has agreed to found a group with z-1"
            in sent(node.hear("a-1", Propose(PROPOSAL, 3)), Decline)[0][1].reason
        )

    def test_accepts_one_at_a_time(self, node):
        node.hear("a-1", Propose(PROPOSAL, 3))
        again = Proposal("p2", "a-1", PROPOSAL.members)
        assert node.hear("a-1", Propose(again, 3)) == []
        node.written()
        actions = node.hear("a-1", Propose(again, 3))
        assert records(actions) == []
        assert sent(actions, Presence)[0][1].accepted == PROPOSAL

    def test_is_released_by_its_proposer_alone_and_for_this_proposal_alone(self, node):
        node.hear("a-1", Propose(PROPOSAL, 3))
        node.written()
        assert records(node.hear("c-1", Withdrawn("p1")) + node.hear("a-1", Withdrawn("p0"))) == []
        assert records(node.hear("a-1", Withdrawn("p1"))) == [Free()]
        node.written()
        again = Proposal("p2", "a-1", PROPOSAL.members)
        assert records(node.hear("a-1", Propose(again, 3))) == [Accepted(again)]

    @pytest.mark.parametrize("teller", ["a-1", "c-1"])
    def test_founds_with_the_others_when_any_of_them_says_that_it_came_to_pass(self, node, teller):
        node.hear("a-1", Propose(PROPOSAL, 3))
        node.written()
        actions = node.meet(teller, **member(teller, "p1", PROPOSAL.members))
        assert records(actions) == [Founder("p1", PROPOSAL.members)]
        assert node.written() == [Found("p1", PROPOSAL.members)]

    def test_stays_bound_when_another_group_appears_and_tells_the_proposer(self, node):
        node.hear("a-1", Propose(PROPOSAL, 3))
        node.written()
        actions = node.meet("x-1", **member("x-1")) + node.wait(2000)
        assert records(actions) == []
        assert ("a-1", Decline("p1", "the group of x-1, y-1 is there already")) in sent(actions, Decline)
        assert sent(actions, Presence)[-1][1].sees == "g"

    def test_after_a_restart_asks_what_became_of_it(self):
        node = Blank(record=Accepted(PROPOSAL))
        assert sent(node.link("a-1"), Presence)[0][1].accepted == PROPOSAL
        node.meet("a-1")
        assert records(node.wait(100_000)) == []
        assert records(node.hear("a-1", Withdrawn("p1"))) == [Free()]

    def test_names_the_way_out_when_its_proposer_is_gone_for_ever(self):
        node = Blank(record=Accepted(PROPOSAL))
        node.wait(1000)
        assert node.report == (
            "this node, b, has agreed to found a group with a-1 and waits to hear from it whether that came to pass. "
            "If a-1 is gone for ever, delete /var/lib/b (there are no jobs in it yet) and start it again"
        )


class TestJoining:
    def test_says_who_it_joins_only_when_that_is_on_disk(self):
        node = Blank()
        actions = node.meet("x-1", **member("x-1"))
        assert records(actions) == [Joiner("g", ("x-1", "y-1"))]
        assert not node.forming.over
        assert records(node.meet("y-1", **member("y-1", "h", ("y-1",)))) == []
        assert node.written() == [Join("g")]

    def test_of_one_of_two_groups_is_refused(self):
        node = Blank(expect=1)
        node.meet("x-1", **member("x-1"), time=WALL + 100_000)
        node.meet("y-1", **member("y-1", "h", ("y-1",)))
        assert records(node.done + node.wait(5000)) == []
        assert node.report == (
            "there are 2 groups of this cluster's name, one of x-1, y-1 and one of y-1: which one to join is unclear"
        )

    def test_waits_for_a_member_whose_clock_agrees(self):
        node = Blank()
        actions = node.meet("x-1", **member("x-1"), time=WALL + 100_000)
        assert records(actions) == []
        assert "the clock of x (x-1) is 95 s ahead of this node's" in node.report
        assert records(node.meet("x-1", **member("x-1"))) == [Joiner("g", ("x-1", "y-1"))]

    def test_is_not_by_way_of_one_that_is_joining_itself(self):
        node = Blank()
        assert records(node.meet("x-1", **member("x-1", state=State.JOINING)) + node.wait(5000)) == []


class TestWhatComesLate:
    def test_an_earlier_presence_of_the_same_process_is_passed_over(self):
        node = Blank()
        early = node.presence("c-1", links=())
        node.meet("c-1")
        node.meet("d-1")
        node.hear("c-1", early)
        assert sent(node.wait(1500), Propose)

    def test_a_node_that_had_a_group_is_never_blank_again(self):
        node = Blank(expect=1)
        early = node.presence("c-1", expect=1, instance=9)
        node.meet("c-1", **member("c-1", state=State.JOINING))
        node.hear("c-1", early)
        node.unlink("c-1")
        node.link("c-1")
        node.hear("c-1", early)
        assert records(node.wait(20_000)) == []
        assert (
            node.report
            == "waiting for the group of x-1, y-1, which was seen: if it is gone for ever, restart this node"
        )

    def test_what_nobody_linked_says_or_another_says_in_its_name_is_passed_over(self):
        node = Blank(expect=1)
        assert node.hear("c-1", node.presence("c-1")) == []
        node.meet("c-1", expect=1)
        node.hear("c-1", node.presence("a-1", expect=1))
        assert len(records(node.wait(5000))) == 1

    def test_after_the_end_nothing_happens_any_more(self):
        node = Blank(expect=1)
        node.wait(3000)
        node.written()
        node.link("c-1")
        node.unlink("c-1")
        node.hear("c-1", Withdrawn("x"))
        assert node.wait(2000) == []

    def test_messages_of_later_lives_are_passed_over(self):
        node = Blank()
        node.meet("c-1")
        assert node.hear("c-1", Answer(1, "")) == []


class TestACopiedDirectory:
    def test_is_refused_with_a_reason(self):
        node = Blank()
        (refusal,) = node.link("b-1")
        assert isinstance(refusal, Refuse)
        assert "two nodes have the id b-1: the data directory of one is a copy of the other's" in refusal.reason


class TestSettings:
    @pytest.mark.parametrize("settings", [{"node": ""}, {"expect": 0}])
    def test_that_cannot_work_are_refused(self, settings):
        with pytest.raises(ValueError, match="has an id, and expects itself"):
            FormingSettings(**({"node": "b-1", "name": "b", "place": "/"} | settings))
