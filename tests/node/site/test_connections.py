"""Strangers who are slow, silent or many, and the end of the site."""

import asyncio
import socket

from node.site import Site
from tests.harness.conditions import eventually
from tests.node.site.scenery import SECRET, TABLE, FakeNode, bound


async def stranger(port: int, said: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(said)
    return reader, writer


async def is_cut_off(reader: asyncio.StreamReader) -> bool:
    async with asyncio.timeout(10):
        try:
            while await reader.read(65536):
                pass
        except ConnectionError:
            pass
        return True


class TestAConnection:
    async def test_that_says_nothing_is_cut_off(self, opened):
        visitor = await opened(patience=0.1)
        reader, writer = await stranger(visitor.port)
        assert await is_cut_off(reader)
        writer.close()

    async def test_that_never_comes_to_an_end_is_cut_off(self, opened):
        visitor = await opened(patience=0.1)
        reader, writer = await stranger(visitor.port, b"GET /livez HTTP/1.1\r\nHost: h\r\nX: ")

        async def go_on() -> None:
            while not writer.is_closing():
                writer.write(b"x")
                await asyncio.sleep(0.01)

        dripping = asyncio.ensure_future(go_on())
        assert await is_cut_off(reader)
        dripping.cancel()
        writer.close()

    async def test_whose_body_never_comes_is_cut_off(self, opened, state):
        visitor = await opened(patience=0.1)
        head = b"POST /api/v1/cluster/members HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
        reader, writer = await stranger(visitor.port, head + b"Content-Length: 9\r\n\r\n{")
        assert await is_cut_off(reader)
        assert state.asked == []
        writer.close()

    async def test_that_does_not_read_its_answer_is_cut_off(self, opened, state):
        many = tuple(type(TABLE.by_function[0])(f"f{number}" * 20, 1, 1, 1) for number in range(1000))
        state.table = type(TABLE)(jobs=1, created=1, sessions=1, functions=1000, by_function=many)
        visitor = await opened(patience=0.3)
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.settimeout(0)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(slow, ("127.0.0.1", visitor.port))
            await loop.sock_sendall(slow, b"GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n" * 20)

            async def reset() -> bool:
                try:
                    slow.send(b"\r\n")  # is answered with a reset once nobody is there
                except BlockingIOError:
                    return False
                except ConnectionError:
                    return True
                return False

            assert await eventually(reset)

    async def test_that_goes_on_asking_stays(self, opened):
        visitor = await opened(patience=0.2)
        reader, writer = await stranger(visitor.port)
        for _ in range(20):
            writer.write(b"GET /livez HTTP/1.1\r\nHost: h\r\n\r\n")
            assert (await reader.readuntil(b"live\n")).startswith(b"HTTP/1.1 200")
            await asyncio.sleep(0.02)
        writer.close()


class TestManyConnections:
    async def test_do_not_keep_out_a_question(self, opened):
        visitor = await opened(most_connections=5)
        silent = [await stranger(visitor.port) for _ in range(12)]
        assert (await visitor.get("/livez")).status == 200
        for reader, _ in silent[:7]:
            assert await is_cut_off(reader)
        for _, writer in silent:
            writer.close()

    async def test_that_are_over_leave_their_places(self, opened):
        visitor = await opened(most_connections=3)
        asking, kept = await stranger(visitor.port)
        for _ in range(10):
            reader, writer = await stranger(visitor.port, b"GET /livez HTTP/1.0\r\n\r\n")
            assert (await reader.read(-1)).endswith(b"live\n")
            writer.close()
            await writer.wait_closed()
        kept.write(b"GET /livez HTTP/1.0\r\n\r\n")
        assert (await asking.read(-1)).endswith(b"live\n")
        kept.close()


class TestTheEnd:
    async def test_closes_the_socket_and_what_is_open(self, opened, http):
        site = Site(FakeNode(), secret=SECRET)
        listener = bound()
        port = listener.getsockname()[1]
        await site.start(listener)
        reader, writer = await stranger(port)
        await site.close()
        assert await is_cut_off(reader)
        writer.close()
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0

    async def test_does_not_wait_for_a_change_that_hangs(self):
        state = FakeNode()
        state.stuck = True
        site = Site(state, secret=None)
        listener = bound()
        await site.start(listener)
        head = b"DELETE /api/v1/cluster/members/c HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\r\n"
        reader, writer = await stranger(listener.getsockname()[1], head)

        async def asked() -> bool:
            return bool(state.asked)

        await eventually(asked)
        async with asyncio.timeout(5):
            await site.close()
        assert await is_cut_off(reader)
        writer.close()

    async def test_may_come_before_the_beginning_and_twice(self):
        site = Site(FakeNode(), secret=None)
        await site.close()
        await site.start(bound())
        await site.close()
        await site.close()
