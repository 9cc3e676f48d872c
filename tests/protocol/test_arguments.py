"""Tables of single packets as a server reads them: exchanges recorded with gearmand 1.1.20, and where we do better."""

import pytest

from protocol import (
    LAYOUTS,
    Fault,
    Packet,
    PacketType,
    PeerDecoder,
    Route,
    ServerDecoder,
    encode_request,
    encode_response,
    option_name,
)

REQ, RES = b"\0REQ", b"\0RES"
TO_SERVER = Route.CLIENT_TO_SERVER | Route.WORKER_TO_SERVER
NOT_EXPECTED = Fault(b"INVALID_COMMAND", b"Command not expected", fatal=False)
REQUEST_MAGIC = Fault(b"INVALID_MAGIC", b"Request magic expected", fatal=False)
LARGE_FUNCTION = Fault(b"ARGUMENT_TOO_LARGE", b"Function value too large", fatal=False)
LARGE_UNIQUE = Fault(b"ARGUMENT_TOO_LARGE", b"Unique value too large", fatal=False)
LARGE_HANDLE = Fault(b"ARGUMENT_TOO_LARGE", b"Job handle value too large", fatal=False)
ECHO = encode_request(PacketType.ECHO_REQ, b"still there?")
ECHOED = Packet(PacketType.ECHO_REQ, [b"still there?"])
H63, H64 = b"h" * 63, b"h" * 64


def raw(kind, body, magic=REQ):
    return magic + int(kind).to_bytes(4, "big") + len(body).to_bytes(4, "big") + body


def read_one(data):
    """The first thing a server reads of these bytes, after making sure that the connection goes on behind it."""
    first, second = ServerDecoder().feed(data + ECHO)
    assert second == ECHOED
    return first


