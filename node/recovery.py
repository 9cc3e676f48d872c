"""What a node starts from: who it is, its part in the group, its table and its log, as the disk has them.

`identify` comes first: the node's id is on disk before anybody hears it, and so is what the node has promised to other
nodes while a group was being founded. As long as that is not over there is nothing more to recover. Then the node is a
*founder*, which begins with the group's first configuration, or a *joiner*, which begins with nothing and is sent a
snapshot; `resume` gives what either goes on from, at its first start and at any later one. The id stays with the
directory, whatever the node or its host is called: in the group it stands for what the disk remembers, so a node that
lost its disk must not come back under it.

Every step is derived from what was noted before it, so a node that is killed between two of them takes the next one
when it starts again. Not for: the disk's format (`cluster.storage`), the table's (`cluster.jobs`), or how a group is
founded (`cluster.formation`).
"""

import contextlib
import secrets
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from cluster.formation import Accepted, FormationError, Founder, Free, Joiner, Record, decode_record, encode_record
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
from cluster.storage import MirrorView, Recovered, StorageError, Store
from node.errors import RecoveryError
from node.stored_log import Fetch, StoredLog

FORMAT: Final = 1

NODE: Final = "node"
"""The note of the node's id."""
FORMATION: Final = "formation"
"""The note of the `cluster.formation.Record`."""
INCARNATION: Final = "incarnation"
"""The note of how often the node has begun anew, as decimal digits."""


class _Meta(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True):
    """What is kept beside the mirror: the group's configuration where the log begins, and the table's own meta."""

    format: int
    node: str
    """The node whose disk this is."""
    configuration: bytes
    table: bytes


class Identity(msgspec.Struct, frozen=True):
    """Who a node is."""

    node: str
    """Its id in the group; on disk."""
    record: Record
    """Its part in the founding of a group; on disk. `Free` or `Accepted`: it has no group yet."""

    @property
    def blank(self) -> bool:
        """Tell whether the node has no group yet, so that there is nothing to `resume`."""
        return isinstance(self.record, Free | Accepted)


class Recovery(msgspec.Struct, frozen=True):
    """Everything a driver begins with."""

    node: str
    """The node's id in the group."""
    record: Founder | Joiner
    """How it came to its group."""
    table: JobTable
    mirror_writer: MirrorWriter
    durable: DurableState
    log: StoredLog
    incarnation: int
    """The last one that was noted; 0 when none was."""


class Loaded(msgspec.Struct, frozen=True):
    """A job table that was read back, and where it stands."""

    table: JobTable
    mirror_writer: MirrorWriter
    index: int
    """The last entry whose effect is in it."""
    term: int
    configuration: Configuration
    """The group's, at that entry."""


def encode_meta(node: str, configuration: Configuration, table: bytes) -> bytes:
    """Give the meta of a mirror: with the configuration in force at the mirror's position."""
    return msgspec.msgpack.encode(_Meta(FORMAT, node, encode_configuration(configuration), table))


def adopt_meta(node: str) -> Callable[[bytes], bytes]:
    """Give what makes of the meta of another node's snapshot the one to keep here (`cluster.storage.Install.adopt`)."""

    def adopt(meta: bytes) -> bytes:
        return msgspec.msgpack.encode(msgspec.structs.replace(_read_meta(meta, "the snapshot"), node=node))

    return adopt


def identify(store: Store, new_id: str) -> Identity:
    """Tell who the node of `store` is; a blank one becomes `new_id`, on disk when this returns.

    Raises `RecoveryError` for what cannot be read.
    """
    with _reading(store):
        noted = store.note(NODE)
        record = decode_record(store.note(FORMATION))
        meta = store.recover().meta
        # A database of before there were notes has its node's id in the meta alone, and is of a group of one.
        node = noted.decode() if noted is not None else _read_meta(meta, store.path).node if meta else new_id
        if noted is None:
            store.write_note(NODE, node.encode())
        if isinstance(record, Free) and meta:
            configuration = decode_configuration(_read_meta(meta, store.path).configuration)
            record = Founder(new_group(), configuration.members)
            store.write_note(FORMATION, encode_record(record))
        return Identity(node, record)


def found_alone(store: Store, identity: Identity) -> Identity:
    """Make the blank node of `store` a group of one that others can join later.

    Raises `RecoveryError` for a node that has accepted to found a group with others.
    """
    record = identity.record
    if isinstance(record, Accepted):
        raise RecoveryError(
            f"{store.path} belongs to a node that has agreed to found a group with "
            f"{_others(record.proposal.members, identity.node)} and has not heard whether that came to pass, so it "
            "cannot work alone. Start it with the cluster's secret, as before; or, if that group is no more, delete "
            f"{store.path.parent} (there are no jobs in it yet)."
        )
    if isinstance(record, Free):
        record = Founder(new_group(), (identity.node,))
        with _reading(store):
            store.write_note(FORMATION, encode_record(record))
    return Identity(identity.node, record)


