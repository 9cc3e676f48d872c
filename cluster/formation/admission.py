"""A node that has a group: says so, asks to be let in, passes requests on, notices that it was removed.

Runs on every member from its first moment to its end; what only the leader does is in `changes`. Not for: how a first
configuration comes about (`Forming`).
"""

from collections.abc import Callable
from typing import Final

import msgspec

from cluster.formation.actions import Action, Answered, Persist, Refuse, Removed, Report, Send
from cluster.formation.candidacy import listed
from cluster.formation.changes import Changes
from cluster.formation.forming import INSTANCES, copied
from cluster.formation.messages import (
    Answer,
    JoinRequest,
    Message,
    Order,
    Presence,
    Refusal,
    Remove,
    Request,
    State,
    Transfer,
    Withdrawn,
)
from cluster.formation.neighbours import MAX_CLOCK_DIFFERENCE, Neighbours, clock_objection, namesakes
from cluster.formation.record import Founder, Joiner, encode_record
from cluster.raft import Configuration, bootstrap

_MINUTE: Final = 60_000


class AdmissionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a node that has a group. Times are in milliseconds."""

    node: str
    """This node's id."""
    name: str
    expect: int = 1
    """What it was told to expect: only said, for it has a group."""
    place: str
    """The data directory, for messages."""
    repeat: int = 1000
    """After how long what may have been lost is said again."""
    abandoned: int = 10 * _MINUTE
    """After how long without a sign of life a node that never caught up is let go."""
    patience: int = 15_000
    """How long an operator waits for an answer."""


class _Ticket(msgspec.Struct):
    """An order that was given here and is not answered."""

    order: Order
    deadline: int


def _admitted(record: Founder | Joiner) -> int:
    return bootstrap().index if isinstance(record, Founder) else record.admitted


