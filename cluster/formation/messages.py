"""What nodes say to one another about the group: plain data, and its bytes (one version byte, then msgpack).

Any of these may be lost, repeated, late or out of order; what matters is said again until it has had its effect. Not
for: framing and proof of identity, which belong to the mesh: the sender of a message is whoever the link is to.
"""

import enum
from typing import Annotated, Final

import msgspec

from cluster.formation.bounds import Count, Name, NodeId, Nodes, Text
from cluster.formation.errors import FormationMessageError
from cluster.formation.record import Proposal

WIRE_VERSION: Final = 1
"""Raised when a message changes in a way that an older node would misread."""
MAX_BYTES: Final = 1 << 20
"""No message is longer."""


class State(enum.IntEnum):
    """Where a node stands."""

    BLANK = 0
    """It has no group."""
    JOINING = 1
    """It has chosen a group for life, and was in none of its configurations yet."""
    MEMBER = 2
    """It is in the group's configuration, as far as it knows."""
    REMOVED = 3
    """It was in the group's configuration, and is not any more."""


class Presence(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """Say who the sender is and where it stands: at every new link, at every change, and now and then."""

    node: NodeId
    name: Name
    instance: Count
    """Random, one for each start of the process."""
    sequence: Count
    """Grows with every presence of the instance: an earlier one that comes later is passed over."""
    time: Count
    """The sender's clock, in milliseconds since the epoch."""
    state: State
    expect: Count
    """How many nodes the sender wants to found a group with, itself included."""
    links: Nodes = ()
    """The nodes it is linked to, sorted."""
    group: Name = ""
    """The group it belongs to, or joins."""
    members: Nodes = ()
    """Of its group, as of the entry `index`; sorted."""
    index: Count = 0
    leader: Name = ""
    """Who leads its group, as far as it knows."""
    accepted: Proposal | None = None
    """Blank: the proposal that it has accepted, durably. This is the acceptance itself, and after a restart the
    question what became of it."""
    sees: Name = ""
    """Blank: a group that it knows of."""


class Propose(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """Ask a blank node to accept the sender's proposal. The answer is a `Presence` with it, or `Decline`."""

    proposal: Proposal
    expect: Count


class Decline(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """Tell the proposer what speaks against its proposal, before or after it was accepted."""

    proposal: NodeId
    reason: Text


class Withdrawn(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """Tell, as its proposer, that a proposal never was and never will be decided: it binds nobody any more."""

    proposal: NodeId


class JoinRequest(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """Ask to be taken into the group; a member that does not lead passes it on to the leader as it is."""

    group: NodeId
    node: NodeId
    """Who asks; not always the sender."""
    name: Name
    time: Count
    """Its clock, in milliseconds since the epoch."""


class Refusal(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """Tell a node why it is not taken in; by the way of its request."""

    node: NodeId
    reason: Text


class Remove(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """Take a node out of the group."""

    node: NodeId
    """Its id, or its name where only one member has that."""
    force: bool = False
    """Even if no majority of live nodes is left."""


class Transfer(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """Hand leadership to a node."""

    node: NodeId
    """Its id, or its name where only one member has that."""


class Add(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """Look for a blank node at a mesh address. It joins by itself once it is found."""

    host: NodeId
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)]


Order = Remove | Transfer | Add


class Request(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """Pass an operator's order on to the leader; repeated until it is answered."""

    number: Count
    """The sender's own, never used twice."""
    order: Order


class Answer(msgspec.Struct, frozen=True, array_like=True, tag=8):
    """Tell what became of a `Request`."""

    number: Count
    error: Text
    """Empty: it is done."""


Message = Presence | Propose | Decline | Withdrawn | JoinRequest | Refusal | Request | Answer

_PREFIX: Final = bytes((WIRE_VERSION,))
_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final[msgspec.msgpack.Decoder[Message]] = msgspec.msgpack.Decoder(Message)


def encode(message: Message) -> bytes:
    """Return the bytes of a message."""
    return _PREFIX + _encoder.encode(message)


def decode(data: bytes | bytearray | memoryview) -> Message:
    """Read one message; raise `FormationMessageError` for another version, an unknown kind, nonsense or damage."""
    view = memoryview(data)
    if not view or len(view) > MAX_BYTES:
        raise FormationMessageError(f"a formation message of {len(view)} bytes")
    if view[0] != WIRE_VERSION:
        raise FormationMessageError(f"a formation message of version {view[0]}; this node speaks {WIRE_VERSION}")
    try:
        return _decoder.decode(view[1:])
    except (ValueError, RecursionError) as error:
        raise FormationMessageError(f"not a formation message that this node knows: {error}") from error
