"""Send and receive a snapshot in pieces, over a network that loses, repeats and reorders them.

The sender has at most a window of pieces under way and keeps just those in memory, so it reads its source once, from
the front; it sends them again when no acknowledgement comes, or one that shows a gap. The receiver takes pieces in
order only, and acknowledges where it stands. Each piece carries the CRC-32 of all bytes so far, so that a mistake
anywhere is found at once. After a loss the transfer goes on where it was; only a receiver that restarted begins anew,
with a new stream.

Two state machines without a word about Raft. Not for: deciding who needs a snapshot (`replication`), what installing
one does (`following`).
"""

import enum
import zlib
from collections import deque

import msgspec

from cluster.raft.configuration import SnapshotMeta


class Piece(msgspec.Struct, frozen=True, gc=False):
    """A part of a stream on its way."""

    offset: int
    data: bytes
    checksum: int
    """CRC-32 of all bytes of the stream up to the end of `data`."""
    done: bool

    @property
    def end(self) -> int:
        """The offset just after it."""
        return self.offset + len(self.data)


class SnapshotSender:
    """One stream to one follower: opening -> sending -> sent."""

    __slots__ = (
        "_checksum",
        "_end",
        "_quiet",
        "_repeated",
        "_resend_ticks",
        "_resent",
        "_window",
        "idle",
        "meta",
        "number",
        "reading",
        "to",
        "under_way",
    )

    def __init__(self, number: int, to: str, window: int, resend_ticks: int) -> None:
        """Wait to be `opened`."""
        self.number = number
        self.to = to
        self.meta: SnapshotMeta | None = None
        """What is being sent; None while the driver opens it."""
        self.reading = False
        """The driver was asked for data, and has not answered."""
        self.idle = 0
        """Ticks since the receiver made progress (or the driver opened the source)."""
        self.under_way: deque[Piece] = deque()
        """Sent and not acknowledged."""
        self._window = window
        self._resend_ticks = resend_ticks
        self._quiet = 0
        self._resent = False
        """Whether all that is under way was sent again since the receiver last made progress."""
        self._repeated = -1
        """The offset of the last piece that was sent again because those behind it came without it."""
        self._end: int | None = None
        self._checksum = 0

    def opened(self, meta: SnapshotMeta) -> None:
        """Begin: the source is open."""
        self.meta = meta
        self.idle = 0

    @property
    def wants_data(self) -> bool:
        """Tell whether the driver should read the next bytes now."""
        return self.meta is not None and not self.reading and self._end is None and len(self.under_way) < self._window

    @property
    def can_begin_again(self) -> bool:
        """Tell whether the whole stream up to now is still under way, so that sending again makes good any loss."""
        return not self.under_way or self.under_way[0].offset == 0

    def data(self, data: bytes, *, offset: int, done: bool) -> Piece:
        """Take the next bytes of the source, which begin at `offset`; return the piece to send."""
        self.reading = False
        self._checksum = zlib.crc32(data, self._checksum)
        piece = Piece(offset, data, self._checksum, done)
        if done:
            self._end = piece.end
        self.under_way.append(piece)
        return piece

    def acknowledged(self, offset: int) -> bool:
        """Note that the receiver has everything before `offset`; tell whether that is more than was known."""
        more = bool(self.under_way) and self.under_way[0].end <= offset
        if more:
            self.idle = self._quiet = 0
            self._resent = False
        # The last piece stays until the snapshot is installed: its acknowledgement may be lost.
        while self.under_way and self.under_way[0].end <= offset and not self.under_way[0].done:
            self.under_way.popleft()
        return more

    def gap(self, offset: int) -> tuple[Piece, ...]:
        """Return the pieces to send again at once, as the receiver says again that it waits for the one at `offset`.

        What comes behind a lost piece is not taken. It is not sent twice for that; the timer sees to the rest.
        """
        if not self.under_way or self.under_way[0].offset != offset or self._repeated >= offset:
            return ()
        self._repeated = offset
        return tuple(self.under_way)

    def tick(self) -> tuple[Piece, ...]:
        """Let a tick pass; return the pieces to send again."""
        self.idle += 1
        if not self.under_way:
            return ()
        self._quiet += 1
        if self._quiet < self._resend_ticks:
            return ()
        self._quiet = 0
        if self._resent:
            return (self.under_way[0],)  # it only asks: a receiver that is slow is not to be sent everything twice
        self._resent = True
        return tuple(self.under_way)


class Verdict(enum.Enum):
    """What became of a piece."""

    STALE = "stale"
    """Of an older stream: say nothing."""
    REPEATED = "repeated"
    """Not the one awaited: say again where this end stands."""
    TAKEN = "taken"
    COMPLETE = "complete"
    """Taken, and it was the last."""
    LOST = "lost"
    """Its beginning is not here (lost, or still on its way), or it is damaged: nothing of the stream is here now."""


class SnapshotReceiver:
    """What one follower has of the stream it is sent. One at a time: a newer one takes an older one's place."""

    __slots__ = ("_checksum", "complete", "number", "offset")

    def __init__(self) -> None:
        self.number = 0
        """The stream's number; 0: none."""
        self.offset = 0
        """Bytes taken."""
        self.complete = False
        self._checksum = 0

    def drop(self) -> None:
        """Wait for a new stream, of a new sender."""
        self.number = self.offset = self._checksum = 0
        self.complete = False

    def piece(self, number: int, piece: Piece) -> Verdict:
        """Take a piece of the stream `number`."""
        if number < self.number:
            return Verdict.STALE
        if number > self.number:
            if piece.offset != 0:
                return Verdict.LOST
            self.drop()
            self.number = number
        if self.complete or piece.offset != self.offset:
            return Verdict.REPEATED
        checksum = zlib.crc32(piece.data, self._checksum)
        if checksum != piece.checksum:
            self.drop()
            return Verdict.LOST
        self.offset = piece.end
        self._checksum = checksum
        self.complete = piece.done
        return Verdict.COMPLETE if piece.done else Verdict.TAKEN
