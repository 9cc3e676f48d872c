"""Cancel, limits of queues, create and drop of functions."""

import pytest

from cluster.jobs import Can, Cancel, CreateFunction, DropFunction, Finish, SessionClose, SetLimit, Submit
from tests.cluster.jobs.rig import START, Rig


@pytest.fixture
def rig():
    rig = Rig()
    rig.open(1)
    return rig


class TestCancel:
    def test_takes_a_waiting_job_out(self, rig):
        number = rig.background(unique=b"u")
        assert rig.say(Cancel(9, b"H:a:%d" % number)) == [("settled", 9, "DONE")]
        assert rig.queue() == []
        assert rig.table.find_unique(b"u") is None

    def test_tells_the_clients_of_a_foreground_job(self, rig):
        number = rig.foreground(1)
        told = rig.say(Cancel(9, b"H:a:%d" % number))
        assert told == [("failed", 1, number), ("settled", 9, "DONE")]

    def test_takes_a_running_job_from_its_worker(self, rig):
        rig.worker(2, b"f", limit=1000)
        number = rig.background()
        rig.grab(2)
        told = rig.say(Cancel(9, b"H:a:%d" % number))
        assert told == [("revoked", 2, number, "CANCELLED"), ("settled", 9, "DONE")]
        assert rig.say(Finish(2, number)) == []
        assert rig.wait(1000) == []

    @pytest.mark.parametrize(
        "handle",
        [
            *(
                b"",
                b":",
                b"1",
                b":1",
                b"\x00",
                b"H:a:0",
                b"H:a:2",
                b"H:b:1",
                b"H:a:01",
                b"H:a:+1",
                b"H:a:-1",
                b"H:a:1 ",
            ),
            *(b"H:a:1_0", b"H:a:" + b"9" * 19, b"H:a:" + b"9" * 10_000, b"H:a:\xd9\xa1", b"H:a:\xb9", b"H:a:1\x00"),
        ],
    )
    def test_of_a_handle_that_names_no_job_says_so(self, rig, handle):
        rig.background()
        assert rig.say(Cancel(9, handle)) == [("settled", 9, "NO_SUCH_JOB")]
        assert len(rig.table.jobs) == 1

    def test_twice_finds_nothing_the_second_time(self, rig):
        handle = b"H:a:%d" % rig.background()
        assert rig.say(Cancel(9, handle), Cancel(9, handle)) == [("settled", 9, "DONE"), ("settled", 9, "NO_SUCH_JOB")]


class TestALimit:
    def fill(self, rig, priority, count):
        told = rig.say(*(Submit(0, b"f", b"", b"", priority, background=True) for _ in range(count)))
        return [effect[0] for effect in told]

    def test_refuses_what_is_beyond_it(self, rig):
        assert rig.say(SetLimit(9, b"f", 2, 2, 2)) == [("settled", 9, "DONE")]
        assert self.fill(rig, 1, 4) == ["created", "created", "refused", "refused"]
        assert len(rig.table.jobs) == 2

    def test_of_each_priority_is_compared_with_the_total_of_the_function(self, rig):
        rig.say(SetLimit(9, b"f", 3, 2, 1))
        assert self.fill(rig, 2, 2) == ["created", "refused"]
        assert self.fill(rig, 1, 2) == ["created", "refused"]
        assert self.fill(rig, 0, 2) == ["created", "refused"]

    def test_counts_jobs_that_run_or_wait_for_their_time(self, rig):
        rig.worker(2, b"f")
        rig.background()
        rig.grab(2)
        rig.say(Submit(0, b"f", b"", b"", 1, background=True, due=START + 1000))
        rig.say(SetLimit(9, b"f", 0, 2, 0))
        assert self.fill(rig, 1, 1) == ["refused"]
        assert self.fill(rig, 0, 1) == ["created"]

    def test_makes_room_when_a_job_ends(self, rig):
        rig.say(SetLimit(9, b"f", 1, 1, 1))
        rig.worker(2, b"f")
        rig.background()
        rig.say(Finish(2, rig.grab(2)))
        assert self.fill(rig, 1, 1) == ["created"]

    def test_does_not_stop_a_lost_job_from_coming_back(self, rig):
        rig.worker(2, b"f")
        number = rig.background()
        rig.grab(2)
        rig.say(SetLimit(9, b"f", 1, 1, 1), SessionClose(2))
        assert rig.queue() == [number]

    @pytest.mark.parametrize("limit", [0, -1, -(2**63)])
    def test_of_zero_or_less_is_none(self, rig, limit):
        rig.say(SetLimit(9, b"f", 1, 1, 1), SetLimit(9, b"f", limit, limit, limit))
        assert self.fill(rig, 1, 3) == ["created"] * 3
        assert rig.table.functions[b"f"].limits == (0, 0, 0)

    def test_can_be_read_back(self, rig):
        rig.say(SetLimit(9, b"f", 3, 2, 1))
        assert rig.table.functions[b"f"].limits == (3, 2, 1)

    def test_of_none_makes_no_function(self, rig):
        rig.say(SetLimit(9, b"f", 0, 0, 0))
        assert rig.table.functions == {}


class TestAFunction:
    def test_can_be_created_and_dropped(self, rig):
        assert rig.say(CreateFunction(9, b"f")) == [("settled", 9, "DONE")]
        assert set(rig.table.functions) == {b"f"}
        assert rig.say(DropFunction(9, b"f")) == [("settled", 9, "DONE")]
        assert rig.table.functions == {}

    def test_created_again_stays_what_it_is(self, rig):
        number = rig.background()
        rig.say(SetLimit(9, b"f", 7, 7, 7), CreateFunction(9, b"f"))
        assert rig.table.functions[b"f"].limits == (7, 7, 7)
        assert rig.queue() == [number]

    def test_that_is_not_there_cannot_be_dropped(self, rig):
        assert rig.say(DropFunction(9, b"f")) == [("settled", 9, "NO_SUCH_FUNCTION")]

    def test_with_jobs_is_not_dropped_from_under_them(self, rig):
        number = rig.background()
        assert rig.say(DropFunction(9, b"f")) == [("settled", 9, "FUNCTION_HAS_JOBS")]
        assert rig.queue() == [number]

    def test_with_workers_is_in_use(self, rig):
        rig.say(CreateFunction(9, b"f"), Can(1, b"f", 0))
        assert rig.say(DropFunction(9, b"f")) == [("settled", 9, "FUNCTION_IN_USE")]
        rig.say(SessionClose(1))
        assert rig.say(DropFunction(9, b"f")) == [("settled", 9, "DONE")]

    def test_keeps_nothing_of_its_former_life(self, rig):
        rig.say(SetLimit(9, b"f", 1, 1, 1), DropFunction(9, b"f"))
        rig.background()
        rig.background()
        assert len(rig.queue()) == 2

    def test_may_have_any_name(self, rig):
        rig.worker(2, b"", b"\x00\xff", b"n" * 100_000)
        jobs = [rig.background(name) for name in (b"", b"\x00\xff", b"n" * 100_000)]
        assert rig.grab_all(2) == jobs
