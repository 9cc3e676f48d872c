"""From the pieces of a body to a well-formed packet, or to the fault in it: one rule for each type.

A rule takes what splitting the body at its first NULs gave, so it may rely on one thing: no piece but the last holds a
NUL. Where real peers leave something out or add a NUL and their meaning is plain, the rule mends it, so that readers
of packets need not know. Numbers stay bytes here; `protocol.numerals` reads them.
"""

from collections.abc import Callable
from typing import Final

from protocol.errors import Fault
from protocol.limits import MAX_CLIENT_ID, MAX_FUNCTION, MAX_HANDLE, MAX_UNIQUE
from protocol.packet import (
    FROM_SERVER,
    LAYOUTS,
    NUL,
    REQUEST_MAGIC,
    RESERVED_TYPE,
    RESPONSE_MAGIC,
    TO_SERVER,
    UNSERVED,
    Packet,
    PacketType,
    header_key,
)

Build = Callable[[list[bytes]], Packet | Fault]
Rule = tuple[int, Build]
"""At how many NULs to split the body, and what makes a packet of the pieces."""

FUNCTION_TOO_LARGE: Final = Fault(b"ARGUMENT_TOO_LARGE", b"Function value too large", fatal=False)
UNIQUE_TOO_LARGE: Final = Fault(b"ARGUMENT_TOO_LARGE", b"Unique value too large", fatal=False)
HANDLE_TOO_LARGE: Final = Fault(b"ARGUMENT_TOO_LARGE", b"Job handle value too large", fatal=False)
COMMAND_NOT_EXPECTED: Final = Fault(b"INVALID_COMMAND", b"Command not expected", fatal=False)
REQUEST_MAGIC_EXPECTED: Final = Fault(b"INVALID_MAGIC", b"Request magic expected", fatal=False)
RESPONSE_MAGIC_EXPECTED: Final = Fault(b"INVALID_MAGIC", b"Response magic expected", fatal=False)

_BOUNDS: Final = {
    "function": (MAX_FUNCTION, FUNCTION_TOO_LARGE),
    "unique": (MAX_UNIQUE, UNIQUE_TOO_LARGE),
    "handle": (MAX_HANDLE, HANDLE_TOO_LARGE),
}


def option_name(raw: bytes) -> bytes:
    """Return the name in an OPTION_REQ as it is to be compared: lower case, without the NUL that some peers append."""
    return raw.removesuffix(NUL).lower()


def _missing(kind: PacketType, args: list[bytes]) -> Fault:
    names = LAYOUTS[kind].arguments
    lacking, expected = ", ".join(names[len(args) :]), ", ".join(names)
    text = f"{kind.name} lacks {lacking}; its arguments, with a NUL after each but the last, are: {expected}"
    return Fault(b"INVALID_ARGUMENTS", text.encode(), fatal=False)


def _refusal(fault: Fault) -> Build:
    return lambda _args: fault


def _bare(kind: PacketType) -> Build:
    """Take a packet without arguments; a body is ignored, as gearmand does."""
    packet = Packet(kind, [])
    return lambda _args: packet


def _opaque(kind: PacketType) -> Build:
    return lambda args: Packet(kind, args)


def _counted(kind: PacketType) -> Build:
    """Take all arguments as they are, if they are all there."""
    expected = len(LAYOUTS[kind].arguments)
    return lambda args: Packet(kind, args) if len(args) == expected else _missing(kind, args)


def _submission(kind: PacketType) -> Build:
    """Take a job. An empty function name is one, as in gearmand; a reducer is a function too."""
    arguments = LAYOUTS[kind].arguments
    expected = len(arguments)
    reducer = arguments.index("reducer") if "reducer" in arguments else 0

    def build(args: list[bytes]) -> Packet | Fault:
        if len(args) != expected:
            return _missing(kind, args)
        if len(args[0]) > MAX_FUNCTION:
            return FUNCTION_TOO_LARGE
        if len(args[1]) > MAX_UNIQUE:
            return UNIQUE_TOO_LARGE
        if reducer and len(args[reducer]) > MAX_FUNCTION:
            return FUNCTION_TOO_LARGE
        return Packet(kind, args)

    return build


def _name(kind: PacketType) -> Build:
    """Take one name: a NUL at its end belongs to a C string and is dropped, one inside makes it no name."""
    (argument,) = LAYOUTS[kind].arguments
    bound, too_large = _BOUNDS[argument]
    text = f"{kind.name} takes one argument, {argument}, and it must not hold a NUL"
    holds_nul = Fault(b"INVALID_ARGUMENTS", text.encode(), fatal=False)

    def build(args: list[bytes]) -> Packet | Fault:
        name = args[0].removesuffix(NUL)
        if len(name) > bound:
            return too_large
        if NUL in name:
            return holds_nul
        return Packet(kind, [name])

    return build


def _timed_ability(kind: PacketType) -> Build:
    """Take a function and a timeout; no timeout at all is an empty one."""

    def build(args: list[bytes]) -> Packet | Fault:
        if len(args[0]) > MAX_FUNCTION:
            return FUNCTION_TOO_LARGE
        return Packet(kind, args if len(args) == 2 else [args[0], b""])

    return build


