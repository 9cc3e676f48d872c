"""What the connections of a node hold is bounded in bytes, for each and for all, however many try."""

import asyncio
import contextlib
import select
import socket
import time
from collections.abc import Iterator

import pytest

from tests.harness import PATIENCE, PacketType, ServerProcess, procfs, request_bytes

MEBIBYTE = 1 << 20
SMALL = ("--max-packet", "4MiB", "--max-memory", "256MiB")
"""A node whose connections may hold 72 MiB in all, and each of them a packet of 4 MiB."""
BUDGET = 72 * MEBIBYTE


class Crowd:
    """Many peers of one server, as plain sockets."""

    def __init__(self, server: ServerProcess, opened: contextlib.ExitStack) -> None:
        self._server = server
        self._opened = opened

    def join(self, *, receive_buffer: int | None = None) -> socket.socket:
        """Connect; the kernel keeps no more than so many unread bytes on this side."""
        peer = self._opened.enter_context(socket.socket())
        if receive_buffer is not None:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        peer.connect((self._server.host, self._server.port))
        return peer


@pytest.fixture
def crowd(server) -> Iterator[Crowd]:
    with contextlib.ExitStack() as opened:
        yield Crowd(server, opened)


def write(peer: socket.socket, data: bytes, *, patience: float = 0.5) -> int:
    """Write until all is taken, or nothing more for a while, or the connection is closed; tell how much it was."""
    peer.settimeout(0)
    view = memoryview(data)
    sent = 0
    while sent < len(data) and select.select([], [peer], [], patience)[1]:
        try:
            sent += peer.send(view[sent:])
        except BlockingIOError:
            continue
        except OSError:
            break
    return sent


def is_closed(peer: socket.socket) -> bool:
    """Read what has come, and tell whether that is all."""
    peer.settimeout(0)
    try:
        while peer.recv(MEBIBYTE):
            pass
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


async def serves(new_client, new_worker, name: bytes) -> None:
    client, worker = await new_client(), await new_worker(name)
    for number in range(5):
        handle = await client.submit(name, b"%d" % number)
        assert (await worker.take()).handle == handle
        worker.complete(handle, b"r")
        assert await client.completed(handle) == b"r"


async def knows(connect, server: ServerProcess, count: int, name: bytes) -> None:
    """Have a server know functions of this name and a number."""
    for first in range(0, count, 1000):
        worker = await connect(server)
        for number in range(first, first + 1000):
            worker.send(PacketType.CAN_DO, b"%s-%05d" % (name, number))
        await worker.expect_nothing()


class TestAllConnectionsTogether:
    @pytest.fixture
    def server(self, start_server) -> ServerProcess:
        return start_server(*SMALL)

    async def test_hold_unfinished_packets_within_the_budget_and_the_largest_are_dropped(
        self, server, crowd, new_client, new_worker
    ):
        await serves(new_client, new_worker, b"warm-up")
        before = procfs.resident_bytes(server.pid)
        packet = request_bytes(PacketType.SUBMIT_JOB_BG, b"f\0\0" + bytes(4 * MEBIBYTE - 3))
        peers = [crowd.join() for _ in range(60)]

        def crowd_in() -> None:
            for peer in peers:
                write(peer, packet[:-1])

        await asyncio.to_thread(crowd_in)
        (said, *_) = await asyncio.to_thread(server.events, "connections_dropped")
        assert said["level"] == "warning"
        assert (said["holds"], said["peer"]) == ("a packet that is not complete", "127.0.0.1")
        assert said["limit"] == BUDGET
        assert said["largest"] > MEBIBYTE
        assert procfs.resident_bytes(server.pid) - before < BUDGET + 40 * MEBIBYTE
        assert 10 <= sum(map(is_closed, peers)) < 60
        await serves(new_client, new_worker, b"others")

    async def test_hold_answers_that_nobody_reads_within_the_budget(self, server, crowd, new_client, new_worker):
        await serves(new_client, new_worker, b"warm-up")
        before = procfs.resident_bytes(server.pid)
        echoes = request_bytes(PacketType.ECHO_REQ, bytes(MEBIBYTE)) * 8
        peers = [crowd.join(receive_buffer=4096) for _ in range(30)]

        def crowd_in() -> None:
            for peer in peers:
                write(peer, echoes)

        await asyncio.to_thread(crowd_in)
        (said, *_) = await asyncio.to_thread(server.events, "connections_dropped")
        assert said["holds"] == "answers that are not read"
        assert procfs.resident_bytes(server.pid) - before < BUDGET + 40 * MEBIBYTE
        await serves(new_client, new_worker, b"others")

    async def test_that_read_what_they_are_sent_are_not_dropped_though_it_is_more_than_the_budget(
        self, server, connect
    ):
        peers = [await connect() for _ in range(8)]
        for _ in range(4):
            for peer in peers:
                peer.send(PacketType.ECHO_REQ, bytes(4 * MEBIBYTE))
            for peer in peers:
                assert await peer.expect(PacketType.ECHO_RES) == (bytes(4 * MEBIBYTE),)
        assert "connections_dropped" not in server.log()


