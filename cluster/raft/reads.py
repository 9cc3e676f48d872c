"""Linearizable reads without writing to the log (dissertation, section 6.4, "ReadIndex").

The leader notes its commit index and then makes sure, by one round of heartbeats, that it was still the leader when
the read came in: a leader that was deposed without knowing gets no quorum. One round serves all reads of its moment.
`ReadRounds` is the leader's part, `ForwardedReads` that of the node which was asked.
"""

from collections import deque
from typing import Final

MAX_WAITING_READS: Final = 100_000
"""Beyond this, peers' requests are dropped; they ask again."""


class ReadRounds:
    """Reads that wait for a leader's confirmation."""

    __slots__ = ("_confirming", "_gathered", "acknowledged", "round")

    def __init__(self) -> None:
        self.round = 0
        """The number of the latest round; every heartbeat carries it."""
        self.acknowledged: dict[str, int] = {}
        """The latest round each follower has confirmed."""
        self._gathered: list[tuple[str, int]] = []
        self._confirming: deque[tuple[int, int, list[tuple[str, int]]]] = deque()

    def __len__(self) -> int:
        return len(self._gathered) + sum(len(item[2]) for item in self._confirming)

    @property
    def gathered(self) -> bool:
        """Tell whether reads wait for a round to begin."""
        return bool(self._gathered)

    def add(self, origin: str, context: int) -> bool:
        """Take a read in for the next round; tell whether there was room."""
        if len(self) >= MAX_WAITING_READS:
            return False
        self._gathered.append((origin, context))
        return True

    def begin(self, commit: int) -> int:
        """Begin a round for all reads gathered, which are to be served at `commit`; return its number.

        `commit` must cover an entry of the leader's own term: before that a leader does not know what is committed.
        """
        self.round += 1
        self._confirming.append((self.round, commit, self._gathered))
        self._gathered = []
        return self.round

    def confirm(self, node: str, number: int) -> None:
        """Note that `node` still followed this leader in round `number`."""
        if number <= self.round:
            self.acknowledged[node] = max(number, self.acknowledged.get(node, 0))

    def release(self, confirmed: int) -> list[tuple[str, int, int]]:
        """Return (origin, context, index) of the reads of all rounds up to `confirmed`, the one a quorum reached."""
        served: list[tuple[str, int, int]] = []
        while self._confirming and self._confirming[0][0] <= confirmed:
            _, commit, reads = self._confirming.popleft()
            served.extend((origin, context, commit) for origin, context in reads)
        return served

    def abandon(self, origin: str) -> list[int]:
        """Return the contexts of all the reads of `origin`, which will not be served."""
        everything = [read for item in self._confirming for read in item[2]] + self._gathered
        return [context for node, context in everything if node == origin]


class ForwardedReads:
    """Reads that this node, a follower, has asked its leader for.

    On the wire each has a number of its own that holds a nonce of this run of the node: an answer meant for an
    earlier run, still on its way, must not answer a later read.
    """

    __slots__ = ("_nonce", "_number", "_waiting", "elapsed")

    def __init__(self, nonce: int) -> None:
        self._nonce = nonce << 32
        self._number = 0
        self._waiting: dict[int, int] = {}
        self.elapsed = 0
        """Ticks since they were last asked for."""

    def add(self, context: int) -> int:
        """Take a read in; return its number on the wire."""
        self._number = (self._number + 1) & 0xFFFFFFFF
        wire = self._nonce | self._number
        self._waiting[wire] = context
        return wire

    def answered(self, wire: int) -> int | None:
        """Return the context of the read that is answered; None if nobody waits for it."""
        return self._waiting.pop(wire, None)

    def waiting(self) -> tuple[int, ...]:
        """Return the wire numbers of the reads without an answer."""
        return tuple(self._waiting)

    def abandon(self) -> tuple[int, ...]:
        """Return the contexts of all reads without an answer, and wait for them no more."""
        contexts = tuple(self._waiting.values())
        self._waiting.clear()
        return contexts
