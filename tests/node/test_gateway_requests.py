"""The gateway as clients and operators meet it: answers in the order of the questions, and results told once."""

import pytest

from node.gateway import administration, lists
from protocol import PacketType as T
from tests.node.stillness import StillNode


@pytest.fixture
def node():
    with StillNode() as node:
        yield node


def kinds(heard):
    return [event[0] for event in heard]


class TestOrderOfAnswers:
    def test_is_that_of_the_requests_even_where_some_could_be_answered_at_once(self, node):
        node.disk.held = True
        client = node.peer().say(T.SUBMIT_JOB_BG, b"f", b"", b"1").say(T.ECHO_REQ, b"2")
        client.say(T.GET_STATUS, b"H:n:1").say(T.SUBMIT_JOB_BG, b"f", b"", b"4").send(b"version\n")
        node.settle()
        assert client.hears() == []
        node.disk.release()
        node.settle()
        heard = client.hears()
        assert heard[:4] == [
            (T.JOB_CREATED, b"H:n:1"),
            (T.ECHO_RES, b"2"),
            (T.STATUS_RES, b"H:n:1", b"1", b"0", b"0", b"0"),
            (T.JOB_CREATED, b"H:n:2"),
        ]
        assert [line[:2] for line in heard[4:]] == [b"OK"]

    def test_submits_do_not_wait_for_each_other(self, node):
        node.disk.held = True
        client = node.peer()
        for number in range(3):
            client.say(T.SUBMIT_JOB_BG, b"f", b"", b"%d" % number)
        node.disk.release()
        node.settle()
        assert client.hears() == [(T.JOB_CREATED, b"H:n:%d" % number) for number in (1, 2, 3)]

    def test_one_connection_does_not_wait_for_another(self, node):
        node.disk.held = True
        node.peer().say(T.SUBMIT_JOB_BG, b"f", b"", b"")
        assert node.peer().say(T.ECHO_REQ, b"now").hears() == [(T.ECHO_RES, b"now")]

    def test_a_question_about_the_table_is_answered_before_what_was_said_after_it(self, node):
        """A report behind GET_STATUS on the same connection must not show in its answer."""
        worker = node.worker(b"f")
        handle = node.background()
        worker.say(T.GRAB_JOB)
        node.wait(0.01)
        worker.hears()
        node.disk.held = True
        node.peer().say(T.SUBMIT_JOB_BG, b"f", b"", b"")
        worker.say(T.GET_STATUS, handle).say(T.WORK_STATUS, handle, b"5", b"10").say(T.GET_STATUS, handle)
        node.disk.release()
        node.settle()
        assert worker.hears() == [
            (T.STATUS_RES, handle, b"1", b"1", b"0", b"0"),
            (T.STATUS_RES, handle, b"1", b"1", b"5", b"10"),
        ]

    def test_who_shuts_its_sending_side_gets_its_answers_before_the_connection_is_closed(self, node):
        node.disk.held = True
        client = node.peer().say(T.SUBMIT_JOB_BG, b"f", b"", b"").say(T.ECHO_REQ, b"last")
        assert client.connection.eof_received()
        node.settle()
        assert not client.wire.closed
        node.disk.release()
        node.settle()
        assert kinds(client.hears()) == [T.JOB_CREATED, T.ECHO_RES]
        assert client.wire.closed

    def test_a_fatal_fault_is_answered_in_its_turn_and_closes_the_connection(self, node):
        node.disk.held = True
        client = node.peer().say(T.SUBMIT_JOB_BG, b"f", b"", b"").send(b"\0BAD" + bytes(8))
        node.settle()
        assert client.hears() == []
        node.disk.release()
        node.settle()
        assert kinds(client.hears()) == [T.JOB_CREATED, T.ERROR]
        assert client.wire.closed


