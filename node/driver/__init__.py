"""The driver: it ties consensus, the disk, the other nodes and the job table to the event loop.

Everything that this node has to say to the table is gathered and numbered (`gathering`); the batches go to the leader,
which puts those of all nodes into one entry (`intake`); what is committed is applied, and its effects delivered. Who is
thought to be alive is in `vigil`, reads that must not be stale in `barriers`, the mirror of the table in `mirroring`,
and the reading of snapshots for nodes that lag in `snapshots`. What the driver needs of its surroundings is in
`surroundings`: a loop, a disk, peers, a sink for effects; a simulation can be any of them.
"""

from node.driver.driver import Driver
from node.driver.surroundings import Disk, EffectSink, Loop, Offload, Peers

__all__ = ["Disk", "Driver", "EffectSink", "Loop", "Offload", "Peers"]
