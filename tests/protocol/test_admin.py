import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import (
    AdminCommand,
    AdminFault,
    CancelJob,
    CreateFunction,
    DropFunction,
    GetPid,
    MaxQueue,
    PriorityStatus,
    ServerDecoder,
    ShowJobs,
    ShowMaxQueue,
    ShowUniqueJobs,
    Status,
    Verbose,
    Version,
    Workers,
    parse_line,
)

UNKNOWN = b"ERR UNKNOWN_COMMAND Unknown+server+command"
INCOMPLETE = b"ERR INVALID_ARGUMENTS An+incomplete+set+of+arguments+was+sent+to+this+command+"
UNKNOWN_SHOW = b"ERR UNKNOWN_SHOW_ARGUMENTS\r\n"
UNKNOWN_CANCEL = b"ERR UNKNOWN_ERROR\r\n"
TOO_LARGE = b"ERR ARGUMENT_TOO_LARGE Function+value+too+large\r\n"


def read(line):
    """What the decoder makes of one line: a command, or the answer to a line that is none."""
    (event,) = ServerDecoder().feed(line)
    if isinstance(event, AdminFault):
        assert not event.fatal
        return event.line
    return event


class TestRecordedLines:
    """Lines of the recording of gearmand 1.1.20 that are answered as there."""

    @pytest.mark.parametrize(
        ("line", "meaning"),
        [
            (b"version\n", Version()),
            (b"status\n", Status()),
            (b"workers\n", Workers()),
            (b"prioritystatus\n", PriorityStatus()),
            (b"show jobs\n", ShowJobs()),
            (b"show unique jobs\n", ShowUniqueJobs()),
            (b"getpid\n", GetPid()),
            (b"verbose\n", Verbose()),
            (b"version\r\n", Version()),
            (b"VERSION\n", Version()),
            (b"StAtUs\n", Status()),
            (b"SHOW JOBS\n", ShowJobs()),
            (b"version extra words\n", Version()),
            (b"status golden\n", Status()),
            (b"workers x\n", Workers()),
            (b"version \n", Version()),
            (b" version\n", UNKNOWN + b"\r\n"),
            (b"show  unique   jobs\n", ShowUniqueJobs()),
            (b"version\t\n", UNKNOWN + b"version\t\r\n"),
            (b"show\tjobs\n", UNKNOWN + b"show\tjobs\r\n"),
            (b"\n", UNKNOWN + b"\r\n"),
            (b"\r\n", UNKNOWN + b"\r\n"),
            (b"   \n", UNKNOWN + b"\r\n"),
            (b"golden_unknown a b\n", UNKNOWN + b"golden_unknown\r\n"),
            (b"golden_unknown\r\n", UNKNOWN + b"golden_unknown\r\n"),
            (b"help\n", UNKNOWN + b"help\r\n"),
            (b"clients\n", UNKNOWN + b"clients\r\n"),
            (b"a b c d e\n", UNKNOWN + b"a\r\n"),
            (b"ver\x00sion\n", UNKNOWN + b"ver\r\n"),
            (b"version\x00\n", Version()),
            (b"\xff\xfe\xfd\n", UNKNOWN + b"\xff\xfe\xfd\r\n"),
            (b"gr\xc3\xb6\xc3\x9fe\n", UNKNOWN + b"gr\xc3\xb6\xc3\x9fe\r\n"),
            (b"%s%n%d\n", UNKNOWN + b"%s%n%d\r\n"),
            (b"w" * 7000 + b"\n", UNKNOWN + b"w" * 7000 + b"\r\n"),
            (b"create\n", INCOMPLETE + b"create\r\n"),
            (b"create function\n", INCOMPLETE + b"create\r\n"),
            (b"create golden x\n", INCOMPLETE + b"create\r\n"),
            (b"create function golden_x golden_y\n", INCOMPLETE + b"create\r\n"),
            (b"create function golden_d \n", INCOMPLETE + b"create\r\n"),
            (b"create function golden_c\r\n", CreateFunction(b"golden_c")),
            (b"drop\n", INCOMPLETE + b"drop\r\n"),
            (b"drop function\n", INCOMPLETE + b"drop\r\n"),
            (b"drop golden x\n", INCOMPLETE + b"drop\r\n"),
            (b"drop function golden_c x\n", INCOMPLETE + b"drop\r\n"),
            (b"drop function golden_c\r\n", DropFunction(b"golden_c")),
            (b"DROP FUNCTION golden_nosuch\n", DropFunction(b"golden_nosuch")),
            (b"maxqueue\n", INCOMPLETE + b"maxqueue\r\n"),
            (b"maxqueue f\n", MaxQueue(b"f", None)),
            (b"maxqueue f 2\n", MaxQueue(b"f", (2, 2, 2))),
            (b"maxqueue f 0\n", MaxQueue(b"f", (None, None, None))),
            (b"maxqueue f -1\n", MaxQueue(b"f", (None, None, None))),
            (b"maxqueue f 1 2 3\n", MaxQueue(b"f", (1, 2, 3))),
            (b"maxqueue f 1 2\n", MaxQueue(b"f", (1, 2, None))),
            (b"maxqueue f 0 1 0\n", MaxQueue(b"f", (None, 1, None))),
            (b"MAXQUEUE golden_q20 1\r\n", MaxQueue(b"golden_q20", (1, 1, 1))),
            (b"show\n", UNKNOWN + b"show\r\n"),
            (b"show golden\n", UNKNOWN_SHOW),
            (b"show jobs extra\n", UNKNOWN_SHOW),
            (b"show unique\n", UNKNOWN_SHOW),
            (b"show unique jobs extra\n", UNKNOWN_SHOW),
            (b"cancel\n", UNKNOWN + b"cancel\r\n"),
            (b"cancel job\n", UNKNOWN + b"cancel\r\n"),
            (b"cancel golden x\n", UNKNOWN_CANCEL),
            (b"cancel job H:nowhere:1 extra\n", UNKNOWN_CANCEL),
            (b"cancel job H:vm:52\n", CancelJob(b"H:vm:52")),
            (b"shutdown\n", UNKNOWN + b"shutdown\r\n"),
            (b"shutdown graceful\n", UNKNOWN + b"shutdown\r\n"),
        ],
    )
    def test_mean_what_they_mean_to_gearmand(self, line, meaning):
        assert read(line) == meaning

    def test_of_an_http_request_are_answered_one_by_one(self):
        events = ServerDecoder().feed(b"GET / HTTP/1.0\r\nHost: x\r\n\r\n")
        assert [event.line for event in events] == [UNKNOWN + word + b"\r\n" for word in (b"GET", b"Host:", b"")]

    def test_wait_for_their_end(self):
        decoder = ServerDecoder()
        assert decoder.feed(b"ver") == decoder.feed(b"si") == decoder.feed(b"on\r") == []
        assert decoder.pending == 8
        assert decoder.feed(b"\n") == [Version()]
        assert decoder.pending == 0


