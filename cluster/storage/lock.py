"""The lock that keeps a second process off a data directory.

Not for: locking the database between connections; SQLite does that itself.
"""

import fcntl
import os
from pathlib import Path
from typing import Final

from cluster.storage.errors import LockedError, from_os

_NAME: Final = "node.lock"


class DirectoryLock:
    """An exclusive hold on a data directory, for as long as it is open.

    The kernel ends it with the process, however that ends; the file that carries it stays, with the last holder's pid.
    """

    __slots__ = ("_fd",)

    def __init__(self, directory: Path) -> None:
        """Take the lock, or raise `LockedError` naming the process that has it."""
        path = directory / _NAME
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise from_os(error, directory) from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError as error:
            holder = os.pread(self._fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._fd)
            raise LockedError(
                f"data directory {directory} is in use by process {holder}. "
                "Stop that process first, or give this node a directory of its own with --data-dir."
            ) from error
        except OSError as error:
            os.close(self._fd)
            raise from_os(error, directory) from error

    def release(self) -> None:
        """Give the lock up; doing so again does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
