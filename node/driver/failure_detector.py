"""The failure detector: which nodes are down, as far as one node can tell. The leader decides by it.

A node is down for one of three reasons:

- Its process has ended. That takes proof: it said goodbye, its host closed the link though it had said nothing, or
  another process has come in its place. A refused connection proves nothing, since a firewall refuses as well.
- It has been silent for the node timeout. By then it has hung up on its clients (`incarnations`), if it runs.
- It is no member of the cluster any more, and that is committed.

A wrong decision ends sessions of a live node, whose running jobs are run again; the job table stays right, since what
such a node says later is fenced. Not for: who leads (consensus has timeouts of its own), or how the decision gets into
the log (`decisions`).
"""

from collections.abc import Iterable, Iterator
from typing import Final

from cluster.jobs import DownReason, Node, NodeDown
from node.driver.awake_clock import AwakeClock

GRACE: Final = 1.0
"""Seconds after a pause of this process in which what came meanwhile is read."""
_PROCESSES: Final = 8
"""How many ended processes of each node are remembered. Several can end before the table knows of the first."""


class FailureDetector:
    """One node's view of the others."""

    def __init__(self, name: str, timeout: float, clock: AwakeClock) -> None:
        """`timeout`: seconds of silence after which a node is down, unless its own settings allow more."""
        self._name = name
        self._timeout = timeout
        self._clock = clock
        self._paused = clock.paused
        self._heard: dict[str, float] = {}
        self._ended: dict[str, dict[str, DownReason]] = {}
        """The processes of each node that have ended, and how."""
        self._absent: set[str] = set()
        """Nodes whose process has ended, and that have not been linked since."""
        self._decided: dict[str, int] = {}
        """The incarnation of each node that this leader has decided on in its term."""

    def heard(self, node: str) -> None:
        """Note a sign of life."""
        self._heard[node] = self._clock.time()

    def linked(self, node: str, process: str) -> None:
        """Note that there is a link to a process of a node: it lives, whatever seemed to prove that it does not."""
        self._absent.discard(node)
        self._ended.get(node, {}).pop(process, None)
        self.heard(node)

    def ended(self, node: str, process: str, reason: DownReason) -> None:
        """Note proof that a process of a node has ended; `reason` tells how."""
        self._absent.add(node)
        processes = self._ended.setdefault(node, {})
        processes[process] = reason
        if len(processes) > _PROCESSES:
            del processes[next(iter(processes))]

    def leaves_quorum(self, voters: tuple[str, ...]) -> bool:
        """Tell whether a majority of the voters may still be there."""
        return sum(voter not in self._absent for voter in voters) > len(voters) // 2

    def begin(self) -> None:
        """Begin all silences anew: this node is a new leader, and nobody has had reason to speak to it before."""
        self._heard.clear()
        self._decided.clear()

    def judge(self, nodes: Iterable[Node], members: tuple[str, ...], committed: tuple[str, ...]) -> Iterator[NodeDown]:
        """Give the nodes of the table that are down and not decided on yet.

        `members` are those of the configuration in force, `committed` those of the last one that is committed. The
        leader does not speak to a member that a change leaves out, so its silence means nothing until the change is
        committed.
        """
        now = self._clock.time()
        if self._clock.paused != self._paused:
            # What came during the pause has not been read yet. The silences do not begin anew: a leader that is paused
            # again and again would never find anybody down.
            self._paused = self._clock.paused
            least = now - self._timeout + GRACE
            self._heard = {name: max(heard, least) for name, heard in self._heard.items()}
        for node in nodes:
            name = node.name
            if not node.up or name == self._name or self._decided.get(name) == node.incarnation:
                continue
            silence = now - self._heard.setdefault(name, now)
            if name not in committed:
                reason = DownReason.REMOVED
            elif node.process in (ended := self._ended.get(name, {})):
                reason = ended[node.process]
            elif name in members and silence > max(self._timeout, node.timeout / 1000):
                reason = DownReason.SILENT
            else:
                continue
            yield NodeDown(name, node.incarnation, reason)

    def decided(self, decision: NodeDown) -> None:
        """Note that the decision is in the log of this term: it is not made twice."""
        self._decided[decision.node] = decision.incarnation
