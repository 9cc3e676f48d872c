"""Reads that must not be stale: what any node acknowledged before the question is in the table when it is answered.

All questions of one moment share one read barrier (`Raft.read_index`). Where the leader changes meanwhile the question
is asked again. Not for: what this node itself has proposed (`gathering.when_settled`).
"""

from collections.abc import Callable

from cluster.raft import Raft, ReadState, RefusedError


class ReadBarriers:
    """The questions of one node."""

    def __init__(self, raft: Raft) -> None:
        self._raft = raft
        self._gathered: list[Callable[[], None]] = []
        self._asked: dict[int, list[Callable[[], None]]] = {}
        self._confirmed: list[tuple[int, list[Callable[[], None]]]] = []
        self._number = 0

    def add(self, callback: Callable[[], None]) -> None:
        """Call back once this node's table knows all that is acknowledged anywhere now."""
        self._gathered.append(callback)

    def ask(self) -> None:
        """Ask for a barrier behind which everything gathered is answered; again later, if that is not possible now."""
        if not self._gathered:
            return
        self._number += 1
        try:
            self._raft.read_index(self._number)
        except RefusedError:
            return
        self._asked[self._number] = self._gathered
        self._gathered = []

    def answered(self, read: ReadState) -> None:
        """Take what became of one barrier."""
        callbacks = self._asked.pop(read.context)
        if read.index is None:
            self._gathered = callbacks + self._gathered
        else:
            self._confirmed.append((read.index, callbacks))

    def applied(self, index: int) -> None:
        """Answer what only waited for the table to get so far."""
        if not self._confirmed:
            return
        due = [callbacks for needed, callbacks in self._confirmed if needed <= index]
        self._confirmed = [waiting for waiting in self._confirmed if waiting[0] > index]
        for callbacks in due:
            for callback in callbacks:
                callback()

    def forget(self) -> None:
        """Answer nobody any more: those who asked are gone."""
        self._gathered = []
        self._asked = {number: [] for number in self._asked}
        self._confirmed = []