class TestRecordedPackets:
    @pytest.mark.parametrize(
        ("kind", "body", "args"),
        [
            pytest.param("GRAB_JOB", b"junk", [], id="GRAB_JOB with a body"),
            pytest.param("PRE_SLEEP", b"junk", [], id="PRE_SLEEP with a body"),
            pytest.param("RESET_ABILITIES", b"x", [], id="RESET_ABILITIES with a body"),
            pytest.param("SUBMIT_JOB_BG", b"\0\0x", [b"", b"", b"x"], id="empty function name"),
            pytest.param("SUBMIT_JOB_BG", b"\0\0", [b"", b"", b""], id="empty everything"),
            pytest.param("SUBMIT_JOB_BG", b"f\0\0a\0b\0c", [b"f", b"", b"a\0b\0c"], id="data with NULs"),
            pytest.param("SUBMIT_JOB", b"f" * 512 + b"\0\0x", [b"f" * 512, b"", b"x"], id="function of 512 bytes"),
            pytest.param("SUBMIT_JOB", b"f\0" + b"u" * 64 + b"\0x", [b"f", b"u" * 64, b"x"], id="unique of 64 bytes"),
            pytest.param("SUBMIT_JOB_EPOCH", b"f\0\0soon\0x", [b"f", b"", b"soon", b"x"], id="epoch is a word"),
            pytest.param("SUBMIT_JOB_EPOCH", b"f\0\0\0x", [b"f", b"", b"", b"x"], id="epoch is empty"),
            pytest.param("SUBMIT_REDUCE_JOB", b"f\0u\0r\0a\0d", [b"f", b"u", b"r", b"a", b"d"], id="reduce"),
            pytest.param("SUBMIT_REDUCE_JOB", b"f\0u\0r\0\0d", [b"f", b"u", b"r", b"", b"d"], id="no aggregator"),
            pytest.param("CAN_DO", b"", [b""], id="CAN_DO empty"),
            pytest.param("CAN_DO_TIMEOUT", b"f\0soon", [b"f", b"soon"], id="timeout is a word"),
            pytest.param("CAN_DO_TIMEOUT", b"f\0\0\0\x13\x88", [b"f", b"\0\0\x13\x88"], id="timeout in binary"),
            pytest.param("GET_STATUS", b"", [b""], id="GET_STATUS empty"),
            pytest.param("GET_STATUS", b"H:a:1\0", [b"H:a:1"], id="GET_STATUS with NUL"),
            pytest.param("GET_STATUS", H63, [H63], id="GET_STATUS of 63 bytes"),
            pytest.param("GET_STATUS_UNIQUE", b"", [b""], id="GET_STATUS_UNIQUE empty"),
            pytest.param("GET_STATUS_UNIQUE", b"u" * 63, [b"u" * 63], id="GET_STATUS_UNIQUE of 63 bytes"),
            pytest.param("OPTION_REQ", b"", [b""], id="option empty"),
            pytest.param("OPTION_REQ", b"exceptions\0", [b"exceptions\0"], id="option with NUL, echoed as it is"),
            pytest.param("WORK_COMPLETE", b"H:a:1\0", [b"H:a:1", b""], id="WORK_COMPLETE empty"),
            pytest.param("WORK_STATUS", b"H\0half\0whole", [b"H", b"half", b"whole"], id="WORK_STATUS words"),
            pytest.param("WORK_STATUS", b"H\0\0", [b"H", b"", b""], id="WORK_STATUS empty numbers"),
            pytest.param("WORK_STATUS", b"H\x001\x002\0", [b"H", b"1", b"2"], id="WORK_STATUS with NUL at the end"),
            pytest.param("WORK_FAIL", b"H:a:1\0", [b"H:a:1"], id="WORK_FAIL with NUL"),
            pytest.param("WORK_DATA", b"H\0a\0b", [b"H", b"a\0b"], id="WORK_DATA with NULs"),
            pytest.param("ECHO_REQ", b"", [b""], id="ECHO_REQ empty"),
            pytest.param("ECHO_REQ", b"\0\0a\0", [b"\0\0a\0"], id="ECHO_REQ with NULs"),
            pytest.param("SET_CLIENT_ID", b"", [b""], id="client id empty"),
            pytest.param("SET_CLIENT_ID", b"i" * 127, [b"i" * 127], id="client id of 127 bytes"),
            pytest.param("SET_CLIENT_ID", b"i" * 300, [b"i" * 127], id="client id of 300 bytes"),
        ],
    )
    def test_are_read_as_gearmand_reads_them(self, kind, body, args):
        assert read_one(raw(PacketType[kind], body)) == Packet(PacketType[kind], args)

    @pytest.mark.parametrize(
        ("data", "fault"),
        [
            pytest.param(raw(16, b"x", RES), REQUEST_MAGIC, id="response magic on ECHO_REQ"),
            pytest.param(raw(7, b"f\0\0x", RES), REQUEST_MAGIC, id="response magic on SUBMIT_JOB"),
            pytest.param(raw(5, b"x"), NOT_EXPECTED, id="type 5"),
            pytest.param(raw(24, b""), NOT_EXPECTED, id="ALL_YOURS"),
            pytest.param(raw(35, b"f\0\x001\x002\x003\x004\x005\0x"), NOT_EXPECTED, id="SUBMIT_JOB_SCHED"),
            pytest.param(raw(18, b"f\0" + b"u" * 65 + b"\0x"), LARGE_UNIQUE, id="unique of 65 bytes"),
            pytest.param(raw(7, b"f\0" + b"u" * 20000 + b"\0x"), LARGE_UNIQUE, id="unique of 20000 bytes"),
        ],
    )
    def test_are_refused_as_gearmand_refuses_them_and_the_connection_goes_on(self, data, fault):
        assert read_one(data) == fault

    @pytest.mark.parametrize("kind", [kind for kind, layout in LAYOUTS.items() if not layout.route & TO_SERVER])
    def test_that_only_servers_send_are_not_expected(self, kind):
        assert read_one(raw(kind, b"a\0b\0c\0d\0e\0f")) == NOT_EXPECTED


