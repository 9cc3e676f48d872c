"""What nodes say to one another of jobs and not through the log: each item arrives once, and in order.

Mostly these are reports of this node's workers for listeners on other nodes; and the questions and answers by which a
node learns what a worker of another one has ended (`node.gateway.holders`).

Links break and come back, and lose what was on its way. So what is sent is numbered, and kept until it is acknowledged;
a new link begins with what is not. A stream joins two incarnations: when one of them ends, so do the sessions at that
end, and nobody wants the rest. Not for: what an item says, or what becomes of it (`node.gateway`).
"""

from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec

from cluster.jobs import JobTable
from protocol import PacketType

MAX_UNACKNOWLEDGED: Final = 64 << 20
"""Bytes of reports not acknowledged beyond which workers are not read from."""
RECEIPT_AFTER: Final = 64
"""Reports from one node after which it gets a receipt at once; otherwise with the next tick."""
MAX_GATHERED: Final = 1 << 20
"""Bytes of reports that travel in one message, except that a larger one travels alone."""


class Report(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=1):
    """What a worker says of its job, for sessions of one node."""

    job: int
    sessions: list[int]
    kind: PacketType
    args: list[bytes]
    """As the worker gave them: the handle first."""
    held: int = 0
    """Which run it is of: the index of the entry by which the job was kept for this worker."""


class Query(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=2):
    """A question: which of these jobs have workers of the receiver ended."""

    number: int
    """What the answer is to refer to."""
    jobs: list[tuple[int, int]]
    """Jobs, and for each the session of the asking node that is to hear how it goes, 0 for none. Job 0 is none: it
    asks only for the number of the last end."""


class Answer(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=3):
    """The answer to a query."""

    number: int
    """The query's."""
    ended: list[int]
    """Those of the jobs that have ended. The others' sessions are sent what their workers say from now on."""
    last: int
    """The number of the newest command of the answering node by which a job ends: once it is applied, so are all."""


Item = Report | Query | Answer


class Reports(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=1):
    """Items in a row."""

    sender: int
    """The sender's incarnation."""
    receiver: int
    """The receiver's."""
    first: int
    """The number of the first one in its stream."""
    items: list[Item]


class Receipt(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=2):
    """Everything up to a number has arrived."""

    sender: int
    """The incarnation that sent it: that of the receipt's receiver."""
    receiver: int
    number: int


Parcel = Reports | Receipt

Send = Callable[[str, Parcel], bool]
"""Send a parcel to a node; tell whether it is on its way, as far as can be known."""
Deliver = Callable[[str, int, Item], None]
"""Take an item from this incarnation of a node."""


class _Stream:
    """What one other node's incarnation is told."""

    __slots__ = ("acknowledged", "receiver", "size", "unacknowledged", "unsent")

    def __init__(self, receiver: int) -> None:
        self.receiver = receiver
        self.acknowledged = 0
        """The number of the last item that is known to have arrived."""
        self.unacknowledged: deque[tuple[Item, int]] = deque()
        """Items, and their sizes, sent over the present link."""
        self.unsent: deque[tuple[Item, int]] = deque()
        self.size = 0


