"""From the bytes of a connection, however they are split, to packets, text lines and faults.

This module knows where a packet or a line begins and ends, and nothing of what is in it: the bodies of packets are
read by the rules of `protocol.arguments`, the lines at a server by `protocol.admin`.

The first byte tells binary (NUL) from text, anew after every packet and every line, so both may alternate on one
connection (PROTOCOL, "Introduction"). Bytes of something incomplete are kept in the pieces they came in and joined
once, when the rest is there: the work is linear in the bytes, and the memory is that of the bytes received, whatever
size a header declares.
"""

from typing import Final, Generic, TypeVar

import msgspec

from protocol.admin import AdminCommand, AdminFault, parse_line
from protocol.answers import error_line
from protocol.arguments import REQUEST_RULES, RESPONSE_RULES, Rule, bare_packets
from protocol.errors import Fault
from protocol.limits import DEFAULT_MAX_PACKET, MAX_LINE, PacketLimit
from protocol.packet import HEADER, NUL, REQUEST_MAGIC, RESPONSE_MAGIC, Packet

_unpack_header: Final = HEADER.unpack_from
_HEADER_SIZE: Final = HEADER.size
_MAGIC_SIZE: Final = len(REQUEST_MAGIC)
_LINE_END: Final = -1
"""In place of a number of bytes: a line end is waited for."""
_LARGE: Final = 4096
"""Bodies from here on are not sliced out and then split, as that would copy the last argument twice."""
_HUGE: Final = 1 << 20
"""Packets from here on are not joined and then split, for the same reason."""
_TINY: Final = 1024
"""Pieces smaller than this are gathered in one buffer: as an object each would cost several times its bytes."""


class TextLine(msgspec.Struct, frozen=True, gc=False):
    """One line of a server's answer to a text command, without its line end."""

    line: bytes


_Text = TypeVar("_Text")


class _Decoder(Generic[_Text]):
    """The framing that both ends of a connection share."""

    _rules: dict[int, Rule]
    _bare: dict[int, Packet]

    def __init__(self, limit: PacketLimit, max_line: int) -> None:
        self._limit = limit
        self._max_line = max_line
        self._pieces: list[bytes | bytearray] = []
        self.pending = 0
        """The number of bytes kept of a packet or line that is not yet complete."""
        self._need = 0
        self._lost = False

    @property
    def lost(self) -> bool:
        """Whether a fatal fault was met: nothing fed from now on is decoded or kept."""
        return self._lost

    def let_go(self) -> None:
        """Keep nothing, and decode nothing from now on."""
        self._pieces = []
        self.pending = 0
        self._lost = True

    def feed(self, data: bytes) -> list[Packet | Fault | _Text]:
        """Take the bytes that came next and return what they completed, in order.

        Never raises for what the bytes are. After a fatal fault, which is the last of its list, returns nothing.
        """
        events: list[Packet | Fault | _Text] = []
        if self.pending:
            if not self._completes(data):
                return events
            begun = self._need - _HEADER_SIZE
            data = self._join(data) if self._need < _HUGE else self._join_huge(data, events)
        elif self._lost:
            return events
        else:
            begun = 0
        append = events.append
        rules, bare = self._rules, self._bare
        max_packet = max(self._limit.size, begun)
        position = 0
        end = len(data)
        while position < end:
            body = position + _HEADER_SIZE
            if body <= end:
                key, size = _unpack_header(data, position)
                if not size and key in bare:
                    append(bare[key])
                    position = body
                    continue
                if key in rules and size <= max_packet:
                    after = body + size
                    if after > end:
                        self._keep(data, position, _HEADER_SIZE + size)
                        break
                    nuls, build = rules[key]
                    args = data[body:after].split(NUL, nuls) if size < _LARGE else _split(data, body, after, nuls)
                    append(build(args))
                    position = after
                    continue
            take = self._take_line if data[position] else self._take_odd
            position = take(data, position, events)
        return events

    def _take_line(self, data: bytes, position: int, events: list[Packet | Fault | _Text]) -> int:
        """Read one line, or keep its beginning; return where to go on."""
        end = len(data)
        line_end = data.find(b"\n", position, position + self._max_line + 1)
        if line_end >= 0:
            events.append(self._read_line(data[position:line_end]))
            return line_end + 1
        if end - position > self._max_line:
            events.append(self._overlong_line())
            self._lost = True
        else:
            self._keep(data, position, _LINE_END)
        return end

    def _take_odd(self, data: bytes, position: int, events: list[Packet | Fault | _Text]) -> int:
        """Deal with a header that is incomplete or that nothing can follow; return the end of the data.

        What is decided depends on the bytes from the packet's start alone, never on how they were split.
        """
        end = len(data)
        held = end - position
        if held < _MAGIC_SIZE:
            self._keep(data, position, _MAGIC_SIZE)
            return end
        magic = data[position : position + _MAGIC_SIZE]
        if magic not in (REQUEST_MAGIC, RESPONSE_MAGIC):
            text = f"Lost the start of the packet: its magic is {magic.hex(' ')}, neither \\0REQ nor \\0RES"
            fault = Fault(b"INVALID_MAGIC", text.encode(), fatal=True)
        elif held < _HEADER_SIZE:
            self._keep(data, position, _HEADER_SIZE)
            return end
        else:
            key, size = _unpack_header(data, position)
            if key in self._rules:
                limit = self._limit
                text = f"Packet of {size} bytes announced, at most {limit.size} are taken"
                if limit.setting:
                    text += f": {limit.setting}"
                fault = Fault(b"ARGUMENT_TOO_LARGE", text.encode(), fatal=True)
            else:
                fault = Fault(b"INVALID_COMMAND", f"Unknown packet type {key & 0xFFFFFFFF}".encode(), fatal=True)
        events.append(fault)
        self._lost = True
        return end

    def _read_line(self, line: bytes) -> _Text:
        raise NotImplementedError

    def _overlong_line(self) -> _Text | Fault:
        raise NotImplementedError

    def _keep(self, data: bytes, position: int, need: int) -> None:
        rest = data[position:]
        self._pieces = [rest]
        self.pending = len(rest)
        self._need = need

    def _completes(self, data: bytes) -> bool:
        """Tell whether these bytes bring what was waited for; keep them if not."""
        total = self.pending + len(data)
        if total > self._max_line or b"\n" in data if self._need == _LINE_END else total >= self._need:
            return True
        if len(data) >= _TINY:
            self._pieces.append(data)
        else:
            last = self._pieces[-1]
            if type(last) is bytearray:
                last += data
            else:
                self._pieces.append(bytearray(data))
        self.pending = total
        return False

    def _join_huge(self, data: bytes, events: list[Packet | Fault | _Text]) -> bytes:
        """Read the packet that is complete now, and copy its last argument once; return what follows the packet."""
        pieces: list[bytes | bytearray | memoryview] = [*self._pieces]
        head = bytes(pieces[0][:_TINY])
        nuls, build = self._rules[_unpack_header(head)[0]]
        args = head[_HEADER_SIZE:].split(NUL, nuls)
        if len(args) <= nuls:
            return self._join(data)
        rest = self._need - self.pending
        pieces[0] = memoryview(pieces[0])[_HEADER_SIZE + nuls + sum(map(len, args[:nuls])) :]
        pieces.append(memoryview(data)[:rest])
        args[nuls] = b"".join(pieces)
        events.append(build(args))
        self._pieces = []
        self.pending = 0
        return data[rest:]

    def _join(self, data: bytes) -> bytes:
        self._pieces.append(data)
        joined = b"".join(self._pieces)
        self._pieces = []
        self.pending = 0
        return joined


