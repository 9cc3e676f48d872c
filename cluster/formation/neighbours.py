"""Whom a node is linked to, and what each of them said last of itself.

Not for: judging it (`candidacy`, `admission`).
"""

from typing import Final

from cluster.formation.messages import Presence, State

MAX_CLOCK_DIFFERENCE: Final = 30_000
"""Milliseconds that two clocks may differ: deadlines of jobs are moments of the leader's clock."""


class Neighbours:
    """The nodes at the other ends of this node's links."""

    def __init__(self, node: str, name: str) -> None:
        """Begin without any, as the node of this id and name."""
        self._linked: dict[str, Presence | None] = {}
        self._clocks: dict[str, int] = {}
        self.names: dict[str, str] = {node: name}
        """The last known name of every node that was ever heard."""
        self.groups: dict[str, Presence] = {}
        """The groups that were ever seen, by id, with the last presence of one of their nodes."""

    @property
    def links(self) -> tuple[str, ...]:
        """The linked nodes, sorted."""
        return tuple(sorted(self._linked))

    @property
    def unheard(self) -> tuple[str, ...]:
        """Those of them that have not said anything yet."""
        return tuple(node for node in self.links if self._linked[node] is None)

    @property
    def present(self) -> tuple[Presence, ...]:
        """What the others have said last, by the order of their ids."""
        return tuple(presence for node in self.links if (presence := self._linked[node]) is not None)

    def __contains__(self, node: object) -> bool:
        return node in self._linked

    def get(self, node: str) -> Presence | None:
        """Give what a node said last, if it is linked and has."""
        return self._linked.get(node)

    def name_of(self, node: str) -> str:
        """Give a node's name: the last that it was known by, or the one that its id was made with."""
        return self.names.get(node) or node.rpartition("-")[0] or node

    def described(self, node: str) -> str:
        """Give a node's name and id for a message."""
        return f"{self.name_of(node)} ({node})"

    def link(self, node: str) -> None:
        """Begin a link: whatever was said over an earlier one may have been another process."""
        self._linked[node] = None
        self._clocks.pop(node, None)

    def unlink(self, node: str) -> None:
        """End a link."""
        self._linked.pop(node, None)

    def hear(self, sender: str, presence: Presence, wall: int) -> bool:
        """Take what a linked node says of itself, at `wall` by this node's clock; False when it is old or nonsense."""
        if sender not in self._linked or presence.node != sender:
            return False
        last = self._linked[sender]
        if last is not None and last.instance == presence.instance and last.sequence >= presence.sequence:
            return False
        self._linked[sender] = presence
        self._clocks[sender] = presence.time - wall
        self.names[sender] = presence.name
        if presence.group:
            self.groups[presence.group] = presence
        return True

    def clock_difference(self, node: str) -> int:
        """Give by how many milliseconds a node's clock was ahead of this one's when it was last heard."""
        return self._clocks.get(node, 0)

    def blank(self) -> tuple[Presence, ...]:
        """Give what the linked nodes without a group have said."""
        return tuple(presence for presence in self.present if presence.state is State.BLANK)


def namesakes(name: str, *nodes: str) -> str:
    """Say that nodes have one name."""
    return f"{' and '.join(nodes)} are both called {name}: give each node a --name of its own"


def clock_objection(name: str, difference: int) -> str:
    """Say what is wrong with a clock that is `difference` milliseconds ahead of this node's; "" when nothing is."""
    if abs(difference) <= MAX_CLOCK_DIFFERENCE:
        return ""
    seconds = abs(difference) // 1000
    return (
        f"the clock of {name} is {seconds} s {'ahead of' if difference > 0 else 'behind'} this node's, and may differ "
        f"by {MAX_CLOCK_DIFFERENCE // 1000} s at the most: set both by NTP"
    )
