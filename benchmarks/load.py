"""The load generator: runs one round of work against a server and accounts for every job.

A round is a shape (so many clients and workers, so many jobs of such a size) played by several
processes, forked for the round: on a small machine one for the clients and one for the workers is
best; more are an option where one saturates, which `Result.client_busy` and `worker_busy` show.
Not for deciding which rounds are run or what their figures mean: see `workloads` and `report`.
"""

import gc
import mmap
import multiprocessing
import resource
import selectors
import traceback
from array import array
from collections.abc import Callable, Iterator, MutableSequence, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection as Pipe
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from time import monotonic
from typing import Any, Self

from benchmarks.connections import (
    Address,
    BackgroundClient,
    Connection,
    ForegroundClient,
    JoiningClient,
    Tally,
    Worker,
)
from benchmarks.errors import BenchmarkError, JobsUnaccountedError
from benchmarks.packets import SUBMIT_JOB, SUBMIT_JOB_BG, SubmitFeed

FORK = multiprocessing.get_context("fork")  # a child inherits the shared counters; started in milliseconds
MESSAGE_SECONDS = 120.0
POLL_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Shape:
    """What one round does.

    Attributes:
        clients: connections that submit, each with `window` jobs outstanding; none to drain only.
        workers: connections that run jobs, one at a time each; none to submit only.
        jobs: jobs submitted at most; those of a group of sharers count once.
        window: jobs outstanding per client.
        payload_bytes: length of each payload.
        foreground: whether clients wait for results rather than for JOB_CREATED.
        keyed: whether each job has a unique key of its own rather than the empty one.
        sharers: clients of a group; all of a group submit the same keyed foreground job at the same moment, the next
            one when all have the result. So all submits but one of each job join it, if they come while it lives.
        seconds: no job is submitted later than this after the start.
    """

    clients: int = 0
    workers: int = 0
    jobs: int = 0
    window: int = 64
    payload_bytes: int = 100
    foreground: bool = False
    keyed: bool = False
    sharers: int = 1
    seconds: float = 30.0

    def __post_init__(self) -> None:
        if self.sharers > 1 and not (self.foreground and self.keyed and self.window == 1):
            raise ValueError("clients that share jobs submit keyed foreground jobs, one at a time")
        if self.clients % self.sharers:
            raise ValueError(f"{self.clients} clients cannot be put into groups of {self.sharers}")


@dataclass(frozen=True, slots=True)
class Crew:
    """How the connections are spread: addresses of the nodes, and processes of the generator.

    Attributes:
        addresses: nodes of the server; client i goes to address i modulo their number, worker i to the one after that.
        client_processes: processes that share the clients.
        worker_processes: processes that share the workers.
        stall_seconds: a round in which nothing moves for so long has lost what is missing.
    """

    addresses: tuple[Address, ...]
    client_processes: int = 1
    worker_processes: int = 1
    stall_seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class Result:
    """What a round gave.

    Attributes:
        jobs: jobs done: completed where there were workers, acknowledged where not; each submit that joined a job
            counts as one.
        seconds: from the first submit (or grab) to the last acknowledgement or completion.
        latencies: seconds, sorted: of a submit until JOB_CREATED or the result, or, in a round of
            workers only, of WORK_COMPLETE until the next JOB_ASSIGN.
        submitted: ids of the jobs submitted and acknowledged, one range per connection or group of sharers.
        client_busy: CPU time over elapsed time of the busiest client process, 1.0 is saturated.
        worker_busy: the same of the busiest worker process.
        generator_cpu: CPU seconds of all processes of the generator.
        joined: share of the submits that were answered by the run of another submit.
    """

    jobs: int
    seconds: float
    latencies: Sequence[float]
    submitted: tuple[range, ...]
    client_busy: float
    worker_busy: float
    generator_cpu: float
    joined: float = 0.0

    @property
    def rate(self) -> float:
        """Jobs per second."""
        return self.jobs / self.seconds if self.seconds > 0 else 0.0

    def latency(self, quantile: float) -> float | None:
        """Give a quantile of the latencies in seconds, None when there are no samples."""
        if not self.latencies:
            return None
        return self.latencies[min(len(self.latencies) - 1, int(quantile * len(self.latencies)))]


@dataclass(slots=True)
class _Part:
    """What one process of the generator did in a round."""

    started: float = 0.0
    ended: float = 0.0
    cpu: float = 0.0
    sent: list[range] = field(default_factory=list)
    acked: int = 0
    latencies: MutableSequence[float] = field(default_factory=lambda: array("d"))

    @property
    def busy(self) -> float:
        return self.cpu / (self.ended - self.started) if self.ended > self.started else 0.0


