import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import Fault, parse_epoch, parse_progress, parse_timeout

NINES = b"9" * 20


class TestEpoch:
    @pytest.mark.parametrize(
        ("raw", "seconds"),
        [
            (b"1700000000", 1_700_000_000),
            (b"  1700000000", 1_700_000_000),
            (b"+5", 5),
            (b"1700000000 or so", 1_700_000_000),
            (b"0" * 50 + b"7", 7),
            (b"soon", 0),
            (b"", 0),
            (b"-5", 0),
            (b"-" + NINES, 0),
            (b"253402300799", 253_402_300_799),
        ],
    )
    def test_is_read_as_gearmand_reads_it(self, raw, seconds):
        assert parse_epoch(raw) == seconds

    @pytest.mark.parametrize("raw", [b"253402300800", b"1700000000000", NINES, b"9" * 100_000])
    def test_beyond_the_year_9999_is_a_fault_that_quotes_it_and_names_the_unit(self, raw):
        fault = parse_epoch(raw)
        assert isinstance(fault, Fault)
        assert fault.code == b"INVALID_ARGUMENTS"
        assert not fault.fatal
        assert b"seconds since 1970" in fault.text
        assert raw[:40] in fault.text
        assert len(fault.text) < 200


class TestTimeout:
    @pytest.mark.parametrize(
        ("raw", "milliseconds"),
        [
            (b"5000", 5000),
            (b"1000", 1000),
            (b"999", 1000),
            (b"1", 1000),
            (b"5000\0", 5000),
            (b"0", None),
            (b"", None),
            (b"soon", None),
            (b"-1", None),
            (b"\0\0\x13\x88", None),
            (b"10000000000000", 10**13),
        ],
    )
    def test_is_milliseconds_or_none(self, raw, milliseconds):
        assert parse_timeout(raw) == milliseconds

    @pytest.mark.parametrize("raw", [b"10000000000001", NINES, b"1" * 21])
    def test_of_numbers_that_crash_gearmand_is_a_fault(self, raw):
        fault = parse_timeout(raw)
        assert isinstance(fault, Fault)
        assert fault.code == b"INVALID_ARGUMENTS"
        assert raw in fault.text
        assert not fault.fatal


class TestProgress:
    @pytest.mark.parametrize(
        ("raw", "number"),
        [
            (b"3", 3),
            (b"half", 0),
            (b"", 0),
            (b"0.5", 0),
            (b"1.0", 1),
            (b"-1", 0),
            (b"5000000000", 5_000_000_000),
            (b"9" * 30, 2**63 - 1),
            (b"9223372036854775807", 2**63 - 1),
            (b"9223372036854775808", 2**63 - 1),
        ],
    )
    def test_is_read_leniently_and_saturates(self, raw, number):
        assert parse_progress(raw) == number


class TestAnyBytes:
    @settings(deadline=None)
    @given(st.binary() | st.from_regex(rb"[ \t]*[+-]?[0-9]{1,30}[^0-9]?", fullmatch=True))
    def test_give_a_number_in_range_or_a_fault(self, raw):
        epoch, timeout = parse_epoch(raw), parse_timeout(raw)
        assert isinstance(epoch, Fault) or 0 <= epoch <= 253_402_300_799
        assert isinstance(timeout, Fault | None) or 1000 <= timeout <= 10**13
        assert 0 <= parse_progress(raw) < 2**63
