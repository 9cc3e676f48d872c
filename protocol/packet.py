"""What a binary packet is: its types, who sends them to whom, the names of their arguments, and the header.

Everything here is data. What a *valid* argument is belongs to `protocol.arguments`; how bytes become packets and
packets bytes, to `protocol.decoder` and `protocol.encoder`.

Source: PROTOCOL of gearmand, "Binary Packet" and the sections that follow it, corrected where gearmand itself differs:
reduce jobs carry an aggregator, STATUS_RES_UNIQUE starts with the unique key.
"""

import enum
import struct
from typing import Final

import msgspec


class PacketType(enum.IntEnum):
    """The number of a packet, as it stands in the header. Number 5 was never given out."""

    CAN_DO = 1
    CANT_DO = 2
    RESET_ABILITIES = 3
    PRE_SLEEP = 4
    NOOP = 6
    SUBMIT_JOB = 7
    JOB_CREATED = 8
    GRAB_JOB = 9
    NO_JOB = 10
    JOB_ASSIGN = 11
    WORK_STATUS = 12
    WORK_COMPLETE = 13
    WORK_FAIL = 14
    GET_STATUS = 15
    ECHO_REQ = 16
    ECHO_RES = 17
    SUBMIT_JOB_BG = 18
    ERROR = 19
    STATUS_RES = 20
    SUBMIT_JOB_HIGH = 21
    SET_CLIENT_ID = 22
    CAN_DO_TIMEOUT = 23
    ALL_YOURS = 24
    WORK_EXCEPTION = 25
    OPTION_REQ = 26
    OPTION_RES = 27
    WORK_DATA = 28
    WORK_WARNING = 29
    GRAB_JOB_UNIQ = 30
    JOB_ASSIGN_UNIQ = 31
    SUBMIT_JOB_HIGH_BG = 32
    SUBMIT_JOB_LOW = 33
    SUBMIT_JOB_LOW_BG = 34
    SUBMIT_JOB_SCHED = 35
    SUBMIT_JOB_EPOCH = 36
    SUBMIT_REDUCE_JOB = 37
    SUBMIT_REDUCE_JOB_BACKGROUND = 38
    GRAB_JOB_ALL = 39
    JOB_ASSIGN_ALL = 40
    GET_STATUS_UNIQUE = 41
    STATUS_RES_UNIQUE = 42


RESERVED_TYPE: Final = 5
"""A number below the highest that names no packet."""


class Route(enum.Flag):
    """Who sends a packet to whom."""

    CLIENT_TO_SERVER = enum.auto()
    WORKER_TO_SERVER = enum.auto()
    SERVER_TO_CLIENT = enum.auto()
    SERVER_TO_WORKER = enum.auto()


TO_SERVER: Final = Route.CLIENT_TO_SERVER | Route.WORKER_TO_SERVER
FROM_SERVER: Final = Route.SERVER_TO_CLIENT | Route.SERVER_TO_WORKER


class Layout(msgspec.Struct, frozen=True):
    """The way a packet type goes and what its body holds."""

    route: Route
    arguments: tuple[str, ...]
    """Names in order. NUL ends each but the last, which runs to the end of the body and may hold NULs."""


_C, _W = Route.CLIENT_TO_SERVER, Route.WORKER_TO_SERVER
_TO_C, _TO_W = Route.SERVER_TO_CLIENT, Route.SERVER_TO_WORKER
_SUBMIT = Layout(_C, ("function", "unique", "workload"))
_REDUCE = Layout(_C, ("function", "unique", "reducer", "aggregator", "workload"))
_REPORT = Layout(_W | _TO_C, ("handle", "data"))

