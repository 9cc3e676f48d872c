"""Client and worker connections as real ones behave, reduced to what costs no more than it must.

Each class owns one non-blocking socket and is driven by the loop in `load` through `readable` and
`writable`. None of them knows of processes, rounds or other connections.
"""

import mmap
import selectors
import socket
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from time import monotonic

from benchmarks.errors import ServerFailedError
from benchmarks.packets import (
    CAN_DO,
    ECHO_REQ,
    ECHO_RES,
    ERROR,
    GRAB_JOB,
    HEADER_BYTES,
    ID_DIGITS,
    JOB_ASSIGN,
    JOB_CREATED,
    NO_JOB,
    NOOP,
    PRE_SLEEP,
    TYPE_BYTES,
    WORK_COMPLETE,
    SubmitFeed,
    read_header,
    request,
    response,
    response_type,
)

Address = tuple[str, int]

CREATED_TYPE = response_type(JOB_CREATED)
ERROR_TYPE = response_type(ERROR)
GRAB = request(GRAB_JOB)
SLEEP = request(PRE_SLEEP)
HANDSHAKE_SECONDS = 30.0
READ_AND_WRITE = selectors.EVENT_READ | selectors.EVENT_WRITE
LATENCY_SAMPLES = 50_000
PIECES_PER_WRITE = 64
LARGE_PAYLOAD = 64 * 1024
LARGE_HEAD = 1024
"""Bytes that hold the header, handle, function name and job id of any packet of ours."""
DISCARD = bytearray(256 * 1024)
"""Where the rest of a large payload is read to: nothing after its first bytes is looked at."""


class Tally:
    """Jobs done by all connections of one process, so that its loop need not ask each of them."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


def _broken(error: ConnectionError) -> ServerFailedError:
    return ServerFailedError(f"the server broke a connection in the middle of a round: {error}")


class Connection:
    """A non-blocking socket that keeps what the kernel would not take yet."""

    __slots__ = ("_tally", "_unsent", "receive_bytes", "sock", "watch")

    def __init__(self, address: Address, tally: Tally, receive_bytes: int) -> None:
        self._tally = tally
        self.sock = socket.create_connection(address, timeout=HANDSHAKE_SECONDS)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.receive_bytes = receive_bytes
        self._unsent: deque[memoryview] = deque()
        self.watch: Callable[[int], object] = lambda _events: None
        """Called with the selector events to wait for from now on."""

    def send(self, data: bytes) -> None:
        """Write now what the kernel takes and the rest when it takes more."""
        if self._unsent:
            self._unsent.append(memoryview(data))
            return
        try:
            sent = self.sock.send(data)
        except BlockingIOError:
            sent = 0
        except ConnectionError as error:
            raise _broken(error) from error
        if sent < len(data):
            self._unsent.append(memoryview(data)[sent:])
            self.watch(READ_AND_WRITE)

    def send_pieces(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Do as `send` with several pieces, in one call of the kernel while they are few."""
        waiting = bool(self._unsent)
        self._unsent.extend(map(memoryview, pieces))
        if not waiting:
            self._write()
            if self._unsent:
                self.watch(READ_AND_WRITE)

    def _write(self) -> None:
        unsent = self._unsent
        while unsent:
            try:
                sent = self.sock.sendmsg(list(islice(unsent, PIECES_PER_WRITE)))
            except BlockingIOError:
                return
            except ConnectionError as error:
                raise _broken(error) from error
            while unsent and sent >= len(unsent[0]):
                sent -= len(unsent.popleft())
            if sent:
                unsent[0] = unsent[0][sent:]

    def writable(self) -> None:
        """Write more of what is left over."""
        self._write()
        if not self._unsent:
            self.watch(selectors.EVENT_READ)

    def receive(self) -> bytes:
        """Read what has come.

        Raises:
            ServerFailedError: the server closed the connection.
        """
        try:
            data = self.sock.recv(self.receive_bytes)
        except BlockingIOError:  # a readiness that another call has used up
            return b""
        except TimeoutError as error:
            raise ServerFailedError(f"no answer within {HANDSHAKE_SECONDS:.0f} s where one was due") from error
        except ConnectionError as error:
            raise _broken(error) from error
        if not data:
            raise ServerFailedError("the server closed a connection in the middle of a round")
        return data

    def close(self) -> None:
        """Close the socket."""
        self.sock.close()


