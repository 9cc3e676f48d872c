"""The settings of a node, and the durable state it starts from."""

from collections.abc import Callable
from typing import Final

import msgspec

from cluster.log import HardState
from cluster.raft.configuration import SnapshotMeta
from cluster.raft.store import LogStore

KIBIBYTE: Final = 1024
MEBIBYTE: Final = 1024 * KIBIBYTE


class RaftConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a node. Times are in ticks: the driver decides how long a tick is, the same on all nodes."""

    id: str
    """This node's id. It belongs to the data directory: a node that lost its data must come back under another id."""
    randrange: Callable[[int], int]
    """`randrange(n)` returns an integer in [0, n): the only source of randomness, for election timeouts."""
    election_ticks: int = 10
    """The least election timeout; each one is drawn from [election_ticks, 2 * election_ticks)."""
    heartbeat_ticks: int = 1
    """How often a leader sends heartbeats."""
    max_append_bytes: int = MEBIBYTE
    """The most data one append carries, except that it always carries one entry."""
    max_inflight: int = 64
    """The most appends on their way to one follower."""
    max_inflight_bytes: int = 8 * MEBIBYTE
    """The most data on its way to one follower."""
    max_uncommitted_bytes: int = 64 * MEBIBYTE
    """Data proposed and not yet committed at which `propose` raises `OverloadedError`; one entry may go beyond it."""
    max_apply_bytes: int = 4 * MEBIBYTE
    """The most data of committed entries in one bundle, except that it always has one entry."""
    max_recent_bytes: int = 16 * MEBIBYTE
    """How much of the log that is durable and applied stays in memory, for followers that are a little behind."""
    kept_bytes: int = 256 * MEBIBYTE
    """The most of the log that is kept on disk for members that lack it. From half of it on less is proposed."""
    kept_ticks: int = 300
    """For so long the log is kept for a member that nothing is heard of."""
    stall_ticks: int = 10
    """How long a leader's entries may get nowhere, besides the time that their bytes need: then it hands over."""
    disk_ticks: int = 20
    """How long a leader's own disk may take for a write, besides the time that its bytes need: then it hands over."""
    progress_bytes: int = 1_000_000
    """Bytes of entries that get on in a tick at the least where anything does."""
    promotion_lag: int = 1000
    """A learner may be promoted when it is at most this many entries behind the commit index."""
    chunk_bytes: int = 256 * KIBIBYTE
    """The size of a piece of a snapshot."""
    chunk_window: int = 12
    """The most pieces of one snapshot on their way: with `chunk_bytes` it bounds the memory of a transfer."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot work."""
        if not self.id:
            raise ValueError("id must not be empty")
        if not 0 < self.heartbeat_ticks < self.election_ticks:
            raise ValueError("heartbeat_ticks must be at least 1 and less than election_ticks")
        for name in (
            "max_append_bytes",
            "max_inflight",
            "max_inflight_bytes",
            "max_uncommitted_bytes",
            "max_apply_bytes",
            "kept_bytes",
            "stall_ticks",
            "disk_ticks",
            "progress_bytes",
            "chunk_bytes",
            "chunk_window",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        for name in ("max_recent_bytes", "promotion_lag", "kept_ticks"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative")


class DurableState(msgspec.Struct, frozen=True, kw_only=True):
    """What the disk holds when a node starts. A blank node (one that is going to join) has all the defaults."""

    log: LogStore
    hard_state: HardState = HardState()
    base: SnapshotMeta = SnapshotMeta()
    """Where the log begins: the position just before its first entry (`bootstrap`, a compaction or a snapshot)."""
    applied: int = 0
    """The index the stored state machine stands at. At least `base.index`; entries after it are handed out again."""
