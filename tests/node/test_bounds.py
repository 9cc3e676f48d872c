"""Bounds in bytes follow from one another: what one step lets through, the next one takes.

Whatever a client may send is encoded here as every step encodes it, at its largest, and compared with what the next
step takes. Not for: what is seen at a bound, which the tests of each part show.
"""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.jobs import Batch, Submit, encode_proposal, propose
from cluster.log import Entry, EntryKind
from cluster.mesh import Limits
from cluster.mesh.settings import MAX_MESSAGE, MAX_REPORT
from cluster.raft import Configuration, RaftConfig, SnapshotMeta, encode
from cluster.raft.messages import Append, SnapshotChunk
from cluster.storage.store import READ_BYTES
from node.alarms import LARGEST_RESERVE
from node.configuration import model
from node.configuration.settings import LARGEST_PACKET
from node.driver import gathering, intake, mirroring, uploads
from node.driver.intake import Intake
from node.peers import MAX_BATCHES
from node.relay import MAX_UNACKNOWLEDGED, Report, Reports
from node.server import KEPT_LOG_BYTES, LEAST_KEPT, RECENT_LOG_BYTES, kept_bytes
from protocol import MAX_FUNCTION, MAX_UNIQUE, PacketType
from tests.cluster.jobs.anything import commands

NAME = "n" * 72
"""The longest id of a node: a name of 63 bytes, a hyphen and eight digits."""
MOST = 2**63 - 1
CONFIG = RaftConfig(id=NAME, randrange=lambda n: n - 1, max_recent_bytes=RECENT_LOG_BYTES)


def names(command) -> int:
    """Give the bytes of names and data in a command."""
    values = [getattr(command, field) for field in command.__struct_fields__]
    return sum(len(value if isinstance(value, bytes) else value.encode()) for value in values if not _number(value))


def _number(value) -> bool:
    return isinstance(value, int)


def largest_batch() -> Batch:
    """Make a batch of commands that have the largest numbers, as heavy as a batch may be."""
    submit = Submit(
        MOST, b"f" * MAX_FUNCTION, b"u" * MAX_UNIQUE, b"", 2, background=True, due=MOST, ticket=MOST, upload=MOST
    )
    fixed = gathering.COMMAND_BYTES + MAX_FUNCTION + MAX_UNIQUE
    count = gathering.MAX_BATCH_BYTES // fixed
    return Batch(NAME, MOST, MOST, [submit] * count)


class TestACommand:
    @given(commands)
    def test_takes_no_more_than_its_names_and_what_is_reckoned_for_the_rest(self, command):
        assert len(msgspec.msgpack.encode(command)) <= names(command) + gathering.COMMAND_BYTES

    def test_with_the_largest_part_and_names_fits_into_a_batch(self):
        assert uploads.PART + MAX_FUNCTION + MAX_UNIQUE + gathering.COMMAND_BYTES <= gathering.MAX_BATCH_BYTES

    def test_goes_in_parts_of_which_a_few_are_on_their_way(self):
        assert uploads.PART <= uploads.WINDOW <= gathering.MAX_BATCH_BYTES


class TestABatch:
    def test_is_no_longer_than_it_weighs_and_its_own_fields(self):
        assert len(msgspec.msgpack.encode(largest_batch())) <= gathering.MAX_BATCH

    def test_of_empty_commands_is_bounded_by_their_number(self):
        assert gathering.MAX_BATCH_COMMANDS * gathering.COMMAND_BYTES <= gathering.MAX_BATCH_BYTES

    def test_fits_into_a_message_and_that_into_a_lane(self):
        assert gathering.MAX_BATCH < MAX_BATCHES < MAX_MESSAGE

    def test_and_all_others_of_the_backlog_fit_into_the_lane_beside_the_entries_under_way(self):
        limits = Limits()
        unapplied = gathering.MAX_BACKLOG + gathering.MAX_BATCH + gathering.MAX_WRITE_BYTES
        appends = CONFIG.max_inflight_bytes + CONFIG.max_append_bytes + intake.MAX_ENTRY
        assert unapplied + appends <= limits.entries


