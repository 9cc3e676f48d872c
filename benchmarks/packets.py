"""The few Gearman packets a load generator needs, built ahead of time as bytes.

Not a codec: the generator must cost far less per job than the servers it drives, so it recognises
answers by their eight header bytes and sends slices of one prepared buffer. Packet numbers and
layouts are those of gearmand's PROTOCOL.
"""

import hashlib
import struct

ID_DIGITS = 10
HEADER_BYTES = 12
KEY_BYTES = 36
"""Length of the unique keys: that of a UUID as text, which libgearman sends with each job."""
TYPE_BYTES = 8
"""Magic and type, the part of a header that tells an answer from any other bytes."""

read_header = struct.Struct(">4xII").unpack_from
"""Read (type, size) of the packet at an offset, passing over the magic."""

CAN_DO = 1
PRE_SLEEP = 4
NOOP = 6
SUBMIT_JOB = 7
JOB_CREATED = 8
GRAB_JOB = 9
NO_JOB = 10
JOB_ASSIGN = 11
WORK_COMPLETE = 13
WORK_FAIL = 14
ECHO_REQ = 16
ECHO_RES = 17
SUBMIT_JOB_BG = 18
ERROR = 19


def request(kind: int, body: bytes = b"") -> bytes:
    """Build a packet to the server."""
    return struct.pack(">4sII", b"\0REQ", kind, len(body)) + body


def response(kind: int, body: bytes = b"") -> bytes:
    """Build a packet from the server."""
    return struct.pack(">4sII", b"\0RES", kind, len(body)) + body


def response_type(kind: int) -> bytes:
    """Give the eight bytes every answer of this type begins with."""
    return struct.pack(">4sI", b"\0RES", kind)


def unique_key(function: bytes, job_id: int) -> bytes:
    """Give the unique key of a job: as long and as random to look at as a UUID, and always the same for the job."""
    digits = hashlib.md5(b"%s %d" % (function, job_id), usedforsecurity=False).hexdigest()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])).encode()


class SubmitFeed:
    """Submit packets of one connection, in order of their job ids.

    All packets are of one length, so `take(n)` of small jobs is a slice of a buffer prepared
    before the clock starts. Large ones are given as pieces, all sharing one filler: prepared, they
    would need more memory than the machine has.

    Args:
        kind: SUBMIT_JOB or SUBMIT_JOB_BG.
        function: function name of every job.
        ids: the job ids; each is the first ten bytes of its payload, in decimal.
        payload_bytes: length of each payload, at least ten.
        keyed: whether each job has the unique key that `unique_key` gives, or the empty one.
    """

    PREPARED_PAYLOAD_LIMIT = 4096

    __slots__ = ("_filler", "_function", "_head", "_ids", "_keyed", "_prepared", "_size", "_taken")

    def __init__(self, kind: int, function: bytes, ids: range, payload_bytes: int, *, keyed: bool = False) -> None:
        if payload_bytes < ID_DIGITS:
            raise ValueError(f"a payload of {payload_bytes} bytes has no room for a job id of {ID_DIGITS} digits")
        arguments_bytes = len(function) + 1 + (KEY_BYTES if keyed else 0) + 1
        self._head = struct.pack(">4sII", b"\0REQ", kind, arguments_bytes + payload_bytes) + function + b"\0"
        self._function = function
        self._keyed = keyed
        self._filler = b"x" * (payload_bytes - ID_DIGITS)
        self._size = HEADER_BYTES + arguments_bytes + payload_bytes
        self._ids = ids
        self._taken = 0
        self._prepared: memoryview | None = None
        if payload_bytes <= self.PREPARED_PAYLOAD_LIMIT:
            self._prepared = memoryview(self._build(ids))

    def _build(self, ids: range) -> bytes:
        """Join the packets of these ids."""
        packet = self._head.replace(b"%", b"%%") + b"%s\0%010d" + self._filler
        return b"".join([packet % (self._key(job_id), job_id) for job_id in ids])

    def _key(self, job_id: int) -> bytes:
        return unique_key(self._function, job_id) if self._keyed else b""

    @property
    def taken(self) -> int:
        """Number of jobs given out so far."""
        return self._taken

    @property
    def left(self) -> int:
        """Number of jobs not given out yet."""
        return len(self._ids) - self._taken

    def take(self, count: int) -> list[bytes | memoryview]:
        """Give the next `count` packets as pieces to be sent one after the other."""
        first = self._taken
        self._taken = first + count
        if self._prepared is not None:
            return [self._prepared[first * self._size : (first + count) * self._size]]
        pieces: list[bytes | memoryview] = []
        for job_id in self._ids[first : first + count]:
            pieces += (b"%s%s\0%010d" % (self._head, self._key(job_id), job_id), self._filler)
        return pieces