def _report(kind: PacketType) -> Build:
    """Take a handle and data; Perl workers send the bare handle when their data is empty."""

    def build(args: list[bytes]) -> Packet | Fault:
        if len(args[0]) > MAX_HANDLE:
            return HANDLE_TOO_LARGE
        return Packet(kind, args if len(args) == 2 else [args[0], b""])

    return build


def _progress(kind: PacketType) -> Build:
    """Take a handle and two numbers; the denominator ends at a NUL if there is one."""

    def build(args: list[bytes]) -> Packet | Fault:
        if len(args) != 3:
            return _missing(kind, args)
        if len(args[0]) > MAX_HANDLE:
            return HANDLE_TOO_LARGE
        return Packet(kind, [args[0], args[1], args[2].partition(NUL)[0]])

    return build


def _client_id(kind: PacketType) -> Build:
    """Take an identifier up to its first NUL, and at most the bytes that gearmand keeps."""
    return lambda args: Packet(kind, [args[0].partition(NUL)[0][:MAX_CLIENT_ID]])


def _padded(kind: PacketType) -> Build:
    """Take a handle and data from a server, the latter empty if it is not there."""
    return lambda args: Packet(kind, args if len(args) == 2 else [args[0], b""])


def _trimmed(kind: PacketType) -> Build:
    """Take a handle from a server; gearmand appends a NUL to that of a WORK_FAIL which stands for an exception."""
    return lambda args: Packet(kind, [args[0].removesuffix(NUL)])


_REPORTS: Final = frozenset(
    {PacketType.WORK_DATA, PacketType.WORK_WARNING, PacketType.WORK_COMPLETE, PacketType.WORK_EXCEPTION}
)

_SPECIAL_REQUESTS: Final[dict[PacketType, Callable[[PacketType], Build]]] = {
    PacketType.CAN_DO: _name,
    PacketType.CANT_DO: _name,
    PacketType.CAN_DO_TIMEOUT: _timed_ability,
    PacketType.SET_CLIENT_ID: _client_id,
    PacketType.WORK_STATUS: _progress,
    PacketType.WORK_FAIL: _name,
    PacketType.GET_STATUS: _name,
    PacketType.GET_STATUS_UNIQUE: _name,
    **dict.fromkeys(_REPORTS, _report),
}

_SPECIAL_RESPONSES: Final[dict[PacketType, Callable[[PacketType], Build]]] = {
    PacketType.JOB_CREATED: _trimmed,
    PacketType.WORK_FAIL: _trimmed,
    **dict.fromkeys(_REPORTS, _padded),
}


def _ordinary(kind: PacketType) -> Callable[[PacketType], Build]:
    arguments = LAYOUTS[kind].arguments
    if not arguments:
        return _bare
    if len(arguments) == 1:
        return _opaque
    return _submission if arguments[0] == "function" else _counted


def _rule(kind: PacketType, make: Callable[[PacketType], Build]) -> Rule:
    return max(len(LAYOUTS[kind].arguments) - 1, 0), make(kind)


def _rules(
    accepted: dict[PacketType, Rule], right_magic: bytes, wrong_magic: bytes, complaint: Fault
) -> dict[int, Rule]:
    """Spread rules over all numbers there are, so that what is misdirected is refused and its body passed over."""
    numbers = [*PacketType, RESERVED_TYPE]
    table = {header_key(wrong_magic, number): (0, _refusal(complaint)) for number in numbers}
    table |= {header_key(right_magic, number): (0, _refusal(COMMAND_NOT_EXPECTED)) for number in numbers}
    return table | {header_key(right_magic, kind): rule for kind, rule in accepted.items()}


REQUEST_RULES: Final[dict[int, Rule]] = _rules(
    {
        kind: _rule(kind, _SPECIAL_REQUESTS.get(kind) or _ordinary(kind))
        for kind, layout in LAYOUTS.items()
        if layout.route & TO_SERVER and kind not in UNSERVED
    },
    REQUEST_MAGIC,
    RESPONSE_MAGIC,
    REQUEST_MAGIC_EXPECTED,
)
"""By `header_key`: how a server reads each packet it can be sent."""

RESPONSE_RULES: Final[dict[int, Rule]] = _rules(
    {
        kind: _rule(kind, _SPECIAL_RESPONSES.get(kind) or _ordinary(kind))
        for kind, layout in LAYOUTS.items()
        if layout.route & FROM_SERVER
    },
    RESPONSE_MAGIC,
    REQUEST_MAGIC,
    RESPONSE_MAGIC_EXPECTED,
)
"""By `header_key`: how a client or worker reads each packet a server sends it. Lengths are the server's affair."""


def bare_packets(rules: dict[int, Rule]) -> dict[int, Packet]:
    """Give, by `header_key`, the packets without arguments: of each there is one object, which need not be made."""
    built = {key: build([b""]) for key, (_, build) in rules.items()}
    return {key: packet for key, packet in built.items() if isinstance(packet, Packet) and not packet.args}
