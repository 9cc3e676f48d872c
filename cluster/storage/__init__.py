"""What a node must not forget: the hard state, the log and the mirror of the job table, in one SQLite file.

`Store` is the file, synchronous; `StorageThread` owns a store in a thread of its own and groups commits; `MirrorView`
reads the mirror beside it, and `SnapshotReader` makes of that the stream that another node installs. The contract
between consensus and the disk is written down in docs/storage.md.

Not for: deciding what to write, or knowing what the bytes mean. Entries' data, segments, payloads and the mirror's meta
are opaque here.
"""

from cluster.storage.errors import (
    ClosedError,
    CorruptionError,
    DirectoryError,
    DiskFailureError,
    DiskFullError,
    DiskHungError,
    ForeignFileError,
    LockedError,
    MisuseError,
    NewerFormatError,
    StorageError,
    UnusableSnapshotError,
)
from cluster.storage.records import Install, Mirror, Outline, Piece, Recovered
from cluster.storage.store import Store
from cluster.storage.thread import Operation, StorageThread
from cluster.storage.view import MirrorView, SnapshotReader

__all__ = [
    "ClosedError",
    "CorruptionError",
    "DirectoryError",
    "DiskFailureError",
    "DiskFullError",
    "DiskHungError",
    "ForeignFileError",
    "Install",
    "LockedError",
    "Mirror",
    "MirrorView",
    "MisuseError",
    "NewerFormatError",
    "Operation",
    "Outline",
    "Piece",
    "Recovered",
    "SnapshotReader",
    "StorageError",
    "StorageThread",
    "Store",
    "UnusableSnapshotError",
]
