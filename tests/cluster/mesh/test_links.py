"""How links come about, carry messages, and end."""

import asyncio
import contextlib
import itertools
import os
import pathlib
import socket

import pytest

from cluster.mesh import Address, Lane, Mesh, Timing
from tests.cluster.mesh.nodes import DEFAULT, QUICK, bound, changed, eventually


class TestALink:
    async def test_comes_up_on_both_ends(self, nodes):
        one, two = await nodes.pair()
        assert one.mesh.peers["b"].dialled
        assert not two.mesh.peers["a"].dialled
        assert one.mesh.peers["b"].introduction.name == "b-name"

    async def test_tells_each_end_where_the_other_can_be_dialled(self, nodes):
        one, two = await nodes.pair()
        assert one.mesh.peers["b"].address == Address("127.0.0.1", two.port)
        assert two.mesh.peers["a"].address == Address("127.0.0.1", one.port)

    async def test_carries_messages_both_ways_in_the_order_of_their_lane(self, nodes):
        one, two = await nodes.pair()
        sent = [str(number).encode() for number in range(3000)]
        for data in sent:
            assert one.send(two, data)
            assert two.send(one, data, Lane.REPORTS)
        await two.has_got(3000)
        await one.has_got(3000)
        assert two.got == [("a", Lane.CONSENSUS, data) for data in sent]
        assert one.got == [("b", Lane.REPORTS, data) for data in sent]

    async def test_carries_empty_messages_and_ones_of_every_size_around_a_frame(self, nodes):
        one, two = await nodes.pair()
        sizes = [0, 1, 125, 126, 65535, 65536, 65537, 131072, 131073, 1_000_000]
        sent = [os.urandom(size) for size in sizes]
        for data in sent:
            assert one.send(two, data, Lane.REPORTS)
        await two.has_got(len(sent))
        assert [data for _, _, data in two.got] == sent

    async def test_hands_over_what_came_together_without_a_turn_in_between(self, nodes):
        one, two = await nodes.pair()
        turns = []
        loop = asyncio.get_running_loop()
        two.on_received = lambda *_: loop.call_soon(lambda: turns.append(len(two.got)))
        for _ in range(100):
            one.send(two, b"x" * 100)
        await two.has_got(100)
        await eventually(lambda: len(turns) == 100)
        assert set(turns) == {100}

    async def test_can_be_used_from_within_link_up(self, nodes):
        one, two = await nodes.start("a"), await nodes.start("b")
        one.on_up = lambda peer: one.mesh.send(peer.introduction.node, Lane.CONSENSUS, b"from a")
        two.on_up = lambda peer: two.mesh.send(peer.introduction.node, Lane.CONSENSUS, b"from b")
        two.dial(one)
        await one.has_got(1)
        await two.has_got(1)

    async def test_does_not_come_up_where_nobody_listens_until_somebody_does(self, nodes):
        listener = bound()
        port = listener.getsockname()[1]
        listener.close()
        one = await nodes.start("a")
        one.mesh.dial("127.0.0.1", port)
        await asyncio.sleep(0.1)
        two = await nodes.start("b", port=port)
        await one.linked(two)

    async def test_is_not_dialled_again_after_forget(self, nodes):
        one, two = await nodes.start("a"), await nodes.start("b")
        one.dial(two)
        one.mesh.forget("127.0.0.1", two.port)
        three = await nodes.start("c")
        one.dial(three)
        await one.linked(three)
        assert "b" not in one.mesh.peers

    async def test_to_oneself_is_none(self, nodes, logs):
        one = await nodes.start("a")
        one.dial(one)
        (target,) = one.mesh._dialler._targets.values()
        await eventually(lambda: target.own)
        assert one.told == []
        assert logs == []

    async def test_is_there_only_once_however_often_an_address_is_dialled(self, nodes):
        one, two = await nodes.start("a"), await nodes.start("b")
        for _ in range(5):
            one.dial(two)
            one.mesh.dial("localhost", two.port)
        await one.linked(two)
        await asyncio.sleep(0.1)
        assert one.told == [("up", "b")]

    async def test_shows_an_advertised_address_instead_of_the_one_that_is_seen(self, nodes):
        two = await nodes.start("b", advertise=Address("b.example", 4731))
        one = await nodes.start("a")
        one.dial(two)
        await one.linked(two)
        assert one.mesh.peers["b"].address == Address("b.example", 4731)

    async def test_over_ipv6_is_the_same(self, nodes):
        try:
            listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
        except OSError:
            # A machine without IPv6 shows the same through a socket of both kinds, or has nothing to show.
            listener = bound()
        one = await nodes.start("a")
        two = await nodes.start("b", listener=listener)
        one.mesh.dial(*listener.getsockname()[:2])
        await one.linked(two)
        await two.linked(one)


