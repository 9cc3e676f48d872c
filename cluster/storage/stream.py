"""A snapshot as a stream of bytes: the mirror of one node, on its way to another.

All numbers are little-endian. Every record begins with its kind; the last one's checksum covers all bytes before it.

    header   8 bytes "GEARMESH", format u16, applied index i64, its term i64, length u32, meta
    segment  1 u8, id i64, length u32, data     in the order of their ids
    payload  2 u8, job i64, length u32, data    after all segments, in the order of their jobs
    trailer  0 u8, segments u64, payloads u64, CRC-32 u32

Not for: reading the mirror, or putting a stream into a database.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from cluster.storage.errors import UnusableSnapshotError

FORMAT: Final = 1
"""Raised with every change that an older gearmesh would misread."""

_MAGIC: Final = b"GEARMESH"
_HEADER: Final = struct.Struct("<8sHqqI")
_RECORD: Final = struct.Struct("<BqI")
_TRAILER: Final = struct.Struct("<BQQI")
_COUNTED: Final = _TRAILER.size - 4
"""Bytes of the trailer that its checksum covers."""
_END: Final = 0
_SEGMENT: Final = 1
_PAYLOAD: Final = 2

Row = tuple[int, bytes]


class Header(msgspec.Struct, frozen=True):
    """What a stream begins with."""

    applied_index: int
    applied_term: int
    meta: bytes


def encode(header: Header, segments: Iterable[Row], payloads: Iterable[Row]) -> Iterator[bytes]:
    """Yield the stream in parts, taking one row at a time."""
    start = _HEADER.pack(_MAGIC, FORMAT, header.applied_index, header.applied_term, len(header.meta)) + header.meta
    crc = zlib.crc32(start)
    yield start
    counts = []
    for kind, rows in ((_SEGMENT, segments), (_PAYLOAD, payloads)):
        count = 0
        for number, data in rows:
            head = _RECORD.pack(kind, number, len(data))
            crc = zlib.crc32(data, zlib.crc32(head, crc))
            yield head
            yield data
            count += 1
        counts.append(count)
    end = _TRAILER.pack(_END, *counts, 0)[:_COUNTED]
    yield end + struct.pack("<I", zlib.crc32(end, crc))


class StreamReader:
    """A stream read record by record: the header first, then the segments, then the payloads.

    What it yields is to be trusted only once `payloads` came to its end: the checksum is the last thing in a stream.
    """

    def __init__(self, parts: Iterable[bytes], size: int) -> None:
        """Read the stream of `size` bytes that `parts` are together, never holding more than a record and a part."""
        self._parts = iter(parts)
        self._left = size
        """Bytes not taken yet."""
        self._held = bytearray()
        self._crc = 0
        self._counts: list[int] = []

    def header(self) -> Header:
        """Read the header; to be called first. Raises `UnusableSnapshotError` for what is not ours, or too new."""
        fixed = self._take(_HEADER.size)
        magic, version, applied_index, applied_term, length = _HEADER.unpack(fixed)
        if magic != _MAGIC:
            raise _unusable("it does not begin as one")
        if version != FORMAT:
            raise _unusable(f"it has format {version}, this gearmesh reads format {FORMAT}: run the sender's version")
        return Header(applied_index, applied_term, self._take(length))

    def segments(self) -> Iterator[Row]:
        """Yield the segments; to be called second, and read to its end."""
        return self._rows(_SEGMENT)

    def payloads(self) -> Iterator[Row]:
        """Yield the payloads, then check the stream as a whole; to be called last, and read to its end."""
        yield from self._rows(_PAYLOAD)
        segments, payloads = self._end()
        if [segments, payloads] != self._counts:
            raise _unusable(f"{segments} segments and {payloads} payloads were sent, {self._counts} are there")
        if self._left:
            raise _unusable(f"{self._left} bytes follow its end")

    def _rows(self, wanted: int) -> Iterator[Row]:
        count = 0
        previous: int | None = None
        while self._peek() == wanted:
            _, number, length = _RECORD.unpack(self._take(_RECORD.size))
            if previous is not None and number <= previous:
                raise _unusable(f"record {number} comes after record {previous}")
            previous = number
            count += 1
            yield number, self._take(length)
        self._counts.append(count)

    def _end(self) -> tuple[int, int]:
        if self._peek() != _END:
            raise _unusable(f"it has a record of kind {self._peek()}")
        counted = self._take(_COUNTED)
        covered = self._crc
        _, segments, payloads, crc = _TRAILER.unpack(counted + self._take(_TRAILER.size - _COUNTED))
        if crc != covered:
            raise _unusable("it has a wrong checksum")
        return segments, payloads

    def _peek(self) -> int:
        self._hold(1)
        return self._held[0]

    def _take(self, size: int) -> bytes:
        """Take the next bytes, and them into the checksum."""
        self._hold(size)
        taken = bytes(memoryview(self._held)[:size])
        del self._held[:size]
        self._left -= size
        self._crc = zlib.crc32(taken, self._crc)
        return taken

    def _hold(self, size: int) -> None:
        if size > self._left:
            raise _unusable(f"it ends {size - self._left} bytes too early")
        while len(self._held) < size:
            self._held += next(self._parts)


def _unusable(what: str) -> UnusableSnapshotError:
    return UnusableSnapshotError(
        f"the snapshot that was received cannot be used: {what}. Nothing was replaced. Restart the node: it will be "
        "sent another."
    )
