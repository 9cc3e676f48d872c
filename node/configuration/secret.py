"""The cluster's secret: from a file or a variable, never shown.

Not for: what it proves (`cluster.mesh`, `node.site`).
"""

import os
import stat
from pathlib import Path
from typing import Final

from node.configuration.values import UnusableValueError

SHORTEST: Final = 16
"""Bytes of the shortest secret taken: less can be guessed."""
LONGEST: Final = 4096
"""Bytes of the longest; a file that holds more holds something else."""


def of_text(written: str) -> bytes:
    """Return the secret that a variable holds. Raise `UnusableValueError`, which does not quote it."""
    return _checked(os.fsencode(written))


def of_file(path: Path) -> tuple[bytes, bool]:
    """Return the secret that a file holds, and whether every user of the host may read it.

    Raise `UnusableValueError`.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(LONGEST + 1)
    except OSError as error:
        raise UnusableValueError(f"cannot read {path}: {error.strerror}") from None
    return _checked(content), stat.S_ISREG(mode) and bool(mode & stat.S_IROTH)


def _checked(content: bytes) -> bytes:
    if len(content) > LONGEST:
        raise UnusableValueError(f"is longer than {LONGEST} bytes, which no secret is")
    secret = content.strip()  # an editor's or echo's line end is no part of it
    if len(secret) < SHORTEST:
        raise UnusableValueError(
            f"the secret has {len(secret)} bytes without surrounding blanks, and needs {SHORTEST}: "
            "openssl rand -hex 32 makes one"
        )
    return secret
