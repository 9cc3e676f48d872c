"""Why there is no link, in words for the operator of either node.

Not for: errors of the caller; `Mesh` raises nothing at those who send.
"""

from pathlib import Path
from typing import Final

import msgspec

UNREADABLE: Final = (msgspec.MsgspecError, ValueError, RecursionError)
"""What msgspec raises for bytes that are no message: also for text that is not UTF-8, and for what is nested deeply."""


class MeshError(Exception):
    """Something about the links between nodes."""


class RefusedError(MeshError):
    """This node will not link with the other; the message says why and may be shown to it."""


class RefusedByPeerError(MeshError):
    """The other node will not link with this one; the message is its reason."""


class DuplicateError(MeshError):
    """Both nodes dialled at once, and the other connection is the one that counts."""


class OwnAddressError(MeshError):
    """The address that was dialled is this node's own."""


class ProtocolError(MeshError):
    """What came is not what a node sends, or somebody between the nodes has changed it."""


class ClosedError(MeshError):
    """The connection has ended."""


class TlsError(MeshError):
    """The certificates cannot be used."""

    def __init__(self, path: Path, cause: Exception) -> None:
        super().__init__(f"the mesh cannot use {path}: {cause}")
