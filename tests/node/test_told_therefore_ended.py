"""What a client was told holds for everybody: a job whose end was told has ended, whichever node is asked.

The worker's node tells clients the end before the command that ends the job is in the log. Here that command is still
gathering (`LAZY_DELAY`) when the next client comes: no time passes unless a test says so.
"""

import pytest
import structlog

from protocol import UNKNOWN_JOB
from protocol import PacketType as P
from tests.node.still_cluster import StillCluster

QUEUE_FULL = (P.ERROR, b"QUEUE_ERROR", b"Job queue is full")


@pytest.fixture
def cluster():
    cluster = StillCluster()
    yield cluster
    assert [member.failures for member in cluster] == [[]] * len(list(cluster))
    cluster.wait(10)
    for member in cluster:
        gateway = member.gateway
        assert (len(gateway.joins), gateway.holders.busy, gateway.telling.expected) == (0, False, {})
        assert not gateway.telling.listening._held
        assert not gateway.telling.listening._early


@pytest.fixture(params=["ab", "ba", "bc", "cb"])
def scene(cluster, request):
    """A job that runs on one node for a client of another: all ways to place them beside the leader, which is `a`."""
    assert cluster.leader.name == "a"
    worker_at, client_at = request.param
    return Scene(cluster, worker_at, client_at)


class Scene:
    """A worker on one node that runs a keyed job for a client on another."""

    def __init__(self, cluster, worker_at: str, client_at: str) -> None:
        self.cluster = cluster
        self.worker_at = cluster[worker_at]
        self.client_at = cluster[client_at]
        (self.third,) = [member for member in cluster if member.name not in (worker_at, client_at)]
        self.worker = self.worker_at.peer().say(P.CAN_DO, b"f")
        cluster.settle()
        self.client = self.client_at.peer()
        self.first = self.submit(self.client)
        self.run()

    def now(self) -> None:
        """Let everything happen that happens without time passing."""
        with self.cluster.loop.running():
            self.cluster.loop.settle()

    def submit(self, client, kind=P.SUBMIT_JOB, unique=b"u") -> bytes:
        """Submit a job and give the handle it is acknowledged with."""
        client.say(kind, b"f", unique, b"in")
        self.cluster.settle()
        ((answer, handle),) = client.hears()
        assert answer is P.JOB_CREATED
        return handle

    def run(self) -> bytes:
        """Let the worker begin with a job; give its handle."""
        self.worker.say(P.GRAB_JOB)
        self.cluster.settle()
        ((kind, handle, *_),) = self.worker.hears()
        assert kind is P.JOB_ASSIGN
        return handle

    def end(self, handle: bytes, result: bytes) -> None:
        """Let the worker end a job, and its client hear of it, before the log does."""
        self.worker.say(P.WORK_COMPLETE, handle, result)
        self.now()
        assert any(len(member.table.jobs) for member in self.cluster)

    def end_and_hear(self) -> None:
        self.end(self.first, b"1")
        assert self.client.hears() == [(P.WORK_COMPLETE, self.first, b"1")]

    def peers(self):
        """Give a new client of each node, and the one that was told."""
        return [self.client_at.peer(), self.third.peer(), self.worker_at.peer(), self.client]


class TestASubmitOfAKeyWhoseJobHasEnded:
    @pytest.mark.parametrize("whose", range(4))
    def test_is_answered_by_another_run(self, scene, whose):
        scene.end_and_hear()
        client = scene.peers()[whose]
        second = scene.submit(client)
        assert second != scene.first
        assert scene.run() == second
        scene.end(second, b"2")
        assert client.hears() == [(P.WORK_COMPLETE, second, b"2")]

    @pytest.mark.parametrize("whose", range(4))
    def test_is_run_when_it_was_acknowledged_in_the_background(self, scene, whose):
        scene.end_and_hear()
        second = scene.submit(scene.peers()[whose], P.SUBMIT_JOB_BG)
        assert second != scene.first
        assert scene.run() == second

    def test_is_run_in_the_background_though_its_client_leaves_before_it_is_acknowledged(self, scene):
        scene.end_and_hear()
        client = scene.third.peer().say(P.SUBMIT_JOB_BG, b"f", b"u", b"in")
        with scene.cluster.loop.running():
            client.leave()
        scene.cluster.settle()
        assert scene.run() != scene.first

    def test_is_forgotten_with_its_client_when_it_waits_for_the_result(self, scene):
        scene.end_and_hear()
        client = scene.third.peer().say(P.SUBMIT_JOB, b"f", b"u", b"in")
        with scene.cluster.loop.running():
            client.leave()
        scene.cluster.settle()
        assert [len(member.table.jobs) for member in scene.cluster] == [0, 0, 0]

    def test_is_answered_before_what_the_client_asked_after_it(self, scene):
        """JOB_CREATED names no request: the order of the answers does."""
        scene.end_and_hear()
        client = scene.third.peer()
        client.say(P.SUBMIT_JOB_BG, b"g", b"", b"0").say(P.SUBMIT_JOB_BG, b"f", b"u", b"1")
        client.say(P.SUBMIT_JOB_BG, b"g", b"", b"2").say(P.SUBMIT_JOB_BG, b"f", b"u", b"1").say(P.ECHO_REQ, b"e")
        scene.cluster.settle()
        (_, zero), (_, one), (_, two), (_, three), echo = client.hears()
        jobs = {job.handle: job.workload for job in scene.third.table.jobs.values()}
        assert [jobs[zero], jobs[one], jobs[two]] == [b"0", b"1", b"2"]
        assert (three, echo) == (one, (P.ECHO_RES, b"e"))

    def test_may_be_made_twice_by_one_client_in_one_breath(self, scene):
        scene.end_and_hear()
        client = scene.client.say(P.SUBMIT_JOB, b"f", b"u", b"in").say(P.SUBMIT_JOB, b"f", b"u", b"in")
        scene.cluster.settle()
        (_, one), (_, two) = client.hears()
        assert one == two != scene.first
        assert scene.run() == one
        scene.end(one, b"2")
        assert client.hears() == [(P.WORK_COMPLETE, one, b"2")] * 2


