"""Workloads that come to the table in parts: what of them has come, and the pieces in which the mirror keeps them.

A part is a piece of the mirror from the moment when it comes. The job that is made of an upload goes on to use its
pieces. So nothing of a large workload is written twice, or in one long transaction. Not for: cutting a workload into
parts, which its node does (`node.driver.uploads`).
"""

from collections.abc import Iterable


class Upload:
    """The parts of one workload that have come, in order, and the numbers of their pieces."""

    __slots__ = ("parts", "pieces")

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.pieces: list[int] = []

    def whole(self, last: bytes) -> bytes:
        """Give the workload, of which this is the last part."""
        return b"".join((*self.parts, last))


class Pieces:
    """The pieces of the whole table. Their numbers are part of its state; what the mirror has of them is not."""

    __slots__ = ("_fresh", "_gone", "last")

    def __init__(self) -> None:
        self.last = 0
        """The number of the newest piece there ever was."""
        self._fresh: dict[int, bytes] = {}
        """Pieces that no mirror has yet."""
        self._gone: list[int] = []
        """Pieces that a mirror has and nobody needs any more."""

    def add(self, data: bytes) -> int:
        """Take a piece in; give its number."""
        self.last += 1
        self._fresh[self.last] = data
        return self.last

    def drop(self, numbers: Iterable[int]) -> None:
        """Let pieces go: their job has ended, or their upload was given up."""
        for number in numbers:
            if self._fresh.pop(number, None) is None:
                self._gone.append(number)

    def changes(self) -> tuple[dict[int, bytes], list[int]]:
        """Give what the next mirror has to write, and what it has to drop; regard both as done."""
        fresh, gone = self._fresh, self._gone
        self._fresh, self._gone = {}, []
        return fresh, gone
