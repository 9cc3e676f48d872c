"""What the leader decides by itself: which nodes are down. Decisions go into the log as entries of the leader's term.

A decision is never sent again. If the leader loses its office before the entry is committed, the entry may be lost.
Then the next leader judges by what it has seen itself. Not for: the judgement (`failure_detector`), or what follows
from a decision (`cluster.jobs`).
"""

from collections.abc import Callable

from cluster.jobs import JobTable, encode_proposal, propose
from cluster.raft import Raft, RefusedError
from node.driver.failure_detector import FailureDetector


class Decisions:
    """The decisions of one node while it leads."""

    def __init__(self, *, raft: Raft, table: JobTable, detector: FailureDetector, clock: Callable[[], float]) -> None:
        """`clock` gives seconds since the epoch."""
        self._raft = raft
        self._table = table
        self._detector = detector
        self._clock = clock

    def tick(self, members: tuple[str, ...], committed: tuple[str, ...]) -> None:
        """Decide which nodes are down, as `FailureDetector.judge` says. Leader only."""
        decisions = list(self._detector.judge(self._table.nodes.values(), members, committed))
        if not decisions:
            return
        try:
            self._raft.propose(encode_proposal(propose(int(self._clock() * 1000), [], decisions)))
        except RefusedError:
            return  # the next tick tries again
        for decision in decisions:
            self._detector.decided(decision)
