"""How a node learns that the process at the other end of a link has ended, and what does not mean that."""

import asyncio

import pytest

from cluster.mesh import Address, liveness
from cluster.mesh.seal import Seal
from tests.cluster.mesh.nodes import eventually


class TestAnEndedProcess:
    async def test_is_told_at_once_after_a_goodbye(self, nodes):
        one, two = await nodes.pair()
        await two.mesh.close()
        await one.told_of("ended", "b")
        assert one.told == [("up", "b"), ("down", "b"), ("ended", "b")]
        assert one.goodbyes == 1

    async def test_is_told_when_its_host_has_closed_the_liveness_connection_and_refuses_connections(self, nodes):
        one, two = await nodes.pair()
        await two.die()
        await one.told_of("ended", "b")
        assert one.told == [("up", "b"), ("down", "b"), ("ended", "b")]
        assert one.proofs == [("b", "b-1")]
        assert one.goodbyes == 0

    async def test_is_told_when_its_host_has_closed_that_connection_and_it_does_not_come_back(self, nodes, monkeypatch):
        """A container's address is gone with its process: nothing refuses connections there."""
        monkeypatch.setattr("cluster.mesh.processes.RETURN", 0.2)
        one, two = await nodes.pair()
        one.mesh._dialler.dial = one.mesh._dialler.lost = lambda *args, **named: None
        await two.die()
        await one.told_of("down", "b")
        assert one.proofs == []
        await one.told_of("ended", "b")

    async def test_is_not_told_when_the_link_was_reset_though_its_address_refuses_connections(self, nodes):
        """A firewall that rejects what it is sent does both."""
        one, two = await nodes.pair()
        two.mesh._reception.stop()
        for node in (one, two):
            node.mesh._dialler.dial = lambda *args, **named: None
        two.mesh._dialler.lost = lambda *args, **named: None
        two.break_link(one)
        await one.told_of("down", "b")
        await one.until(lambda: len(one.doubts) >= 3)
        assert one.proofs == []

    async def test_is_told_when_it_ends_long_after_its_link_was_lost(self, nodes):
        """It was frozen, or cut off, and is killed then."""
        one, two = await nodes.pair()
        for node in (one, two):
            node.mesh._dialler.dial = node.mesh._dialler.lost = lambda *args, **named: None
        connection = two.watched(one)
        two.break_link(one)
        await one.told_of("down", "b")
        one.mesh.host_refuses(Address("127.0.0.1", two.port))
        assert one.proofs == []
        connection._transport.abort()
        await one.told_of("ended", "b")

    async def test_is_doubted_at_once_when_its_host_has_closed_the_liveness_connection(self, nodes):
        """So that an election need not wait: there, a wrong guess costs nothing."""
        one, two = await nodes.pair()
        one.mesh._dialler.dial = one.mesh._dialler.lost = lambda *args, **named: None
        await two.die()
        await one.told_of("down", "b")
        await one.until(lambda: one.doubts == ["b"])

    async def test_is_told_once_for_a_loss_however_long_the_node_is_away(self, nodes):
        one, two = await nodes.pair()
        port = two.port
        await two.mesh.close()
        await one.told_of("ended", "b")
        await asyncio.sleep(0.2)
        again = await nodes.start("b", instance="b-2", port=port)
        await one.linked(again)
        assert one.told == [("up", "b"), ("down", "b"), ("ended", "b"), ("up", "b")]

    async def test_is_told_when_another_process_of_the_node_answers(self, nodes):
        one, two = await nodes.pair()
        port = two.port
        one.mesh._dialler.lost = lambda node, held: None
        await two.die()
        again = await nodes.start("b", instance="b-2", port=port)
        again.dial(one)
        await one.told_times(2, "up", "b")
        assert one.told == [("up", "b"), ("down", "b"), ("ended", "b"), ("up", "b")]

    async def test_is_not_told_where_a_node_is_not_what_it_seems_behind_address_translation(self, nodes):
        one = await nodes.start("a")
        two = await nodes.start("b")
        # As seen through a translating router: b says it is at another address than the one it seems to come from.
        two.mesh._listens_at = "192.0.2.7"
        one.mesh._dialler.dial = lambda *args, **named: None
        two.dial(one)
        await one.linked(two)
        assert one.link(two).evidence is None