class TestWhereGearmandLosesTheFraming:
    """Each of these makes gearmand hang, crash or close; here it is mended or refused, and the next one is read."""

    @pytest.mark.parametrize(
        ("kind", "body", "args"),
        [
            pytest.param("WORK_COMPLETE", b"H:a:1", [b"H:a:1", b""], id="WORK_COMPLETE without NUL"),
            pytest.param("WORK_EXCEPTION", b"H:a:1", [b"H:a:1", b""], id="WORK_EXCEPTION without NUL"),
            pytest.param("WORK_DATA", b"H:a:1", [b"H:a:1", b""], id="WORK_DATA without NUL"),
            pytest.param("WORK_WARNING", b"H:a:1", [b"H:a:1", b""], id="WORK_WARNING without NUL"),
            pytest.param("CAN_DO_TIMEOUT", b"f", [b"f", b""], id="CAN_DO_TIMEOUT without a timeout"),
            pytest.param("CAN_DO_TIMEOUT", b"f\0" + b"9" * 20, [b"f", b"9" * 20], id="CAN_DO_TIMEOUT of 20 digits"),
            pytest.param("CAN_DO", b"f\0", [b"f"], id="CAN_DO with NUL at the end"),
            pytest.param("CANT_DO", b"f\0", [b"f"], id="CANT_DO with NUL at the end"),
            pytest.param("GET_STATUS_UNIQUE", b"u" * 64, [b"u" * 64], id="GET_STATUS_UNIQUE of 64 bytes"),
            pytest.param("SET_CLIENT_ID", b"a\0b", [b"a"], id="client id with NUL"),
        ],
    )
    def test_what_is_plainly_meant_is_taken(self, kind, body, args):
        assert read_one(raw(PacketType[kind], body)) == Packet(PacketType[kind], args)

    @pytest.mark.parametrize(
        ("kind", "body", "lacking"),
        [
            ("SUBMIT_JOB", b"f", "unique, workload"),
            ("SUBMIT_JOB", b"f\0uniq", "workload"),
            ("SUBMIT_JOB", b"", "unique, workload"),
            ("SUBMIT_JOB_BG", b"only_part", "unique, workload"),
            ("SUBMIT_JOB_EPOCH", b"f\0\0x", "workload"),
            ("SUBMIT_REDUCE_JOB", b"f\0u\0red\0data", "workload"),
            ("WORK_STATUS", b"H:a:1\x001", "denominator"),
            ("WORK_STATUS", b"", "numerator, denominator"),
        ],
    )
    def test_missing_arguments_are_named(self, kind, body, lacking):
        fault = read_one(raw(PacketType[kind], body))
        assert fault.code == b"INVALID_ARGUMENTS"
        assert not fault.fatal
        assert fault.text.startswith(f"{kind} lacks {lacking};".encode())
        assert fault.text.endswith(", ".join(LAYOUTS[PacketType[kind]].arguments).encode())

    @pytest.mark.parametrize("kind", ["CAN_DO", "CANT_DO", "GET_STATUS", "WORK_FAIL", "GET_STATUS_UNIQUE"])
    def test_a_name_with_a_nul_inside_is_no_name(self, kind):
        fault = read_one(raw(PacketType[kind], b"golden\0more"))
        assert fault.code == b"INVALID_ARGUMENTS"
        assert fault.text.startswith(kind.encode())
        assert fault.text.endswith(b"must not hold a NUL")
        assert not fault.fatal

    @pytest.mark.parametrize(
        ("kind", "body", "fault"),
        [
            ("SUBMIT_JOB_BG", b"f" * 513 + b"\0\0x", LARGE_FUNCTION),
            ("SUBMIT_JOB_BG", b"f" * 20000 + b"\0\0x", LARGE_FUNCTION),
            ("SUBMIT_REDUCE_JOB", b"f" * 513 + b"\0u\0r\0a\0x", LARGE_FUNCTION),
            ("SUBMIT_REDUCE_JOB", b"f\0u\0" + b"r" * 513 + b"\0a\0x", LARGE_FUNCTION),
            ("SUBMIT_JOB_EPOCH", b"f\0" + b"u" * 65 + b"\x000\0x", LARGE_UNIQUE),
            ("CAN_DO", b"f" * 513, LARGE_FUNCTION),
            ("CAN_DO", b"f" * 20000, LARGE_FUNCTION),
            ("CANT_DO", b"f" * 513, LARGE_FUNCTION),
            ("CAN_DO_TIMEOUT", b"f" * 513 + b"\x005000", LARGE_FUNCTION),
            ("WORK_FAIL", H64, LARGE_HANDLE),
            ("GET_STATUS", H64, LARGE_HANDLE),
            ("GET_STATUS", b"h" * 5000, LARGE_HANDLE),
            ("GET_STATUS_UNIQUE", b"u" * 65, LARGE_UNIQUE),
            ("WORK_STATUS", H64 + b"\x001\x002", LARGE_HANDLE),
            ("WORK_COMPLETE", b"h" * 500, LARGE_HANDLE),
            ("WORK_DATA", H64 + b"\0d", LARGE_HANDLE),
        ],
    )
    def test_names_over_their_limits_are_refused(self, kind, body, fault):
        assert read_one(raw(PacketType[kind], body)) == fault

    def test_names_at_their_limits_may_have_a_nul_behind_them(self):
        assert read_one(raw(PacketType.CAN_DO, b"f" * 512 + b"\0")).args == [b"f" * 512]
        assert read_one(raw(PacketType.GET_STATUS, H63 + b"\0")).args == [H63]