class TestAnEntry:
    def test_holds_what_the_largest_batch_holds(self):
        assert len(encode_proposal(propose(MOST, [largest_batch()]))) <= intake.MAX_ENTRY

    @given(st.lists(st.integers(1, gathering.MAX_BATCH_BYTES), min_size=1, max_size=30))
    def test_is_never_longer_whatever_batches_wait(self, weights):
        waiting = Intake(None, None)
        waiting._waiting.extend((Batch(NAME, 1, 1, []), weight) for weight in weights)
        while waiting._waiting:
            count, weight = waiting._fitting()
            assert weight + count * gathering.BATCH_BYTES + intake.PROPOSAL_BYTES <= intake.MAX_ENTRY
            for _ in range(count):
                waiting._waiting.popleft()

    def test_fits_into_a_message_with_those_that_go_with_it(self):
        entries = (Entry(MOST, MOST, EntryKind.COMMANDS, bytes(intake.MAX_ENTRY)),)
        assert len(encode(Append(NAME, NAME, MOST, MOST, MOST, entries, MOST))) < MAX_MESSAGE
        assert CONFIG.max_append_bytes + intake.MAX_ENTRY < MAX_MESSAGE

    def test_fits_into_what_may_be_under_way_and_not_committed(self):
        assert intake.MAX_ENTRY <= CONFIG.max_inflight_bytes <= CONFIG.max_uncommitted_bytes

    def test_fits_into_what_is_applied_at_once_and_kept_in_memory(self):
        assert CONFIG.max_apply_bytes >= intake.MAX_ENTRY
        assert CONFIG.max_recent_bytes >= intake.MAX_ENTRY


class TestASnapshot:
    def test_is_sent_in_pieces_that_fit_into_a_message_and_their_window_into_the_lane(self):
        meta = SnapshotMeta(MOST, MOST, Configuration((NAME,) * 7, (NAME,) * 7, (NAME,) * 7))
        data = bytes(CONFIG.chunk_bytes)
        piece = encode(SnapshotChunk(NAME, NAME, MOST, MOST, meta, MOST, data, 2**32 - 1, done=True))
        assert len(piece) < MAX_MESSAGE
        assert CONFIG.chunk_window * len(piece) <= Limits().snapshots


class TestAResult:
    @pytest.mark.parametrize("kind", [PacketType.WORK_COMPLETE, PacketType.WORK_DATA])
    def test_of_the_largest_packet_fits_into_a_report(self, kind):
        report = Report(MOST, [MOST], kind, [b"H" * 63, b""], MOST)
        assert len(msgspec.msgpack.encode(Reports(MOST, MOST, MOST, [report]))) + LARGEST_PACKET < MAX_REPORT

    def test_may_be_for_a_million_listeners(self):
        report = Report(MOST, [MOST] * 10**6, PacketType.WORK_COMPLETE, [b"H" * 63, b""], MOST)
        assert len(msgspec.msgpack.encode(Reports(MOST, MOST, MOST, [report]))) + LARGEST_PACKET < MAX_REPORT

    def test_and_what_is_not_acknowledged_fit_into_the_lane(self):
        assert MAX_UNACKNOWLEDGED + model.Configuration(name="n", data_dir="/n").max_packet <= Limits().reports


class TestTheLogThatIsKept:
    def test_fits_into_the_disk_space_that_is_to_be_free(self):
        assert kept_bytes(LARGEST_RESERVE) == KEPT_LOG_BYTES == LARGEST_RESERVE // 4
        assert kept_bytes(400 << 20) == 100 << 20
        assert kept_bytes(0) == KEPT_LOG_BYTES  # no bound

    def test_is_no_less_than_what_there_is_between_two_mirrors(self):
        assert kept_bytes(1) == LEAST_KEPT >= 2 * mirroring.MIRROR_LOG_BYTES

    def test_is_many_times_what_may_be_proposed_beyond_a_bound(self):
        assert CONFIG.max_inflight_bytes + intake.MAX_ENTRY <= LEAST_KEPT // 2

    def test_is_read_in_pieces_that_hold_what_is_on_its_way_to_a_member(self):
        assert CONFIG.max_inflight_bytes <= READ_BYTES