class TestASubmitThatJoinsARunningJob:
    @pytest.mark.parametrize("whose", range(4))
    def test_is_answered_by_that_run(self, scene, whose):
        client = scene.peers()[whose]
        assert scene.submit(client) == scene.first
        scene.end(scene.first, b"1")
        heard = client.hears()
        assert heard == [(P.WORK_COMPLETE, scene.first, b"1")] * (2 if client is scene.client else 1)
        scene.cluster.wait(1)
        assert client.hears() == []

    @pytest.mark.parametrize("scene", ["ba", "bc", "cb"], indirect=True)
    def test_hears_what_the_worker_says_before_its_node_has_applied_the_submit(self, scene):
        """The worker's node lags behind; it is asked, and sends the session what its worker says from then on."""
        cluster = scene.cluster
        cluster.cuts.add((cluster.leader.name, scene.worker_at.name))
        client = scene.client_at.peer() if not scene.client_at.leads else scene.third.peer()
        client.say(P.SUBMIT_JOB, b"f", b"u", b"in")
        cluster.settle()
        assert client.hears() == [(P.JOB_CREATED, scene.first)]
        scene.worker.say(P.WORK_DATA, scene.first, b"some").say(P.WORK_COMPLETE, scene.first, b"1")
        scene.now()
        assert client.hears() == [(P.WORK_DATA, scene.first, b"some"), (P.WORK_COMPLETE, scene.first, b"1")]
        cluster.heal()
        cluster.wait(1)
        assert client.hears() == []

    @pytest.mark.parametrize("scene", ["ba", "bc", "cb"], indirect=True)
    def test_is_held_to_account_for_what_is_kept_for_it(self, scene):
        node = scene.third if not scene.third.leads else scene.client_at
        cluster = scene.cluster
        client = node.peer().say(P.SUBMIT_JOB, b"f", b"u", b"in")
        cluster.cuts.add((cluster.leader.name, node.name))
        cluster.settle()
        scene.worker.say(P.WORK_DATA, scene.first, bytes(100_000))
        scene.now()
        assert node.gateway.budget.held == client.connection.weight == 100_000 + len(scene.first)
        cluster.heal()
        cluster.wait(0.5)
        assert len(client.hears()) == 2
        assert node.gateway.budget.held == 0

    def test_is_acknowledged_without_a_question_when_the_result_for_it_is_here(self, scene):
        """Who joins in time and hears of it late: the node lags behind with the submit in the log."""
        node = scene.third if not scene.third.leads else scene.client_at
        cluster = scene.cluster
        client = node.peer().say(P.SUBMIT_JOB, b"f", b"u", b"in")
        cluster.cuts.add((cluster.leader.name, node.name))
        cluster.settle()
        scene.worker.say(P.WORK_COMPLETE, scene.first, b"1")
        scene.now()
        assert client.hears() == []
        cluster.heal()
        cluster.wait(0.5)
        assert client.hears() == [(P.JOB_CREATED, scene.first), (P.WORK_COMPLETE, scene.first, b"1")]

    @pytest.mark.parametrize("scene", ["ba", "bc", "cb"], indirect=True)
    def test_is_answered_by_the_next_run_when_the_worker_s_node_dies_before_it_answers(self, scene):
        cluster = scene.cluster
        client = scene.client_at.peer()
        for one, other in ((scene.worker_at.name, scene.client_at.name), (scene.client_at.name, scene.worker_at.name)):
            cluster.cuts.add((one, other))
        client.say(P.SUBMIT_JOB, b"f", b"u", b"in")
        cluster.settle()
        assert client.hears() == []
        cluster.kill(scene.worker_at.name)
        cluster.wait(1)
        assert client.hears() == [(P.JOB_CREATED, scene.first)]
        rescuer = scene.third.peer().say(P.CAN_DO, b"f").say(P.GRAB_JOB)
        cluster.wait(1)
        rescuer.say(P.WORK_COMPLETE, scene.first, b"2")
        cluster.settle()
        assert client.hears() == [(P.WORK_COMPLETE, scene.first, b"2")]