def _split(data: bytes, start: int, end: int, nuls: int) -> list[bytes]:
    """Split a large body; the last argument, where the bulk is, is copied once."""
    pieces = data[start : start + _TINY].split(NUL, nuls)
    if len(pieces) <= nuls:
        return data[start:end].split(NUL, nuls)
    last = start + nuls + sum(map(len, pieces[:nuls]))
    pieces[nuls] = data[last:end]
    return pieces


class ServerDecoder(_Decoder[AdminCommand]):
    """Decodes what clients, workers and operators send to a server.

    `max_packet` is the largest body taken, in bytes, or a limit that may change; a header that declares more is a fatal
    fault at once. `max_line` is the longest text line, in bytes without its LF.
    """

    _rules = REQUEST_RULES
    _bare = bare_packets(REQUEST_RULES)

    def __init__(self, max_packet: int | PacketLimit = DEFAULT_MAX_PACKET, max_line: int = MAX_LINE) -> None:
        super().__init__(max_packet if isinstance(max_packet, PacketLimit) else PacketLimit(max_packet), max_line)

    def _read_line(self, line: bytes) -> AdminCommand:
        return parse_line(line)

    def _overlong_line(self) -> AdminCommand:
        text = f"The line is longer than {self._max_line} bytes".encode()
        return AdminFault(error_line(b"ARGUMENT_TOO_LARGE", text), fatal=True)


class PeerDecoder(_Decoder[TextLine]):
    """Decodes what a server sends to its clients and workers, and its answers to text commands line by line.

    `max_packet` bounds a body, and also a line, in bytes: a server's lines may list thousands of functions.
    """

    _rules = RESPONSE_RULES
    _bare = bare_packets(RESPONSE_RULES)

    def __init__(self, max_packet: int = DEFAULT_MAX_PACKET) -> None:
        super().__init__(PacketLimit(max_packet), max_line=max_packet)

    def _read_line(self, line: bytes) -> TextLine:
        return TextLine(line.removesuffix(b"\r"))

    def _overlong_line(self) -> Fault:
        return Fault(b"ARGUMENT_TOO_LARGE", f"The line is longer than {self._max_line} bytes".encode(), fatal=True)
