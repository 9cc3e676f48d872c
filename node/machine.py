"""What the machine, or the container, gives this process: memory in all, memory in use, room on the disk.

On Linux the limit of memory is the smallest of the machine's memory and the limits of this process's control groups,
version 2 or 1: its own and those above it. Elsewhere it is the machine's memory, and how much of it the process uses is
not known. Not for: what is done about it (`node.alarms`).
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

_ROOT: Final = Path("/")
_NO_LIMIT: Final = 1 << 60
"""From here on a limit is none: version 1 writes a number close to 2**63 where nobody set one."""
_LIMITS: Final = {2: ("memory.max", "memory.high"), 1: ("memory.limit_in_bytes",)}
"""By the version of control groups. A process above `memory.high` is not killed but slowed until it stands still."""


class Room(msgspec.Struct, frozen=True):
    """A file system's space, in bytes."""

    free: int
    """What a process without privileges may still take."""
    total: int


def memory_limit(root: Path = _ROOT) -> int:
    """Return the bytes of memory that this process may use, by the machine or by a container. `root` is for tests."""
    return min([_machine_memory(root), *_group_limits(root)])


def memory_used(root: Path = _ROOT) -> int | None:
    """Return the bytes of memory that this process has now; None where the system does not say."""
    try:
        resident = (root / "proc/self/statm").read_text(encoding="ascii").split()[1]
    except (OSError, LookupError):
        return None
    return int(resident) * os.sysconf("SC_PAGE_SIZE")


def disk_room(directory: Path) -> Room:
    """Return the space of the file system that a directory is on. Raises `OSError`; may wait for the disk."""
    found = os.statvfs(directory)
    return Room(free=found.f_bavail * found.f_frsize, total=found.f_blocks * found.f_frsize)


def _machine_memory(root: Path) -> int:
    with contextlib.suppress(OSError, LookupError, ValueError):
        for line in (root / "proc/meminfo").read_text(encoding="ascii").splitlines():
            name, value = line.split(":")
            if name == "MemTotal":
                return int(value.split()[0]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _group_limits(root: Path) -> Iterator[int]:
    for directory, version in _groups(root):
        for name in _LIMITS[version]:
            with contextlib.suppress(OSError, ValueError):  # ValueError: "max"
                limit = int((directory / name).read_text(encoding="ascii"))
                if 0 < limit < _NO_LIMIT:
                    yield limit


def _groups(root: Path) -> Iterator[tuple[Path, int]]:
    """Give the directories of the control groups that this process is in, the innermost first.

    A container may see its own group as the root of all, while the kernel names its place outside: so the root is
    always among them, and what does not exist is passed over by whoever reads.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            top, version = root / "sys/fs/cgroup", 2
        elif "memory" in controllers.split(","):
            top, version = root / "sys/fs/cgroup/memory", 1
        else:
            continue
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for count in range(len(parts), -1, -1):
            yield top.joinpath(*parts[:count]), version
