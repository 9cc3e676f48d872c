"""What consensus asks of the disk: writes, their acknowledgements, and a snapshot in the place of the table.

Acknowledgements come in the order of the writes. While a table is being read back from a snapshot they wait: what
follows from them would be applied to the old one. Not for: how bytes get to the disk (`cluster.storage`), or when
there is another entry to write (`pace`).
"""

from collections import deque
from collections.abc import Callable
from functools import partial

from cluster.raft import Raft, Write
from cluster.storage import Install, Piece
from node.driver.surroundings import Disk, Offload
from node.recovery import Loaded, adopt_meta, load_table


class Writing:
    """The writes of one node's log."""

    def __init__(
        self,
        *,
        name: str,
        raft: Raft,
        disk: Disk,
        offload: Offload,
        clock: Callable[[], float],
        persisted: Callable[[int], None],
        replacing: Callable[[], None],
        replaced: Callable[[Loaded], None],
        failed: Callable[[Exception], None],
    ) -> None:
        """Tie consensus to the disk: `persisted` acknowledges a write, by its number, in a turn of the loop.

        `clock` is the loop's.

        `replacing` is called when a snapshot is about to take the place of the table, `replaced` with what it brought:
        then `go_on` is to be called. `failed` is called when that cannot be read.
        """
        self._name = name
        self._raft = raft
        self._disk = disk
        self._offload = offload
        self._on_persisted = persisted
        self._on_replacing = replacing
        self._on_replaced = replaced
        self._on_failed = failed
        self._began: deque[float] = deque()
        """When each of the writes began that are on their way to the disk."""
        self._clock = clock
        self._unwritten = 0
        """The number of a write that had nothing for the disk, and is acknowledged with those that were under way."""
        self.installed_bytes = 0
        """Bytes of the snapshot that is being received, or was last."""
        self._installing = False
        self._persisted_later: list[int] = []
        """Writes that became durable while a table was being read back: acknowledged after it."""

    @property
    def under_way(self) -> int:
        """Tell how many writes are on their way to the disk."""
        return len(self._began)

    @property
    def since(self) -> float:
        """Tell when the first of them began. There must be one."""
        return self._began[0]

    def begin(self, write: Write) -> None:
        """Carry out a write, whatever else is under way: consensus must not wait for what it asks."""
        if write.snapshot is not None or write.pieces:
            install = None
            done = partial(self._persisted, write.sequence)
            if write.snapshot is not None:
                self._installing = True
                self._on_replacing()
                install = Install(write.snapshot.index, write.snapshot.term, adopt_meta(self._name))
                done = partial(self._installed, write.sequence)
            pieces = [Piece(piece.offset, piece.data) for piece in write.pieces]
            if pieces:
                self.installed_bytes = pieces[-1].offset + len(pieces[-1].data)
            self._began.append(self._clock())
            self._disk.write(write.entries, write.hard_state, pieces, install, done)
        elif write.entries or write.hard_state:
            self._began.append(self._clock())
            self._disk.append(write.entries, write.hard_state, partial(self._persisted, write.sequence))
        elif self.under_way:  # only where the log begins, which the next mirror will write
            self._unwritten = write.sequence
        else:
            self._raft.persisted(write.sequence)

    def _persisted(self, sequence: int) -> None:
        self._began.popleft()
        if self._installing:
            self._persisted_later.append(sequence)
        else:
            self._on_persisted(sequence if self.under_way else max(sequence, self._unwritten))

    # -- a snapshot in the place of the table -------------------------------------------------------------------------

    def _installed(self, sequence: int) -> None:
        """Read back, beside the loop, what the snapshot brought."""
        self._began.popleft()
        self._persisted_later.append(sequence)
        self._offload(self._load, self._on_replaced, self._on_failed)

    def _load(self) -> Loaded:
        with self._disk.view() as view:
            return load_table(view, self._name)

    def go_on(self) -> None:
        """Acknowledge what waited for the table: what the snapshot brought is in it now."""
        self._installing = False
        durable, self._persisted_later = self._persisted_later[-1], []
        self._raft.persisted(durable)
