"""Messages that a link did not take: they are counted, and logged without filling the log.

A lane that is full is a warning: what was dropped is sent again once there is room. A message that is too long is an
error: it can never be sent. Not for: sending anything again, which is up to whoever sent it.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

import structlog

from cluster.mesh.outbox import Drop
from cluster.mesh.peer import Lane
from cluster.mesh.settings import Limits

INTERVAL: Final = 10.0
"""Seconds between two lines about the same lane of the same node, for the same reason."""

_log: Final = structlog.get_logger()


class Drops:
    """What the links of one mesh did not take."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._quiet: dict[tuple[str, Lane, Drop], float] = {}
        """Until when nothing is logged."""
        self._unlogged: Counter[tuple[str, Lane, Drop]] = Counter()

    def report(self, node: str, lane: Lane, drop: Drop, size: int, limits: Limits) -> None:
        """Take note of a message of `size` bytes that was not sent."""
        key = (node, lane, drop)
        now = self._clock()
        self._unlogged[key] += 1
        if now < self._quiet.get(key, 0.0):
            return
        self._quiet[key] = now + INTERVAL
        too_long = drop is Drop.TOO_LONG
        limit = (limits.longest() if too_long else limits.lanes())[lane]
        _log.log(
            logging.ERROR if too_long else logging.WARNING,
            "message_dropped",
            node=node,
            lane=lane.name.lower(),
            bytes=size,
            limit=limit,
            reason=drop.value,
            dropped=self._unlogged.pop(key),
        )