class Relay:
    """The items of one node, out and in."""

    def __init__(self, table: JobTable, name: str, send: Send, deliver: Deliver) -> None:
        self._table = table
        self._name = name
        self._send = send
        self._deliver = deliver
        self._incarnation = 0
        self._streams: dict[str, _Stream] = {}
        self._heard: dict[str, tuple[int, int]] = {}
        """For each node: the incarnation that speaks, and the number of the last report that arrived of it."""
        self.owed: dict[str, int] = {}
        """Nodes that are to get a receipt, and for how many reports."""
        self.unsent: dict[str, None] = {}
        """Nodes that there is something to send to: `flush` is to follow."""
        self.congested = False
        """Whether so much is on its way that workers have to wait with more."""
        self._size = 0

    def begin(self, incarnation: int) -> None:
        """Begin with a new incarnation of this node."""
        self._incarnation = incarnation
        self._streams.clear()
        self._heard.clear()
        self.owed.clear()
        self.unsent.clear()
        self._weigh(-self._size)

    def put(self, node: str, incarnation: int, item: Item) -> None:
        """Send an item to this incarnation of another node, at the next `flush`."""
        stream = self._streams.get(node)
        if stream is not None and incarnation < stream.receiver:
            return  # the table here lags behind: those sessions are over
        if stream is None or stream.receiver != incarnation:
            self._drop(node)
            stream = self._streams[node] = _Stream(incarnation)
        size = _size(item)
        stream.unsent.append((item, size))
        stream.size += size
        self._weigh(size)
        self.unsent[node] = None

    def flush(self) -> None:
        """Send what has gathered, and receipts where much has come."""
        for node in self.unsent:
            self._send_stream(node)
        self.unsent.clear()
        if self.owed:
            self._send_receipts(RECEIPT_AFTER)

    def received(self, node: str, parcel: Parcel) -> None:
        """Take what another node sent; `flush` is to follow."""
        if isinstance(parcel, Receipt):
            self._acknowledged(node, parcel)
        elif parcel.receiver == self._incarnation:
            sender, last = self._heard.get(node, (0, 0))
            if parcel.sender < sender:
                return
            if parcel.sender > sender:
                last = 0
            for number, item in enumerate(parcel.items, parcel.first):
                if number == last + 1:
                    last = number
                    self._deliver(node, parcel.sender, item)
            self._heard[node] = (parcel.sender, last)
            size = sum([_size(item) for item in parcel.items])
            weight = RECEIPT_AFTER if size > MAX_GATHERED else len(parcel.items)
            self.owed[node] = self.owed.get(node, 0) + weight

    def linked(self, node: str) -> None:
        """Begin again with what is not acknowledged: there is a new link."""
        stream = self._streams.get(node)
        if stream is not None:
            stream.unacknowledged.extend(stream.unsent)
            stream.unsent, stream.unacknowledged = stream.unacknowledged, deque()
            self.unsent[node] = None

    def tick(self) -> None:
        """Let go of streams whose other end is no more; try again where there was no room."""
        for node, stream in list(self._streams.items()):
            known = self._table.nodes.get(node)
            if known is not None and (known.incarnation, not known.up) > (stream.receiver, False):
                self._drop(node)
            elif stream.unsent:
                self.unsent[node] = None
        self._send_receipts(1)
        self.flush()

    def _send_receipts(self, least: int) -> None:
        """Send receipts to those who are owed one for at least so many reports; again later, where that fails."""
        for node in [node for node, count in self.owed.items() if count >= least]:
            sender, number = self._heard[node]
            if self._send(node, Receipt(sender, self._incarnation, number)):
                del self.owed[node]

    def _send_stream(self, node: str) -> None:
        stream = self._streams.get(node)
        while stream is not None and stream.unsent:
            unsent = stream.unsent
            taken = [unsent.popleft()]
            size = taken[0][1]
            while unsent and size + unsent[0][1] <= MAX_GATHERED:
                size += unsent[0][1]
                taken.append(unsent.popleft())
            first = stream.acknowledged + len(stream.unacknowledged) + 1
            parcel = Reports(self._incarnation, stream.receiver, first, [item for item, _ in taken])
            if not self._send(node, parcel):
                unsent.extendleft(reversed(taken))
                return
            stream.unacknowledged.extend(taken)

    def _acknowledged(self, node: str, receipt: Receipt) -> None:
        stream = self._streams.get(node)
        if stream is None or receipt.sender != self._incarnation or receipt.receiver != stream.receiver:
            return
        while stream.acknowledged < receipt.number and (stream.unacknowledged or stream.unsent):
            # What is to be sent again may have arrived the first time.
            _, size = (stream.unacknowledged or stream.unsent).popleft()
            stream.acknowledged += 1
            stream.size -= size
            self._weigh(-size)

    def _drop(self, node: str) -> None:
        stream = self._streams.pop(node, None)
        if stream is not None:
            self._weigh(-stream.size)

    def _weigh(self, more: int) -> None:
        self._size += more
        self.congested = self._size > MAX_UNACKNOWLEDGED


def _size(item: Item) -> int:
    """Give what an item weighs, in bytes; what a node asks or answers is counted by its jobs."""
    if type(item) is Report:
        return sum([len(arg) for arg in item.args])
    return 16 * len(item.jobs if type(item) is Query else item.ended)  # type: ignore[union-attr]
