"""A snapshot takes the place of a node's table while the node is up in it: its sessions go on."""

import pytest

from cluster.jobs import restore
from node.recovery import Loaded, _read_meta
from protocol import PacketType as P
from tests.node.still_cluster import StillCluster
from tests.node.test_told_in_spite_of_lag import Late


class Scene:
    """Three nodes; c lags behind, until it is given the table of the leader."""

    def __init__(self) -> None:
        self.cluster = StillCluster()
        assert self.cluster.leader.name == "a"
        self.c = self.cluster["c"]
        self.gateway = self.c.gateway

    def worker(self, node: str, *functions: bytes):
        worker = self.cluster[node].peer()
        for function in functions:
            worker.say(P.CAN_DO, function)
        self.cluster.settle()
        return worker

    def submits(
        self, node: str, function: bytes, *, kind: P = P.SUBMIT_JOB, unique: bytes = b"", workload: bytes = b""
    ):
        client = self.cluster[node].peer().say(kind, function, unique, workload)
        self.cluster.settle()
        return client

    def lags(self) -> None:
        self.late = Late(self.c)

    def is_given_the_table(self) -> None:
        leader, driver = self.cluster.leader, self.c.driver
        with self.cluster.loop.running():
            leader.driver._mirroring.begin()
        self.cluster.settle()
        segments: dict[int, bytes] = {}
        payloads: dict[int, bytes] = {}
        for mirror in leader.disk.mirrors:
            for number, data in mirror.segments:
                if data is None:
                    segments.pop(number, None)
                else:
                    segments[number] = data
            payloads |= dict(mirror.payloads)
        meta = _read_meta(leader.disk.mirrors[-1].meta, "here").table
        copy, writer = restore(meta, sorted(segments.items()), payloads.items(), "c")
        index = leader.raft.applied_index
        driver._writing._persisted_later = [0]
        driver._writing._installing = True
        driver._become(Loaded(copy, writer, index, leader.raft.entry_term(index), leader.raft.configuration))
        self.late.end()
        self.cluster.settle()

    def wait(self, seconds: float) -> None:
        self.cluster.wait(seconds)


@pytest.fixture
def scene():
    scene = Scene()
    incarnation = scene.c.driver.incarnation
    yield scene
    scene.wait(10)
    assert [member.failures for member in scene.cluster] == [[], [], []]
    assert scene.c.driver.incarnation == incarnation
    assert not scene.gateway.telling.listening._awaiting
    assert not scene.gateway.holders.busy


