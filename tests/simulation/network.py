"""The links between the nodes: they delay, lose, repeat and reorder, and may be cut in one direction or both."""

from collections.abc import Callable
from random import Random
from typing import Any

from cluster.raft import Message, decode, encode
from tests.simulation.journal import Journal, brief
from tests.simulation.schedule import MS, SECOND, Schedule


class Network:
    """All links."""

    def __init__(
        self, schedule: Schedule, random: Random, journal: Journal, arrive: Callable[[str, Any], None]
    ) -> None:
        """`arrive(to, message)` is called when a message has come through."""
        self._schedule = schedule
        self._random = random.random
        self._journal = journal
        self._arrive = arrive
        self.cut: set[tuple[str, str]] = set()
        """Pairs (from, to) between which nothing gets through."""
        self.loss = 0.0
        self.repeats = 0.0
        self.jitter = 2 * MS
        """Delays are even between 0.2 ms and this."""
        self.stragglers = 0.0
        """How many messages are held up for up to two seconds, and so come after their successors."""
        self.as_bytes = False
        """Whether consensus messages travel encoded, as on a real link."""

    def heal(self) -> None:
        """Lose and hold up nothing any more."""
        self.cut.clear()
        self.loss = self.repeats = self.stragglers = 0.0
        self.jitter = 2 * MS

    def send(self, sender: str, to: str, message: Any) -> None:
        """Take a message; what becomes of it is chance's business."""
        random = self._random
        if self._journal.on:
            self._journal.write(sender, f"-> {to}", brief(message))
        if (sender, to) in self.cut or (self.loss and random() < self.loss):
            if self._journal.on:
                self._journal.write(to, "lost", f"from {sender}:", type(message).__name__)
            return
        if self.as_bytes and isinstance(message, Message):
            message = decode(encode(message))
        self._schedule.after(self._delay(), self._arrive, to, message)
        if self.repeats and random() < self.repeats:
            self._schedule.after(self._delay(), self._arrive, to, message)

    def _delay(self) -> int:
        random = self._random
        if self.stragglers and random() < self.stragglers:
            return int(random() * 2 * SECOND)
        return 200 + int(random() * self.jitter)
