"""How long a TCP connection outlives the host at its other end: the same time, whether data is under way or not.

TCP has two clocks for this. Keepalive asks a silent peer for a sign of life, but only while nothing waits for an
acknowledgement. Data that is not acknowledged is sent again and again, on Linux for some 15 minutes, whatever the
keepalive settings are. `TCP_USER_TIMEOUT` bounds both. It takes the place of the number of probes too, so it has to be
exactly what the three figures come to.

Not for: peers whose host is there and who say nothing, or do not read. That is judged where their bytes are
(`node.gateway.progress`, `cluster.mesh.link`). But Linux counts a full receive buffer, which stays full, as data that
is not acknowledged (docs/bounds.md).
"""

import contextlib
import socket
from typing import Final

_LONGEST: Final = 2**31 - 1
"""Milliseconds that fit the option, some 24 days. The largest figures that can be set come to 48."""


def arm(sock: socket.socket, idle: int, interval: int, count: int) -> None:
    """Let the kernel end a connection once nothing has come for `idle + interval * count` seconds.

    Probes are sent after `idle` seconds of silence, and every `interval` seconds from then on. A figure that is not
    positive stands for the system's own. Where the kernel has no such option the figures count for silence alone.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, figure in (("TCP_KEEPIDLE", idle), ("TCP_KEEPINTVL", interval), ("TCP_KEEPCNT", count)):
        if figure > 0 and hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), figure)
    user_timeout = getattr(socket, "TCP_USER_TIMEOUT", None)
    if user_timeout is not None:
        # Sandboxes that pass for Linux may not know it: the connection is as good as it was before there.
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, user_timeout, min(1000 * _patience(sock), _LONGEST))


def _patience(sock: socket.socket) -> int:
    """Give the seconds that the figures come to; the kernel knows its own where none was given."""
    idle, interval, count = (
        sock.getsockopt(socket.IPPROTO_TCP, option)
        for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
    )
    return idle + interval * count
