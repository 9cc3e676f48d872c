"""What goes in and out of a store besides log entries, and the checksum that every row carries.

Not for: reading or writing them.
"""

import struct
import zlib
from collections.abc import Callable
from typing import Final

import msgspec

from cluster.log import HardState


class Recovered(msgspec.Struct, frozen=True):
    """Where a store stands when it is opened."""

    hard_state: HardState
    applied_index: int
    """The last entry whose effect is in the mirror; 0 when there is no mirror yet."""
    applied_term: int
    """That entry's term."""
    meta: bytes
    """The mirror's meta, as it was handed over with it; empty when there is no mirror yet."""
    first_index: int
    """The first entry in the log; `last_index + 1` when the log is empty."""
    last_index: int
    """The last entry in the log; when it is empty, the last one that was compacted away."""
    compacted_term: int
    """The term of entry `first_index - 1`, which the log no longer holds; 0 when nothing was compacted."""


class Outline(msgspec.Struct, frozen=True):
    """A part of the log without what its entries hold: that may be more than is to be in memory."""

    terms: tuple[tuple[int, int], ...] = ()
    """(index, term) of the first entry of each term, in order."""
    sizes: tuple[tuple[int, int, int], ...] = ()
    """(index of the last, number, bytes of data) of neighbouring entries, in order."""


class Mirror(msgspec.Struct, frozen=True):
    """What changed in the job table since the last mirror, to be written in one transaction."""

    applied_index: int
    """The last entry whose effect this mirror includes; it must be in the log already."""
    applied_term: int
    meta: bytes
    """Replaces the whole meta."""
    segments: list[tuple[int, bytes | None]]
    """Segments to insert or replace, each at most once; None deletes."""
    payloads: list[tuple[int, bytes]]
    """Payloads to insert; one that is there already is replaced."""
    dropped_payloads: list[int]
    """Jobs whose payload goes; those that have none are passed over."""
    compact_to: int
    """Entries up to and including this one leave the log; at most `applied_index`."""


class Piece(msgspec.Struct, frozen=True, gc=False):
    """A part of a snapshot that is being received, to be put aside until all of it is there."""

    offset: int
    """Where the data goes, in bytes; what was put aside from there on is dropped."""
    data: bytes


def _as_it_is(meta: bytes) -> bytes:
    return meta


class Install(msgspec.Struct, frozen=True, gc=False):
    """The snapshot that was put aside takes the place of mirror and log; the log then begins after this position."""

    index: int
    term: int
    adopt: Callable[[bytes], bytes] = _as_it_is
    """Gives the meta to keep here, from the sender's: what in it is the sender's own is to become this node's. Called
    by the thread that writes, inside the transaction; when it raises, the snapshot is refused."""


_NUMBERS: Final = tuple(struct.Struct(f"<{n}q") for n in range(7))

_HELD: Final = 5 * 1024
"""Up to this many bytes zlib keeps the interpreter's lock."""
_WORTH_RELEASING: Final = 128 * 1024


def checksum(data: bytes, *numbers: int) -> int:
    """Compute the CRC-32 of a row: its numbers (signed, 64 bits each), then its data.

    zlib gives the interpreter's lock away for more than 5 KiB and must then wait for a busy event loop to return it,
    up to 5 ms for work of some microseconds. So data of moderate size goes through in pieces small enough to keep it.
    """
    crc = zlib.crc32(_NUMBERS[len(numbers)].pack(*numbers))
    size = len(data)
    if size <= _HELD or size > _WORTH_RELEASING:
        return zlib.crc32(data, crc)
    view = memoryview(data)
    for start in range(0, size, _HELD):
        crc = zlib.crc32(view[start : start + _HELD], crc)
    return crc
