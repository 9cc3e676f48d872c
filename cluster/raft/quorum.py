"""Majorities, plain and joint: what a configuration's voters have decided.

A joint configuration decides only what both of its halves decide (Raft paper, section 6). Learners never count.
"""

import enum
from collections.abc import Container, Mapping, Sequence

from cluster.raft.configuration import Configuration


class Outcome(enum.Enum):
    """How an election stands."""

    PENDING = "pending"
    WON = "won"
    LOST = "lost"


def reached(configuration: Configuration, values: Mapping[str, int]) -> int:
    """Return the highest value that a quorum has reached; a voter without a value counts as 0.

    With acknowledged indexes for values it is the index that is on a quorum's disks (paper, Figure 2, last rule).
    """
    value = _majority_reached(configuration.voters, values)
    if configuration.outgoing:
        return min(value, _majority_reached(configuration.outgoing, values))
    return value


def tally(configuration: Configuration, votes: Mapping[str, bool]) -> Outcome:
    """Return how the election stands after `votes`; votes of others than the voters are not counted."""
    outcome = _majority_tally(configuration.voters, votes)
    if not configuration.outgoing:
        return outcome
    other = _majority_tally(configuration.outgoing, votes)
    if outcome is other:
        return outcome
    return Outcome.LOST if Outcome.LOST in (outcome, other) else Outcome.PENDING


def is_quorum(configuration: Configuration, nodes: Container[str]) -> bool:
    """Tell whether `nodes` contain a quorum."""
    return _has_majority(configuration.voters, nodes) and (
        not configuration.outgoing or _has_majority(configuration.outgoing, nodes)
    )


def _majority_reached(voters: Sequence[str], values: Mapping[str, int]) -> int:
    count = len(voters)
    if count == 0:
        return 0  # nobody can have decided anything
    return sorted([values.get(voter, 0) for voter in voters])[(count - 1) // 2]


def _majority_tally(voters: Sequence[str], votes: Mapping[str, bool]) -> Outcome:
    needed = len(voters) // 2 + 1
    granted = sum(1 for voter in voters if votes.get(voter) is True)
    refused = sum(1 for voter in voters if votes.get(voter) is False)
    if granted >= needed:
        return Outcome.WON
    return Outcome.LOST if len(voters) - refused < needed else Outcome.PENDING


def _has_majority(voters: Sequence[str], nodes: Container[str]) -> bool:
    return sum(1 for voter in voters if voter in nodes) > len(voters) // 2
