"""A connection after aiohttp's WebSocket upgrade: binary WebSocket frames (RFC 6455, section 5), both ways.

aiohttp makes and takes the connections and speaks HTTP; from then on this protocol has the transport. It says when the
transport's buffer is full and when it has room again, which keeps a message for consensus from waiting behind a long
buffer, and hands frames over in the turn of the loop in which they came. aiohttp's own interface says no such word,
and costs a turn and a task switch for each frame (docs/mesh.md has the figures). The masks that RFC 6455 asks of
clients are zero: they protect proxies from what a browser is made to send, and there is no browser here.

Not for: what is in the frames.
"""

import asyncio
import contextlib
import socket
import struct
from typing import Final, Protocol, cast

from cluster import keepalive
from cluster.mesh.errors import ClosedError, MeshError, ProtocolError
from cluster.mesh.handshake import MAX_HANDSHAKE_FRAME, Role
from cluster.mesh.outbox import MAX_FRAME
from cluster.mesh.settings import Timing

_BINARY: Final = 0x82
_CLOSE: Final = 0x88
_MASKED: Final = 0x80
_SHORT: Final = struct.Struct(">BB")
_MIDDLE: Final = struct.Struct(">BBH")
_LONG: Final = struct.Struct(">BBQ")
_NO_MASK: Final = bytes(4)

_HIGH_WATER: Final = 64 * 1024
_UNSENT: Final = 128 * 1024
"""What the kernel may hold that is not on its way yet. More of it would only be a queue that nothing can overtake."""

_ONE_PIECE: Final = 16 * 1024
"""A frame up to this length is copied behind its header rather than written apart from it."""


class FrameHandler(Protocol):
    """Who takes the frames once the handshake is over."""

    def frame_received(self, frame: bytes) -> None:
        """Take a frame. A MeshError ends the connection."""

    def writable(self) -> None:
        """Write again: the transport's buffer has room."""

    def connection_ended(self, error: MeshError) -> None:
        """Take note that nothing will come any more, and why."""


