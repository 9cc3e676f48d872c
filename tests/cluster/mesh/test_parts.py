"""The parts without a network: seals, records, queues, which connection is the link, and how much is logged."""

import contextlib
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.mesh import Introduction, Lane
from cluster.mesh.errors import ProtocolError
from cluster.mesh.handshake import Refused, Standing, Taken
from cluster.mesh.outbox import MAX_FRAME, SHARE, Drop, Outbox
from cluster.mesh.pairing import Pairing
from cluster.mesh.records import HEADER, Inbox, Ping, encode_control
from cluster.mesh.refusals import Refusals
from cluster.mesh.seal import Seal
from tests.cluster.mesh.nodes import refusals

KEY = b"k" * 32


class TestASeal:
    def test_lets_what_was_sent_through_in_its_order(self):
        out, back = Seal(KEY), Seal(KEY)
        for body in (b"", b"one", b"one", b"two"):
            back.check(out.tag(body) + body)

    @pytest.mark.parametrize("position", [0, 15, 16, -1])
    def test_is_broken_by_any_change(self, position):
        frame = bytearray(Seal(KEY).tag(b"body") + b"body")
        frame[position] ^= 1
        with pytest.raises(ProtocolError):
            Seal(KEY).check(bytes(frame))

    def test_is_broken_by_repeating_and_leaving_out(self):
        out = Seal(KEY)
        frames = [out.tag(body) + body for body in (b"one", b"two", b"three")]
        back = Seal(KEY)
        back.check(frames[0])
        with pytest.raises(ProtocolError):
            back.check(frames[0])
        back = Seal(KEY)
        back.check(frames[0])
        with pytest.raises(ProtocolError):
            back.check(frames[2])

    def test_needs_the_key_and_the_whole_tag(self):
        with pytest.raises(ProtocolError):
            Seal(b"x" * 32).check(Seal(KEY).tag(b"body") + b"body")
        for frame in (b"", b"body"):
            with pytest.raises(ProtocolError):
                Seal(KEY).check(frame)


class Received:
    def __init__(self, max_message=10 * SHARE):
        self.messages = []
        self.words = []
        self.inbox = Inbox(lambda lane, data: self.messages.append((lane, data)), self.words.append, (max_message,) * 4)

    def drain(self, outbox):
        """Pass all frames on; give what each brought."""
        brought = []
        while frame := outbox.next_frame():
            assert len(frame) <= MAX_FRAME
            before = len(self.messages)
            self.inbox.take(frame, 0)
            brought.append(self.messages[before:])
        return brought


def outbox(*bounds, max_message=10 * SHARE):
    return Outbox(bounds or (20 * SHARE,) * 4, (max_message,) * 4)


class TestLanes:
    @given(
        st.lists(
            st.tuples(
                st.sampled_from(Lane),
                st.one_of(st.integers(0, 300), st.integers(SHARE - 2, SHARE + 2), st.integers(0, 4 * SHARE)),
            ),
            max_size=30,
        )
    )
    def test_keep_their_order_and_lose_nothing(self, plan):
        box, end = Outbox((1 << 40,) * 4, (1 << 30,) * 4), Received()
        sent = [(lane, bytes([number % 256]) * size) for number, (lane, size) in enumerate(plan)]
        for lane, data in sent:
            assert box.put(lane, data) is None
        end.drain(box)
        for lane in Lane:
            assert [data for at, data in end.messages if at is lane] == [data for at, data in sent if at is lane]
            assert box.waiting(lane) == 0
        assert not box

    def test_do_not_wait_for_a_big_message_of_another(self):
        box, end = outbox(), Received()
        box.put(Lane.SNAPSHOTS, bytes(9 * SHARE))
        end.inbox.take(box.next_frame(), 0)
        box.put(Lane.CONSENSUS, b"heartbeat")
        box.put(Lane.REPORTS, b"result")
        end.inbox.take(box.next_frame(), 0)
        assert end.messages == [(Lane.CONSENSUS, b"heartbeat"), (Lane.REPORTS, b"result")]
        assert end.drain(box)[-1] == [(Lane.SNAPSHOTS, bytes(9 * SHARE))]

    def test_share_each_frame_when_all_are_full(self):
        box, end = outbox(), Received()
        for lane in Lane:
            for _ in range(10):
                box.put(lane, bytes(SHARE))
        assert all({lane for lane, _ in brought} == set(Lane) for brought in end.drain(box))

    def test_many_messages_go_into_one_frame(self):
        box = outbox()
        for _ in range(100):
            box.put(Lane.CONSENSUS, b"x" * 100)
        assert len(box.next_frame()) == 100 * (100 + HEADER.size)
        assert not box.next_frame()

    def test_words_of_the_link_go_first(self):
        box, end = outbox(), Received()
        box.put(Lane.CONSENSUS, bytes(5 * SHARE))
        box.next_frame()
        box.put_control(encode_control(Ping()))
        end.inbox._sizes[0], end.inbox._parts[0][:] = 1, [b"x"]
        end.inbox.take(box.next_frame(), 0)
        assert end.words == [Ping()]

    def test_are_bounded_each_on_its_own(self):
        box = outbox(1000, 2000, 3000)
        assert box.put(Lane.CONSENSUS, bytes(900)) is None
        assert box.put(Lane.CONSENSUS, bytes(100)) is Drop.FULL
        assert box.put(Lane.REPORTS, bytes(1900)) is None
        box.next_frame()
        assert box.put(Lane.CONSENSUS, bytes(100)) is None

    def test_take_any_message_that_is_not_too_long_when_they_are_empty(self):
        box = outbox(1000, 1000, 1000, 1000)
        assert box.put(Lane.SNAPSHOTS, bytes(10 * SHARE)) is None
        assert box.put(Lane.SNAPSHOTS, b"") is Drop.FULL
        assert box.put(Lane.CONSENSUS, bytes(10 * SHARE + 1)) is Drop.TOO_LONG

    def test_do_not_take_empty_messages_without_bound(self):
        box = outbox(1000, 1000, 1000, 1000)
        assert sum(box.put(Lane.REPORTS, b"") is None for _ in range(1000)) < 20


