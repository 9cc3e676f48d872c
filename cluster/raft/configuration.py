"""Who is in the group: the configuration that membership entries and snapshots carry.

A node always uses the latest configuration in its log, committed or not (Raft paper, section 6), so there is nothing to
"apply": appending the entry puts it into force, truncating the entry takes it back. Not for: changing one
(`membership`) or counting votes in one (`quorum`).
"""

from typing import Final

import msgspec

from cluster.raft.errors import UnknownEntryError

CONFIGURATION_VERSION: Final = 1


class Configuration(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The members of the group. Every tuple is sorted and without repeats."""

    voters: tuple[str, ...] = ()
    """Those whose votes and acknowledgements count (in a joint configuration: C-new)."""
    learners: tuple[str, ...] = ()
    """Those that are sent the log and do not count. While joint, a node being demoted is here and in `outgoing`."""
    outgoing: tuple[str, ...] = ()
    """The voters of C-old while the configuration is joint, else empty: then majorities of both are needed."""

    @property
    def joint(self) -> bool:
        """Tell whether this is C-old,new, between two configurations."""
        return bool(self.outgoing)

    @property
    def sound(self) -> bool:
        """Tell whether this can be a configuration: somebody votes, nobody both votes and learns, all is in order."""
        parts = (self.voters, self.learners, self.outgoing)
        return (
            bool(self.voters)
            and all(all(part) and list(part) == sorted(set(part)) for part in parts)
            and set(self.voters).isdisjoint(self.learners)
        )

    @property
    def members(self) -> tuple[str, ...]:
        """Return everyone who is sent the log, sorted."""
        return tuple(sorted({*self.voters, *self.learners, *self.outgoing}))

    def votes(self, node: str) -> bool:
        """Tell whether `node` counts in elections and commits, in either half."""
        return node in self.voters or node in self.outgoing


class SnapshotMeta(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The point of the log a snapshot stands for: everything up to and including `index`."""

    index: int = 0
    term: int = 0
    """The term of the entry at `index`."""
    configuration: Configuration = Configuration()
    """The latest configuration at or before `index`."""


def bootstrap(*voters: str) -> SnapshotMeta:
    """Return the beginning that all first members of a new group start from.

    It stands at index 1 in term 1, not at 0: a node that joins later is at 0, so it is always sent a snapshot first,
    and with it the configuration, which is in no log. A node at 0 is blank and grants no vote.
    """
    return SnapshotMeta(1, 1, Configuration(tuple(sorted(set(voters)))))


def encode_configuration(configuration: Configuration) -> bytes:
    """Return the data of a `CONFIGURATION` entry."""
    return bytes((CONFIGURATION_VERSION,)) + msgspec.msgpack.encode(configuration)


def decode_configuration(data: bytes) -> Configuration:
    """Read the data of a `CONFIGURATION` entry; raise `UnknownEntryError` for any other version or damage."""
    if not data or data[0] != CONFIGURATION_VERSION:
        raise UnknownEntryError(
            f"configuration entry of version {data[:1].hex() or 'none'}: this node is too old for it"
        )
    try:
        configuration = msgspec.msgpack.decode(memoryview(data)[1:], type=Configuration)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UnknownEntryError(f"configuration entry cannot be read: {error}") from error
    if not configuration.sound:
        raise UnknownEntryError(f"configuration entry makes no sense: {configuration}")
    return configuration
