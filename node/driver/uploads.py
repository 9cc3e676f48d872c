"""Workloads that are too large for one entry, on their way to the job table in parts.

Parts of several workloads take turns, and only `WINDOW` bytes of parts are on their way at a time. So the commands of
everybody else go between them, and wait for as long as a part takes, not for as long as a workload takes. Not for:
when a part is sent (`gathering`), or what the table does with it (`cluster.jobs.uploads`).
"""

from collections import deque
from typing import Final

import msgspec

from cluster.jobs import Part, Submit

PART: Final = 512 << 10
"""Bytes of a workload that one command carries at the most."""
WINDOW: Final = PART
"""Bytes of parts after which no further one is sent before some are in the table: one part is on its way at a time."""


class _Upload:
    """One workload, of which the bytes before `offset` have been proposed."""

    __slots__ = ("number", "offset", "submit")

    def __init__(self, submit: Submit) -> None:
        self.submit = submit
        self.number = 0
        """Of the upload in this incarnation; 0 before its first part."""
        self.offset = 0


class Uploads:
    """The uploads of one node's incarnation."""

    def __init__(self) -> None:
        self._waiting: deque[_Upload] = deque()
        self._numbers = 0
        self._sent: deque[tuple[int, int]] = deque()
        """For each part on its way: the number of its command, and its bytes."""
        self._on_their_way = 0
        self.size = 0
        """Bytes of workloads that are not proposed yet."""

    def __bool__(self) -> bool:
        """Tell whether parts are left to be proposed."""
        return bool(self._waiting)

    @property
    def open(self) -> bool:
        """Tell whether there is a part, and room for one more on the way."""
        return bool(self._waiting) and self._on_their_way < WINDOW

    def add(self, submit: Submit) -> None:
        """Upload the workload of a submit, and submit then."""
        self._waiting.append(_Upload(submit))
        self.size += len(submit.workload)

    def next(self) -> Part | Submit | None:
        """Give the command that is to be proposed next; None: there is none, or no room for it on the way."""
        if not self.open:
            return None
        upload = self._waiting.popleft()
        if not upload.number:
            self._numbers += 1
            upload.number = self._numbers
        start = upload.offset
        data = upload.submit.workload[start : start + PART]
        upload.offset = start + len(data)
        self.size -= len(data)
        if upload.offset >= len(upload.submit.workload):
            return msgspec.structs.replace(upload.submit, workload=data, upload=upload.number)
        self._waiting.append(upload)
        return Part(upload.number, data)

    def sent(self, number: int, size: int) -> None:
        """Note that what `next` gave is proposed now, as the command of this number."""
        self._sent.append((number, size))
        self._on_their_way += size

    def applied(self, number: int) -> None:
        """Note that the commands up to this number are applied."""
        sent = self._sent
        while sent and sent[0][0] <= number:
            self._on_their_way -= sent.popleft()[1]

    def clear(self) -> None:
        """Forget all of them: the incarnation is over."""
        self._waiting.clear()
        self._sent.clear()
        self._numbers = self._on_their_way = self.size = 0
