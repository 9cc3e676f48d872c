import pytest

from protocol import (
    FUNCTION_HAS_JOBS,
    FUNCTION_IN_USE,
    FUNCTION_NOT_FOUND,
    UNKNOWN_JOB,
    MaxQueue,
    error_line,
    limits_row,
    ok_line,
    parse_line,
    table,
    worker_row,
)


class TestLines:
    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            (ok_line(), b"OK\r\n"),
            (ok_line(4711), b"OK 4711\n"),
            (ok_line("1.1.20"), b"OK 1.1.20\n"),
            (ok_line(b"INFO"), b"OK INFO\n"),
            (error_line(b"UNKNOWN_ERROR"), b"ERR UNKNOWN_ERROR\r\n"),
            (error_line(b"QUEUE_ERROR", b"no quorum, try again"), b"ERR QUEUE_ERROR no+quorum,+try+again\r\n"),
            (UNKNOWN_JOB, b"ERR UNKNOWN_JOB\r\n"),
            (FUNCTION_NOT_FOUND, b"ERR function not found\r\n"),
            (FUNCTION_IN_USE, b"ERR there are still connected workers or executing clients\r\n"),
            (FUNCTION_HAS_JOBS, b"ERR there are still queued jobs\r\n"),
        ],
    )
    def test_end_as_gearmands_do(self, line, expected):
        assert line == expected


class TestTables:
    @pytest.mark.parametrize(
        ("rows", "expected"),
        [
            ([], b".\n"),
            ([(b"golden_j", 4, 1, 1)], b"golden_j\t4\t1\t1\n.\n"),
            ([(b"a", 0), (b"b", 1)], b"a\t0\nb\t1\n.\n"),
            ([(b"",), (b"golden-u1",)], b"\ngolden-u1\n.\n"),
            ([(b"golden_tab\tx", 0)], b"golden_tab\\tx\t0\n.\n"),
            ([("gr\xf6\xdfe", 0)], b"gr\xc3\xb6\xc3\x9fe\t0\n.\n"),
        ],
    )
    def test_have_tabs_between_cells_and_a_dot_at_the_end(self, rows, expected):
        assert table(rows) == expected

    @pytest.mark.parametrize(
        ("row", "line"), [((b".",), rb"\."), ((b"a\nb", 1), rb"a\nb" + b"\t1"), ((b"a\rb",), rb"a\rb")]
    )
    def test_are_not_ended_or_split_by_what_a_peer_chose_as_a_name(self, row, line):
        assert table([row]) == line + b"\n.\n"


class TestWorkerRows:
    @pytest.mark.parametrize(
        ("row", "line"),
        [
            (worker_row(33, "127.0.0.1", b"", []), b"33 127.0.0.1 - :"),
            (worker_row(33, "::1", b"golden id", [b"f g", b"h"]), b"33 ::1 golden id : f g h"),
        ],
    )
    def test_list_descriptor_address_id_and_functions(self, row, line):
        assert table([row]) == line + b"\n.\n"


class TestLimitRows:
    @pytest.mark.parametrize("limits", [(1, 2, 3), (None, 5, None), (None, None, None)])
    def test_show_what_maxqueue_takes_to_set_the_same_again(self, limits):
        row = table([limits_row(b"f", limits)]).splitlines()[0]
        assert parse_line(b"maxqueue " + row.replace(b"\t", b" ")) == MaxQueue(b"f", limits)
