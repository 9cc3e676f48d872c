"""One link: a proven connection to one peer, its queues, and whether the peer is still there.

Messages of one turn of the loop leave in one frame at the end of it. When the transport's buffer is full, what waits
stays in the lanes, where a message for consensus can overtake the rest, until the transport has room again.

Not for: whether there should be this link (`cluster.mesh.pairing`).
"""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from cluster.mesh.connection import Connection
from cluster.mesh.errors import ClosedError, MeshError
from cluster.mesh.outbox import Drop, Outbox
from cluster.mesh.peer import Address, Lane, Peer
from cluster.mesh.records import (
    Acquaintances,
    Control,
    Goodbye,
    Inbox,
    OpenLiveness,
    Ping,
    Pong,
    Refusal,
    encode_control,
)
from cluster.mesh.seal import Seal
from cluster.mesh.settings import Limits, Timing

_TURN: Final = 256 * 1024
"""Bytes that a link writes in one turn of the loop; the rest waits for the next, and others have theirs in between."""


class LinkOwner(Protocol):
    """Who is told what becomes of a link."""

    def link_ended(self, link: "Link", error: MeshError) -> None:
        """Take note that the link is lost, once."""

    def liveness_wanted(self, link: "Link", nonce: bytes) -> None:
        """Open a liveness connection for a link."""

    def acquaintances_told(self, link: "Link", told: Acquaintances) -> None:
        """Take note of whom the peer is linked to."""


class Link:
    """Sends and receives messages until the connection ends, or the peer is silent for too long."""

    def __init__(
        self,
        number: int,
        peer: Peer,
        evidence: Address | None,
        connection: Connection,
        seals: tuple[Seal, Seal],
        received: Callable[[Lane, bytes], None],
        owner: LinkOwner,
        timing: Timing,
        limits: Limits,
    ) -> None:
        """Take over `connection`; `seals` are of what goes out and what comes in.

        `evidence` is where the peer certainly listens: when nobody does there any more, it is gone.
        """
        self.number = number
        self.peer = peer
        self.evidence = evidence
        self.node: Final = peer.introduction.node
        self.connection = connection
        self.farewell: Goodbye | Refusal | None = None
        """What the peer said last, if it did."""
        self.seals = self._outgoing, self._incoming = seals
        self._owner = owner
        self._timing = timing
        self._loop = asyncio.get_running_loop()
        self._outbox = Outbox(limits.lanes(), limits.longest())
        self._received = received
        self._inbox = Inbox(self._message_received, self._control_received, limits.longest())
        self._flushing = False
        self._ended = False
        self._heard_at = self._looked_at = self._loop.time()
        self._watch = self._loop.call_later(timing.ping, self._look)
        self._linger: asyncio.TimerHandle | None = None

    def send(self, lane: Lane, data: bytes | bytearray) -> Drop | None:
        """Queue a message, or tell why not."""
        if self._ended:
            return Drop.NO_LINK
        drop = self._outbox.put(lane, data)
        if drop is None:
            self._flush_soon()
        return drop

    def waiting(self, lane: Lane) -> int:
        """Tell how many bytes of a lane wait here to be sent."""
        return self._outbox.waiting(lane)

    def say(self, word: Control) -> None:
        """Send a word to the other end, ahead of the messages that wait."""
        if self._ended:
            return
        self._outbox.put_control(encode_control(word))
        self._flush_soon()

    def part(self, word: Goodbye | Refusal) -> None:
        """Say why this link ends, and end it: when the peer has heard it and closed, or after a moment. No event."""
        if self._ended:
            return
        self._flush()
        self._outbox.put_control(encode_control(word))
        self._write()
        self._end()
        self._linger = self._loop.call_later(self._timing.linger, self.connection.abort)

    def _flush(self) -> None:
        self._flushing = False
        if self._ended:
            return
        room = _TURN
        while not self.connection.congested and room > 0:
            size = self._write()
            if not size:
                return
            room -= size
        if self._outbox:
            self._flush_soon()

    def _flush_soon(self) -> None:
        if not self._flushing and not self.connection.congested:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _write(self) -> int:
        body = self._outbox.next_frame()
        if body:
            self.connection.write(self._outgoing.tag(body), body)
        return len(body)

    # --- FrameHandler

    def frame_received(self, frame: bytes) -> None:
        """Take a frame from the connection. Raises ProtocolError."""
        self._incoming.check(frame)
        self._inbox.take(frame, self._incoming.size)

    def writable(self) -> None:
        """Go on writing."""
        if not self._flushing:
            self._flush()

    def connection_ended(self, error: MeshError) -> None:
        """Take note that the connection is no more."""
        if self._linger is not None:
            self._linger.cancel()
        if not self._ended:
            self._end()
            self._owner.link_ended(self, error)

    def _message_received(self, lane: Lane, data: bytes) -> None:
        if not self._ended:
            self._received(lane, data)

    def _control_received(self, word: Control) -> None:
        match word:
            case Ping():
                self.say(Pong())
            case Pong():
                pass
            case Acquaintances():
                if not self._ended:
                    self._owner.acquaintances_told(self, word)
            case OpenLiveness():
                if not self._ended:
                    self._owner.liveness_wanted(self, word.nonce)
            case Goodbye():
                self.farewell = word
                raise ClosedError("it said goodbye")
            case Refusal():
                self.farewell = word
                raise ClosedError(f"it refuses this node: {word.reason}")

    # --- is it there?

    def ask(self) -> None:
        """Make the peer show within one ping that it is there, or count as lost."""
        self._heard_at = min(self._heard_at, self._loop.time() - self._timing.dead + 1.5 * self._timing.ping)
        self.connection.heard = False
        self.say(Ping())

    def _look(self) -> None:
        now = self._loop.time()
        # After a stop of this process itself, what has come meanwhile has not been read yet.
        stalled = now - self._looked_at > 2 * self._timing.ping
        self._looked_at = now
        if self.connection.heard or stalled:
            self.connection.heard = False
            self._heard_at = now
        elif now - self._heard_at >= self._timing.dead:
            self.connection.end(ClosedError(f"it has said nothing for {now - self._heard_at:.1f} s"))
            return
        if now - self._heard_at >= self._timing.ping / 2 or stalled:
            self.say(Ping())
        self._watch = self._loop.call_later(self._timing.ping, self._look)

    def _end(self) -> None:
        self._ended = True
        self._watch.cancel()
        self._outbox.clear()
