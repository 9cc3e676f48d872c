"""One connection among many: its turn, its share of memory, the time it has, and the end of the node."""

import socket

import pytest

from node.driver import PART, gathering
from node.gateway import connection as bounds
from node.gateway import gateway, inbox, lists, steps, telling
from node.gateway.budget import SMALL
from node.gateway.progress import PACE
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

    def test_of_many_who_waited_have_no_more_in_common_than_one_may_have_twice(self, node, monkeypatch):
        monkeypatch.setattr(gateway, "TURN", 10)
        node.disk.held = True
        clients = [node.peer().say(T.SUBMIT_JOB_BG, b"f", b"", b"") for _ in range(10)]
        for client in clients:
            client.send(encode_request(T.ECHO_REQ, b"") * 5)
        node.loop.turn()
        node.disk.release()
        heard = [0] * 10
        for _ in range(100):
            more = [len(client.hears()) for client in clients]
            assert sum(more) <= 10 + 10
            heard = [before + now for before, now in zip(heard, more, strict=True)]
            node.loop.turn()
        assert heard == [6] * 10

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
        for number in range(inbox.MAX_MESSAGES + 1):
            assert client.wire.reading
            client.say(T.ECHO_REQ, b"%d" % number)
            node.settle()
        assert not client.wire.reading
        node.disk.release()
        node.settle()
        assert client.wire.reading
        assert len(client.hears()) == inbox.MAX_MESSAGES + 2

    def test_who_piles_up_bytes_behind_a_request_that_waits_is_not_read_from(self, node):
        node.disk.held = True
        client = node.peer().say(T.SUBMIT_JOB_BG, b"f", b"", b"")
        for _ in range(5):
            assert client.wire.reading
            client.say(T.ECHO_REQ, bytes(inbox.MAX_BYTES // 5))
            node.settle()
        assert not client.wire.reading
        node.disk.release()
        node.settle()
        assert client.wire.reading
        assert len(client.hears()) == 6

    def test_who_is_read_from_no_more_is_read_from_again_when_the_node_has_caught_up(self, node, monkeypatch):
        monkeypatch.setattr(steps, "STEP", 3)
        monkeypatch.setattr(gathering, "MAX_BACKLOG", 1)
        node.disk.held = True
        clients = [node.peer() for _ in range(10)]
        for client in clients:
            client.say(T.SUBMIT_JOB_BG, b"f", b"", bytes(2 * MEBIBYTE))
        for client in clients:
            client.say(T.ECHO_REQ, b"")
        assert not any(client.wire.reading for client in clients)
        node.disk.release()
        node.settle()
        assert all(client.wire.reading for client in clients)
        assert node.gateway.unread_from == {}

    def test_nobody_is_read_from_while_the_table_lags_behind_many_bytes_of_results(self, node, monkeypatch):
        monkeypatch.setattr(telling, "MAX_ENDINGS", 2 * MEBIBYTE)
        handles = [node.background() for _ in range(3)]
        worker = node.worker(b"f")
        for _ in handles:
            worker.say(T.GRAB_JOB)
            node.settle()
        node.disk.held = True
        for handle in handles:
            assert worker.wire.reading
            worker.say(T.WORK_COMPLETE, handle, bytes(MEBIBYTE))
            node.settle()
        worker.say(T.ECHO_REQ, b"")
        assert not worker.wire.reading
        node.disk.release()
        node.wait(1)
        assert worker.wire.reading
        assert node.gateway.telling._large == {}

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
        packet = encode_request(T.ECHO_REQ, bytes(1_000_000))
        for position in range(0, len(packet), 30 * PACE):
            slow.send(packet[position : position + 30 * PACE])
            node.wait(30)
        assert slow.hears() == [(T.ECHO_RES, bytes(1_000_000))]
        assert not idle.wire.closed

    def test_one_that_has_gone_on_fast_and_trickles_now_ends_its_connection(self, node):
        packet = encode_request(T.ECHO_REQ, bytes(10 * MEBIBYTE))
        client = node.peer().send(packet[:1000]).send(packet[1000:-1000])
        for _ in range(15):
            client.send(b"x")
            node.wait(5)
        assert [event[:2] for event in client.hears()] == [(T.ERROR, b"TIMEOUT")]
        assert client.wire.closed

    def test_one_that_begins_anew_has_its_time(self, node):
        client = node.peer().send(encode_request(T.ECHO_REQ, b"first")[:-2])
        node.wait(55)
        client.send(encode_request(T.ECHO_REQ, b"first")[-2:] + encode_request(T.ECHO_REQ, b"second")[:-2])
        node.wait(55)
        client.send(encode_request(T.ECHO_REQ, b"second")[-2:])
        assert [event[1] for event in client.hears()] == [b"first", b"second"]

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
        node.wait(80)
        assert [event[0] for event in client.hears()] == [T.JOB_CREATED, T.ERROR]
        assert client.wire.closed

    def test_nothing_is_looked_at_where_nobody_is_connected(self, node):
        node.peer().leave()
        node.wait(100)
        assert node.gateway._check is None


class TestAnAcceptedConnection:
    @pytest.fixture
    def accepted(self):
        with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()):
            sock, _ = listener.accept()
            with sock:
                yield sock

    def test_outlives_a_dead_host_for_as_long_as_the_settings_of_keepalive_say(self, accepted):
        with StillNode(keepalive_idle=7, keepalive_interval=5, keepalive_count=4) as node:
            node.gateway.prepare_socket(accepted)
        assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT)
        assert [accepted.getsockopt(socket.IPPROTO_TCP, option) for option in options] == [7, 5, 4, 27_000]

    def test_is_left_to_the_system_without_keepalive(self, accepted):
        with StillNode(keepalive=False) as node:
            node.gateway.prepare_socket(accepted)
        assert not accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert not accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)


