"""Reports on their way to another node: each arrives once and in order, whatever becomes of links and incarnations."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.jobs import Batch, JobTable, NodeDown, NodeUp, propose
from node import relay as module
from node.relay import Parcel, Receipt, Relay, Report, Reports
from protocol import PacketType as P

_decoder = msgspec.msgpack.Decoder(Parcel)


class Node:
    """One end: what it was told, and what it sent over the present link."""

    def __init__(self, name: str, table: JobTable) -> None:
        self.name = name
        self.told: list[bytes] = []
        self.sent: list[bytes] = []
        self.room = True
        self.relay = Relay(table, name, self._send, lambda node, incarnation, report: self.told.append(report.args[-1]))
        self.relay.begin(1)

    def _send(self, node: str, parcel: Parcel) -> bool:
        if self.room:
            self.sent.append(msgspec.msgpack.encode(parcel))
        return self.room

    def say(self, *words: bytes, to: int = 1) -> None:
        """Report something to the other end's incarnation."""
        for word in words:
            self.relay.put(_other(self.name), to, Report(7, [1], P.WORK_DATA, [b"H:7", word]))
        self.relay.flush()


def _other(name: str) -> str:
    return "b" if name == "a" else "a"


class Pair:
    """Two nodes and a link, on which nothing moves before `carry`."""

    def __init__(self) -> None:
        self.table = JobTable("a")
        self.table.apply(propose(1, [Batch(name, 1, 1, [NodeUp(b"H", -1)]) for name in "ab"]))
        self.a = Node("a", self.table)
        self.b = Node("b", self.table)

    def carry(self) -> None:
        """Let everything arrive, and what comes of it, receipts included."""
        while self.a.sent or self.b.sent:
            self.carry_some(self.a, self.b, len(self.a.sent))
            self.carry_some(self.b, self.a, len(self.b.sent))
            self.a.relay.tick()
            self.b.relay.tick()

    def carry_some(self, sender: Node, receiver: Node, count: int) -> None:
        """Let the first messages of one end arrive."""
        for _ in range(min(count, len(sender.sent))):
            receiver.relay.received(sender.name, _decoder.decode(sender.sent.pop(0)))
        receiver.relay.flush()

    def relink(self) -> None:
        """Lose the link with all that is on its way, and make another."""
        self.a.sent.clear()
        self.b.sent.clear()
        for node in (self.a, self.b):
            node.relay.linked(_other(node.name))
            node.relay.flush()


def owed(node: Node) -> int:
    """Tell how many bytes are not acknowledged."""
    return node.relay._size


@pytest.fixture
def pair():
    return Pair()


class TestReports:
    def test_arrive_in_order_and_are_acknowledged(self, pair):
        pair.a.say(b"1", b"2")
        pair.a.say(b"3")
        pair.carry()
        assert pair.b.told == [b"1", b"2", b"3"]
        assert owed(pair.a) == 0

    def test_of_one_moment_travel_together_as_far_as_they_fit(self, pair, monkeypatch):
        monkeypatch.setattr(module, "MAX_GATHERED", 8)  # the handle counts, too
        pair.a.say(b"1", b"2", b"3", b"x" * 100, b"4")
        parcels = [_decoder.decode(data) for data in pair.a.sent]
        assert [len(parcel.items) for parcel in parcels] == [2, 1, 1, 1]
        pair.carry()
        assert pair.b.told == [b"1", b"2", b"3", b"x" * 100, b"4"]

    def test_that_were_lost_with_a_link_come_over_the_next(self, pair):
        pair.a.say(b"1", b"2")
        pair.carry()
        pair.a.say(b"3")
        pair.relink()
        pair.a.say(b"4")
        pair.carry()
        assert pair.b.told == [b"1", b"2", b"3", b"4"]
        assert owed(pair.a) == 0

    def test_whose_receipt_was_lost_are_not_told_again(self, pair):
        pair.a.say(b"1", b"2")
        pair.carry_some(pair.a, pair.b, 1)
        pair.b.relay.tick()
        assert pair.b.sent
        pair.relink()
        pair.a.say(b"3")
        pair.carry()
        assert pair.b.told == [b"1", b"2", b"3"]
        assert owed(pair.a) == 0

    def test_go_on_behind_what_is_sent_again(self, pair):
        pair.a.say(b"1")
        pair.a.room = False
        pair.a.say(b"2")
        pair.a.sent.clear()
        pair.a.relay.linked("b")
        pair.a.say(b"3")
        pair.a.room = True
        pair.a.relay.tick()
        pair.carry()
        assert pair.b.told == [b"1", b"2", b"3"]

    def test_wait_where_there_is_no_room(self, pair):
        pair.a.room = False
        pair.a.say(b"1", b"2")
        pair.carry()
        assert pair.b.told == []
        pair.a.room = True
        pair.a.relay.tick()
        pair.carry()
        assert pair.b.told == [b"1", b"2"]


