"""Answers that wait behind earlier ones which are not known yet, and how many bytes they are.

Answers leave in the order of the requests. Not for: why an answer is not known (`joins`), or its way to the peer
(`connection`).
"""

from collections import deque
from itertools import islice


class Owed:
    """The place of an answer that is not known yet, though later ones may be."""

    __slots__ = ("behind", "counted", "packet", "size")

    def __init__(self) -> None:
        self.packet = b""
        """The answer; empty: not known."""
        self.behind: list[bytes] = []
        """What is to be sent behind it."""
        self.counted = 0
        """How many of these are in `size`."""
        self.size = 0
        """Bytes that are to be sent behind it."""


class Withheld(deque[Owed]):
    """The answers of one connection that are not known, in the order in which they are owed, and what waits for them.

    A deque, since whether there are any is looked at for all that is sent.
    """

    __slots__ = ("size",)

    def __init__(self) -> None:
        super().__init__()
        self.size = 0
        """Bytes that wait behind answers which are not known, when they were counted last."""

    def weigh(self) -> int:
        """Count the bytes that wait. What has come since the last time can only be behind the last answer."""
        if self:
            last = self[-1]
            size = sum(map(len, islice(last.behind, last.counted, None)))
            last.counted = len(last.behind)
            last.size += size
            self.size += size
        return self.size

    def owe(self) -> Owed:
        """Keep the next place for an answer."""
        self.weigh()
        owed = Owed()
        self.append(owed)
        return owed

    def release(self) -> list[bytes]:
        """Let go of what need not wait any more, and give it in order."""
        self.weigh()
        known: list[bytes] = []
        while self and self[0].packet:
            owed = self.popleft()
            self.size -= owed.size
            known.append(owed.packet)
            known += owed.behind
        return known

    def clear(self) -> None:
        """Let go of all of them."""
        super().clear()
        self.size = 0
