import pytest

from protocol import (
    LAYOUTS,
    LocalProtocolError,
    PacketType,
    Route,
    encode_error,
    encode_job_created,
    encode_passed_on,
    encode_request,
    encode_response,
)

FROM_SERVER = Route.SERVER_TO_CLIENT | Route.SERVER_TO_WORKER
TO_SERVER = Route.CLIENT_TO_SERVER | Route.WORKER_TO_SERVER
ANSWERS = [kind for kind, layout in LAYOUTS.items() if layout.route & FROM_SERVER and layout.arguments]


class TestBytesOfAPacket:
    @pytest.mark.parametrize(
        ("encoded", "expected"),
        [
            (encode_request(PacketType.GRAB_JOB), b"\0REQ\0\0\0\x09\0\0\0\0"),
            (encode_request(PacketType.ECHO_REQ, b"a\0b"), b"\0REQ\0\0\0\x10\0\0\0\x03a\0b"),
            (encode_request(PacketType.SUBMIT_JOB_BG, b"f", b"", b"x\0y"), b"\0REQ\0\0\0\x12\0\0\0\x06f\0\0x\0y"),
            (encode_response(PacketType.NOOP), b"\0RES\0\0\0\x06\0\0\0\0"),
            (encode_response(PacketType.JOB_CREATED, b"H:a:1"), b"\0RES\0\0\0\x08\0\0\0\x05H:a:1"),
            (encode_job_created(b"H:a:1"), b"\0RES\0\0\0\x08\0\0\0\x05H:a:1"),
            (encode_response(PacketType.WORK_FAIL, b"H:a:1"), b"\0RES\0\0\0\x0e\0\0\0\x05H:a:1"),
            (encode_response(PacketType.WORK_COMPLETE, b"H:a:1", b""), b"\0RES\0\0\0\x0d\0\0\0\x06H:a:1\0"),
            (encode_response(PacketType.JOB_ASSIGN, b"H", b"f", b"w"), b"\0RES\0\0\0\x0b\0\0\0\x05H\0f\0w"),
            (
                encode_response(PacketType.STATUS_RES, b"", b"0", b"0", b"0", b"0"),
                b"\0RES\0\0\0\x14\0\0\0\x08\x000\x000\x000\x000",
            ),
            (
                encode_error(b"INVALID_MAGIC", b"Request magic expected"),
                b"\0RES\0\0\0\x13\0\0\0\x24INVALID_MAGIC\0Request magic expected",
            ),
        ],
    )
    def test_is_header_and_body_in_one(self, encoded, expected):
        assert encoded == expected

    @pytest.mark.parametrize("size", [0, 1, 4095, 4096, 100_000])
    @pytest.mark.parametrize("kind", ANSWERS)
    def test_is_the_same_when_its_arguments_are_passed_on(self, kind, size):
        args = [b"%d" % place for place in range(len(LAYOUTS[kind].arguments))]
        args[-1] = b"a\0b" * size
        assert encode_passed_on(kind, args) == encode_response(kind, *args)


class TestMisuse:
    def test_a_request_that_only_servers_send_is_refused(self):
        with pytest.raises(LocalProtocolError, match="JOB_CREATED is sent by servers only"):
            encode_request(PacketType.JOB_CREATED, b"H:a:1")

    def test_a_response_that_no_server_sends_is_refused(self):
        with pytest.raises(LocalProtocolError, match="GRAB_JOB is never sent by a server"):
            encode_response(PacketType.GRAB_JOB)

    def test_a_wrong_number_of_arguments_is_refused_with_their_names(self):
        with pytest.raises(LocalProtocolError, match=r"takes 3 arguments \(function, unique, workload\), not 2"):
            encode_request(PacketType.SUBMIT_JOB, b"f", b"x")
        with pytest.raises(LocalProtocolError, match=r"NOOP takes 0 arguments \(none\), not 1"):
            encode_response(PacketType.NOOP, b"x")

    @pytest.mark.parametrize("kind", [kind for kind, layout in LAYOUTS.items() if len(layout.arguments) > 1])
    def test_a_nul_before_the_last_argument_would_shift_the_others_and_is_refused(self, kind):
        encode = encode_request if LAYOUTS[kind].route & TO_SERVER else encode_response
        count = len(LAYOUTS[kind].arguments)
        for place in range(count - 1):
            args = [b"a"] * count
            args[place] = b"a\0b"
            with pytest.raises(LocalProtocolError, match="only its last argument may hold a NUL"):
                encode(kind, *args)

    def test_a_body_that_the_size_field_cannot_express_is_refused(self):
        class Vast(bytes):
            __slots__ = ()

            def __len__(self):
                return 2**32

        with pytest.raises(LocalProtocolError, match="4294967296 bytes: the size field holds at most 4294967295"):
            encode_request(PacketType.ECHO_REQ, Vast())
