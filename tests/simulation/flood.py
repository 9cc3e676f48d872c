"""A client that submits many jobs of a moderate size, as fast as they are acknowledged, a few at a time.

They all join one job, which no worker ever does: so there is much in the log, and little in the table. Not for: queues.
"""

from typing import Final

from protocol import Packet, PacketType, encode_request
from tests.simulation import sizes
from tests.simulation.connections import Event, Wire

JOBS: Final = 200
AT_ONCE: Final = 40
SIZE: Final = (400 << 10) // sizes.SCALE
"""Bytes of each: 400 KiB in a scaled world."""


class Flood:
    """One connection of such a client (`connections.End`)."""

    name = "F"

    def __init__(self, number: int) -> None:
        """Be the flood with this number."""
        self._number = number
        self._sent = 0
        self.created = 0
        """How many of its jobs were acknowledged."""

    def opened(self, wire: Wire) -> None:
        """Begin."""
        self._submit(wire, AT_ONCE)

    def _submit(self, wire: Wire, count: int) -> None:
        first, self._sent = self._sent, min(self._sent + count, JOBS)
        packets = [
            encode_request(
                PacketType.SUBMIT_JOB_BG, b"flood", b"flood", (b"F%d/%d" % (self._number, job)).ljust(SIZE, b".")
            )
            for job in range(first, self._sent)
        ]
        wire.send(b"".join(packets))

    def heard(self, wire: Wire, event: Event, given: int) -> None:
        """Submit the next one for each that is acknowledged."""
        if isinstance(event, Packet) and event.kind is PacketType.JOB_CREATED:
            self.created += 1
            if self.created == JOBS:
                wire.leave()
            elif self._sent < JOBS:
                self._submit(wire, 1)

    def closed(self, wire: Wire) -> None:
        """Go: it is not for the flood to try again."""
        wire.leave()

    def missed(self, wire: Wire, event: Event, given: int) -> None:
        """Take no note of what came too late."""