class TestWhereGearmandHurts:
    @pytest.mark.parametrize(
        ("line", "meaning"),
        [
            (b"create function golden_a\n", CreateFunction(b"golden_a")),
            (b"CREATE FUNCTION golden_B\n", CreateFunction(b"golden_B")),
            (b"CREATE\n", INCOMPLETE + b"CREATE\r\n"),
            (b"create function \n", INCOMPLETE + b"create\r\n"),
            (b"create function " + b"f" * 512 + b"\n", CreateFunction(b"f" * 512)),
            (b"create function " + b"f" * 513 + b"\n", TOO_LARGE),
            (b"maxqueue " + b"f" * 513 + b" 1\n", TOO_LARGE),
            (b"a b c d e f\n", UNKNOWN + b"a\r\n"),
            (b"a b c d e f g h\n", UNKNOWN + b"a\r\n"),
            (b"version b c d e f g h i j k l\n", Version()),
            (b"w" * 20000 + b"\n", UNKNOWN + b"w" * 20000 + b"\r\n"),
            (b"w" * 65536 + b"\n", UNKNOWN + b"w" * 65536 + b"\r\n"),
            (b"cancel job " + b"h" * 64 + b"\n", b"ERR UNKNOWN_JOB\r\n"),
            (b"show maxqueue\n", ShowMaxQueue(None)),
            (b"Show MaxQueue golden_Q\n", ShowMaxQueue(b"golden_Q")),
            (b"show maxqueue f g\n", UNKNOWN_SHOW),
            (b"maxqueue f 99999999999\n", MaxQueue(b"f", (2**32 - 1,) * 3)),
            (b"maxqueue f " + b"9" * 5000 + b"\n", MaxQueue(b"f", (2**32 - 1,) * 3)),
            (b"maxqueue f 007\n", MaxQueue(b"f", (7, 7, 7))),
        ],
    )
    def test_the_obvious_is_done(self, line, meaning):
        assert read(line) == meaning

    @pytest.mark.parametrize("number", [b"abc", b"2x", b"1.5", b"", b"--1", b"\xff"])
    @pytest.mark.parametrize("place", [0, 1, 2])
    def test_a_limit_that_is_no_number_is_named(self, number, place):
        numbers = [*[b"1", b"2", b"3"][:place], number]
        answer = read(b"maxqueue f " + b" ".join(numbers) + b"\n")
        assert answer == (
            b"ERR INVALID_ARGUMENTS A+limit+must+be+a+whole+number,+not+'%b',+for+this+command+maxqueue\r\n" % number
        )

    def test_four_limits_are_one_too_many(self):
        assert read(b"maxqueue f 1 2 3 4\n") == (
            b"ERR INVALID_ARGUMENTS At+most+three+limits+(high,+normal,+low)+are+taken+by+this+command+maxqueue\r\n"
        )

    @pytest.mark.parametrize("size", [65537, 200_000])
    @pytest.mark.parametrize("end", [b"", b"\nversion\n"])
    def test_a_line_over_the_limit_is_answered_and_ends_the_stream(self, size, end):
        decoder = ServerDecoder()
        events = decoder.feed(b"version\n" + b"w" * size + end)
        answer = b"ERR ARGUMENT_TOO_LARGE The+line+is+longer+than+65536+bytes\r\n"
        assert events == [Version(), AdminFault(answer, fatal=True)]
        assert decoder.lost
        assert decoder.pending == 0
        assert decoder.feed(b"version\n") == []

    def test_a_line_that_never_ends_is_given_up_when_it_passes_the_limit(self):
        decoder = ServerDecoder()
        assert decoder.feed(b"w" * 65000) == decoder.feed(b"w" * 536) == []
        assert decoder.pending == 65536
        (fault,) = decoder.feed(b"w")
        assert isinstance(fault, AdminFault)
        assert fault.fatal


WORDS = st.sampled_from(
    [b"", b"status", b"show", b"jobs", b"unique", b"MaxQueue", b"create", b"drop", b"function", b"cancel", b"job"]
) | st.binary(max_size=20)


class TestAnyLine:
    @settings(deadline=None)
    @given(st.lists(WORDS, max_size=8).map(b" ".join))
    def test_is_a_command_or_has_one_line_as_its_answer(self, line):
        meaning = parse_line(line.replace(b"\n", b""))
        assert isinstance(meaning, AdminCommand)
        if isinstance(meaning, AdminFault):
            assert meaning.line.startswith(b"ERR ")
            assert meaning.line.endswith(b"\r\n")
            assert meaning.line.count(b"\n") == 1
