"""Log lines about those who were not let in, few enough that they cost nothing however many knock.

Not for: deciding who is let in.
"""

from collections.abc import Callable
from typing import Final

import structlog

_log: Final = structlog.get_logger()

_QUIET: Final = 10.0
"""Seconds between two lines about the same host and the same reason."""

_LINES: Final = 20
"""Lines in that time, about all hosts."""


class Refusals:
    """Counts what it does not say, and says how much that was in the next line."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._said: set[tuple[str, str]] = set()
        self._unsaid = 0
        self._since = -_QUIET

    def report(self, host: str, reason: str, **details: object) -> None:
        """Log that there is no link with a host, and why, unless this was said just now."""
        now = self._now()
        if now - self._since >= _QUIET:
            self._since = now
            self._said.clear()
        if (host, reason) in self._said or len(self._said) >= _LINES:
            self._unsaid += 1
            return
        self._said.add((host, reason))
        if self._unsaid:
            details["not_logged"] = self._unsaid
            self._unsaid = 0
        _log.warning("link_refused", host=host, reason=reason, **details)