class TestUnreadBytes:
    @pytest.fixture
    def client(self, node):
        """One that has left a MiB unread."""
        client = node.peer()
        client.wire.reads = False
        return client.say(T.ECHO_REQ, bytes(MEBIBYTE))

    def test_that_are_not_read_end_their_connection(self, node, client):
        node.wait(59)
        assert not client.wire.aborted
        node.wait(17)
        assert client.wire.aborted

    def test_that_trickle_away_end_it_as_well(self, node, client):
        for _ in range(15):
            client.wire.unread -= 1
            node.wait(5)
        assert client.wire.aborted

    def test_that_are_read_at_a_moderate_pace_do_not(self, node, client):
        while client.wire.unread > 16 * PACE:
            client.wire.unread -= 15 * PACE
            node.wait(15)
        client.wire.drain()
        node.wait(300)
        assert not client.wire.closed

    def test_that_are_as_many_as_before_because_more_came_do_not(self, node, client):
        """It is being sent things and reads them: what counts is what it has read."""
        for _ in range(20):
            client.connection.send(bytes(15 * PACE))
            node.settle()
            client.wire.unread -= 15 * PACE
            node.wait(15)
        assert not client.wire.closed

    def test_that_are_few_do_not(self, node):
        """A worker that is busy for minutes leaves NOOPs unread."""
        worker = node.peer()
        worker.wire.reads = False
        for _ in range(SMALL // 20):
            worker.say(T.ECHO_REQ, b"")
        node.wait(1000)
        assert not worker.wire.closed

    def test_do_not_keep_a_connection_that_is_closed(self, node, client):
        client.connection.close()
        node.wait(50)
        assert client.connection.number in node.gateway.connections
        node.wait(30)
        assert client.connection.number not in node.gateway.connections
        assert client.wire.aborted

    def test_behind_a_list_keep_its_rows_from_being_made(self, node, client, monkeypatch):
        monkeypatch.setattr(lists, "PIECE", 1)
        for number in range(10):
            node.background(b"f%d" % number)
        client.send(b"status\n")
        node.wait(1)
        assert client.hears()[1:] == []
        client.wire.drain()
        node.wait(0.1)
        assert len(client.hears()) == 11


class TestTheBudget:
    @pytest.fixture
    def node(self, node):
        node.gateway.budget.limit = 16 * MEBIBYTE
        return node

    def half(self, node, size):
        return node.peer().send(encode_request(T.ECHO_REQ, bytes(size + 1))[:-1])

    def test_of_all_connections_is_kept_by_dropping_the_largest(self, node):
        small, *large = [self.half(node, MEBIBYTE), *(self.half(node, size * MEBIBYTE) for size in (5, 6, 3))]
        assert not any(peer.wire.closed for peer in (small, *large))
        late = self.half(node, 2 * MEBIBYTE)
        assert [peer.wire.closed for peer in (small, *large, late)] == [False, False, True, False, False]
        assert [event[:2] for event in large[1].hears()] == [(T.ERROR, b"MEMORY_ALLOCATION_FAILURE")]
        assert node.gateway.budget.held == sum(peer.connection.weight for peer in (small, large[0], large[2], late))
        assert large[1].connection.weight == 0

    def test_counts_answers_that_are_not_read_and_requests_that_wait(self, node):
        deaf = node.peer()
        deaf.wire.reads = False
        deaf.say(T.ECHO_REQ, bytes(7 * MEBIBYTE))
        node.disk.held = True
        waits = node.peer().say(T.SUBMIT_JOB_BG, b"f", b"", b"").say(T.ECHO_REQ, bytes(8 * MEBIBYTE))
        assert (deaf.connection.holding, waits.connection.holding) == (
            "answers that are not read",
            "requests that are not processed",
        )
        self.half(node, 2 * MEBIBYTE)
        assert (deaf.wire.aborted, waits.wire.closed) == (False, True)
        self.half(node, 7 * MEBIBYTE)
        assert deaf.wire.aborted

    def test_does_not_count_what_was_read_since(self, node):
        deaf = node.peer()
        deaf.wire.reads = False
        deaf.say(T.ECHO_REQ, bytes(12 * MEBIBYTE))
        deaf.wire.unread = 5000
        half = self.half(node, 10 * MEBIBYTE)
        assert not deaf.wire.closed
        assert not half.wire.closed

    def test_is_free_again_when_packets_are_complete_answers_read_and_connections_gone(self, node):
        node.disk.held = True
        peers = [self.half(node, MEBIBYTE) for _ in range(4)]
        waits = node.peer().say(T.SUBMIT_JOB_BG, b"f", b"", b"").say(T.ECHO_REQ, bytes(MEBIBYTE))
        deaf = node.peer()
        deaf.wire.reads = False
        deaf.say(T.ECHO_REQ, bytes(MEBIBYTE))
        assert node.gateway.budget.held > 6 * MEBIBYTE
        for peer in peers[:2]:
            peer.send(b"\0")
        for peer in peers[2:]:
            peer.leave()
        node.disk.release()
        node.settle()
        deaf.wire.drain()
        assert kinds(waits.hears()) == [T.JOB_CREATED, T.ECHO_RES]
        assert node.gateway.budget.held == 0
        assert all(not rank for rank in node.gateway.budget._ranks)

    def test_counts_what_waits_behind_an_answer_that_is_not_known(self, node):
        client = node.peer()
        client.connection.waiting += 2
        first, second = client.connection.owe(), client.connection.owe()
        client.connection.send(b"a" * MEBIBYTE)
        node.settle()
        client.connection.send(b"b" * MEBIBYTE)
        node.settle()
        assert node.gateway.budget.held == client.connection.withheld == 2 * MEBIBYTE
        assert client.connection.holding == "answers that wait for earlier ones"
        client.connection.give(second, b"2")
        assert client.connection.withheld == 2 * MEBIBYTE
        client.connection.give(first, b"1")
        node.settle()
        assert bytes(client.wire.sent[:3]) == b"12a"
        assert client.connection.withheld == node.gateway.budget.held == 0

    def test_costs_nothing_for_those_who_hold_next_to_nothing(self, node, monkeypatch):
        monkeypatch.setattr(node.gateway.budget, "note", None)
        client = node.peer()
        for _ in range(3):
            client.send(encode_request(T.ECHO_REQ, bytes(100)) + encode_request(T.ECHO_REQ, bytes(100))[:50])
            client.send(encode_request(T.ECHO_REQ, bytes(100))[50:])
        assert len(client.hears()) == 6


class TestLargeWorkloads:
    @pytest.fixture(autouse=True)
    def few(self, monkeypatch):
        monkeypatch.setattr(gateway, "MAX_UPLOADS", 4 * MEBIBYTE)

    def test_that_wait_for_their_turn_keep_others_from_being_read(self, node):
        node.disk.held = True
        others = [node.peer(), node.peer()]
        packet = encode_request(T.SUBMIT_JOB_BG, b"f", b"", bytes(6 * MEBIBYTE))
        for other in others:
            other.send(packet[: 3 * MEBIBYTE])
        begun = node.peer().send(packet[:1000])
        first = node.peer().send(packet)
        assert [other.wire.reading for other in others] == [False, False]
        assert begun.wire.reading
        begun.send(packet[1000 : 2 * PART])
        assert not begun.wire.reading
        assert node.peer().say(T.ECHO_REQ, b"small").hears() == [(T.ECHO_RES, b"small")]
        node.wait(300)
        assert not any(peer.wire.closed for peer in (*others, begun))
        node.disk.release()
        node.settle()
        assert kinds(first.hears()) == [T.JOB_CREATED]
        assert all(peer.wire.reading for peer in (*others, begun))
        for other in others:
            other.send(packet[3 * MEBIBYTE :])
        begun.send(packet[2 * PART :])
        node.settle()
        assert len(node.table.jobs) == 4
        assert not node.gateway.uploads_full
        assert node.driver.uploading == 0

    def test_that_go_with_their_incarnation_keep_nobody_from_being_read(self, node):
        node.disk.held = True
        packet = encode_request(T.SUBMIT_JOB_BG, b"f", b"", bytes(6 * MEBIBYTE))
        node.peer().send(packet)
        assert node.gateway.uploads_full
        node.driver._incarnations.break_off()
        node.disk.release()
        node.settle()
        late = node.peer().send(packet[:-1])
        assert late.wire.reading
        late.send(packet[-1:])
        node.settle()
        assert kinds(late.hears()) == [T.JOB_CREATED]


class TestVeryManyConnections:
    """What is done with all of them takes several turns; what must not wait is so at once."""

    @pytest.fixture(autouse=True)
    def few_in_a_turn(self, monkeypatch):
        monkeypatch.setattr(steps, "STEP", 2)

    def test_are_hung_up_on_in_several_turns_and_say_nothing_from_the_first_on(self, node):
        clients = [node.peer() for _ in range(7)]
        node.gateway.hang_up()
        assert [client.wire.closed for client in clients] == [True] * 2 + [False] * 5
        jobs = len(node.table.jobs)
        for client in clients[2:]:
            client.say(T.SUBMIT_JOB_BG, b"f", b"", b"").say(T.ECHO_REQ, b"")
            assert client.hears() == []
        node.settle()
        assert all(client.wire.closed for client in clients)
        assert len(node.table.jobs) == jobs
        assert node.peer().say(T.ECHO_REQ, b"new").hears() == [(T.ECHO_RES, b"new")]

    def test_of_an_incarnation_that_is_over_change_nothing_in_the_next(self, node):
        workers = [node.worker(b"f") for _ in range(7)]
        node.background()
        last = workers[-1].say(T.GRAB_JOB)
        node.settle()
        ((_, handle, *_),) = last.hears()
        node.gateway.break_off()
        commands = len(node.disk.commands())
        last.say(T.WORK_COMPLETE, handle, b"")
        for worker in workers[2:]:
            worker.say(T.GRAB_JOB)
        node.wait(1)
        assert all(worker.wire.closed for worker in workers)
        assert [type(command) for command in node.disk.commands()[commands:]] == []
        assert node.gateway._leaving == node.gateway.connections == {}

    def test_are_told_in_the_end_what_they_were_to_be_told(self, node):
        clients = [node.peer() for _ in range(7)]
        for client in clients:
            client.connection.send(b"last\n")
        closed: list[int] = []
        node.gateway.close(lambda: closed.append(1))
        assert closed == []
        node.settle()
        assert closed == [1]
        assert [client.hears() for client in clients] == [[b"last"]] * 7


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
