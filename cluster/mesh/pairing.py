"""Which of several connections between two nodes is the link.

Of two nodes the one with the lower id is the *arbiter*: it alone says which connection is taken, and the other obeys.
So two that dial each other at the same moment keep the one connection that the arbiter proves first, and there is no
moment at which each drops the other's. A node that has lost a link which the arbiter still believes in says so in its
proof (`Standing`), and the arbiter takes the new connection; else both would wait until the arbiter notices.

Sans-IO. Not for: who may come in at all (`cluster.mesh.handshake`).
"""

from collections.abc import Callable
from typing import Final

import msgspec

from cluster.mesh.handshake import Refused, Standing, Taken
from cluster.mesh.peer import Introduction

_COPIED: Final = (
    "another process with the id {} is linked; if this does not pass at once, the data directory of that node was"
    " copied: give the copy an empty one"
)


class _Pair(msgspec.Struct):
    number: int = 0
    instance: str = ""
    live: bool = False


class Pairing:
    """The links of one node, by the node at the other end."""

    def __init__(self, own: Introduction, new_number: Callable[[], int]) -> None:
        """Begin without links; `new_number` makes the numbers of links, none of them twice, none of them 0."""
        self._own = own
        self._new_number: Final = new_number
        self._pairs: dict[str, _Pair] = {}

    def arbiter(self, node: str) -> bool:
        """Tell whether this node is the one that decides, of itself and `node`."""
        return self._own.node < node

    def standing(self, node: str) -> Standing:
        """Tell what this node knows of its links with `node`, as it is put in a proof."""
        pair = self._pairs.get(node)
        return Standing() if pair is None else Standing(pair.number, pair.live, pair.instance)

    def linked(self, node: str) -> bool:
        """Tell whether there is a link."""
        pair = self._pairs.get(node)
        return pair is not None and pair.live

    def contested(self, other: Introduction) -> bool:
        """Tell whether another process with the same id is linked: a copy, or the same node before its restart."""
        pair = self._pairs.get(other.node)
        return pair is not None and pair.live and pair.instance != other.instance

    def decide(self, other: Introduction, standing: Standing) -> Taken | Refused:
        """Decide, as the arbiter, about a connection with `other`. The caller drops the link that it replaces."""
        if self.contested(other):
            return Refused(_COPIED.format(other.node))
        if standing.live and standing.instance != self._own.instance:
            return Refused(_COPIED.format(self._own.node))
        pair = self._pairs.get(other.node)
        if pair is not None and pair.live and (standing.live or standing.last != pair.number):
            # It has the link, or has yet to hear of it.
            return Refused("there is a link already", duplicate=True)
        return Taken(self._new_number())

    def taken(self, other: Introduction, number: int) -> None:
        """Take note that the connection with this number is the link."""
        self._pairs[other.node] = _Pair(number, other.instance, live=True)

    def lost(self, node: str) -> None:
        """Take note that there is no link any more."""
        self._pairs[node].live = False

    def forget(self, node: str) -> None:
        """Drop what is known of a node that is not linked."""
        if not self.linked(node):
            self._pairs.pop(node, None)