class TestAfterAClientWasToldTheEnd:
    @pytest.mark.parametrize("whose", range(4))
    def test_the_job_s_status_is_unknown(self, scene, whose):
        scene.end_and_hear()
        client = scene.peers()[whose].say(P.GET_STATUS, scene.first).say(P.GET_STATUS_UNIQUE, b"u")
        scene.cluster.settle()
        assert client.hears() == [
            (P.STATUS_RES, scene.first, b"0", b"0", b"0", b"0"),
            (P.STATUS_RES_UNIQUE, b"u", b"0", b"0", b"0", b"0", b"0"),
        ]

    @pytest.mark.parametrize("whose", range(3))
    def test_no_list_shows_the_job(self, scene, whose):
        scene.end_and_hear()
        operator = scene.peers()[whose]
        for command in (b"status", b"prioritystatus", b"show jobs", b"show unique jobs"):
            operator.send(command + b"\n")
            scene.cluster.settle()
        assert operator.hears() == [b"f\t0\t0\t1", b".", b"f\t0\t0\t0\t1", b".", b".", b"."]

    @pytest.mark.parametrize("whose", range(3))
    def test_it_cannot_be_cancelled(self, scene, whose):
        scene.end_and_hear()
        operator = scene.peers()[whose].send(b"cancel job " + scene.first + b"\n")
        scene.cluster.settle()
        assert operator.hears() == [UNKNOWN_JOB.rstrip()]

    @pytest.mark.parametrize("whose", range(3))
    def test_the_function_has_no_jobs_and_can_be_dropped(self, scene, whose):
        operator = scene.peers()[whose].send(b"create function f\n")
        scene.cluster.settle()
        scene.end_and_hear()
        with scene.cluster.loop.running():
            scene.worker.leave()
        operator.send(b"drop function f\n")
        scene.cluster.settle()
        assert operator.hears() == [b"OK", b"OK"]

    @pytest.mark.parametrize("whose", range(4))
    def test_its_place_in_a_full_queue_is_free(self, cluster, scene, whose):
        operator = cluster["a"].peer().send(b"maxqueue f 1\n")
        cluster.settle()
        assert operator.hears() == [b"OK"]
        full = scene.third.peer().say(P.SUBMIT_JOB_BG, b"f", b"", b"")
        cluster.settle()
        assert full.hears() == [QUEUE_FULL]
        scene.end_and_hear()
        scene.submit(scene.peers()[whose], P.SUBMIT_JOB_BG, b"")


class TestWhileOnlyTheLinkToTheWorkersNodeIsLost:
    """Both nodes hear the leader, so nobody is declared down."""

    @pytest.fixture
    def parted(self, cluster):
        scene = Scene(cluster, "c", "b")
        cluster.cuts |= {("b", "c"), ("c", "b")}
        return scene

    def test_reads_are_answered_in_the_end_from_what_the_table_knows_and_the_operator_is_warned(self, parted):
        client = parted.client_at.peer().say(P.GET_STATUS, parted.first)
        operator = parted.client_at.peer().send(b"status\n")
        with structlog.testing.capture_logs() as logs:
            parted.cluster.wait(2)
            assert client.hears() == operator.hears() == []
            parted.cluster.wait(10)
        assert client.hears() == [(P.STATUS_RES, parted.first, b"1", b"1", b"0", b"0")]
        assert operator.hears() == [b"f\t1\t1\t1", b"."]
        assert [(each["event"], each["node"]) for each in logs] == [("node_does_not_answer", "c")]

    @pytest.mark.parametrize("kind", [P.SUBMIT_JOB, P.SUBMIT_JOB_BG])
    def test_a_submit_of_the_same_key_waits_for_the_link(self, parted, kind):
        client = parted.client_at.peer().say(kind, b"f", b"u", b"in")
        parted.cluster.wait(20)
        assert client.hears() == []
        parted.cluster.heal()
        parted.cluster.wait(1)
        assert client.hears() == [(P.JOB_CREATED, parted.first)]

    def test_other_clients_are_served(self, parted):
        waiting = parted.client_at.peer().say(P.SUBMIT_JOB, b"f", b"u", b"in")
        parted.cluster.wait(8)
        client = parted.client_at.peer().say(P.SUBMIT_JOB_BG, b"g", b"u", b"in")
        parted.cluster.settle()
        assert [kind for kind, *_ in client.hears()] == [P.JOB_CREATED]
        assert waiting.hears() == []
        parted.cluster.heal()


class TestARefusal:
    def test_of_a_queue_full_of_jobs_that_wait_asks_nobody(self, cluster):
        operator = cluster["a"].peer().send(b"maxqueue f 1\n")
        cluster.settle()
        client = cluster["b"].peer().say(P.SUBMIT_JOB_BG, b"f", b"", b"1")
        cluster.settle()
        numbered = cluster["b"].driver.numbered
        client.say(P.SUBMIT_JOB_BG, b"f", b"", b"2")
        cluster.settle()
        assert client.hears()[1:] == [QUEUE_FULL]
        assert cluster["b"].driver.numbered == numbered + 1
        assert operator.hears() == [b"OK"]
