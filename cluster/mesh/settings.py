"""The figures and files a mesh is given, with their defaults.

Not for: reading them from flags or files, which `node.configuration` does.
"""

import math
from pathlib import Path
from typing import Final

import msgspec

KIB: Final = 1024
MIB: Final = 1024 * KIB


class TlsFiles(msgspec.Struct, frozen=True):
    """PEM files for mutual TLS; read again when they change, so that certificates can be renewed without a restart."""

    cert: Path
    key: Path
    ca: Path
    """Who signed the certificates of the other nodes. A certificate it signed is good on any address."""


class Timing(msgspec.Struct, frozen=True):
    """All in seconds."""

    handshake: float = 3.0
    """From the connection to the link, for everything in between."""
    ping: float = 1.0
    """A peer that says nothing for this long is asked whether it is there."""
    dead: float = 4.0
    """A peer that says nothing for this long is lost."""
    first_delay: float = 0.1
    """Before the second attempt to dial; doubles with each failure. Jitter takes up to half of it away."""
    longest_delay: float = 3.0
    settled: float = 0.5
    """A link that held this long lets the delays begin anew."""
    penalty: float = 1.0
    """How long a connection that proved nothing counts as one that is still there."""
    refusal: float = 10.0
    """How long a node that was refused is not linked again."""
    linger: float = 0.5
    """How long the last words on a link may take."""
    abandon: float = 600.0
    """An address that was only heard of from others, or from a lost peer, is given up after failing for this long."""

    @property
    def keepalive(self) -> tuple[int, int, int]:
        """Give the kernel's idle time, interval and count: probes as pings, and lost when a link would be (`dead`).

        The kernel goes by whole seconds, so shorter times become one. It stands in for a link that does not look: while
        a connection is greeted, or when its last words are on their way.
        """
        pause = max(1, math.ceil(self.ping))
        return pause, pause, max(1, math.ceil(self.dead / pause) - 1)


MAX_MESSAGE: Final = 4 * MIB
"""Bytes of the longest message on a lane, whatever a node's settings are: all nodes must agree on it. It is part of the
wire format. An entry of the log is shorter than that, and so is a piece of a snapshot."""
MAX_REPORT: Final = 528 * MIB
"""The same on the lane of reports: the result of a job is a packet, and no setting allows one of more than 512 MiB. The
rest is for the list of those who wait for it."""


class Limits(msgspec.Struct, frozen=True):
    """All in bytes, except where it says otherwise."""

    max_message: int = MAX_MESSAGE
    """The longest message on a lane, and the most that is put together of its fragments."""
    max_report: int = MAX_REPORT
    """The same on the lane of reports."""
    consensus: int = 8 * MIB
    """What may wait to be sent on this lane; so on for the others. An empty lane takes any message."""
    entries: int = 96 * MIB
    reports: int = 192 * MIB
    snapshots: int = 4 * MIB
    unproven: int = 64
    """Connections, of all addresses, that have not proven yet that they know the secret."""
    unproven_per_host: int = 16
    acquaintances: int = 64
    """Addresses that a peer may tell, and that are dialled because somebody told them."""

    def lanes(self) -> tuple[int, int, int, int]:
        """Tell what may wait to be sent on each lane."""
        return self.consensus, self.reports, self.snapshots, self.entries

    def longest(self) -> tuple[int, int, int, int]:
        """Tell the longest message of each lane."""
        return self.max_message, self.max_report, self.max_message, self.max_message
