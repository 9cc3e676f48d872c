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

    When more than one voter comes or goes it is made by joint consensus (C-old,new is committed, then the leader
    leaves it by itself); otherwise it is one server's change, in one entry.
    """

    changes: tuple[Change, ...]
    joint: bool = False
    """Use joint consensus even where one entry would do."""


def enter(current: Configuration, change: ConfigurationChange) -> Configuration:
    """Return the configuration to enter into the log for `change`: the new one, or C-old,new on the way to it.

    One server at a time is safe without the joint step because any two majorities then overlap (dissertation, section
    4.1). Raise `ConfigurationRefusedError` when the change makes no sense here.
    """
    if current.joint:
        raise ConfigurationRefusedError("the configuration is joint: the change before this one is not complete")
    voters, learners = set(current.voters), set(current.learners)
    nodes = [step.node for step in change.changes]
    if not nodes:
        raise ConfigurationRefusedError("the change is empty")
    if len(set(nodes)) != len(nodes):
        raise ConfigurationRefusedError("a node can take only one step in a change")
    for step in change.changes:
        _take(step, voters, learners)
    if not voters:
        raise ConfigurationRefusedError("the change would leave no voter")
    crossing = voters.symmetric_difference(current.voters)
    joint = change.joint or len(crossing) > 1
    return Configuration(
        voters=tuple(sorted(voters)),
        learners=tuple(sorted(learners)),
        outgoing=current.voters if joint else (),
    )


def leave(current: Configuration) -> Configuration:
    """Return C-new, from C-old,new."""
    return Configuration(current.voters, current.learners)


def _take(step: Change, voters: set[str], learners: set[str]) -> None:
    node = step.node
    if not node:
        raise ConfigurationRefusedError("a node's id must not be empty")
    match step.kind:
        case ChangeKind.ADD_LEARNER:
            if node in voters or node in learners:
                raise ConfigurationRefusedError(f"{node} is in the group already")
            learners.add(node)
        case ChangeKind.PROMOTE:
            if node not in learners:
                raise ConfigurationRefusedError(f"{node} is not a learner: a voter is first added as a learner")
            learners.remove(node)
            voters.add(node)
        case ChangeKind.DEMOTE:
            if node not in voters:
                raise ConfigurationRefusedError(f"{node} is not a voter")
            voters.remove(node)
            learners.add(node)
        case ChangeKind.REMOVE:
            if node not in voters and node not in learners:
                raise ConfigurationRefusedError(f"{node} is not in the group")
            voters.discard(node)
            learners.discard(node)
