"""What a leader does about its group's members: takes in, promotes, replaces, removes, one change at a time.

Everything here is forgotten with the leadership and built anew by the next leader: joiners and members that pass on an
order repeat themselves until they see the effect.

Not for: what every member does (`Admission`), or how a change is made safe (`cluster.raft`).
"""

from collections.abc import Callable
from typing import Final

import msgspec

from cluster.formation.actions import Action, Answered, Dial, ProposeConfiguration, Send, TransferLeadership
from cluster.formation.bounds import clipped
from cluster.formation.messages import Add, Answer, JoinRequest, Order, Refusal, Remove, Transfer
from cluster.formation.neighbours import Neighbours, clock_objection
from cluster.raft import Change, ChangeKind, Configuration, ConfigurationChange

_ANSWERS_KEPT: Final = 256
_PATIENCE: Final = 3
"""After how many missed repetitions a joiner or an order is forgotten."""


class _Asked(msgspec.Struct):
    """An order that is being carried out."""

    order: Order
    heard: int
    """When it was last repeated."""


class Changes:
    """The leader's part. It acts only between `begin` and `end`."""

    def __init__(
        self,
        node: str,
        neighbours: Neighbours,
        alive: Callable[[str], bool],
        act: Callable[[Action], None],
        *,
        repeat: int,
        abandoned: int,
    ) -> None:
        """Act for `node` through `act`. `repeat` and `abandoned` are milliseconds, as in `AdmissionSettings`."""
        self._node = node
        self._neighbours = neighbours
        self._alive = alive
        self._act = act
        self._repeat = repeat
        self._abandoned = abandoned
        self._leads = False
        self._configuration = Configuration()
        self._under_way = False
        """A change was proposed, and is neither refused nor committed."""
        self._asks = False
        """A change was handed out, and consensus has not said yet whether it takes it."""
        self._retry = 0
        """After a refusal, nothing is proposed before this."""
        self._joiners: dict[str, int] = {}
        """Who asks to be let in, and when it last did."""
        self._orders: dict[tuple[str, int], _Asked] = {}
        self._answers: dict[tuple[str, int], str] = {}
        self._laggards: dict[str, int] = {}
        """Learners whose promotion was refused, and when it is asked for again."""
        self._promoting = ""
        self._commits = 0
        """How many configurations were committed."""
        self._asked_at = 0
        """How many were when the last change was handed out."""
        self._hand_over_at = 0
        """Before this, leadership is not handed over again for this node's removal."""
        self._handed_over = 0
        """How often it was: not every heir may be able to take over."""
        self._missing: dict[str, int] = {}
        """Learners that nobody hears, and since when."""
        self._departed: set[str] = set()
        """Nodes that say that they were removed: they take part in nothing any more, whoever lets them in again."""
        self._now = 0

    def begin(self, configuration: Configuration) -> None:
        """Begin to lead a group of this committed configuration."""
        self._leads = True
        self._configuration = configuration

    def end(self) -> None:
        """Lead no more: forget everything."""
        self._leads = self._under_way = self._asks = False
        self._retry = self._hand_over_at = 0
        self._joiners.clear()
        self._orders.clear()
        self._answers.clear()
        self._laggards.clear()
        self._missing.clear()
        self._departed.clear()

    def committed(self, configuration: Configuration) -> None:
        """Take note of a configuration that was committed."""
        self._configuration = configuration
        self._commits += 1
        for node in configuration.members:
            self._joiners.pop(node, None)  # or its removal would be followed by its return
        if not configuration.joint:
            self._under_way = False

    def proposed(self, error: str) -> None:
        """Take what consensus said to the change that was handed out last: "" when it took it."""
        self._asks = False
        if not self._leads:
            return
        if not error:
            # A group of one commits before it answers.
            self._under_way = self._configuration.joint or self._commits == self._asked_at
            return
        if self._promoting:
            self._laggards[self._promoting] = self._now + self._repeat
        self._retry = self._now + self._repeat // 5

    def transfer_refused(self, error: str) -> None:
        """Take consensus's refusal to hand over: nobody waits for it any more."""
        for origin, asked in list(self._orders.items()):
            if isinstance(asked.order, Transfer):
                self._answer(origin, error)

    # -- what is asked for --------------------------------------------------------------------------------------------

    def join(self, sender: str, request: JoinRequest, wall: int) -> None:
        """Take a node's request to be let in, from itself or from the member that passes it on."""
        node = request.node
        if node in self._configuration.members:
            return  # it will see that when it has the log
        if reason := self._objection(request, wall):
            self._joiners.pop(node, None)
            self._act(Send(node if node in self._neighbours else sender, Refusal(node, clipped(reason))))
            return
        self._joiners[node] = self._now

    def departed(self, node: str) -> None:
        """Take a node's word that it was removed."""
        if self._leads:
            self._departed.add(node)

    def ask(self, origin: str, number: int, order: Order) -> None:
        """Take an operator's order that came to the member `origin`; one that is repeated is carried out once."""
        key = (origin, number)
        if key in self._answers:
            self._answer(key, self._answers[key])
        elif key in self._orders:
            self._orders[key].heard = self._now
        else:
            self._orders[key] = _Asked(order, self._now)
            self._take_order(key, order)

    def tick(self, now: int) -> None:
        """Let time pass: forget who has stopped asking, and see who is missing."""
        self._now = now
        if not self._leads:
            return
        limit = now - _PATIENCE * self._repeat
        self._joiners = {node: heard for node, heard in self._joiners.items() if heard >= limit}
        self._orders = {
            key: asked for key, asked in self._orders.items() if asked.heard >= limit or key[0] == self._node
        }
        learners = self._configuration.learners
        self._missing = {node: self._missing.get(node, now) for node in learners if not self.hears(node)}
        self._laggards = {node: at for node, at in self._laggards.items() if node in learners}

    def go_on(self) -> None:
        """Propose what is to be done next, if nothing else is under way."""
        if not self._leads or self._asks or self._under_way or self._configuration.joint or self._now < self._retry:
            return
        self._promoting = ""
        steps = self._removal() or self._promotion() or self._addition() or self._clearance()
        if steps:
            self._asks = True
            self._asked_at = self._commits
            self._act(ProposeConfiguration(ConfigurationChange(steps)))

    def hears(self, node: str) -> bool:
        """Tell whether this node, or any member that it hears, has a link to `node`."""
        members = self._configuration.members
        return (
            node == self._node
            or self._alive(node)
            or any(node in presence.links for presence in self._neighbours.present if presence.node in members)
        )

    # -- inside -------------------------------------------------------------------------------------------------------

    def _objection(self, request: JoinRequest, wall: int) -> str:
        """Say why a node may not be let in; "" when it may."""
        described = f"{request.name} ({request.node})"
        if objection := clock_objection(described, request.time - wall):
            return f"{objection}. It is measured against {self._neighbours.described(self._node)}, the leader"
        for member in self._namesakes(request.node, request.name):
            if self.hears(member):
                return (
                    f"{described} is called as {member}, a member that is there: give it another --name, or stop that "
                    "one first if this is to take its place"
                )
        if request.node not in self._neighbours:
            return (
                f"{self._neighbours.described(self._node)}, the leader, has no link to {described} yet: can each reach "
                "the other's mesh address?"
            )
        return ""

    def _namesakes(self, node: str, name: str) -> list[str]:
        members = self._configuration.members
        return [other for other in members if other != node and self._neighbours.name_of(other) == name]

    def _take_order(self, key: tuple[str, int], order: Order) -> None:
        """Refuse an order, or begin to carry it out; a removal is proposed by `go_on`."""
        match order:
            case Remove(node, force):
                if error := self._removal_objection(node, force=force):
                    self._answer(key, error)
            case Transfer(node):
                if node == self._node:
                    self._answer(key, "")
                elif error := self._transfer_objection(node):
                    self._answer(key, error)
                else:
                    self._act(TransferLeadership(node))  # done when it leads, which the one who asked sees by itself
            case Add(host, port):
                self._act(Dial(host, port))
                self._answer(key, "")

    def _removal_objection(self, node: str, *, force: bool) -> str:
        configuration = self._configuration
        if node not in configuration.members:
            return f"{node} is not in the group of {self._listed()}"
        if configuration.members == (node,):
            return f"{node} is the last node of the group: to end the group, stop it and delete its data directory"
        if configuration.voters == (node,):
            return f"{node} is the only voter of the group of {self._listed()}: wait until another one has caught up"
        if node == self._node and not self._heirs():
            return f"{node} leads, and there is no other voter that is up to hand over to"
        left = [voter for voter in configuration.voters if voter != node]
        up = [voter for voter in left if self.hears(voter)]
        if node in configuration.voters and self.hears(node) and len(up) * 2 <= len(left) and not force:
            return (
                f"without {node} only {len(up)} of {len(left)} voters would be up, which is no majority, and the group "
                "would stand still: start the others first, or force it"
            )
        return ""

    def _transfer_objection(self, node: str) -> str:
        if node not in self._configuration.members:
            return f"{node} is not in the group of {self._listed()}"
        if node not in self._configuration.voters:
            return f"{node} has not caught up yet, so it cannot lead"
        if not self.hears(node):
            return f"{node} is down, so it cannot lead"
        return ""

    def _heirs(self) -> list[str]:
        return [voter for voter in self._configuration.voters if voter != self._node and self.hears(voter)]

    def _listed(self) -> str:
        return ", ".join(map(self._neighbours.described, self._configuration.members))

    def _removal(self) -> tuple[Change, ...]:
        for key, asked in list(self._orders.items()):
            if not isinstance(asked.order, Remove):
                continue
            node = asked.order.node
            if node not in self._configuration.members:
                self._answer(key, "")
            elif error := self._removal_objection(node, force=asked.order.force):
                self._answer(key, error)
            elif node == self._node:
                self._hand_over()
            else:
                return (Change(ChangeKind.REMOVE, node),)
        return ()

    def _hand_over(self) -> None:
        """Have another node lead, which then hears of the order to remove this one."""
        if self._now >= self._hand_over_at:
            self._hand_over_at = self._now + _PATIENCE * self._repeat
            heirs = self._heirs()
            self._handed_over += 1
            self._act(TransferLeadership(heirs[self._handed_over % len(heirs)]))

    def _promotion(self) -> tuple[Change, ...]:
        """Make a learner a voter, in the place of members of its name that nobody hears any more."""
        for node in self._configuration.learners:
            if node in self._departed or not self.hears(node) or self._laggards.get(node, 0) > self._now:
                continue
            namesakes = self._namesakes(node, self._neighbours.name_of(node))
            if any(map(self.hears, namesakes)):
                continue  # the one whose place it was to take has come back
            self._promoting = node
            return (Change(ChangeKind.PROMOTE, node), *(Change(ChangeKind.REMOVE, other) for other in namesakes))
        return ()

    def _addition(self) -> tuple[Change, ...]:
        for node in sorted(self._joiners):
            if node in self._configuration.members:
                del self._joiners[node]
            elif node in self._neighbours:
                return (Change(ChangeKind.ADD_LEARNER, node),)
        return ()

    def _clearance(self) -> tuple[Change, ...]:
        """Let go of a learner that has gone before it caught up, or thinks itself removed.

        It was removed before it had heard that it was let in, so it asked once more and was let in again.
        """
        for node in self._configuration.learners:
            if node in self._departed:
                return (Change(ChangeKind.REMOVE, node),)
        for node, since in self._missing.items():
            if self._now - since >= self._abandoned:
                return (Change(ChangeKind.REMOVE, node),)
        return ()

    def _answer(self, key: tuple[str, int], error: str) -> None:
        self._orders.pop(key, None)
        self._answers[key] = error
        while len(self._answers) > _ANSWERS_KEPT:
            del self._answers[next(iter(self._answers))]
        origin, number = key
        if origin == self._node:
            self._act(Answered(number, error))
        else:
            self._act(Send(origin, Answer(number, clipped(error))))
