"""What may leave when: the gate between decisions and the disk they depend on.

Writes are numbered; a message is released when the write it depends on is durable. Two rules cover everything:

1. A message of a term leaves when the hard state (that term, and the vote in it) is durable.
2. A message that acknowledges something leaves when what it acknowledges is durable.

Not for: building the writes (`core`) or the messages.
"""

from cluster.raft.errors import RaftInvariantError
from cluster.raft.messages import Message


class Outbox:
    """Messages on their way out, and the numbers of the writes they wait for."""

    __slots__ = ("_held", "_ready", "hard_state_write", "persisted", "sequence")

    def __init__(self) -> None:
        self._ready: list[Message] = []
        self._held: list[tuple[int, Message]] = []
        self.sequence = 0
        """The number of the last write given out."""
        self.persisted = 0
        """Writes up to this number are durable."""
        self.hard_state_write = 0
        """The number of the write that makes the current hard state durable."""

    @property
    def next_write(self) -> int:
        """The number of the write that will hold what is not given out yet."""
        return self.sequence + 1

    @property
    def hard_state_due(self) -> bool:
        """Tell whether the hard state changed since the last write was given out."""
        return self.hard_state_write > self.sequence

    def hard_state_changed(self, *, new_term: bool) -> None:
        """Note a change of term or vote. Messages of an earlier term that still wait are of no use to anyone now."""
        self.hard_state_write = self.next_write
        if new_term:
            self._held.clear()

    def send(self, message: Message, after: int = 0) -> None:
        """Send `message` when the hard state, and the write numbered `after`, are durable."""
        after = max(after, self.hard_state_write)
        if after > self.persisted:
            self._held.append((after, message))
        else:
            self._ready.append(message)

    def release(self, sequence: int) -> bool:
        """Note that the writes up to `sequence` are durable; tell whether that is news."""
        if sequence > self.sequence:
            raise RaftInvariantError(f"write {sequence} is acknowledged, but the last one given out is {self.sequence}")
        if sequence <= self.persisted:
            return False
        self.persisted = sequence
        if self._held:
            waiting = self._held
            self._held = []
            for item in waiting:
                if item[0] <= sequence:
                    self._ready.append(item[1])
                else:
                    self._held.append(item)
        return True

    def take(self) -> tuple[Message, ...]:
        """Return the messages that may leave now."""
        if not self._ready:
            return ()
        messages = tuple(self._ready)
        self._ready.clear()
        return messages
