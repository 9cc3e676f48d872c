"""What one peer has not read of what it was sent, beyond what the kernels of both ends take.

A worker that is busy for minutes, and leaves a few NOOPs unread, has nothing here: the kernels keep some hundred KiB
for it. Only who is sent more than that has to read it, at a moderate pace (`node.gateway.progress`): otherwise it is
cut off after a while, since what it leaves unread is the memory of all. What is in the kernels is not seen here. Ours
gives up a peer whose own has no room for it, once that lasts as long as a dead host would (`cluster.keepalive`). Not
for: what is not written yet (`node.gateway.connection`).
"""

import asyncio

from node.gateway.progress import extended


class Unread:
    """The unread bytes of a peer that is slow; made when it gets slow."""

    __slots__ = ("_deadline", "_expected", "_transport")

    def __init__(self, transport: asyncio.Transport, now: float, timeout: float) -> None:
        self._transport = transport
        self._expected = transport.get_write_buffer_size()
        """How many bytes there would be if the peer had read nothing since."""
        self._deadline = now + timeout

    @property
    def size(self) -> int:
        """Give how many bytes there are now."""
        return self._transport.get_write_buffer_size()

    def written(self, size: int) -> None:
        """Note that so many bytes more were written."""
        self._expected += size

    def overdue(self, now: float, timeout: float) -> bool:
        """Look how much the peer has read since the last look; tell whether it is too slow."""
        size = self.size
        self._deadline = extended(self._deadline, max(self._expected - size, 0), now, timeout)
        self._expected = size
        return now > self._deadline
