"""The site of a node: health, metrics and the cluster's API over HTTP, on `--http`.

    GET    /livez                            200 as long as the event loop turns; whether there is a quorum or not
    GET    /readyz                           200 "ready" and warnings, or 503 and the reason, as text
    GET    /metrics                          for Prometheus
    GET    /api/v1/cluster                   `ClusterStatus` as JSON
    POST   /api/v1/cluster/members           {"address": "HOST:PORT"}: let the node at this mesh address join
    DELETE /api/v1/cluster/members/{NODE}    take a member out, by id or name; ?force=1
    POST   /api/v1/cluster/transfer          {"to": NODE}: hand leadership over; {}: to whoever is best prepared

The site reads the node through `ClusterState`, which the node implements:

    class ClusterState(Protocol):
        def status(self) -> ClusterStatus                               # cheap, never waits
        async def table_figures(self) -> TableFigures | None            # `return await read_table(table)`
        async def add(self, address: Address) -> str                    # one sentence for people
        async def remove(self, node: str, *, force: bool) -> str        # node: the id of a member
        async def transfer(self, to: str | None) -> str                 # to: the id of a voter

The last three raise `ChangeRefusedError(text, leader=None)`. Use:

    site = Site(state, secret=configuration.secret)
    await site.start(bound_socket)
    ...
    await site.close()

Who may change things is in `permission`; how a request proves it in `authorization`; what keeps strangers from
costing anything in `connections`. Not for: jobs, or pages for people.
"""

from node.site.figures import read_table
from node.site.site import Site
from node.site.state import (
    AlarmFigures,
    ChangeRefusedError,
    ClusterState,
    ClusterStatus,
    FunctionFigures,
    Member,
    MemberRole,
    RaftFigures,
    Resources,
    TableFigures,
    ThisNode,
)

__all__ = [
    "AlarmFigures",
    "ChangeRefusedError",
    "ClusterState",
    "ClusterStatus",
    "FunctionFigures",
    "Member",
    "MemberRole",
    "RaftFigures",
    "Resources",
    "Site",
    "TableFigures",
    "ThisNode",
    "read_table",
]
