"""The log as the core sees it: all of it by position and term, the recent part of it in memory.

Positions, in order:  base <= applied <= handed <= commit <= last, base <= stable <= written <= last.
(While a snapshot is being installed `stable` is behind all of these: the new base itself is not durable yet.)

- base: where the log begins; entries after it exist, entries up to it are in the snapshot.
- applied: the driver has applied up to here.   - handed: committed entries up to here were given to the driver.
- commit: known to be committed.                - stable: durable on this node.   - written: given to the disk.

What is committed is on a majority's disks; it is applied here at once, though this node's own disk may lag behind.
Entries that are not both stable and applied are always in memory; older ones for as long as they fit, then they are
read from the store. Terms are kept for the whole log as runs (terms only rise along a log), so no question about a term
ever goes to the disk. The cost of every operation is independent of the length of the log.

Not for: deciding what to append or to commit.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence

from cluster.log import Entry
from cluster.raft.configuration import SnapshotMeta
from cluster.raft.errors import RaftInvariantError
from cluster.raft.extent import Extent
from cluster.raft.store import ENTRY_OVERHEAD, LogStore


class LogWindow:
    """The log of one node."""

    __slots__ = (
        "_bytes",
        "_entries",
        "_grain",
        "_max_recent_bytes",
        "_offset",
        "_run_starts",
        "_run_terms",
        "_store",
        "_writes",
        "applied",
        "base_index",
        "base_term",
        "commit",
        "extent",
        "handed",
        "last_index",
        "last_term",
        "stable",
        "written",
    )

    def __init__(
        self, store: LogStore, base: SnapshotMeta, applied: int, max_recent_bytes: int, grain: int = 1
    ) -> None:
        """Open the stored log, which begins after `base`, with the state machine at `applied`; `grain`: of `extent`."""
        self._store = store
        self._max_recent_bytes = max_recent_bytes
        self.base_index = base.index
        self.base_term = base.term
        if store.first_index() != base.index + 1:
            raise RaftInvariantError(f"the log begins at {store.first_index()}, not after its base {base.index}")
        self.last_index = store.last_index()
        self._run_starts = [base.index]
        self._run_terms = [base.term]
        self._load_runs()
        self._grain = grain
        self.extent = Extent(base.index, grain, store.sizes())
        """How many bytes lie after a position, `ENTRY_OVERHEAD` for each entry among them."""
        self.last_term = self._run_terms[-1]
        self.applied = max(applied, base.index)
        if self.applied > self.last_index:
            raise RaftInvariantError(f"the state machine stands at {applied}, the log ends at {self.last_index}")
        self.handed = self.commit = self.applied
        self.stable = self.written = self.last_index
        self._entries: list[Entry] = []
        self._offset = self.last_index + 1
        """The index of the first entry in memory."""
        self._bytes = 0
        self._writes: deque[list[int]] = deque()
        """[sequence, index that its acknowledgement makes stable] of each write not acknowledged, both rising."""

    def _load_runs(self) -> None:
        index = self.base_index + 1
        while index <= self.last_index:
            term = self._store.term(index)
            low, high = index, self.last_index
            while low < high:
                middle = (low + high + 1) // 2
                if self._store.term(middle) == term:
                    low = middle
                else:
                    high = middle - 1
            if term < self._run_terms[-1]:
                raise RaftInvariantError(f"the stored log's term goes back to {term} at index {index}")
            self._note_term(index, term)
            index = low + 1

    def _note_term(self, index: int, term: int) -> None:
        if term != self._run_terms[-1]:
            self._run_starts.append(index)
            self._run_terms.append(term)

    # Questions

    def term(self, index: int) -> int | None:
        """Return the term at `index`, base included; None outside the log."""
        if index > self.last_index or index < self.base_index:
            return None
        if index >= self._run_starts[-1]:
            return self._run_terms[-1]
        return self._run_terms[bisect_right(self._run_starts, index) - 1]

    def last_at_or_below_term(self, index: int, term: int) -> int:
        """Return the highest index <= `index` whose term is <= `term`; the base if there is none (or `index` is less).

        Where two logs disagree at `index`, the entries after the answer cannot be shared (paper, end of section 5.3).
        """
        run = bisect_right(self._run_terms, term) - 1
        if run < 0:
            return self.base_index
        if run + 1 < len(self._run_starts):
            index = min(index, self._run_starts[run + 1] - 1)
        return max(index, self.base_index)

    def is_behind(self, last_term: int, last_index: int) -> bool:
        """Tell whether a log that ends so is at least as up to date as this one (paper, section 5.4.1)."""
        return (last_term, last_index) >= (self.last_term, self.last_index)

    def entries(self, low: int, high: int, max_bytes: int) -> tuple[Entry, ...]:
        """Return entries from `low`, before `high`, within `max_bytes` of data but at least one.

        Empty when the store has them not at hand. `low` must be after the base.
        """
        if low < self._offset:
            found = self._store.entries(low, min(high, self._offset), max_bytes)
            if found and (found[0].index != low or found[-1].index != low + len(found) - 1):
                raise RaftInvariantError(f"the store gave {found[0].index}..{found[-1].index} for entries from {low}")
            return found
        found = tuple(self._entries[low - self._offset : high - self._offset])
        size = 0
        for position, entry in enumerate(found):
            size += len(entry.data)
            if size > max_bytes and position:
                return found[:position]
        return found

    def bytes_after(self, index: int) -> int:
        """Return about how many bytes of the log come after `index`; 0 if nothing does."""
        return self.extent.after(index) if index < self.last_index else 0

    # The tail

    def append(self, entries: Sequence[Entry]) -> None:
        """Append entries that follow the last one."""
        if entries[0].index != self.last_index + 1:
            raise RaftInvariantError(f"append at {entries[0].index} to a log that ends at {self.last_index}")
        size = 0
        for entry in entries:
            if entry.term != self.last_term:
                if entry.term < self.last_term:
                    raise RaftInvariantError(f"append of term {entry.term} after term {self.last_term}")
                self._note_term(entry.index, entry.term)
                self.last_term = entry.term
            size += len(entry.data)
        self._entries.extend(entries)
        size += ENTRY_OVERHEAD * len(entries)
        self._bytes += size
        self.last_index += len(entries)
        self.extent.append(self.last_index, size)

    def truncate(self, index: int) -> None:
        """Remove the entries at and after `index`, which a leader's log contradicts."""
        if index <= self.commit:
            raise RaftInvariantError(f"entry {index} would be truncated, but entries up to {self.commit} are committed")
        keep = max(index - self._offset, 0)
        self._bytes -= sum(len(entry.data) + ENTRY_OVERHEAD for entry in self._entries[keep:])
        del self._entries[keep:]
        self._offset = min(self._offset, index)
        self._store.forget(index)
        self.extent.truncate(index)
        while self._run_starts[-1] >= index:
            self._run_starts.pop()
            self._run_terms.pop()
        self.last_index = index - 1
        self.last_term = self._run_terms[-1]
        self.stable = min(self.stable, self.last_index)
        self.written = min(self.written, self.last_index)
        # A write under way with the truncated entries no longer vouches for these positions, even if entries of the
        # same terms come back to them: only a later write does.
        for write in self._writes:
            write[1] = min(write[1], self.last_index)

    def restore(self, base: SnapshotMeta) -> None:
        """Replace the whole log by a snapshot, which is going to be written next."""
        if base.index <= self.commit:
            raise RaftInvariantError(
                f"a snapshot at {base.index} would take back what is committed up to {self.commit}"
            )
        self._entries.clear()
        self._bytes = 0
        self._offset = base.index + 1
        self._store.forget(0)
        self.extent = Extent(base.index, self._grain)
        self._run_starts = [base.index]
        self._run_terms = [base.term]
        # Nothing of the new log is durable, not even its base, before the write that installs it.
        self.stable = min(self.stable, self.applied)
        for write in self._writes:
            write[1] = self.stable
        self.base_index = self.last_index = self.commit = self.written = base.index
        self.base_term = self.last_term = base.term
        self.applied = self.handed = base.index

    # The disk

    def take_unwritten(self, sequence: int) -> tuple[Entry, ...]:
        """Return the entries not yet given to the disk, as part of the write numbered `sequence`."""
        self._writes.append([sequence, self.last_index])
        first = self.written + 1
        if first > self.last_index:
            return ()
        self.written = self.last_index
        return tuple(self._entries[first - self._offset :])

    def persisted(self, sequence: int) -> bool:
        """Note that the writes up to `sequence` are durable; tell whether that made more entries stable."""
        before = self.stable
        while self._writes and self._writes[0][0] <= sequence:
            self.stable = max(self.stable, self._writes.popleft()[1])
        if self._bytes > self._max_recent_bytes:
            self._evict()
        return self.stable > before

    def write_covering(self, index: int) -> int | None:
        """Return the sequence of the write that makes `index` stable: 0 if it is, None if it is in none yet."""
        if index <= self.stable:
            return 0
        for sequence, last in self._writes:
            if last >= index:
                return sequence
        return None

    # Commit and apply

    def commit_to(self, index: int) -> bool:
        """Raise the commit index to `index`; tell whether that changed it."""
        if index <= self.commit:
            return False
        if index > self.last_index:
            raise RaftInvariantError(f"commit of {index} in a log that ends at {self.last_index}")
        self.commit = index
        return True

    def take_committed(self, max_bytes: int) -> tuple[Entry, ...]:
        """Return the next entries to apply: what is committed. None while a snapshot is being installed."""
        if self.handed >= self.commit or self.stable < self.base_index:
            return ()
        found = self.entries(self.handed + 1, self.commit + 1, max_bytes)
        self.handed += len(found)
        return found

    def applied_to(self, index: int) -> None:
        """Note that entries up to `index` are applied."""
        if index > self.handed:
            raise RaftInvariantError(f"applied up to {index}, but only entries up to {self.handed} were handed out")
        self.applied = max(self.applied, index)
        if self._bytes > self._max_recent_bytes:
            self._evict()

    def _evict(self) -> None:
        """Let the oldest entries leave memory, a quarter more than necessary so that it is seldom done."""
        spare = self._bytes - self._max_recent_bytes * 3 // 4
        limit = min(self.applied, self.stable) - self._offset + 1
        count = 0
        while count < limit and spare > 0:
            size = len(self._entries[count].data) + ENTRY_OVERHEAD
            spare -= size
            self._bytes -= size
            count += 1
        del self._entries[:count]
        self._offset += count

    def compact(self, index: int) -> None:
        """Let the log begin after `index`, which is applied."""
        term = self.term(index)
        if term is None or index > self.applied:
            raise RaftInvariantError(f"compaction to {index} of a log from {self.base_index} applied to {self.applied}")
        run = bisect_right(self._run_starts, index) - 1
        del self._run_starts[:run], self._run_terms[:run]
        self._run_starts[0] = index
        self.base_index, self.base_term = index, term
        self.extent.compact(index)
        drop = index - self._offset + 1
        if drop > 0:
            self._bytes -= sum(len(entry.data) + ENTRY_OVERHEAD for entry in self._entries[:drop])
            del self._entries[:drop]
            self._offset = index + 1
