"""What those can do who do not know the secret, or stand between two nodes: nothing but a line in the log."""

import asyncio
import contextlib

import aiohttp
import pytest

from cluster.mesh import Introduction, Lane
from cluster.mesh.connection import Connection
from cluster.mesh.dialling import _Upgraded
from cluster.mesh.errors import MeshError
from cluster.mesh.handshake import Handshake, Proof, Role, Standing, Versions, decode, encode, stretch
from cluster.mesh.reception import PATH
from tests.cluster.mesh.nodes import DEFAULT, QUICK, SECRET, changed, eventually, raw, refusals

KEY = stretch(SECRET, "tests")


def reasons(logs):
    return [line["reason"] for line in refusals(logs)]


@contextlib.asynccontextmanager
async def stranger(node):
    """Open a link's connection to a node, as far as the WebSocket."""
    async with (
        aiohttp.ClientSession(ws_response_class=_Upgraded) as session,
        session.ws_connect(f"http://127.0.0.1:{node.port}{PATH}", autoping=False) as upgraded,
    ):
        connection = Connection(upgraded.transport, Role.DIALLER, QUICK)
        try:
            yield connection
        finally:
            connection.abort()
            await connection.closed


def as_dialler(key=KEY, node="x", nonce=b"n" * 32, **named):
    return Handshake(Role.DIALLER, Introduction(node, "x-name", "tests", 1, "x-1", "0"), key=key, nonce=nonce, **named)


async def ended(connection):
    """Wait until the other end has closed, and give what it said before."""
    said = []
    async with asyncio.timeout(10):
        try:
            while True:
                said.append(decode(await connection.receive()))
        except MeshError:
            return said


class TestAStranger:
    async def test_with_a_wrong_secret_is_told_and_logged_and_has_no_link(self, nodes, logs):
        one = await nodes.start("a")
        two = await nodes.start("b", secret=b"another")
        two.dial(one)
        await eventually(lambda: len(refusals(logs)) >= 2)
        told = sorted(reasons(logs)[:2])
        assert told == ["its proof is wrong: the two nodes do not have the same cluster secret"] * 2
        assert one.told == []
        assert two.told == []

    async def test_without_a_secret_is_refused_with_a_message_on_both_sides(self, nodes, logs):
        one, two = await nodes.start("a"), await nodes.start("b", secret=None)
        two.dial(one)
        await eventually(lambda: len(refusals(logs)) >= 2)
        assert any("this node has a cluster secret and the other is insecure" in reason for reason in reasons(logs))
        assert any("the other node has a cluster secret" in reason for reason in reasons(logs))
        assert one.told == two.told == []

    async def test_of_another_cluster_is_refused_with_a_message_on_both_sides(self, nodes, logs):
        one, two = await nodes.start("a"), await nodes.start("b", cluster="others")
        two.dial(one)
        await eventually(lambda: len(refusals(logs)) >= 2)
        assert sorted(reasons(logs)[:2]) == [
            "it belongs to cluster 'others', this node to 'tests'",
            "it belongs to cluster 'tests', this node to 'others'",
        ]

    async def test_of_a_version_that_is_not_spoken_is_refused_with_a_message_that_names_both(self, nodes, logs):
        one = await nodes.start("a")
        async with stranger(one) as connection:
            connection.write(b"", as_dialler(versions=Versions(7, 9)).hello)
            await ended(connection)
        (reason,) = reasons(logs)
        assert "speaks 1, " in reason
        assert "speaks 7 to 9" in reason

    async def test_with_the_nodes_own_id_is_refused_as_a_copy(self, nodes, logs):
        one, two = await nodes.start("a"), await nodes.start("a", instance="a-2")
        two.dial(one)
        await eventually(lambda: len(refusals(logs)) >= 2)
        assert all("it has this node's own id a" in reason for reason in reasons(logs))

    async def test_with_the_id_of_a_linked_node_is_refused_as_a_copy_and_the_link_stays(self, nodes, logs):
        one, two = await nodes.pair(timing=changed(QUICK, ping=0.05, dead=5))
        for name in ("a", "b"):
            copy = await nodes.start(name, instance="copy")
            copy.dial(one if name == "b" else two)
            await eventually(lambda: any("was copied" in reason for reason in reasons(logs)))
        await asyncio.sleep(0.3)
        assert one.told == [("up", "b")]
        assert two.told == [("up", "a")]

    async def test_that_repeats_what_it_has_heard_is_refused(self, nodes, logs):
        one = await nodes.start("a")
        honest = as_dialler()
        async with stranger(one) as connection:
            connection.write(b"", honest.hello)
            honest.meet(await connection.receive())
            recorded = honest.prove(Standing())
            connection.write(b"", recorded)
            honest.check(await connection.receive())
        await one.told_of("down", "x")
        async with stranger(one) as connection:
            connection.write(b"", honest.hello)
            await connection.receive()
            connection.write(b"", recorded)
            (refusal,) = await ended(connection)
        assert "its proof is wrong" in refusal.reason
        assert one.told.count(("up", "x")) == 1

    async def test_that_sends_a_nodes_own_proof_back_is_refused(self, nodes, logs):
        one = await nodes.start("a")
        async with stranger(one) as first, stranger(one) as second:
            # The attacker has no secret. It lets the node talk to itself over two connections, as far as that goes.
            first.write(b"", as_dialler(key=KEY).hello)
            hello = decode(await first.receive())
            second.write(b"", encode(changed(hello, introduction=changed(hello.introduction, node="y"))))
            await second.receive()
            second.write(b"", encode(Proof(b"m" * 32, Standing())))
            await ended(second)
            first.write(b"", encode(hello))
            await ended(first)
        assert one.told == []

    async def test_that_answers_a_dialler_with_its_own_words_is_refused(self, nodes, logs):
        one = await nodes.start("a")
        got = []

        async def echo(reader, writer):
            got.append(await reader.readuntil(b"\r\n\r\n"))
            writer.close()

        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        one.mesh.dial(*server.sockets[0].getsockname())
        await eventually(lambda: got)
        server.close()
        await server.wait_closed()
        assert one.told == []


