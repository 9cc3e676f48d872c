"""What consensus does that an operator is to know, as events of the log.

Not for: what the events lead to.
"""

from typing import Final

import structlog

from cluster.raft import Notice, Obstacle, Stalled

_WHY: Final = {
    Obstacle.DISK: "this node's disk has not finished a write, and another node's has",
    Obstacle.SENDING: "entries do not arrive at nodes that are heard",
    Obstacle.FOLLOWERS: "entries arrive, and the disks of too many nodes do not take them",
}
_CURE: Final = {
    Obstacle.DISK: "see what holds up the disk of this node",
    Obstacle.SENDING: "see what holds up the network between the nodes",
    Obstacle.FOLLOWERS: "see what holds up the disks of the nodes",
}

log = structlog.get_logger()


def say(notice: Notice, node: str, tick: float) -> None:
    """Log what the core of `node` has to say; `tick`: the seconds of one of its ticks."""
    if isinstance(notice, Stalled):
        log.warning(
            "leader_stalled",
            node=node,
            why=_WHY[notice.obstacle],
            seconds=round(notice.ticks * tick, 1),
            bytes=notice.bytes,
            hands_over_to=notice.heir or None,
            cure=_CURE[notice.obstacle],
        )
        return
    log.info(
        "snapshot_sending",
        to=notice.to,
        index=notice.index,
        has=notice.match,
        oldest_kept=notice.first_index,
        behind=notice.lag,
        why="the entries that it lacks are not kept any more",
    )


def installed(index: int, size: int, *, kept: int, closed: int) -> None:
    """Log that a snapshot took the place of the table."""
    log.info("snapshot_installed", index=index, bytes=size, sessions_kept=kept, sessions_closed=closed)
