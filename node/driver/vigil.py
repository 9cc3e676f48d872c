"""Who is thought to be alive. The leader says NodeDown of a node that is silent too long, or known to be gone.

Being wrong costs a node its sessions, never the table its truth: what such a node says later is fenced, and it comes
back as a new incarnation. Not for: who leads (consensus has timeouts of its own).
"""

from collections.abc import Iterable, Iterator

from cluster.jobs import Node, NodeDown


class Vigil:
    """One node's watch over the others."""

    def __init__(self, name: str, timeout: float) -> None:
        """`timeout`: seconds of silence after which a node is declared down."""
        self._name = name
        self._timeout = timeout
        self._heard: dict[str, float] = {}
        self._gone: set[str] = set()
        self._declared: dict[str, int] = {}

    def heard(self, node: str, now: float) -> None:
        """Note a sign of life."""
        self._heard[node] = now

    def gone(self, node: str) -> None:
        """Note that a node's process is not there."""
        self._gone.add(node)

    def back(self, node: str, now: float) -> None:
        """Note that it is."""
        self._gone.discard(node)
        self._heard[node] = now

    def leaves_quorum(self, voters: tuple[str, ...]) -> bool:
        """Tell whether a majority of the voters may still be there."""
        return sum(voter not in self._gone for voter in voters) > len(voters) // 2

    def begin(self) -> None:
        """Begin to watch as a new leader: nobody has had reason to speak to this node before."""
        self._heard.clear()
        self._declared.clear()

    def declare(self, nodes: Iterable[Node], members: tuple[str, ...], now: float) -> Iterator[NodeDown]:
        """Give what the leader has to say of the nodes of the table; once of each incarnation."""
        for node in nodes:
            name = node.name
            if not node.up or name == self._name or self._declared.get(name) == node.incarnation:
                continue
            # One that was removed may go on talking for ever, but it is no part of the group any more.
            silent = now - self._heard.setdefault(name, now) > self._timeout
            if silent or name in self._gone or name not in members:
                self._declared[name] = node.incarnation
                yield NodeDown(name, node.incarnation)
