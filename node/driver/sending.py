"""This node's batches on their way to the leader, which may be this node: how many sendings, and when they come again.

A batch is sent again when another node leads, when there is a new link to the leader, and when nothing comes of it for
a while. The table passes over what it has seen, so once too often does no harm. Not for: what is in a batch, and how
long it is kept (`gathering`), or what the leader does with it (`intake`).
"""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final

from cluster.jobs import Batch
from cluster.raft import Raft, Role
from node.driver.gathering import BATCH_BYTES, MAX_BATCH, Weighed
from node.driver.intake import Intake
from node.driver.surroundings import Loop, Peers

MAX_FORWARDS: Final = 2
"""Sendings to the leader that may be on their way at once: what comes meanwhile makes the next one worth its price."""
RESEND: Final = 1.0
"""Seconds after which what is not applied is sent to the leader again; twice as many each time that was in vain."""
MAX_RESEND: Final = 16.0
"""Seconds beyond which that does not grow."""


class Sending:
    """The sendings of one node."""

    def __init__(
        self, *, name: str, raft: Raft, peers: Peers, loop: Loop, intake: Intake, unapplied: deque[Weighed]
    ) -> None:
        """`intake` is where batches go when this node leads; `unapplied` is kept by who gathers them."""
        self._name = name
        self._raft = raft
        self._peers = peers
        self._loop = loop
        self._intake = intake
        self._unapplied = unapplied
        self._forwards: deque[int] = deque()
        """For each sending that is on its way to the leader, the number of its last command."""
        self._sent = 0.0
        """When something was last sent to the leader."""
        self._resend = RESEND
        """After how many seconds of no progress it is sent again."""

    @property
    def possible(self) -> bool:
        """Tell whether there is a leader, and room for one more on the way to it."""
        return bool(self._raft.leader) and len(self._forwards) < MAX_FORWARDS

    def send(self, batches: Sequence[Weighed]) -> None:
        """Send batches to the leader; if there is none they go to the next."""
        leader = self._raft.leader
        if not batches or not leader:
            return
        self._sent = self._loop.time()
        if leader == self._name:
            self._intake.take(batches)
        else:
            last = batches[-1][0]
            self._forwards.append(last.first + len(last.commands) - 1)
            sent = [self._peers.forward(leader, message) for message in _messages(batches)]
            if not all(sent):
                self._resend = 0.0  # with the next tick

    def applied(self, number: int) -> None:
        """Note that the commands up to `number` are applied now, and were not before."""
        self._resend = RESEND
        forwards = self._forwards
        while forwards and forwards[0] <= number:
            forwards.popleft()

    def forget(self) -> None:
        """Forget what is on its way: it is of an incarnation that is over."""
        self._forwards.clear()

    # -- again --------------------------------------------------------------------------------------------------------

    def led(self) -> None:
        """Send everything to a new leader."""
        self._resend = RESEND
        self._send_again()

    def linked(self, node: str) -> None:
        """Note a new link to a node: what was on its way over another is lost."""
        if node == self._raft.leader and self._unapplied:
            self._send_again()

    def tick(self) -> None:
        """Send everything again if nothing has come of it for too long."""
        if self._unapplied and self._loop.time() - self._sent >= self._resend and not self._waits_here():
            self._resend = min(2 * self._resend, MAX_RESEND)
            self._send_again()

    def _waits_here(self) -> bool:
        raft = self._raft
        return bool(raft.leader) and raft.role is not Role.LEADER and self._peers.busy(raft.leader)

    def _send_again(self) -> None:
        self._forwards.clear()
        self.send(list(self._unapplied))


def _messages(batches: Sequence[Weighed]) -> Iterator[list[Batch]]:
    """Deal batches out to messages, none of which is longer than the longest batch."""
    message: list[Batch] = []
    size = 0
    for batch, weight in batches:
        if message and size + weight + BATCH_BYTES > MAX_BATCH:
            yield message
            message, size = [], 0
        message.append(batch)
        size += weight + BATCH_BYTES
    if message:
        yield message
