"""What happens to the cluster that an operator is to know, as events of the log: leaders, members, stalls.

A warning says what happened, what follows from it and what to do. Not for: what the events lead to.
"""

from typing import Final

import structlog

from cluster.jobs import DownReason
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


_DOWN: Final = {
    DownReason.ENDED: "its process has ended",
    DownReason.SILENT: "the leader has not heard it for the node timeout",
    DownReason.REMOVED: "it is not a member any more",
    DownReason.STOPPED: "it was stopped, and has said so",
}
_BRING_BACK: Final = {
    DownReason.ENDED: "start it again, or remove it from the cluster",
    DownReason.SILENT: "see that its process runs and reaches the other nodes' mesh ports, or remove it",
}
_RUN_AGAIN: Final = "its clients and workers are disconnected; jobs that its workers ran are given to other workers"


def member_down(node: str, reason: int) -> None:
    """Log that the cluster has taken a member for down."""
    known = DownReason(reason) if reason in _DOWN else None
    why = _DOWN[known] if known is not None else "the leader says so"
    if known in (DownReason.REMOVED, DownReason.STOPPED):
        log.info("member_down", node=node, why=why, effect=_RUN_AGAIN)
    else:
        cure = _BRING_BACK.get(known, _BRING_BACK[DownReason.SILENT]) if known is not None else None
        log.warning("member_down", node=node, why=why, effect=_RUN_AGAIN, cure=cure)


def member_up(node: str, incarnation: int) -> None:
    """Log that a member takes part again, or for the first time."""
    log.info("member_up", node=node, incarnation=incarnation)


def declared_down(node: str, reason: int) -> None:
    """Log that the cluster has taken this very node for down."""
    why = _DOWN[DownReason(reason)] if reason in _DOWN else "the leader says so"
    effect = "this node hangs up on its clients and workers, and begins anew"
    cure = "see what kept this process from running, or its messages from arriving; --node-timeout says how long it may"
    log.warning("declared_down", node=node, why=why, effect=effect, cure=cure)


def leader_changed(leader: str, term: int, before: str) -> None:
    """Log that a leader is known, and which one was before."""
    log.info("leader_changed", leader=leader, term=term, before=before or None)


def handing_over(to: str) -> None:
    """Log that this leader hands over to another node, because it was asked to."""
    log.info("handing_over", to=to)


def quorum_lost(seconds: float, timeout: float) -> None:
    """Log that no leader is heard for longer than an election takes. `timeout`: seconds until this node hangs up."""
    log.warning(
        "quorum_lost",
        why=f"no leader for {seconds:.1f} s: a majority of the voters cannot be reached, or elections fail",
        effect=f"this node accepts nothing and hands out nothing; after {timeout:g} s it hangs up on its clients",
        cure="see that a majority of the nodes runs, and that they reach each other's mesh ports",
    )


def unheard(seconds: float) -> None:
    """Log that this node's disk keeps it from being heard, and that it hangs up for that."""
    log.warning(
        "disk_blocks_term",
        why=f"the disk has not taken the present term for {seconds:.1f} s, and until it does the others hear nothing",
        effect="the others are about to take this node for down; its clients and workers are hung up on",
        cure="see what holds up the disk, or whether it is full",
    )


def quorum_restored(leader: str, seconds: float) -> None:
    """Log that there is a leader again."""
    log.info("quorum_restored", leader=leader, after_seconds=round(seconds, 1))


def lagging(seconds: float) -> None:
    """Log that this node's table is older than it may be."""
    log.warning(
        "lagging",
        seconds=round(seconds, 1),
        why="for so long this node has not had in its table what the leader had committed",
        effect="it is not ready, so that new clients go to other nodes; it goes on serving those that it has",
        cure="see what slows its processor, its disk or its network; it is ready again when it has caught up",
    )


def caught_up(seconds: float) -> None:
    """Log that it is not any more."""
    log.info("caught_up", after_seconds=round(seconds, 1))


def paused(seconds: float) -> None:
    """Log that this process did not run for a while."""
    log.warning(
        "paused",
        seconds=round(seconds, 1),
        why="this process, or its machine, was stopped, or had no processor",
        effect="other nodes may have gone on without this one",
        cure="see what stopped it; --node-timeout says for how long a node may be silent",
    )
