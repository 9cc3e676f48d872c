"""Telling a torn tail from corruption in SQLite's write-ahead log.

SQLite replays the log up to the first frame whose running checksum is wrong and passes over the rest in silence. After
a crash that is right for the end of the last transaction, which nobody had been told was on disk. It is wrong for
anything before: a rotten bit there would take acknowledged entries with it. The difference can be seen from outside:
with synchronous=FULL a transaction is written only when the one before it has been synced, so when a transaction that
SQLite passed over is followed by yet another, it was durable once and has been damaged since.

Format: https://www.sqlite.org/fileformat2.html#the_write_ahead_log.

Not for: reading pages, or checking the checksums of frames; SQLite does both when it opens the file.
"""

import os
import struct
from pathlib import Path
from typing import Final

import msgspec

from cluster.storage.errors import corrupt

_HEADER: Final = struct.Struct(">IIIIIIII")
"""Magic, format, page size, checkpoint number, salt 1, salt 2, checksum 1, checksum 2."""
_FRAME: Final = struct.Struct(">II8sII")
"""Page number, size of the database after a commit (else 0), the salts, checksum 1, checksum 2."""
_MAGIC: Final = 0x377F0682
"""Checksums over little-endian words; with the lowest bit set, over big-endian ones."""


class Survey(msgspec.Struct, frozen=True):
    """The frames in a write-ahead log that belong to its present generation, by their headers alone."""

    commits: list[int]
    """Positions, from 0, of the frames that end a transaction."""
    end: int
    """One past the last frame of this generation."""

    def lost_transaction(self, replayed: int) -> bool:
        """Tell whether a transaction that had been synced is not among the first `replayed` frames."""
        passed_over = next((position for position in self.commits if position >= replayed), None)
        return passed_over is not None and self.end > passed_over + 1


def survey(path: Path) -> Survey:
    """Look through the headers in the log at `path`; it must be done before SQLite opens the database.

    Raises `CorruptionError` when the log's own header is damaged, which makes SQLite ignore the whole log.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return Survey([], 0)
    with file:
        header = file.read(_HEADER.size)
        if len(header) < _HEADER.size or not any(header):
            return Survey([], 0)
        magic, _, page_size, *_ = _HEADER.unpack(header)
        if magic & ~1 != _MAGIC or not _sound(header, big_endian=bool(magic & 1)):
            raise corrupt(path, "the header of the write-ahead log has a wrong checksum")
        salts = header[16:24]
        stride = _FRAME.size + page_size
        commits: list[int] = []
        end = 0
        for position in range((os.fstat(file.fileno()).st_size - _HEADER.size) // stride):
            frame = os.pread(file.fileno(), _FRAME.size, _HEADER.size + position * stride)
            _, committed, frame_salts, *_ = _FRAME.unpack(frame)
            if frame_salts == salts:
                end = position + 1
                if committed:
                    commits.append(position)
        return Survey(commits, end)


def _sound(header: bytes, *, big_endian: bool) -> bool:
    """Check the header's own checksum ("Checksum Algorithm" in the format's description)."""
    words = struct.unpack(">6I" if big_endian else "<6I", header[:24])
    first = second = 0
    for position in range(0, len(words), 2):
        first = (first + words[position] + second) & 0xFFFFFFFF
        second = (second + words[position + 1] + first) & 0xFFFFFFFF
    return header[24:32] == struct.pack(">II", first, second)
