"""The table on disk: increments, segments, big workloads, and what is read back. Whole stories are the model's test."""

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.jobs import (
    SEGMENT,
    Cancel,
    Finish,
    JobTableError,
    MirrorWriter,
    Progress,
    SessionClose,
    Submit,
    Take,
    UnreadableMirrorError,
    Unreserve,
    digest,
    restore,
)
from tests.cluster.jobs.rig import Rig

BIG = b"x" * 4096
SMALL = b"x" * 4095


@pytest.fixture
def rig():
    return Rig()


@pytest.fixture
def writer():
    return MirrorWriter()


def submit(rig, count, workload=b""):
    rig.say(*(Submit(0, b"f", b"", workload, 1, background=True) for _ in range(count)))


def of_jobs(mirror):
    """Give the segments of jobs alone."""
    return [(number, data) for number, data in mirror.segments if number >= 0]


class TestAnIncrement:
    def test_of_an_untouched_table_holds_no_segment(self, rig, writer):
        submit(rig, 10)
        writer.take(rig.table)
        mirror = writer.take(rig.table)
        assert (mirror.segments, mirror.payloads, mirror.dropped_payloads) == ([], [], [])

    def test_holds_the_segments_that_changed_and_no_other(self, rig, writer):
        submit(rig, 3 * SEGMENT)
        assert [number for number, _ in writer.take(rig.table).segments] == [0, 1, 2, 3]
        rig.say(Cancel(0, b"H:a:%d" % (SEGMENT + 5)))
        assert [number for number, _ in writer.take(rig.table).segments] == [1]

    def test_holds_the_segments_of_jobs_that_were_worked_on(self, rig, writer):
        rig.worker(1, b"f")
        number = rig.background()
        writer.take(rig.table)
        rig.grab(1)
        assert writer.take(rig.table).segments
        rig.say(Progress(1, number, 1, 2))
        assert writer.take(rig.table).segments
        rig.say(Finish(1, number))
        assert writer.take(rig.table).segments == [(0, None)]

    def test_holds_the_segment_of_a_job_whose_clients_change(self, rig, writer):
        rig.open(1, 2)
        rig.foreground(1, unique=b"u")
        writer.take(rig.table)
        rig.foreground(2, unique=b"u")
        assert writer.take(rig.table).segments
        rig.say(SessionClose(1))
        assert writer.take(rig.table).segments
        rig.background(unique=b"u")
        assert writer.take(rig.table).segments

    def test_says_once_that_a_segment_is_empty(self, rig, writer):
        rig.background()
        writer.take(rig.table)
        rig.say(Cancel(0, b"H:a:1"))
        assert writer.take(rig.table).segments == [(0, None)]
        assert writer.take(rig.table).segments == []

    def test_leaves_no_trace_of_jobs_that_came_and_went_in_between(self, rig, writer):
        rig.worker(1, b"f")
        submit(rig, 5, BIG)
        rig.say(*(Finish(1, number) for number in rig.grab_all(1)))
        mirror = writer.take(rig.table)
        assert (of_jobs(mirror), mirror.payloads, mirror.dropped_payloads) == ([], [], [])


class TestInSteps:
    def test_is_of_the_moment_at_which_it_was_begun(self, rig, writer):
        submit(rig, 3 * SEGMENT - 1)
        expected = digest(rig.table)
        writer.begin(rig.table)
        assert writer.go_on(1) is None
        rig.say(Cancel(0, b"H:a:%d" % (SEGMENT + 5)))
        submit(rig, SEGMENT)
        mirror = writer.go_on(1)
        assert [number for number, _ in mirror.segments] == [0, 1, 2]
        assert digest(restore(mirror.meta, mirror.segments, mirror.payloads)[0]) == expected

    @pytest.mark.parametrize(
        "change",
        [
            lambda rig: submit(rig, 1),
            lambda rig: rig.wait(2000),  # the delayed job comes due, and the time limit of the one that runs is over
            lambda rig: rig.grab(3),
            lambda rig: rig.ask(3),
            lambda rig: rig.park(3),
            lambda rig: rig.park(2),  # who sleeps has given up its time limit
            lambda rig: rig.say(Take(2, rig.reserved(2)[0])),
            lambda rig: rig.say(Unreserve(2, rig.reserved(2)[0])),
            lambda rig: rig.say(Progress(2, rig.running(2)[0], 1, 2)),
            lambda rig: rig.say(Finish(2, rig.running(2)[0])),
            lambda rig: rig.say(Cancel(0, b"H:a:1")),
            lambda rig: rig.foreground(4, unique=b"u"),
            lambda rig: rig.background(unique=b"u"),
            lambda rig: rig.say(SessionClose(1)),
            lambda rig: rig.say(SessionClose(2)),
            lambda rig: rig.restart(),
        ],
    )
    def test_has_nothing_of_any_change_that_comes_too_late(self, rig, writer, change):
        rig.open(1, 4)
        rig.foreground(1, unique=b"u")
        rig.worker(2, b"f", limit=1000)
        rig.worker(3, b"f")
        submit(rig, 5)
        rig.say(Submit(0, b"f", b"", b"", 1, background=True, due=rig.table.now + 1000))
        rig.grab(2)
        rig.ask(2)
        expected = digest(rig.table)
        writer.begin(rig.table)
        change(rig)
        assert digest(rig.table) != expected
        mirror = writer.go_on(9)
        assert digest(restore(mirror.meta, mirror.segments, mirror.payloads)[0]) == expected

    def test_leaves_to_the_next_one_what_changed_meanwhile(self, rig, writer):
        submit(rig, 3 * SEGMENT - 1)
        writer.begin(rig.table)
        writer.go_on(1)
        rig.say(Cancel(0, b"H:a:5"), Cancel(0, b"H:a:%d" % (2 * SEGMENT)))
        writer.go_on(9)
        assert [number for number, _ in writer.take(rig.table).segments] == [0, 2]

    def test_takes_no_more_of_them_at_once_than_it_is_told(self, rig, writer):
        submit(rig, 5 * SEGMENT - 1)
        writer.begin(rig.table)
        assert [writer.go_on(2) is None for _ in range(3)] == [True, True, False]


