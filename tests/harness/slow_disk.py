"""`python -m tests.harness.slow_disk serve ...`: the server, with a disk that can be made slow while it runs.

Each write takes as many seconds longer as the file says whose path is in the variable `SLOW_DISK`; none without it. A
write that waits goes on when the file goes.
"""

import contextlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cluster.storage import Store
from node.cli import main

VARIABLE = "SLOW_DISK"
"""The environment variable with the path of that file."""
STEP = 0.05
"""Seconds between two looks at whether it is still there."""


def slowed(method: Callable[..., Any]) -> Callable[..., Any]:
    """Make a write of a store slow."""
    path = Path(os.environ[VARIABLE])

    def write(*args: Any, **kwargs: Any) -> Any:
        with contextlib.suppress(FileNotFoundError):
            until = time.monotonic() + float(path.read_text())
            while path.exists() and (left := until - time.monotonic()) > 0:
                time.sleep(min(left, STEP))
        return method(*args, **kwargs)

    return write


if __name__ == "__main__":
    for name in ("append", "stage", "write_mirror"):
        setattr(Store, name, slowed(getattr(Store, name)))
    sys.exit(main())
