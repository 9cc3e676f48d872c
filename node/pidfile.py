"""The pid file: which process serves, written for service managers and scripts once the node listens.

Not for: keeping two nodes off one data directory; the storage's own lock does that.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from node.errors import PidFileError


@contextlib.contextmanager
def pid_file(path: Path | None) -> Iterator[None]:
    """Keep this process's id in a file for as long as the context lasts; do nothing without a path.

    The file appears complete or not at all, and is locked while its process lives: that, and not the number in it,
    tells a file that was left behind (it is replaced) from one in use.

    Raises PidFileError when the file cannot be written or belongs to a running process.
    """
    if path is None:
        yield
        return
    try:
        _refuse_if_in_use(path)
        descriptor = _replace(path)
    except OSError as error:
        raise PidFileError(f"cannot write the pid file {path}: {error.strerror}") from error
    try:
        yield
    finally:
        _remove(path, descriptor)


def _refuse_if_in_use(path: Path) -> None:
    try:
        existing = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(existing, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(existing, 32).decode("ascii", "replace").strip()
        raise PidFileError(f"the pid file {path} belongs to process {holder}, which is running") from None
    finally:
        os.close(existing)


def _replace(path: Path) -> int:
    """Write the file under another name, locked, and move it into place; return its open descriptor."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        fresh.replace(path)
    except BaseException:
        os.close(descriptor)
        fresh.unlink(missing_ok=True)
        raise
    return descriptor


def _remove(path: Path, descriptor: int) -> None:
    """Remove the file if it is still ours; empty it where the directory no longer lets us."""
    try:
        if os.path.samestat(os.fstat(descriptor), path.stat()):
            path.unlink()
    except OSError:
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)