class TestOptionNames:
    @pytest.mark.parametrize("name", [b"exceptions", b"EXCEPTIONS", b"Exceptions\0"])
    def test_are_compared_without_case_and_closing_nul(self, name):
        assert option_name(name) == b"exceptions"

    def test_are_otherwise_as_they_are(self):
        assert option_name(b"exceptions ") != b"exceptions"


class TestWhatAServerSends:
    @pytest.mark.parametrize(
        ("data", "packet"),
        [
            (raw(14, b"H:a:1\0", RES), Packet(PacketType.WORK_FAIL, [b"H:a:1"])),
            (raw(8, b"H:a:1\0", RES), Packet(PacketType.JOB_CREATED, [b"H:a:1"])),
            (raw(13, b"H:a:1", RES), Packet(PacketType.WORK_COMPLETE, [b"H:a:1", b""])),
            (raw(6, b"junk", RES), Packet(PacketType.NOOP, [])),
            (raw(11, b"H\0f\0w\0w", RES), Packet(PacketType.JOB_ASSIGN, [b"H", b"f", b"w\0w"])),
            (raw(11, b"H\0" + b"f" * 7000 + b"\0w", RES), Packet(PacketType.JOB_ASSIGN, [b"H", b"f" * 7000, b"w"])),
        ],
    )
    def test_is_read_with_gearmands_habits(self, data, packet):
        assert PeerDecoder().feed(data) == [packet]

    def test_is_refused_if_arguments_are_missing(self):
        (fault,) = PeerDecoder().feed(raw(20, b"H\x001\x001", RES))
        assert fault.code == b"INVALID_ARGUMENTS"
        assert fault.text.startswith(b"STATUS_RES lacks numerator, denominator;")

    def test_is_refused_if_it_is_a_request(self):
        echo = encode_response(PacketType.ECHO_RES, b"on")
        events = PeerDecoder().feed(raw(16, b"x") + raw(16, b"x", RES) + echo)
        magic = Fault(b"INVALID_MAGIC", b"Response magic expected", fatal=False)
        assert events == [magic, NOT_EXPECTED, Packet(PacketType.ECHO_RES, [b"on"])]
