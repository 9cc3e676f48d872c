"""Proposals as bytes: whatever is written is read again, and whatever cannot be read is refused by the one error."""

import typing

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cluster.jobs import (
    Batch,
    Command,
    Grab,
    JobTableError,
    NodeDown,
    NodeUp,
    Proposal,
    UnreadableProposalError,
    decode_proposal,
    encode_proposal,
    propose,
)
from tests.cluster.jobs import anything

pack = msgspec.msgpack.encode


def with_commands(*commands):
    return pack([2, 7, [["a", 1, 1, list(commands)]]])


def read(data):
    """Read a proposal, or see it refused as it should be."""
    try:
        return decode_proposal(data)
    except UnreadableProposalError:
        return None


class TestAProposal:
    @given(anything.proposals)
    def test_comes_back_as_it_was(self, proposal):
        assert decode_proposal(encode_proposal(proposal)) == proposal

    def test_of_nothing_but_the_time_is_small(self):
        data = encode_proposal(propose(1_700_000_000_000, []))
        assert len(data) <= 13
        assert decode_proposal(data) == Proposal(2, 1_700_000_000_000, [])

    def test_may_leave_out_what_has_a_default(self):
        """What an older version wrote before a field was added at the end."""
        proposal = decode_proposal(with_commands([9, 1, b"f", b"", b"w", 1, True]))
        assert (proposal.batches[0].commands[0].due, proposal.batches[0].commands[0].reducer) == (0, b"")

    def test_keeps_the_tag_of_every_command(self):
        """Logs on disk hold these numbers: a new command takes a new one, wherever it stands in the list."""
        structs = typing.get_args(Command)
        tags = [1, *range(3, 10), 30, 10, 20, *range(11, 20), 21]
        assert [struct.__struct_config__.tag for struct in structs] == tags
        assert NodeDown.__struct_config__.tag == 2

    def test_tells_its_errors_apart_from_others(self):
        assert issubclass(UnreadableProposalError, JobTableError)


class TestAnUnreadableProposal:
    @pytest.mark.parametrize(
        "data",
        [
            pytest.param(b"", id="nothing"),
            pytest.param(b"\xc1", id="a byte that msgpack does not use"),
            pytest.param(pack([]), id="no fields"),
            pytest.param(pack([2, 7]), id="too few fields"),
            pytest.param(pack([3, 7, []]), id="another format"),
            pytest.param(pack([0, 7, []]), id="format zero"),
            pytest.param(pack([2, 7, [], [], 1]), id="a field more"),
            pytest.param(pack([2, 7, [["a", 1, 1, [], 0]]]), id="a field more in a batch"),
            pytest.param(pack([2, "7", []]), id="a time that is no number"),
            pytest.param(pack([2, 7.5, []]), id="a time that is no integer"),
            pytest.param(pack([2, 7, [["a", 1, 1, None]]]), id="no list of commands"),
            pytest.param(pack({"format": 2}), id="a map"),
            pytest.param(with_commands([99, 1]), id="an unknown command"),
            pytest.param(with_commands([2, "a", 1]), id="a decision among commands"),
            pytest.param(pack([2, 7, [], [[99, "a", 1]]]), id="an unknown decision"),
            pytest.param(with_commands([0]), id="tag zero"),
            pytest.param(with_commands(["Grab", 1, 0]), id="a tag that is no number"),
            pytest.param(with_commands([10, 1, 0, "more"]), id="a field more in a command"),
            pytest.param(with_commands([10, 1]), id="a field less in a command"),
            pytest.param(with_commands([9, 1, "f", b"", b"", 1, True]), id="text where bytes belong"),
            pytest.param(b"\x93\x02\x00\x91\x94\xa1\xff\x01\x01\x90", id="a name that is not UTF-8"),
            pytest.param(b"\x94\x02\x00\x90" + b"\x91" * 100_000 + b"\x90", id="deep nesting"),
            pytest.param(b"\x93\x02\x00\xdd\xff\xff\xff\xff", id="a list that promises too much"),
            pytest.param(b"\x93\x02\x00\x91\x94\xdb\xff\xff\xff\xff", id="a name that promises too much"),
        ],
    )
    def test_is_refused(self, data):
        with pytest.raises(UnreadableProposalError):
            decode_proposal(data)

    @given(anything.proposals, st.data())
    def test_is_any_that_was_cut_off(self, proposal, data):
        encoded = encode_proposal(proposal)
        length = data.draw(st.integers(0, len(encoded) - 1))
        with pytest.raises(UnreadableProposalError):
            decode_proposal(encoded[:length])

    @given(anything.proposals, st.binary(min_size=1, max_size=4))
    def test_is_any_with_bytes_behind_it(self, proposal, more):
        with pytest.raises(UnreadableProposalError):
            decode_proposal(encode_proposal(proposal) + more)

    @given(st.binary(max_size=200))
    @example(b"\x93\x02\x00\x91\x94\xa2\xed\xa0\x01\x01\x90")
    def test_raises_no_other_error_for_random_bytes(self, data):
        proposal = read(data)
        assert proposal is None or encode_proposal(proposal)

    @given(anything.proposals, st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=4))
    def test_raises_no_other_error_for_damaged_bytes(self, proposal, damage):
        data = bytearray(encode_proposal(proposal))
        for place, value in damage:
            data[place % len(data)] = value
        read(bytes(data))

    def test_says_which_format_it_has(self):
        with pytest.raises(UnreadableProposalError, match="format 9"):
            decode_proposal(encode_proposal(Proposal(9, 0, [Batch("a", 1, 1, [NodeUp(b"", 0), Grab(1, 0)])])))