def check_alone(node: str, members: Iterable[str], directory: Path) -> None:
    """See that a node that links to nobody can work: that its group is itself. Raises `RecoveryError`."""
    if others := _others(members, node):
        raise RecoveryError(
            f"{directory} belongs to a node of a group with {others}, which cannot work alone. Start it with the "
            "cluster's secret, as before (--secret-file, GEARMESH_SECRET; --insecure if the cluster has none)."
        )


def new_group() -> str:
    """Make the id of a group that is being founded."""
    return secrets.token_hex(8)


def resume(store: Store, fetch: Fetch) -> Recovery:
    """Read back what the node of `store`, which has a group, goes on from.

    `fetch` reads further entries once the node runs. Raises `RecoveryError` for what cannot be read.
    """
    with _reading(store):
        noted = store.note(NODE)
        record = decode_record(store.note(FORMATION))
        assert noted is not None, "a node is identified before it is resumed"
        assert isinstance(record, Founder | Joiner), "a node without a group has nothing to resume"
        node = noted.decode()
        found = store.recover()
        if not found.meta and isinstance(record, Founder):
            first = bootstrap(*record.members)
            store.found(first.index, first.term, encode_meta(node, first.configuration, b""))
            found = store.recover()
        table, writer, base = _table(store, node, found)
        applied = found.applied_index
        outline = store.outline(found.first_index, applied) if applied >= found.first_index else None
        entries = tuple(store.read_entries(applied + 1, found.last_index)) if applied < found.last_index else ()
        log = StoredLog(base.index, entries, fetch, outline)
        durable = DurableState(log=log, hard_state=found.hard_state, base=base, applied=applied)
        return Recovery(node, record, table, writer, durable, log, int(store.note(INCARNATION) or b"0"))


def load_table(view: MirrorView, node: str) -> Loaded:
    """Make the job table that `view` shows, for `node`: the state machine after an installation.

    It takes as long as a restart does: call it from a thread that may. Raises `RecoveryError` for what cannot be read.
    """
    try:
        meta = _read_meta(view.meta, "the snapshot")
        table, writer = _restore(meta, view.segments(), view.payloads(), node)
        configuration = decode_configuration(meta.configuration)
    except (StorageError, JobTableError, RaftError, ValueError) as error:
        raise RecoveryError(f"cannot load the snapshot that was installed: {error}") from error
    return Loaded(table, writer, view.applied_index, view.applied_term, configuration)


def _table(store: Store, node: str, found: Recovered) -> tuple[JobTable, MirrorWriter, SnapshotMeta]:
    """Make the table of the mirror, and the position where the log begins; a joiner that got nothing yet is blank."""
    if not found.meta:
        return JobTable(node), MirrorWriter(), SnapshotMeta()
    meta = _read_meta(found.meta, store.path)
    if meta.node != node:
        raise RecoveryError(
            f"{store.path} is of node {meta.node}, but was noted to be of {node}: it was put together from two "
            "directories. Restore one node's directory whole, or let the node join again with an empty one."
        )
    table, writer = _restore(meta, store.read_segments(), store.read_payloads(), node)
    configuration = decode_configuration(meta.configuration)
    return table, writer, SnapshotMeta(found.first_index - 1, found.compacted_term, configuration)


def _restore(
    meta: _Meta, segments: Iterable[tuple[int, bytes]], payloads: Iterable[tuple[int, bytes]], node: str
) -> tuple[JobTable, MirrorWriter]:
    return restore(meta.table, segments, payloads, node) if meta.table else (JobTable(node), MirrorWriter())


def _read_meta(data: bytes, place: Path | str) -> _Meta:
    meta = msgspec.msgpack.decode(data, type=_Meta)
    if meta.format != FORMAT:
        raise RecoveryError(f"{place} has format {meta.format}, this version reads format {FORMAT}")
    return meta


def _others(members: Iterable[str], node: str) -> str:
    return ", ".join(member for member in members if member != node)


@contextlib.contextmanager
def _reading(store: Store) -> Iterator[None]:
    try:
        yield
    except (StorageError, JobTableError, RaftError, FormationError, ValueError) as error:
        raise RecoveryError(f"cannot recover from {store.path}: {error}") from error