class Admission:
    """One node of a group. See the package for how to drive it."""

    def __init__(
        self,
        settings: AdmissionSettings,
        record: Founder | Joiner,
        configuration: Configuration,
        index: int,
        *,
        alive: Callable[[str], bool],
        randrange: Callable[[int], int],
        now: int,
        wall: int,
    ) -> None:
        """Begin with the record that is on disk, and the committed configuration as of the entry `index`.

        A joiner that was sent nothing yet has `Configuration()` at 0. `alive(node)` tells whether this node has signs
        of life of another; `randrange(n)` gives an integer in [0, n); `now` and `wall` as in `tick`.
        """
        self._settings = settings
        self._record = record
        self._admitted = _admitted(record)
        """As of which entry this node is in the group; 0 as long as it is not, durably."""
        self._configuration = configuration
        self._index = index
        self._randrange = randrange
        self._now = now
        self._wall = wall
        self._repeat_at = now
        self._instance = randrange(INSTANCES)
        self._sequence = 0
        self._next_ticket = randrange(INSTANCES)
        self._tickets: dict[int, _Ticket] = {}
        self._leader = ""
        self._persisting = False
        self._refusal = ""
        """Why this node is not let in."""
        self._reported: str | None = None
        self._removed = False
        self._said: Presence | None = None
        self._actions: list[Action] = []
        self._neighbours = Neighbours(settings.node, settings.name)
        self._changes = Changes(
            settings.node,
            self._neighbours,
            alive,
            self._do,
            repeat=settings.repeat,
            abandoned=settings.abandoned,
        )
        self._changes.tick(now)
        self._see_to_admission()

    @property
    def group(self) -> str:
        """The group's id."""
        return self._record.group

    @property
    def removed(self) -> bool:
        """Tell whether this node is not in the group any more."""
        return self._removed

    @property
    def state(self) -> State:
        """Where this node stands."""
        if self._removed:
            return State.REMOVED
        return State.MEMBER if self._admitted else State.JOINING

    def name_of(self, node: str) -> str:
        """Give the name of a node, as it was last heard or as its id was made with."""
        return self._neighbours.name_of(node)

    def presence_of(self, node: str) -> Presence | None:
        """Give what a linked node said last of itself."""
        return self._neighbours.get(node)

    def doubts(self) -> tuple[tuple[str, str], ...]:
        """Tell which members would not be let in as they are now, and why: who is in stays, but somebody should know.

        Of each the id, and a sentence.
        """
        found = []
        own = self._settings
        for other in self._neighbours.present:
            if other.node not in self._configuration.members:
                continue
            difference = self._neighbours.clock_difference(other.node)
            if objection := clock_objection(self._neighbours.described(other.node), difference):
                found.append((other.node, objection))
            elif other.name == own.name:
                found.append((other.node, namesakes(own.name, own.node, other.node)))
        return tuple(found)

    @property
    def astray(self) -> bool:
        """Tell whether this node's clock is too far from those of most members for its word on the time to count."""
        members = self._configuration.members
        off = [
            other.node
            for other in self._neighbours.present
            if other.node in members and abs(self._neighbours.clock_difference(other.node)) > MAX_CLOCK_DIFFERENCE
        ]
        return len(off) > len(members) // 2

    def take(self) -> list[Action]:
        """Take what there is to do, in order; empty when there is nothing."""
        actions, self._actions = self._actions, []
        return actions

    # What happens to the node. Each may give rise to actions: call `take` afterwards.

    def linked(self, node: str) -> None:
        """Note a new link."""
        if node == self._settings.node:
            self._do(Refuse(node, copied(node)))
            return
        self._neighbours.link(node)
        self._introduce(node)
        self._go_on()

    def unlinked(self, node: str) -> None:
        """Note the end of a link."""
        self._neighbours.unlink(node)
        self._go_on()

    def received(self, sender: str, message: Message) -> None:
        """Take a message from a linked node; what makes no sense is passed over."""
        if sender not in self._neighbours:
            return
        match message:
            case Presence():
                if self._neighbours.hear(sender, message, self._wall):
                    self._judge(message)
            case JoinRequest():
                self._on_join_request(sender, message)
            case Refusal():
                self._on_refusal(message)
            case Request():
                if self._leads and not self._removed:
                    self._changes.ask(sender, message.number, message.order)
            case Answer():
                if sender == self._leader and message.number in self._tickets:
                    self._finish(message.number, message.error)
            case _:
                return
        self._go_on()

    def tick(self, now: int, wall: int) -> None:
        """Let time pass: `now` by a clock that only goes forward, `wall` since the epoch; both in milliseconds."""
        self._now, self._wall = now, wall
        self._changes.tick(now)
        for number, ticket in list(self._tickets.items()):
            if now >= ticket.deadline:
                self._finish(number, self._unanswered())
        if now >= self._repeat_at:
            self._repeat_at = now + self._settings.repeat
            for node in self._neighbours.links:
                self._introduce(node)
            self._request_admission()
            for number, ticket in self._tickets.items():
                self._pass_on(number, ticket.order)
        self._go_on()

    def standing(self, leader: str) -> None:
        """Take note of who leads, "" when nobody is known to; call it at every change."""
        led = self._leads
        self._leader = "" if self._removed else leader
        if led and not self._leads:
            self._changes.end()
        elif self._leads and not led:
            self._changes.begin(self._configuration)
        self._refusal = ""
        for number, ticket in list(self._tickets.items()):
            if isinstance(ticket.order, Transfer) and ticket.order.node == leader:
                self._finish(number, "")
            else:
                self._pass_on(number, ticket.order)
        self._request_admission()
        self._go_on()

    def applied(self, configuration: Configuration, index: int) -> None:
        """Take note of a configuration that was committed, by the entry `index` or by a snapshot that stands there."""
        if index < self._index:
            return
        self._configuration = configuration
        self._index = index
        self._changes.committed(configuration)
        for number, ticket in list(self._tickets.items()):
            if isinstance(ticket.order, Remove) and ticket.order.node not in configuration.members:
                self._finish(number, "")
        self._see_to_admission()
        self._go_on()

    def persisted(self) -> None:
        """Go on after the record that was handed out last is on disk."""
        self._persisting = False
        self._admitted = _admitted(self._record)
        self._see_to_admission()
        self._go_on()

    def proposed(self, error: str = "") -> None:
        """Take what consensus said to `ProposeConfiguration`: "" when it took it, else its refusal."""
        self._changes.proposed(error)
        self._go_on()

    def transfer_refused(self, error: str) -> None:
        """Take consensus's refusal of `TransferLeadership`."""
        self._changes.transfer_refused(error)
        self._go_on()

    def ask(self, order: Order) -> int:
        """Have an operator's order carried out by the leader, whoever that is; `Answered` comes with this ticket.

        The answer may be on its way when this returns. An order whose answer was lost may have been carried out.
        """
        number = self._next_ticket
        self._next_ticket += 1
        error = ""
        if isinstance(order, Remove | Transfer):
            node, error = self._resolve(order.node)
            order = msgspec.structs.replace(order, node=node)
        self._tickets[number] = _Ticket(order, self._now + self._settings.patience)
        if self._removed or error:
            self._finish(number, self._removal() if self._removed else error)
            return number
        self._pass_on(number, order)
        self._go_on()
        return number

    # -- inside -------------------------------------------------------------------------------------------------------

    @property
    def _leads(self) -> bool:
        return self._leader == self._settings.node

    def _go_on(self) -> None:
        if not self._removed:
            self._changes.go_on()
            reason = "" if self._admitted else self._waiting()
            if reason != self._reported:
                self._reported = reason
                self._do(Report(reason))
        presence = self._presence()
        if presence != self._said:
            self._said = presence
            for node in self._neighbours.links:
                self._introduce(node)

    def _waiting(self) -> str:
        if self._refusal:
            return self._refusal
        members = self._members()
        known = [presence for presence in self._neighbours.present if presence.group == self.group]
        if not known:
            return (
                f"waiting for a node of the group of {members}, which this node joins. If that group is no more, "
                f"delete {self._settings.place} (there are no jobs in it yet) and start this node again"
            )
        if not any(presence.leader for presence in known):
            return f"waiting for the group of {members} to have a leader: a majority of its voters must be up"
        return f"waiting to be let into the group of {members}"

    def _members(self) -> str:
        return listed(self._configuration.members or self._record.members)

    def _see_to_admission(self) -> None:
        """Take note of being in the group, durably; and of not being in it any more."""
        within = self._settings.node in self._configuration.members
        if self._admitted:
            if not within and self._index > self._admitted:
                self._remove()
        elif within and not self._persisting and isinstance(self._record, Joiner):
            self._persisting = True
            self._record = msgspec.structs.replace(self._record, admitted=self._index)
            self._do(Persist(encode_record(self._record)))

    def _remove(self) -> None:
        if not self._removed:
            self._removed = True
            self._changes.end()
            for number, ticket in list(self._tickets.items()):
                done = isinstance(ticket.order, Remove) and ticket.order.node == self._settings.node
                self._finish(number, "" if done else self._removal())
            self._do(Removed(self._removal()))

    def _removal(self) -> str:
        return (
            f"this node, {self._settings.node}, was removed from the group; delete {self._settings.place} to join again"
        )

    def _judge(self, presence: Presence) -> None:
        """Act upon what a node says of itself."""
        node = presence.node
        if presence.group and presence.group != self.group:
            self._do(Refuse(node, self._stranger(presence)))
            return
        accepted = presence.accepted
        if accepted is not None and accepted.id != self.group and accepted.proposer == self._settings.node:
            self._do(Send(node, Withdrawn(accepted.id)))
        if presence.state is State.REMOVED:
            self._changes.departed(node)
            self._do(Refuse(node, f"{self._neighbours.described(node)} was removed from the group"))
        elif (
            presence.state is State.MEMBER
            and self._admitted
            and presence.index > max(self._index, self._admitted)
            and self._settings.node not in presence.members
        ):
            self._remove()

    def _stranger(self, presence: Presence) -> str:
        described = self._neighbours.described(presence.node)
        return (
            f"{described} is of another group of this cluster's name: of {presence.group} with "
            f"{listed(presence.members)}; this one, {self._settings.name}, is of {self.group} with {self._members()}. "
            "Two groups cannot be made one: give one of them another --cluster, or delete the data directories of its "
            "nodes to have them join the other"
        )

    def _on_join_request(self, sender: str, request: JoinRequest) -> None:
        if request.group != self.group or self._removed:
            return
        if self._leads:
            self._changes.join(sender, request, self._wall)
        elif sender == request.node and self._leader in self._neighbours:
            self._do(Send(self._leader, request))

    def _on_refusal(self, message: Refusal) -> None:
        if message.node == self._settings.node:
            if not self._admitted:
                self._refusal = message.reason
        elif message.node in self._neighbours:
            self._do(Send(message.node, message))  # it was asked for by way of this node

    def _request_admission(self) -> None:
        """Ask to be let in: the leader, if it is known and linked, else any member."""
        if self._admitted or self._persisting:
            return
        own = self._settings
        members = [p for p in self._neighbours.present if p.state is State.MEMBER and p.group == self.group]
        if members:
            asked = [p for p in members if p.leader == p.node] or members
            to = asked[self._randrange(len(asked))].node
            self._do(Send(to, JoinRequest(self.group, own.node, own.name, self._wall)))

    def _pass_on(self, number: int, order: Order) -> None:
        if self._leads and not self._removed:
            self._changes.ask(self._settings.node, number, order)
        elif self._leader in self._neighbours:
            self._do(Send(self._leader, Request(number, order)))

    def _finish(self, number: int, error: str) -> None:
        self._do(Answered(number, error))

    def _unanswered(self) -> str:
        leader = self._neighbours.described(self._leader) if self._leader else "the group has no leader"
        return (
            f"not done within {self._settings.patience // 1000} s ({leader}); it may still come about: look at the "
            "members before asking again"
        )

    def _resolve(self, asked: str) -> tuple[str, str]:
        """Find the member that an operator means by id or by name; returns its id, or what is wrong."""
        members = self._configuration.members
        if asked in members:
            return asked, ""
        named = [node for node in members if self.name_of(node) == asked]
        if len(named) == 1:
            return named[0], ""
        if named:
            return asked, f"several members are called {asked}: say which by its id, {' or '.join(named)}"
        described = listed(f"{self.name_of(node)} ({node})" for node in members)
        return asked, f"{asked} is not in the group of {described}"

    def _introduce(self, node: str) -> None:
        self._sequence += 1
        presence = msgspec.structs.replace(self._presence(), sequence=self._sequence, time=self._wall)
        self._do(Send(node, presence))

    def _presence(self) -> Presence:
        return Presence(
            node=self._settings.node,
            name=self._settings.name,
            instance=self._instance,
            sequence=0,
            time=0,
            state=self.state,
            expect=self._settings.expect,
            links=self._neighbours.links,
            group=self.group,
            members=self._configuration.members or self._record.members,
            index=self._index,
            leader=self._leader,
        )

    def _do(self, action: Action) -> None:
        if isinstance(action, Answered) and self._tickets.pop(action.ticket, None) is None:
            return  # it was answered before
        self._actions.append(action)
