"""A client that sends several large jobs behind a request whose answer is owed: they reach the job table in one batch.

Not for: what becomes of the jobs; no worker ever does them.
"""

from typing import Final

from protocol import Packet, PacketType, encode_request
from tests.simulation import sizes
from tests.simulation.connections import Event, Wire

JOBS: Final = 15
SIZE: Final = (8 << 20) // sizes.SCALE
"""Bytes of each: 8 MiB in a scaled world."""


class Burst:
    """One connection of such a client (`connections.End`)."""

    name = "B"

    def __init__(self, number: int) -> None:
        """Be the burst with this number."""
        self._number = number
        self.created = 0
        """How many of its jobs were acknowledged."""

    def opened(self, wire: Wire) -> None:
        """Send everything at once."""
        kind = PacketType.SUBMIT_JOB_BG
        packets = [
            encode_request(kind, b"burst", b"", b"B%d" % self._number),
            encode_request(PacketType.ECHO_REQ, b"echo"),
        ]
        packets += [encode_request(kind, b"burst", b"", self._workload(job)) for job in range(JOBS)]
        wire.send(b"".join(packets))

    def _workload(self, job: int) -> bytes:
        return (b"B%d/%d" % (self._number, job)).ljust(SIZE, b".")

    def heard(self, wire: Wire, event: Event, given: int) -> None:
        """Count the acknowledgements."""
        if isinstance(event, Packet) and event.kind is PacketType.JOB_CREATED:
            self.created += 1

    def closed(self, wire: Wire) -> None:
        """Go: it is not for the burst to try again."""
        wire.leave()

    def missed(self, wire: Wire, event: Event, given: int) -> None:
        """Take no note of what came too late."""
