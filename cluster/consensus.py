"""What a node's driver needs of consensus, whatever the size of the group.

A sans-IO conversation: the driver proposes, takes a `Ready` bundle, carries it out, and acknowledges. Nothing is
committed before it is durable where it has to be. Not for: an algorithm; `cluster.solo` is the group of one.
"""

from typing import Protocol

import msgspec

from cluster.log import Entry, HardState


class Position(msgspec.Struct, frozen=True, gc=False):
    """Where a proposal went. It is committed when the entry applied at `index` has this `term`; another term: lost."""

    index: int
    term: int


class Write(msgspec.Struct, frozen=True, gc=False):
    """One unit of work for the disk. Writes become durable in the order of `sequence`, each whole or not at all."""

    sequence: int
    entries: tuple[Entry, ...] = ()
    """Append these; entries already there at or after `entries[0].index` go first."""
    hard_state: HardState | None = None
    """Replace the hard state by this."""


class Ready(msgspec.Struct, frozen=True, gc=False):
    """Everything there is to do now."""

    write: Write | None = None
    """Make this durable, then `Consensus.persisted(write.sequence)`."""
    committed: tuple[Entry, ...] = ()
    """Apply these in order, then `Consensus.applied(index of the last)`."""


class Consensus(Protocol):
    """One node's part in agreeing on the log."""

    def propose(self, data: bytes) -> Position:
        """Append commands to the log."""

    def ready(self) -> Ready | None:
        """Take what there is to do now; None: nothing."""

    def persisted(self, sequence: int) -> None:
        """Acknowledge that the writes up to and including `sequence` are durable."""

    def applied(self, index: int) -> None:
        """Acknowledge that committed entries up to and including `index` are applied."""
