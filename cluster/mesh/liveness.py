"""The liveness connection beside a link: a second connection on which nothing is sent once it is open.

When a process ends, its host closes its connections. It resets those that hold unread data, as most links do at most
times; a firewall that rejects packets sends resets as well. A connection without data is always closed in good order,
and no firewall does that. So the end of a liveness connection in good order proves that the other process has ended,
unless something between the nodes ends connections by itself: then the link goes on, and another one is opened.

A live process never closes one in good order: it resets it.

The end that accepted a link asks for the connection on the link, with a nonce. The end that dialled the link opens it,
and shows in the request that it knows the link's key. It sends one byte when it has the connection: before that its end
means nothing. Not for: what follows from the proof (`cluster.mesh.processes`).
"""

import asyncio
import contextlib
import hmac
import secrets
import socket
import struct
from collections.abc import Callable
from typing import Final, cast

from cluster import keepalive
from cluster.mesh.seal import Seal

PATH: Final = "/gearmesh/liveness"
HEADER: Final = "X-Gearmesh-Liveness"
"""The header of the request: the nonce and the tag, in hexadecimal digits."""
NONCE_SIZE: Final = 16
_CONFIRMED: Final = b"\x01"
_RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER: on, for no time. What is left to be sent is dropped, and the other end is sent a reset."""
_KEEPALIVE: Final = (15, 5, 3)
"""Seconds of silence, seconds between probes, and probes: something between the nodes may forget a connection on which
nothing is sent."""


def make_nonce() -> bytes:
    """Make the nonce of one liveness connection."""
    return secrets.token_bytes(NONCE_SIZE)


def header(nonce: bytes, outgoing: Seal) -> str:
    """Return what the end that opens the connection says. `outgoing`: its seal on the link."""
    return f"{nonce.hex()}{outgoing.derive(nonce).hex()}"


def nonce_of(value: str) -> bytes:
    """Return the nonce that a header names; empty for nonsense."""
    with contextlib.suppress(ValueError):
        return bytes.fromhex(value)[:NONCE_SIZE]
    return b""


def is_proven(value: str, nonce: bytes, incoming: Seal) -> bool:
    """Tell whether a header comes from the other end of the link with this seal."""
    with contextlib.suppress(ValueError):
        return hmac.compare_digest(bytes.fromhex(value), nonce + incoming.derive(nonce))
    return False


def reset(transport: asyncio.Transport) -> None:
    """Close a connection so that the other end is sent a reset."""
    sock = transport.get_extra_info("socket")
    if sock is not None and not transport.is_closing():
        with contextlib.suppress(OSError, ValueError):  # ValueError: uvloop's, where it is closed already
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()


class LivenessConnection(asyncio.Protocol):
    """One end of a liveness connection."""

    def __init__(self, transport: asyncio.Transport, lost: Callable[["LivenessConnection", bool], None]) -> None:
        """Take over `transport` from aiohttp, whose own protocol is told when it is lost.

        `lost` is told when the connection has ended, and whether the other host closed it in good order.
        """
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport = transport
        self._lost = lost
        self._closed_here = False
        self._confirmed = False
        """Whether both ends have it. The end that opened it may give up before it knows that it was opened."""
        self._spoilt = False
        """Whether anything else was sent on it."""
        self._before = cast("asyncio.Protocol", transport.get_protocol())
        transport.set_protocol(self)
        sock = transport.get_extra_info("socket")
        if sock is not None:
            with contextlib.suppress(OSError, ValueError):
                keepalive.arm(sock, *_KEEPALIVE)

    def close(self) -> None:
        """End it; nobody is told here, and the other end learns nothing from it."""
        self._closed_here = True
        reset(self._transport)

    def confirm(self) -> None:
        """Tell the other end that this end has the connection: until then its end means nothing."""
        self._confirmed = True
        self._transport.write(_CONFIRMED)

    def data_received(self, data: bytes) -> None:
        """Take note of data (asyncio): whoever sends anything but the confirmation is no node."""
        if data == _CONFIRMED and not self._confirmed:
            self._confirmed = True
        else:
            self._confirmed = False
            self._spoilt = True
            reset(self._transport)

    def eof_received(self) -> bool:
        """Take note that the other end has closed (asyncio): so does this one."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Take note that the connection is gone (asyncio)."""
        self._before.connection_lost(exc)
        if not self.closed.done():
            self.closed.set_result(None)
        if not self._closed_here:
            self._closed_here = True
            self._lost(self, exc is None and self._confirmed and not self._spoilt)
