"""Speak to a server over one real connection, packet by packet, with a deadline on every wait.

A test says what it expects and within how many seconds; nothing here sleeps in the hope that something has happened by
then. That nothing arrives is asserted by asking for an echo and seeing the echo come first.
"""

import asyncio
import contextlib
import itertools
import os
import socket
import struct
from collections import deque
from types import TracebackType
from typing import NamedTuple, Self

from protocol import Fault, Packet, PacketType, PeerDecoder, TextLine, encode_request

PATIENCE = 20.0
"""Seconds to wait for an answer that must come; only a failing test ever waits that long."""

_echo_numbers = itertools.count(1)


class Closed(NamedTuple):
    """The end of the stream: the server has closed the connection."""


Event = Packet | TextLine | Fault | Closed


class UnexpectedAnswerError(AssertionError):
    """Something else arrived than the test expects, or nothing did in time."""


class Connection:
    """One connection to a server, speaking the binary and the text protocol in turn.

    Sending never waits; `drain` waits until the kernel has taken what was sent. `transcript`, if it is wanted, collects
    the bytes that came from the server just as they were, for tests of what the decoder is lenient about; `kinds`
    likewise collects the types of the packets that were sent and of those that were looked at.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.transcript: bytearray | None = None
        self.kinds: set[PacketType] | None = None
        self._reader = reader
        self._writer = writer
        self._decoder = PeerDecoder()
        self._events: deque[Event] = deque()
        self._ended = False

    @classmethod
    async def open(
        cls,
        port: int,
        host: str = "127.0.0.1",
        *,
        source: str | None = None,
        sock: socket.socket | None = None,
        within: float = PATIENCE,
    ) -> Self:
        """Connect to a server, from the address `source` where the test needs more ports than one address has.

        `sock` is an unconnected socket to do it with, for one that belongs to another network namespace.
        """
        async with asyncio.timeout(within):
            if sock is not None:
                reader, writer = await connected(sock, host, port)
            else:
                reader, writer = await asyncio.open_connection(host, port, local_addr=(source, 0) if source else None)
        return cls(reader, writer)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def local_port(self) -> int:
        """The port of this end of the connection."""
        return self._writer.get_extra_info("sockname")[1]

    def duplicate_socket(self) -> socket.socket:
        """Return a duplicate of the socket, for a test that writes past this object's buffers; the caller closes it."""
        return socket.socket(fileno=os.dup(self._writer.get_extra_info("socket").fileno()))

    async def close(self) -> None:
        """Close this end in an orderly way."""
        self._writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            await asyncio.wait_for(self._writer.wait_closed(), PATIENCE)

    def abort(self) -> None:
        """Drop the connection, as a crashed peer would: the server sees a reset, and what reads here sees the end."""
        self._writer.transport.abort()

    async def cut(self) -> None:
        """Drop the connection and wait until that is done."""
        self.abort()
        with contextlib.suppress(OSError, TimeoutError):
            await asyncio.wait_for(self._writer.wait_closed(), PATIENCE)

    def finish_sending(self) -> None:
        """Shut down the sending side and keep on reading."""
        self._writer.write_eof()

    def send(self, kind: PacketType, *args: bytes) -> None:
        """Send one packet."""
        if self.kinds is not None:
            self.kinds.add(kind)
        self._writer.write(encode_request(kind, *args))

    def send_body(self, kind: int, body: bytes = b"") -> None:
        """Send a packet with a body that need not be right for its type, nor the type be one that exists."""
        self.send_bytes(request_bytes(kind, body))

    def send_bytes(self, data: bytes) -> None:
        """Send bytes as they are, however wrong they may be."""
        self._writer.write(data)

    async def drain(self, *, within: float = PATIENCE) -> None:
        """Wait until what was sent has gone out far enough that more may follow."""
        async with asyncio.timeout(within):
            await self._writer.drain()

    async def next(self, *, within: float = PATIENCE) -> Event:
        """Return what the server says next; raises UnexpectedAnswerError when it says nothing in time."""
        try:
            async with asyncio.timeout(within):
                while not self._events:
                    await self._read()
        except TimeoutError:
            raise UnexpectedAnswerError(f"nothing arrived within {within} s") from None
        event = self._events.popleft()
        if self.kinds is not None and isinstance(event, Packet):
            self.kinds.add(event.kind)
        return event

    async def expect(self, kind: PacketType, *, within: float = PATIENCE) -> tuple[bytes, ...]:
        """Return the arguments of the next packet, which must be of this kind."""
        event = await self.next(within=within)
        if not isinstance(event, Packet) or event.kind is not kind:
            raise UnexpectedAnswerError(f"expected {kind.name}, got {_shown(event)}")
        return tuple(event.args)

    async def expect_closed(self, *, within: float = PATIENCE) -> None:
        """Wait for the server to close the connection, with nothing said before."""
        event = await self.next(within=within)
        if not isinstance(event, Closed):
            raise UnexpectedAnswerError(f"expected the connection to be closed, got {_shown(event)}")

    async def until_closed(self, *, within: float = PATIENCE) -> list[Event]:
        """Return all that the server says before it closes the connection."""
        events = []
        async with asyncio.timeout(within):
            while not isinstance(event := await self.next(within=within), Closed):
                events.append(event)
        return events

    async def until_echo(self, *, within: float = PATIENCE) -> list[Event]:
        """Ask for an echo and return all that the server said before it."""
        token = b"echo %d" % next(_echo_numbers)
        self.send(PacketType.ECHO_REQ, token)
        events: list[Event] = []
        while (event := await self.next(within=within)) != Packet(PacketType.ECHO_RES, [token]):
            if isinstance(event, Closed):
                raise UnexpectedAnswerError(
                    f"the connection was closed before the echo, after {[_shown(e) for e in events]}"
                )
            events.append(event)
        return events

    async def expect_nothing(self, *, within: float = PATIENCE) -> None:
        """Make sure that the server has nothing to say: an echo asked for now comes first."""
        if events := await self.until_echo(within=within):
            raise UnexpectedAnswerError(f"expected nothing, got {', '.join(_shown(event) for event in events)}")

    async def expect_error(self, code: bytes, *, within: float = PATIENCE) -> bytes:
        """Return the text of the ERROR packet that must come next with this code."""
        actual, text = await self.expect(PacketType.ERROR, within=within)
        if actual != code:
            raise UnexpectedAnswerError(f"expected ERROR {code.decode()}, got ERROR {actual!r} {text!r}")
        return text

    async def line(self, command: bytes | str, *, within: float = PATIENCE) -> bytes:
        """Send a text command that is answered by one line, and return that line without its end."""
        self.send_bytes(_command(command))
        return await self.next_line(within=within)

    async def table(self, command: bytes | str, *, within: float = PATIENCE) -> list[bytes]:
        """Send a text command that is answered by lines up to a single dot, and return those lines without the dot."""
        self.send_bytes(_command(command))
        rows: list[bytes] = []
        while (row := await self.next_line(within=within)) != b".":
            if not rows and row.startswith(b"ERR "):
                raise UnexpectedAnswerError(f"expected a table, got {row!r}")
            rows.append(row)
        return rows

    async def next_line(self, *, within: float = PATIENCE) -> bytes:
        """Return the next line of text without its line end; raises UnexpectedAnswerError when something else comes."""
        event = await self.next(within=within)
        if not isinstance(event, TextLine):
            raise UnexpectedAnswerError(f"expected a line of text, got {_shown(event)}")
        return event.line

    async def _read(self) -> None:
        if self._ended:
            self._events.append(Closed())
            return
        try:
            data = await self._reader.read(1 << 18)
        except ConnectionError:
            data = b""
        if not data:
            self._ended = True
            self._events.append(Closed())
            return
        if self.transcript is not None:
            self.transcript += data
        self._events.extend(self._decoder.feed(data))


async def connected(sock: socket.socket, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect a socket, which is closed when that fails, and return the two ends of its stream."""
    try:
        sock.setblocking(False)  # noqa: FBT003 - the socket module's own signature
        await asyncio.get_running_loop().sock_connect(sock, (host, port))
        return await asyncio.open_connection(sock=sock)
    except BaseException:
        sock.close()
        raise


def request_bytes(kind: int, body: bytes = b"") -> bytes:
    """Return the bytes of a request that nobody has checked."""
    return struct.pack(">4sII", b"\0REQ", kind, len(body)) + body


def _command(command: bytes | str) -> bytes:
    return (command.encode() if isinstance(command, str) else command) + b"\n"


def _shown(event: Event) -> str:
    match event:
        case Packet(kind, args):
            return f"{kind.name} {[arg[:100] for arg in args]}"
        case TextLine(line):
            return f"the line {line[:200]!r}"
        case Fault(code, text):
            return f"bytes that are not Gearman's: {code!r} {text!r}"
        case _:
            return "the end of the connection"
