"""What can go wrong: an exception for our own caller's misuse, a value for what the peer did.

A decoder never raises for bytes it was sent: it yields a `Fault`, so that one bad packet among good ones costs nothing
but an ERROR in answer. `RemoteProtocolError` is for callers to whom a fault is the end of a call, such as clients.
"""

import msgspec


class ProtocolError(Exception):
    """Base of every error of this package."""


class LocalProtocolError(ProtocolError):
    """The caller asked for bytes that the protocol cannot express: a mistake in the calling code."""


class Fault(msgspec.Struct, frozen=True, gc=False):
    """What the peer did wrong, ready to be sent back as an ERROR packet (PROTOCOL, "Server responses", ERROR)."""

    code: bytes
    """One of gearmand's error codes, such as `INVALID_COMMAND`."""
    text: bytes
    """The fault in words, for the person who reads the peer's log."""
    fatal: bool
    """Whether the start of the next packet is unknown: nothing more is decoded, the connection must be closed."""


class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol, or answered ERROR; `fault` says how."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(f"{fault.code.decode('utf-8', 'replace')}: {fault.text.decode('utf-8', 'replace')}")
        self.fault = fault
