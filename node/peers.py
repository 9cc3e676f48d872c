"""The other nodes, as the driver and the gateway speak to them: every message of the mesh begins with its kind.

Not for: links (`cluster.mesh`), or what any message brings about.
"""

import enum
from collections.abc import Sequence

from cluster.jobs import Batch
from cluster.raft import Message
from node.relay import Parcel


class Kind(enum.IntEnum):
    """What a message of the mesh is; its first byte."""

    CONSENSUS = 0
    BATCHES = 1
    PARCEL = 2
    FORMATION = 3


class Nobody:
    """The peers of a node that stays alone."""

    def send(self, message: Message) -> None:
        """Never called: a group of one has nobody to talk to."""
        raise AssertionError(message)

    def forward(self, leader: str, batches: Sequence[Batch]) -> None:
        """Never called, likewise."""
        raise AssertionError((leader, batches))

    def parcel(self, node: str, parcel: Parcel) -> bool:
        """Never called, likewise."""
        raise AssertionError((node, parcel))