class TestAManInTheMiddle:
    @pytest.mark.parametrize("what", ["changed", "repeated", "made up", "cut short"])
    async def test_breaks_the_link_and_gets_nothing_through(self, nodes, what, logs):
        one, two = await nodes.pair()
        link = one.link(two)
        write = link.connection.write

        def tampered(tag, body):
            link.connection.write = write
            match what:
                case "changed":
                    write(tag, body[:-1] + b"!")
                case "repeated":
                    write(tag, body)
                    write(tag, body)
                case "made up":
                    write(b"t" * 16, body)
                case "cut short":
                    write(b"", body[:8])

        link.connection.write = tampered
        one.send(two, b"pay 1")
        await two.told_of("down", "a")
        assert [data for _, _, data in two.got] == ([b"pay 1"] if what == "repeated" else [])
        downs = [line["reason"] for line in logs if line["event"] == "link_down"]
        assert "a frame was changed, repeated or made up on its way" in downs


class TestBeforeTheProof:
    async def test_a_long_frame_ends_the_connection(self, nodes, logs):
        one = await nodes.start("a")
        async with stranger(one) as connection:
            connection.write(b"", b"x" * 5000)
            await connection.closed
        assert reasons(logs) == ["it sent a frame of 5000 bytes, where 4096 is the limit"]

    async def test_a_flood_is_not_kept(self, nodes):
        one = await nodes.start("a")
        async with stranger(one) as connection:
            connection.write(b"", b"x" * 4000)
            connection.transport.write(b"y" * 50_000_000)
            (arrival,) = one.mesh._reception._arrivals.values()
            await connection.closed
        assert arrival.transport.is_closing()

    async def test_who_says_nothing_is_hung_up_on_after_the_deadline(self, nodes, logs):
        one = await nodes.start("a", timing=changed(QUICK, handshake=0.2))
        async with raw(one.port) as (reader, _):
            assert await reader.read() == b""
        assert reasons(logs) == ["it has proven nothing in 0.2 s"]

    async def test_who_speaks_slowly_is_hung_up_on_after_the_deadline(self, nodes, logs):
        one = await nodes.start("a", timing=changed(QUICK, handshake=0.2))
        async with raw(one.port) as (reader, writer):
            # uvloop has an error of its own for writing to what is closed.
            with contextlib.suppress(ConnectionError, RuntimeError):
                for letter in f"GET {PATH} HTTP/1.1\r\nHost: gearmesh.example.org\r\n".encode() * 3:
                    writer.write(bytes([letter]))
                    await asyncio.sleep(0.01)
            with contextlib.suppress(ConnectionError):
                await reader.read()
        assert reasons(logs) == ["it has proven nothing in 0.2 s"]

    async def test_who_speaks_slowly_as_a_node_is_hung_up_on_after_the_deadline(self, nodes, logs):
        one = await nodes.start("a", timing=changed(QUICK, handshake=0.2))
        async with stranger(one) as connection:
            connection.write(b"", as_dialler().hello)
            await connection.receive()
            await connection.closed
        assert reasons(logs) == ["it has proven nothing in 0.2 s"]

    @pytest.mark.parametrize("garbage", [b"\x00" * 100, bytes(range(256)) * 50, b"GET / HTTP/1.1\r\n" + b"a" * 9000])
    async def test_garbage_ends_the_connection_with_a_line_in_the_log(self, nodes, garbage, logs):
        one = await nodes.start("a", timing=changed(QUICK, handshake=0.5))
        async with raw(one.port) as (reader, writer):
            writer.write(garbage)
            with contextlib.suppress(ConnectionError):
                await reader.read()
        await eventually(lambda: reasons(logs))
        assert len(reasons(logs)) == 1

    async def test_plain_http_is_told_what_this_port_is_for(self, nodes, logs):
        one = await nodes.start("a")
        async with aiohttp.ClientSession() as session:
            for method, path in (("GET", "/"), ("POST", PATH), ("GET", PATH)):
                async with session.request(method, f"http://127.0.0.1:{one.port}{path}") as answer:
                    assert answer.status == 426
                    assert "links between gearmesh nodes" in await answer.text()
        await eventually(lambda: reasons(logs))
        assert reasons(logs) == ["it speaks HTTP, but is no node"]

    async def test_words_in_the_wrong_order_end_the_connection(self, nodes):
        one = await nodes.start("a")
        for words in (b"", b"\x80", encode(Proof(b"", Standing()))):
            async with stranger(one) as connection:
                connection.write(b"", words)
                assert await ended(connection) == []


