"""The gateway as workers meet it: which job they get, when they hear that there is none, what is kept for them."""

import pytest

from cluster.jobs import Finish, Grab, Park, Prefetch, SessionClose, Submit, Take, Unreserve
from node.driver.gathering import LAZY_DELAY, MUCH
from node.gateway.assigning import GRAB_PATIENCE, MIN_PREFETCH, SWEEP_INTERVAL, TAKE_DELAY
from node.gateway.worker import HOLD_TIME, RESERVATION_TIME
from protocol import PacketType as T
from protocol import encode_request
from tests.node.stillness import StillNode


@pytest.fixture
def node():
    with StillNode() as node:
        yield node


def given(heard):
    """The handles of the jobs that were assigned; nothing else may have come."""
    assert all(event[0] is T.JOB_ASSIGN for event in heard), heard
    return [event[1] for event in heard]


def proposed(node, kind):
    return [command for command in node.disk.commands() if type(command) is kind]


def asleep(node, *functions):
    worker = node.worker(*functions).say(T.PRE_SLEEP)
    node.wait(0.01)
    assert worker.hears() == []
    return worker


def run(node, worker):
    """Let the worker ask for a job and finish it; give the job's handle."""
    worker.say(T.GRAB_JOB)
    node.settle()
    (handle,) = given(worker.hears())
    worker.say(T.WORK_COMPLETE, handle, b"")
    return handle


def busy(node, function=b"f"):
    """A worker that has just run so many jobs that its next one is expected at once; its queue is empty."""
    for _ in range(40):
        node.background(function)
    worker = node.worker(function)
    for _ in range(40):
        run(node, worker)
    node.wait(0.005)
    assert worker.connection.worker.busy
    assert node.table.jobs == {}
    return worker


def submits(jobs, function=b"f"):
    """The packets that submit so many jobs."""
    return b"".join(encode_request(T.SUBMIT_JOB_BG, function, b"", b"%d" % number) for number in range(jobs))


