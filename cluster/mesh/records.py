"""What is inside a frame: records, each a whole message, a fragment of one, or a word between the links themselves.

    record   kind and lane (1 byte), length (4 bytes, big-endian), payload
    frame    as many records as there are

Sans-IO. Not for: what goes into which frame (`cluster.mesh.outbox`).
"""

import struct
from collections.abc import Callable
from typing import Final

import msgspec

from cluster.mesh.errors import UNREADABLE, ProtocolError
from cluster.mesh.peer import Address, Lane

HEADER: Final = struct.Struct(">BI")

CONTROL: Final = 7
"""Stands where a lane would."""

WHOLE: Final = 0
PART: Final = 8
LAST: Final = 16

_LANES: Final = tuple(Lane)


class Ping(msgspec.Struct, frozen=True, tag="ping"):
    """Ask whether the other end is there."""


class Pong(msgspec.Struct, frozen=True, tag="pong"):
    """Answer that it is."""


class Goodbye(msgspec.Struct, frozen=True, tag="goodbye"):
    """This process ends."""

    failed: bool = False
    """Whether it was not asked to."""


class Refusal(msgspec.Struct, frozen=True, tag="refusal"):
    """This link ends, and why there will be none for a while."""

    reason: str


class Acquaintance(msgspec.Struct, frozen=True):
    """A node that the sender is linked to. An empty host: the sender's own."""

    node: str
    address: Address


class Acquaintances(msgspec.Struct, frozen=True, tag="acquaintances"):
    """Whom the sender is linked to."""

    nodes: tuple[Acquaintance, ...]


class OpenLiveness(msgspec.Struct, frozen=True, tag="liveness"):
    """Ask the end that dialled this link for a liveness connection."""

    nonce: bytes


Control = Ping | Pong | Goodbye | Refusal | Acquaintances | OpenLiveness

_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Control)


def encode_control(word: Control) -> bytes:
    """Turn a word between links into the payload of a record."""
    return _encoder.encode(word)


class Inbox:
    """Takes frames apart and puts fragments together, up to the `longest` message of each lane, in bytes."""

    def __init__(
        self,
        received: Callable[[Lane, bytes], None],
        control: Callable[[Control], None],
        longest: tuple[int, int, int, int],
    ) -> None:
        self._received = received
        self._control = control
        self._longest = longest
        self._parts: tuple[list[bytes], ...] = tuple([] for _ in Lane)
        self._sizes = [0 for _ in Lane]

    def take(self, frame: bytes, start: int) -> None:
        """Hand over what the frame holds from `start` on. Raises ProtocolError."""
        end = len(frame)
        received, unpack, header = self._received, HEADER.unpack_from, HEADER.size
        while start < end:
            if end - start < header:
                raise ProtocolError("a record is cut off")
            kind, length = unpack(frame, start)
            start += header
            stop = start + length
            if stop > end:
                raise ProtocolError("a record is longer than its frame")
            data = frame[start:stop]
            start = stop
            if kind < len(_LANES):
                if self._sizes[kind]:
                    raise ProtocolError("a message came in the middle of another")
                received(_LANES[kind], data)
            elif kind == CONTROL:
                try:
                    word = _decoder.decode(data)
                except UNREADABLE as error:
                    raise ProtocolError(f"an unknown word: {error}") from None
                self._control(word)
            else:
                self._fragment(kind, data)

    def _fragment(self, kind: int, data: bytes) -> None:
        lane = kind & CONTROL
        if kind - lane not in (PART, LAST) or lane >= len(_LANES):
            raise ProtocolError(f"a record of unknown kind {kind}")
        self._sizes[lane] += len(data)
        if self._sizes[lane] > self._longest[lane]:
            raise ProtocolError(f"a message is longer than {self._longest[lane]} bytes")
        parts = self._parts[lane]
        parts.append(data)
        if kind - lane == LAST:
            whole = b"".join(parts)
            parts.clear()
            self._sizes[lane] = 0
            self._received(_LANES[lane], whole)
