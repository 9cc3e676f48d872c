"""Who would found a group, and what stands in the way: one rule for proposer and acceptors.

The founders are the N lowest ids of all the blank nodes in sight, this one included. Because a node that is linked to a
lower one can only be in a group with it, two nodes that see each other never found two groups. For the same reason
nobody is passed over: as long as a node in sight cannot be part of it, for whatever reason, nothing is founded.

Not for: promising (`forming`).
"""

from collections.abc import Iterable

import msgspec

from cluster.formation.neighbours import Neighbours, clock_objection, namesakes
from cluster.formation.record import Proposal


class Candidate(msgspec.Struct, frozen=True):
    """Who this node is, as a founder."""

    node: str
    name: str
    expect: int
    """How many nodes are to found the group."""


def founders(neighbours: Neighbours, candidate: Candidate) -> tuple[str, ...]:
    """Give the nodes that would found a group now, sorted; fewer than are expected when more are not in sight."""
    return tuple(sorted((candidate.node, *(other.node for other in neighbours.blank())))[: candidate.expect])


def obstacle(neighbours: Neighbours, candidate: Candidate, proposal: Proposal | None = None) -> str:
    """Say why this node cannot take part in founding a group now, or not by `proposal`; "" when it can."""
    return (
        _group_in_sight(neighbours)
        or _unlike(neighbours, candidate)
        or _bound_elsewhere(neighbours, candidate, proposal)
        or _too_few(neighbours, candidate)
        or _waiting_for_another(neighbours, candidate, proposal)
    )


def unlinked(neighbours: Neighbours, candidate: Candidate, members: Iterable[str]) -> str:
    """Say which of `members` are not linked to one another; "" when all are."""
    for node in members:
        presence = neighbours.get(node)
        if node == candidate.node:
            continue
        for other in members:
            if other != node and (presence is None or other not in presence.links):
                pair = f"{neighbours.described(node)} has no link to {neighbours.described(other)}"
                return f"{pair}: can each reach the other's mesh address?"
    return ""


def listed(names: Iterable[str]) -> str:
    """Write names for a message."""
    return ", ".join(names) or "nobody"


def _group_in_sight(neighbours: Neighbours) -> str:
    for presence in neighbours.present:
        if presence.group:
            return f"the group of {listed(presence.members)} is there already"
        if presence.sees:
            return f"{presence.name} sees a group that is there already"
    for presence in neighbours.groups.values():
        return (
            f"waiting for the group of {listed(presence.members)}, which was seen: if it is gone for ever, restart "
            "this node"
        )
    return ""


def _unlike(neighbours: Neighbours, candidate: Candidate) -> str:
    named = {candidate.name: candidate.node}
    for other in neighbours.blank():
        described = neighbours.described(other.node)
        if other.expect != candidate.expect:
            return (
                f"{described} expects {other.expect} nodes and this one, {candidate.name}, expects {candidate.expect}: "
                "give both the same --expect"
            )
        namesake = named.setdefault(other.name, other.node)
        if namesake != other.node:
            return namesakes(other.name, namesake, other.node)
        if objection := clock_objection(described, neighbours.clock_difference(other.node)):
            return objection
    return ""


def _bound_elsewhere(neighbours: Neighbours, candidate: Candidate, proposal: Proposal | None) -> str:
    """Find a node that has accepted what another than this proposal's proposer has proposed.

    Its proposer's own earlier proposals do not count: that it makes a new one means that they are withdrawn.
    """
    proposer = proposal.proposer if proposal is not None else candidate.node
    for other in neighbours.blank():
        accepted = other.accepted
        if accepted is None or accepted.proposer == proposer:
            continue
        return undecided(neighbours.described(other.node), accepted.proposer)
    return ""


def undecided(who: str, proposer: str, place: str = "its data directory") -> str:
    """Say what a node waits for that has accepted a proposal, and the way out when it will never come."""
    return (
        f"{who} has agreed to found a group with {proposer} and waits to hear from it whether that came to pass. If "
        f"{proposer} is gone for ever, delete {place} (there are no jobs in it yet) and start it again"
    )


def _too_few(neighbours: Neighbours, candidate: Candidate) -> str:
    found = founders(neighbours, candidate)
    if len(found) == candidate.expect:
        return ""
    return f"waiting for {candidate.expect} nodes: found {listed(sorted(map(neighbours.name_of, found)))}"


def _waiting_for_another(neighbours: Neighbours, candidate: Candidate, proposal: Proposal | None) -> str:
    first = founders(neighbours, candidate)
    if proposal is not None:
        if first != proposal.members:
            return f"{candidate.name} would found a group of {listed(first)}, not of {listed(proposal.members)}"
        return ""
    if first[0] != candidate.node:
        return f"waiting for {neighbours.described(first[0])} to found the group"
    return ""
