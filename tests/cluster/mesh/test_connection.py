"""WebSocket frames over a transport that a test plays."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.mesh.connection import Connection
from cluster.mesh.errors import ClosedError, ProtocolError
from cluster.mesh.handshake import Role
from cluster.mesh.settings import Timing


class Transport(asyncio.Transport):
    """Keeps what is written and says what it was told to do."""

    def __init__(self):
        super().__init__({"sockname": ("::ffff:192.0.2.1", 1, 0, 0), "peername": ("2001:db8::1", 2, 0, 0)})
        self.written = b""
        self.protocol = asyncio.Protocol()
        self.aborted = False
        self.reading = True

    def get_protocol(self):
        return self.protocol

    def set_protocol(self, protocol):
        self.protocol = protocol

    def set_write_buffer_limits(self, high=None, low=None):
        pass

    def write(self, data):
        self.written += data

    def is_closing(self):
        return self.aborted

    def abort(self):
        self.aborted = True

    close = abort

    def pause_reading(self):
        self.reading = False

    def resume_reading(self):
        self.reading = True


class Handler:
    def __init__(self):
        self.frames = []
        self.error = None
        self.room = 0

    def frame_received(self, frame):
        self.frames.append(frame)

    def writable(self):
        self.room += 1

    def connection_ended(self, error):
        assert self.error is None
        self.error = error


@pytest.fixture
async def transport():
    return Transport()


async def opened(transport, role=Role.ACCEPTOR):
    connection, handler = Connection(transport, role, Timing()), Handler()
    connection.open(handler)
    await asyncio.sleep(0)
    return connection, handler


def frames_of(*bodies, role=Role.DIALLER):
    """Give the bytes in which one end sends these."""

    async def write():
        transport = Transport()
        connection = Connection(transport, role, Timing())
        for body in bodies:
            connection.write(body[:16], body[16:])
        return transport.written

    return asyncio.run(write())


class TestFrames:
    @given(
        st.lists(st.sampled_from([0, 1, 125, 126, 127, 65535, 65536, 100_000]), max_size=6),
        st.lists(st.integers(1, 70_000), max_size=20),
        st.sampled_from(Role),
    )
    def test_come_out_as_they_went_in_however_they_are_cut(self, sizes, cuts, role):
        bodies = [bytes([number]) * size for number, size in enumerate(sizes)]
        data = frames_of(*bodies, role=role)

        async def read():
            _, handler = await opened(transport := Transport(), role.other)
            rest = data
            for cut in cuts:
                transport.protocol.data_received(rest[:cut])
                rest = rest[cut:]
            transport.protocol.data_received(rest)
            return handler.frames

        assert asyncio.run(read()) == bodies

    async def test_come_out_when_each_byte_comes_alone(self, transport):
        _, handler = await opened(transport)
        for byte in b"\x82\x03abc\x82\x00\x82\x7e\x00\x02hi":
            transport.protocol.data_received(bytes([byte]))
        assert handler.frames == [b"abc", b"", b"hi"]

    async def test_that_came_before_the_handler_are_handed_to_it_first(self, transport):
        connection, handler = Connection(transport, Role.ACCEPTOR, Timing()), Handler()
        transport.protocol.data_received(b"\x82\x01a\x82\x01b\x82\x01c")
        assert await connection.receive() == b"a"
        connection.open(handler)
        await asyncio.sleep(0)
        assert handler.frames == [b"b", b"c"]

    @pytest.mark.parametrize(
        "data",
        [b"\x81\x01a", b"\x02\x01a", b"\x00\x01a", b"\x89\x00", b"\x8a\x00", b"\xc2\x01a", b"GET ", b"\xff\xff"],
    )
    async def test_of_any_other_kind_end_the_connection(self, transport, data):
        _, handler = await opened(transport)
        transport.protocol.data_received(b"\x82\x01a" + data)
        assert handler.frames == [b"a"]
        assert isinstance(handler.error, ProtocolError)
        assert transport.aborted

    async def test_that_claim_to_be_endless_end_the_connection_before_they_are_kept(self, transport):
        _, handler = await opened(transport)
        transport.protocol.data_received(b"\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff")
        assert isinstance(handler.error, ProtocolError)

    async def test_that_close_end_the_connection(self, transport):
        _, handler = await opened(transport)
        transport.protocol.data_received(b"\x88\x00\x82\x01a")
        assert isinstance(handler.error, ClosedError)
        assert handler.frames == []


class TestAHandshakesFrames:
    async def test_are_waited_for(self, transport):
        connection = Connection(transport, Role.ACCEPTOR, Timing())
        waiting = asyncio.ensure_future(connection.receive())
        await asyncio.sleep(0)
        transport.protocol.data_received(b"\x82\x02")
        await asyncio.sleep(0)
        assert not waiting.done()
        transport.protocol.data_received(b"hi")
        assert await waiting == b"hi"

    async def test_are_not_read_in_stock(self, transport):
        connection = Connection(transport, Role.ACCEPTOR, Timing())
        transport.protocol.data_received(b"\x82\x02hi" + bytes(5000))
        assert not transport.reading
        assert await connection.receive() == b"hi"
        with pytest.raises(ProtocolError):
            await connection.receive()

    async def test_end_with_the_connection(self, transport):
        connection = Connection(transport, Role.ACCEPTOR, Timing())
        waiting = asyncio.ensure_future(connection.receive())
        await asyncio.sleep(0)
        transport.protocol.connection_lost(None)
        with pytest.raises(ClosedError):
            await waiting
        with pytest.raises(ClosedError):
            await connection.receive()


class TestAConnection:
    async def test_knows_both_addresses_as_people_write_them(self, transport):
        connection = Connection(transport, Role.ACCEPTOR, Timing())
        assert connection.local_host == "192.0.2.1"
        assert connection.host == "2001:db8::1"

    async def test_tells_when_there_is_room_again(self, transport):
        connection, handler = await opened(transport)
        transport.protocol.pause_writing()
        assert connection.congested
        transport.protocol.resume_writing()
        assert not connection.congested
        assert handler.room == 1

    async def test_tells_its_end_once(self, transport):
        connection, handler = await opened(transport)
        connection.end(ProtocolError("for a test"))
        transport.protocol.connection_lost(None)
        assert str(handler.error) == "for a test"
        assert connection.closed.done()

    async def test_that_ended_before_it_had_a_handler_tells_the_handler(self, transport):
        connection, handler = Connection(transport, Role.ACCEPTOR, Timing()), Handler()
        connection.open(handler)
        transport.protocol.connection_lost(OSError("reset"))
        await asyncio.sleep(0)
        assert "reset" in str(handler.error)

    async def test_that_ended_before_it_got_a_handler_tells_the_handler(self, transport):
        connection, handler = Connection(transport, Role.ACCEPTOR, Timing()), Handler()
        transport.protocol.connection_lost(None)
        connection.open(handler)
        await asyncio.sleep(0)
        assert isinstance(handler.error, ClosedError)

    async def test_writes_nothing_when_it_is_closing(self, transport):
        connection, _ = await opened(transport)
        connection.abort()
        connection.write(b"", b"late")
        assert transport.written == b""
