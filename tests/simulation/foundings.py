"""Who founds a cluster, and who joins it: checked at every note that reaches a disk.

- *One founding*: of each cluster's name at most one group is ever founded.
- *All of them agreed*: it is founded by its proposer, once every other founder has accepted just that on its disk.
- *Bound is bound*: who has accepted a proposal lets go of it only when it was not decided, and takes part in no other.
- *For life*: a node belongs to one group, of its own cluster's name, and was either a founder or let in.

Not for: what members do afterwards, which is for `safety`; it holds everybody's log to the founding that is found here.
"""

from collections.abc import Callable

from cluster.formation import Accepted, Founder, Free, Joiner, Record, decode_record
from node.recovery import FORMATION
from tests.simulation.disk import Store
from tests.simulation.journal import Journal, ViolationError


class Foundings:
    """The book about one network."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._clusters: dict[str, str] = {}
        """Of every node's id, the name of its cluster."""
        self._accepted: dict[str, str] = {}
        """Who has accepted which proposal, on its disk."""
        self._founded: dict[str, Founder] = {}
        """Of every cluster's name, its founding."""
        self._heirs: dict[str, Callable[[tuple[str, ...]], None]] = {}

    def expect(self, cluster: str, founded: Callable[[tuple[str, ...]], None]) -> None:
        """Call `founded` with the first members when the cluster of this name comes to be."""
        self._heirs[cluster] = founded

    def enrol(self, node: str, cluster: str) -> None:
        """Take note of a node."""
        self._clusters[node] = cluster

    def founding(self, cluster: str) -> Founder | None:
        """Give a cluster's founding, once it is on the disk of its proposer."""
        return self._founded.get(cluster)

    def noted(self, node: str, old: Record, new: Record) -> None:
        """Check what has become durable."""
        if self._journal.on:
            self._journal.write(node, "NOTES", new)
        if isinstance(old, Founder | Joiner):
            self._keeps(node, old, new)
        elif isinstance(new, Founder):
            self._founds(node, old, new)
        elif isinstance(new, Joiner):
            self._joins(node, old, new)
        elif isinstance(new, Accepted):
            if not isinstance(old, Free):
                raise ViolationError(f"{node} accepts {new.proposal} while it is bound by {old}")
            if node not in new.proposal.members or not new.proposal.sound:
                raise ViolationError(f"{node} accepts {new.proposal}")
            self._accepted[node] = new.proposal.id
        else:
            founding = self._founded.get(self._clusters[node])
            if isinstance(old, Accepted) and founding is not None and founding.group == old.proposal.id:
                raise ViolationError(f"{node} lets go of {old.proposal}, which was founded")
            self._accepted.pop(node, None)

    def _keeps(self, node: str, old: Founder | Joiner, new: Record) -> None:
        same = type(new) is type(old) and isinstance(new, Founder | Joiner) and new.group == old.group
        if not same or (isinstance(new, Founder) and new != old):
            raise ViolationError(f"{node} was {old} and is {new}")
        if isinstance(old, Joiner) and isinstance(new, Joiner) and old.admitted:
            raise ViolationError(f"{node} was let in at {old.admitted} and notes {new.admitted}")

    def _founds(self, node: str, old: Record, new: Founder) -> None:
        cluster = self._clusters[node]
        founding = self._founded.get(cluster)
        if node not in new.members:
            raise ViolationError(f"{node} founds a group that it is not in: {new}")
        if isinstance(old, Accepted):
            if old.proposal.id != new.group or founding != new:
                raise ViolationError(
                    f"{node} has accepted {old.proposal} and goes on with {new}; founded is {founding}"
                )
            return
        if founding is not None:
            raise ViolationError(f"{node} founds {new}, and {cluster} was founded as {founding}")
        for other in new.members:
            if self._clusters[other] != cluster:
                raise ViolationError(f"{node} of {cluster} founds a group with {other} of {self._clusters[other]}")
            if other != node and self._accepted.get(other) != new.group:
                raise ViolationError(f"{node} founds {new}, which is not what {other} has on its disk")
        self._founded[cluster] = new
        if self._journal.on:
            self._journal.write(node, "FOUNDS", cluster, *new.members)
        self._heirs[cluster](new.members)

    def _joins(self, node: str, old: Record, new: Joiner) -> None:
        founding = self._founded.get(self._clusters[node])
        if not isinstance(old, Free):
            raise ViolationError(f"{node} is bound by {old} and joins {new.group}")
        if founding is None or founding.group != new.group:
            raise ViolationError(f"{node} of {self._clusters[node]} joins {new.group}; founded is {founding}")


class NotedStore(Store):
    """A disk whose notes about formation are watched."""

    def __init__(self, node: str, foundings: Foundings) -> None:
        super().__init__()
        self._node = node
        self._foundings = foundings

    @property
    def record(self) -> Record:
        """What it says about the node's part in its group."""
        return decode_record(self.note(FORMATION))

    def write_note(self, key: str, value: bytes) -> None:
        """Note something."""
        old = self.record
        super().write_note(key, value)
        if key == FORMATION:
            self._foundings.noted(self._node, old, self.record)
