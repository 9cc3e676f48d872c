"""What nodes say, as bytes: everything comes back, nothing else gets in."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.formation import (
    Accepted,
    Add,
    FormationMessageError,
    FormationRecordError,
    Founder,
    Free,
    Joiner,
    Presence,
    Proposal,
    Remove,
    State,
    Transfer,
    decode,
    decode_record,
    encode,
    encode_record,
)
from cluster.formation.bounds import MAX_NODES, MAX_TEXT, clipped
from cluster.formation.messages import Answer, Decline, JoinRequest, Propose, Refusal, Request, Withdrawn

node_ids = st.text(min_size=1, max_size=40)
names = st.text(max_size=40)
texts = st.text(max_size=200)
counts = st.integers(0, 1 << 62)
nodes = st.lists(node_ids, max_size=6).map(tuple)
proposals = st.builds(Proposal, node_ids, node_ids, nodes)
orders = st.one_of(
    st.builds(Remove, node_ids, st.booleans()),
    st.builds(Transfer, node_ids),
    st.builds(Add, node_ids, st.integers(1, 65535)),
)
messages = st.one_of(
    st.builds(
        Presence,
        node=node_ids,
        name=names,
        instance=counts,
        sequence=counts,
        time=counts,
        state=st.sampled_from(State),
        expect=counts,
        links=nodes,
        group=names,
        members=nodes,
        index=counts,
        leader=names,
        accepted=st.none() | proposals,
        sees=names,
    ),
    st.builds(Propose, proposals, counts),
    st.builds(Decline, node_ids, texts),
    st.builds(Withdrawn, node_ids),
    st.builds(JoinRequest, node_ids, node_ids, names, counts),
    st.builds(Refusal, node_ids, texts),
    st.builds(Request, counts, orders),
    st.builds(Answer, counts, texts),
)


class TestMessages:
    @given(messages)
    def test_come_back_as_they_were(self, message):
        assert decode(encode(message)) == message

    @given(st.binary(max_size=300))
    def test_bytes_of_nobody_are_refused_or_make_a_message(self, data):
        try:
            message = decode(b"\x01" + data)
        except FormationMessageError:
            return
        assert decode(encode(message)) == message

    @given(messages, st.data())
    def test_damaged_ones_are_refused_or_make_another_message(self, message, data):
        damaged = bytearray(encode(message))
        position = data.draw(st.integers(0, len(damaged) - 1))
        damaged[position] ^= data.draw(st.integers(1, 255))
        cut = data.draw(st.integers(0, len(damaged)))
        for nonsense in (damaged, damaged[:cut]):
            try:
                decode(nonsense)
            except FormationMessageError:
                continue

    @pytest.mark.parametrize(
        ("data", "what"),
        [
            (b"", "of 0 bytes"),
            (b"\x02\xc0", "of version 2; this node speaks 1"),
            (b"\x01", "not a formation message"),
            (b"\x01\x91\x63", "not a formation message"),
            (b"\x01" + b"\x91" * 5000, "not a formation message"),
            (b"\x01" + bytes(1 << 20), "of 1048577 bytes"),
        ],
    )
    def test_say_what_is_wrong_with_them(self, data, what):
        with pytest.raises(FormationMessageError, match=what):
            decode(data)

    @pytest.mark.parametrize(
        "message",
        [
            Withdrawn(""),
            Withdrawn("x" * 513),
            Refusal("a", "x" * (MAX_TEXT + 1)),
            Propose(Proposal("1", "a", ("a",) * (MAX_NODES + 1)), 3),
            Propose(Proposal("1", "a", ("a", "")), 3),
            Propose(Proposal("1", "a", ("a",)), -1),
            Request(1, Add("h", 65536)),
        ],
    )
    def test_without_measure_are_nonsense(self, message):
        with pytest.raises(FormationMessageError):
            decode(encode(message))

    def test_carry_a_reason_as_far_as_it_goes(self):
        reason = clipped("x" * 5000)
        assert (len(reason), reason[-4:]) == (MAX_TEXT, "x...")
        assert decode(encode(Decline("1", reason))) == Decline("1", reason)
        assert clipped("short") == "short"


class TestRecords:
    @given(
        st.one_of(
            st.just(Free()),
            st.builds(Accepted, proposals),
            st.builds(Founder, node_ids, nodes),
            st.builds(Joiner, node_ids, nodes, counts),
        )
    )
    def test_come_back_as_they_were(self, record):
        assert decode_record(encode_record(record)) == record

    def test_of_a_disk_without_one_are_free(self):
        assert decode_record(None) == Free()

    @pytest.mark.parametrize(
        ("data", "what"),
        [(b"", "version none"), (b"\x07abc", "has version 07, this gearmesh reads version 1"), (b"\x01abc", "be read")],
    )
    def test_of_another_version_or_damaged_are_refused(self, data, what):
        with pytest.raises(FormationRecordError, match=what):
            decode_record(data)

    @given(st.binary(max_size=100))
    def test_never_raise_anything_else(self, data):
        try:
            record = decode_record(b"\x01" + data)
        except FormationRecordError:
            return
        assert isinstance(record, msgspec.Struct)
