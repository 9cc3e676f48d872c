"""One line per event, when somebody wants to read them; and the error that ends a run."""

import sys
from typing import Any, TextIO

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


def brief(message: Any) -> str:
    """Give a message in few characters, without the data it carries."""
    parts = []
    for name in message.__struct_fields__:
        value = getattr(message, name)
        if name in ("to", "sender"):
            continue
        if name == "entries":
            value = f"[{value[0].index}..{value[-1].index}]" if value else "[]"
        elif name == "batches":
            value = [(batch.first, len(batch.commands)) for batch in value]
        elif name == "meta":
            value = (value.index, value.term)
        elif isinstance(value, bytes):
            value = f"{len(value)}B"
        parts.append(f"{name}={value}")
    return f"{type(message).__name__}({' '.join(parts)})"