class TestLongLists:
    def test_come_piece_by_piece_and_nothing_overtakes_them(self, node, monkeypatch):
        monkeypatch.setattr(lists, "PIECE", 2)
        monkeypatch.setattr(lists, "TURN", 2)
        for number in range(5):
            node.background(b"f%d" % number)
        operator = node.peer().send(b"status\n")
        operator.say(T.ECHO_REQ, b"behind")
        node.loop.turn()
        assert len(operator.hears()) == 2
        node.settle()
        rest = operator.hears()
        assert [row.split(b"\t")[0] for row in rest[:-1]] == [b"f2", b"f3", b"f4", b"."]
        assert rest[-1] == (T.ECHO_RES, b"behind")

    def test_of_many_operators_take_turns_and_no_turn_has_more_rows_for_them(self, node, monkeypatch):
        monkeypatch.setattr(lists, "PIECE", 2)
        monkeypatch.setattr(lists, "TURN", 6)
        for number in range(5):
            node.background(b"f%d" % number)
        operators = [node.peer().send(b"status\n") for _ in range(10)]
        heard = [0] * 10
        for _ in range(40):
            node.loop.turn()
            rows = [len(operator.hears()) for operator in operators]
            assert sum(rows) <= 6
            heard = [before + more for before, more in zip(heard, rows, strict=True)]
            assert max(heard) - min(heard) <= 4
        assert heard == [6] * 10

    def test_of_jobs_leave_out_what_ends_meanwhile_and_what_comes(self, node, monkeypatch):
        monkeypatch.setattr(lists, "PIECE", 2)
        monkeypatch.setattr(administration, "PIECE", 2)
        monkeypatch.setattr(lists, "TURN", 2)
        handles = [node.background() for _ in range(8)]
        first = node.peer().send(b"show jobs\n")
        node.loop.turn()
        node.peer().send(b"cancel job %b\n" % handles[5])
        late = node.background()
        second = node.peer().send(b"show jobs\n")
        node.settle()
        shown = [[row.split(b"\t")[0] for row in operator.hears()] for operator in (first, second)]
        rest = [handle for handle in handles if handle != handles[5]]
        assert shown[0] in ([*rest, b"."], [*handles, b"."])
        assert shown[1] == [*rest, late, b"."]
        assert node.gateway._administration._jobs._numbers == []

    def test_that_are_broken_off_leave_nothing(self, node, monkeypatch):
        monkeypatch.setattr(lists, "PIECE", 1)
        for _ in range(4):
            node.background()
        operator = node.peer()
        operator.wire.clog()
        operator.send(b"show jobs\n")
        node.wait(1)
        operator.leave()
        other = node.peer().send(b"show jobs\n")
        node.settle()
        assert len(other.hears()) == 5
        assert node.gateway._administration._jobs._numbers == []

    def test_are_made_no_faster_than_the_operator_reads(self, node, monkeypatch):
        monkeypatch.setattr(lists, "PIECE", 1)
        for number in range(3):
            node.background(b"f%d" % number)
        operator = node.peer().send(b"status\n")
        operator.wire.clog()
        node.wait(10)
        assert operator.hears()[1:] == []
        operator.wire.drain()
        node.settle()
        assert operator.hears()[-1] == b"."


