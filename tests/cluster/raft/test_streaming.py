"""The two ends of a snapshot's way, over a network that does anything."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.raft import SnapshotMeta
from cluster.raft.streaming import Piece, SnapshotReceiver, SnapshotSender, Verdict

META = SnapshotMeta(9, 2)


def sender(window=3, resend_ticks=2):
    stream = SnapshotSender(1, "b", window, resend_ticks)
    stream.opened(META)
    return stream


def feed(stream, source, size=4):
    """Answer a read, as a driver does; return the piece."""
    stream.reading = True
    offset = sum(len(piece) for piece in source["read"])
    data = source["data"][offset : offset + size]
    source["read"].append(data)
    return stream.data(data, offset=offset, done=offset + len(data) == len(source["data"]))


class TestSender:
    def test_it_asks_for_nothing_before_it_is_opened(self):
        stream = SnapshotSender(1, "b", 3, 2)
        assert not stream.wants_data
        stream.opened(META)
        assert stream.wants_data

    def test_its_memory_is_bounded_by_the_window(self):
        stream, source = sender(window=3), {"data": b"x" * 100, "read": []}
        while stream.wants_data:
            feed(stream, source)
        assert len(stream.under_way) == 3
        stream.acknowledged(8)
        assert len(stream.under_way) == 1
        assert stream.wants_data

    def test_it_asks_for_one_read_at_a_time(self):
        stream = sender()
        stream.reading = True
        assert not stream.wants_data

    def test_without_an_answer_everything_under_way_is_sent_again(self):
        stream, source = sender(resend_ticks=2), {"data": b"abcdefgh", "read": []}
        pieces = (feed(stream, source), feed(stream, source))
        assert stream.tick() == ()
        assert stream.tick() == pieces
        assert stream.tick() == ()
        stream.acknowledged(4)
        assert stream.tick() == ()
        assert stream.tick() == pieces[1:]

    def test_the_last_piece_is_kept_until_the_snapshot_is_installed(self):
        stream, source = sender(), {"data": b"abcd", "read": []}
        last = feed(stream, source)
        assert last.done
        stream.acknowledged(4)
        assert tuple(stream.under_way) == (last,)
        assert not stream.wants_data

    def test_what_lies_behind_a_gap_is_sent_again_at_once_and_once(self):
        stream, source = sender(resend_ticks=100), {"data": b"abcdefghijkl", "read": []}
        pieces = [feed(stream, source) for _ in range(3)]
        assert stream.acknowledged(pieces[0].end)
        assert stream.gap(pieces[0].end) == tuple(pieces[1:])
        assert stream.gap(pieces[0].end) == ()
        assert stream.gap(pieces[1].end) == ()
        assert not stream.acknowledged(pieces[0].end)
        assert stream.acknowledged(pieces[1].end)
        assert stream.gap(pieces[1].end) == (pieces[2],)

    def test_what_is_sent_again_in_vain_is_only_asked_after_until_there_is_progress(self):
        stream, source = sender(resend_ticks=1), {"data": b"abcdefghijkl", "read": []}
        pieces = tuple(feed(stream, source) for _ in range(3))
        assert [stream.tick() for _ in range(3)] == [pieces, pieces[:1], pieces[:1]]
        stream.acknowledged(pieces[0].end)
        assert [stream.tick() for _ in range(2)] == [pieces[1:], pieces[1:2]]

    def test_progress_ends_the_idleness(self):
        stream, source = sender(resend_ticks=100), {"data": b"abcdefgh", "read": []}
        feed(stream, source)
        for _ in range(5):
            stream.tick()
        assert stream.idle == 5
        stream.acknowledged(0)
        assert stream.idle == 5
        stream.acknowledged(4)
        assert stream.idle == 0


class TestReceiver:
    def pieces(self, data=b"abcdefghij", size=4):
        stream, source = sender(window=100), {"data": data, "read": []}
        while stream.wants_data:
            feed(stream, source, size)
        return list(stream.under_way)

    def test_pieces_in_order_make_it_complete(self):
        receiver = SnapshotReceiver()
        verdicts = [receiver.piece(1, piece) for piece in self.pieces()]
        assert verdicts == [Verdict.TAKEN, Verdict.TAKEN, Verdict.COMPLETE]
        assert receiver.offset == 10

    def test_an_empty_snapshot_is_one_piece(self):
        (piece,) = self.pieces(b"")
        assert SnapshotReceiver().piece(1, piece) is Verdict.COMPLETE

    def test_repeated_and_early_pieces_are_not_taken(self):
        receiver, (first, second, third) = SnapshotReceiver(), self.pieces()
        receiver.piece(1, first)
        assert receiver.piece(1, first) is Verdict.REPEATED
        assert receiver.piece(1, third) is Verdict.REPEATED
        assert receiver.offset == 4
        assert receiver.piece(1, second) is Verdict.TAKEN

    def test_a_stream_whose_beginning_is_not_here_is_lost(self):
        assert SnapshotReceiver().piece(1, self.pieces()[1]) is Verdict.LOST

    def test_bug_24_a_newer_stream_takes_the_older_ones_place(self):
        receiver, (first, second, third) = SnapshotReceiver(), self.pieces()
        receiver.piece(1, first)
        receiver.piece(1, second)
        assert receiver.piece(2, first) is Verdict.TAKEN
        assert receiver.offset == 4
        assert receiver.piece(1, third) is Verdict.STALE

    def test_bug_25_a_damaged_piece_is_found_at_once(self):
        receiver, (first, second, _) = SnapshotReceiver(), self.pieces()
        receiver.piece(1, first)
        bad = Piece(second.offset, b"EFGH", second.checksum, done=False)
        assert receiver.piece(1, bad) is Verdict.LOST
        assert receiver.piece(1, second) is Verdict.LOST

    def test_bug_25_a_mix_of_two_snapshots_is_found(self):
        receiver, pieces, others = SnapshotReceiver(), self.pieces(), self.pieces(b"ABCDEFGHIJ")
        receiver.piece(1, pieces[0])
        assert receiver.piece(1, others[1]) is Verdict.LOST

    def test_dropping_forgets_the_stream(self):
        receiver, pieces = SnapshotReceiver(), self.pieces()
        receiver.piece(5, pieces[0])
        receiver.drop()
        assert receiver.piece(1, pieces[0]) is Verdict.TAKEN


class TestTheWay:
    @settings(max_examples=60, deadline=None)
    @given(st.binary(max_size=60), st.integers(1, 9), st.integers(1, 4), st.integers(0, 2**32))
    def test_whatever_the_network_does_the_data_arrives_whole(self, data, size, window, seed):
        rng = random.Random(seed)
        stream, receiver = sender(window), SnapshotReceiver()
        source = {"data": data, "read": []}
        received = bytearray()
        pieces, acks = [], []
        for _ in range(10_000):
            if stream.wants_data:
                pieces.append(feed(stream, source, size))
            pieces += stream.tick()
            assert len(stream.under_way) <= window
            if pieces and rng.random() < 0.8:
                piece = pieces.pop(rng.randrange(len(pieces)))
                if rng.random() < 0.2:
                    pieces.append(piece)
                verdict = receiver.piece(1, piece)
                assert verdict is not Verdict.LOST or stream.can_begin_again
                if verdict in (Verdict.TAKEN, Verdict.COMPLETE):
                    assert piece.offset == len(received)
                    received += piece.data
                if verdict is Verdict.COMPLETE:
                    break
                if verdict is not Verdict.LOST:
                    acks.append(receiver.offset)
            if acks and rng.random() < 0.7:
                stream.acknowledged(acks.pop(rng.randrange(len(acks))))
        assert bytes(received) == data
        assert b"".join(source["read"]) == data, "the source is read once, from the front"


@pytest.mark.parametrize("size", [1, 3, 100])
def test_the_checksum_is_of_everything_so_far(size):
    pieces = TestReceiver().pieces(b"abcdefghij", size)
    whole = TestReceiver().pieces(b"abcdefghij", 100)
    assert pieces[-1].checksum == whole[-1].checksum
