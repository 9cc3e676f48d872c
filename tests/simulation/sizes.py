"""Every bound in bytes that a node has, divided by one factor: how large things are played at a bounded cost.

A real workload of 64 MiB would cost a seed seconds of copying. A small object that only claims to be large would not
survive the encoding, which is to be the real one. So in a *scaled* world everything that is counted in bytes is `SCALE`
times smaller: workloads, the largest packet, batches, entries, lanes, frames, bandwidths. What is compared with a bound
is in the same proportion to it as in a real cluster; only headers weigh more. The factor is small enough for a message
of a few dozen bytes to stay below what counts as long (`node.peers.LONG`). It is large enough for 64 MiB to be copied
in a fraction of a millisecond.

Not for: which sizes a seed has (`profile`).
"""

import importlib
from typing import Final

from cluster.mesh import Limits
from cluster.raft import RaftConfig

SCALE: Final = 256
"""By how much everything in bytes is smaller in a scaled world: 64 MiB are 256 KiB."""
MAX_PACKET: Final = 64 << 20
"""The largest packet, as a node's configuration has it by default."""
MAX_UNREAD: Final = 64 << 20
"""Bytes besides a packet that a connection may leave unread (`node.gateway.gateway`)."""
KERNEL: Final = 192 << 10
"""Bytes that a connection takes though they are not on the wire yet (`cluster.mesh.connection`)."""
WINDOW: Final = 4 << 20
"""Bytes that the kernels of both ends keep for a process that does not read."""
RECENT: Final = 4 << 20
"""`max_recent_bytes` of consensus, as `node.server` has it."""

WEIGHTS: Final = (0, 0, 20, 5000)
"""Bytes by which workloads are longer than they must be, in a world of the usual size."""
SCALED_WEIGHTS: Final = (0, 0, 0, 0, 20, 20, 2 << 10, 16 << 10, 60 << 10, MAX_PACKET // SCALE - 512)
"""The same in a scaled world: up to the largest packet, which is 64 MiB."""

_BOUNDS: Final = (
    ("cluster.jobs.mirror", "BIG_WORKLOAD"),
    ("cluster.mesh.outbox", "SHARE"),
    ("node.driver.gathering", "MAX_BACKLOG"),
    ("node.driver.gathering", "MAX_BATCH_BYTES"),
    ("node.driver.gathering", "MAX_WRITE_BYTES"),
    ("node.driver.gathering", "PART"),
    ("node.driver.intake", "HEAVY"),
    ("node.driver.intake", "MAX_BATCH"),
    ("node.driver.intake", "MAX_WAITING"),
    ("node.driver.mirroring", "MIRROR_LOG_BYTES"),
    ("node.driver.sending", "MAX_BATCH"),
    ("node.driver.uploads", "PART"),
    ("node.driver.uploads", "WINDOW"),
    ("node.gateway.connection", "MAX_SUBMITTED"),
    ("node.gateway.connection", "WRITE_HIGH"),
    ("node.gateway.requests", "PART"),
    ("node.gateway.connection", "PART"),
    ("node.gateway.gateway", "MAX_UPLOADS"),
    ("node.gateway.gateway", "PART"),
    ("node.gateway.inbox", "MAX_BYTES"),
    ("node.gateway.lists", "TURN_BYTES"),
    ("node.gateway.telling", "MAX_ENDINGS"),
    ("node.gateway.progress", "PACE"),
    ("node.peers", "LONG"),
    ("node.relay", "MAX_GATHERED"),
    ("node.relay", "MAX_UNACKNOWLEDGED"),
)
"""The constants of modules that are bytes; the settings of consensus and of the mesh are given to these."""


def bounds(scale: int) -> dict[tuple[str, str], float]:
    """Give the constants of modules, by module and name, in a world of this scale."""
    if scale == 1:
        return {}
    return {(module, name): getattr(importlib.import_module(module), name) // scale for module, name in _BOUNDS}


def limits(scale: int) -> Limits:
    """Give the mesh's limits."""
    usual = Limits()
    consensus, reports, snapshots, entries = (size // scale for size in usual.lanes())
    return Limits(
        max_message=usual.max_message // scale,
        max_report=usual.max_report // scale,
        consensus=consensus,
        reports=reports,
        snapshots=snapshots,
        entries=entries,
    )


def consensus(scale: int) -> dict[str, int]:
    """Give the settings of consensus in bytes, as `node.server` has them."""
    usual = RaftConfig(id="-", randrange=lambda n: n - 1)
    names = (
        "max_append_bytes", "max_inflight_bytes", "max_uncommitted_bytes", "max_apply_bytes", "chunk_bytes",
        "kept_bytes", "progress_bytes",
    )  # fmt: skip
    return {name: getattr(usual, name) // scale for name in names} | {"max_recent_bytes": RECENT // scale}
