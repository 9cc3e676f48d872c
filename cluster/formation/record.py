"""What a node must not forget of how its group came to be: one record, which is one note on its disk.

    Free ──▶ Accepted ──▶ Founder        Free ──▶ Founder (the proposer)        Free ──▶ Joiner ──▶ Joiner, admitted
      ◀─────────┘

`Founder` and `Joiner` are for life: a node belongs to one group, and leaves it by losing its data directory. Not for:
the group's members as they are now, which are in the log.
"""

from typing import Final

import msgspec

from cluster.formation.bounds import Count, Name, NodeId, Nodes
from cluster.formation.errors import FormationRecordError

RECORD_VERSION: Final = 1


class Proposal(msgspec.Struct, frozen=True, array_like=True):
    """A first configuration, put forward by one of its members; never twice under one id."""

    id: NodeId
    """Random. When the group is founded, this is its id."""
    proposer: NodeId
    members: Nodes
    """Sorted, the proposer among them."""

    @property
    def sound(self) -> bool:
        """Tell whether this can be a proposal."""
        return self.proposer in self.members and list(self.members) == sorted(set(self.members))


class Free(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """The node belongs to no group and has promised nothing."""


class Accepted(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """The node has accepted a proposal and must hear what became of it before it does anything else."""

    proposal: Proposal


class Founder(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """The node is one of those that founded the group; it begins with `members` as the first configuration."""

    group: NodeId
    members: Nodes


class Joiner(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """The node joins, or has joined, a group that others had founded; it begins blank and is sent a snapshot."""

    group: NodeId
    members: Nodes
    """Who was in the group when it was found: for messages."""
    admitted: Count = 0
    """The entry with the first committed configuration that the node saw itself in; 0 as long as there was none. Not to
    be in a later one means to be removed; after a restart, earlier ones pass by once more."""


Record = Free | Accepted | Founder | Joiner

_decoder: Final[msgspec.msgpack.Decoder[Record]] = msgspec.msgpack.Decoder(Record)


def encode_record(record: Record) -> bytes:
    """Return the bytes of a record."""
    return bytes((RECORD_VERSION,)) + msgspec.msgpack.encode(record)


def decode_record(data: bytes | None) -> Record:
    """Read a record; None, where nothing was ever noted, is `Free`. Raise `FormationRecordError`."""
    if data is None:
        return Free()
    if data[:1] != bytes((RECORD_VERSION,)):
        raise FormationRecordError(
            f"the record of this node's group has version {data[:1].hex() or 'none'}, this gearmesh reads version "
            f"{RECORD_VERSION}: run the version that wrote it"
        )
    try:
        return _decoder.decode(memoryview(data)[1:])
    except (ValueError, RecursionError) as error:
        raise FormationRecordError(f"the record of this node's group cannot be read: {error}") from error


def group_of(record: Record) -> Name:
    """Return the group that a record binds its node to for life, "" when there is none."""
    return record.group if isinstance(record, Founder | Joiner) else ""
