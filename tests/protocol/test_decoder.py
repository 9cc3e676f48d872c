"""Where packets and lines begin and end.

The invariant of the fuzz tests: any bytes give packets, commands and faults, never an exception, and the same ones
whether they arrive whole, byte by byte, or split in any other way.
"""

import sys
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import (
    LAYOUTS,
    UNSERVED,
    AdminCommand,
    AdminFault,
    Fault,
    Packet,
    PacketLimit,
    PacketType,
    PeerDecoder,
    Route,
    ServerDecoder,
    TextLine,
    Version,
    encode_request,
    encode_response,
)

MIB = 2**20
TO_SERVER = Route.CLIENT_TO_SERVER | Route.WORKER_TO_SERVER
FROM_SERVER = Route.SERVER_TO_CLIENT | Route.SERVER_TO_WORKER
SERVED = [kind for kind, layout in LAYOUTS.items() if layout.route & TO_SERVER and kind not in UNSERVED]
ANSWERED = [kind for kind, layout in LAYOUTS.items() if layout.route & FROM_SERVER]
LONGEST = {"function": 512, "reducer": 512, "unique": 64, "handle": 63, "id": 127}
BARE_NAMES = {"function", "unique", "handle", "id", "denominator"}


def name_of(argument):
    longest = LONGEST.get(argument, 600)
    text = st.binary(max_size=min(longest, 20)) | st.just(b"n" * longest)
    return text.map(lambda name: name.replace(b"\0", b"."))


def args_of(kind):
    names = LAYOUTS[kind].arguments
    parts = [name_of(name) for name in names[:-1]]
    if names:
        large = st.binary(min_size=1, max_size=50).map(lambda seed: seed * 200)
        parts.append(name_of(names[-1]) if names[-1] in BARE_NAMES else st.binary(max_size=200) | large)
    return st.tuples(*parts)


def packets(kinds):
    return st.sampled_from(kinds).flatmap(lambda kind: args_of(kind).map(lambda args: Packet(kind, list(args))))


@st.composite
def splits(draw, data):
    """The bytes in pieces, some of them empty."""
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=8)))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def feed_all(decoder, pieces):
    return [event for piece in pieces for event in decoder.feed(piece)]


def single_bytes(data):
    return [data[i : i + 1] for i in range(len(data))]


def header(number, size, magic=b"\0REQ"):
    return magic + number.to_bytes(4, "big") + size.to_bytes(4, "big")


class TestRoundTrip:
    @pytest.mark.parametrize("kind", SERVED)
    @settings(deadline=None, max_examples=30)
    @given(data=st.data())
    def test_a_server_reads_what_a_peer_encodes_however_it_is_split(self, kind, data):
        args = data.draw(args_of(kind))
        pieces = data.draw(splits(encode_request(kind, *args)))
        decoder = ServerDecoder()
        assert feed_all(decoder, pieces) == [Packet(kind, list(args))]
        assert decoder.pending == 0

    @pytest.mark.parametrize("kind", ANSWERED)
    @settings(deadline=None, max_examples=30)
    @given(data=st.data())
    def test_a_peer_reads_what_a_server_encodes_however_it_is_split(self, kind, data):
        args = data.draw(args_of(kind))
        pieces = data.draw(splits(encode_response(kind, *args)))
        decoder = PeerDecoder()
        assert feed_all(decoder, pieces) == [Packet(kind, list(args))]
        assert decoder.pending == 0

    @pytest.mark.parametrize("kind", sorted(UNSERVED))
    def test_what_no_server_carries_out_is_encoded_and_refused(self, kind):
        encoded = encode_request(kind, *[b"1"] * len(LAYOUTS[kind].arguments))
        assert ServerDecoder().feed(encoded) == [Fault(b"INVALID_COMMAND", b"Command not expected", fatal=False)]

    @settings(deadline=None)
    @given(data=st.data())
    def test_many_packets_keep_their_order(self, data):
        sent = data.draw(st.lists(packets(SERVED), max_size=8))
        pieces = data.draw(splits(b"".join(encode_request(packet.kind, *packet.args) for packet in sent)))
        assert feed_all(ServerDecoder(), pieces) == sent


