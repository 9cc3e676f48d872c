"""Peers that do not read, peers that flood, and very many of them: the server stays small and serves the others."""

import asyncio
import contextlib
import select
import socket
import subprocess
import sys

import pytest

from tests.harness import PATIENCE, PacketType, ServerProcess, procfs, request_bytes

MEBIBYTE = 1 << 20


@pytest.fixture
def server(start_server) -> ServerProcess:
    return start_server()


def push(peer: socket.socket, data: bytes, limit: int, *, patience: float = 1.0) -> int:
    """Write `data` again and again until the other side has taken nothing for a while; return how much it took."""
    peer.settimeout(0)
    view = memoryview(data)
    sent = 0
    while sent < limit and select.select([], [peer], [], patience)[1]:
        with contextlib.suppress(BlockingIOError):
            sent += peer.send(view[sent % len(data) :])
    return sent


async def serves(new_client, new_worker, name: bytes) -> None:
    """See that a client and a worker get through a few jobs."""
    client, worker = await new_client(), await new_worker(name)
    for number in range(20):
        handle = await client.submit(name, b"%d" % number)
        assert (await worker.take()).handle == handle
        worker.complete(handle, b"r")
        assert await client.completed(handle) == b"r"


class TestPeersThatDoNotRead:
    async def test_two_mebibytes_of_echoes_written_before_the_first_is_read_all_come_back(self, server):
        """gearmand's own test-suite does it."""
        data = request_bytes(PacketType.ECHO_REQ, b"e" * 1000)
        count = 2 * MEBIBYTE // len(data)
        with socket.create_connection((server.host, server.port), timeout=PATIENCE) as peer:
            peer.sendall(data * count)
            expected = len(data) * count
            while expected:
                received = peer.recv(MEBIBYTE)
                assert received
                expected -= len(received)

    async def test_echoes_that_nobody_reads_stop_being_taken(self, server, new_client, new_worker):
        """A client that does not read cannot make the server grow without bound."""
        await serves(new_client, new_worker, b"warm-up")
        before = procfs.resident_bytes(server.pid)
        data = request_bytes(PacketType.ECHO_REQ, b"e" * 60_000)
        with socket.create_connection((server.host, server.port)) as peer:
            pushed = await asyncio.to_thread(push, peer, data, 256 * MEBIBYTE)
            assert pushed < 128 * MEBIBYTE
            assert procfs.resident_bytes(server.pid) - before < 64 * MEBIBYTE
            await serves(new_client, new_worker, b"others")

    async def test_text_answers_that_nobody_reads_stop_being_made(self, server, connect, new_client, new_worker):
        operator = await connect()
        for number in range(500):
            operator.send_bytes(b"create function %s-%d\n" % (b"x" * 200, number))
        for _ in range(500):
            await operator.next_line()
        before = procfs.resident_bytes(server.pid)
        with socket.create_connection((server.host, server.port)) as peer:
            await asyncio.to_thread(push, peer, b"status\n" * 4, 14_000)
            assert procfs.resident_bytes(server.pid) - before < 64 * MEBIBYTE
            await serves(new_client, new_worker, b"others")

    async def test_a_client_that_does_not_read_its_results_costs_a_bounded_amount(self, server, new_client, new_worker):
        await serves(new_client, new_worker, b"warm-up")
        before = procfs.resident_bytes(server.pid)
        with socket.create_connection((server.host, server.port)) as peer:
            peer.sendall(request_bytes(PacketType.SUBMIT_JOB, b"verbose-job\0\0"))
            worker = await new_worker(b"verbose-job")
            job = await worker.take()
            part = request_bytes(PacketType.WORK_DATA, job.handle + b"\0" + b"d" * MEBIBYTE)
            with worker.duplicate_socket() as past_the_buffers:
                await asyncio.to_thread(push, past_the_buffers, part, 200 * MEBIBYTE)
            assert procfs.resident_bytes(server.pid) - before < 100 * MEBIBYTE
            await serves(new_client, new_worker, b"others")


