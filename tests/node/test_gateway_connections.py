"""One connection among many: its turn, its share of memory, the time it has, and the end of the node."""

import pytest

from node.driver import PART
from node.gateway import connection as bounds
from protocol import PacketType as T
from protocol import encode_request
from tests.node.stillness import StillNode

MEBIBYTE = 1 << 20


@pytest.fixture
def node():
    with StillNode() as node:
        yield node


def kinds(heard):
    return [event[0] for event in heard]


class TestTurns:
    def test_a_flood_is_seen_to_in_portions_and_the_others_have_their_turn(self, node):
        flood = node.peer()
        asked = [b"%d" % number for number in range(bounds.QUOTA * 3 + 1)]
        flood.send(b"".join(encode_request(T.ECHO_REQ, data) for data in asked))
        heard = flood.hears()
        assert len(heard) == bounds.QUOTA
        assert not flood.wire.reading
        assert node.peer().say(T.ECHO_REQ, b"me too").hears() == [(T.ECHO_RES, b"me too")]
        node.loop.turn()
        heard += flood.hears()
        assert len(heard) == bounds.QUOTA * 2
        node.settle()
        assert [event[1] for event in heard + flood.hears()] == asked
        assert flood.wire.reading

    def test_what_a_turn_has_to_say_to_a_connection_is_one_write(self, node, monkeypatch):
        client = node.peer()
        writes: list[bytes] = []
        monkeypatch.setattr(client.wire, "write", writes.append)
        client.send(encode_request(T.ECHO_REQ, b"1") + encode_request(T.ECHO_REQ, b"2"))
        assert len(writes) == 1


class TestARunOfSubmits:
    def test_of_all_kinds_and_of_several_clients_is_acknowledged_to_each_in_order(self, node):
        kinds_of_submit = [T.SUBMIT_JOB_BG, T.SUBMIT_JOB_BG, T.SUBMIT_JOB, T.SUBMIT_JOB_LOW_BG, T.SUBMIT_JOB_BG]
        clients = [node.peer(), node.peer()]
        for number, client in enumerate(clients):
            client.send(b"".join(encode_request(kind, b"f", b"", b"%d" % number) for kind in kinds_of_submit))
        node.settle()
        for number, client in enumerate(clients):
            heard = client.hears()
            assert kinds(heard) == [T.JOB_CREATED] * len(kinds_of_submit)
            jobs = [node.table.find(handle) for _, handle in heard]
            assert [(job.workload, job.background, job.priority) for job in jobs] == [
                (b"%d" % number, kind is not T.SUBMIT_JOB, 2 if kind is T.SUBMIT_JOB_LOW_BG else 1)
                for kind in kinds_of_submit
            ]
            assert [job.number for job in jobs] == sorted(job.number for job in jobs)

    def test_ends_where_something_else_was_asked_which_is_answered_in_its_turn(self, node):
        client = node.peer()
        submit = encode_request(T.SUBMIT_JOB_BG, b"f", b"", b"")
        client.send(submit * 2 + encode_request(T.ECHO_REQ, b"here") + submit * 2 + b"version\n")
        node.settle()
        assert [event if isinstance(event, bytes) else event[0] for event in client.hears()[:-1]] == [
            T.JOB_CREATED,
            T.JOB_CREATED,
            T.ECHO_RES,
            T.JOB_CREATED,
            T.JOB_CREATED,
        ]
        assert len(node.table.jobs) == 4

    def test_is_carried_out_though_the_client_leaves_and_the_others_are_answered(self, node):
        node.disk.held = True
        gone, stays = node.peer(), node.peer()
        for client in (gone, stays, gone):
            client.send(encode_request(T.SUBMIT_JOB_BG, b"f", b"", b"") * 2)
        gone.leave()
        node.disk.release()
        node.settle()
        assert (len(node.table.jobs), len(stays.hears()), gone.hears()) == (6, 2, [])


class TestBackPressure:
    @pytest.mark.parametrize("quota", [bounds.QUOTA, 1 << 20])
    def test_who_is_owed_too_many_answers_is_not_read_from_until_they_are_given(self, node, monkeypatch, quota):
        monkeypatch.setattr(bounds, "QUOTA", quota)
        node.disk.held = True
        client = node.peer()
        submit = encode_request(T.SUBMIT_JOB_BG, b"f", b"", b"")
        while client.wire.reading:
            client.send(submit * 100)
            node.settle()
        owed = client.connection.waiting
        assert bounds.MAX_WAITING // 2 < owed <= bounds.MAX_WAITING + 100
        node.disk.release()
        node.settle()
        assert len(client.hears()) == owed
        assert client.wire.reading

    def test_who_submits_a_lot_of_data_is_not_read_from_until_it_is_on_disk(self, node):
        node.disk.held = True
        client = node.peer()
        for _ in range(17):
            assert client.wire.reading
            client.say(T.SUBMIT_JOB_BG, b"f", b"", bytes(PART - 1))
        assert not client.wire.reading
        node.disk.release()
        node.settle()
        assert client.wire.reading
        assert client.connection.submitted == 0

    def test_who_piles_up_requests_behind_one_that_waits_is_not_read_from(self, node):
        node.disk.held = True
        client = node.peer().say(T.SUBMIT_JOB_BG, b"f", b"", b"")
        for number in range(bounds.MAX_INBOX + 1):
            assert client.wire.reading
            client.say(T.ECHO_REQ, b"%d" % number)
            node.settle()
        assert not client.wire.reading
        node.disk.release()
        node.settle()
        assert client.wire.reading
        assert len(client.hears()) == bounds.MAX_INBOX + 2

    def test_who_does_not_read_is_not_read_from_and_nothing_is_done_for_it_meanwhile(self, node):
        client = node.peer()
        client.wire.reads = False
        for _ in range(8):
            client.say(T.ECHO_REQ, bytes(MEBIBYTE))
        assert not client.wire.reading
        client.say(T.ECHO_REQ, b"behind")
        node.wait(10)
        assert kinds(client.hears()) == [T.ECHO_RES] * 8
        client.wire.drain()
        assert client.wire.reading
        node.settle()
        assert client.hears() == [(T.ECHO_RES, b"behind")]

    def test_who_does_not_read_what_others_send_it_is_cut_off_and_they_are_not_held_up(self, node):
        node.gateway.max_unread = 10 * MEBIBYTE
        client = node.peer().say(T.SUBMIT_JOB, b"f", b"", b"")
        worker = node.worker(b"f").say(T.GRAB_JOB)
        node.settle()
        handle = worker.hears()[-1][1]
        client.wire.reads = False
        for number in range(12):
            assert client.wire.aborted == (number >= 10)
            worker.say(T.WORK_DATA, handle, bytes(MEBIBYTE))
        node.settle()
        assert client.connection.number not in node.gateway.connections
        assert worker.wire.reading
        worker.say(T.ECHO_REQ, b"")
        assert worker.hears() == [(T.ECHO_RES, b"")]


