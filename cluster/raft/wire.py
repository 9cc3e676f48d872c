"""Messages as bytes: one version byte, then msgpack.

Not for: framing, authentication or compression, which belong to the mesh.
"""

from typing import Final

import msgspec

from cluster.raft.errors import MessageError
from cluster.raft.messages import Message

WIRE_VERSION: Final = 1
"""Raise it when a message changes in a way that an older node would misread."""

_PREFIX: Final = bytes((WIRE_VERSION,))
_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final[msgspec.msgpack.Decoder[Message]] = msgspec.msgpack.Decoder(Message)


def encode(message: Message) -> bytes:
    """Return the bytes of a message."""
    return _PREFIX + _encoder.encode(message)


def decode(data: bytes | bytearray | memoryview) -> Message:
    """Read one message; raise `MessageError` for another version, an unknown kind or damage."""
    view = memoryview(data)
    if not view:
        raise MessageError("an empty message")
    if view[0] != WIRE_VERSION:
        raise MessageError(f"a message of wire version {view[0]}; this node speaks version {WIRE_VERSION}")
    try:
        return _decoder.decode(view[1:])
    except msgspec.MsgspecError as error:
        raise MessageError(f"not a message this node knows: {error}") from error
    except RecursionError as error:
        raise MessageError("a message nested too deeply") from error
