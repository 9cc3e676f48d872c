"""A blank node on its way to a group: found one with others, or join one that is there.

Two phases. The lowest of the founders (`candidacy`) proposes; each of the others accepts at most one proposal, durably,
and says so; when all have, the proposer notes durably that it is a founder: that is the moment at which the group
exists. Until then the proposer may drop the proposal, and need not note that: a proposal is decided on the proposer's
disk or nowhere, its id is never used again, so a proposer that does not know of one says with certainty that it never
will be. Who has accepted is bound until the proposer says so or any node of the group is seen, over restarts too.

Not for: what comes after (`Admission`).
"""

from collections.abc import Callable
from typing import Final

import msgspec

from cluster.formation.actions import Action, Found, Join, Persist, Refuse, Report, Send
from cluster.formation.bounds import clipped
from cluster.formation.candidacy import Candidate, founders, listed, obstacle, undecided, unlinked
from cluster.formation.messages import Decline, Message, Presence, Propose, State, Withdrawn
from cluster.formation.neighbours import Neighbours, clock_objection
from cluster.formation.record import Accepted, Founder, Free, Joiner, Proposal, Record, encode_record

INSTANCES: Final = 1 << 52
_ID_PARTS: Final = 4


class FormingSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a blank node. Times are in milliseconds."""

    node: str
    """This node's id, which is on its disk already."""
    name: str
    expect: int = 1
    """How many nodes are to found the group, this one included."""
    place: str
    """The data directory, for messages."""
    settle: int = 3000
    """How long a node that expects no others looks around before it founds a group alone."""
    quiet: int = 1000
    """How long the founders in sight must have been the same before one of them proposes."""
    repeat: int = 1000
    """After how long what may have been lost is said again."""
    patience: int = 10_000
    """How long a proposal may wait for all to accept it."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot work."""
        if not self.node or self.expect < 1:
            raise ValueError("a node has an id, and expects itself at least")


