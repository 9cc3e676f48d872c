"""Workloads of many megabytes that carry the name of their job, and can be checked byte by byte.

Not for: sending them, which a load does (`cluster_load`).
"""

import hashlib
import math
import random

SMALLEST = 64 << 10
"""Bytes of the smallest of them."""
_BLOCK = 64 << 10


def heavy(job: bytes, size: int) -> bytes:
    """Make the workload of so many bytes for a job."""
    block = hashlib.shake_256(job).digest(_BLOCK)
    return (job + b"\0" + block * (size // _BLOCK + 1))[:size]


def job_of(workload: bytes) -> bytes:
    """Tell which job a workload is of; it may be one that is nothing but the name."""
    return workload[:256].partition(b"\0")[0]


def damaged(workload: bytes) -> bool:
    """Tell whether a workload is not what was made for its job."""
    job = job_of(workload)
    return workload not in (job, heavy(job, len(workload)))


def any_size(chance: random.Random, largest: int) -> int:
    """Draw a size: small ones are as many as large ones, of every order of magnitude."""
    return int(math.exp(chance.uniform(math.log(SMALLEST), math.log(largest))))
