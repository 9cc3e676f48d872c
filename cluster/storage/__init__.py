"""What a node must not forget: the hard state, the log and the mirror of the job table, in one SQLite file.

`Store` is the file, synchronous; `StorageThread` owns a store in a thread of its own and groups commits. The contract
between consensus and the disk is written down in docs/storage.md.

Not for: deciding what to write, or knowing what the bytes mean. Entries' data, segments, payloads and the mirror's meta
are opaque here.
"""

from cluster.storage.errors import (
    CorruptionError,
    DirectoryError,
    DiskFailureError,
    DiskFullError,
    ForeignFileError,
    LockedError,
    MisuseError,
    NewerFormatError,
    StorageError,
)
from cluster.storage.records import Mirror, Recovered
from cluster.storage.store import Store
from cluster.storage.thread import StorageThread

__all__ = [
    "CorruptionError",
    "DirectoryError",
    "DiskFailureError",
    "DiskFullError",
    "ForeignFileError",
    "LockedError",
    "Mirror",
    "MisuseError",
    "NewerFormatError",
    "Recovered",
    "StorageError",
    "StorageThread",
    "Store",
]
