"""What one node knows of another, and what is reported about the links between them.

Plain data. Not for: how links come about (`cluster.mesh.mesh`), or what the bytes on them mean.
"""

import enum
from typing import Annotated, Protocol

import msgspec


class Lane(enum.IntEnum):
    """Order is kept within a lane; a big message of one lane never holds up another lane."""

    CONSENSUS = 0
    REPORTS = 1
    SNAPSHOTS = 2
    ENTRIES = 3
    """What consensus has to say at length, so that its heartbeats pass it."""


Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]


class Introduction(msgspec.Struct, frozen=True):
    """Who a node says it is. It is believed after the proof of the cluster's secret, or at once without a secret."""

    node: str
    """Id of the node, made with its data directory."""
    name: str
    cluster: str
    port: Port
    """The port its mesh listens on."""
    instance: str
    """Random, new with each start of the process."""
    version: str
    """Of gearmesh, for people to read."""


class Address(msgspec.Struct, frozen=True):
    """Where a node's mesh listens: an IP address or a name, and a TCP port."""

    host: str
    port: Port

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Peer(msgspec.Struct, frozen=True):
    """A node at the other end of a link."""

    introduction: Introduction
    address: Address
    """Where it can be dialled: what it advertises, or else its host as seen here."""
    dialled: bool
    """Whether this node dialled."""
    since: float
    """When the link came up, in seconds of the event loop's clock."""
    seen: Address | None = None
    """Where it was dialled; if it dialled, its host, and the port that it listens on."""


class MeshEvents(Protocol):
    """What a mesh tells its owner, always from the event loop and never from within a call of `Mesh`."""

    def link_up(self, peer: Peer) -> None:
        """Take note of a new link; from now on messages can be sent and come in."""

    def link_down(self, node: str) -> None:
        """Take note of a lost link. Messages of the last moments may be lost in both directions."""

    def ended(self, node: str, instance: str, *, goodbye: bool) -> None:
        """Take note of proof that this process of the node has ended; at most once for each lost link, after it.

        `goodbye`: it said so itself.
        """

    def unreachable(self, node: str) -> None:
        """Take note that the node may have ended.

        Connections are refused where it listened, or its host has closed the liveness connection and the link is lost.
        """

    def received(self, node: str, lane: Lane, data: bytes) -> None:
        """Take one message. The messages that came together are handed over in a row."""