class Connection(asyncio.Protocol):
    """First for a handshake, which awaits frames one at a time; then for a handler, which is called with each."""

    def __init__(self, transport: asyncio.Transport, role: Role, timing: Timing) -> None:
        """Take over `transport` from aiohttp, whose own protocol is told when it is lost."""
        self.transport = transport
        self.congested = False
        """Whether the transport's buffer is full."""
        self.heard = False
        """Set whenever something comes; for whoever wants to know, to be reset."""
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._mask = role is Role.DIALLER
        self._handler: FrameHandler | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._rest = bytearray()
        self._needed = 2
        self._error: MeshError | None = None
        self._paused = False
        self.local_host = _host(transport.get_extra_info("sockname"))
        """The address of this end."""
        self.host = _host(transport.get_extra_info("peername"))
        """The address of the other end."""
        self._before = cast("asyncio.Protocol", transport.get_protocol())
        transport.set_protocol(self)
        transport.set_write_buffer_limits(high=_HIGH_WATER)
        self._prepare_socket(transport.get_extra_info("socket"), timing)

    @staticmethod
    def _prepare_socket(sock: socket.socket | None, timing: Timing) -> None:
        if sock is None:
            return
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            keepalive.arm(sock, *timing.keepalive)
            # Not everywhere; elsewhere more waits in the kernel, and nothing else differs.
            if (option := getattr(socket, "TCP_NOTSENT_LOWAT", None)) is not None:
                sock.setsockopt(socket.IPPROTO_TCP, option, _UNSENT)

    # --- sending

    def write(self, tag: bytes, body: bytes) -> None:
        """Send one frame, or nothing on a connection that ends; the transport keeps what the kernel does not take."""
        if self.transport.is_closing():
            return
        size = len(tag) + len(body)
        mask = _MASKED if self._mask else 0
        if size < 126:
            head = _SHORT.pack(_BINARY, mask | size)
        elif size < 65536:
            head = _MIDDLE.pack(_BINARY, mask | 126, size)
        else:
            head = _LONG.pack(_BINARY, mask | 127, size)
        if mask:
            head += _NO_MASK
        if size <= _ONE_PIECE:
            self.transport.write(b"".join((head, tag, body)))
        else:
            self.transport.write(head + tag)
            self.transport.write(body)

    def close(self) -> None:
        """Send what is left and end."""
        if not self.transport.is_closing():
            self.transport.close()

    def abort(self) -> None:
        """End at once."""
        self.transport.abort()

    # --- receiving

    async def receive(self) -> bytes:
        """Wait for the next frame of a handshake. Raises ClosedError, ProtocolError."""
        while (frame := self._next_frame(MAX_HANDSHAKE_FRAME)) is None:
            if self._error is not None:
                raise self._error
            self._waiter = asyncio.get_running_loop().create_future()
            self._resume()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return frame

    def open(self, handler: FrameHandler) -> None:
        """Let every frame, the ones that came already first, go to `handler` from the next turn on."""
        self._handler = handler
        loop = asyncio.get_running_loop()
        if self._error is None:
            loop.call_soon(self._begin)
        else:
            loop.call_soon(handler.connection_ended, self._error)

    def _begin(self) -> None:
        if self._error is None:
            self._resume()
            self._pass_on()

    def _resume(self) -> None:
        if self._paused and not self.transport.is_closing():
            self._paused = False
            self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Take bytes (asyncio)."""
        self.heard = True
        self._rest += data
        if self._handler is not None:
            if len(self._rest) >= self._needed:
                self._pass_on()
        elif self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        if self._handler is None and not self._paused and len(self._rest) > MAX_HANDSHAKE_FRAME:
            # The handshake reads on when it wants more; so nobody makes the buffer grow.
            self._paused = True
            self.transport.pause_reading()

    def _pass_on(self) -> None:
        try:
            while self._error is None and (frame := self._next_frame(MAX_FRAME)) is not None:
                assert self._handler is not None
                self._handler.frame_received(frame)
        except MeshError as error:
            self.end(error)

    def _next_frame(self, longest: int) -> bytes | None:
        rest = self._rest
        have = len(rest)
        if have < 2:
            self._needed = 2
            return None
        kind, second = rest[0], rest[1]
        size, start = second & 127, 2
        if kind != _BINARY:
            raise ClosedError("it closed the link") if kind == _CLOSE else ProtocolError("it sent no binary frame")
        if size == 126:
            if have < 4:
                self._needed = 4
                return None
            size, start = int.from_bytes(rest[2:4]), 4
        elif size == 127:
            if have < 10:
                self._needed = 10
                return None
            size, start = int.from_bytes(rest[2:10]), 10
        if size > longest:
            raise ProtocolError(f"it sent a frame of {size} bytes, where {longest} is the limit")
        mask_at = start
        if second & _MASKED:
            start += 4
        stop = start + size
        if have < stop:
            self._needed = stop
            return None
        frame = bytes(memoryview(rest)[start:stop])
        if second & _MASKED and (mask := bytes(rest[mask_at:start])) != _NO_MASK:
            frame = _unmask(frame, mask)
        del rest[:stop]
        self._needed = 2
        return frame

    # --- the transport

    def pause_writing(self) -> None:
        """Take note that the transport's buffer is full (asyncio)."""
        self.congested = True
        self._before.pause_writing()

    def resume_writing(self) -> None:
        """Take note that there is room again (asyncio)."""
        self.congested = False
        self._before.resume_writing()
        if self._handler is not None:
            self._handler.writable()

    def eof_received(self) -> bool:
        """Take note that the other end has closed (asyncio): so does this one."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Take note that the connection is gone (asyncio)."""
        self._before.connection_lost(exc)
        if not self.closed.done():
            self.closed.set_result(None)
        self.end(ClosedError("the connection was closed" if exc is None else f"the connection was lost: {exc}"))

    def end(self, error: MeshError) -> None:
        """Drop the connection because of `error`; whoever waits for frames is told."""
        if self._error is not None:
            return
        self._error = error
        self.abort()
        if self._handler is not None:
            self._handler.connection_ended(error)
        elif self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def plain(host: str) -> str:
    """Write an IPv4 address that came in through an IPv6 socket as what it is."""
    return host.removeprefix("::ffff:") if "." in host else host


def _host(name: tuple[str, ...] | None) -> str:
    return plain(name[0]) if name else ""


def _unmask(frame: bytes, mask: bytes) -> bytes:
    size = len(frame)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(frame) ^ int.from_bytes(key)).to_bytes(size)
