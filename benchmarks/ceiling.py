"""Where the load generator itself saturates: its rates against a server that does almost nothing.

The sink acknowledges without keeping anything and hands out prepared jobs. It is a process on the
same cores, so its own cost limits these figures too; jobs per CPU second of the generator are the
limit that would remain on a free core.
"""

import multiprocessing
import selectors
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from benchmarks.connections import GRAB, Address
from benchmarks.load import Crew, Result, Shape, play
from benchmarks.packets import (
    ECHO_REQ,
    ECHO_RES,
    JOB_ASSIGN,
    JOB_CREATED,
    NO_JOB,
    SUBMIT_JOB_BG,
    TYPE_BYTES,
    request,
    response,
    response_type,
)

FORK = multiprocessing.get_context("fork")
FUNCTION = b"ceiling"
HANDLE = b"H:benchmark-sink:1000000"
ASSIGNMENT = HANDLE + b"\0" + FUNCTION + b"\0%010d" + b"x" * 90
CREATED = response(JOB_CREATED, HANDLE)
NOTHING = response(NO_JOB)
ECHO_HEAD = request(ECHO_REQ)[:TYPE_BYTES]
SUBMIT_HEAD = struct.pack(">4sI", b"\0REQ", SUBMIT_JOB_BG)


class _Sink:
    """Answers submits with a count and grabs with the next prepared job."""

    def __init__(self, jobs: int) -> None:
        packets = [response(JOB_ASSIGN, ASSIGNMENT % number) for number in range(jobs)]
        self._assignments = iter(packets)
        self._tails: dict[int, bytes] = {}

    def serve(self, listener: socket.socket) -> None:
        selector = selectors.DefaultSelector()
        selector.register(listener, selectors.EVENT_READ)
        while True:
            for key, _events in selector.select():
                sock = key.data
                if sock is None:
                    sock, _peer = listener.accept()
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    selector.register(sock, selectors.EVENT_READ, sock)
                    self._tails[sock.fileno()] = b""
                elif not self._answer(sock):
                    selector.unregister(sock)
                    sock.close()

    def _answer(self, sock: socket.socket) -> bool:
        try:
            data = sock.recv(65536)
        except ConnectionError:
            return False
        if data.endswith(GRAB):
            sock.sendall(next(self._assignments, NOTHING))
        elif ECHO_HEAD in data:
            at = data.index(ECHO_HEAD) + TYPE_BYTES
            sock.sendall(response_type(ECHO_RES) + data[at:])
        else:
            data = self._tails[sock.fileno()] + data
            self._tails[sock.fileno()] = data[1 - TYPE_BYTES :]
            sock.sendall(CREATED * data.count(SUBMIT_HEAD))
        return bool(data)


@contextmanager
def _running_sink(jobs: int) -> Iterator[Address]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = FORK.Process(target=partial(_Sink(jobs).serve, listener), daemon=True)
        process.start()
        try:
            yield listener.getsockname()
        finally:
            process.kill()
            process.join()


def measure_ceiling(crew: Crew, jobs: int = 200_000) -> dict[str, Result]:
    """Play the submit and drain rounds against the sink.

    Args:
        crew: processes of the generator; its addresses are replaced.
        jobs: jobs of each round.
    """
    results = {}
    for name, shape in {
        "submit": Shape(clients=4, jobs=jobs),
        "drain": Shape(workers=4),
    }.items():
        with _running_sink(jobs if shape.workers else 0) as address:
            own = Crew((address,), crew.client_processes, crew.worker_processes, crew.stall_seconds)
            results[name] = play(shape, own, FUNCTION, [range(jobs)] if shape.workers else ())
    return results