class TestStalls:
    def test_a_packet_that_does_not_go_on_ends_its_connection(self, node):
        client = node.peer().send(encode_request(T.ECHO_REQ, b"whole") + encode_request(T.ECHO_REQ, b"half")[:-2])
        node.wait(59)
        assert client.hears() == [(T.ECHO_RES, b"whole")]
        node.wait(17)
        assert [event[:2] for event in client.hears()] == [(T.ERROR, b"TIMEOUT")]
        assert client.wire.closed

    def test_one_that_goes_on_slowly_and_one_that_is_idle_stay(self, node):
        idle = node.peer().say(T.ECHO_REQ, b"")
        slow = node.peer()
        for byte in encode_request(T.ECHO_REQ, b""):
            slow.send(bytes([byte]))
            node.wait(50)
        assert slow.hears() == [(T.ECHO_RES, b"")]
        assert not idle.wire.closed

    def test_who_is_not_read_from_cannot_be_late(self, node):
        node.disk.held = True
        client = node.peer()
        for _ in range(17):
            client.say(T.SUBMIT_JOB_BG, b"f", b"", bytes(PART - 1))
        client.send(encode_request(T.ECHO_REQ, b"half")[:-2])
        assert not client.wire.reading
        node.wait(300)
        assert not client.wire.closed

    def test_who_is_owed_an_answer_gets_that_first(self, node):
        node.disk.held = True
        client = node.peer().say(T.SUBMIT_JOB_BG, b"f", b"", b"")
        client.send(encode_request(T.ECHO_REQ, b"half")[:-2])
        node.wait(100)
        assert client.hears() == []
        node.disk.release()
        node.wait(20)
        assert [event[0] for event in client.hears()] == [T.JOB_CREATED, T.ERROR]
        assert client.wire.closed

    def test_nothing_is_looked_at_where_nobody_is_connected(self, node):
        node.peer().leave()
        node.wait(100)
        assert node.gateway._stall_check is None


class TestDrain:
    def test_is_over_when_no_job_runs_and_nothing_more_is_given_out(self, node):
        drained: list[int] = []
        worker = node.worker(b"f")
        handle = node.background()
        node.background()
        worker.say(T.GRAB_JOB)
        node.settle()
        worker.hears()
        node.gateway.drain(lambda: drained.append(1))
        worker.say(T.GRAB_JOB)
        assert worker.hears() == [(T.NO_JOB,)]
        assert drained == []
        worker.say(T.WORK_COMPLETE, handle, b"")
        node.wait(0.01)
        assert drained == [1]
        assert [job.number for job in node.table.jobs.values()] == [2]

    def test_is_over_at_once_where_nothing_runs(self, node):
        drained: list[int] = []
        node.worker(b"f")
        node.gateway.drain(lambda: drained.append(1))
        assert drained == [1]

    def test_is_over_when_the_last_worker_that_runs_something_has_gone(self, node):
        drained: list[int] = []
        worker = node.worker(b"f")
        node.background()
        worker.say(T.GRAB_JOB)
        node.settle()
        node.gateway.drain(lambda: drained.append(1))
        worker.leave()
        assert drained == [1]

    def test_gives_back_what_was_kept_and_wakes_nobody_for_it(self, node):
        worker = node.worker(b"f").say(T.PRE_SLEEP)
        node.wait(0.01)
        node.background()
        assert worker.hears() == [(T.NOOP,)]
        node.gateway.drain(lambda: None)
        node.settle()
        worker.say(T.GRAB_JOB)
        assert worker.hears() == [(T.NO_JOB,)]
        worker.say(T.PRE_SLEEP)
        node.wait(0.01)
        assert node.gateway.running == 0

    def test_refuses_new_connections_and_serves_the_clients_it_has(self, node):
        client = node.peer()
        node.gateway.drain(lambda: None)
        late = node.peer()
        assert late.wire.aborted
        client.say(T.SUBMIT_JOB_BG, b"f", b"", b"")
        node.settle()
        assert kinds(client.hears()) == [T.JOB_CREATED]

    def test_closing_sends_what_was_said_last(self, node):
        client = node.peer()
        client.connection.send(b"last\n")
        node.gateway.close()
        assert client.hears() == [b"last"]
        node.settle()
        assert client.wire.closed
        assert node.gateway.connections == {}