class TestAnUnfinishedPacket:
    @pytest.fixture
    def server(self, start_server) -> ServerProcess:
        return start_server("--stall-timeout", "1")

    async def test_is_not_waited_for_longer_because_a_byte_comes_now_and_then(self, connect):
        trickling = await connect()
        for byte in request_bytes(PacketType.ECHO_REQ, bytes(200)):
            trickling.send_bytes(bytes([byte]))
            ended = asyncio.create_task(trickling.until_closed())
            if (await asyncio.wait([ended], timeout=0.05))[0]:
                return
            ended.cancel()
        raise AssertionError("it was waited for")

    async def test_is_waited_for_while_it_comes_at_a_moderate_pace(self, connect):
        slow, stalled = await connect(), await connect()
        packet = request_bytes(PacketType.ECHO_REQ, bytes(300_000))
        stalled.send_bytes(packet[:100])
        over = asyncio.create_task(stalled.until_closed())
        for position in range(0, len(packet), 10_000):
            slow.send_bytes(packet[position : position + 10_000])
            await asyncio.wait([over], timeout=0.1)
        await over
        assert await slow.expect(PacketType.ECHO_RES) == (bytes(300_000),)


class TestAPeerThatDoesNotRead:
    @pytest.fixture
    def server(self, start_server) -> ServerProcess:
        return start_server("--stall-timeout", "1")

    async def test_is_closed_though_it_reads_a_byte_now_and_then(self, server, crowd):
        peer = crowd.join(receive_buffer=4096)
        write(peer, request_bytes(PacketType.ECHO_REQ, bytes(MEBIBYTE)) * 12)
        deadline = time.monotonic() + PATIENCE
        while "too slowly" not in server.log():
            assert time.monotonic() < deadline
            with contextlib.suppress(OSError):
                peer.recv(1)
            await asyncio.sleep(0.05)
        (said,) = [event for event in server.events("connection_closed") if event["level"] == "warning"]
        assert said["peer"] == "127.0.0.1"

    async def test_stays_if_it_leaves_no_more_unread_than_the_kernels_take(self, server, connect):
        """A worker that is busy for minutes does not read the NOOPs that it is sent."""
        with socket.create_connection((server.host, server.port)) as busy:
            busy.sendall(request_bytes(PacketType.ECHO_REQ, b"x" * 50) * 200)
            stalled = await connect()
            stalled.send_bytes(b"\0")
            await stalled.until_closed()  # the time of more than one silence is over
            another = await connect()
            another.send_bytes(b"\0")
            await another.until_closed()
            assert not is_closed(busy)


class TestRequestsThatAreNotProcessed:
    async def test_of_one_connection_are_read_no_further_than_a_mebibyte_and_a_packet(
        self, server, crowd, connect, new_client, new_worker
    ):
        """A list that is not read holds up what was asked after it."""
        await knows(connect, server, 2_000, b"x" * 200)
        await serves(new_client, new_worker, b"warm-up")
        peer = crowd.join(receive_buffer=4096)
        peer.sendall(b"status\n" * 20)
        before = procfs.resident_bytes(server.pid)
        packet = request_bytes(PacketType.SUBMIT_JOB_BG, b"f\0\0" + bytes(60_000))
        taken = await asyncio.to_thread(write, peer, packet * 2000)
        assert taken < 20 * MEBIBYTE
        assert procfs.resident_bytes(server.pid) - before < 20 * MEBIBYTE
        await serves(new_client, new_worker, b"others")


class TestLongLists:
    async def test_that_nobody_reads_are_not_made(self, start_server, connect, new_client, new_worker):
        server = start_server()
        await knows(connect, server, 20_000, b"a-function")
        operator = await connect(server)
        before = procfs.resident_bytes(server.pid)
        with contextlib.ExitStack() as opened:
            crowd = Crowd(server, opened)
            peers = [crowd.join(receive_buffer=4096) for _ in range(50)]
            for peer in peers:
                peer.sendall(b"status\n" * 100)
            for _ in range(100):
                assert await operator.line("version")
            assert len(await operator.table("status")) == 20_000
            assert procfs.resident_bytes(server.pid) - before < 40 * MEBIBYTE
            assert not any(map(is_closed, peers))
