"""What a node starts from: its table, its part in the group, and its log, as the disk has them.

A blank directory becomes a group of one: it is given a node id of its own, and the first configuration has that node as
its only voter. The id stays with the directory, whatever the node or its host is called: in the group it stands for
what the disk remembers, so a node that lost its disk must not come back under it. Not for: the disk's format
(`cluster.storage`), or the table's (`cluster.jobs`).
"""

from typing import Final

import msgspec

from cluster.jobs import JobTable, JobTableError, MirrorWriter, restore
from cluster.raft import (
    Configuration,
    DurableState,
    RaftError,
    SnapshotMeta,
    bootstrap,
    decode_configuration,
    encode_configuration,
)
from cluster.storage import StorageError, Store
from node.errors import RecoveryError
from node.stored_log import Fetch, StoredLog

FORMAT: Final = 1


class _Meta(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True):
    """What is kept beside the mirror: the group's configuration where the log begins, and the table's own meta."""

    format: int
    node: str
    """The node whose disk this is."""
    configuration: bytes
    table: bytes


class Recovery(msgspec.Struct, frozen=True):
    """Everything a driver begins with."""

    node: str
    """The node's id in the group."""
    table: JobTable
    mirror_writer: MirrorWriter
    durable: DurableState
    log: StoredLog


def encode_meta(node: str, configuration: Configuration, table: bytes) -> bytes:
    """Give the meta of a mirror: with the configuration in force at the mirror's position."""
    return msgspec.msgpack.encode(_Meta(FORMAT, node, encode_configuration(configuration), table))


def recover(store: Store, new_id: str, fetch: Fetch) -> Recovery:
    """Read back what `store` holds; a blank one is founded as that of the node `new_id`.

    `fetch` reads further entries once the node runs. Raises `RecoveryError` for what cannot be read.
    """
    try:
        found = store.recover()
        if not found.meta:
            first = bootstrap(new_id)
            store.found(first.index, first.term, encode_meta(new_id, first.configuration, b""))
            found = store.recover()
        meta = msgspec.msgpack.decode(found.meta, type=_Meta)
        if meta.format != FORMAT:
            raise RecoveryError(f"{store.path} has format {meta.format}, this version reads format {FORMAT}")
        configuration = decode_configuration(meta.configuration)
        table, writer = (
            restore(meta.table, store.read_segments(), store.read_payloads(), meta.node)
            if meta.table
            else (JobTable(meta.node), MirrorWriter())
        )
        base = SnapshotMeta(found.first_index - 1, found.compacted_term, configuration)
        log = StoredLog(base.index, tuple(store.read_entries(found.first_index, found.last_index)), fetch)
    except (StorageError, JobTableError, RaftError, msgspec.DecodeError) as error:
        raise RecoveryError(f"cannot recover from {store.path}: {error}") from error
    durable = DurableState(log=log, hard_state=found.hard_state, base=base, applied=found.applied_index)
    return Recovery(meta.node, table, writer, durable, log)
