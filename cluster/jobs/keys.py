"""The index for coalescing: which job stands for a unique key of a function.

Not for: what joining a job means.
"""

import hashlib

from cluster.jobs.job import Job


def coalescing_key(unique: bytes, workload: bytes) -> bytes | None:
    """Give what a job with this unique key coalesces on; `-` stands for its workload, an empty key for nothing."""
    if unique == b"-":
        return b"-" + hashlib.blake2b(workload, digest_size=20).digest()
    return unique or None


class Keys:
    """Job numbers by key. A key that several functions use leads to a dict of functions, oldest job first."""

    __slots__ = ("_found",)

    def __init__(self) -> None:
        self._found: dict[bytes, tuple[bytes, int] | dict[bytes, int]] = {}

    def add(self, key: bytes, job: Job) -> None:
        """Remember which job the key stands for in the job's function."""
        name: bytes = job.function.name
        found = self._found.get(key)
        if found is None:
            self._found[key] = (name, job.number)
        elif isinstance(found, dict):
            found[name] = job.number
        else:
            self._found[key] = {found[0]: found[1], name: job.number}

    def find(self, key: bytes, function: bytes) -> int | None:
        """Give the number of the job that the key stands for in this function."""
        found = self._found.get(key)
        if found is None:
            return None
        if isinstance(found, dict):
            return found.get(function)
        return found[1] if found[0] == function else None

    def oldest(self, key: bytes) -> int | None:
        """Give the number of the oldest job with this key, of whatever function."""
        found = self._found.get(key)
        if found is None:
            return None
        return next(iter(found.values())) if isinstance(found, dict) else found[1]

    def remove(self, key: bytes, function: bytes) -> None:
        """Forget a job that has ended."""
        found = self._found[key]
        if isinstance(found, dict):
            del found[function]
            if found:
                return
        del self._found[key]
        if not self._found:
            self._found.clear()  # an emptied dict keeps the room of its best days

    def __len__(self) -> int:
        return len(self._found)
