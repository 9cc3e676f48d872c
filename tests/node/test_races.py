"""What happens when two things cross: an answer and the drain, an end and a cancel, a mirror and a change."""

import pytest

from cluster.jobs import CreateFunction, Prefetch, Submit
from node.driver import mirroring
from node.gateway.assigning import GRAB_PATIENCE, SWEEP_INTERVAL
from protocol import PacketType, encode_request
from tests.node.stillness import Engine, StillNode
from tests.node.test_gateway_workers import run

LIMIT = b"1000"
"""A time limit for one run, in milliseconds."""


@pytest.fixture
def node():
    with StillNode() as node:
        yield node


@pytest.fixture
def engine():
    engine = Engine()
    engine.rest()
    return engine


def submitted(node):
    """Give a client that waits for a foreground job, and the job's handle."""
    client = node.peer().say(PacketType.SUBMIT_JOB, b"f", b"u", b"")
    node.wait(0.01)
    ((_, handle),) = client.hears()
    return client, handle


def completed_at_the_limit(node):
    """Let a worker complete a job so late that the time limit is over before the table hears of it."""
    worker = node.peer().say(PacketType.CAN_DO_TIMEOUT, b"f", LIMIT)
    node.wait(0.01)
    client, handle = submitted(node)
    worker.say(PacketType.GRAB_JOB)
    node.wait(0.005)
    node.wait((node.table.next_deadline() - node.wall) / 1000 - 0.001)
    worker.say(PacketType.WORK_COMPLETE, handle, b"r")
    node.wait(0.02)
    return worker, client, handle


class TestTheDrain:
    def test_gives_no_job_to_a_grab_that_was_on_its_way(self, node):
        worker = node.worker(b"f")
        node.background()
        node.disk.held = True
        worker.say(PacketType.GRAB_JOB)
        node.settle()
        drained = []
        node.gateway.drain(lambda: drained.append(True))
        assert drained == [True]
        node.disk.release()
        node.wait(0.01)
        assert worker.hears() == [(PacketType.NO_JOB,)]
        assert node.gateway.running == 0

    def test_puts_back_what_is_assigned_too_late(self, node):
        worker = node.worker(b"f")
        node.background()
        node.disk.held = True
        worker.say(PacketType.GRAB_JOB)
        node.wait(GRAB_PATIENCE + 2 * SWEEP_INTERVAL)
        assert worker.hears() == [(PacketType.NO_JOB,)]
        node.gateway.drain(lambda: None)
        node.disk.release()
        node.wait(1)
        assert node.table.functions[b"f"].waiting[1] == 1


class TestAnEndThatWasTold:
    def test_is_not_followed_by_a_fail_when_the_time_limit_was_over(self, node):
        node.table.job_retries = 0
        _, client, handle = completed_at_the_limit(node)
        assert client.hears() == [(PacketType.WORK_COMPLETE, handle, b"r")]

    def test_is_not_followed_by_a_fail_when_the_job_is_cancelled(self, node):
        worker = node.worker(b"f")
        client, handle = submitted(node)
        worker.say(PacketType.GRAB_JOB)
        node.wait(0.005)
        node.disk.held = True
        node.peer().send(b"cancel job %b\n" % handle)
        node.settle()
        worker.say(PacketType.WORK_COMPLETE, handle, b"r")
        node.disk.release()
        node.wait(0.01)
        node.disk.release()
        assert client.hears() == [(PacketType.WORK_COMPLETE, handle, b"r")]

    def test_is_not_followed_by_a_fail_when_the_job_runs_again_and_is_cancelled(self, node):
        _, client, handle = completed_at_the_limit(node)
        assert client.hears() == [(PacketType.WORK_COMPLETE, handle, b"r")]
        node.peer().send(b"cancel job %b\n" % handle)
        node.settle()
        assert client.hears() == []

    def test_is_forgotten_with_its_job(self, node):
        for _ in range(3):
            worker, client, _ = completed_at_the_limit(node)
            client.leave()
            worker.leave()
            node.wait(1)
        assert node.table.jobs == {}
        assert len(node.gateway._listening.told) <= 1


