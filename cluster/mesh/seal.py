"""Frames that prove where they come from: a keyed BLAKE2b over a counter and the frame, per direction.

Nothing can be injected, changed, left out, repeated or sent back without the session's keys. Not for: secrecy, which
is what TLS is for; nor for the keys, which come from `cluster.mesh.handshake`. Without a secret there is no key, and
frames are as they are.
"""

import hashlib
import hmac
from typing import Final

from cluster.mesh.errors import ProtocolError

TAG_SIZE: Final = 16
_NO_FRAME: Final = b"\xff" * 8
"""Stands where the counter of a frame would; no connection sends so many."""


class Seal:
    """One direction of one connection; each frame is sealed, or opened, in its turn."""

    def __init__(self, key: bytes | None) -> None:
        self._keyed = None if key is None else hashlib.blake2b(key=key, digest_size=TAG_SIZE)
        self._count = 0
        self.size = 0 if key is None else TAG_SIZE
        """Bytes in front of each frame."""

    def tag(self, body: bytes) -> bytes:
        """Make what goes in front of the next frame."""
        if self._keyed is None:
            return b""
        digest = self._keyed.copy()
        digest.update(self._count.to_bytes(8))
        digest.update(body)
        self._count += 1
        return digest.digest()

    def derive(self, data: bytes) -> bytes:
        """Make a tag of something that is no frame; empty without a key."""
        if self._keyed is None:
            return b""
        digest = self._keyed.copy()
        digest.update(_NO_FRAME)
        digest.update(data)
        return digest.digest()

    def check(self, frame: bytes) -> None:
        """Check the next frame, which begins with its tag. Raises ProtocolError."""
        if self._keyed is None:
            return
        digest = self._keyed.copy()
        digest.update(self._count.to_bytes(8))
        digest.update(memoryview(frame)[TAG_SIZE:])
        self._count += 1
        if not hmac.compare_digest(digest.digest(), frame[:TAG_SIZE]):
            raise ProtocolError("a frame was changed, repeated or made up on its way")
