"""Big messages, full queues and slow peers: what is held up by what, told by the order of events."""

import asyncio
import os
import socket

from cluster.mesh import Lane
from cluster.mesh.settings import MAX_MESSAGE
from tests.cluster.mesh.nodes import DEFAULT, QUICK, SMALL, eventually

MIB = 1024 * 1024


class TestABigMessage:
    async def test_does_not_hold_up_messages_of_other_lanes_that_are_sent_after_it(self, nodes):
        one, two = await nodes.pair()
        big = os.urandom(32 * MIB)
        assert one.send(two, big, Lane.REPORTS)
        arriving = two.link(one)._inbox._sizes
        await eventually(lambda: arriving[Lane.REPORTS] > 0)
        one.send(two, b"heartbeat", Lane.CONSENSUS)
        one.send(two, b"piece", Lane.SNAPSHOTS)
        await two.has_got(3)
        assert two.got[:2] == [("a", Lane.CONSENSUS, b"heartbeat"), ("a", Lane.SNAPSHOTS, b"piece")]
        assert two.got[2] == ("a", Lane.REPORTS, big)

    async def test_lets_each_of_many_messages_of_consensus_pass_as_it_is_sent(self, nodes):
        one, two = await nodes.pair()
        one.send(two, bytes(32 * MIB), Lane.REPORTS)
        # Each is sent when the one before has been answered: many go to and fro while the big one is on its way.
        two.on_received = lambda node, lane, data: lane is Lane.CONSENSUS and two.mesh.send(node, lane, data)
        one.on_received = one.mesh.send
        one.send(two, b"ping")
        await two.until(lambda: two.got and two.got[-1][1] is Lane.REPORTS)
        assert len(two.got) > 20

    async def test_keeps_its_place_in_its_own_lane(self, nodes):
        one, two = await nodes.pair()
        sizes = [10, 3 * MIB, 20, 200_000, 30]
        for size in sizes:
            one.send(two, bytes(size), Lane.REPORTS)
        await two.has_got(len(sizes))
        assert [len(data) for _, _, data in two.got] == sizes

    async def test_may_be_as_long_as_the_limit_and_no_longer(self, nodes):
        one, two = await nodes.pair(limits=SMALL)
        assert not one.send(two, bytes(SMALL.max_message + 1), Lane.SNAPSHOTS)
        for lane in Lane:
            assert one.send(two, bytes(SMALL.max_message), lane)
        await two.has_got(3)

    async def test_is_one_of_the_log_or_the_report_of_a_larger_result(self, nodes):
        one, two = await nodes.pair()
        entry, result = bytes(MAX_MESSAGE), bytes(64 * MIB + 1000)
        assert one.send(two, entry, Lane.ENTRIES)
        assert one.send(two, result, Lane.REPORTS)
        await two.has_got(2)
        assert sorted(two.got) == [("a", Lane.REPORTS, result), ("a", Lane.ENTRIES, entry)]

    async def test_that_is_too_long_is_an_error_that_somebody_sees(self, nodes, logs):
        one, two = await nodes.pair()
        assert not one.send(two, bytes(MAX_MESSAGE + 1), Lane.ENTRIES)
        (line,) = [line for line in logs if line["event"] == "message_dropped"]
        assert (line["log_level"], line["node"], line["lane"]) == ("error", "b", "entries")
        assert (line["bytes"], line["limit"]) == (MAX_MESSAGE + 1, MAX_MESSAGE)

    async def test_that_is_longer_than_the_peer_takes_costs_the_link(self, nodes, logs):
        one, two = await nodes.start("a"), await nodes.start("b", limits=SMALL)
        one.dial(two)
        await one.linked(two)
        one.send(two, bytes(SMALL.max_message + 1), Lane.REPORTS)
        await two.told_of("down", "a")
        assert any(f"a message is longer than {SMALL.max_message} bytes" in str(line.get("reason")) for line in logs)


class TestAPeerThatDoesNotRead:
    async def test_fills_a_lane_and_then_send_is_false_for_that_lane_alone(self, nodes):
        one, two = await nodes.pair(limits=SMALL)
        reading = two.link(one).connection.transport
        reading.pause_reading()
        # The kernel takes some, then the transport, then the lane.
        sent = 0
        while one.send(two, bytes(60_000), Lane.REPORTS):
            sent += 1
            await asyncio.sleep(0)
        assert one.mesh.waiting("b", Lane.REPORTS) <= SMALL.reports
        assert one.link(two).connection.transport.get_write_buffer_size() < 512 * 1024
        assert one.send(two, b"heartbeat", Lane.CONSENSUS)
        assert one.send(two, b"piece", Lane.SNAPSHOTS)
        reading.resume_reading()
        await two.has_got(sent + 2)
        lanes = [lane for _, lane, _ in two.got]
        # What waited here was overtaken; what the kernel had already was not.
        assert lanes.index(Lane.CONSENSUS) < len(lanes) - 3
        assert one.mesh.waiting("b", Lane.REPORTS) == 0

    async def test_does_not_make_the_kernel_keep_a_long_queue(self, nodes):
        one, two = await nodes.pair()
        sock = one.link(two).connection.transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == 128 * 1024


class TestAPeerWhoseHostIsDead:
    async def test_is_known_to_the_kernel_of_both_ends_for_as_long_as_silence_is_borne(self, nodes):
        one, two = await nodes.pair()
        for link in (one.link(two), two.link(one)):
            sock = link.connection.transport.get_extra_info("socket")
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == QUICK.dead * 1000


class TestDefaults:
    def test_are_bounds_of_each_lane(self):
        assert DEFAULT.lanes() == (8 * MIB, 192 * MIB, 4 * MIB, 96 * MIB)
        assert DEFAULT.longest() == (4 * MIB, 528 * MIB, 4 * MIB, 4 * MIB)