class TestAnEndThatCameLate:
    def test_is_not_that_of_the_next_run_though_the_job_was_kept_for_its_worker_again(self, node):
        """The log says, in one entry: its time is over, it is reserved for the same worker, somebody joins, it ends."""
        worker = node.peer().say(PacketType.CAN_DO_TIMEOUT, b"f", b"1")
        client = node.peer().say(PacketType.SUBMIT_JOB, b"f", b"u", b"")
        for _ in range(3):
            node.background()
        ((_, handle),) = client.hears()
        worker.say(PacketType.GRAB_JOB)
        node.settle()
        assert worker.hears()[0][:2] == (PacketType.JOB_ASSIGN, handle)
        node.wait(0.01)
        node.disk.held = True
        node.driver.propose(CreateFunction(0, b"x"))
        node.settle()
        node.driver.propose(Prefetch(worker.connection.number, 1))
        late = node.peer().say(PacketType.SUBMIT_JOB, b"f", b"u", b"")
        worker.say(PacketType.WORK_COMPLETE, handle, b"r")
        assert client.hears() == [(PacketType.WORK_COMPLETE, handle, b"r")]
        node.wait(1.5)
        node.disk.release()
        node.wait(0.01)
        assert late.hears() == [(PacketType.JOB_CREATED, handle)]
        worker.say(PacketType.GRAB_JOB)
        node.wait(0.01)
        assert worker.hears()[0][:2] == (PacketType.JOB_ASSIGN, handle)
        worker.say(PacketType.WORK_COMPLETE, handle, b"again")
        node.wait(0.01)
        assert late.hears() == [(PacketType.WORK_COMPLETE, handle, b"again")]
        assert client.hears() == []
        assert node.gateway.telling.endings == {}


class TestReservingAhead:
    def test_puts_a_better_job_before_those_reserved_earlier(self, node):
        for _ in range(400):
            node.background()
        worker = node.worker(b"f")
        session = worker.connection.worker
        while len(session.reserved) < 40:
            run(node, worker)
        node.settle()
        node.wait(0.003)
        node.disk.held = True
        client = node.peer().say(PacketType.SUBMIT_JOB_HIGH_BG, b"f", b"", b"")
        node.settle()
        mark = node.driver.numbered
        while session.prefetched <= mark:
            run(node, worker)
        left = len(session.reserved)
        node.disk.release()
        node.wait(0.01)
        ((_, high),) = client.hears()
        assert [run(node, worker) for _ in range(left + 5)].index(high) == 0


class TestAMirror:
    def test_is_followed_by_another_for_what_changed_meanwhile(self, engine):
        engine.disk.held = True
        engine.driver.propose(CreateFunction(0, b"f1"))
        engine.loop.settle()
        engine.disk.acknowledge()
        engine.loop.advance(mirroring.MIRROR_INTERVAL * 1.1)
        assert engine.disk.mirrors_under_way == 1
        engine.driver.propose(CreateFunction(0, b"f2"))
        engine.loop.settle()
        engine.disk.acknowledge()
        engine.disk.release()
        engine.loop.advance(mirroring.MIRROR_INTERVAL * 10)
        assert len(engine.disk.mirrors) == 2

    def test_that_cannot_be_made_stops_the_node(self, engine, monkeypatch):
        monkeypatch.setattr(engine.raft, "snapshot_meta", lambda _index: 1 // 0)
        engine.driver.propose(CreateFunction(0, b"f1"))
        engine.loop.advance(mirroring.MIRROR_INTERVAL * 1.1)
        assert engine.driver.failed
        assert len(engine.failures) == 1


class TestAWrite:
    def test_whose_acknowledgement_consensus_refuses_stops_the_node(self, engine, monkeypatch):
        engine.disk.held = True
        engine.driver.propose(CreateFunction(0, b"f1"))
        engine.loop.settle()
        monkeypatch.setattr(engine.raft, "persisted", lambda _sequence: 1 // 0)
        engine.disk.acknowledge()
        assert engine.driver.failed
        assert len(engine.failures) == 1

    def test_that_tells_the_time_waits_for_the_one_under_way(self, engine):
        engine.driver.propose(Submit(0, b"f", b"", b"", 1, background=True, due=engine.wall + 1000))
        engine.loop.settle()
        engine.disk.held = True
        engine.driver.propose(CreateFunction(0, b"f1"))
        engine.loop.settle()
        engine.loop.advance(5)
        assert engine.disk.most_under_way == 1


class TestAConnection:
    def test_that_used_up_its_quota_is_read_from_again(self, node):
        node.disk.held = True
        client = node.peer()
        client.send(encode_request(PacketType.SUBMIT_JOB_BG, b"f", b"", b"") * 1500)
        node.settle()
        assert client.connection.waiting == 1500
        assert client.wire.reading

    def test_that_leaves_takes_its_progress_along(self, node):
        worker = node.worker(b"f")
        _, handle = submitted(node)
        worker.say(PacketType.GRAB_JOB)
        node.wait(0.005)
        worker.say(PacketType.WORK_STATUS, handle, b"1", b"2")
        node.wait(1)
        worker.leave()
        assert node.gateway.progress == {}
        assert node.gateway.untold_progress == {}
