"""One line per event, when somebody wants to read them; and the error that ends a run."""

import sys
from typing import Any, Final, TextIO

import msgspec

from cluster.formation import decode as decode_formation
from cluster.jobs import Batch
from cluster.raft import decode
from node.peers import Kind
from node.relay import Parcel
from tests.simulation.schedule import SECOND, Schedule


def say(text: str) -> None:
    """Write a line for whoever started the run."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


class ViolationError(Exception):
    """Something happened that never may."""


class Journal:
    """The log of one run. Ask `on` before composing a line."""

    __slots__ = ("_schedule", "_stream", "on")

    def __init__(self, schedule: Schedule, stream: TextIO | None = None) -> None:
        self._schedule = schedule
        self._stream = stream or sys.stdout
        self.on = stream is not None

    def write(self, who: str, event: str, *details: Any) -> None:
        """Write a line."""
        time = self._schedule.now
        rest = " ".join(map(str, details))
        self._stream.write(f"{time // SECOND:4d}.{time % SECOND:06d} {who:<5} {event:<12} {rest}\n")


_batches: Final = msgspec.msgpack.Decoder(list[Batch])
_parcel: Final[msgspec.msgpack.Decoder[Parcel]] = msgspec.msgpack.Decoder(Parcel)


def brief(data: bytes) -> str:
    """Give a message between nodes in few characters, without the data it carries."""
    body = memoryview(data)[1:]
    if data[0] == Kind.BATCHES:
        return " ".join(f"{b.incarnation}:{b.first}+{len(b.commands)}" for b in _batches.decode(body))
    if data[0] == Kind.FORMATION:
        return repr(decode_formation(body))
    message: Any = decode(body) if data[0] == Kind.CONSENSUS else _parcel.decode(body)
    parts = []
    for name in message.__struct_fields__:
        value = getattr(message, name)
        if name in ("to", "sender") and isinstance(value, str):
            continue
        if name == "entries":
            value = f"[{value[0].index}..{value[-1].index}]" if value else "[]"
        elif name == "meta":
            value = (value.index, value.term)
        elif isinstance(value, bytes):
            value = f"{len(value)}B"
        parts.append(f"{name}={value}")
    return f"{type(message).__name__}({' '.join(parts)})"