class TestASecret:
    async def test_must_not_be_empty(self):
        with pytest.raises(ValueError, match="empty"):
            Mesh(None, None, secret=b"")


class TestTheDelayBetweenAttempts:
    async def test_grows_from_a_tenth_of_a_second_to_three_with_up_to_half_of_it_left_out(self, nodes):
        one = await nodes.start("a", timing=Timing())
        for times, longest in ((1, 0.1), (2, 0.2), (3, 0.4), (6, 3.0), (1000, 3.0)):
            delays = [one.mesh._dialler._delay(times) for _ in range(200)]
            assert longest / 2 <= min(delays) < longest * 0.6
            assert longest * 0.9 < max(delays) <= longest

    async def test_ends_with_giving_up_where_nobody_asked_for_the_address(self, nodes):
        one = await nodes.start("a", timing=changed(QUICK, abandon=0.0))
        listener = bound()
        address = Address(*listener.getsockname())
        listener.close()
        one.mesh._dialler.dial(address, asked=False)
        await eventually(lambda: address not in one.mesh._dialler.addresses())
        one.mesh._dialler.dial(address, asked=True)
        (target,) = one.mesh._dialler._targets.values()
        await eventually(lambda: target.failures >= 3)
        assert address in one.mesh._dialler.addresses()


class TestSend:
    async def test_without_a_link_is_false(self, nodes):
        one = await nodes.start("a")
        assert not one.mesh.send("b", Lane.CONSENSUS, b"x")
        assert one.mesh.waiting("b", Lane.CONSENSUS) == 0

    async def test_is_false_as_soon_as_the_link_is_down(self, nodes):
        one, two = await nodes.pair()
        one.mesh.refuse("b", "for a test")
        assert not one.send(two, b"x")


class TestManyNodes:
    async def test_find_each_other_when_all_know_one_of_them(self, nodes):
        everybody = [await nodes.start(name) for name in "abcde"]
        for node in everybody[1:]:
            node.dial(everybody[0])
        for node in everybody:
            await node.linked(*(other for other in everybody if other is not node))
        for node in everybody:
            assert sorted(node.told) == [("up", other.id) for other in everybody if other is not node]

    async def test_find_each_other_along_a_chain(self, nodes):
        everybody = [await nodes.start(name) for name in "abcd"]
        for node, next_one in itertools.pairwise(everybody):
            node.dial(next_one)
        for node in everybody:
            await node.linked(*(other for other in everybody if other is not node))

    async def test_dial_only_so_many_addresses_that_others_tell(self, nodes):
        one = await nodes.start("a", limits=changed(DEFAULT, acquaintances=2))
        everybody = [await nodes.start(name) for name in "bcdef"]
        for node in everybody[1:]:
            node.dial(everybody[0])
        for node in everybody:
            await node.linked(*(other for other in everybody if other is not node))
        one.dial(everybody[0])
        await one.linked(everybody[0])
        await asyncio.sleep(0.1)
        assert len(list(one.mesh._dialler.addresses())) <= 3


