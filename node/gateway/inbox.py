"""Requests of one connection that have come and cannot be processed yet, bounded in number and in bytes.

Not for: why they have to wait, which is known to `node.gateway.connection`.
"""

from collections import deque
from itertools import islice
from typing import Final

from protocol import AdminCommand, Fault, Packet, PacketType

MAX_MESSAGES: Final = 1024
"""Requests beyond which a connection is not read from."""
MAX_BYTES: Final = 1 << 20
"""Bytes of requests beyond which a connection is not read from. What was read last, and one packet, may come on top."""
OVERHEAD: Final = 256
"""Bytes that a request takes beside those of its arguments."""

Message = Packet | AdminCommand | Fault

PIPELINED: Final = frozenset(
    {
        PacketType.CAN_DO,
        PacketType.CAN_DO_TIMEOUT,
        PacketType.CANT_DO,
        PacketType.RESET_ABILITIES,
        PacketType.SET_CLIENT_ID,
        PacketType.SUBMIT_JOB,
        PacketType.SUBMIT_JOB_BG,
        PacketType.SUBMIT_JOB_HIGH,
        PacketType.SUBMIT_JOB_HIGH_BG,
        PacketType.SUBMIT_JOB_LOW,
        PacketType.SUBMIT_JOB_LOW_BG,
        PacketType.SUBMIT_JOB_EPOCH,
        PacketType.SUBMIT_REDUCE_JOB,
        PacketType.SUBMIT_REDUCE_JOB_BACKGROUND,
        PacketType.WORK_STATUS,
        PacketType.WORK_DATA,
        PacketType.WORK_WARNING,
        PacketType.WORK_COMPLETE,
        PacketType.WORK_FAIL,
        PacketType.WORK_EXCEPTION,
    }
)
"""Requests that need not wait for earlier answers: the table answers them in order, or nobody does."""


class Inbox(deque[Message]):
    """The requests that wait, in order. A deque, since whether one is empty is looked at for all that is received."""

    __slots__ = ("size",)

    def __init__(self) -> None:
        super().__init__()
        self.size = 0
        """About how many bytes they take."""

    @property
    def full(self) -> bool:
        """Tell whether nothing more is to come for now."""
        return len(self) > MAX_MESSAGES or self.size > MAX_BYTES

    def put(self, messages: list[Message]) -> None:
        """Put requests behind those that wait."""
        self.extend(messages)
        self.size += sum(map(_weight, messages))

    def first(self, most: int) -> list[Message]:
        """Give the first requests, and keep them."""
        return list(islice(self, most))

    def take(self, count: int) -> None:
        """Let go of the first requests: they have been processed."""
        for _ in range(count):
            self.size -= _weight(self.popleft())

    def clear(self) -> None:
        """Let go of all of them."""
        super().clear()
        self.size = 0


def _weight(message: Message) -> int:
    return OVERHEAD + sum(map(len, message.args)) if type(message) is Packet else OVERHEAD