class TestALivingProcess:
    async def test_is_not_taken_for_ended_when_something_between_closes_the_liveness_connection(
        self, nodes, monkeypatch
    ):
        monkeypatch.setattr("cluster.mesh.processes.RETURN", 0.1)
        one, two = await nodes.pair()
        for _ in range(3):
            before = one.watched(two)
            other = two.watched(one)
            other._transport.abort()
            await eventually(lambda before=before: one.watched(two) not in (None, before))
            await eventually(lambda other=other: two.watched(one) not in (None, other))
        assert one.told == [("up", "b")]
        assert one.proofs == two.proofs == []

    async def test_is_not_taken_for_ended_when_its_link_breaks_long_after_that(self, nodes, monkeypatch):
        monkeypatch.setattr("cluster.mesh.processes.RETURN", 0.1)
        one, two = await nodes.pair()
        before = one.watched(two)
        two.watched(one)._transport.abort()
        await eventually(lambda: one.watched(two) not in (None, before))
        two.mesh._reception.stop()
        two.mesh._dialler.dial = two.mesh._dialler.lost = lambda *args, **named: None
        two.break_link(one)
        await one.told_of("down", "b")
        await one.until(lambda: len(one.doubts) >= 2)
        assert one.proofs == []

    async def test_resets_the_liveness_connection_when_it_ends_a_link(self, nodes):
        """In good order is how the host of an ended process closes it."""
        one, two = await nodes.pair()
        one.mesh._dialler.dial = one.mesh._dialler.lost = lambda *args, **named: None
        two.mesh.refuse("a", "its clock is 40 s ahead")
        await one.told_of("down", "b")
        assert one.proofs == []
        assert one.doubts == []


class TestALivenessConnection:
    async def test_is_opened_once_at_a_time_whatever_the_other_end_asks_for(self, nodes):
        """A peer could make a node open connections without end."""
        one, two = await nodes.pair()
        link, process = one.link(two), one.mesh._processes._linked["b"]
        opened = []
        one.mesh._processes._open_connection = lambda *args: opened.append(args) or asyncio.sleep(60)
        for _ in range(200):
            one.mesh._processes.wanted(link, liveness.make_nonce())
        await asyncio.sleep(0)
        assert len(opened) == 1
        assert len(one.mesh._processes._openings) == 1
        assert process.opening

    async def test_that_its_opener_gave_up_is_no_proof(self, nodes, monkeypatch):
        """The opener ran out of time after the other end had taken the connection."""
        monkeypatch.setattr("cluster.mesh.liveness.LivenessConnection.confirm", lambda self: None)
        monkeypatch.setattr("cluster.mesh.processes.RETURN", 0.1)
        one, two = await nodes.pair()
        process = two.mesh._processes._linked["a"]
        before = process.connection
        one.watched(two)._transport.abort()
        await eventually(lambda: two.watched(one) not in (None, before))
        assert not process.host_closed
        assert two.proofs == []

    async def test_is_opened_by_the_end_that_dialled(self, nodes):
        one, two = await nodes.pair()
        assert one.mesh.peers["b"].dialled
        assert one.watched(two)._transport.get_extra_info("peername")[1] == two.port

    @pytest.mark.parametrize("header", ["", "zz", "00" * 16, "00" * 32, "00" * 5000])
    async def test_that_nobody_asked_for_is_refused(self, nodes, header):
        one, two = await nodes.pair()
        connection = await two.mesh._dialler.open_liveness(Address("127.0.0.1", one.port), header, lambda *_: None)
        if connection is not None:
            await connection.closed
        assert one.told == [("up", "b")]

    async def test_of_somebody_who_saw_the_nonce_and_has_no_key_is_refused(self, nodes):
        one, two = await nodes.pair()
        process = two.mesh._processes._linked["a"]
        two.mesh._processes._ask(process)
        nonce = process.nonce
        seal = Seal(b"another key")
        connection = await one.mesh._dialler.open_liveness(
            Address("127.0.0.1", two.port), liveness.header(nonce, seal), lambda *_: None
        )
        if connection is not None:
            await connection.closed
        assert process.connection is None or process.connection is not connection
        assert two.proofs == []

    async def test_ends_when_anything_is_sent_on_it(self, nodes, monkeypatch):
        monkeypatch.setattr("cluster.mesh.processes.RETURN", 0.1)
        one, two = await nodes.pair()
        before = two.watched(one)
        one.watched(two)._transport.write(b"x" * 100_000)
        await eventually(lambda: two.watched(one) not in (None, before))
        assert one.told == [("up", "b")]