GARBAGE = st.binary(max_size=30)
ODD_HEADERS = st.builds(
    header,
    st.integers(0, 45) | st.integers(0, 2**32 - 1),
    st.integers(0, 40) | st.integers(0, 2**32 - 1),
    st.sampled_from([b"\0REQ", b"\0REQ", b"\0RES", b"\0req", b"\0\0\0\0"]),
)
TEXT = st.sampled_from(
    [
        b"version\n",
        b"status\r\n",
        b"maxqueue f x\n",
        b"show jobs",
        b"\n",
        b"\r\n",
        b"a\0b\n",
        b"w" * 100,
        b"w" * 101,
    ]
)
REQUESTS = packets(SERVED).map(lambda packet: encode_request(packet.kind, *packet.args))
RESPONSES = packets(ANSWERED).map(lambda packet: encode_response(packet.kind, *packet.args))
STREAMS = st.lists(GARBAGE | ODD_HEADERS | TEXT | REQUESTS | RESPONSES, max_size=6).map(b"".join)


class TestAnyBytes:
    @settings(deadline=None, max_examples=200)
    @given(data=st.data())
    def test_give_a_server_the_same_packets_commands_and_faults_however_they_are_split(self, data):
        stream = data.draw(STREAMS)
        whole = ServerDecoder(max_packet=1000, max_line=100)
        events = whole.feed(stream)
        assert all(isinstance(event, Packet | AdminCommand | Fault) for event in events)
        fatal = [isinstance(event, Fault | AdminFault) and event.fatal for event in events]
        assert not any(fatal[:-1])
        assert whole.lost == any(fatal)
        assert whole.pending <= len(stream)
        for pieces in (single_bytes(stream), data.draw(splits(stream))):
            decoder = ServerDecoder(max_packet=1000, max_line=100)
            assert feed_all(decoder, pieces) == events
            assert decoder.pending == whole.pending
            assert decoder.lost == whole.lost

    @settings(deadline=None)
    @given(data=st.data())
    def test_give_a_peer_the_same_packets_lines_and_faults_however_they_are_split(self, data):
        stream = data.draw(STREAMS)
        whole = PeerDecoder(max_packet=1000)
        events = whole.feed(stream)
        assert all(isinstance(event, Packet | TextLine | Fault) for event in events)
        for pieces in (single_bytes(stream), data.draw(splits(stream))):
            decoder = PeerDecoder(max_packet=1000)
            assert feed_all(decoder, pieces) == events
            assert decoder.pending == whole.pending

    @settings(deadline=None)
    @given(st.sampled_from(SERVED + ANSWERED), st.binary(max_size=700))
    def test_in_a_body_give_one_packet_with_all_its_arguments_or_one_fault(self, kind, body):
        for decoder, magic in ((ServerDecoder(), b"\0REQ"), (PeerDecoder(), b"\0RES")):
            (event,) = decoder.feed(header(kind, len(body), magic) + body)
            if isinstance(event, Packet):
                assert len(event.args) == len(LAYOUTS[kind].arguments)
                assert all(b"\0" not in arg for arg in event.args[:-1])
            else:
                assert isinstance(event, Fault)
                assert not event.fatal


class TestTextAndBinary:
    def test_alternate_on_one_connection(self):
        echo = encode_request(PacketType.ECHO_REQ, b"e")
        echoed = Packet(PacketType.ECHO_REQ, [b"e"])
        assert ServerDecoder().feed(b"version\n" + echo + b"version\n" + echo) == [Version(), echoed] * 2

    def test_alternate_for_a_client_too(self):
        answers = b"OK 1.2\n" + encode_response(PacketType.NOOP) + b"OK\r\nf\t0\t0\t1\n.\n"
        noop = Packet(PacketType.NOOP, [])
        lines = [TextLine(line) for line in (b"OK", b"f\t0\t0\t1", b".")]
        assert PeerDecoder().feed(answers) == [TextLine(b"OK 1.2"), noop, *lines]

    def test_a_client_takes_a_line_up_to_its_limit_and_no_longer_one(self):
        assert PeerDecoder(max_packet=100).feed(b"w" * 100 + b"\n") == [TextLine(b"w" * 100)]
        fault = Fault(b"ARGUMENT_TOO_LARGE", b"The line is longer than 100 bytes", fatal=True)
        assert PeerDecoder(max_packet=100).feed(b"w" * 101 + b"\n") == [fault]