class TestABigWorkload:
    def test_is_written_once_however_often_its_job_changes(self, rig, writer):
        rig.worker(1, b"f")
        number = rig.background(workload=BIG)
        assert writer.take(rig.table).payloads == [(number, BIG)]
        rig.grab(1)
        mirror = writer.take(rig.table)
        assert mirror.payloads == []
        assert len(mirror.segments[0][1]) < 200

    def test_is_dropped_with_its_job(self, rig, writer):
        rig.background(workload=SMALL)
        number = rig.background(workload=BIG)
        rig.background()
        assert [payload[0] for payload in writer.take(rig.table).payloads] == [number]
        rig.say(Cancel(0, b"H:a:%d" % number))
        mirror = writer.take(rig.table)
        assert mirror.dropped_payloads == [number]
        assert len(mirror.segments) == 1

    def test_is_dropped_once(self, rig, writer):
        rig.say(*(Submit(0, b"f", b"", BIG, 1, background=True) for _ in range(3)))
        writer.take(rig.table)
        dropped = []
        for number in (2, 1, 3):
            rig.say(Cancel(0, b"H:a:%d" % number))
            dropped.append(writer.take(rig.table).dropped_payloads)
        assert dropped == [[2], [1], [3]]

    def test_is_dropped_when_the_writer_was_made_by_restoring(self, rig, writer):
        number = rig.background(workload=BIG)
        mirror = writer.take(rig.table)
        restored = Rig()
        restored.table, writer = restore(mirror.meta, mirror.segments, mirror.payloads, "a")
        assert restored.table.jobs[number].workload == BIG
        restored.say(Cancel(0, b"H:a:%d" % number))
        mirror = writer.take(restored.table)
        assert (mirror.segments, mirror.payloads, mirror.dropped_payloads) == ([(0, None)], [], [number])


