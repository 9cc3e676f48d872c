"""New connections are refused before the files that the process may open are used up: some are kept for all else.

A node that has no file left can neither link to another node, nor open its database, nor say that it is unwell. A
refused connection is closed at once, so that the client goes to another node; left unaccepted, it would wait.

The kernel gives the lowest number that is free. So a connection's number tells how many files are open at least.
"""

import resource
from typing import Final

import structlog

RESERVED: Final = 32
"""Files that no Gearman connection takes: for links to other nodes, the database, and the HTTP port."""
LOG_INTERVAL: Final = 60.0
"""Seconds between two warnings."""

log = structlog.get_logger()


class Admission:
    """The connections of one node, as far as there are files for them."""

    def __init__(self) -> None:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._limit = limit
        self._first_reserved = limit - RESERVED if limit != resource.RLIM_INFINITY else None
        self.refused = 0
        """How many connections were refused so far."""
        self._said = 0
        """Of these, how many the last warning told of."""
        self._next_warning = 0.0

    def admits(self, descriptor: int, now: float) -> bool:
        """Tell whether a connection with this number may stay."""
        if self._first_reserved is None or descriptor < self._first_reserved:
            return True
        self.refused += 1
        if now >= self._next_warning:
            self._next_warning = now + LOG_INTERVAL
            log.warning(
                "connections_refused",
                why="the process may open no more files",
                connections=self.refused - self._said,
                limit=self._limit,
                reserved=RESERVED,
                cure="allow it more (--file-descriptors, or the hard limit), or let clients close idle connections",
            )
            self._said = self.refused
        return False
