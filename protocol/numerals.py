"""The numbers that packets carry as decimal text: read as gearmand reads them where it works, refused where it breaks.

Nothing here knows the time: an epoch is compared with the clock by whoever has one.
"""

import re
from typing import Final

from protocol.errors import Fault

MAX_EPOCH: Final = 253_402_300_799
"""The last second of the year 9999. A later one is a mistake, most often milliseconds in place of seconds."""
MIN_TIMEOUT: Final = 1000
"""Milliseconds; shorter time limits are raised to this, as in gearmand."""
MAX_TIMEOUT: Final = 10**13
"""Milliseconds, some 317 years. A longer limit is a mistake, and the numbers crash gearmand."""
MAX_PROGRESS: Final = 2**63 - 1
"""The largest numerator or denominator kept."""

_LEADING_NUMBER: Final = re.compile(rb"[ \t\n\v\f\r]*([+-]?)([0-9]+)")
_MAX_DIGITS: Final = 19


def _leading_number(raw: bytes, ceiling: int) -> int:
    """Return what C's strtol finds at the start, 0 if nothing, and `ceiling` for anything above it, in linear time."""
    match = _LEADING_NUMBER.match(raw)
    if match is None:
        return 0
    digits = match[2].lstrip(b"0")
    value = min(int(digits or b"0"), ceiling) if len(digits) <= _MAX_DIGITS else ceiling
    return -value if match[1] == b"-" else value


def parse_epoch(raw: bytes) -> int | Fault:
    """Read when a SUBMIT_JOB_EPOCH is due, in seconds since 1970; 0 means now.

    A word, nothing at all, or a negative number mean now too, as in gearmand.
    """
    value = _leading_number(raw, MAX_EPOCH + 1)
    if value > MAX_EPOCH:
        text = f"The epoch must be seconds since 1970, at most {MAX_EPOCH}: {_shown(raw)}"
        return Fault(b"INVALID_ARGUMENTS", text.encode(), fatal=False)
    return max(value, 0)


def parse_timeout(raw: bytes) -> int | Fault | None:
    """Read the time limit of a CAN_DO_TIMEOUT, in milliseconds; None means no limit.

    0, nothing at all, a word, a negative number and a number in binary (as npm's gearman sends it) mean no limit; a
    limit below `MIN_TIMEOUT` becomes that. One above `MAX_TIMEOUT` is a fault, not silently some other limit: it is
    always a mistake, and its sender is the one who can mend it.
    """
    value = _leading_number(raw, MAX_TIMEOUT + 1)
    if value > MAX_TIMEOUT:
        text = f"The timeout must be milliseconds, at most {MAX_TIMEOUT}: {_shown(raw)}"
        return Fault(b"INVALID_ARGUMENTS", text.encode(), fatal=False)
    return max(value, MIN_TIMEOUT) if value > 0 else None


def parse_progress(raw: bytes) -> int:
    """Read a numerator or denominator of a WORK_STATUS: a word or a negative number is 0, `MAX_PROGRESS` the most."""
    return max(_leading_number(raw, MAX_PROGRESS), 0)


def _shown(raw: bytes) -> str:
    return raw[:40].decode("ascii", "backslashreplace") + ("..." if len(raw) > 40 else "")