class TestAReceipt:
    def test_for_a_few_reports_waits_for_the_next_tick(self, pair):
        pair.a.say(b"1", b"2")
        pair.carry_some(pair.a, pair.b, 1)
        assert pair.b.sent == []
        pair.b.relay.tick()
        assert [_decoder.decode(data) for data in pair.b.sent] == [Receipt(1, 1, 2)]

    @pytest.mark.parametrize("words", [[b"x"] * module.RECEIPT_AFTER, [b"x" * (module.MAX_GATHERED + 1)]])
    def test_for_many_or_great_ones_comes_at_once(self, pair, words):
        pair.a.say(*words)
        pair.carry_some(pair.a, pair.b, len(pair.a.sent))
        assert len(pair.b.sent) == 1

    def test_for_which_there_is_no_room_comes_later(self, pair):
        """Without it the sender could wait for ever: it takes nothing from its workers while too much is open."""
        pair.b.room = False
        pair.a.say(b"1")
        pair.carry()
        assert owed(pair.a)
        pair.b.room = True
        pair.b.relay.tick()
        pair.carry()
        assert owed(pair.a) == 0

    def test_for_what_is_about_to_be_sent_again_counts(self, pair):
        pair.a.say(b"1", b"2")
        pair.carry_some(pair.a, pair.b, 1)
        pair.b.relay.tick()
        receipt = list(pair.b.sent)
        assert receipt
        pair.a.relay.linked("b")
        pair.b.sent = receipt
        pair.carry()
        pair.a.say(b"3")
        pair.carry()
        assert pair.b.told == [b"1", b"2", b"3"]
        assert owed(pair.a) == 0

    @pytest.mark.parametrize(
        "receipt", [Receipt(2, 1, 1), Receipt(1, 2, 1)], ids=["of another incarnation", "by another incarnation"]
    )
    def test_of_other_incarnations_says_nothing(self, pair, receipt):
        pair.a.say(b"1")
        pair.a.relay.received("b", receipt)
        assert owed(pair.a)
        pair.a.relay.received("c", receipt)
        assert owed(pair.a)

    def test_for_more_than_was_sent_harms_nobody(self, pair):
        pair.a.say(b"1")
        pair.a.relay.received("b", Receipt(1, 1, 99))
        assert owed(pair.a) == 0


