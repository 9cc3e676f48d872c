"""The group of one: an entry is committed as soon as this node's own disk has it, and no sooner.

It speaks `cluster.consensus`, so that a driver works the same with it as with a group of several. Not for: electing,
replicating, or forgetting any part of the log that a peer might still need: there are no peers.
"""

from collections import deque
from collections.abc import Iterable
from typing import Final

from cluster.consensus import Position, Ready, Write
from cluster.log import Entry, EntryKind

TERM: Final = 1
"""The only term there is: nobody else ever stands for election."""


class SoloGroup:
    """Consensus with oneself."""

    def __init__(self, last_index: int, unapplied: Iterable[Entry] = ()) -> None:
        """Go on after `last_index`; `unapplied` are the entries on disk that the state machine has not seen yet."""
        self._last = last_index
        self._sequence = 0
        self._proposed: list[Entry] = []
        self._writing: deque[Write] = deque()
        self._committed: list[Entry] = list(unapplied)

    def propose(self, data: bytes) -> Position:
        """Append commands to the log."""
        self._last += 1
        self._proposed.append(Entry(self._last, TERM, EntryKind.COMMANDS, data))
        return Position(self._last, TERM)

    def ready(self) -> Ready | None:
        """Take what there is to do now; None: nothing."""
        if not self._proposed and not self._committed:
            return None
        write = None
        if self._proposed:
            self._sequence += 1
            write = Write(self._sequence, tuple(self._proposed))
            self._writing.append(write)
            self._proposed = []
        committed = tuple(self._committed)
        self._committed = []
        return Ready(write, committed)

    def persisted(self, sequence: int) -> None:
        """Acknowledge that the writes up to and including `sequence` are durable: that commits their entries."""
        while self._writing and self._writing[0].sequence <= sequence:
            self._committed.extend(self._writing.popleft().entries)

    def applied(self, index: int) -> None:
        """Acknowledge that committed entries are applied. Nothing here depends on it."""