class BackgroundClient(Connection):
    """Submits background jobs, a fixed number of them unanswered at any time.

    Answers are counted, not parsed. The latency of one job of the window is sampled at a time: from
    the write that holds it to the read that holds its JOB_CREATED.
    """

    __slots__ = ("_deadline", "_feed", "_marked_at", "_marked_job", "_tail", "_window", "acked", "latencies")

    def __init__(self, address: Address, tally: Tally, feed: SubmitFeed, window: int) -> None:
        super().__init__(address, tally, receive_bytes=65536)
        self.sock.setblocking(False)  # noqa: FBT003 -- the socket module's own signature
        self._feed = feed
        self._window = window
        self._tail = b""
        self._deadline = 0.0
        self._marked_job = 0
        self._marked_at = 0.0
        self.acked = 0
        self.latencies = array("d")

    @property
    def sent(self) -> int:
        """Number of jobs submitted."""
        return self._feed.taken

    @property
    def finished(self) -> bool:
        """Whether every job sent is acknowledged and none will follow."""
        return self.acked == self._feed.taken and (not self._feed.left or monotonic() >= self._deadline)

    def start(self, deadline: float) -> None:
        """Submit the first window; submit no more after `deadline` (monotonic seconds)."""
        self._deadline = deadline
        self._submit(min(self._window, self._feed.left), monotonic())

    def _submit(self, count: int, now: float) -> None:
        self.send_pieces(self._feed.take(count))
        if not self._marked_job:
            self._marked_job = self._feed.taken
            self._marked_at = now

    def readable(self) -> None:
        """Count acknowledgements and replace the jobs they answer."""
        data = self._tail + self.receive()
        if ERROR_TYPE in data:
            raise ServerFailedError(f"a submit was refused: {data[data.index(ERROR_TYPE) :][:200]!r}")
        # A header is one byte longer than the tail, so none is counted twice and a split one is not missed.
        count = data.count(CREATED_TYPE)
        self._tail = data[1 - TYPE_BYTES :]
        self.acked += count
        self._tally.count += count
        now = monotonic()
        if self._marked_job and self.acked >= self._marked_job:
            if len(self.latencies) < LATENCY_SAMPLES:
                self.latencies.append(now - self._marked_at)
            self._marked_job = 0
        if self.acked > self._feed.taken:
            raise ServerFailedError(f"{self.acked} jobs acknowledged on a connection that sent {self._feed.taken}")
        if count and self._feed.left and now < self._deadline:
            self._submit(min(count, self._feed.left), now)


class ForegroundClient(Connection):
    """Submits foreground jobs and waits for their results, a fixed number of them at a time.

    Every result is checked to carry the id of a job of this connection that is not answered yet.
    """

    __slots__ = ("_deadline", "_feed", "_first_id", "_sent_at", "_tail", "_window", "acked", "latencies")

    def __init__(self, address: Address, tally: Tally, feed: SubmitFeed, window: int, ids: range) -> None:
        super().__init__(address, tally, receive_bytes=65536)
        self.sock.setblocking(False)  # noqa: FBT003 -- the socket module's own signature
        self._feed = feed
        self._window = window
        self._first_id = ids.start
        self._sent_at = array("d", bytes(8 * len(ids)))
        self._tail = b""
        self._deadline = 0.0
        self.acked = 0
        self.latencies = array("d")

    @property
    def sent(self) -> int:
        """Number of jobs submitted."""
        return self._feed.taken

    @property
    def finished(self) -> bool:
        """Whether every job sent has its result and none will follow."""
        return self.acked == self._feed.taken and (not self._feed.left or monotonic() >= self._deadline)

    def start(self, deadline: float) -> None:
        """Submit the first window; submit no more after `deadline` (monotonic seconds)."""
        self._deadline = deadline
        self.submit(min(self._window, self._feed.left), monotonic())

    def submit(self, count: int, now: float) -> None:
        """Submit the next jobs, at `now` (monotonic seconds)."""
        first = self._feed.taken
        for job in range(first, first + count):
            self._sent_at[job] = now
        self.send_pieces(self._feed.take(count))

    def readable(self) -> None:
        """Take results and replace the jobs they answer."""
        data = self.receive()
        if self._tail:
            data = self._tail + data
        at = 0
        end = len(data)
        count = 0
        now = monotonic()
        while end - at >= HEADER_BYTES:
            kind, size = read_header(data, at)
            after = at + HEADER_BYTES + size
            if after > end:
                break
            if kind == WORK_COMPLETE:
                self._take_result(data[after - ID_DIGITS : after], now)
                count += 1
            elif kind != JOB_CREATED:
                raise ServerFailedError(f"a foreground job was answered with packet {kind}: {data[at:after][:200]!r}")
            at = after
        self._tail = data[at:]
        if count:
            self.acked += count
            self._tally.count += count
            if self._feed.left and now < self._deadline:
                self._go_on(count, now)

    def _go_on(self, answered: int, now: float) -> None:
        """Submit as many jobs as were answered."""
        self.submit(min(answered, self._feed.left), now)

    def _take_result(self, result: bytes, now: float) -> None:
        job = int(result) - self._first_id
        if not 0 <= job < len(self._sent_at) or not self._sent_at[job]:
            raise ServerFailedError(f"the result of job {result!r} came to a client that does not wait for it")
        self.latencies.append(now - self._sent_at[job])
        self._sent_at[job] = 0.0


