"""How old this node's job table is: for how long it has been missing something that the leader had committed.

A node may hear its leader, have its own commands applied, and still be far behind: its processor, its disk or its link
is too slow, or it is being sent the whole table. What it lists and whom it wakes is old then, so new clients should
go to another node. A count of entries does not tell how old: a thousand are a moment here and a minute there.

The leader says in each heartbeat what it has committed. This node marks when it heard so, and drops a mark when its
table is that far. The lag is the age of the oldest mark: this node's own clock is enough, and the time for which the
process did not run is no part of it (`awake_clock`).

Load does not make both followers lag. Committed is what a majority has on disk, so of two followers one has all of it,
and applies it as soon as it hears so; one that is too busy to apply does not acknowledge either, and then it is not the
one. What load does to the other is in `TOO_LONG`.

Not for: how many entries a member lacks (the leader knows, `cluster.raft.progress`), or whether this node's own
commands get on (`Driver.stuck`).
"""

from typing import Final

import msgspec

from node.driver.awake_clock import AwakeClock

TOO_LONG: Final = 30.0
"""Seconds of lag beyond which a node is not ready: well above what load does to a healthy one.

Three nodes on two cores, for a minute each: with 18 clients that submit small jobs, and 12 workers, 0.2 s at the most;
with 18 clients that submit jobs of 100 KiB as fast as they are taken, 12.3 s on the follower that the leader does not
need for a majority, and nothing on the other. That is the half of the kept log (128 MiB) that it may lack before the
leader takes in less for its sake (`cluster.raft.room`), at the pace at which it takes entries."""
SHORT_AGAIN: Final = 10.0
"""Seconds below which it is ready again: what such a load leaves of the lag (7 s in the middle) must not keep it away
once it has been further behind. And it is far from `TOO_LONG`, so that a node that falls behind and catches up by turns
does not come and go with each turn, which would move clients to and fro."""
MOST: Final = 600
"""Marks that are kept, one for each tick of a minute. With more, those go that stand close to others, so that a lag of
any length is known to a hundredth, in some tens of kilobytes."""


class Mark(msgspec.Struct, frozen=True, gc=False):
    """What the leader had committed at some time."""

    time: float
    index: int


class Lag:
    """The lag of one node. To be ticked; a tick is what the lag is known to."""

    def __init__(self, clock: AwakeClock) -> None:
        self.seconds = 0.0
        """For how long something has been missing; 0: nothing is."""
        self.too_long = False
        """Whether new clients had better go to another node, as `judge` found last."""
        self.began = 0.0
        """When it became so, by the clock."""
        self._clock = clock
        self._marks: list[Mark] = []
        """The oldest first, and never with an index twice."""

    def tick(self, committed: int, applied: int) -> None:
        """Note what the leader has committed, as far as is known, and what is in the table."""
        now = self._clock.time()
        marks = self._marks
        since = now
        while marks and marks[-1].index > committed:
            # Another one leads who knows less, or the number was nonsense. What it says now is missing all the same.
            since = marks.pop().time
        while marks and marks[0].index <= applied:
            del marks[0]
        if committed > (marks[-1].index if marks else applied):
            marks.append(Mark(since, committed))
        if len(marks) > MOST:
            self._thin_out(now)
        self.seconds = now - self._marks[0].time if self._marks else 0.0

    def _thin_out(self, now: float) -> None:
        """Drop half of the marks or more. What one stood for counts from the next one on: the lag is never too long."""
        marks = self._marks
        apart = (now - marks[0].time) / (MOST // 2)
        kept = [marks[0]]
        for mark in marks[1:-1]:
            if mark.time - kept[-1].time > apart:
                kept.append(mark)
        self._marks = [*kept, marks[-1]]

    def judge(self) -> bool:
        """See whether the lag is too long, or short again; tell whether that has changed."""
        before = self.too_long
        self.too_long = self.seconds >= SHORT_AGAIN if before else self.seconds > TOO_LONG
        if self.too_long and not before:
            self.began = self._clock.time()
        return self.too_long is not before