class TestReservations:
    def test_a_job_kept_for_a_woken_worker_is_handed_over_without_a_commit(self, node):
        worker = asleep(node, b"f")
        handle = node.background()
        assert worker.hears() == [(T.NOOP,)]
        node.disk.held = True
        worker.say(T.GRAB_JOB)
        assert given(worker.hears()) == [handle]

    def test_a_job_that_is_not_fetched_in_time_goes_to_the_next_worker(self, node):
        slow = asleep(node, b"f")
        handle = node.background()
        other = node.worker(b"f").say(T.GRAB_JOB)
        assert other.hears() == [(T.NO_JOB,)]
        other.say(T.PRE_SLEEP)
        node.wait(RESERVATION_TIME + 2 * SWEEP_INTERVAL)
        assert other.hears() == [(T.NOOP,)]
        other.say(T.GRAB_JOB)
        assert given(other.hears()) == [handle]
        slow.say(T.GRAB_JOB)
        assert slow.hears() == [(T.NOOP,), (T.NO_JOB,)]
        assert node.table.jobs[1].attempts == 0

    def test_what_is_given_back_queues_as_it_did(self, node):
        handles = [node.background() for _ in range(200)]
        worker = node.worker(b"f")
        ran = [run(node, worker) for _ in range(40)]
        assert len(worker.connection.worker.reserved) > 1
        node.wait(RESERVATION_TIME + 2 * SWEEP_INTERVAL)
        assert not worker.connection.worker.reserved
        assert len(proposed(node, Unreserve)) > 1
        other = node.worker(b"f")
        assert ran + [run(node, other) for _ in range(160)] == handles

    def test_a_better_job_goes_before_those_kept(self, node):
        worker = asleep(node, b"f")
        low = node.background(kind=T.SUBMIT_JOB_LOW_BG)
        high = node.background(kind=T.SUBMIT_JOB_HIGH_BG)
        worker.hears()
        assert [run(node, worker), run(node, worker)] == [high, low]

    def test_a_better_job_of_a_function_that_the_worker_cannot_do_costs_nothing(self, node):
        worker = asleep(node, b"f")
        low = node.background(kind=T.SUBMIT_JOB_LOW_BG)
        node.background(b"other", kind=T.SUBMIT_JOB_HIGH_BG)
        worker.hears()
        node.disk.held = True
        worker.say(T.GRAB_JOB)
        assert given(worker.hears()) == [low]

    def test_a_fast_worker_on_a_deep_queue_is_given_every_job_once_and_in_order(self, node):
        handles = [node.background() for _ in range(300)]
        worker = node.worker(b"f")
        assert [run(node, worker) for _ in range(300)] == handles
        assert proposed(node, Prefetch)
        assert len(proposed(node, Grab)) < 100
        node.wait(1)
        assert [c.job for c in proposed(node, Finish)] == list(range(1, 301))
        assert node.table.jobs == {}

    def test_one_prefetch_at_a_time_is_on_its_way(self, node):
        for _ in range(400):
            node.background()
        worker = node.worker(b"f")
        while len(worker.connection.worker.reserved) < 40:
            run(node, worker)
        node.settle()
        node.disk.held = True
        node.disk.writes.clear()
        while len(worker.connection.worker.reserved) > 1:
            run(node, worker)
        node.disk.release()
        node.wait(0.01)
        assert len(proposed(node, Prefetch)) == 1
        assert len(worker.connection.worker.reserved) > 20

    def test_nothing_is_asked_for_ahead_where_the_queue_is_too_short_to_be_shared(self, node):
        worker = busy(node)
        node.disk.writes.clear()
        for _ in range(3):
            worker.say(T.GRAB_JOB)
            handle = node.background()
            assert given(worker.hears()) == [handle]
            worker.say(T.WORK_COMPLETE, handle, b"")
        node.wait(0.005)
        assert worker.connection.worker.ahead() > 1
        assert proposed(node, Finish)
        assert proposed(node, Prefetch) == []

    def test_nothing_is_asked_for_ahead_where_the_next_grab_brings_as_much(self, node):
        worker = busy(node)
        for _ in range(3):
            node.peer().say(T.CAN_DO, b"f")
        handles = [node.background() for _ in range(4 * MIN_PREFETCH)]
        node.disk.writes.clear()
        assert [run(node, worker) for _ in handles] == handles
        node.wait(0.005)
        assert proposed(node, Prefetch) == []
        assert len(proposed(node, Grab)) < len(handles)

    def test_a_worker_that_changes_what_it_can_do_gives_back_what_was_kept_for_it(self, node):
        worker = asleep(node, b"f")
        node.background()
        worker.hears()
        worker.say(T.CANT_DO, b"f").say(T.GRAB_JOB)
        node.settle()
        assert worker.hears() == [(T.NO_JOB,)]
        assert node.table.functions[b"f"].waiting[1] == 1

    @pytest.mark.parametrize("word", [(T.CANT_DO, b"f"), (T.RESET_ABILITIES,)])
    def test_what_was_on_its_way_to_be_kept_when_a_worker_gave_an_ability_up_goes_back_as_it_queued(self, node, word):
        worker = busy(node)
        handles = [node.background() for _ in range(300)]
        while not worker.connection.worker.reserved:
            run(node, worker)
        node.settle()
        # The table hears of the Prefetch and of the word together, and reserves more before it does.
        node.disk.held = True
        node.disk.writes.clear()
        while worker.connection.worker.prefetched <= node.driver.applied_number:
            run(node, worker)
        worker.say(*word).say(T.GRAB_JOB)
        node.disk.release()
        node.wait(0.01)
        assert len(proposed(node, Prefetch)) == 1
        assert worker.hears() == [(T.NO_JOB,)]
        left = len(node.table.jobs)
        assert node.table.functions[b"f"].waiting[1] == left > 200
        other = node.worker(b"f")
        assert [run(node, other) for _ in range(left)] == handles[-left:]

    def test_a_sleeper_that_gave_an_ability_up_is_woken_all_the_same_and_goes_to_sleep_again(self, node):
        worker = asleep(node, b"f", b"g")
        node.disk.held = True
        node.peer().say(T.SUBMIT_JOB_BG, b"f", b"", b"")
        node.settle()
        worker.say(T.CANT_DO, b"f")
        node.disk.release()
        node.wait(0.01)
        assert worker.hears() == [(T.NOOP,)]
        worker.say(T.GRAB_JOB).say(T.PRE_SLEEP)
        node.wait(0.01)
        assert worker.hears() == [(T.NO_JOB,)]
        node.background(b"g")
        assert worker.hears() == [(T.NOOP,)]
        assert node.table.functions[b"f"].waiting[1] == 1

    def test_while_the_node_drains_nobody_is_woken_for_what_nobody_is_to_get(self, node):
        early = asleep(node, b"f")
        late = node.worker(b"f")
        client = node.peer()
        node.gateway.drain(lambda: None)
        client.say(T.SUBMIT_JOB_BG, b"f", b"", b"")
        node.wait(0.01)
        late.say(T.GRAB_JOB).say(T.PRE_SLEEP)
        node.wait(0.5)
        assert early.hears() == []
        assert late.hears() == [(T.NO_JOB,)]
        assert node.table.functions[b"f"].waiting[1] == 1

    def test_a_worker_that_leaves_gives_back_what_was_kept_and_what_it_ran(self, node):
        worker = node.worker(b"f")
        running = node.background()
        worker.say(T.GRAB_JOB)
        node.settle()
        assert given(worker.hears()) == [running]
        worker.say(T.PRE_SLEEP)
        node.wait(0.01)
        kept = node.background()
        worker.leave()
        other = node.worker(b"f")
        assert [run(node, other), run(node, other)] == [running, kept]
        assert node.gateway.assigning._watched == {other.connection: None} or not node.gateway._watched

    def test_a_cancelled_job_is_not_handed_over_though_it_was_kept(self, node):
        worker = asleep(node, b"f")
        handle = node.background()
        worker.hears()
        node.peer().send(b"cancel job %b\n" % handle)
        node.settle()
        worker.say(T.GRAB_JOB)
        node.settle()
        assert worker.hears() == [(T.NO_JOB,)]