class TestHalfPackets:
    @pytest.fixture
    def server(self, start_server) -> ServerProcess:
        return start_server("--stall-timeout", "1")

    @pytest.mark.parametrize("length", [1, 9, 50])
    async def test_half_a_packet_and_then_silence_closes_that_connection_and_no_idle_one(self, connect, length):
        idle, stalled = await connect(), await connect()
        await idle.expect_nothing()
        stalled.send_bytes(request_bytes(PacketType.ECHO_REQ, b"x" * 100)[:length])
        await stalled.until_closed()
        await idle.expect_nothing()


class TestFloods:
    @pytest.fixture
    def start_flood(self, server):
        """Start a process that sends packets as fast as they are taken, and return once answers have come."""
        with contextlib.ExitStack() as running:

            def start(packet: bytes) -> subprocess.Popen[bytes]:
                command = [sys.executable, "-c", FLOOD, server.host, str(server.port), packet.hex()]
                flood = subprocess.Popen(command, stdout=subprocess.PIPE)
                running.callback(flood.communicate)
                running.callback(flood.kill)
                assert flood.stdout is not None
                assert flood.stdout.readline() == b"flooding\n"
                return flood

            yield start

    @pytest.mark.parametrize(
        "packet",
        [
            pytest.param(request_bytes(PacketType.ECHO_REQ, b"e" * 20), id="echoes"),
            pytest.param(request_bytes(PacketType.SUBMIT_JOB_BG, b"flood\0\0" + b"w" * 100), id="background jobs"),
            pytest.param(request_bytes(PacketType.GET_STATUS, b"H:none:1"), id="questions after a status"),
            pytest.param(b"version\n", id="text commands"),
        ],
    )
    async def test_one_that_floods_does_not_starve_the_others(self, start_flood, new_client, new_worker, packet):
        """Sixty jobs get done beside the flood, one after the other, each in well under a second."""
        flood = await asyncio.to_thread(start_flood, packet)
        async with asyncio.timeout(30):
            for round_number in range(3):
                await serves(new_client, new_worker, b"beside-%d" % round_number)
        assert flood.poll() is None


FLOOD = """
import select, socket, sys
peer = socket.create_connection((sys.argv[1], int(sys.argv[2])))
peer.setblocking(False)
data = bytes.fromhex(sys.argv[3]) * 2000
position = 0
said = False
while True:
    readable, writable, _ = select.select([peer], [peer], [])
    if readable and not peer.recv(1 << 20):
        sys.exit("the server closed the connection")
    if readable and not said:
        print("flooding", flush=True)
        said = True
    if writable:
        position = (position + peer.send(data[position:])) % len(data)
"""


class TestManyConnections:
    async def test_ten_thousand_idle_connections_do_not_keep_the_server_from_serving(
        self, server, new_client, new_worker
    ):
        """They come from several addresses, so that no port is needed twice."""
        before = procfs.resident_bytes(server.pid)
        with contextlib.ExitStack() as idle:
            for number in range(10_000):
                source = f"127.0.0.{2 + number // 2_500}"
                idle.enter_context(
                    socket.create_connection((server.host, server.port), PATIENCE, source_address=(source, 0))
                )
            await serves(new_client, new_worker, b"others")
            assert procfs.open_descriptors(server.pid) > 10_000
            assert procfs.resident_bytes(server.pid) - before < 250 * MEBIBYTE
        await serves(new_client, new_worker, b"afterwards")

    async def test_descriptors_are_given_back(self, server, connect):
        operator = await connect()
        await operator.expect_nothing()
        before = procfs.open_descriptors(server.pid)
        for _ in range(5):
            peers = [socket.create_connection((server.host, server.port), PATIENCE) for _ in range(200)]
            for peer in peers:
                peer.sendall(b"version\n")
                assert peer.recv(100)
                peer.close()
        for _ in range(100):
            await operator.expect_nothing()
            if procfs.open_descriptors(server.pid) <= before + 5:
                break
        assert procfs.open_descriptors(server.pid) <= before + 5
