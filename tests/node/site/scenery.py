"""A node that is not there: what the site shows of it is set by hand, and what it is asked to do is noted."""

import asyncio
import socket

import msgspec

from cluster.raft import Role
from node.configuration import Address
from node.site import (
    AlarmFigures,
    ChangeRefusedError,
    ClusterStatus,
    FunctionFigures,
    Member,
    MemberRole,
    RaftFigures,
    Resources,
    TableFigures,
    ThisNode,
)

NOW = 1_700_000_000.0
SECRET = b"correct horse battery staple"


def member(name: str, **said) -> Member:
    said = {"role": MemberRole.VOTER, "address": f"{name}.test:4731", "up": True} | said
    return Member(id=f"{name}-00000000", name=name, **said)


RESOURCES = Resources(memory=9_000_000, memory_limit=8_000_000, disk_free=5000, disk_free_limit=2000)
STATUS = ClusterStatus(
    cluster="blue",
    group="f00d",
    node=ThisNode(id="a-00000000", name="a", version="9.8.7", ready=True, reason=None, connections=5),
    leader="a-00000000",
    term=7,
    members=(
        member("a", this=True),
        member("b", lag=2),
        member("c", lag=40, up=False, role=MemberRole.LEARNER, address=None),
    ),
    raft=RaftFigures(
        role=Role.LEADER, last_index=120, commit_index=119, applied_index=118, leader_changes=3, lag_ms=250
    ),
)
SHORT = msgspec.structs.replace(
    STATUS,
    node=msgspec.structs.replace(
        STATUS.node, warnings=("no new job is taken: Node b-00000000 has too little",), resources=RESOURCES
    ),
    members=(
        STATUS.members[0],
        member("b", lag=2, alarms=(AlarmFigures("memory", found=9, limit=8), AlarmFigures("disk", found=1, limit=2))),
    ),
)
FORMING = ClusterStatus(
    cluster="blue",
    group="",
    node=ThisNode(
        id="a-00000000", name="a", version="9.8.7", ready=False, reason="waiting for 2 of 3 nodes", connections=0
    ),
    leader=None,
    term=0,
    members=(),
    raft=None,
)
TABLE = TableFigures(
    jobs=12,
    created=345,
    sessions=6,
    functions=2,
    by_function=(
        FunctionFigures("resize", jobs=10, running=4, workers=3),
        FunctionFigures('a "quoted"\nname', jobs=2, running=0, workers=0),
    ),
)


class FakeNode:
    """A `ClusterState`."""

    def __init__(self) -> None:
        self.shown = STATUS
        self.table: TableFigures | None = TABLE
        self.asked: list[tuple] = []
        self.refusal: ChangeRefusedError | None = None
        self.stuck = False
        self.broken = False

    def status(self) -> ClusterStatus:
        if self.broken:
            raise LookupError("nobody foresaw this")
        return self.shown

    async def table_figures(self) -> TableFigures | None:
        return self.table

    async def add(self, address: Address) -> str:
        return await self._make(("add", address))

    async def remove(self, node: str, *, force: bool) -> str:
        return await self._make(("remove", node, force))

    async def transfer(self, to: str | None) -> str:
        return await self._make(("transfer", to))

    async def _make(self, change: tuple) -> str:
        self.asked.append(change)
        if self.stuck:
            await asyncio.Event().wait()
        if self.refusal is not None:
            raise self.refusal
        return "Done."


def bound() -> socket.socket:
    """Return a socket that is bound to a free port of this host."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    return listener