class TestPatience:
    def late(self, node):
        """A worker that was told NO_JOB because the disk was slow, though the table will have a job for it."""
        worker = node.worker(b"f")
        handle = node.background()
        node.disk.held = True
        worker.say(T.GRAB_JOB)
        node.wait(GRAB_PATIENCE * 0.9)
        assert worker.hears() == []
        node.wait(GRAB_PATIENCE * 0.1 + 2 * SWEEP_INTERVAL)
        assert worker.hears() == [(T.NO_JOB,)]
        return worker, handle

    def test_a_slow_disk_is_not_waited_for_and_the_job_that_comes_late_wakes_who_sleeps(self, node):
        worker, handle = self.late(node)
        worker.say(T.PRE_SLEEP)
        node.settle()
        assert worker.hears() == []
        node.disk.release()
        node.settle()
        assert worker.hears() == [(T.NOOP,)]
        worker.say(T.GRAB_JOB)
        assert given(worker.hears()) == [handle]

    def test_the_job_that_comes_late_is_kept_for_who_is_awake(self, node):
        worker, handle = self.late(node)
        node.disk.release()
        node.settle()
        assert worker.hears() == []
        worker.say(T.PRE_SLEEP)
        assert worker.hears() == [(T.NOOP,)]
        worker.say(T.GRAB_JOB)
        assert given(worker.hears()) == [handle]

    def test_who_asked_again_meanwhile_gets_the_late_job_as_the_answer_to_that(self, node):
        worker, handle = self.late(node)
        worker.say(T.GRAB_JOB)
        node.settle()
        assert worker.hears() == []
        node.disk.release()
        node.settle()
        assert given(worker.hears()) == [handle]
        worker.say(T.ECHO_REQ, b"")
        assert worker.hears() == [(T.ECHO_RES, b"")]

    def test_a_late_no_job_is_not_said_twice(self, node):
        worker, _ = self.late(node)
        thief = node.worker(b"f")
        node.disk.release()
        node.settle()
        worker.leave()
        node.settle()
        thief.say(T.GRAB_JOB)
        node.settle()
        thief_job = given(thief.hears())
        assert len(thief_job) == 1
        node.disk.held = True
        first = node.worker(b"f").say(T.CAN_DO, b"g").say(T.GRAB_JOB)
        node.wait(GRAB_PATIENCE + 2 * SWEEP_INTERVAL)
        assert first.hears() == [(T.NO_JOB,)]
        node.disk.release()
        node.wait(0.01)
        node.disk.release()
        assert first.hears() == []
        assert first.connection.waiting == first.connection.worker.late == 0


