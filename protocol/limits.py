"""Sizes, in bytes, that the wire protocol sets or that gearmand made customary.

Not for: limits of the queue (`maxqueue`) or of a process; those belong to whoever owns the jobs.
"""

from typing import Final

import msgspec

DEFAULT_MAX_PACKET: Final = 64 * 1024 * 1024
"""Largest body of a binary packet that a decoder takes unless told otherwise."""
MAX_FUNCTION: Final = 512
"""Longest function name (GEARMAN_FUNCTION_MAX_SIZE)."""
MAX_UNIQUE: Final = 64
"""Longest unique key (GEARMAN_MAX_UNIQUE_SIZE)."""
MAX_HANDLE: Final = 63
"""Longest job handle (GEARMAN_JOB_HANDLE_SIZE counts the closing NUL of C)."""
MAX_CLIENT_ID: Final = 127
"""Bytes of a SET_CLIENT_ID that are kept."""
MAX_LINE: Final = 64 * 1024
"""Longest line of the text protocol a server takes; its LF is not counted, a CR before that is."""


class PacketLimit(msgspec.Struct):
    """The largest body that decoders take. Many may share one: they follow its change with the packet that comes next.

    A packet that has begun when the limit falls is taken, and so may be others that came with its end.
    """

    size: int = DEFAULT_MAX_PACKET
    """Bytes."""
    setting: str = ""
    """What sets it, for the peer whose packet is larger; empty: that is not said."""