class JoiningClient(ForegroundClient):
    """Submits the jobs of a group of clients, each job at the same moment as the others of the group.

    All of the group submit the same keys and payloads in the same order. A client that has its result waits until the
    others have theirs. Then all submit the next job, in one turn of the loop: the first submit makes the job, and the
    others join it unless it has ended by the time they are handled.
    """

    __slots__ = ("group",)

    def __init__(
        self, address: Address, tally: Tally, feed: SubmitFeed, ids: range, group: list["JoiningClient"]
    ) -> None:
        super().__init__(address, tally, feed, 1, ids)
        self.group = group
        group.append(self)

    def _go_on(self, answered: int, now: float) -> None:
        if all(client.acked == self.acked for client in self.group):
            for client in self.group:
                client.submit(answered, now)


class Worker(Connection):
    """Runs one job at a time: grabs, answers with the job's id, sleeps when there is none.

    WORK_COMPLETE and the next GRAB_JOB leave in one write, as from the quick workers of libgearman.

    Args:
        address: the server.
        tally: counts the jobs run.
        function: the function to register.
        seen: one counter per job id, increased for every run of the job.
        payload_bytes: length of the payloads to come, for the size of reads.
    """

    SAMPLE_EVERY = 16

    __slots__ = ("_completed_at", "_function_gap", "_parts", "_seen", "_started", "asleep", "done", "latencies")

    def __init__(self, address: Address, tally: Tally, function: bytes, seen: mmap.mmap, payload_bytes: int) -> None:
        super().__init__(address, tally, receive_bytes=4096 if payload_bytes >= LARGE_PAYLOAD else payload_bytes + 4096)
        self._function_gap = len(function) + 2
        self._seen = seen
        self._parts = b""
        self._started: dict[int, bytes] = {}
        self._completed_at = 0.0
        self.asleep = False
        self.done = 0
        self.latencies = array("d")
        self.sock.sendall(request(CAN_DO, function))
        self._confirm()

    def _confirm(self) -> None:
        """Wait until the server has handled all that was sent before, by an echo."""
        self.sock.sendall(request(ECHO_REQ, b"registered"))
        self._expect(response(ECHO_RES, b"registered"))

    def _expect(self, answer: bytes) -> None:
        data = b""
        while len(data) < len(answer):
            data += self.receive()
        if data != answer:
            raise ServerFailedError(f"a worker expected {answer!r} and got {data[:200]!r}")

    def fall_asleep(self) -> None:
        """Go through GRAB_JOB, NO_JOB and PRE_SLEEP on an empty queue, before the round begins."""
        self.sock.sendall(GRAB)
        self._expect(response(NO_JOB))
        self.sock.sendall(SLEEP)
        self._confirm()
        self.asleep = True
        self.sock.setblocking(False)  # noqa: FBT003 -- the socket module's own signature

    def start(self) -> None:
        """Ask for the first job of a queue that has some."""
        self.sock.setblocking(False)  # noqa: FBT003 -- the socket module's own signature
        self.send(GRAB)

    def readable(self) -> None:
        """Run the job that came, or sleep, or wake."""
        data = self.receive()
        if self._parts:
            data = self._parts + data
        at = 0
        end = len(data)
        while end - at >= HEADER_BYTES:
            kind, size = read_header(data, at)
            after = at + HEADER_BYTES + size
            if after > end:
                if kind == JOB_ASSIGN and size >= LARGE_PAYLOAD and end - at > LARGE_HEAD:
                    self._discard(after - end)
                    self._run(data, at + HEADER_BYTES)
                    at = end
                break
            if kind == JOB_ASSIGN:
                self._run(data, at + HEADER_BYTES)
            elif kind == NO_JOB:
                self._completed_at = 0.0
                self.asleep = True
                self.send(SLEEP)
            elif kind == NOOP:
                if self.asleep:
                    self.asleep = False
                    self.send(GRAB)
            else:
                raise ServerFailedError(f"a worker was sent packet {kind}: {data[at:after][:200]!r}")
            at = after
        self._parts = data[at:]

    def _discard(self, left: int) -> None:
        """Read the rest of a payload and forget it."""
        self.sock.settimeout(HANDSHAKE_SECONDS)
        while left:
            got = self.sock.recv_into(DISCARD, min(left, len(DISCARD)))
            if not got:
                raise ServerFailedError("the server closed a connection in the middle of a payload")
            left -= got
        self.sock.setblocking(False)  # noqa: FBT003 -- the socket module's own signature

    def _run(self, data: bytes, at: int) -> None:
        handle_end = data.index(0, at)
        payload = handle_end + self._function_gap
        job_id = data[payload : payload + ID_DIGITS]
        number = int(job_id)
        if number >= len(self._seen):
            raise ServerFailedError(f"a worker was given job {job_id!r}, which this round never submitted")
        self._seen[number] += 1
        self.done += 1
        self._tally.count += 1
        size = handle_end - at
        start = self._started.get(size)
        if start is None:
            start = self._started[size] = request(WORK_COMPLETE, bytes(size + 1 + ID_DIGITS))[:HEADER_BYTES]
        if self._completed_at:
            self.latencies.append(monotonic() - self._completed_at)
            self._completed_at = 0.0
        self.send(start + data[at : handle_end + 1] + job_id + GRAB)
        if self.done % self.SAMPLE_EVERY == 0:
            self._completed_at = monotonic()
