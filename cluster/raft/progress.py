"""What a leader knows of one follower's log, and how much it may send.

Three states (after etcd's raft):

- PROBE: the place where the logs meet is not known; one append at a time looks for it.
- REPLICATE: it is known; appends are sent one after the other without waiting, as far as the window of appends under
  way
  goes, and `next` moves on as they are sent.
- SNAPSHOT: the follower needs entries that are compacted away; it is sent a snapshot, and no appends meanwhile.

Not for: building messages (`replication`), or counting acknowledgements (`quorum`).
"""

import enum
from collections import deque


class ProgressState(enum.Enum):
    """How the leader treats the follower."""

    PROBE = "probe"
    REPLICATE = "replicate"
    SNAPSHOT = "snapshot"


class Inflights:
    """The appends on their way to one follower, bounded in number and in bytes."""

    __slots__ = ("_limit", "_limit_bytes", "_sent", "size")

    def __init__(self, limit: int, limit_bytes: int) -> None:
        self._limit = limit
        self._limit_bytes = limit_bytes
        self._sent: deque[tuple[int, int]] = deque()
        """(last index, bytes) of each, last index rising."""
        self.size = 0

    def __len__(self) -> int:
        return len(self._sent)

    @property
    def full(self) -> bool:
        """Tell whether nothing more may be sent."""
        return len(self._sent) >= self._limit or self.size >= self._limit_bytes

    def add(self, last_index: int, size: int) -> None:
        """Note an append that ends at `last_index` with `size` bytes of data."""
        self._sent.append((last_index, size))
        self.size += size

    def free_to(self, index: int) -> None:
        """Forget the appends that end at or before `index`."""
        while self._sent and self._sent[0][0] <= index:
            self.size -= self._sent.popleft()[1]

    def clear(self) -> None:
        """Forget all."""
        self._sent.clear()
        self.size = 0


class Progress:
    """One follower, seen by the leader."""

    __slots__ = (
        "active",
        "arrived",
        "commit_sent",
        "idle",
        "inflights",
        "match",
        "next",
        "paused",
        "poke",
        "silent",
        "snapshot_index",
        "state",
        "stream",
    )

    def __init__(self, next_index: int, inflights: Inflights) -> None:
        self.match = 0
        """The follower's log equals the leader's up to here, durably. Never goes back within a term. match < next."""
        self.next = next_index
        """The index of the next entry to send. In REPLICATE entries before it are under way or acknowledged."""
        self.state = ProgressState.PROBE
        self.paused = False
        """PROBE only: an append is under way; wait for its answer, or for a sign of life."""
        self.poke = False
        """Send an append even if there is nothing new: an earlier one may be lost, and only an append finds out."""
        self.active = False
        """The follower was heard from since the last check of the quorum."""
        self.silent = 0
        """Ticks since it was heard from."""
        self.idle = 0
        """Ticks since it was known to have more than before."""
        self.arrived = 0
        """Where its log ends, by its own word, durable or not."""
        self.commit_sent = 0
        """The highest commit index sent in an append."""
        self.inflights = inflights
        self.stream = 0
        """SNAPSHOT only: the number of the transfer."""
        self.snapshot_index = 0
        """SNAPSHOT only: where the snapshot stands; 0 while it is being opened."""

    @property
    def may_send(self) -> bool:
        """Tell whether flow control lets an append with entries through."""
        if self.state is ProgressState.REPLICATE:
            return not self.inflights.full
        return self.state is ProgressState.PROBE and not self.paused

    def sent(self, last_index: int, size: int, commit: int) -> None:
        """Note an append that ends at `last_index`."""
        self.poke = False
        self.commit_sent = max(self.commit_sent, commit)
        if self.state is ProgressState.REPLICATE:
            if last_index >= self.next:
                self.next = last_index + 1
                self.inflights.add(last_index, size)
        else:
            self.paused = True

    def acknowledged(self, match: int) -> bool:
        """Take an acknowledgement; tell whether it says something new. Late and repeated ones do not."""
        if match < self.match or (match == self.match and self.state is not ProgressState.PROBE):
            return False
        new = match > self.match
        if new:
            self.idle = 0
        self.match = match
        self.next = max(self.next, match + 1)
        self.inflights.free_to(match)
        if self.state is ProgressState.PROBE:
            self.become_replicate()
        return new

    def rejected(self, prev_index: int, hint: int) -> bool:
        """Take a rejection of an append after `prev_index`; tell whether there is something to do about it.

        `hint`: the logs may meet at or before it. Late rejections are recognised: they are of a place that is known to
        match, or, when probing, not of the one probe that is under way.
        """
        if prev_index <= self.match:
            return False
        if self.state is ProgressState.REPLICATE:
            self.become_probe()
            return True
        if self.state is ProgressState.SNAPSHOT or prev_index != self.next - 1:
            return False
        self.next = max(min(prev_index, hint + 1), self.match + 1)
        self.paused = False
        return True

    def heard(self) -> None:
        """Note a sign of life that acknowledges nothing: the probe under way, if any, may be lost."""
        self.note_heard()
        self.paused = False

    def note_heard(self) -> None:
        """Note a sign of life."""
        self.active = True
        self.silent = 0

    def lacks_from(self, base: int) -> int:
        """Return the index after which it lacks, or may lack, what a log from `base` on has. Below `base`: too late."""
        if self.state is ProgressState.SNAPSHOT:
            return self.snapshot_index or base
        return self.match or base

    def become_probe(self) -> None:
        """Look for the place where the logs meet, from what is known to match."""
        self.state = ProgressState.PROBE
        self.next = self.match + 1
        self.paused = self.poke = False
        self.commit_sent = 0
        self.stream = self.snapshot_index = 0
        self.inflights.clear()

    def become_replicate(self) -> None:
        """Send on without waiting, from what is known to match."""
        self.become_probe()
        self.state = ProgressState.REPLICATE

    def become_snapshot(self, stream: int) -> None:
        """Send no appends until the snapshot numbered `stream` is installed or given up."""
        self.become_probe()
        self.state = ProgressState.SNAPSHOT
        self.stream = stream