class TestHold:
    def test_a_busy_worker_is_answered_by_the_job_that_comes_in_a_moment(self, node):
        worker = busy(node)
        worker.say(T.GRAB_JOB)
        node.wait(HOLD_TIME * 0.8)
        assert worker.hears() == []
        handle = node.background()
        assert given(worker.hears()) == [handle]
        assert not worker.connection.worker.held
        node.wait(1)
        assert worker.hears() == []

    def test_ends_with_no_job_when_none_comes(self, node):
        worker = busy(node)
        worker.say(T.GRAB_JOB)
        node.wait(HOLD_TIME * 0.8)
        assert worker.hears() == []
        node.wait(HOLD_TIME * 0.3)
        assert worker.hears() == [(T.NO_JOB,)]

    def test_is_kept_short_by_a_slow_disk_too(self, node):
        worker = busy(node)
        node.disk.held = True
        worker.say(T.GRAB_JOB)
        node.wait(HOLD_TIME * 1.1)
        assert worker.hears() == [(T.NO_JOB,)]

    def test_is_for_busy_workers_only(self, node):
        worker = busy(node)
        node.wait(10)
        for _ in range(2):
            handle = node.background()
            worker.say(T.GRAB_JOB)
            node.settle()
            assert given(worker.hears()) == [handle]
            worker.say(T.WORK_COMPLETE, handle, b"")
            node.wait(10)
        worker.say(T.GRAB_JOB)
        assert worker.hears() == [(T.NO_JOB,)]

    def test_each_of_several_is_over_in_its_own_time(self, node):
        first = busy(node, b"f")
        second = busy(node, b"g")
        first.connection.worker.pace = second.connection.worker.pace = 0.001
        first.say(T.GRAB_JOB)
        node.wait(HOLD_TIME * 0.5)
        second.say(T.GRAB_JOB)
        node.wait(HOLD_TIME * 0.6)
        assert (first.hears(), second.hears()) == ([(T.NO_JOB,)], [])
        node.wait(HOLD_TIME * 0.5)
        assert second.hears() == [(T.NO_JOB,)]

    def test_jobs_that_come_during_it_are_handed_over_in_the_order_of_their_queue(self, node):
        """Through a hold that ends before the disk answers, and another one behind it."""
        worker = busy(node)
        node.disk.held = True
        worker.say(T.GRAB_JOB)
        node.wait(HOLD_TIME * 0.6)  # Park is being written
        client = node.peer()
        for number in range(3):
            client.say(T.SUBMIT_JOB_BG, b"f", b"", b"%d" % number)
        node.wait(HOLD_TIME * 0.6)
        assert worker.hears() == [(T.NO_JOB,)]
        worker.say(T.GRAB_JOB)
        node.wait(HOLD_TIME * 0.1)
        node.disk.release()
        node.settle()
        handles = [event[1] for event in client.hears()]
        (first,) = given(worker.hears())
        worker.say(T.WORK_COMPLETE, first, b"")
        assert [first, run(node, worker), run(node, worker)] == handles

    def test_is_for_a_busy_worker_too_whom_others_were_quicker_than(self, node):
        quick, late = busy(node), busy(node)
        for worker in (quick, late):
            worker.connection.worker.pace = 0.001
        node.disk.held = True
        client = node.peer().say(T.SUBMIT_JOB_BG, b"f", b"", b"")
        node.disk.acknowledge()
        for worker in (quick, late):
            worker.say(T.GRAB_JOB)
        node.disk.release()
        node.settle()
        ((_, handle),) = client.hears()
        assert (given(quick.hears()), late.hears()) == ([handle], [])
        node.wait(HOLD_TIME * 0.8)
        assert late.hears() == []
        handle = node.background()
        assert given(late.hears()) == [handle]
        assert late.connection.waiting == 0

    def test_ends_with_no_job_for_a_worker_whom_others_were_quicker_than(self, node):
        quick, late = busy(node), busy(node)
        late.connection.worker.pace = 0.001
        node.disk.held = True
        node.peer().say(T.SUBMIT_JOB_BG, b"f", b"", b"")
        node.disk.acknowledge()
        for worker in (quick, late):
            worker.say(T.GRAB_JOB)
        node.disk.release()
        node.wait(HOLD_TIME * 1.1)
        assert late.hears() == [(T.NO_JOB,)]
        assert not late.connection.worker.held
        assert late.connection.waiting == 0

    def test_leaves_nothing_behind_when_the_worker_goes(self, node):
        worker = busy(node)
        worker.say(T.GRAB_JOB)
        worker.leave()
        handle = node.background()
        node.wait(1)
        assert node.gateway.assigning._held == {}
        other = node.worker(b"f")
        assert run(node, other) == handle
        assert proposed(node, Park)