class Forming:
    """One blank node, from its start until it has a group. See the package for how to drive it."""

    def __init__(
        self, settings: FormingSettings, record: Record, *, randrange: Callable[[int], int], now: int, wall: int
    ) -> None:
        """Go on from `record`, as the disk has it: `Free` or `Accepted`.

        `randrange(n)` gives an integer in [0, n); `now` and `wall` as in `tick`.
        """
        assert isinstance(record, Free | Accepted), "a node that has a group has nothing to form"
        self._settings = settings
        self._candidate = Candidate(settings.node, settings.name, settings.expect)
        self._record: Record = record
        self._randrange = randrange
        self._neighbours = Neighbours(settings.node, settings.name)
        self._instance = randrange(INSTANCES)
        self._sequence = 0
        self._writing: Record | None = None
        """What is on its way to the disk. Until it is there, nothing else is decided."""
        self._proposal: Proposal | None = None
        """This node's own, as long as it stands."""
        self._accepts: set[str] = set()
        self._deadline = 0
        """When the proposal is dropped if it still waits for somebody."""
        self._pause = 0
        """Before this, no new proposal."""
        self._setback = ""
        """What became of the last one."""
        self._began = now
        self._first: tuple[str, ...] = ()
        self._since = now
        """Since when the founders in sight are `_first`."""
        self._now = now
        self._wall = wall
        self._repeat_at = now
        self._said: Presence | None = None
        self._reported = ""
        self._actions: list[Action] = []

    @property
    def over(self) -> bool:
        """Tell whether the node has a group: `Found` or `Join` was handed out, and nothing more will be."""
        return isinstance(self._record, Founder | Joiner)

    def take(self) -> list[Action]:
        """Take what there is to do, in order; empty when there is nothing."""
        actions, self._actions = self._actions, []
        return actions

    # What happens to the node. Each may give rise to actions: call `take` afterwards.

    def linked(self, node: str) -> None:
        """Note a new link."""
        if self.over:
            return
        if node == self._settings.node:
            self._do(Refuse(node, copied(node)))
            return
        self._neighbours.link(node)
        self._introduce(node)
        self._go_on()

    def unlinked(self, node: str) -> None:
        """Note the end of a link."""
        if not self.over:
            self._neighbours.unlink(node)
            self._go_on()

    def received(self, sender: str, message: Message) -> None:
        """Take a message from a linked node; what makes no sense is passed over."""
        if self.over or sender not in self._neighbours:
            return
        match message:
            case Presence():
                self._on_presence(sender, message)
            case Propose():
                self._on_propose(sender, message)
            case Decline():
                if self._proposal is not None and message.proposal == self._proposal.id and self._writing is None:
                    self._withdraw(f"{self._neighbours.described(sender)}: {message.reason}")
            case Withdrawn():
                self._on_withdrawn(sender, message)
            case _:
                return
        self._go_on()

    def tick(self, now: int, wall: int) -> None:
        """Let time pass: `now` by a clock that only goes forward, `wall` since the epoch; both in milliseconds."""
        if self.over:
            return
        self._now, self._wall = now, wall
        if now >= self._repeat_at:
            self._repeat_at = now + self._settings.repeat
            self._repeat()
        self._go_on()

    def persisted(self) -> None:
        """Go on after the record that was handed out last is on disk."""
        assert self._writing is not None, "nothing was handed out to be written"
        self._record, self._writing = self._writing, None
        match self._record:
            case Founder(group, members):
                self._do(Found(group, members))
            case Joiner(group):
                self._do(Join(group))
            case _:
                self._go_on()

    # Messages

    def _on_presence(self, sender: str, presence: Presence) -> None:
        if not self._neighbours.hear(sender, presence, self._wall):
            return
        accepted = presence.accepted
        if accepted is None or accepted.proposer != self._settings.node:
            return
        if self._proposal is None or accepted.id != self._proposal.id:
            self._do(Send(sender, Withdrawn(accepted.id)))
        elif sender in self._proposal.members:
            self._accepts.add(sender)

    def _on_propose(self, sender: str, message: Propose) -> None:
        proposal = message.proposal
        if self._writing is not None:
            return  # it will be said again
        if isinstance(self._record, Accepted):
            self._introduce(sender)  # an acceptance, or the question what became of another one
            return
        if not proposal.sound or proposal.proposer != sender or self._settings.node not in proposal.members:
            return
        if self._neighbours.unheard or self._neighbours.get(sender) is None:
            return
        reason = obstacle(self._neighbours, self._candidate, proposal)
        if not reason and message.expect != self._settings.expect:
            reason = f"{self._settings.name} expects {self._settings.expect} nodes, not {message.expect}"
        if reason:
            self._do(Send(sender, Decline(proposal.id, clipped(reason))))
            return
        if self._proposal is not None:
            self._withdraw("")
        self._persist(Accepted(proposal))

    def _on_withdrawn(self, sender: str, message: Withdrawn) -> None:
        record = self._record
        if self._writing is None and isinstance(record, Accepted):
            proposal = record.proposal
            if proposal.proposer == sender and proposal.id == message.proposal:
                self._persist(Free())

    # Deciding

    def _go_on(self) -> None:
        """Do what can be done with what is known by now, and say what is waited for."""
        if self._writing is None:
            reason = self._wait_for_outcome() if isinstance(self._record, Accepted) else self._seek()
            if reason != self._reported:
                self._reported = reason
                self._do(Report(reason))
        self._announce()

    def _wait_for_outcome(self) -> str:
        assert isinstance(self._record, Accepted)
        proposal = self._record.proposal
        if any(presence.group == proposal.id for presence in self._neighbours.present):
            self._persist(Founder(proposal.id, proposal.members))
            return ""
        return undecided(f"this node, {self._settings.name},", proposal.proposer, self._settings.place)

    def _seek(self) -> str:
        """Take the next step of a node that is free; returns what it waits for."""
        neighbours = self._neighbours
        first = founders(neighbours, self._candidate)
        if first != self._first:
            self._first = first
            self._since = self._now
        reason = obstacle(neighbours, self._candidate) or unlinked(neighbours, self._candidate, first)
        if self._proposal is not None and (reason or self._proposal.members != first):
            self._withdraw(reason)
        if not reason and neighbours.unheard:
            # It may be lower, or know of a group.
            reason = f"waiting to hear from {listed(map(neighbours.name_of, neighbours.unheard))}"
        elif not reason:
            reason = self._advance(first)
        return self._join() or reason

    def _advance(self, first: tuple[str, ...]) -> str:
        """Propose, or decide, where nothing stands in the way of this node's founding a group with `first`."""
        settings, proposal = self._settings, self._proposal
        if proposal is None:
            patient = self._began + settings.settle if settings.expect == 1 else 0
            if self._now < max(patient, self._pause, self._since + settings.quiet):
                return self._setback or "looking for other nodes of the cluster"
            self._setback = ""
            name = "".join(f"{self._randrange(1 << 32):08x}" for _ in range(_ID_PARTS))
            self._proposal = proposal = Proposal(name, settings.node, first)
            self._accepts = set()
            self._deadline = self._now + settings.patience
            self._ask()
        missing = [node for node in first if node != settings.node and node not in self._accepts]
        if not missing:
            self._persist(Founder(proposal.id, first))
            return ""
        who = listed(map(self._neighbours.described, missing))
        if self._now < self._deadline:
            return f"waiting for {who} to agree to found a group"
        reason = f"{who} did not answer the proposal to found a group"
        self._withdraw(reason)
        return reason

    def _ask(self) -> None:
        assert self._proposal is not None
        for node in self._proposal.members:
            if node != self._settings.node and node not in self._accepts:
                self._do(Send(node, Propose(self._proposal, self._settings.expect)))

    def _withdraw(self, reason: str) -> None:
        """Drop the proposal; whoever has accepted it and does not hear of that will ask."""
        assert self._proposal is not None
        for node in self._proposal.members:
            if node in self._neighbours:
                self._do(Send(node, Withdrawn(self._proposal.id)))
        self._proposal = None
        self._pause = self._now + self._settings.quiet + self._randrange(self._settings.quiet + 1)
        self._setback = reason

    def _join(self) -> str:
        """Join the one group in sight; returns what stands in the way, "" when there is none in sight."""
        if self._writing is not None:
            return ""
        members: dict[str, Presence] = {}
        for presence in self._neighbours.present:
            if presence.state is State.MEMBER and presence.members:
                members.setdefault(presence.group, presence)
        if not members:
            return ""
        if len(members) > 1:
            groups = " and ".join(f"one of {listed(presence.members)}" for presence in members.values())
            return f"there are {len(members)} groups of this cluster's name, {groups}: which one to join is unclear"
        (presence,) = members.values()
        difference = self._neighbours.clock_difference(presence.node)
        if objection := clock_objection(self._neighbours.described(presence.node), difference):
            return objection
        self._persist(Joiner(presence.group, presence.members))
        return ""

    # Saying

    def _announce(self) -> None:
        """Tell everybody where this node stands, if that has changed."""
        presence = self._presence()
        if presence != self._said:
            self._said = presence
            self._repeat()

    def _repeat(self) -> None:
        for node in self._neighbours.links:
            self._introduce(node)
        if self._proposal is not None and self._writing is None:
            self._ask()
        if isinstance(self._record, Accepted) and self._writing is None:
            proposal = self._record.proposal
            reason = obstacle(self._neighbours, self._candidate, proposal)
            if reason and proposal.proposer in self._neighbours:
                self._do(Send(proposal.proposer, Decline(proposal.id, clipped(reason))))

    def _introduce(self, node: str) -> None:
        self._sequence += 1
        presence = msgspec.structs.replace(self._presence(), sequence=self._sequence, time=self._wall)
        self._do(Send(node, presence))

    def _presence(self) -> Presence:
        groups = self._neighbours.groups
        return Presence(
            node=self._settings.node,
            name=self._settings.name,
            instance=self._instance,
            sequence=0,
            time=0,
            state=State.BLANK,
            expect=self._settings.expect,
            links=self._neighbours.links,
            accepted=self._record.proposal if isinstance(self._record, Accepted) else None,
            sees=next(iter(groups), ""),
        )

    def _persist(self, record: Record) -> None:
        self._writing = record
        self._do(Persist(encode_record(record)))

    def _do(self, action: Action) -> None:
        self._actions.append(action)


def copied(node: str) -> str:
    """Say what is wrong with a second node of one id."""
    return (
        f"two nodes have the id {node}: the data directory of one is a copy of the other's. Stop one of them, and "
        "let it start with an empty directory"
    )