class TestResults:
    def foreground(self, node, unique=b"u"):
        client = node.peer().say(T.SUBMIT_JOB, b"f", unique, b"")
        node.wait(0.01)
        ((kind, handle),) = client.hears()
        assert kind is T.JOB_CREATED
        return client, handle

    def running(self, node, *, limit=None):
        """A worker that runs the job of a client."""
        worker = node.peer()
        if limit is None:
            worker.say(T.CAN_DO, b"f")
        else:
            worker.say(T.CAN_DO_TIMEOUT, b"f", limit)
        node.wait(0.01)
        client, handle = self.foreground(node)
        worker.say(T.GRAB_JOB)
        node.settle()
        assert worker.hears() == [(T.JOB_ASSIGN, handle, b"f", b"")]
        return worker, client, handle

    def test_reach_who_listens_before_the_table_knows_of_the_end(self, node):
        worker, client, handle = self.running(node)
        node.disk.held = True
        worker.say(T.WORK_DATA, handle, b"1").say(T.WORK_COMPLETE, handle, b"2")
        assert client.hears() == [(T.WORK_DATA, handle, b"1"), (T.WORK_COMPLETE, handle, b"2")]
        node.disk.release()
        node.wait(1)
        assert client.hears() == []
        assert node.table.jobs == {}
        assert node.gateway.telling.endings == {}

    def test_reach_once_who_began_to_listen_while_the_end_was_on_its_way(self, node):
        worker, first, handle = self.running(node)
        node.wait(0.01)
        node.disk.held = True
        second = node.peer().say(T.SUBMIT_JOB, b"f", b"u", b"")
        worker.say(T.WORK_COMPLETE, handle, b"done")
        assert first.hears() == [(T.WORK_COMPLETE, handle, b"done")]
        node.disk.release()
        node.wait(0.01)
        node.disk.release()
        assert second.hears() == [(T.JOB_CREATED, handle), (T.WORK_COMPLETE, handle, b"done")]
        assert first.hears() == []

    def test_reach_a_client_as_often_as_it_asked(self, node):
        worker, client, handle = self.running(node)
        other = node.peer().say(T.SUBMIT_JOB, b"f", b"u", b"")
        client.say(T.SUBMIT_JOB, b"f", b"u", b"").say(T.SUBMIT_JOB, b"f", b"u", b"")
        node.wait(0.01)
        assert client.hears() == [(T.JOB_CREATED, handle)] * 2
        assert other.hears() == [(T.JOB_CREATED, handle)]
        client.say(T.GET_STATUS_UNIQUE, b"u")
        node.wait(0.01)
        assert client.hears() == [(T.STATUS_RES_UNIQUE, b"u", b"1", b"1", b"0", b"0", b"4")]
        worker.say(T.WORK_DATA, handle, b"1").say(T.WORK_COMPLETE, handle, b"2")
        assert client.hears() == [(T.WORK_DATA, handle, b"1")] * 3 + [(T.WORK_COMPLETE, handle, b"2")] * 3
        assert other.hears() == [(T.WORK_DATA, handle, b"1"), (T.WORK_COMPLETE, handle, b"2")]
        again, _ = self.foreground(node)
        node.wait(0.01)
        node.peer().send(b"cancel job %b\n" % (handle := next(iter(node.table.jobs.values())).handle))
        node.wait(0.01)
        assert again.hears() == [(T.WORK_FAIL, handle)]

    def test_reach_a_client_that_asked_again_while_the_end_was_on_its_way(self, node):
        worker, client, handle = self.running(node)
        node.wait(0.01)
        node.disk.held = True
        client.say(T.SUBMIT_JOB, b"f", b"u", b"")
        worker.say(T.WORK_COMPLETE, handle, b"done")
        assert client.hears() == [(T.WORK_COMPLETE, handle, b"done")]
        node.disk.release()
        node.wait(0.01)
        node.disk.release()
        node.wait(0.01)
        assert client.hears() == [(T.JOB_CREATED, handle), (T.WORK_COMPLETE, handle, b"done")]
        assert node.table.jobs == {}

    def test_of_a_cancelled_job_reach_a_client_as_often_as_it_asked(self, node):
        client, handle = self.foreground(node)
        client.say(T.SUBMIT_JOB, b"f", b"u", b"")
        node.wait(0.01)
        assert client.hears() == [(T.JOB_CREATED, handle)]
        node.peer().send(b"cancel job %b\n" % handle)
        node.wait(0.01)
        assert client.hears() == [(T.WORK_FAIL, handle)] * 2

    def test_do_not_fill_the_memory_for_a_client_that_asked_often_and_reads_nothing(self, node):
        worker, client, handle = self.running(node)
        for _ in range(300):
            client.say(T.SUBMIT_JOB, b"f", b"u", b"")
        node.wait(0.01)
        client.hears()
        node.gateway.max_unread = 1_000_000
        client.wire.reads = False
        worker.say(T.WORK_COMPLETE, handle, b"x" * 100_000)
        assert client.wire.aborted
        assert len(client.wire.sent) < 10_000_000  # of 30 million
        node.settle()
        assert client.connection.number not in node.gateway.connections
        worker.say(T.ECHO_REQ, b"")
        assert worker.hears() == [(T.ECHO_RES, b"")]

    def test_are_told_once_though_the_job_has_to_run_again_because_its_time_was_over(self, node):
        worker, client, handle = self.running(node, limit=b"1")
        node.wait(0.0025)  # the Take is in the table, and with it when the run has to end
        deadline = node.table.next_deadline()
        node.wait((deadline - node.wall) / 1000 - 0.001)
        worker.say(T.WORK_COMPLETE, handle, b"just in time")
        assert client.hears() == [(T.WORK_COMPLETE, handle, b"just in time")]
        node.wait(0.01)
        rescuer = node.worker(b"f").say(T.GRAB_JOB)
        node.settle()
        assert rescuer.hears() == [(T.JOB_ASSIGN, handle, b"f", b"")]
        rescuer.say(T.WORK_COMPLETE, handle, b"again")
        node.wait(0.01)
        assert client.hears() == []
        assert node.gateway._listening.told == node.gateway.telling.endings == node.table.jobs == {}

    def test_of_a_run_whose_time_is_over_are_refused(self, node):
        worker, client, handle = self.running(node, limit=b"1")
        node.wait(1.1)
        worker.say(T.WORK_DATA, handle, b"late").say(T.WORK_COMPLETE, handle, b"late")
        assert [event[:2] for event in worker.hears()] == [(T.ERROR, b"JOB_NOT_FOUND")] * 2
        assert client.hears() == []
        assert len(node.table.jobs) == 1

    def test_of_a_cancelled_job_go_nowhere_until_its_end_was_heard(self, node):
        worker, client, handle = self.running(node)
        operator = node.peer().send(b"cancel job %b\n" % handle)
        node.settle()
        assert operator.hears() == [b"OK"]
        assert client.hears() == [(T.WORK_FAIL, handle)]
        worker.say(T.WORK_DATA, handle, b"").say(T.WORK_STATUS, handle, b"1", b"2").say(T.WORK_COMPLETE, handle, b"")
        node.wait(1)
        assert (worker.hears(), client.hears()) == ([], [])
        worker.say(T.WORK_COMPLETE, handle, b"")
        assert [event[:2] for event in worker.hears()] == [(T.ERROR, b"JOB_NOT_FOUND")]

    def test_an_exception_is_a_failure_to_who_did_not_ask_for_exceptions(self, node):
        worker, plain, handle = self.running(node)
        curious = node.peer().say(T.OPTION_REQ, b"exceptions").say(T.SUBMIT_JOB, b"f", b"u", b"")
        node.wait(0.01)
        curious.hears()
        worker.say(T.WORK_EXCEPTION, handle, b"why").say(T.WORK_FAIL, handle)
        node.wait(0.01)
        assert curious.hears() == [(T.WORK_EXCEPTION, handle, b"why")]
        assert plain.hears() == [(T.WORK_FAIL, handle)]
        assert worker.hears() == []

    def test_progress_is_told_to_the_table_now_and_then_only(self, node):
        worker, client, handle = self.running(node)
        node.rest()
        for number in range(100):
            worker.say(T.WORK_STATUS, handle, b"%d" % number, b"100")
        assert len(client.hears()) == 100
        node.wait(1)
        (told,) = [command for command in node.disk.commands() if type(command).__name__ == "Progress"]
        assert (told.numerator, told.denominator) == (99, 100)