class TestAnIncarnation:
    def test_of_the_receiver_that_is_over_gets_nothing(self, pair):
        pair.a.say(b"old")
        pair.b.relay.begin(2)
        pair.carry()
        pair.a.say(b"new", to=2)
        pair.carry()
        assert pair.b.told == [b"new"]
        assert owed(pair.a) == 0

    def test_of_the_receiver_that_the_table_knows_to_be_over_is_let_go(self, pair):
        pair.a.say(b"old")
        pair.table.apply(propose(2, [Batch("b", 2, 1, [NodeUp(b"H", -1)])]))
        pair.a.relay.tick()
        assert owed(pair.a) == 0

    def test_of_the_receiver_that_was_declared_down_is_let_go(self, pair):
        pair.a.say(b"old")
        pair.table.apply(propose(2, [], [NodeDown("b", 1)]))
        pair.a.relay.tick()
        assert owed(pair.a) == 0

    def test_of_the_receiver_that_is_over_does_not_disturb_the_new_one(self, pair):
        """The table of a node that lags behind may name the old one after the new one has spoken."""
        pair.b.relay.begin(2)
        pair.a.say(b"1", to=2)
        pair.carry()
        pair.a.say(b"for nobody")
        pair.a.say(b"2", to=2)
        pair.carry()
        assert pair.b.told == [b"1", b"2"]
        assert owed(pair.a) == 0

    def test_of_the_sender_begins_its_reports_anew(self, pair):
        pair.a.say(b"1", b"2")
        pair.carry()
        pair.a.relay.begin(2)
        pair.a.say(b"3")
        pair.carry()
        assert pair.b.told == [b"1", b"2", b"3"]
        assert owed(pair.a) == 0

    def test_of_the_sender_that_is_over_is_not_heard_any_more(self, pair):
        pair.a.say(b"1")
        late = list(pair.a.sent)
        pair.a.relay.begin(2)
        pair.a.sent.clear()
        pair.a.say(b"2")
        pair.carry()
        pair.a.sent = late
        pair.carry()
        assert pair.b.told == [b"2"]

    def test_begins_without_what_the_last_one_had_under_way(self, pair):
        pair.a.say(b"1")
        pair.a.relay.begin(2)
        assert owed(pair.a) == 0
        pair.relink()
        pair.carry()
        assert pair.b.told == []


class TestCongestion:
    def test_begins_with_too_much_and_ends_with_the_receipts(self, pair, monkeypatch):
        monkeypatch.setattr(module, "MAX_UNACKNOWLEDGED", 100)
        pair.a.say(b"x" * 100)
        assert pair.a.relay.congested
        pair.carry()
        assert not pair.a.relay.congested


class TestAParcel:
    def test_that_leaves_a_gap_is_not_told(self, pair):
        report = Report(7, [1], P.WORK_DATA, [b"H:7", b"5"])
        pair.b.relay.received("a", Reports(1, 1, 5, [report]))
        assert pair.b.told == []


class TestWhateverHappens:
    @given(
        st.lists(
            st.one_of(
                st.tuples(st.just("say"), st.sampled_from("ab"), st.integers(1, 4)),
                st.tuples(st.just("carry"), st.sampled_from("ab"), st.integers(1, 4)),
                st.tuples(st.just("relink"), st.just(""), st.just(0)),
                st.tuples(st.just("room"), st.sampled_from("ab"), st.integers(0, 1)),
                st.tuples(st.just("tick"), st.sampled_from("ab"), st.just(0)),
            ),
            max_size=60,
        )
    )
    def test_everything_arrives_once_and_in_order_at_both_ends(self, steps):
        pair = Pair()
        nodes = {"a": pair.a, "b": pair.b}
        said: dict[str, list[bytes]] = {"a": [], "b": []}
        for what, name, number in steps:
            if what == "say":
                words = [b"%d" % (len(said[name]) + each) for each in range(number)]
                said[name] += words
                nodes[name].say(*words)
            elif what == "carry":
                pair.carry_some(nodes[name], nodes[_other(name)], number)
            elif what == "relink":
                pair.relink()
            elif what == "room":
                nodes[name].room = bool(number)
            else:
                nodes[name].relay.tick()
        for node in nodes.values():
            node.room = True
            node.relay.tick()
        pair.carry()
        for node in nodes.values():
            node.relay.tick()
        pair.carry()
        assert (pair.b.told, pair.a.told) == (said["a"], said["b"])
        assert owed(pair.a) == owed(pair.b) == 0
