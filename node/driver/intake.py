"""The leader's intake: the batches of all nodes on their way into the log, several of them in one entry.

What came before in this term is in the log already, or on its way there; it is passed over. Not for: who leads, or when
the disk can take more (the driver).
"""

from collections import deque
from collections.abc import Sequence
from typing import Final

from cluster.jobs import (
    Batch,
    Can,
    Finish,
    Identify,
    JobTable,
    Park,
    Progress,
    Proposal,
    SessionOpen,
    Take,
    encode_proposal,
    propose,
)
from cluster.raft import Position, Raft, RefusedError
from node.driver.gathering import BATCH_BYTES, CROWD, MAX_BATCH, MAX_BATCH_COMMANDS, MAX_WRITE_BATCHES, Weighed

_PATIENT: Final = frozenset({Finish, Park, Take, Progress, SessionOpen, Can, Identify})
"""Commands that nobody waits for: they can wait for company."""

PROPOSAL_BYTES: Final = 64
"""What an entry holds besides its batches, at the most."""
MAX_ENTRY: Final = MAX_BATCH + PROPOSAL_BYTES
"""Bytes of the longest entry: it holds one batch, or several that together are no longer, and have no more commands."""
HEAVY: Final = 256 << 10
"""Bytes from which on the disks are what takes long, if they are of few commands."""
HEAVY_COMMAND: Final = 4096
"""Bytes that each command has on average then."""
MAX_WAITING: Final = 64 << 20
"""Bytes of batches that a leader keeps until they go into the log: what is beyond is dropped, and comes again."""


class Intake:
    """The batches offered to one leader in its term."""

    def __init__(self, raft: Raft, table: JobTable) -> None:
        self._raft = raft
        self._table = table
        self._waiting: deque[Weighed] = deque()
        self._size = 0
        self.crowd = 0
        """How many commands went into the log the last time."""
        self.heavy = False
        """Whether they were few, and had many bytes."""
        self.urgent = False
        """Whether somebody waits for something of what waits here."""
        self._taken: dict[str, tuple[int, int, int]] = {}
        """For each node: the incarnation, and the numbers of the first and last command taken in this term."""

    def __bool__(self) -> bool:
        """Tell whether anything waits."""
        return bool(self._waiting)

    @property
    def full(self) -> bool:
        """Tell whether there is room for no more."""
        return self._size > MAX_WAITING

    def take(self, batches: Sequence[Weighed]) -> None:
        """Keep batches that are to go into the log.

        One that leaves a gap is let go: the table would not take it, and its node is going to send all of them again.
        """
        for batch, weight in batches:
            last = batch.first + len(batch.commands) - 1
            incarnation, start, end = self._taken.get(batch.node, (0, 0, 0))
            if batch.incarnation < incarnation:
                continue
            again = batch.incarnation == incarnation and start <= batch.first
            # What is in the table may have come in another order than it was taken in.
            if again and (last <= end or batch.first > max(end, self._applied(batch)) + 1):
                continue
            if batch.incarnation > incarnation or batch.first < start:
                start = batch.first
            self._taken[batch.node] = (batch.incarnation, start, last)
            self._waiting.append((batch, weight))
            self._size += weight
            if not self.urgent:
                commands = batch.commands
                self.urgent = len(commands) >= CROWD or not all(type(command) in _PATIENT for command in commands)

    def _applied(self, batch: Batch) -> int:
        """Tell the number of the last command in the table of the incarnation that a batch is of."""
        node = self._table.nodes.get(batch.node)
        return node.last if node is not None and node.incarnation == batch.incarnation else 0

    def enter(self, now: int) -> list[tuple[Position, Proposal]]:
        """Put what waits into the log, as of `now` (milliseconds since the epoch), as far as one write goes."""
        entered: list[tuple[Position, Proposal]] = []
        self.crowd = entered_bytes = 0
        waiting = self._waiting
        while waiting and len(entered) < MAX_WRITE_BATCHES:
            if not self._raft.room:
                break  # asked before anything is encoded
            count, weight = self._fitting()
            taken = [waiting.popleft()[0] for _ in range(count)]
            proposal = propose(now, taken)
            try:
                where = self._raft.propose(encode_proposal(proposal))
            except RefusedError:  # the nodes, this one too, will send theirs again
                self.clear()
                break
            self._size -= weight
            entered_bytes += weight
            self.urgent = bool(waiting)
            self.crowd += sum([len(batch.commands) for batch in proposal.batches])
            entered.append((where, proposal))
        self.heavy = entered_bytes >= max(HEAVY, self.crowd * HEAVY_COMMAND)
        return entered

    def _fitting(self) -> tuple[int, int]:
        """Tell how many of the batches that wait go into one entry, and what they weigh."""
        count = weight = commands = 0
        for batch, more in self._waiting:
            commands += len(batch.commands)
            too_heavy = weight + more + (count + 1) * BATCH_BYTES > MAX_BATCH
            if count and (too_heavy or commands > MAX_BATCH_COMMANDS):
                break
            count += 1
            weight += more
        return count, weight

    def clear(self) -> None:
        """Let go of everything."""
        self._waiting.clear()
        self._size = 0
        self.urgent = False
        self.crowd = 0
        """How many commands went into the log the last time."""
        self._taken.clear()