class TestAWorker:
    def test_goes_on_with_its_job_and_its_client_hears_the_end(self, scene):
        worker = scene.worker("c", b"f")
        client = scene.submits("b", b"f")
        ((_, handle),) = client.hears()
        worker.say(P.GRAB_JOB)
        scene.wait(0.05)
        assert worker.hears()[-1][0] is P.JOB_ASSIGN
        scene.lags()
        scene.submits("a", b"g", kind=P.SUBMIT_JOB_BG)
        scene.is_given_the_table()
        worker.say(P.WORK_COMPLETE, handle, b"out")
        scene.wait(0.2)
        assert client.hears() == [(P.WORK_COMPLETE, handle, b"out")]
        assert worker.hears() == []
        assert scene.cluster["a"].table.jobs.keys() == scene.c.table.jobs.keys()
        assert len(scene.c.table.jobs) == 1

    def test_that_slept_is_woken_for_a_job_that_was_kept_for_it(self, scene):
        worker = scene.worker("c", b"f").say(P.PRE_SLEEP)
        scene.wait(0.05)
        scene.lags()
        client = scene.submits("a", b"f", workload=b"in")
        assert worker.hears() == []
        scene.is_given_the_table()
        assert worker.hears() == [(P.NOOP,)]
        worker.say(P.GRAB_JOB)
        scene.wait(0.05)
        ((_, handle),) = client.hears()
        assert worker.hears() == [(P.JOB_ASSIGN, handle, b"f", b"in")]
        worker.say(P.WORK_COMPLETE, handle, b"out")
        scene.wait(0.2)
        assert client.hears() == [(P.WORK_COMPLETE, handle, b"out")]

    def test_that_slept_is_woken_though_its_job_was_cancelled_since(self, scene):
        worker = scene.worker("c", b"f").say(P.PRE_SLEEP)
        scene.wait(0.05)
        scene.lags()
        client = scene.submits("a", b"f")
        ((_, handle),) = client.hears()
        scene.cluster["a"].peer().send(b"cancel job %b\n" % handle)
        scene.wait(0.1)
        assert client.hears() == [(P.WORK_FAIL, handle)]
        scene.is_given_the_table()
        assert worker.hears() == [(P.NOOP,)]
        worker.say(P.GRAB_JOB)
        scene.wait(0.05)
        assert worker.hears() == [(P.NO_JOB,)]

    @pytest.mark.parametrize("there", [True, False])
    def test_whose_grab_the_table_has_seen_is_answered(self, scene, there):
        worker = scene.worker("c", b"f")
        scene.submits("a", b"f", kind=P.SUBMIT_JOB_BG, workload=b"in")
        thief = scene.worker("a", b"f")
        scene.wait(0.05)
        scene.lags()
        if not there:
            thief.say(P.GRAB_JOB)
            scene.wait(0.02)
        worker.say(P.GRAB_JOB)
        scene.wait(0.05)
        assert worker.hears() == []
        scene.is_given_the_table()
        ((kind, *_),) = worker.hears()
        assert kind is (P.JOB_ASSIGN if there else P.NO_JOB)

    def test_whose_job_was_cancelled_is_not_told_so_and_its_word_goes_nowhere(self, scene):
        worker = scene.worker("c", b"f")
        client = scene.submits("a", b"f")
        ((_, handle),) = client.hears()
        worker.say(P.GRAB_JOB)
        scene.wait(0.05)
        assert worker.hears()[-1][0] is P.JOB_ASSIGN
        scene.lags()
        scene.cluster["a"].peer().send(b"cancel job %b\n" % handle)
        scene.wait(0.1)
        assert client.hears() == [(P.WORK_FAIL, handle)]
        scene.is_given_the_table()
        worker.say(P.WORK_COMPLETE, handle, b"out")
        scene.wait(0.1)
        assert (worker.hears(), client.hears()) == ([], [])

    def test_whose_time_was_over_has_the_job_anew_and_not_as_before(self, scene):
        worker = scene.cluster["c"].peer().say(P.CAN_DO_TIMEOUT, b"f", b"1")
        scene.wait(0.05)
        client = scene.submits("a", b"f")
        ((_, handle),) = client.hears()
        worker.say(P.GRAB_JOB)
        scene.wait(0.05)
        assert worker.hears()[-1][0] is P.JOB_ASSIGN
        scene.lags()
        scene.wait(1.1)
        worker.say(P.PRE_SLEEP)
        scene.wait(0.05)
        scene.is_given_the_table()
        assert worker.hears() == [(P.NOOP,)]
        worker.say(P.WORK_COMPLETE, handle, b"late")
        scene.wait(0.02)
        assert [kind for kind, *_ in worker.hears()] == [P.ERROR]
        assert client.hears() == []
        worker.say(P.GRAB_JOB)
        scene.wait(0.02)
        assert worker.hears()[-1][:2] == (P.JOB_ASSIGN, handle)
        worker.say(P.WORK_COMPLETE, handle, b"in time")
        scene.wait(0.2)
        assert client.hears() == [(P.WORK_COMPLETE, handle, b"in time")]

    def test_whose_end_the_table_has_seen_has_told_it_to_all_who_listened(self, scene):
        worker = scene.worker("c", b"f")
        client = scene.submits("c", b"f", unique=b"u")
        ((_, handle),) = client.hears()
        worker.say(P.GRAB_JOB)
        scene.wait(0.05)
        assert worker.hears()[-1][0] is P.JOB_ASSIGN
        scene.lags()
        worker.say(P.WORK_COMPLETE, handle, b"out")
        scene.wait(0.1)
        assert client.hears() == [(P.WORK_COMPLETE, handle, b"out")]
        assert scene.gateway.telling.endings
        scene.is_given_the_table()
        assert scene.gateway.telling.endings == {}
        assert client.hears() == []