class TestDiallingFromBothSides:
    @pytest.mark.parametrize("attempt", range(50))
    async def test_makes_one_link_and_loses_no_message_sent_after_it_came_up(self, nodes, attempt):
        one, two = await nodes.start("a"), await nodes.start("b")
        for node in (one, two):
            node.on_up = lambda peer, node=node: [
                node.mesh.send(peer.introduction.node, Lane.CONSENSUS, b"%d" % number) for number in range(20)
            ]
        first, second = (one, two) if attempt % 2 else (two, one)
        first.dial(second)
        for _ in range(attempt // 2 % 8):
            await asyncio.sleep(0)
        second.dial(first)
        await one.has_got(20)
        await two.has_got(20)
        await asyncio.sleep(0.03)
        assert one.told == [("up", "b")]
        assert two.told == [("up", "a")]
        assert [data for _, _, data in one.got] == [b"%d" % number for number in range(20)]
        assert [data for _, _, data in two.got] == [b"%d" % number for number in range(20)]
        # That of the link and, at the same end, that of its liveness connection.
        await eventually(lambda: sorted(len(node.mesh._reception._arrivals) for node in (one, two)) == [0, 2])


class TestALostLink:
    async def test_comes_back_by_itself_whoever_had_dialled(self, nodes):
        one, two = await nodes.pair()
        for count, (breaker, other) in enumerate(((one, two), (two, one), (one, two)), start=2):
            breaker.break_link(other)
            await breaker.told_times(count, "up", other.id)
            await other.told_times(count, "up", breaker.id)
        assert one.told == [("up", "b")] + [("down", "b"), ("up", "b")] * 3

    async def test_comes_back_when_only_the_end_that_was_dialled_can_dial(self, nodes):
        one, two = await nodes.pair()
        one.mesh.forget("127.0.0.1", two.port)
        one.mesh._dialler.dial = lambda *args, **named: None
        two.break_link(one)
        await two.told_times(2, "up", "a")
        assert two.mesh.peers["a"].dialled

    async def test_that_does_not_hold_is_dialled_later_each_time(self, nodes):
        one, two = await nodes.start("a", timing=changed(QUICK, first_delay=0.001)), await nodes.start("b")
        two.mesh._dialler.dial = lambda *args, **named: None
        one.dial(two)
        (target,) = one.mesh._dialler._targets.values()
        for count in range(1, 7):
            await one.told_times(count, "up", "b")
            one.break_link(two)
        await one.told_times(7, "up", "b")
        assert target.flaps >= 6

    async def test_that_held_is_dialled_at_once(self, nodes):
        one, two = await nodes.pair(timing=changed(QUICK, settled=0.0))
        (target,) = one.mesh._dialler._targets.values()
        target.flaps = 10
        one.break_link(two)
        await one.told_times(2, "up", "b")
        assert target.flaps == 0

    async def test_is_dialled_at_once_however_long_its_node_was_away_before(self, nodes):
        one, two = await nodes.pair(timing=changed(QUICK, first_delay=30.0, longest_delay=30.0))
        two.mesh.forget("127.0.0.1", one.port)
        two.mesh._dialler.dial = lambda *args, **named: None
        (target,) = one.mesh._dialler._targets.values()
        target.failures = 20
        one.break_link(two)
        await one.told_times(2, "up", "b")
        assert one.mesh.peers["b"].dialled
        await eventually(lambda: target.failures == 0)

    async def test_is_not_gone_as_long_as_the_node_listens(self, nodes):
        one, two = await nodes.pair()
        for count in range(2, 7):
            one.break_link(two)
            await one.told_times(count, "up", "b")
        assert ("ended", "b") not in one.told
        assert ("ended", "a") not in two.told

    async def test_comes_back_at_once_when_only_the_arbiters_end_believes_in_it(self, nodes):
        one, two = await nodes.pair()
        # Who does not read does not see that the connection was reset.
        one.link(two).connection.transport.pause_reading()
        two.break_link(one)
        await two.told_times(2, "up", "a")
        assert one.told == [("up", "b"), ("down", "b"), ("up", "b")]

    async def test_that_says_nothing_for_long_is_down(self, nodes):
        timing = changed(QUICK, ping=0.05, dead=0.2)
        one, two = await nodes.pair(timing=timing)
        two.link(one).connection.transport.pause_reading()
        await one.told_of("down", "b")

    async def test_is_kept_by_pings_when_nobody_sends_anything(self, nodes):
        timing = changed(QUICK, ping=0.02, dead=0.1)
        one, two = await nodes.pair(timing=timing)
        frames = []
        take = one.link(two)._inbox.take
        one.link(two)._inbox.take = lambda *args: (frames.append(args), take(*args))
        await eventually(lambda: len(frames) >= 15)
        assert one.told == [("up", "b")]
        assert two.told == [("up", "a")]


class TestRefuse:
    async def test_ends_the_link_and_tells_the_other_why(self, nodes, logs):
        one, two = await nodes.pair()
        one.mesh.refuse("b", "its clock is 40 s ahead")
        await one.told_of("down", "b")
        await two.told_of("down", "a")
        reasons = [line["reason"] for line in logs if line["event"] == "link_down"]
        assert "it refuses this node: its clock is 40 s ahead" in reasons
        assert ("ended", "b") not in one.told
        assert ("ended", "a") not in two.told

    async def test_keeps_the_other_out_for_a_while_and_then_not(self, nodes):
        one, two = await nodes.pair()
        loop = asyncio.get_running_loop()
        one.mesh.refuse("b", "for a test")
        began = loop.time()
        await one.told_times(2, "up", "b")
        assert loop.time() - began >= QUICK.refusal * 0.9
        await two.linked(one)

    async def test_lets_the_address_be_dialled_for_another_node_that_is_there_later(self, nodes):
        one, two = await nodes.pair()
        one.mesh.refuse("b", "for a test")
        await two.told_of("down", "a")
        await two.die()
        three = await nodes.start("c", port=two.port)
        await one.linked(three)
        assert one.mesh.peers["c"].dialled

    async def test_is_among_the_troubles_of_who_was_refused(self, nodes):
        one, two = await nodes.start("a"), await nodes.start("b", secret=b"another")
        two.dial(one)
        address = f"127.0.0.1:{one.port}"
        await eventually(lambda: "same cluster secret" in two.mesh.troubles.get(address, ""))
        assert one.mesh.troubles == {}

    async def test_works_from_within_link_up(self, nodes):
        one, two = await nodes.start("a"), await nodes.start("b")
        one.on_up = lambda peer: one.mesh.refuse("b", "for a test") if len(one.told) == 1 else None
        two.dial(one)
        await one.until(lambda: one.told == [("up", "b"), ("down", "b"), ("up", "b")])


class TestClose:
    async def test_leaves_no_task_and_no_socket(self, nodes):
        def sockets():
            found = set()
            for descriptor in pathlib.Path("/proc/self/fd").iterdir():
                with contextlib.suppress(FileNotFoundError):
                    found.add(str(descriptor.readlink()))
            return {link for link in found if link.startswith("socket:")}

        before = sockets()
        one, two = await nodes.pair()
        one.mesh.dial("192.0.2.1", 4731)
        await one.mesh.close()
        await two.mesh.close()
        await eventually(lambda: sockets() == before)

    async def test_can_be_called_twice_and_before_anything_came_about(self, nodes):
        one = await nodes.start("a")
        await one.mesh.close()
        await one.mesh.close()
        assert not one.mesh.send("b", Lane.CONSENSUS, b"x")

    async def test_ends_soon_though_a_peer_does_not_answer(self, nodes):
        one, two = await nodes.pair()
        two.link(one).connection.transport.pause_reading()
        async with asyncio.timeout(5):
            await one.mesh.close()

    async def test_sends_first_what_was_sent_before(self, nodes):
        one, two = await nodes.pair()
        for number in range(50):
            one.send(two, b"%d" % number)
        await one.mesh.close()
        await two.told_of("ended", "a")
        assert len(two.got) == 50