class TestSharesOfWhatIsSubmitted:
    """Of several jobs that come in one write the workers that are held have more than one each."""

    def submit(self, node, jobs, function=b"f"):
        """Submit so many jobs in one piece; give the client."""
        node.disk.writes.clear()
        return node.peer().send(submits(jobs, function))

    def holding(self, node, *functions):
        """Busy workers of these functions that have asked for a job."""
        workers = [busy(node, function) for function in functions]
        for worker in workers:
            worker.connection.worker.pace = 0.001
            worker.say(T.GRAB_JOB)
        node.wait(HOLD_TIME * 0.5)
        assert all(worker.connection.worker.held for worker in workers)
        return workers

    def test_are_reserved_by_the_write_that_submits_it(self, node):
        (worker,) = self.holding(node, b"f")
        client = self.submit(node, 5)
        node.settle()
        assert len(node.disk.proposals()) == 1
        handles = [event[1] for event in client.hears()]
        ran = given(worker.hears())
        node.disk.held = True
        for _ in range(4):
            worker.say(T.WORK_COMPLETE, ran[-1], b"")
            ran += given(worker.say(T.GRAB_JOB).hears())
        assert ran == handles

    def test_leave_a_job_for_each_worker(self, node):
        node.worker(b"f")  # the third, which is awake and has not asked
        first, second = self.holding(node, b"f", b"f")
        self.submit(node, 8)
        node.settle()
        assert (len(given(first.hears())), len(given(second.hears()))) == (1, 1)
        assert [len(worker.connection.worker.reserved) for worker in (first, second)] == [2, 1]
        assert node.table.functions[b"f"].queued == 3

    def test_are_not_asked_for_where_each_worker_has_one_job(self, node):
        workers = self.holding(node, b"f", b"f")
        self.submit(node, 3)
        node.settle()
        assert [len(given(worker.hears())) for worker in workers] == [1, 1]
        assert proposed(node, Prefetch) == []

    def test_are_for_workers_of_the_function_only(self, node):
        first, other = self.holding(node, b"f", b"g")
        self.submit(node, 5)
        node.settle()
        assert [command.session for command in proposed(node, Prefetch)] == [first.connection.number]
        assert other.hears() == []

    def test_are_not_for_sleepers(self, node):
        worker = asleep(node, b"f")
        self.submit(node, 5)
        node.settle()
        assert worker.hears() == [(T.NOOP,)]
        assert len(worker.connection.worker.reserved) == 1

    def test_are_asked_for_once_until_the_table_answers(self, node):
        (worker,) = self.holding(node, b"f")
        node.disk.held = True
        self.submit(node, MUCH)
        node.settle()
        node.peer().send(submits(MUCH))  # a second write follows on the heels of the first
        node.settle()
        assert node.disk.under_way == 2
        assert len(proposed(node, Prefetch)) == 1
        assert worker.hears() == []


