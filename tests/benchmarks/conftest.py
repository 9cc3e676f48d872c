"""A job server of one thread whose faults are chosen by the test, and a way to play a round against it.

Rounds are played in a process of their own: the generator forks, which a test process with threads must not.
"""

import asyncio
import json
import struct
import subprocess
import sys
import threading
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PLAY = """
import json, sys
from benchmarks.errors import BenchmarkError
from benchmarks.load import Crew, Shape, play

order = json.loads(sys.argv[1])
crew = Crew(**order["crew"] | {"addresses": tuple(map(tuple, order["crew"]["addresses"]))})
try:
    queued = ()
    for shape in order["shapes"]:
        shape = Shape(**shape)
        result = play(shape, crew, b"counted", () if shape.clients else queued)
        queued = result.submitted
        print(json.dumps({"jobs": result.jobs, "samples": len(result.latencies), "joined": result.joined}))
except BenchmarkError as error:
    print(json.dumps({"error": type(error).__name__, "message": str(error)}))
"""


@dataclass
class Faults:
    """What a faulty server does; the default is an honest one."""

    lose: frozenset[int] = frozenset()
    repeat: frozenset[int] = frozenset()
    withhold_result: frozenset[int] = frozenset()
    acknowledge_twice: frozenset[int] = frozenset()
    refuse: frozenset[int] = frozenset()
    hang_up: frozenset[int] = frozenset()
    rename: dict[int, int] = field(default_factory=dict)
    join_nothing: bool = False
    wait_for_the_second: bool = False
    dribble: int = 0


def packet(kind: int, body: bytes = b"") -> bytes:
    return struct.pack(">4sII", b"\0RES", kind, len(body)) + body


class FaultyServer:
    """Enough of a job server for the load generator."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self._turns: dict[asyncio.StreamWriter, asyncio.Lock] = {}
        self._telling: set[asyncio.Task[None]] = set()
        self._queue: deque[tuple[bytes, bytes]] = deque()
        self._sleepers: list[asyncio.StreamWriter] = []
        self._waiting: dict[bytes, list[asyncio.StreamWriter]] = {}
        self._living: dict[bytes, bytes] = {}
        """The handle of each unique key."""
        self._handles = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve)
        self._listening = threading.Event()
        self.address: tuple[str, int] = ("127.0.0.1", 0)
        self._thread.start()
        self._listening.wait()

    def _serve(self) -> None:
        async def main() -> None:
            self._stop = asyncio.Event()
            server = await asyncio.start_server(self._session, "127.0.0.1", 0)
            self.address = server.sockets[0].getsockname()
            self._listening.set()
            await self._stop.wait()
            server.close()
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()

        self._loop.run_until_complete(main())
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    async def _session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                kind, size = struct.unpack(">4xII", await reader.readexactly(12))
                body = await reader.readexactly(size)
                answer = self._answer(kind, body, writer)
                if answer is None:
                    break
                await self._send(writer, answer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            if writer in self._sleepers:
                self._sleepers.remove(writer)
            writer.close()

    async def _send(self, writer: asyncio.StreamWriter, answer: bytes) -> None:
        step = self.faults.dribble or max(1, len(answer))
        async with self._turns.setdefault(writer, asyncio.Lock()):
            for at in range(0, len(answer), step):
                writer.write(answer[at : at + step])
                await writer.drain()
                if self.faults.dribble:
                    await asyncio.sleep(0)

    def _tell(self, writer: asyncio.StreamWriter, news: bytes) -> None:
        task = self._loop.create_task(self._send(writer, news))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    def _answer(self, kind: int, body: bytes, writer: asyncio.StreamWriter) -> bytes | None:
        faults = self.faults
        if kind in (7, 18):
            return self._submit(kind, body, writer)
        if kind == 9:
            if not self._queue:
                return packet(10)
            handle, payload = self._queue.popleft()
            number = int(payload[:10])
            if number in faults.rename:
                payload = b"%010d" % faults.rename[number] + payload[10:]
            if number in faults.repeat:
                self._queue.append((handle, payload))
                faults.repeat -= {number}
            return packet(11, handle + b"\0counted\0" + payload)
        if kind == 4:
            if self._queue:
                return packet(6)
            self._sleepers.append(writer)
        if kind == 13:
            handle, result = body.split(b"\0", 1)
            self._living = {key: living for key, living in self._living.items() if living != handle}
            for client in self._waiting.pop(handle, ()):
                if int(result) not in faults.withhold_result:
                    self._tell(client, packet(13, handle + b"\0" + result))
        return packet(17, body) if kind == 16 else b""

    def _submit(self, kind: int, body: bytes, writer: asyncio.StreamWriter) -> bytes | None:
        _function, key, payload = body.split(b"\0", 2)
        number = int(payload[:10])
        if number in self.faults.hang_up:
            return None
        if number in self.faults.refuse:
            return packet(19, b"QUEUE_ERROR\0full")
        if key in self._living:
            handle = self._living[key]
            self._waiting[handle].append(writer)
            if self.faults.wait_for_the_second:
                self._enqueue(handle, payload)
            return packet(8, handle)
        self._handles += 1
        handle = b"H:fake:%d" % self._handles
        if key and not self.faults.join_nothing:
            self._living[key] = handle
        if kind == 7:
            self._waiting[handle] = [writer]
        if number not in self.faults.lose and not self.faults.wait_for_the_second:
            self._enqueue(handle, payload)
        return packet(8, handle) * (2 if number in self.faults.acknowledge_twice else 1)

    def _enqueue(self, handle: bytes, payload: bytes) -> None:
        self._queue.append((handle, payload))
        for sleeper in self._sleepers:
            self._tell(sleeper, packet(6))
        self._sleepers.clear()


@pytest.fixture
def serve():
    """Start a server with the faults given; it ends with the test."""
    servers = []

    def start(**faults):
        servers.append(FaultyServer(Faults(**faults)))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def play_against():
    """Play shapes one after the other against a server; give what the load generator says of each."""

    def run(server, *shapes, stall_seconds=2.0, **crew):
        crew = {"addresses": [server.address], "stall_seconds": stall_seconds} | crew
        order = json.dumps({"shapes": shapes, "crew": crew})
        done = subprocess.run(
            [sys.executable, "-c", PLAY, order], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
        )
        assert not done.stderr, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return run
