"""The version of this program, as it was installed.

Read when this module is imported: a node that has given up its privileges may no longer be able to read the files that
say it.
"""

from importlib import metadata
from typing import Final


def _installed() -> str:
    try:
        return metadata.version("gearmesh")
    except metadata.PackageNotFoundError:  # run from its source
        return "unknown"


VERSION: Final = _installed()
"""Such as 0.1.0, or `unknown` where the program runs from its source without being installed."""