class TestAClient:
    def test_whose_submit_the_table_has_seen_is_hung_up_on_and_nobody_else_is(self, scene):
        idle = scene.submits("c", b"f")
        assert len(idle.hears()) == 1
        scene.lags()
        client = scene.cluster["c"].peer().say(P.SUBMIT_JOB_BG, b"g", b"", b"in")
        scene.wait(0.1)
        assert client.hears() == []
        scene.is_given_the_table()
        assert client.hears() == []
        assert client.wire.closed
        assert not idle.wire.closed
        assert [job.workload for job in scene.c.table.jobs.values()] == [b"", b"in"]

    def test_whose_submit_is_still_on_its_way_is_answered(self, scene):
        scene.lags()
        scene.submits("a", b"f", kind=P.SUBMIT_JOB_BG)
        client = scene.cluster["c"].peer().say(P.SUBMIT_JOB_BG, b"g", b"", b"in")
        scene.is_given_the_table()
        scene.wait(0.1)
        ((kind, _),) = client.hears()
        assert kind is P.JOB_CREATED

    def test_hears_an_end_that_came_while_its_node_lagged(self, scene):
        client = scene.submits("c", b"f")
        ((_, handle),) = client.hears()
        worker = scene.worker("b", b"f").say(P.GRAB_JOB)
        scene.wait(0.05)
        assert worker.hears()[-1][0] is P.JOB_ASSIGN
        scene.lags()
        worker.say(P.WORK_COMPLETE, handle, b"out")
        scene.wait(0.1)
        assert client.hears() == [(P.WORK_COMPLETE, handle, b"out")]
        scene.is_given_the_table()
        scene.wait(1)
        assert client.hears() == []
        assert not client.wire.closed

    def test_hears_an_end_that_comes_after_the_table(self, scene):
        client = scene.submits("c", b"f")
        ((_, handle),) = client.hears()
        worker = scene.worker("b", b"f").say(P.GRAB_JOB)
        scene.wait(0.05)
        assert worker.hears()[-1][0] is P.JOB_ASSIGN
        scene.lags()
        parcels = scene.cluster["b"].parcel
        scene.cluster["b"].gateway.relay._send = lambda *_: False  # the link takes no reports for a while
        worker.say(P.WORK_COMPLETE, handle, b"out")
        scene.wait(0.1)
        scene.is_given_the_table()
        assert client.hears() == []
        scene.cluster["b"].gateway.relay._send = parcels
        scene.wait(1)
        assert client.hears() == [(P.WORK_COMPLETE, handle, b"out")]

    def test_is_told_that_its_job_has_failed_where_nobody_has_its_end(self, scene):
        client = scene.submits("c", b"f")
        ((_, handle),) = client.hears()
        scene.lags()
        scene.cluster["a"].peer().send(b"cancel job %b\n" % handle)
        scene.wait(0.1)
        scene.is_given_the_table()
        scene.wait(1)
        assert client.hears() == [(P.WORK_FAIL, handle)]

    def test_is_hung_up_on_where_a_node_does_not_say_whether_it_has_the_end(self, scene):
        client = scene.submits("c", b"f")
        ((_, handle),) = client.hears()
        scene.lags()
        scene.cluster["a"].peer().send(b"cancel job %b\n" % handle)
        scene.wait(0.1)
        scene.cluster["b"].gateway.relay._send = lambda *_: False
        scene.is_given_the_table()
        scene.wait(1)
        assert (client.hears(), client.wire.closed) == ([], False)
        scene.wait(11)
        assert (client.hears(), client.wire.closed) == ([], True)
        scene.cluster["b"].gateway.relay._send = scene.cluster["b"].parcel


class TestATableWithoutThisIncarnation:
    def test_ends_all_its_sessions(self):
        scene = Scene()
        client = scene.submits("c", b"f")
        scene.lags()
        before = scene.c.driver.incarnation
        for member in scene.cluster:
            if member is not scene.c:
                member.table.nodes["c"].up = False
        scene.is_given_the_table()
        assert client.wire.closed
        assert scene.c.driver.incarnation == before + 1