class TestRecordsFromAPeerThatIsWrong:
    @pytest.mark.parametrize(
        "frame",
        [
            b"\x00",
            b"\x00\x00\x00\x00\x05abc",
            HEADER.pack(7, 1) + b"\xc1",
            HEADER.pack(7, 8) + b"\x81\xa4type\xa1\xff",
            HEADER.pack(7, 3000) + b"\x91" * 3000,
            HEADER.pack(15, 1) + b"x",
            HEADER.pack(24, 1) + b"x",
            HEADER.pack(255, 1) + b"x",
            HEADER.pack(8, 1) + b"x" + HEADER.pack(0, 1) + b"y",
        ],
    )
    def test_are_refused(self, frame):
        with pytest.raises(ProtocolError):
            Received().inbox.take(frame, 0)

    def test_are_put_together_up_to_a_bound_in_each_lane(self):
        end = Received(max_message=1000)
        end.inbox.take(HEADER.pack(8, 900) + bytes(900), 0)
        end.inbox.take(HEADER.pack(9, 900) + bytes(900), 0)
        with pytest.raises(ProtocolError, match="longer than 1000"):
            end.inbox.take(HEADER.pack(16, 101) + bytes(101), 0)

    @given(st.binary(max_size=200))
    def test_do_nothing_worse_than_being_refused(self, frame):
        end = Received()
        with contextlib.suppress(ProtocolError):
            end.inbox.take(frame, 0)
        assert sum(len(data) for _, data in end.messages) <= len(frame)


def introduction(node, instance="1"):
    return Introduction(node, node, "tests", 1, instance, "0")


def pairing(own="a", instance="1"):
    numbers = iter(range(1, 100))
    return Pairing(introduction(own, instance), lambda: next(numbers))


class TestPairing:
    def test_has_exactly_one_arbiter_in_each_pair(self):
        assert pairing("a").arbiter("b")
        assert not pairing("b").arbiter("a")

    def test_takes_the_first_connection_and_refuses_the_second(self):
        books, other = pairing(), introduction("b")
        verdict = books.decide(other, Standing())
        assert isinstance(verdict, Taken)
        books.taken(other, verdict.link)
        second = books.decide(other, Standing())
        assert isinstance(second, Refused)
        assert second.duplicate

    def test_takes_another_when_the_link_is_lost(self):
        books, other = pairing(), introduction("b")
        books.taken(other, 1)
        books.lost("b")
        assert isinstance(books.decide(other, Standing(1, live=True, instance="1")), Taken)

    def test_takes_another_when_the_other_end_has_lost_the_link(self):
        books, other = pairing(), introduction("b")
        books.taken(other, 1)
        assert isinstance(books.decide(other, Standing(1, live=False, instance="1")), Taken)

    def test_refuses_another_when_the_other_end_still_has_it_or_has_yet_to_hear_of_it(self):
        books, other = pairing(), introduction("b")
        books.taken(other, 2)
        for standing in (Standing(2, live=True, instance="1"), Standing(1, live=False, instance="1"), Standing()):
            assert books.decide(other, standing).duplicate

    def test_refuses_another_process_of_the_same_node_while_one_is_linked(self):
        books = pairing()
        books.taken(introduction("b", "1"), 1)
        verdict = books.decide(introduction("b", "2"), Standing())
        assert not verdict.duplicate
        assert "was copied" in verdict.reason
        assert books.contested(introduction("b", "2"))
        books.lost("b")
        assert isinstance(books.decide(introduction("b", "2"), Standing()), Taken)

    def test_gives_way_when_the_other_is_linked_with_another_process_of_this_node(self):
        books = pairing("a", "2")
        verdict = books.decide(introduction("b"), Standing(1, live=True, instance="1"))
        assert not verdict.duplicate
        assert "the id a " in verdict.reason

    def test_tells_its_standing(self):
        books, other = pairing("b"), introduction("a", "i")
        assert books.standing("a") == Standing()
        books.taken(other, 5)
        assert books.standing("a") == Standing(5, live=True, instance="i")
        books.lost("a")
        assert books.standing("a") == Standing(5, live=False, instance="i")


class TestRefusals:
    def test_are_logged_once_in_ten_seconds_for_each_host_and_reason(self, logs):
        now = [0.0]
        book = Refusals(lambda: now[0])
        for _ in range(50):
            book.report("h", "wrong secret")
        book.report("h", "another")
        book.report("i", "another")
        assert [(line["host"], line["reason"]) for line in refusals(logs)] == [
            ("h", "wrong secret"),
            ("h", "another"),
            ("i", "another"),
        ]
        now[0] = 10.0
        book.report("h", "wrong secret")
        assert len(refusals(logs)) == 4

    def test_say_how_many_were_not_logged_with_the_next_line(self, logs):
        book = Refusals(lambda: 0.0)
        for _ in range(50):
            book.report("h", "wrong secret")
        book.report("h", "another")
        assert refusals(logs)[1]["not_logged"] == 49

    def test_are_few_whoever_knocks(self, logs):
        book = Refusals(lambda: 0.0)
        for number in range(10_000):
            book.report(f"host {number}", os.urandom(4).hex())
        assert len(refusals(logs)) == 20
        assert len(book._said) == 20
