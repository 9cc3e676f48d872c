"""Messages survive the way over the wire; bytes that are none of them give an error that says so, never silence."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.log import Entry, EntryKind
from cluster.raft import (
    Configuration,
    Message,
    MessageError,
    SnapshotMeta,
    UnknownEntryError,
    decode,
    decode_configuration,
    encode,
    encode_configuration,
)
from cluster.raft.messages import Append, Heartbeat, SnapshotAck, SnapshotChunk, SnapshotState

indexes = st.integers(0, 2**62)
names = st.text(min_size=1, max_size=8)
configurations = st.builds(
    Configuration, st.lists(names).map(tuple), st.lists(names).map(tuple), st.lists(names).map(tuple)
)
metas = st.builds(SnapshotMeta, indexes, indexes, configurations)
entries = st.builds(Entry, indexes, indexes, st.sampled_from(EntryKind), st.binary(max_size=50))
fields = {
    int: indexes,
    str: names,
    bool: st.booleans(),
    bytes: st.binary(max_size=50),
    SnapshotMeta: metas,
    SnapshotState: st.sampled_from(SnapshotState),
    tuple[Entry, ...]: st.lists(entries, max_size=5).map(tuple),
}
messages = st.one_of(
    *(st.builds(kind, *(fields[field.type] for field in msgspec.structs.fields(kind))) for kind in Message.__args__)
)


class TestMessages:
    @given(messages)
    def test_every_message_comes_back_as_it_was(self, message):
        assert decode(encode(message)) == message

    @given(messages)
    def test_a_message_may_come_in_any_kind_of_buffer(self, message):
        assert decode(bytearray(encode(message))) == decode(memoryview(encode(message))) == message

    def test_names_that_are_no_text_are_refused(self):
        good = encode(Heartbeat("node-a", "node-b", 7, 1000, 3))
        with pytest.raises(MessageError):
            decode(good.replace(b"node-b", b"node\xff\xff"))

    def test_a_heartbeat_is_small(self):
        assert len(encode(Heartbeat("node-a", "node-b", 7, 1000, 3))) < 30

    def test_entries_cost_little_more_than_their_data(self):
        batch = tuple(Entry(1000 + n, 7, EntryKind.COMMANDS, b"x" * 100) for n in range(100))
        assert len(encode(Append("a", "b", 7, 999, 7, batch, 990))) < 100 * 110 + 30


class TestNonsense:
    @given(st.binary(max_size=100))
    def test_any_bytes_give_a_message_or_a_clear_error(self, data):
        try:
            message = decode(data)
        except (MessageError, UnknownEntryError):
            return
        assert decode(encode(message)) == message

    @given(messages, st.data())
    def test_a_message_cut_short_is_an_error(self, message, data):
        whole = encode(message)
        with pytest.raises(MessageError):
            decode(whole[: data.draw(st.integers(0, len(whole) - 1))])

    def test_another_version_is_named(self):
        with pytest.raises(MessageError, match="wire version 9; this node speaks version 1"):
            decode(b"\x09" + encode(Heartbeat("a", "b", 1, 1, 1))[1:])

    def test_nesting_without_end_is_an_error(self):
        with pytest.raises(MessageError):
            decode(b"\x01" + b"\x91" * 100_000)

    def test_bug_40_an_unknown_kind_of_message_is_not_skipped(self):
        with pytest.raises(MessageError, match="not a message this node knows"):
            decode(b"\x01" + msgspec.msgpack.encode([99, "a", "b", 1]))

    def test_bug_40_an_unknown_kind_of_entry_stops_the_node(self):
        append = [5, "a", "b", 7, 1, 1, [[2, 7, 1, b""], [3, 7, 77, b""]], 1]
        with pytest.raises(UnknownEntryError, match="kind 77: this node is too old"):
            decode(b"\x01" + msgspec.msgpack.encode(append))

    def test_bug_40_a_configuration_of_another_version_stops_the_node(self):
        data = encode_configuration(Configuration(("a",)))
        assert decode_configuration(data) == Configuration(("a",))
        with pytest.raises(UnknownEntryError, match="version 02"):
            decode_configuration(b"\x02" + data[1:])

    @pytest.mark.parametrize(
        "configuration",
        [
            Configuration(),
            Configuration(("b", "a")),
            Configuration(("a", "a")),
            Configuration(("a", "")),
            Configuration(("a",), ("a",)),
        ],
    )
    def test_a_configuration_that_makes_no_sense_stops_the_node(self, configuration):
        with pytest.raises(UnknownEntryError, match="makes no sense"):
            decode_configuration(encode_configuration(configuration))

    def test_a_damaged_chunk_is_still_a_message(self):
        chunk = SnapshotChunk("a", "b", 1, 1, SnapshotMeta(1, 1), 0, b"data", 12345, done=True)
        assert decode(encode(chunk)) == chunk
        ack = SnapshotAck("b", "a", 1, 1, 0, SnapshotState.LOST)
        assert decode(encode(ack)) == ack
