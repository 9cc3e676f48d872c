"""A small file system for a node's data, which others can fill up. Only root can make one.

Not for: a disk that fails.
"""

import os
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self


class SmallDisk:
    """A file system in memory, mounted on a directory for as long as this is entered."""

    def __init__(self, directory: Path, size: int) -> None:
        self.directory = directory
        self._size = size
        self._filler = directory / "somebody-elses"

    def __enter__(self) -> Self:
        self.directory.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={self._size}", "small-disk", str(self.directory)]
        subprocess.run(command, check=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        subprocess.run(["umount", "--lazy", str(self.directory)], check=True)

    @property
    def free(self) -> int:
        """The bytes that are free."""
        found = os.statvfs(self.directory)
        return found.f_bavail * found.f_frsize

    def fill(self, leave: int = 0) -> None:
        """Have somebody else write a file that leaves no more than so many bytes free."""
        with self._filler.open("ab") as filler:
            while (rest := self.free - leave) > 0:
                try:
                    filler.write(bytes(min(rest, 1 << 20)))
                    filler.flush()
                except OSError:  # what is left is less than a page
                    return

    def empty(self) -> None:
        """Have them delete that file."""
        self._filler.unlink(missing_ok=True)
