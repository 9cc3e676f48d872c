"""A run of a job by a worker, as the worker and the world know it. Not for: whether there may be one."""

import msgspec

from protocol import PacketType


class Run(msgspec.Struct, eq=False):
    """One run of a job by a worker."""

    job: int
    node: str
    incarnation: int
    session: int
    began: int
    """When its node gave the job to the worker, in true time, microseconds."""
    limit: int
    """The time limit that the worker declared for the function, in milliseconds, or 0."""
    workload: bytes
    life: int
    """The process that the worker was connected to (`truth.Truth.life_of`)."""
    serial: int = 0
    """Its number among all runs."""
    over: bool = False
    """The worker said how it went."""
    how: PacketType | None = None
    """And this is what it said."""
    broken: bool = False
    """The worker's connection ended before the node had read that."""