class TestLostStreams:
    @pytest.mark.parametrize(
        ("data", "code", "named"),
        [
            (header(16, 1, b"\0RET"), b"INVALID_MAGIC", b"00 52 45 54"),
            (header(16, 1, b"\0req"), b"INVALID_MAGIC", b"00 72 65 71"),
            (header(16, 1, b"\0\0\0\0"), b"INVALID_MAGIC", b"00 00 00 00"),
            (b"\0BAD", b"INVALID_MAGIC", b"00 42 41 44"),
            (header(0, 1), b"INVALID_COMMAND", b"Unknown packet type 0"),
            (header(43, 1), b"INVALID_COMMAND", b"Unknown packet type 43"),
            (header(2**31 - 1, 1), b"INVALID_COMMAND", b"Unknown packet type 2147483647"),
            (header(2**32 - 1, 1), b"INVALID_COMMAND", b"Unknown packet type 4294967295"),
            (header(43, 1, b"\0RES"), b"INVALID_COMMAND", b"Unknown packet type 43"),
            (header(16, 2**32 - 1), b"ARGUMENT_TOO_LARGE", b"4294967295 bytes announced, at most 67108864"),
            (header(7, 2**31), b"ARGUMENT_TOO_LARGE", b"2147483648 bytes announced"),
            (header(7, 2**26 + 1), b"ARGUMENT_TOO_LARGE", b"67108865 bytes announced"),
            (header(8, 2**31, b"\0RES"), b"ARGUMENT_TOO_LARGE", b"2147483648 bytes announced"),
        ],
    )
    def test_are_a_fatal_fault_that_names_the_reason(self, data, code, named):
        good = encode_request(PacketType.ECHO_REQ, b"before")
        decoder = ServerDecoder()
        packet, fault = decoder.feed(good + data)
        assert packet == Packet(PacketType.ECHO_REQ, [b"before"])
        assert fault.fatal
        assert fault.code == code
        assert named in fault.text
        assert decoder.lost

    def test_give_nothing_more_and_keep_nothing_more(self):
        decoder = ServerDecoder()
        after = encode_request(PacketType.ECHO_REQ, b"b")
        assert len(decoder.feed(header(43, 1) + b"x" + after)) == 1
        assert decoder.feed(after + b"\0R") == []
        assert decoder.pending == 0

    def test_a_size_announced_at_the_limit_is_taken(self):
        decoder = ServerDecoder(max_packet=10)
        assert decoder.feed(header(16, 10) + b"x" * 10) == [Packet(PacketType.ECHO_REQ, [b"x" * 10])]
        (fault,) = decoder.feed(header(16, 11))
        assert fault == Fault(b"ARGUMENT_TOO_LARGE", b"Packet of 11 bytes announced, at most 10 are taken", fatal=True)


class TestIncompletePackets:
    @pytest.mark.parametrize("length", [1, 3, 4, 11, 12, 13])
    def test_are_waited_for_and_counted(self, length):
        packet = encode_request(PacketType.ECHO_REQ, b"ab")
        decoder = ServerDecoder()
        assert decoder.feed(packet[:length]) == []
        assert decoder.pending == length
        assert decoder.feed(packet[length:]) == [Packet(PacketType.ECHO_REQ, [b"ab"])]
        assert decoder.pending == 0

    def test_an_empty_feed_changes_nothing(self):
        decoder = ServerDecoder()
        assert decoder.feed(b"") == []
        assert decoder.feed(b"vers") == decoder.feed(b"") == []
        assert decoder.feed(b"ion\n") == [Version()]

    def test_cost_the_memory_of_what_came_not_of_what_was_announced(self):
        announced = header(PacketType.ECHO_REQ, 64 * MIB)
        tracemalloc.start()
        try:
            decoders = [ServerDecoder() for _ in range(100)]
            for decoder in decoders:
                for _ in range(10):
                    decoder.feed(announced if not decoder.pending else b"x" * 100)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert {decoder.pending for decoder in decoders} == {12 + 900}
        assert peak < 100 * 4000


