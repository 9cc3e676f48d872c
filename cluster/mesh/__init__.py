"""Links between the nodes of a cluster: opaque messages over authenticated WebSockets, in four lanes.

`Mesh` listens, dials and keeps one link to each node. docs/mesh.md describes the protocol, and what each part guards
against. Not for: what messages mean, who is a member, or where candidates come from.
"""

from cluster.mesh.errors import MeshError, TlsError
from cluster.mesh.mesh import Mesh
from cluster.mesh.peer import Address, Introduction, Lane, MeshEvents, Peer
from cluster.mesh.settings import Limits, Timing, TlsFiles

__all__ = [
    "Address",
    "Introduction",
    "Lane",
    "Limits",
    "Mesh",
    "MeshError",
    "MeshEvents",
    "Peer",
    "Timing",
    "TlsError",
    "TlsFiles",
]