class TestWhatTheTableHearsOfATakenJob:
    def start(self, node, worker):
        """Let the worker ask for a job and keep it; give its handle."""
        worker.say(T.GRAB_JOB)
        node.settle()
        (handle,) = given(worker.hears())
        return handle

    def test_is_nothing_but_its_end_when_that_comes_soon(self, node):
        node.background()
        run(node, node.worker(b"f"))
        node.wait(1)
        assert [c.job for c in proposed(node, Finish)] == [1]
        assert proposed(node, Take) == []

    def test_is_that_it_runs_when_its_end_does_not_come_soon(self, node):
        node.background()
        node.background()
        worker = node.worker(b"f")
        self.start(node, worker)
        node.wait(TAKE_DELAY / 2)
        self.start(node, worker)
        assert proposed(node, Take) == []
        node.wait(TAKE_DELAY / 2 + 0.003)
        assert [c.job for c in proposed(node, Take)] == [1]
        node.wait(TAKE_DELAY)
        assert [c.job for c in proposed(node, Take)] == [1, 2]
        assert node.table.functions[b"f"].running == 2

    def test_is_that_it_runs_when_somebody_asks(self, node):
        node.background()
        handle = self.start(node, node.worker(b"f"))
        asking = node.peer().say(T.GET_STATUS, handle)
        operator = node.peer().send(b"status\n")
        node.settle()
        assert asking.hears() == [(T.STATUS_RES, handle, b"1", b"1", b"0", b"0")]
        assert operator.hears() == [b"f\t1\t1\t1", b"."]

    def test_is_that_it_ran_before_it_hears_of_the_loss_of_the_worker(self, node):
        node.background()
        worker = node.worker(b"f")
        self.start(node, worker)
        worker.leave()
        node.wait(0.01)
        assert [c.job for c in proposed(node, Take)] == [1]
        assert node.table.jobs[1].attempts == 1
        node.wait(1)
        assert len(proposed(node, Take)) == 1

    def test_is_that_it_runs_at_once_when_its_time_is_limited(self, node):
        node.background()
        worker = node.peer().say(T.CAN_DO_TIMEOUT, b"f", b"1000")
        node.wait(0.01)
        self.start(node, worker)
        node.wait(TAKE_DELAY / 2)
        assert node.wall + 990 < node.table.next_deadline() <= node.wall + 1000

    def test_is_that_it_runs_when_the_node_drains(self, node):
        node.background()
        self.start(node, node.worker(b"f"))
        node.gateway.drain(lambda: None)
        node.wait(0.003)
        assert node.table.functions[b"f"].running == 1


class TestTheEndOfASession:
    def test_of_a_client_waits_for_company(self, node):
        client = node.peer().say(T.SUBMIT_JOB, b"f", b"", b"")
        node.wait(0.01)
        node.disk.writes.clear()
        client.leave()
        assert node.disk.proposals() == []
        node.background()
        assert [type(command) for command in node.disk.commands()] == [SessionClose, Submit]

    def test_of_a_client_does_not_wait_for_long(self, node):
        client = node.peer().say(T.SUBMIT_JOB, b"f", b"", b"")
        node.wait(0.01)
        client.leave()
        node.wait(LAZY_DELAY * 1.1)
        assert node.table.jobs == {}

    def test_of_a_worker_does_not_wait(self, node):
        worker = node.worker(b"f")
        handle = node.background()
        worker.say(T.GRAB_JOB)
        node.settle()
        assert given(worker.hears()) == [handle]
        worker.leave()
        assert node.table.jobs[1].holder is None
