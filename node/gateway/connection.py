"""One TCP connection of a client, a worker or an operator: bytes in, packets in order, bytes out, back-pressure.

Answers leave in the order of the requests. An answer that has to wait for the job table holds back whatever would be
answered at once behind it; requests that the table answers too, or that have no answer, flow on. Not for: what packets
mean; `node.gateway` has a function for each.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import structlog

from node.driver import PART
from node.gateway.budget import SMALL
from node.gateway.inbox import PIPELINED, Inbox, Message
from node.gateway.progress import extended
from node.gateway.unread import Unread
from node.gateway.withheld import Owed, Withheld
from protocol import AdminCommand, AdminFault, Fault, Packet, ServerDecoder, encode_error

if TYPE_CHECKING:
    from cluster.jobs import Session
    from node.gateway.gateway import Gateway
    from node.gateway.worker import WorkerSession

MAX_WAITING: Final = 2048
"""Answers owed by the table beyond which a connection is not read from."""
MAX_SUBMITTED: Final = 8 << 20
"""Bytes of workload on their way to the table beyond which a connection is not read from."""
QUOTA: Final = 512
"""Messages of one connection that are seen to in one turn of the loop: the others have their turn too."""
WRITE_HIGH: Final = 8 << 20
"""Unread bytes beyond which a connection is not read from: who does not read cannot make the server hold more."""

log = structlog.get_logger()


class Connection(asyncio.Protocol):
    """One connection. `number` is its session number: unique for the life of the process."""

    __slots__ = (
        "_blocked",
        "_decoder",
        "_ended",
        "_gateway",
        "_generation",
        "_held_back",
        "_inbox",
        "_on_writable",
        "_out",
        "_packet_deadline",
        "_queued",
        "_quota",
        "_reading",
        "_ready",
        "_tired",
        "_transport",
        "_unread",
        "client_id",
        "closed",
        "counted",
        "exceptions",
        "in_step",
        "kept",
        "number",
        "opened",
        "peer",
        "reading_table",
        "session",
        "submitted",
        "uploading",
        "waiting",
        "worker",
    )

    def __init__(self, gateway: "Gateway", number: int) -> None:
        self.number = number
        self.peer = "?"
        self.opened = False
        """Whether the table knows this session."""
        self.session: Session | None = None
        """How the table knows it, once somebody has looked that up."""
        self.exceptions = gateway.exceptions
        """The option of that name: this client wants WORK_EXCEPTION."""
        self.client_id = b""
        self.in_step = 0
        """How many foreground jobs in a row it submitted when it had the result of the one before."""
        self.worker: WorkerSession | None = None
        self.waiting = 0
        """Answers that are still to come, in order."""
        self.reading_table = False
        """Whether the next answer tells how things stand, so that nothing sent after the question may change them."""
        self.submitted = 0
        """Bytes of workload submitted since last nothing was waited for."""
        self.uploading = False
        """Whether the last job it submitted travels in parts: what came after it has to wait, or would overtake it."""
        self.kept = 0
        """Bytes that are kept for it elsewhere: reports, and lists under way."""
        self.counted = 0
        """What the budget counts for it (`node.gateway.budget`)."""
        self.closed = False
        self._gateway = gateway
        self._generation = 0
        """Which of the gateway's generations it belongs to."""
        self._decoder = ServerDecoder(gateway.packets.limit)
        self._packet_deadline = 0.0
        """Until when an incomplete packet at the end of what was received has to go on, if there is one."""
        self._inbox = Inbox()
        self._out: list[bytes] = []
        """What is to be sent next."""
        self._blocked = Withheld()
        """Answers that are not known yet, and what waits behind them."""
        self._ready = self._out
        """What can be written: all of `_out`, or what comes before the first answer that is not known."""
        self._queued = False
        """Whether what is to be sent will be at the end of this turn."""
        self._transport: asyncio.Transport
        self._reading = True
        self._on_writable: Callable[[], None] | None = None
        self._unread: Unread | None = None
        """What the peer has not read, if it is more than next to nothing."""
        self._held_back = False
        """Whether that is so much that nothing more is read from it."""
        self._tired = False
        """Whether it has used up its quota and goes on in the next turn."""
        self._quota = QUOTA
        self._ended = False
        """Whether the peer has said that it will send nothing more."""

    # -- called by the event loop -------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._generation = self._gateway.generation
        self._transport = transport  # type: ignore[assignment]  # uvloop's transports do not derive from asyncio's
        self._transport.set_write_buffer_limits(high=min(SMALL, WRITE_HIGH), low=0)
        peer = transport.get_extra_info("peername")
        if peer:
            self.peer = peer[0]
        accepted: socket.socket | None = transport.get_extra_info("socket")
        self._gateway.connected(self, accepted)

    def data_received(self, data: bytes) -> None:
        """Take bytes in."""
        gateway = self._gateway
        if self._generation != gateway.generation:
            return  # its service is over, though its turn to be closed has not come
        driver = gateway.driver
        driver.in_turn = True
        try:
            messages = self._decoder.feed(data)
            if self._decoder.pending:
                self._wait_for_rest(len(data))
            count = len(messages)
            self._quota -= count
            if self._inbox or self._held_back:
                self._inbox.put(messages)
            else:
                done = self._process(messages if self._quota >= 0 else messages[:QUOTA])
                if done < count and not self.closed:
                    self._inbox.put(messages[done:])
            if self.counted or self._inbox:
                gateway.budget.note(self)
            if self._quota < 0 and not self._tired:
                self._tired = True
                gateway.resume_later(self)
            if (
                self._inbox
                or self._tired
                or self._held_back
                or gateway.overloaded
                or self.waiting > MAX_WAITING
                or self.submitted > MAX_SUBMITTED
            ):
                self.regulate()
        finally:
            if gateway.unflushed or driver.congested:
                gateway.flush()
            driver.end_turn()

    def eof_received(self) -> bool:
        """Answer what was asked before the peer shut its sending side, then close."""
        self._ended = True
        return not self._finish()

    def pause_writing(self) -> None:
        """Note that the peer does not read as fast as it is sent something."""
        gateway = self._gateway
        self._unread = Unread(self._transport, gateway.time(), gateway.transfer_timeout)
        self._weigh_unread(self._unread)

    def resume_writing(self) -> None:
        """Go on: the peer has read everything."""
        self._unread = None
        self._held_back = False
        self.resume()

    def connection_lost(self, error: Exception | None) -> None:
        """End."""
        self.closed = True
        self._unread = None
        self._let_go()
        self._gateway.disconnected(self, error)
        self._gateway.budget.forget(self)

    # -- messages -----------------------------------------------------------------------------------------------------

    def _process(self, messages: list[Message]) -> int:
        """See to messages, in order, as far as they need not wait; tell how many that were."""
        handlers = self._gateway.handlers
        position, end = 0, len(messages)
        while position < end and not self.closed:
            message = messages[position]
            if type(message) is Packet:
                kind = message.kind
                if self.waiting and (self.reading_table or self.uploading or kind not in PIPELINED):
                    break
                position += 1
                handler = handlers.get(kind)
                if handler is not None:
                    handler(self, message.args)
                    continue
                run = [message.args]
                while position < end and type(message := messages[position]) is Packet and message.kind is kind:
                    run.append(message.args)
                    position += 1
                position += self._gateway.run_handlers[kind](self, run) - len(run)
            elif self.waiting or self._held_back:
                break
            else:
                position += 1
                self._other(message)
        return position

    def _wait_for_rest(self, received: int) -> None:
        """Note that of what was received last, so many bytes, the end belongs to a packet that is not complete."""
        gateway = self._gateway
        now, timeout = gateway.time(), gateway.transfer_timeout
        pending = self._decoder.pending
        begun_before = pending > received
        self._packet_deadline = (
            extended(self._packet_deadline, received, now, timeout) if begun_before else now + timeout
        )
        if pending > SMALL:
            gateway.budget.note(self)
            if pending > PART:
                self.regulate()

    def _other(self, message: Message) -> None:
        if isinstance(message, Fault):
            self.send(encode_error(message.code, message.text))
            if message.fatal:
                log.info("connection_closed", peer=self.peer, why=message.text.decode("utf-8", "replace"))
                self.close()
        elif isinstance(message, AdminFault):
            self.send(message.line)
            if message.fatal:
                log.info("connection_closed", peer=self.peer, why="a text line is too long")
                self.close()
        elif isinstance(message, AdminCommand):
            self._gateway.administer(self, message)

    def answered(self) -> None:
        """Count one awaited answer as given; what it held back can go on after this turn."""
        self.waiting -= 1
        if not self.waiting:
            self._all_answered()

    def _all_answered(self) -> None:
        self.submitted = 0
        self.uploading = False
        if self._inbox or not self._reading or self._ended:
            self._gateway.resume_later(self)

    def resume(self) -> int:
        """Process what was held back, as far as it goes now; tell how many requests that were."""
        if self._generation != self._gateway.generation:
            return 0
        if self._on_writable is not None and self._unread is None:
            callback, self._on_writable = self._on_writable, None
            callback()
        self._tired = False
        self._quota = QUOTA
        inbox = self._inbox
        done = 0
        if inbox and not self._held_back:
            done = self._process(inbox.first(QUOTA))
            if not self.closed:
                inbox.take(done)
                self._quota -= done
                if inbox and not self._quota:
                    self._tired = True
                    self._gateway.resume_later(self)
        if not self.closed:
            if self.counted:
                self._gateway.budget.note(self)
            self.regulate()
            if self._ended:
                self._finish()
        return done

    def regulate(self) -> None:
        """Read on only from a connection that does not run ahead of what can be done for it."""
        if self.closed or self._ended:
            return
        busy = (
            self._held_back
            or self._tired
            or self._gateway.overloaded
            or self.waiting > MAX_WAITING
            or self.submitted > MAX_SUBMITTED
            or self._inbox.full
            or (self._gateway.uploads_full and self._decoder.pending > PART)
        )
        if busy and self._reading:
            self._reading = False
            self._gateway.unread_from[self] = None
            self._transport.pause_reading()
        elif not busy and not self._reading:
            self._reading = True
            del self._gateway.unread_from[self]
            self._transport.resume_reading()

    def _finish(self) -> bool:
        """Close after the last answer; tell whether that was done."""
        if self.waiting or self._inbox:
            return False
        self.close()
        return True

    # -- answers ------------------------------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Send at the end of the turn, together with whatever else this connection is sent."""
        self._out.append(data)
        if not self._queued:
            self._queued = True
            self._gateway.send_later(self)

    def answer(self, *packets: bytes) -> None:
        """Send awaited answers: `send` and `answered` in one, for each of them."""
        self._out += packets
        if not self._queued:
            self._queued = True
            self._gateway.send_later(self)
        self.waiting -= len(packets)
        if not self.waiting:
            self._all_answered()

    def send_with_next(self, data: bytes) -> None:
        """Send together with what this connection is sent next; who says so sees to a `flush` if that does not come."""
        self._out.append(data)

    def owe(self) -> Owed:
        """Keep the next place for an awaited answer: whatever is sent from now on goes behind it."""
        owed = self._blocked.owe()
        self._out = owed.behind
        return owed

    def give(self, owed: Owed, packet: bytes) -> None:
        """Send the answer that a place was kept for, as soon as those before it are known."""
        owed.packet = packet
        self._ready += self._blocked.release()
        if not self._blocked:
            self._out = self._ready
        if self.counted:
            self._gateway.budget.note(self)
        if self._ready and not self._queued:
            self._queued = True
            self._gateway.send_later(self)
        self.answered()

    @property
    def withheld(self) -> int:
        """Give the bytes that wait behind answers which are not known."""
        return self._blocked.weigh()

    def when_writable(self, callback: Callable[[], None]) -> None:
        """Call back once the peer has read what it was sent: at once, or in a later turn."""
        if self._unread is None:
            callback()
        else:
            self._on_writable = callback

    def flush(self) -> bool:
        """Write what has gathered, in one piece; tell whether there was anything."""
        out = self._ready
        self._queued = False
        if not out or self.closed:
            if self._blocked and self._blocked.weigh() > SMALL:
                self._gateway.budget.note(self)
            return False
        data = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        unread = self._unread
        self._transport.write(data)
        if unread is not None and unread is self._unread:
            unread.written(len(data))
            self._weigh_unread(unread)
        return True

    def _weigh_unread(self, unread: Unread) -> None:
        """See how much the peer leaves unread: it is not read from, or closed, if that is too much."""
        size = unread.size
        if size > self._gateway.max_unread:
            log.warning("connection_closed", peer=self.peer, why="it does not read what it is sent", unread=size)
            self.abort()
            return
        self._gateway.budget.note(self)
        if size > WRITE_HIGH and not self._held_back and not self.closed:
            self._held_back = True
            self.regulate()

    # -- what it holds, and for how long ------------------------------------------------------------------------------

    @property
    def weight(self) -> int:
        """Give the bytes that are held for it."""
        unread = self._unread.size if self._unread is not None else 0
        return self._decoder.pending + self._inbox.size + unread + self._blocked.size + self.kept

    @property
    def holding(self) -> str:
        """Name what most of that is."""
        parts = {
            "a packet that is not complete": self._decoder.pending,
            "requests that are not processed": self._inbox.size,
            "answers that are not read": self._unread.size if self._unread is not None else 0,
            "answers that wait for earlier ones": self._blocked.size,
            "reports and lists that are to be sent": self.kept,
        }
        return max(parts, key=parts.__getitem__)

    def keep(self, size: int) -> None:
        """Note that so many bytes more are kept for it elsewhere, or less where it is negative."""
        self.kept += size
        if self.kept > SMALL or self.counted:
            self._gateway.budget.note(self)

    def check(self) -> None:
        """End the connection if its peer does not go on with a packet, or does not read, at a moderate pace."""
        gateway = self._gateway
        now, timeout = gateway.time(), gateway.transfer_timeout
        if self._unread is not None and self._unread.overdue(now, timeout):
            log.warning("connection_closed", peer=self.peer, why="it does not read what it is sent, or too slowly")
            self.abort()
        elif not self.closed and self._decoder.pending:
            if self._inbox or not self._reading or self.waiting:
                self._packet_deadline = now + timeout  # it is not read from, or has to wait itself
            elif now > self._packet_deadline:
                self.send(encode_error(b"TIMEOUT", b"The rest of a packet did not come, or too slowly"))
                log.info("connection_closed", peer=self.peer, why="the rest of a packet did not come, or too slowly")
                self.close()
        if self.counted:
            gateway.budget.note(self)

    # -- the end ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close once everything sent is written."""
        if not self.closed:
            self.flush()
        if not self.closed:
            self.closed = True
            self._let_go()
            self._transport.close()
            if self._unread is None:  # its end is waited for no longer than for any other bytes
                self._unread = Unread(self._transport, self._gateway.time(), self._gateway.transfer_timeout)

    def abort(self) -> None:
        """Close now."""
        self.closed = True
        self._unread = None
        self._let_go()
        self._gateway.budget.forget(self)
        self._transport.abort()

    def drop(self, why: str) -> None:
        """Close now, and hold nothing more; tell the peer why if it reads."""
        if self._unread is None and not self.closed:
            self._let_go()
            self.send(encode_error(b"MEMORY_ALLOCATION_FAILURE", why.encode()))
            self.close()
        else:
            self.abort()

    def _let_go(self) -> None:
        """Hold nothing more of what came or is to be sent."""
        self._decoder.let_go()
        self._inbox.clear()
        self._out.clear()
        self._ready.clear()
        self._blocked.clear()
        self._out = self._ready
        self._on_writable = None