def joins_while(run):
    """Run and count the joins of kept bytes: the only work that grows with what was kept before."""
    joins = 0

    def count(_frame, event, argument):
        nonlocal joins
        joins += event == "c_call" and argument.__name__ == "join"

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        result = run()
    finally:
        sys.setprofile(before)
    return joins, result


class TestLinearTime:
    @pytest.mark.parametrize(("size", "step"), [(256 * 1024, 1), (16 * MIB, 64 * 1024), (16 * MIB, 1500)])
    def test_a_packet_in_many_pieces_is_joined_a_fixed_number_of_times(self, size, step):
        packet = encode_request(PacketType.SUBMIT_JOB_BG, b"f", b"u", b"x" * size)
        pieces = [packet[start : start + step] for start in range(0, len(packet), step)]
        joins, events = joins_while(lambda: feed_all(ServerDecoder(), pieces))
        assert events == [Packet(PacketType.SUBMIT_JOB_BG, [b"f", b"u", b"x" * size])]
        # Once for the magic, once for the header, once for the whole.
        assert joins <= 3

    def test_a_line_in_single_bytes_is_joined_once(self):
        joins, events = joins_while(
            lambda: feed_all(ServerDecoder(), single_bytes(b"version" + b" x" * 20_000 + b"\n"))
        )
        assert events == [Version()]
        assert joins == 1

    def test_single_bytes_are_not_kept_as_objects_each(self):
        packet = encode_request(PacketType.ECHO_REQ, bytes(range(256)) * 512)
        pieces = [b"".join((packet[i : i + 1], packet[i + 1 : i + 2])) for i in range(0, len(packet), 2)]
        decoder = ServerDecoder()
        tracemalloc.start()
        try:
            for piece in pieces[:-1]:
                decoder.feed(piece)
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert held < 1.5 * decoder.pending

    def test_large_arguments_before_the_last_are_read_too(self):
        body = b"c" * 9000 + b"\0" + b"t" * 9000
        assert PeerDecoder().feed(header(PacketType.ERROR, len(body), b"\0RES") + body) == [
            Packet(PacketType.ERROR, [b"c" * 9000, b"t" * 9000])
        ]


class TestALimitThatChanges:
    def test_holds_from_the_next_packet_on(self):
        limit = PacketLimit(100)
        decoder = ServerDecoder(limit)
        large = encode_request(PacketType.ECHO_REQ, b"x" * 100)
        assert decoder.feed(large) == [Packet(PacketType.ECHO_REQ, [b"x" * 100])]
        limit.size = 99
        (fault,) = decoder.feed(large)
        assert fault.text == b"Packet of 100 bytes announced, at most 99 are taken"

    def test_may_grow(self):
        limit = PacketLimit(10)
        decoder = ServerDecoder(limit)
        limit.size = 1000
        assert decoder.feed(encode_request(PacketType.ECHO_REQ, b"x" * 1000))[0].args == [b"x" * 1000]

    @pytest.mark.parametrize("cut", [0, 3, 12, 60])
    def test_lets_a_packet_that_has_begun_come_to_its_end(self, cut):
        limit = PacketLimit(100)
        decoder = ServerDecoder(limit)
        large = encode_request(PacketType.ECHO_REQ, b"x" * 100)
        assert decoder.feed(large[:cut]) == []
        limit.size = 50
        (event,) = decoder.feed(large[cut:])
        assert isinstance(event, Packet) is (cut >= 12)
        limit.size = 100

    def test_holds_behind_a_packet_that_had_begun(self):
        limit = PacketLimit(100)
        decoder = ServerDecoder(limit)
        large = encode_request(PacketType.ECHO_REQ, b"x" * 100)
        decoder.feed(large[:60])
        limit.size = 50
        decoder.feed(large[60:])
        (fault,) = decoder.feed(large)
        assert fault.code == b"ARGUMENT_TOO_LARGE"

    def test_is_named_to_who_exceeds_it(self):
        (fault,) = ServerDecoder(PacketLimit(10, "the --max-packet of node b")).feed(header(7, 11))
        assert fault.text == b"Packet of 11 bytes announced, at most 10 are taken: the --max-packet of node b"
