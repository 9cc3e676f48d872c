"""Consensus: what the nodes agree on gets into one log, in one order, on a majority of disks (the Raft algorithm).

Theory of operation. A `Raft` object is one node. It does nothing by itself: no loop, clock, disk, network or randomness
of its own. Things happen to it (`step(message)`, `tick()`, `propose(data)`, ...), and afterwards `ready()` says what
to do about them:

    raft = Raft(RaftConfig(id="a", randrange=rng.randrange), DurableState(log=store, base=bootstrap("a", "b", "c")))
    ...
    while (ready := raft.ready()) is not None:
        send(ready.messages)              # at once; nothing here waits for the disk
        if ready.write: disk(ready.write) # in order; when it is durable: raft.persisted(ready.write.sequence)
        apply(ready.committed)            # in order; then: raft.applied(ready.committed[-1].index)
        answer(ready.reads)
        serve(ready.snapshots)

Rules that the driver keeps:

1. Writes become durable in the order of their `sequence`, each whole or not at all. `persisted(n)` says that all up
   to n are; a write that failed is never acknowledged and never retried: the node stops.
2. Committed entries are applied in order, once. `applied` may come later; bundles go on meanwhile.
3. After `Write.snapshot` is durable and the state machine stands at it, and not before, `persisted` is called. No
   committed entries are handed out in between, and those handed out earlier are covered by the snapshot: drop them
   if still waiting.
4. An exception out of any method other than a `RefusedError` or `MessageError` means: stop this node.

What leaves when. A message of term T leaves only when T, and this node's vote in T, are durable. Acknowledgements of
entries, and of snapshot pieces, leave only when what they acknowledge is durable. A leader's appends do not wait for
its own disk: its fsync runs beside the replication, and its own copy counts towards the commit from `persisted` on,
no sooner. So all of a crash's losses are of things nobody was told. Pre-vote requests and their replies promise
nothing and wait for nothing but the term they are sent in.

Not for: the wire's framing (the mesh), the disk (`cluster.storage`), what entries mean (`cluster.jobs`), forwarding
proposals from followers to the leader (the driver).
"""

from cluster.raft.config import DurableState, RaftConfig
from cluster.raft.configuration import (
    Configuration,
    SnapshotMeta,
    bootstrap,
    decode_configuration,
    encode_configuration,
)
from cluster.raft.core import Raft
from cluster.raft.errors import (
    CampaignRefusedError,
    ConfigurationRefusedError,
    MessageError,
    NoLeaderError,
    NotLeaderError,
    OverloadedError,
    RaftError,
    RaftInvariantError,
    RefusedError,
    SnapshotRefusedError,
    TransferringError,
    UnknownEntryError,
)
from cluster.raft.membership import Change, ChangeKind, ConfigurationChange
from cluster.raft.messages import Message
from cluster.raft.ready import (
    CloseSnapshot,
    Notice,
    Obstacle,
    OpenSnapshot,
    Position,
    ReadSnapshot,
    ReadState,
    Ready,
    Role,
    SnapshotNeeded,
    SnapshotPiece,
    SnapshotRequest,
    Stalled,
    Standing,
    Write,
)
from cluster.raft.store import LogStore, MemoryStore
from cluster.raft.wire import decode, encode

__all__ = [
    "CampaignRefusedError",
    "Change",
    "ChangeKind",
    "CloseSnapshot",
    "Configuration",
    "ConfigurationChange",
    "ConfigurationRefusedError",
    "DurableState",
    "LogStore",
    "MemoryStore",
    "Message",
    "MessageError",
    "NoLeaderError",
    "NotLeaderError",
    "Notice",
    "Obstacle",
    "OpenSnapshot",
    "OverloadedError",
    "Position",
    "Raft",
    "RaftConfig",
    "RaftError",
    "RaftInvariantError",
    "ReadSnapshot",
    "ReadState",
    "Ready",
    "RefusedError",
    "Role",
    "SnapshotMeta",
    "SnapshotNeeded",
    "SnapshotPiece",
    "SnapshotRefusedError",
    "SnapshotRequest",
    "Stalled",
    "Standing",
    "TransferringError",
    "UnknownEntryError",
    "Write",
    "bootstrap",
    "decode",
    "decode_configuration",
    "encode",
    "encode_configuration",
]
