"""Messages as bytes: one version byte, then msgpack.

Nothing unknown is skipped: another version or another kind of message is an error of the link, an unknown kind of
entry one that stops the node, for it stands in the group's log.

Not for: framing, authentication or compression, which belong to the mesh.
"""

from collections import deque
from typing import Final

import msgspec

from cluster.log import Entry, EntryKind
from cluster.raft.errors import MessageError, UnknownEntryError
from cluster.raft.messages import Append, Message

WIRE_VERSION: Final = 1
"""Raise it when a message changes in a way that an older node would misread."""

_PREFIX: Final = bytes((WIRE_VERSION,))
_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final[msgspec.msgpack.Decoder[Message]] = msgspec.msgpack.Decoder(Message)


LONG: Final = 16 << 10
"""Bytes of data from which on the encoded entries of an append are kept for the next follower that is sent the same."""
_KEPT: Final = 4
"""How many such are kept: those of one moment."""


class _EncodedAppend(msgspec.Struct, array_like=True, gc=False, tag=Append.__struct_config__.tag):
    """An `Append` whose entries are encoded already."""

    to: str
    sender: str
    term: int
    prev_index: int
    prev_term: int
    entries: msgspec.Raw
    commit: int


_recent: Final[deque[tuple[tuple[Entry, ...], msgspec.Raw]]] = deque(maxlen=_KEPT)
"""The long appends that were encoded last: entries, and what became of them."""


def encode(message: Message, prefix: bytes = b"") -> bytes | bytearray:
    """Return the bytes of a message, behind a prefix. Long entries that go to several followers are encoded once."""
    if type(message) is Append and sum([len(entry.data) for entry in message.entries]) >= LONG:
        m = message
        raw = _encoded(m.entries)
        encoded = _EncodedAppend(m.to, m.sender, m.term, m.prev_index, m.prev_term, raw, m.commit)
        buffer = bytearray(prefix + _PREFIX)
        _encoder.encode_into(encoded, buffer, -1)  # behind what is there, and so without a copy
        return buffer
    return prefix + _PREFIX + _encoder.encode(message)


def _encoded(entries: tuple[Entry, ...]) -> msgspec.Raw:
    for known, raw in _recent:
        if len(known) == len(entries) and all(one is other for one, other in zip(known, entries, strict=True)):
            return raw
    raw = msgspec.Raw(_encoder.encode(entries))
    _recent.append((entries, raw))
    return raw


def decode(data: bytes | bytearray | memoryview) -> Message:
    """Read one message.

    Raise `MessageError` for another version, an unknown kind or damage, `UnknownEntryError` for an append whose only
    fault is a kind of entry that this node is too old for.
    """
    view = memoryview(data)
    if not view:
        raise MessageError("an empty message")
    if view[0] != WIRE_VERSION:
        raise MessageError(f"a message of wire version {view[0]}; this node speaks version {WIRE_VERSION}")
    try:
        return _decoder.decode(view[1:])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        kind = _unknown_entry_kind(view[1:])
        if kind is not None:
            raise UnknownEntryError(f"the leader sent an entry of kind {kind}: this node is too old for it") from error
        raise MessageError(f"not a message this node knows: {error}") from error


class _FutureEntry(msgspec.Struct, array_like=True):
    """An entry of a kind that need not be known."""

    index: int
    term: int
    kind: int
    data: bytes


class _FutureAppend(msgspec.Struct, array_like=True, tag=Append.__struct_config__.tag):
    """An `Append` as a later version may send it."""

    to: str
    sender: str
    term: int
    prev_index: int
    prev_term: int
    entries: tuple[_FutureEntry, ...]
    commit: int


_future: Final = msgspec.msgpack.Decoder(_FutureAppend)


def _unknown_entry_kind(data: memoryview) -> int | None:
    """Return the kind that makes `data`, which is otherwise an append, unreadable."""
    try:
        entries = _future.decode(data).entries
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    known = set(EntryKind)
    return next((entry.kind for entry in entries if entry.kind not in known), None)