def play(shape: Shape, crew: Crew, function: bytes, queued: Sequence[range] = ()) -> Result:
    """Play one round and account for every job of it.

    Args:
        shape: what to do.
        crew: where, and with how many processes.
        function: function name of the jobs; one not used by another round that is still queued.
        queued: ids of jobs already queued under this function, which the workers are to run too.

    Raises:
        JobsUnaccountedError: a job was lost, run twice, or never submitted.
        ServerFailedError: the server refused something or closed a connection.
    """
    first_id = max((ids.stop for ids in queued), default=0)
    id_count = first_id + shape.jobs
    groups = shape.clients // shape.sharers
    group_ids = [range(first_id + part.start, first_id + part.stop) for part in _split(shape.jobs, groups)]
    with _Generator() as generator:
        for index, part in enumerate(_split(shape.workers, crew.worker_processes)):
            generator.add_worker_process(part, shape, crew, function, id_count, awake=bool(queued), name=f"w{index}")
        generator.expect_ready()
        for index, part in enumerate(_split(groups, crew.client_processes)):
            generator.add_client_process(part, shape, crew, function, group_ids, name=f"c{index}")
        generator.expect_ready()
        return generator.run(shape, crew, queued)


def _split(count: int, parts: int) -> list[range]:
    """Cut range(count) into at most `parts` ranges of nearly equal length, none empty."""
    parts = min(parts, count)
    return [range(count * part // parts, count * (part + 1) // parts) for part in range(parts)]


class _Generator:
    """The processes of one round and what they share."""

    def __init__(self) -> None:
        self._clients: list[Pipe] = []
        self._workers: list[Pipe] = []
        self._processes: list[BaseProcess] = []
        self._ready = 0
        self._seen: list[mmap.mmap] = []
        self._worker_progress: list[memoryview] = []
        self._client_progress: list[memoryview] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, failed: type[BaseException] | None, *_exc: object) -> None:
        for process in self._processes if failed else ():
            process.kill()
        for pipe in (*self._clients, *self._workers):
            pipe.close()
        for process in self._processes:
            process.join(timeout=2)
            if process.is_alive():
                process.kill()
                process.join()

    def _fork(self, pipes: list[Pipe], name: str, body: Callable[[Pipe], None]) -> None:
        ours, theirs = FORK.Pipe()
        process = FORK.Process(target=_child, args=(theirs, body), name=f"load-{name}", daemon=True)
        process.start()
        theirs.close()
        pipes.append(ours)
        self._processes.append(process)

    def add_worker_process(
        self, part: range, shape: Shape, crew: Crew, function: bytes, id_count: int, *, awake: bool, name: str
    ) -> None:
        seen = mmap.mmap(-1, max(1, id_count))
        progress = _shared_counter()
        self._seen.append(seen)
        self._worker_progress.append(progress)
        addresses = [crew.addresses[(index + 1) % len(crew.addresses)] for index in part]
        body = partial(
            _work,
            addresses=addresses,
            function=function,
            seen=seen,
            progress=progress,
            payload_bytes=shape.payload_bytes,
            awake=awake,
        )
        self._fork(self._workers, name, body)

    def add_client_process(
        self, part: range, shape: Shape, crew: Crew, function: bytes, ids: list[range], *, name: str
    ) -> None:
        places = [
            (
                [
                    crew.addresses[client % len(crew.addresses)]
                    for client in range(group * shape.sharers, (group + 1) * shape.sharers)
                ],
                ids[group],
            )
            for group in part
        ]
        progress = _shared_counter()
        self._client_progress.append(progress)
        body = partial(_submit, places=places, shape=shape, function=function, progress=progress)
        self._fork(self._clients, name, body)

    def expect_ready(self) -> None:
        pipes = [*self._workers, *self._clients]
        for pipe in pipes[self._ready :]:
            _take(pipe)
        self._ready = len(pipes)

    def run(self, shape: Shape, crew: Crew, queued: Sequence[range]) -> Result:
        started = monotonic()
        for pipe in (*self._workers, *self._clients):
            pipe.send(("start", shape.seconds))
        parts = self._await_clients(crew)
        submitted = tuple(ids for part in parts for ids in part.sent)
        expected = [*queued, *submitted]
        worker_parts: list[_Part] = []
        jobs = sum(map(len, expected)) * shape.sharers
        runs = jobs
        if self._workers:
            self._await_completion(sum(map(len, expected)), crew)
            for pipe in self._workers:
                pipe.send(("stop", None))
            worker_parts = [_take(pipe) for pipe in self._workers]
            runs = self._account(expected, shape.sharers)
        everyone = [*parts, *worker_parts]
        if parts:
            started = min(part.started for part in parts)
        seconds = max(part.ended for part in everyone) - started
        latencies = sorted(sample for part in (parts or worker_parts) for sample in part.latencies)
        return Result(
            jobs=jobs if self._workers else sum(part.acked for part in parts),
            seconds=seconds,
            latencies=latencies,
            submitted=submitted,
            client_busy=max((part.busy for part in parts), default=0.0),
            worker_busy=max((part.busy for part in worker_parts), default=0.0),
            generator_cpu=sum(part.cpu for part in everyone),
            joined=1.0 - runs / jobs if jobs else 0.0,
        )

    def _await_clients(self, crew: Crew) -> list[_Part]:
        stall = _StallClock(crew.stall_seconds, [*self._client_progress, *self._worker_progress])
        waiting = list(self._clients)
        parts = []
        while waiting:
            for pipe in _speaking([*waiting, *self._workers]):
                part = _take(pipe)  # a worker's pipe speaks this early only to report an error, which this raises
                waiting.remove(pipe)
                parts.append(part)
            if stall.stalled():
                answered = sum(progress[0] for progress in self._client_progress)
                raise JobsUnaccountedError(
                    f"clients wait for answers that do not come: {answered} came, then none for "
                    f"{crew.stall_seconds:.0f} s"
                )
        return parts

    def _await_completion(self, expected: int, crew: Crew) -> None:
        stall = _StallClock(crew.stall_seconds, self._worker_progress)
        while stall.total < expected:
            for pipe in _speaking(self._workers):
                _take(pipe)
            if stall.stalled():
                raise JobsUnaccountedError(
                    f"{expected - stall.total} of {expected} jobs were never given to a worker: "
                    f"none came for {crew.stall_seconds:.0f} s"
                )

    def _account(self, expected: Sequence[range], submits: int) -> int:
        """Require that each job expected was run, at most once for each of its submits, and no other was run.

        Returns:
            How many runs there were.
        """
        counts = [seen[:] for seen in self._seen]
        runs = bytes(map(sum, zip(*counts, strict=True))) if len(counts) > 1 else counts[0]
        total = 0
        for ids in expected:
            own = runs[ids.start : ids.stop]
            total += sum(own)
            if sum(own.count(number) for number in range(1, submits + 1)) != len(ids):
                lost = [ids.start + place for place, count in enumerate(own) if count == 0]
                repeated = [ids.start + place for place, count in enumerate(own) if count > submits]
                raise JobsUnaccountedError(
                    f"{len(lost)} jobs were lost (first: {lost[:5]}), {len(repeated)} were run more than once "
                    f"(first: {repeated[:5]}), of {len(ids)} submitted on one connection"
                )
        if sum(runs) != total:
            raise JobsUnaccountedError(f"{sum(runs)} runs of {sum(map(len, expected))} jobs: some were never submitted")
        return total


class _StallClock:
    """Tells when counters have not moved for too long."""

    def __init__(self, seconds: float, counters: Sequence[memoryview]) -> None:
        self._seconds = seconds
        self._counters = counters
        self._moved_at = monotonic()
        self.total = 0

    def stalled(self) -> bool:
        """Read the counters into `total`; say whether they stood still for the time allowed."""
        before, self.total = self.total, sum(counter[0] for counter in self._counters)
        now = monotonic()
        if self.total != before:
            self._moved_at = now
        return now - self._moved_at > self._seconds


def _shared_counter() -> memoryview:
    """Give a counter that a forked child increases and the parent reads."""
    return memoryview(mmap.mmap(-1, 8)).cast("Q")


def _speaking(pipes: Sequence[Pipe]) -> list[Pipe]:
    """Wait a moment for messages; give the pipes that have one."""
    ready = wait(pipes, timeout=POLL_SECONDS)
    return [pipe for pipe in pipes if pipe in ready]


def _take(pipe: Pipe) -> Any:
    """Take the next message of a process, or raise the error it met."""
    if not pipe.poll(MESSAGE_SECONDS):
        raise BenchmarkError(f"a process of the load generator said nothing for {MESSAGE_SECONDS:.0f} s")
    try:
        message = pipe.recv()
    except EOFError as error:
        raise BenchmarkError("a process of the load generator died") from error
    if isinstance(message, Exception):
        raise message
    return message


def _child(pipe: Pipe, body: Callable[[Pipe], None]) -> None:
    gc.disable()  # no cycles are made in a round, and a pause would be counted as the server's
    try:
        body(pipe)
    except BenchmarkError as error:
        pipe.send(error)
    except (EOFError, BrokenPipeError):
        return  # the parent has given the round up
    except Exception:  # noqa: BLE001 -- whatever it is, the parent has to fail with it
        pipe.send(BenchmarkError(f"the load generator failed:\n{traceback.format_exc()}"))


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


class _Loop:
    """A selector loop over connections that ends when told so by the pipe or by the caller."""

    def __init__(self, connections: Sequence[Connection]) -> None:
        self._selector = selectors.DefaultSelector()
        for connection in connections:
            self._selector.register(connection.sock, selectors.EVENT_READ, connection)
            connection.watch = partial(self._watch, connection)

    def _watch(self, connection: Connection, events: int) -> None:
        self._selector.modify(connection.sock, events, connection)

    def turns(self, pipe: Pipe) -> Iterator[bool]:
        """Serve the connections; give after every turn whether the pipe has a message."""
        self._selector.register(pipe, selectors.EVENT_READ, None)
        select = self._selector.select
        while True:
            told = False
            for key, events in select(0.05):
                if key.data is None:
                    told = True
                    continue
                if events & selectors.EVENT_WRITE:
                    key.data.writable()
                if events & selectors.EVENT_READ:
                    key.data.readable()
            yield told


@contextmanager
def _closing(connections: Sequence[Connection]) -> Iterator[None]:
    try:
        yield
    finally:
        for connection in connections:
            connection.close()


def _work(
    pipe: Pipe,
    *,
    addresses: Sequence[Address],
    function: bytes,
    seen: mmap.mmap,
    progress: memoryview,
    payload_bytes: int,
    awake: bool,
) -> None:
    """Be a process of workers for one round."""
    tally = Tally()
    workers = [Worker(address, tally, function, seen, payload_bytes) for address in addresses]
    with _closing(workers):
        if not awake:
            for worker in workers:
                worker.fall_asleep()
        pipe.send("ready")
        pipe.recv()
        part = _Part(started=monotonic())
        cpu = _cpu_seconds()
        if awake:
            for worker in workers:
                worker.start()
        told = False
        # Every worker has to have met NO_JOB after its last job: then the server has seen it completed.
        for message in _Loop(workers).turns(pipe):
            if tally.count != progress[0]:
                part.ended = monotonic()
                progress[0] = tally.count
            if message and not told:
                pipe.recv()
                told = True
            if told and all(worker.asleep for worker in workers):
                break
        part.cpu = _cpu_seconds() - cpu
        for worker in workers:
            part.latencies.extend(worker.latencies)
        pipe.send(part)


def _group(
    addresses: Sequence[Address], ids: range, shape: Shape, function: bytes, tally: Tally
) -> Sequence[BackgroundClient | ForegroundClient]:
    """Connect the clients that submit these ids: one, or several that share each of them."""
    kind = SUBMIT_JOB if shape.foreground else SUBMIT_JOB_BG
    feeds = [SubmitFeed(kind, function, ids, shape.payload_bytes, keyed=shape.keyed) for _ in addresses]
    if shape.sharers > 1:
        group: list[JoiningClient] = []
        for address, feed in zip(addresses, feeds, strict=True):
            JoiningClient(address, tally, feed, ids, group)
        return group
    if shape.foreground:
        return [ForegroundClient(addresses[0], tally, feeds[0], shape.window, ids)]
    return [BackgroundClient(addresses[0], tally, feeds[0], shape.window)]


def _submit(
    pipe: Pipe,
    *,
    places: Sequence[tuple[Sequence[Address], range]],
    shape: Shape,
    function: bytes,
    progress: memoryview,
) -> None:
    """Be a process of clients for one round."""
    tally = Tally()
    groups = [_group(addresses, ids, shape, function, tally) for addresses, ids in places]
    clients = [client for group in groups for client in group]
    with _closing(clients):
        pipe.send("ready")
        _message, seconds = pipe.recv()
        loop = _Loop(clients)
        part = _Part(started=monotonic())
        cpu = _cpu_seconds()
        for client in clients:
            client.start(part.started + seconds)
        for told in loop.turns(pipe):
            if tally.count != progress[0]:
                part.ended = monotonic()
                progress[0] = tally.count
            if told or all(client.finished for client in clients):
                break
        part.cpu = _cpu_seconds() - cpu
        part.acked = tally.count
        part.sent = [
            range(ids.start, ids.start + group[0].sent) for group, (_, ids) in zip(groups, places, strict=True)
        ]
        for client in clients:
            part.latencies.extend(client.latencies)
        pipe.send(part)
