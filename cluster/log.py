"""The plain data that consensus and the disk share: log entries and the hard state.

Not for: deciding anything. `cluster.raft` decides what enters the log, `cluster.storage` keeps it, the node's driver
carries it between the two. All three speak these types.
"""

import enum
from typing import Final

import msgspec

NO_VOTE: Final = ""


class EntryKind(enum.IntEnum):
    """What an entry's data means. A kind that a node does not know stops that node: it is never skipped."""

    COMMANDS = 1
    """Commands for the job table, encoded by `cluster.jobs`."""
    BARRIER = 2
    """Empty: the entry of its own with which a leader opens its term (Raft dissertation, section 6.4)."""
    CONFIGURATION = 3
    """A configuration of the cluster's membership, encoded by `cluster.raft`."""


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One entry of the replicated log."""

    index: int
    """Position in the log; the first entry has index 1."""
    term: int
    """The leader's term in which the entry was created."""
    kind: EntryKind
    data: bytes


class HardState(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a node must have on disk before it answers (Raft paper, Figure 2, "persistent state on all servers")."""

    term: int = 0
    """The latest term this node has seen."""
    vote: str = NO_VOTE
    """The node this one voted for in `term`, or `NO_VOTE`."""
