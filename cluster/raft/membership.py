"""Changes of membership: from one configuration to the next.

Pure functions; who may propose a change, and when, is the leader's business (`leadership`). Not for: counting votes.
"""

import enum

import msgspec

from cluster.raft.configuration import Configuration
from cluster.raft.errors import ConfigurationRefusedError


class ChangeKind(enum.IntEnum):
    """One step that a member can take. A voter comes into the group as a learner, always: see `PROMOTE`."""

    ADD_LEARNER = 1
    """Send the log to a node that is not in the group."""
    PROMOTE = 2
    """Make a learner a voter. The leader refuses until it has caught up (dissertation, section 4.2.1)."""
    DEMOTE = 3
    """Make a voter a learner."""
    REMOVE = 4
    """Take a voter or a learner out of the group."""


class Change(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One member's step."""

    kind: ChangeKind
    node: str


class ConfigurationChange(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One change of the configuration: one or more members' steps, all or nothing.

    When more than one voter comes or goes it is made by joint consensus (C-old,new is committed, then the leader leaves it
    by itself); otherwise it is one server's change, in one entry.
    """

    changes: tuple[Change, ...]
    joint: bool = False
    """Use joint consensus even where one entry would do."""
