"""The driver: it ties consensus, the disk, the other nodes and the job table to the event loop.

Everything that this node has to say to the table is gathered and numbered (`gathering`), large workloads in parts
(`uploads`); the batches go to the leader
(`sending`), which puts those of all nodes into one entry (`intake`) when it is time for one (`pace`); what consensus
asks of the disk is done and acknowledged (`writing`); what is committed is applied, and its effects delivered. In which
incarnation a node speaks, and whether it serves, is in `incarnations`, which nodes are down in `failure_detector`
and what the leader does about it in `decisions`, how old the table is in `lag`, reads that must not be stale in
`barriers`, the table's clock in `due`, the mirror of the table in `mirroring`, and the reading of snapshots for nodes
that lag in `snapshots`. What the driver needs of its surroundings is in `surroundings`: a loop, a disk, peers, a sink
for effects; a simulation can be any of them.
"""

from node.driver.awake_clock import AwakeClock
from node.driver.driver import OLD, TICK, Driver
from node.driver.gathering import Weighed
from node.driver.surroundings import Disk, EffectSink, Handle, Loop, Offload, Peers
from node.driver.uploads import PART

__all__ = [
    "OLD",
    "PART",
    "TICK",
    "AwakeClock",
    "Disk",
    "Driver",
    "EffectSink",
    "Handle",
    "Loop",
    "Offload",
    "Peers",
    "Weighed",
]
