"""What the site knows of the node it belongs to: plain data, and the protocol through which it asks.

Not for: HTTP, or how a node comes to know these things.
"""

import enum
from typing import Protocol

import msgspec

from cluster.raft import Role
from node.configuration import Address


class MemberRole(enum.StrEnum):
    """What a member is to the group."""

    VOTER = "voter"
    LEARNER = "learner"
    """It is sent the log, and counts for nothing yet."""


class AlarmFigures(msgspec.Struct, frozen=True):
    """An alarm: a member has too little of something, and the cluster takes no new job."""

    resource: str
    """`memory` or `disk`."""
    found: int
    """Bytes of memory in use, or of free disk space, when it was raised."""
    limit: int
    """The member's high-water mark, in bytes."""


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One member of the group, as this node sees it."""

    id: str
    name: str
    role: MemberRole
    address: str | None
    """Its mesh address, as HOST:PORT; None: not known."""
    up: bool
    """Whether this node is linked to it, or it is this node."""
    lag: int | None = None
    """Entries of the log that it does not have yet. None: not known here; only the leader knows it of others."""
    this: bool = False
    """Whether it is the node that says this."""
    alarms: tuple[AlarmFigures, ...] = ()
    """What it has too little of."""


class Resources(msgspec.Struct, frozen=True, kw_only=True):
    """What a node uses, and its high-water marks, in bytes."""

    memory: int | None
    """Memory in use; None: the system does not say."""
    memory_limit: int
    """Memory in use from which on no new job is taken; 0: no bound."""
    disk_free: int
    """Free space on the file system of the data directory."""
    disk_free_limit: int
    """Free space below which no new job is taken; 0: no bound."""


class ThisNode(msgspec.Struct, frozen=True, kw_only=True):
    """The node that answers."""

    id: str
    name: str
    version: str
    """gearmesh's."""
    ready: bool
    """Whether new clients are to be sent to it."""
    reason: str | None
    """Why it is not ready, in one line for people; None when it is."""
    connections: int = 0
    """Gearman connections that it has."""
    resources: Resources | None = None
    """None before there is a group."""
    warnings: tuple[str, ...] = ()
    """What keeps the cluster from doing all that it could, though this node is ready; a line for people each."""

    def __post_init__(self) -> None:
        """Refuse a node that is ready for a reason, or not ready for none."""
        if self.ready is not (self.reason is None):
            raise ValueError("a node has a reason if, and only if, it is not ready")


class RaftFigures(msgspec.Struct, frozen=True, kw_only=True):
    """This node's place in the consensus."""

    role: Role
    last_index: int
    """The last entry of its log."""
    commit_index: int
    """The last entry known to be committed."""
    applied_index: int
    """The last entry that its job table has taken in."""
    leader_changes: int = 0
    """How often it has seen a leader come into office since it started."""
    lag_ms: int = 0
    """For how many milliseconds its job table has been missing something that the leader had committed; 0: nothing."""


class ClusterStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The cluster, as this node sees it."""

    cluster: str
    """Its name (`--cluster`)."""
    group: str
    """The id of the group of nodes that was founded under that name; empty before."""
    node: ThisNode
    leader: str | None
    """The id of the member that leads; None: nobody, as far as this node knows."""
    term: int
    """The term of consensus; 0 before there is a group."""
    members: tuple[Member, ...]
    """In the order of their ids; empty before there is a group."""
    raft: RaftFigures | None
    """None before there is a group."""


class FunctionFigures(msgspec.Struct, frozen=True):
    """One function's counters."""

    function: str
    jobs: int
    """Jobs in the table, in whatever state."""
    running: int
    workers: int
    """Connections, anywhere in the cluster, that can do it."""


class TableFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The job table in numbers. Made without looking at any single job."""

    jobs: int
    """Jobs in the table."""
    created: int
    """Jobs there ever were."""
    sessions: int
    """Connections that work or wait for results, anywhere in the cluster."""
    functions: int
    """Functions in the table."""
    by_function: tuple[FunctionFigures, ...]
    """Bounded: what does not get a line of its own is summed in the last one."""


class ChangeRefusedError(Exception):
    """A change cannot be made; the text says why, and what to do instead, in whole sentences for the person who asked.

    `leader` names the member to ask instead, where only the leader can do it and this node cannot pass it on.
    """

    def __init__(self, text: str, *, leader: str | None = None) -> None:
        super().__init__(text)
        self.leader = leader


class ClusterState(Protocol):
    """The node, as the site sees it. Called from the node's event loop; `status` must be cheap and never wait."""

    def status(self) -> ClusterStatus:
        """Return the cluster as it is now."""

    async def table_figures(self) -> TableFigures | None:
        """Return the job table in numbers (`read_table` makes them); None while there is no table."""

    async def add(self, address: Address) -> str:
        """Look for a node at this mesh address and let it join; return one sentence that says what happened.

        Raises `ChangeRefusedError`.
        """

    async def remove(self, node: str, *, force: bool) -> str:
        """Take the member with this id out of the group, once that is committed; return one sentence.

        With `force` even if too few of the others are up for a majority, so that the group stands still.
        Raises `ChangeRefusedError`.
        """

    async def transfer(self, to: str | None) -> str:
        """Hand leadership to the voter with this id, or to the one that is best prepared; return one sentence.

        Returns when the other leads. Raises `ChangeRefusedError`.
        """
