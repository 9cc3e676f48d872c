"""Gearman's bytes, sans-IO: feed bytes in, get packets and text commands out; packets in, bytes out.

No sockets, no clock, no knowledge of jobs or of clusters. Both halves of the protocol are here: what a server decodes
and encodes, and what clients and workers do.
"""

from protocol.admin import (
    AdminCommand,
    AdminFault,
    CancelJob,
    CreateFunction,
    DropFunction,
    GetPid,
    MaxQueue,
    PriorityStatus,
    ShowJobs,
    ShowMaxQueue,
    ShowUniqueJobs,
    Status,
    Verbose,
    Version,
    Workers,
    parse_line,
)
from protocol.answers import (
    FUNCTION_HAS_JOBS,
    FUNCTION_IN_USE,
    FUNCTION_NOT_FOUND,
    TOO_MANY_FUNCTIONS,
    UNKNOWN_JOB,
    Limits,
    error_line,
    limits_row,
    ok_line,
    table,
    worker_row,
)
from protocol.arguments import option_name
from protocol.decoder import PeerDecoder, ServerDecoder, TextLine
from protocol.encoder import encode_error, encode_job_created, encode_passed_on, encode_request, encode_response
from protocol.errors import Fault, LocalProtocolError, ProtocolError, RemoteProtocolError
from protocol.limits import DEFAULT_MAX_PACKET, MAX_CLIENT_ID, MAX_FUNCTION, MAX_HANDLE, MAX_LINE, MAX_UNIQUE
from protocol.numerals import parse_epoch, parse_progress, parse_timeout
from protocol.packet import LAYOUTS, UNSERVED, Layout, Packet, PacketType, Route

__all__ = [
    "DEFAULT_MAX_PACKET",
    "FUNCTION_HAS_JOBS",
    "FUNCTION_IN_USE",
    "FUNCTION_NOT_FOUND",
    "LAYOUTS",
    "MAX_CLIENT_ID",
    "MAX_FUNCTION",
    "MAX_HANDLE",
    "MAX_LINE",
    "MAX_UNIQUE",
    "TOO_MANY_FUNCTIONS",
    "UNKNOWN_JOB",
    "UNSERVED",
    "AdminCommand",
    "AdminFault",
    "CancelJob",
    "CreateFunction",
    "DropFunction",
    "Fault",
    "GetPid",
    "Layout",
    "Limits",
    "LocalProtocolError",
    "MaxQueue",
    "Packet",
    "PacketType",
    "PeerDecoder",
    "PriorityStatus",
    "ProtocolError",
    "RemoteProtocolError",
    "Route",
    "ServerDecoder",
    "ShowJobs",
    "ShowMaxQueue",
    "ShowUniqueJobs",
    "Status",
    "TextLine",
    "Verbose",
    "Version",
    "Workers",
    "encode_error",
    "encode_job_created",
    "encode_passed_on",
    "encode_request",
    "encode_response",
    "error_line",
    "limits_row",
    "ok_line",
    "option_name",
    "parse_epoch",
    "parse_line",
    "parse_progress",
    "parse_timeout",
    "table",
    "worker_row",
]
