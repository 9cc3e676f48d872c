"""The configurations in the log, by position: which one is in force, and which one was at an earlier index.

Truncating the log takes back what the truncated entries put into force; a snapshot needs the configuration of its own
index, not today's. Not for: deciding on changes.
"""

from collections.abc import Iterable

from cluster.log import Entry, EntryKind
from cluster.raft.configuration import Configuration, SnapshotMeta, decode_configuration


class ConfigurationHistory:
    """The base's configuration, and each one entered into the log since.

    Invariant: the indexes rise; the first is at or before the log's base; there is always one.
    """

    __slots__ = ("_indexes", "_values", "current", "index")

    def __init__(self, base: SnapshotMeta, entries: Iterable[Entry] = ()) -> None:
        """Begin at `base`, and take in the configuration entries after it."""
        self._indexes: list[int] = []
        self._values: list[Configuration] = []
        self.current: Configuration
        """The configuration in force."""
        self.index: int
        """Where it was entered (or the base's index)."""
        self.restore(base)
        self.note(entries)

    def restore(self, base: SnapshotMeta) -> None:
        """Begin anew at `base`."""
        self._indexes = [base.index]
        self._values = [base.configuration]
        self._settle()

    def note(self, entries: Iterable[Entry]) -> bool:
        """Take in the configurations among `entries`, just appended; tell whether there were any."""
        changed = False
        for entry in entries:
            if entry.kind == EntryKind.CONFIGURATION:
                self._indexes.append(entry.index)
                self._values.append(decode_configuration(entry.data))
                changed = True
        if changed:
            self._settle()
        return changed

    def truncate(self, index: int) -> None:
        """Take back what was entered at or after `index`."""
        while len(self._indexes) > 1 and self._indexes[-1] >= index:
            self._indexes.pop()
            self._values.pop()
        self._settle()

    def at(self, index: int) -> Configuration:
        """Return the configuration that was in force at `index`, which is not before the base."""
        for position in range(len(self._indexes) - 1, -1, -1):
            if self._indexes[position] <= index:
                return self._values[position]
        return self._values[0]

    def since(self, index: int) -> list[Configuration]:
        """Return the configuration that was in force at `index` and those entered after it."""
        first = len(self._indexes) - 1
        while first > 0 and self._indexes[first] > index:
            first -= 1
        return self._values[first:]

    def compact(self, index: int) -> None:
        """Forget what is older than the configuration of `index`."""
        while len(self._indexes) > 1 and self._indexes[1] <= index:
            del self._indexes[0], self._values[0]

    def _settle(self) -> None:
        self.current = self._values[-1]
        self.index = self._indexes[-1]
