"""The other nodes, as the driver and the gateway speak to them: every message of the mesh begins with its kind.

What consensus, batches and reports say concerns one group: it is heard only from nodes that are known to be of this
node's, and only once this node has one. Not for: links (`cluster.mesh`), or what any message brings about.
"""

import enum
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import msgspec
import structlog

from cluster.formation.errors import FormationMessageError
from cluster.formation.messages import Message as FormationMessage
from cluster.formation.messages import decode as decode_formation
from cluster.formation.messages import encode as encode_formation
from cluster.jobs import Batch
from cluster.mesh import Lane, Mesh, Peer
from cluster.raft import Message, MessageError
from cluster.raft import decode as decode_consensus
from cluster.raft import encode as encode_consensus
from cluster.raft.messages import Append, SnapshotChunk
from node.driver.gathering import MAX_BATCH, Weighed
from node.relay import Parcel

log = structlog.get_logger()


class Kind(enum.IntEnum):
    """What a message of the mesh is; its first byte."""

    CONSENSUS = 0
    BATCHES = 1
    PARCEL = 2
    FORMATION = 3


LONG: Final = 32 << 10
"""Bytes of entries from which on they go apart from what must not wait."""
MAX_BATCHES: Final = MAX_BATCH + 64
"""Bytes of batches in one message, at the most (`node.driver.sending`)."""

_CONSENSUS: Final = bytes((Kind.CONSENSUS,))
_BATCHES: Final = bytes((Kind.BATCHES,))
_PARCEL: Final = bytes((Kind.PARCEL,))
_FORMATION: Final = bytes((Kind.FORMATION,))

_encoder: Final = msgspec.msgpack.Encoder()
_batches: Final = msgspec.msgpack.Decoder(list[msgspec.Raw])
_batch: Final = msgspec.msgpack.Decoder(Batch)
_parcel: Final[msgspec.msgpack.Decoder[Parcel]] = msgspec.msgpack.Decoder(Parcel)


class Nobody:
    """The peers of a node that stays alone."""

    def send(self, message: Message) -> None:
        """Never called: a group of one has nobody to talk to."""
        raise AssertionError(message)

    def forward(self, leader: str, batches: Sequence[Batch]) -> bool:
        """Never called, likewise."""
        raise AssertionError((leader, batches))

    def busy(self, node: str) -> bool:
        """Never called, likewise."""
        raise AssertionError(node)

    def parcel(self, node: str, parcel: Parcel) -> bool:
        """Never called, likewise."""
        raise AssertionError((node, parcel))


class FormationSide(Protocol):
    """Who sees to the founding of the group, and to its members."""

    def linked(self, node: str) -> None:
        """Take note of a new link."""

    def unlinked(self, node: str) -> None:
        """Take note of a lost one."""

    def received(self, node: str, message: FormationMessage) -> None:
        """Take a message."""

    def comrade(self, node: str) -> bool:
        """Tell whether a node is known to be of this node's group."""


class GroupSide(Protocol):
    """This node as a member of its group."""

    def linked(self, node: str, process: str) -> None:
        """Take note of a new link to a process of a node."""

    def ended(self, node: str, process: str, *, goodbye: bool) -> None:
        """Take note of proof that a process of a node has ended; `goodbye`: it said so itself."""

    def unreachable(self, node: str) -> None:
        """Take note that a node may have ended."""

    def consensus(self, message: Message) -> None:
        """Take a message of consensus."""

    def batches(self, node: str, batches: list[Weighed]) -> None:
        """Take batches for the leader."""

    def parcel(self, node: str, parcel: Parcel) -> None:
        """Take reports, or the receipt for some."""


