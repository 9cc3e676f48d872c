"""From packets to bytes.

Each packet is one bytes object, since some clients mis-parse a header that arrives without its body.

The arguments are trusted to mean something; only what would break the framing is refused, as a `LocalProtocolError`.
"""

import struct
from collections.abc import Sequence
from typing import Final

from protocol.errors import LocalProtocolError
from protocol.packet import FROM_SERVER, LAYOUTS, NUL, REQUEST_MAGIC, RESPONSE_MAGIC, TO_SERVER, PacketType, Route

_pack_size: Final = struct.Struct(">I").pack
_MAX_BODY: Final = 0xFFFFFFFF
_EMPTY: Final = _pack_size(0)
_LARGE: Final = 4096
"""Last arguments from here on are copied once; for smaller ones a second copy is cheaper than care."""

_Head = tuple[int, bytes]


def _heads(magic: bytes, routes: Route) -> tuple[_Head | None, ...]:
    """Return, by type number, how many arguments a packet takes and the bytes it starts with."""
    heads: list[_Head | None] = [None] * (max(PacketType) + 1)
    for kind, layout in LAYOUTS.items():
        if layout.route & routes:
            heads[kind] = (len(layout.arguments), magic + _pack_size(kind))
    return tuple(heads)


_REQUEST_HEADS: Final = _heads(REQUEST_MAGIC, TO_SERVER)
_RESPONSE_HEADS: Final = _heads(RESPONSE_MAGIC, FROM_SERVER)
_RESPONSE_STARTS: Final = [RESPONSE_MAGIC + _pack_size(number) for number in range(max(PacketType) + 1)]
_JOB_CREATED: Final = _RESPONSE_STARTS[PacketType.JOB_CREATED]


def encode_request(kind: PacketType, *args: bytes) -> bytes:
    """Return the bytes of a packet to a server.

    Raises LocalProtocolError for a type that only servers send, for too many or too few arguments, for a NUL in any
    but the last, and for a body over 4 GiB.
    """
    head = _REQUEST_HEADS[kind]
    if head is None:
        raise LocalProtocolError(f"{kind.name} is sent by servers only")
    return _encode(kind, head, args)


def encode_response(kind: PacketType, *args: bytes) -> bytes:
    """Return the bytes of a packet from a server; raises as `encode_request` does."""
    head = _RESPONSE_HEADS[kind]
    if head is None:
        raise LocalProtocolError(f"{kind.name} is never sent by a server")
    return _encode(kind, head, args)


def encode_passed_on(kind: PacketType, args: Sequence[bytes]) -> bytes:
    """Return what `encode_response` would, at half its price, for as many arguments as the packet takes.

    Those before the last are known to hold no NUL, since they have been arguments of a packet before.
    """
    if len(args[-1]) >= _LARGE:
        return encode_response(kind, *args)
    body = NUL.join(args)
    return _RESPONSE_STARTS[kind] + _pack_size(len(body)) + body


def encode_job_created(handle: bytes) -> bytes:
    """Return the bytes of JOB_CREATED: what `encode_response` would, at a third of its price."""
    return _JOB_CREATED + _pack_size(len(handle)) + handle


def encode_error(code: bytes, text: bytes) -> bytes:
    """Return the bytes of an ERROR packet, as for the code and text of a `Fault`."""
    return encode_response(PacketType.ERROR, code, text)


def _encode(kind: PacketType, head: _Head, args: tuple[bytes, ...]) -> bytes:
    count, start = head
    if len(args) != count:
        expected = ", ".join(LAYOUTS[kind].arguments) or "none"
        raise LocalProtocolError(f"{kind.name} takes {count} arguments ({expected}), not {len(args)}")
    if not args:
        return start + _EMPTY
    last = args[-1]
    if count == 1:
        return start + _size(kind, len(last)) + last
    names = NUL.join(args[:-1])
    if names.count(NUL) != count - 2:
        raise LocalProtocolError(
            f"{kind.name}: only its last argument may hold a NUL, not those before: {names[:80]!r}"
        )
    # One join, so that a large last argument is copied once.
    return NUL.join((start + _size(kind, len(names) + 1 + len(last)) + names, last))


def _size(kind: PacketType, size: int) -> bytes:
    if size > _MAX_BODY:
        raise LocalProtocolError(f"{kind.name} of {size} bytes: the size field holds at most {_MAX_BODY}")
    return _pack_size(size)
