"""What the table keeps in memory: little per job, and nothing once the jobs are gone."""

import gc
import tracemalloc

import pytest

from cluster.jobs import (
    Batch,
    Cancel,
    Finish,
    Grab,
    JobTable,
    MirrorWriter,
    SessionClose,
    Submit,
    Take,
    decode_proposal,
    encode_proposal,
    propose,
    restore,
)
from tests.cluster.jobs.rig import Rig

JOBS = 100_000
DRAINED = 20_000
BATCH = 1000
PAYLOAD = 100


def collect() -> None:
    """Collect what is left: jobs are out of the collector's sight, so what hung on them goes in a second pass."""
    gc.collect()
    gc.collect()


class Meter:
    """Counts the memory that is in use, from when it was made."""

    def __init__(self) -> None:
        collect()
        tracemalloc.start()
        self.start = tracemalloc.get_traced_memory()[0]

    def read(self) -> int:
        collect()
        return tracemalloc.get_traced_memory()[0] - self.start


@pytest.fixture
def rig():
    rig = Rig(audience=None)
    rig.worker(1, b"f")
    rig.open(2)
    return rig


@pytest.fixture
def meter(rig):
    yield Meter()
    tracemalloc.stop()


def say(rig, make, count):
    """Bring many commands, in batches that arrive as bytes, as they do from the log."""
    for start in range(0, count, BATCH):
        batch = rig.table.nodes["a"].last + 1
        commands = [make(number) for number in range(start + 1, start + BATCH + 1)]
        from_log = decode_proposal(encode_proposal(propose(rig.time, [Batch("a", 1, batch, commands)])))
        rig.table.apply(from_log)


def background(number):
    return Submit(0, b"f", b"", b"%0*d" % (PAYLOAD, number), 1, background=True)


def foreground(number):
    return Submit(2, b"f", b"unique-%09d" % number, b"%0*d" % (PAYLOAD, number), 1, background=False)


def later(number):
    return Submit(0, b"f", b"", b"%0*d" % (PAYLOAD, number), 1, background=True, due=2**40 + number)


class TestAQueuedJob:
    @pytest.mark.parametrize(("make", "jobs"), [(background, DRAINED), (later, DRAINED), (foreground, JOBS)])
    def test_takes_less_than_a_kibibyte_beyond_its_payload(self, rig, meter, make, jobs):
        say(rig, make, jobs)
        assert len(rig.table.jobs) == jobs
        assert meter.read() / jobs - PAYLOAD <= 1024

    def test_takes_no_more_after_it_was_restored(self, rig):
        say(rig, foreground, DRAINED)
        mirror = MirrorWriter().take(rig.table)
        meter = Meter()
        try:
            table, _ = restore(mirror.meta, mirror.segments, mirror.payloads)
            assert len(table.jobs) == DRAINED
            assert meter.read() / DRAINED - PAYLOAD <= 1024
        finally:
            tracemalloc.stop()


class TestADrainedQueue:
    """gearmand#284: memory is given back when a long queue has drained."""

    SLACK = 128 * 1024

    def test_has_given_back_what_it_took_when_all_jobs_were_run(self, rig, meter):
        say(rig, background, DRAINED)
        say(rig, lambda number: Grab(1, 0) if number % 2 else Finish(1, number // 2), 2 * DRAINED)
        assert rig.table.jobs == {}
        assert meter.read() <= self.SLACK

    def test_has_given_back_what_it_took_when_all_jobs_were_cancelled(self, rig, meter):
        say(rig, later, DRAINED)
        say(rig, lambda number: Cancel(0, b"H:a:%d" % (DRAINED + 1 - number)), DRAINED)
        assert rig.table.jobs == {}
        assert meter.read() <= self.SLACK

    def test_has_given_back_what_it_took_though_the_client_stays(self, rig, meter):
        say(rig, foreground, DRAINED)
        say(rig, lambda number: Grab(1, 0), DRAINED)
        say(rig, lambda number: Take(1, number), DRAINED)
        assert len(rig.running(1)) == DRAINED
        say(rig, lambda number: Finish(1, number), DRAINED)
        assert rig.table.jobs == {}
        assert meter.read() <= self.SLACK

    def test_has_given_back_what_it_took_when_the_client_goes(self, rig, meter):
        say(rig, foreground, DRAINED)
        rig.say(SessionClose(2))
        rig.settle()
        assert rig.table.jobs == {}
        assert meter.read() <= self.SLACK

    def test_keeps_no_payload_of_ended_jobs_behind_one_that_waits(self, rig, meter):
        rig.background()
        rig.say(*(Submit(0, b"f", b"", b"%0*d" % (100_000, n), 1, background=True) for n in range(60)))
        rig.background()
        rig.say(*(Cancel(0, b"H:a:%d" % number) for number in range(2, 62)))
        assert rig.queue() == [1, 62]
        assert meter.read() <= 100_000


class TestATableThatIsDropped:
    def test_takes_its_jobs_with_it(self, rig, meter):
        """A node that is sent a snapshot makes a new table; the old one must not stay."""
        say(rig, foreground, 10_000)
        rig.table = JobTable()
        assert meter.read() <= 100_000