class Peers:
    """The other nodes. `mesh`, `formation` and `group` are set as they come into being."""

    def __init__(self) -> None:
        self.mesh: Mesh
        self.formation: FormationSide
        self.group: GroupSide | None = None

    # -- what this node says ------------------------------------------------------------------------------------------

    def send(self, message: Message) -> None:
        """Send a message of consensus to the node that it names; it may get lost."""
        data = encode_consensus(message, _CONSENSUS)
        kind = type(message)
        if kind is SnapshotChunk:
            self.mesh.send(message.to, Lane.SNAPSHOTS, data)
        elif kind is Append:
            self._send_entries(message.to, data)
        else:
            self.mesh.send(message.to, Lane.CONSENSUS, data)

    def _send_entries(self, node: str, data: bytes | bytearray) -> bool:
        """Send entries, or what is to become some, in their order; heartbeats and votes pass those that are long."""
        mesh = self.mesh
        behind = len(data) > LONG or mesh.waiting(node, Lane.ENTRIES)
        return mesh.send(node, Lane.ENTRIES if behind else Lane.CONSENSUS, data)

    def forward(self, leader: str, batches: Sequence[Batch]) -> bool:
        """Send this node's batches to the leader; tell whether they are on their way, as far as can be known."""
        data = bytearray(_BATCHES)
        _encoder.encode_into(batches, data, -1)
        return self._send_entries(leader, data)

    def busy(self, node: str) -> bool:
        """Tell whether entries for a node still wait here."""
        return self.mesh.waiting(node, Lane.ENTRIES) > 0

    def parcel(self, node: str, parcel: Parcel) -> bool:
        """Send reports, or a receipt; tell whether they are on their way."""
        return self.mesh.send(node, Lane.REPORTS, _PARCEL + _encoder.encode(parcel))

    def tell(self, node: str, message: FormationMessage) -> None:
        """Send a message about the group's members; it may get lost."""
        self.mesh.send(node, Lane.CONSENSUS, _FORMATION + encode_formation(message))

    # -- what others say (`cluster.mesh.MeshEvents`) ------------------------------------------------------------------

    def link_up(self, peer: Peer) -> None:
        """Take note of a new link."""
        node = peer.introduction.node
        self.formation.linked(node)
        if self.group is not None:
            self.group.linked(node, peer.introduction.instance)

    def link_down(self, node: str) -> None:
        """Take note of a lost one."""
        self.formation.unlinked(node)

    def ended(self, node: str, instance: str, *, goodbye: bool) -> None:
        """Take note of proof that a process of a node has ended; `goodbye`: it said so itself."""
        if self.group is not None:
            self.group.ended(node, instance, goodbye=goodbye)

    def unreachable(self, node: str) -> None:
        """Take note that a node may have ended."""
        if self.group is not None:
            self.group.unreachable(node)

    def received(self, node: str, lane: Lane, data: bytes) -> None:  # noqa: ARG002 - the kind says where it belongs
        """Take one message. One that cannot be read is the end of the link: its sender is not of our kind."""
        kind = data[0] if data else -1
        try:
            if kind == Kind.FORMATION:
                self.formation.received(node, decode_formation(memoryview(data)[1:]))
            elif kind in _GROUP:
                if self.group is not None and self.formation.comrade(node):
                    _GROUP[kind](self.group, node, data)
            else:
                self._misunderstood(node, f"a message of kind {kind}, unknown to this version")
        except (MessageError, FormationMessageError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            self._misunderstood(node, str(error))

    def _misunderstood(self, node: str, error: str) -> None:
        log.warning("peer_misunderstood", node=node, error=error)
        self.mesh.refuse(node, f"a message could not be read: {error}")


def _consensus(group: GroupSide, node: str, data: bytes) -> None:
    message = decode_consensus(memoryview(data)[1:])
    if message.sender != node:
        raise MessageError(f"a message in the name of {message.sender}")
    group.consensus(message)


def _take_batches(group: GroupSide, node: str, data: bytes) -> None:
    if len(data) > MAX_BATCHES:
        raise MessageError(f"batches of {len(data)} bytes, where {MAX_BATCHES} are the limit")
    weighed = [(_batch.decode(raw), len(memoryview(raw))) for raw in _batches.decode(memoryview(data)[1:])]
    if any(batch.node != node or batch.first < 1 or not batch.commands for batch, _ in weighed):
        raise MessageError("a batch in another node's name, or without commands")
    group.batches(node, weighed)


def _take_parcel(group: GroupSide, node: str, data: bytes) -> None:
    group.parcel(node, _parcel.decode(memoryview(data)[1:]))


_GROUP: Final[dict[int, Callable[[GroupSide, str, bytes], None]]] = {
    Kind.CONSENSUS: _consensus,
    Kind.BATCHES: _take_batches,
    Kind.PARCEL: _take_parcel,
}
