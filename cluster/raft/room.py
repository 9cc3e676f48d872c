"""How much a leader takes in, and how much of the log is kept: what others have not got yet bounds both.

Bounded is what is proposed and not committed, and what waits for the leader's own disk. The log is kept for every
member that lacks it, up to a bound on the disk. From half of that bound on the leader takes in less, and the less the
nearer it is, so that a member which gets on, however slowly, is not left behind. Nothing is done for the sake of one
that is not heard, or that has not got on for long: it would stop everybody.

Not for: what has to be sent (`replication`), or letting go of the log (`core`).
"""

from collections import deque
from collections.abc import Mapping
from typing import Final

from cluster.raft.progress import Progress, ProgressState
from cluster.raft.server import Server
from cluster.raft.shipping import PATIENCE, Shipping
from cluster.raft.store import ENTRY_OVERHEAD

SHARE: Final = 64
"""One of so many parts of what is left of the bound may be proposed in a tick while a member lags behind. At half of
256 MiB this is 20 MB in a second of ten ticks."""
LEAST: Final = 16384
"""It is no less than one of so many parts of the bound (160 KB in a second of ten ticks), so that ends of jobs and the
like get through while a large table is sent, though the member may need it once more then."""
SMALL: Final = 64
"""Bytes of an entry that members that lag do not hold up: one that only tells the time."""


class Room:
    """The room of one leader in one term."""

    __slots__ = (
        "_allowance",
        "_followers",
        "_laggard",
        "_most",
        "_server",
        "_shipping",
        "_sizes",
        "_uncommitted",
        "_unwritten",
    )

    def __init__(self, server: Server, followers: Mapping[str, Progress], shipping: Shipping) -> None:
        self._server = server
        self._followers = followers
        self._shipping = shipping
        self._sizes: deque[tuple[int, int]] = deque()
        """(index, bytes) of what was proposed in this term and is not committed."""
        self._uncommitted = 0
        self._unwritten = 0
        """About how many bytes of the log are not on this node's own disk yet."""
        self._most = server.config.max_uncommitted_bytes
        self._allowance: int | None = None
        """What may be proposed in this tick for the sake of members that lag; None: whatever the other bounds allow."""
        self._laggard = ""

    @property
    def left(self) -> int:
        """How many bytes may be proposed now; one proposal of any size while this is above 0."""
        left = self._most - max(self._unwritten, self._uncommitted)
        return left if self._allowance is None else min(left, self._allowance)

    def takes(self, size: int) -> bool:
        """Tell whether an entry of so many bytes may be proposed now."""
        small = size <= SMALL and self._most > max(self._unwritten, self._uncommitted)
        return small or self.left > 0

    @property
    def refusal(self) -> str:
        """Why there is none left."""
        if self._allowance is not None and self._allowance <= 0:
            return f"{self._laggard} lags behind by nearly all of the log that is kept; wait until it gets on"
        return f"{self._uncommitted} bytes are proposed and not committed; wait for commits"

    def proposed(self, index: int, size: int) -> None:
        """Note that something was proposed."""
        self._sizes.append((index, size))
        self._uncommitted += size
        self._unwritten += size
        if self._allowance is not None:
            self._allowance -= size + ENTRY_OVERHEAD

    def committed(self, index: int) -> None:
        """Note that everything up to `index` is committed."""
        while self._sizes and self._sizes[0][0] <= index:
            self._uncommitted -= self._sizes.popleft()[1]

    def persisted(self) -> None:
        """Note that more of the log is on this node's own disk."""
        log = self._server.log
        self._unwritten = log.bytes_after(log.stable)

    def tick(self) -> None:
        """Let a tick pass: see who lags, and allow what may be proposed until the next one."""
        log, kept = self._server.log, self._server.config.kept_bytes
        furthest = kept // 2
        laggard = ""
        for node, progress in self._followers.items():
            if self._gets_on(progress):
                behind = log.bytes_after(progress.lacks_from(log.base_index))
                if furthest < behind <= kept:  # beyond it is lost anyway
                    furthest, laggard = behind, node
        self._laggard = laggard
        if laggard:
            # What was proposed beyond the last allowance, by an entry that was larger, counts against this one.
            debt = min(self._allowance or 0, 0)
            self._allowance = debt + max((kept - furthest) // SHARE, kept // LEAST, 1)
        else:
            self._allowance = None

    def _gets_on(self, progress: Progress) -> bool:
        """Tell whether something is to be done for a member: it can be kept up with, and is going to be."""
        config = self._server.config
        if progress.silent > config.election_ticks or progress.idle > PATIENCE * config.election_ticks:
            return False
        if progress.state is ProgressState.SNAPSHOT:
            return progress.snapshot_index > 0
        return progress.match > 0 and progress.match >= self._server.log.base_index

    def needed(self) -> int:
        """Return the index after which the log is to be kept for members, as far as the bound allows."""
        log, patience = self._server.log, self._server.config.kept_ticks
        base = log.base_index
        needed = self._shipping.needed_after(base)
        if needed is None:
            needed = log.last_index
        for progress in self._followers.values():
            if progress.silent < patience:
                lacks = progress.lacks_from(base)
                if base <= lacks < needed:
                    needed = lacks
        return needed