class TestManyStrangers:
    async def test_are_held_to_a_number_for_each_host_and_in_all(self, nodes, logs):
        limits = changed(DEFAULT, unproven=20, unproven_per_host=16)
        one = await nodes.start("a", limits=limits, timing=changed(QUICK, handshake=2.0))
        most = 0
        async with contextlib.AsyncExitStack() as stack:
            for number in range(200):
                source = "127.0.0.2" if number % 2 else "127.0.0.3"
                await stack.enter_async_context(raw(one.port, source=source))
                most = max(most, one.mesh._reception.unproven)
            assert most <= 20
            # A node is let in all the same, and at once: those who hold most places make room.
            two = await nodes.start("b")
            two.dial(one)
            await one.linked(two)
        assert len(refusals(logs)) < 10

    async def test_who_fail_again_and_again_are_not_let_in_at_once(self, nodes):
        limits = changed(DEFAULT, unproven_per_host=3)
        one = await nodes.start("a", limits=limits, timing=changed(QUICK, penalty=0.3))
        for _ in range(3):
            async with raw(one.port) as (reader, writer):
                writer.write(b"garbage\r\n\r\n")
                await reader.read()
        async with raw(one.port) as (reader, _):
            assert await reader.read() == b""
        await eventually(lambda: one.mesh._reception.unproven == 0)
        two = await nodes.start("b")
        two.dial(one)
        await one.linked(two)

    async def test_leave_nothing_behind(self, nodes):
        one = await nodes.start("a")
        for _ in range(50):
            async with raw(one.port) as (_, writer):
                writer.write(b"garbage\r\n\r\n")
        await eventually(lambda: not one.mesh._reception._arrivals)
        await eventually(lambda: one.mesh._reception.unproven == 0)
        assert not one.mesh._reception._openings


class TestALinkedPeerThatIsWrong:
    async def test_loses_its_link_for_a_frame_that_is_too_long(self, nodes, logs):
        one, two = await nodes.pair()
        two.link(one).connection.write(b"", bytes(1_000_000))
        await one.told_of("down", "b")
        assert any("frame of 1000000 bytes" in str(line.get("reason")) for line in logs)

    async def test_may_mask_its_frames_as_any_websocket_client_does(self, nodes):
        one, two = await nodes.pair()
        link = one.link(two)
        link._outbox.put(Lane.CONSENSUS, b"masked")
        body = link._outbox.next_frame()
        frame, mask = link._outgoing.tag(body) + body, b"\x01\xfe\x33\x80"
        masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(frame))
        link.connection.transport.write(bytes((0x82, 0x80 | len(frame))) + mask + masked)
        await two.has_got(1)
        assert two.got == [("a", Lane.CONSENSUS, b"masked")]