class TestRestoring:
    def test_nothing_gives_an_empty_table(self):
        table, writer = restore(b"", [], [], "a")
        assert (table.jobs, table.nodes, table.last_job) == ({}, {}, 0)
        assert writer.take(table).segments == []

    def test_goes_on_counting_where_it_was(self, rig, writer):
        """gearmand#12: no handle comes back after a restart, though the table is empty."""
        rig.say(Submit(0, b"f", b"", b"", 1, background=True), Cancel(0, b"H:a:1"))
        mirror = writer.take(rig.table)
        rig.table, _ = restore(mirror.meta, mirror.segments, [], "a")
        assert rig.background() == 2

    def test_keeps_the_order_of_queues(self, rig, writer):
        rig.worker(1, b"f")
        jobs = [rig.background() for _ in range(5)]
        rig.grab(1)
        rig.grab(1)
        rig.say(Unreserve(1, jobs[0]), Unreserve(1, jobs[1]))
        mirror = writer.take(rig.table)
        rig.table, _ = restore(mirror.meta, mirror.segments, mirror.payloads, "a")
        assert rig.grab_all(1) == [jobs[1], jobs[0], *jobs[2:]]

    def test_keeps_the_order_of_sleepers(self, rig, writer):
        for worker in (1, 2, 3):
            rig.worker(worker, b"f")
        rig.park(2, 3, 1)
        mirror = writer.take(rig.table)
        rig.table, _ = restore(mirror.meta, mirror.segments, [], "a")
        jobs = [rig.background() for _ in range(3)]
        assert [rig.reserved(worker) for worker in (1, 3, 2)] == [[number] for number in jobs]

    def test_keeps_the_turns_of_functions(self, rig, writer):
        rig.worker(1, b"f", b"g")
        rig.background(b"f")
        rig.grab(1)
        f, g = rig.background(b"f"), rig.background(b"g")
        mirror = writer.take(rig.table)
        rig.table, _ = restore(mirror.meta, mirror.segments, mirror.payloads, "a")
        assert rig.grab_all(1) == [g, f]

    def test_keeps_deadlines(self, rig, writer):
        rig.worker(1, b"f", limit=1000)
        number = rig.background()
        rig.grab(1)
        rig.say(Submit(0, b"g", b"", b"", 1, background=True, due=rig.time + 500))
        mirror = writer.take(rig.table)
        rig.table, _ = restore(mirror.meta, mirror.segments, mirror.payloads, "a")
        rig.wait(999)
        assert (rig.state(number), rig.state(number + 1)) == ("RUNNING", "QUEUED")
        rig.wait(1)
        assert rig.state(number) == "QUEUED"

    def test_takes_the_segments_in_any_order(self, rig, writer):
        submit(rig, 3 * SEGMENT)
        mirror = writer.take(rig.table)
        table, _ = restore(mirror.meta, reversed(mirror.segments), mirror.payloads)
        assert digest(table) == digest(rig.table)

    def test_without_a_payload_is_refused(self, rig, writer):
        rig.background(workload=BIG)
        mirror = writer.take(rig.table)
        with pytest.raises(UnreadableMirrorError):
            restore(mirror.meta, mirror.segments, [])

    def test_without_the_meta_is_refused(self, rig, writer):
        rig.background()
        with pytest.raises(UnreadableMirrorError):
            restore(b"", writer.take(rig.table).segments, [])

    def test_of_another_format_is_refused_by_its_number(self, rig, writer):
        meta = msgspec.msgpack.decode(writer.take(rig.table).meta)
        with pytest.raises(UnreadableMirrorError, match="77"):
            restore(msgspec.msgpack.encode([77, *meta[1:]]), [], [])

    def test_of_a_field_more_is_refused(self, rig, writer):
        meta = msgspec.msgpack.decode(writer.take(rig.table).meta)
        with pytest.raises(UnreadableMirrorError):
            restore(msgspec.msgpack.encode([*meta, 1]), [], [])

    def test_refuses_with_an_error_of_the_job_table(self):
        assert issubclass(UnreadableMirrorError, JobTableError)

    @given(st.binary(min_size=1, max_size=100), st.binary(max_size=100))
    def test_of_random_bytes_raises_no_other_error(self, meta, segment):
        with pytest.raises(UnreadableMirrorError):
            restore(meta, [(0, segment)], [])

    @given(st.data())
    def test_of_damaged_bytes_raises_no_other_error(self, data):
        rig = Rig()
        rig.worker(1, b"f", limit=1000)
        rig.worker(2, b"f")
        for unique in (b"u", b"-", b""):
            rig.foreground(2, unique=unique)
        rig.grab(1)
        mirror = MirrorWriter().take(rig.table)
        parts = [bytearray(mirror.meta), bytearray(mirror.segments[0][1])]
        part = parts[data.draw(st.integers(0, 1))]
        part[data.draw(st.integers(0, len(part) - 1))] = data.draw(st.integers(0, 255))
        with contextlib.suppress(UnreadableMirrorError):  # that it is read is as good: the store's rows carry checksums
            table, _ = restore(bytes(parts[0]), [(0, bytes(parts[1]))], [])
            assert table.nodes is not None


class TestTheDigest:
    def test_differs_with_anything_that_differs(self, rig):
        seen = {digest(rig.table)}
        rig.worker(1, b"f", limit=1000)
        seen.add(digest(rig.table))
        rig.background(unique=b"u")
        seen.add(digest(rig.table))
        rig.background()
        seen.add(digest(rig.table))
        rig.grab(1)
        seen.add(digest(rig.table))
        rig.say(Progress(1, 1, 1, 2))
        seen.add(digest(rig.table))
        rig.wait(10)
        seen.add(digest(rig.table))
        rig.restart("b")
        seen.add(digest(rig.table))
        assert len(seen) == 8

    def test_does_not_depend_on_the_audience(self):
        tables = []
        for audience in ("a", "b", None):
            rig = Rig(audience=audience)
            rig.worker(1, b"f")
            rig.park(1)
            rig.background()
            tables.append(rig.table)
        assert len({digest(table) for table in tables}) == 1
