"""Putting the snapshot that was put aside in the place of the mirror's rows.

First the stream is read to its end and checked, then it is read again and written: a snapshot may be larger than
memory, and its checksum is the last thing in it. Never more than a statement's rows are held.

Not for: transactions, the mirror's state, or the log; the store does these in the same transaction.
"""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Final

from cluster.storage.blobs import ROWS_PER_STATEMENT, BlobTable
from cluster.storage.errors import UnusableSnapshotError
from cluster.storage.records import Install
from cluster.storage.spool import Spool
from cluster.storage.stream import StreamReader

_BYTES_HELD: Final = 1024 * 1024


class Installation:
    """One installation: `check`, then `carry_out`."""

    def __init__(self, spool: Spool, segments: BlobTable, payloads: BlobTable) -> None:
        """Take from `spool`, replace `segments` and `payloads`."""
        self._spool = spool
        self._segments = segments
        self._payloads = payloads
        self.segments: set[int] = set()
        """The segments that were written."""
        self.rows = 0
        """How many rows were written."""

    def check(self, install: Install, size: int) -> bytes:
        """Read the stream of `size` bytes to its end; returns the mirror's meta as this node is to keep it.

        Raises `UnusableSnapshotError` when it is not whole, not ours, not of the position to install, or has a meta
        that cannot be adopted.
        """
        with contextlib.closing(self._spool.read()) as parts:
            stream = StreamReader(parts, size)
            header = stream.header()
            if (header.applied_index, header.applied_term) != (install.index, install.term):
                raise UnusableSnapshotError(
                    f"a snapshot of entry {install.index} of term {install.term} was announced, one of entry "
                    f"{header.applied_index} of term {header.applied_term} came. Nothing was replaced. Restart the "
                    "node: it will be sent another."
                )
            for rows in (stream.segments(), stream.payloads()):
                for _ in rows:
                    pass
        try:
            return install.adopt(header.meta)
        except Exception as error:
            raise UnusableSnapshotError(
                f"the snapshot that was received has a meta that this node cannot adopt: {error}. Nothing was "
                "replaced. Run the sender's version, or restart the node: it will be sent another."
            ) from error

    def carry_out(self, index: int, size: int) -> int:
        """Replace all rows by those of the stream, as the mirror of entry `index`; returns the bytes in them."""
        self._segments.clear()
        self._payloads.clear()
        written = 0
        with contextlib.closing(self._spool.read()) as parts:
            stream = StreamReader(parts, size)
            stream.header()
            for number, length in self._fill(self._segments, stream.segments(), index):
                self.segments.add(number)
                self.rows += 1
                written += length
            for _, length in self._fill(self._payloads, stream.payloads(), index):
                self.rows += 1
                written += length
        self._spool.clear()
        return written

    @staticmethod
    def _fill(table: BlobTable, rows: Iterable[tuple[int, bytes]], index: int) -> Iterator[tuple[int, int]]:
        """Write rows; yield the number and the size of each."""
        gathered: list[tuple[int, bytes]] = []
        held = 0
        for row in rows:
            gathered.append(row)
            held += len(row[1])
            if len(gathered) == ROWS_PER_STATEMENT or held >= _BYTES_HELD:
                table.write(gathered, index)
                gathered = []
                held = 0
            yield row[0], len(row[1])
        table.write(gathered, index)
