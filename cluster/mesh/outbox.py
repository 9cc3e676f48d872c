"""What waits to be sent on a link, and what goes into the next frame.

Each lane has a queue of its own, bounded in bytes, and its share of each frame: 64 KiB. A message longer than that is
sent in fragments, so a frame is never long, and a message for consensus waits for one frame of the other lanes at most.
Words between the links go first.

Sans-IO. Not for: when a frame is sent (`cluster.mesh.link`).
"""

import collections
import enum
from typing import Final

from cluster.mesh.peer import Lane
from cluster.mesh.records import CONTROL, HEADER, LAST, PART, WHOLE

SHARE: Final = 64 * 1024
"""Bytes of each lane in one frame, and the longest message that is sent in one piece."""

MAX_FRAME: Final = (len(Lane) + 1) * SHARE + 4096
"""Bytes of the longest frame: a share of each lane, its words of the links, headers and the seal."""

_OVERHEAD: Final = 64
"""What a waiting message counts besides its bytes, so that empty ones do not wait without bound."""


class Drop(enum.Enum):
    """Why a message is not sent."""

    NO_LINK = "there is no link"
    """Whoever sends knows that already, or is going to be told."""
    FULL = "too much waits to be sent already"
    """It may be sent again later."""
    TOO_LONG = "it is longer than a message may be"
    """It can never be sent: whoever made it has a bug."""


class Outbox:
    """The queues of one link."""

    def __init__(self, bounds: tuple[int, int, int, int], longest: tuple[int, int, int, int]) -> None:
        """For each lane: `bounds` of what may wait, and the `longest` message."""
        self._bounds = bounds
        self._longest = longest
        self._lanes: tuple[collections.deque[bytes | bytearray], ...] = tuple(collections.deque() for _ in Lane)
        self._waiting = [0 for _ in Lane]
        self._sent = [0 for _ in Lane]
        """How much of each lane's first message has gone already, in fragments."""
        self._control: collections.deque[bytes] = collections.deque()

    def put(self, lane: Lane, data: bytes | bytearray) -> Drop | None:
        """Queue a message, or tell why not. A lane where nothing waits takes any message that is not too long."""
        size = len(data)
        waiting = self._waiting[lane]
        if size > self._longest[lane]:
            return Drop.TOO_LONG
        if waiting and waiting + size + _OVERHEAD > self._bounds[lane]:
            return Drop.FULL
        self._lanes[lane].append(data)
        self._waiting[lane] = waiting + size + _OVERHEAD
        return None

    def put_control(self, data: bytes) -> None:
        """Queue a word between the links. There are few, and they are short."""
        self._control.append(data)

    def clear(self) -> None:
        """Drop everything: there is nobody to send it to."""
        for lane in Lane:
            self._lanes[lane].clear()
            self._waiting[lane] = self._sent[lane] = 0
        self._control.clear()

    def __bool__(self) -> bool:
        return any(self._waiting) or bool(self._control)

    def waiting(self, lane: Lane) -> int:
        """Tell how many bytes a lane's queue counts."""
        return self._waiting[lane]

    def next_frame(self) -> bytes:
        """Take what goes into the next frame; nothing when nothing waits."""
        parts: list[bytes | bytearray | memoryview] = []
        room = SHARE
        while self._control and room > 0:
            data = self._control.popleft()
            parts += (HEADER.pack(CONTROL, len(data)), data)
            room -= len(data) + HEADER.size
        for lane in range(len(self._lanes)):
            if self._waiting[lane]:
                self._fill(lane, parts)
        return b"".join(parts)

    def _fill(self, lane: int, parts: list[bytes | bytearray | memoryview]) -> None:
        queue, pack = self._lanes[lane], HEADER.pack
        room, sent, freed = SHARE, self._sent[lane], 0
        while queue:
            data = queue[0]
            size = len(data)
            if size <= SHARE:
                if size > room:
                    break
                parts += (pack(WHOLE | lane, size), data)
                room -= size + HEADER.size
            else:
                piece = min(room, size - sent)
                if piece <= 0:
                    break
                last = sent + piece == size
                parts += (pack((LAST if last else PART) | lane, piece), memoryview(data)[sent : sent + piece])
                room -= piece
                if not last:
                    sent += piece
                    break
                sent = 0
            queue.popleft()
            freed += size + _OVERHEAD
        self._sent[lane] = sent
        self._waiting[lane] -= freed
