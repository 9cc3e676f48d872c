"""How long a transfer may take: a peer has to go on at a moderate pace, and a byte now and then is not going on.

A transfer that stands still uses up its time. Bytes that are transferred buy time back, a second for every `PACE` of
them, but never more than it began with. So a line that is slow may take as long as it needs, silence is borne as long
as the setting says, and a trickle no longer than silence.

This holds for a packet on its way here, and for what a peer has not read. Not for: peers that are idle.
"""

from typing import Final

PACE: Final = 16 << 10
"""Bytes that buy a second: a line of 128 kbit/s is fast enough, and 64 MiB take it more than an hour."""


def extended(deadline: float, transferred: int, now: float, timeout: float) -> float:
    """Give the new deadline of a transfer that has gone on by so many bytes."""
    return min(deadline + transferred / PACE, now + timeout)