LAYOUTS: Final[dict[PacketType, Layout]] = {
    PacketType.CAN_DO: Layout(_W, ("function",)),
    PacketType.CANT_DO: Layout(_W, ("function",)),
    PacketType.RESET_ABILITIES: Layout(_W, ()),
    PacketType.PRE_SLEEP: Layout(_W, ()),
    PacketType.NOOP: Layout(_TO_W, ()),
    PacketType.SUBMIT_JOB: _SUBMIT,
    PacketType.JOB_CREATED: Layout(_TO_C, ("handle",)),
    PacketType.GRAB_JOB: Layout(_W, ()),
    PacketType.NO_JOB: Layout(_TO_W, ()),
    PacketType.JOB_ASSIGN: Layout(_TO_W, ("handle", "function", "workload")),
    PacketType.WORK_STATUS: Layout(_W | _TO_C, ("handle", "numerator", "denominator")),
    PacketType.WORK_COMPLETE: _REPORT,
    PacketType.WORK_FAIL: Layout(_W | _TO_C, ("handle",)),
    PacketType.GET_STATUS: Layout(_C, ("handle",)),
    PacketType.ECHO_REQ: Layout(TO_SERVER, ("data",)),
    PacketType.ECHO_RES: Layout(FROM_SERVER, ("data",)),
    PacketType.SUBMIT_JOB_BG: _SUBMIT,
    PacketType.ERROR: Layout(FROM_SERVER, ("code", "text")),
    PacketType.STATUS_RES: Layout(_TO_C, ("handle", "known", "running", "numerator", "denominator")),
    PacketType.SUBMIT_JOB_HIGH: _SUBMIT,
    PacketType.SET_CLIENT_ID: Layout(_W, ("id",)),
    PacketType.CAN_DO_TIMEOUT: Layout(_W, ("function", "timeout")),
    PacketType.ALL_YOURS: Layout(_W, ()),
    PacketType.WORK_EXCEPTION: _REPORT,
    PacketType.OPTION_REQ: Layout(TO_SERVER, ("option",)),
    PacketType.OPTION_RES: Layout(FROM_SERVER, ("option",)),
    PacketType.WORK_DATA: _REPORT,
    PacketType.WORK_WARNING: _REPORT,
    PacketType.GRAB_JOB_UNIQ: Layout(_W, ()),
    PacketType.JOB_ASSIGN_UNIQ: Layout(_TO_W, ("handle", "function", "unique", "workload")),
    PacketType.SUBMIT_JOB_HIGH_BG: _SUBMIT,
    PacketType.SUBMIT_JOB_LOW: _SUBMIT,
    PacketType.SUBMIT_JOB_LOW_BG: _SUBMIT,
    PacketType.SUBMIT_JOB_SCHED: Layout(
        _C, ("function", "unique", "minute", "hour", "day of month", "month", "day of week", "workload")
    ),
    PacketType.SUBMIT_JOB_EPOCH: Layout(_C, ("function", "unique", "epoch", "workload")),
    PacketType.SUBMIT_REDUCE_JOB: _REDUCE,
    PacketType.SUBMIT_REDUCE_JOB_BACKGROUND: _REDUCE,
    PacketType.GRAB_JOB_ALL: Layout(_W, ()),
    PacketType.JOB_ASSIGN_ALL: Layout(_TO_W, ("handle", "function", "unique", "reducer", "workload")),
    PacketType.GET_STATUS_UNIQUE: Layout(_C, ("unique",)),
    PacketType.STATUS_RES_UNIQUE: Layout(
        _TO_C, ("unique", "known", "running", "numerator", "denominator", "waiting clients")
    ),
}
"""Every packet type there is."""

UNSERVED: Final = frozenset({PacketType.ALL_YOURS, PacketType.SUBMIT_JOB_SCHED})
"""Requests that PROTOCOL describes and no server carries out: gearmand answers INVALID_COMMAND, and so do we."""


class Packet(msgspec.Struct, frozen=True, gc=False):
    """One well-formed packet."""

    kind: PacketType
    args: list[bytes]
    """As many as `LAYOUTS[kind].arguments` has names; empty for a type without arguments, whatever its body held."""


NUL: Final = b"\0"
REQUEST_MAGIC: Final = b"\0REQ"
RESPONSE_MAGIC: Final = b"\0RES"
HEADER: Final = struct.Struct(">QI")
"""Magic and type together as one number, then the size of the body: one look-up answers both of the former."""


def header_key(magic: bytes, number: int) -> int:
    """Return the first field of `HEADER` for a magic and a type number."""
    return int.from_bytes(magic, "big") << 32 | number
