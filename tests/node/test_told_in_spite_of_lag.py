"""What was told holds for everybody also while nodes lag behind one another, begin anew, or cannot be asked."""

import msgspec
import pytest

from cluster.jobs import Cancel, departures
from protocol import PacketType as P
from tests.node.still_cluster import StillCluster

QUEUE_FULL = (P.ERROR, b"QUEUE_ERROR", b"Job queue is full")


@pytest.fixture
def cluster():
    cluster = StillCluster()
    assert cluster.leader.name == "a"
    yield cluster
    assert [member.failures for member in cluster] == [[]] * len(list(cluster))
    cluster.wait(10)
    for member in cluster:
        gateway = member.gateway
        assert (len(gateway.joins), gateway.holders.busy, gateway.telling.expected) == (0, False, {})
        assert not gateway.telling.listening._held
        assert not gateway.telling.listening._early


class Scene:
    """A worker on node b that runs a job for a client of another node."""

    def __init__(self, cluster, client_at: str, unique: bytes = b"u") -> None:
        self.cluster = cluster
        self.worker = cluster["b"].peer().say(P.CAN_DO, b"f")
        cluster.settle()
        self.client = cluster[client_at].peer().say(P.SUBMIT_JOB, b"f", unique, b"in")
        cluster.settle()
        ((_, self.handle),) = self.client.hears()
        self.give(self.worker)

    def give(self, worker) -> None:
        worker.say(P.GRAB_JOB)
        self.cluster.wait(0.05)
        assert worker.hears()[-1] == (P.JOB_ASSIGN, self.handle, b"f", b"in")

    def join(self, node: str):
        client = self.cluster[node].peer().say(P.SUBMIT_JOB, b"f", b"u", b"in")
        self.cluster.settle()
        return client


class TestASessionOfTheLastIncarnation:
    """Is not taken for one of the present, which has its number, though the table has not let it go yet."""

    def test_is_not_sent_the_result(self, cluster, monkeypatch):
        scene = Scene(cluster, "c")
        monkeypatch.setattr(departures, "STEP", 0)
        restarted = cluster.restart(cluster.kill("c"))
        cluster.settle_down()
        other = restarted.peer().say(P.SUBMIT_JOB, b"g", b"", b"")
        cluster.settle()
        ((kind, _),) = other.hears()
        assert kind is P.JOB_CREATED
        assert other.connection.number == scene.client.connection.number
        assert [each.number for each in cluster["b"].table.jobs[1].listeners] == [other.connection.number]
        scene.worker.say(P.WORK_DATA, scene.handle, b"part")
        scene.worker.say(P.WORK_COMPLETE, scene.handle, b"result")
        cluster.wait(0.1)
        assert other.hears() == []
        monkeypatch.undo()

    def test_is_not_sent_the_result_of_a_worker_here(self, cluster, monkeypatch):
        client = cluster["c"].peer().say(P.SUBMIT_JOB, b"f", b"", b"in")
        cluster.settle()
        ((_, handle),) = client.hears()
        monkeypatch.setattr(departures, "STEP", 0)
        restarted = cluster.restart(cluster.kill("c"))
        cluster.settle_down()
        other = restarted.peer().say(P.SUBMIT_JOB, b"g", b"", b"")
        assert other.connection.number == client.connection.number
        worker = restarted.peer().say(P.CAN_DO, b"f").say(P.GRAB_JOB)
        cluster.wait(0.05)
        assert worker.hears()[-1] == (P.JOB_ASSIGN, handle, b"f", b"in")
        worker.say(P.WORK_DATA, handle, b"part").say(P.WORK_COMPLETE, handle, b"result")
        cluster.wait(0.1)
        assert [event[0] for event in other.hears()] == [P.JOB_CREATED]
        monkeypatch.undo()

    def test_is_not_asked_what_became_of_its_job(self, cluster, monkeypatch):
        """Its worker's node is another one now, and would not answer."""
        scene = Scene(cluster, "c")
        monkeypatch.setattr(departures, "STEP", 0)
        restarted = cluster.restart(cluster.kill("b"))
        cluster.settle_down()
        assert cluster["c"].table.jobs[1].holder is not None
        for node in (cluster["c"], restarted):
            asking = node.peer().say(P.GET_STATUS, scene.handle)
            cluster.settle()
            assert asking.hears() == [(P.STATUS_RES, scene.handle, b"1", b"0", b"0", b"0")]
        assert scene.join("c").hears() == [(P.JOB_CREATED, scene.handle)]
        monkeypatch.undo()


class Late:
    """Let a node learn late of what is committed; everything else reaches it in time."""

    def __init__(self, member) -> None:
        self._driver = member.driver
        self._receive = member.driver.receive
        self._applied = member.raft.applied_index
        member.driver.receive = self._hear

    def _hear(self, message) -> None:
        if hasattr(message, "commit"):
            message = msgspec.structs.replace(message, commit=min(message.commit, self._applied))
        self._receive(message)

    def end(self) -> None:
        self._driver.receive = self._receive


def ends(cluster, worker, result: bytes) -> None:
    """Let a worker run a job to its end, and the log hear of it."""
    worker.say(P.GRAB_JOB)
    cluster.wait(0.05)
    kind, handle, *_ = worker.hears()[-1]
    assert kind is P.JOB_ASSIGN
    worker.say(P.WORK_COMPLETE, handle, result)
    cluster.wait(0.05)


def answers_to_three(cluster, worker_at: str) -> list[bytes]:
    """Submit a key three times on node c while a sleeper of node b has the job, which does not come for it.

    A worker of `worker_at` runs it instead, and once more. What b says of the job comes in between. Give the results.
    """
    sleeper = cluster["b"].peer().say(P.CAN_DO, b"f").say(P.PRE_SLEEP)
    cluster.settle()
    cluster.cuts.add(("b", "c"))
    client = cluster["c"].peer()
    for _ in range(3):
        client.say(P.SUBMIT_JOB, b"f", b"u", b"in")
        cluster.wait(0.005)
    assert sleeper.hears() == [(P.NOOP,)]
    worker = cluster[worker_at].peer().say(P.CAN_DO, b"f")
    cluster.wait(0.2)
    ends(cluster, worker, b"1")
    cluster.heal()
    cluster.wait(0.5)
    ends(cluster, worker, b"2")
    heard = client.hears()
    assert [kind for kind, *_ in heard].count(P.JOB_CREATED) == 3
    return [args[-1] for kind, *args in heard if kind is P.WORK_COMPLETE]


def part(cluster, one: str, other: str) -> None:
    cluster.cuts |= {(one, other), (other, one)}


def serve(cluster, name: str) -> None:
    """Let time pass until a node serves."""
    for _ in range(100):
        cluster.wait(0.05)
        if cluster[name].serving:
            return
    raise AssertionError("it does not serve")


class TestASubmitThatJoins:
    def test_is_answered_though_the_worker_s_node_does_not_know_this_incarnation_yet(self, cluster):
        """What that node says to the last incarnation does not disturb what it says to this one."""
        scene = Scene(cluster, "c")
        cluster["a"].peer().say(P.SUBMIT_JOB_BG, b"f", b"u", b"in")
        cluster.settle()
        part(cluster, "a", "b")
        cluster.restart(cluster.kill("c"))
        serve(cluster, "c")
        assert cluster["b"].table.nodes["c"].incarnation == 1
        client = scene.join("c")
        scene.worker.say(P.WORK_DATA, scene.handle, b"some").say(P.WORK_COMPLETE, scene.handle, b"1")
        cluster.settle()
        assert client.hears() == [
            (P.JOB_CREATED, scene.handle),
            (P.WORK_DATA, scene.handle, b"some"),
            (P.WORK_COMPLETE, scene.handle, b"1"),
        ]
        cluster.heal()

    def test_hears_what_a_worker_here_said_when_the_job_came_here_meanwhile_and_ended(self, cluster):
        scene = Scene(cluster, "a")
        part(cluster, "b", "c")
        client = scene.join("c")
        assert client.hears() == []
        with cluster.loop.running():
            scene.worker.leave()
        cluster.settle()
        here = cluster["c"].peer().say(P.CAN_DO, b"f")
        cluster.settle()
        scene.give(here)
        here.say(P.WORK_DATA, scene.handle, b"some").say(P.WORK_COMPLETE, scene.handle, b"2")
        cluster.settle()
        assert client.hears() == []
        cluster.heal()
        cluster.wait(1)
        assert client.hears() == [
            (P.JOB_CREATED, scene.handle),
            (P.WORK_DATA, scene.handle, b"some"),
            (P.WORK_COMPLETE, scene.handle, b"2"),
        ]

    def test_does_not_ask_without_a_pause_while_this_node_lags_behind(self, cluster):
        scene = Scene(cluster, "a")
        part(cluster, "b", "c")
        client = scene.join("c")
        part(cluster, "a", "c")
        with cluster.loop.running():
            cluster["a"].driver.propose(Cancel(0, scene.handle))
        cluster.settle()
        cluster.cuts = {("a", "c")}
        cluster._link(cluster["b"], "c")
        cluster._link(cluster["c"], "b")
        asked = cluster["c"].gateway.holders._number
        cluster.wait(0.5)
        assert client.hears() == []
        assert asked < cluster["c"].gateway.holders._number <= asked + 7
        cluster.heal()
        cluster.wait(1)
        ((kind, handle),) = client.hears()
        assert (kind, handle != scene.handle) == (P.JOB_CREATED, True)
        scene.worker.say(P.GRAB_JOB)
        cluster.settle()
        scene.worker.say(P.WORK_COMPLETE, handle, b"2")
        cluster.settle()
        assert client.hears() == [(P.WORK_COMPLETE, handle, b"2")]

    def test_hears_the_next_run_though_its_session_was_told_the_end_of_the_last_one(self, cluster):
        """The worker's node died with that end, and the next run ends before the table knows of the submit."""
        scene = Scene(cluster, "c")
        with cluster.loop.running():
            scene.worker.say(P.WORK_COMPLETE, scene.handle, b"1")
            cluster.loop.settle()
        assert scene.client.hears() == [(P.WORK_COMPLETE, scene.handle, b"1")]
        cluster.kill("b")
        cluster.wait(1)
        here = cluster["c"].peer().say(P.CAN_DO, b"f")
        cluster.settle()
        scene.give(here)
        with cluster.loop.running():
            scene.client.say(P.SUBMIT_JOB, b"f", b"u", b"in")
            here.say(P.WORK_COMPLETE, scene.handle, b"2")
        cluster.wait(1)
        assert scene.client.hears() == [(P.JOB_CREATED, scene.handle), (P.WORK_COMPLETE, scene.handle, b"2")]

    def test_hears_the_next_run_on_another_node_that_ended_before_this_node_applied_the_submit(self, cluster):
        """The worker of the first run is gone, and so is its node's word to the log: the job is run once more."""
        scene = Scene(cluster, "c")
        with cluster.loop.running():
            scene.worker.say(P.WORK_COMPLETE, scene.handle, b"1")
            cluster.loop.settle()
        assert scene.client.hears() == [(P.WORK_COMPLETE, scene.handle, b"1")]
        cluster.kill("b")
        cluster.wait(1)
        there = cluster["a"].peer().say(P.CAN_DO, b"f")
        cluster.settle()
        late = Late(cluster["c"])
        scene.client.say(P.SUBMIT_JOB, b"f", b"u", b"in")
        cluster.wait(0.05)
        there.say(P.GRAB_JOB)
        cluster.wait(0.05)
        assert there.hears()[-1] == (P.JOB_ASSIGN, scene.handle, b"f", b"in")
        there.say(P.WORK_DATA, scene.handle, b"some").say(P.WORK_COMPLETE, scene.handle, b"2")
        cluster.wait(0.05)
        assert scene.client.hears() == []
        late.end()
        cluster.wait(1)
        assert scene.client.hears() == [
            (P.JOB_CREATED, scene.handle),
            (P.WORK_DATA, scene.handle, b"some"),
            (P.WORK_COMPLETE, scene.handle, b"2"),
        ]

    def test_is_answered_as_often_as_it_was_made_though_the_job_came_here_meanwhile_and_ended(self, cluster):
        """One session asks three times; what the first node says of the job comes when a worker here has ended it."""
        assert answers_to_three(cluster, "c") == [b"1", b"2", b"2"]

    def test_is_answered_as_often_as_it_was_made_though_the_job_went_to_a_third_node_meanwhile_and_ended(self, cluster):
        assert answers_to_three(cluster, "a") == [b"1", b"2", b"2"]

    def test_is_answered_as_often_as_it_was_made_though_this_node_applies_both_when_the_job_has_ended(self, cluster):
        """The run began after both: its end answers also the one that joined while somebody else had the job."""
        sleeper = cluster["b"].peer().say(P.CAN_DO, b"f").say(P.PRE_SLEEP)
        cluster.settle()
        cluster["a"].peer().say(P.SUBMIT_JOB_BG, b"f", b"u", b"in")
        cluster.settle()
        assert sleeper.hears() == [(P.NOOP,)]
        late = Late(cluster["c"])
        client = cluster["c"].peer().say(P.SUBMIT_JOB, b"f", b"u", b"in")
        cluster.wait(0.2)  # the sleeper does not come for it
        client.say(P.SUBMIT_JOB, b"f", b"u", b"in")
        cluster.wait(0.1)
        worker = cluster["a"].peer().say(P.CAN_DO, b"f")
        cluster.settle()
        ends(cluster, worker, b"1")
        assert client.hears() == []
        late.end()
        cluster.wait(1)
        heard = client.hears()
        assert [kind for kind, *_ in heard].count(P.JOB_CREATED) == 2
        assert [args[-1] for kind, *args in heard if kind is P.WORK_COMPLETE] == [b"1", b"1"]


class TestAQuestion:
    def test_is_answered_that_is_asked_again_while_those_to_the_last_incarnation_end(self, cluster):
        scene = Scene(cluster, "c")
        part(cluster, "b", "c")
        reader = cluster["c"].peer().say(P.GET_STATUS, scene.handle)
        cluster.settle()
        cluster.cuts.add(("a", "c"))
        cluster.restart(cluster.kill("b"))
        serve(cluster, "b")
        part(cluster, "b", "c")
        worker = cluster["b"].peer().say(P.CAN_DO, b"f")
        cluster.wait(0.05)
        scene.give(worker)
        client = scene.join("c")
        cluster.wait(0.05)
        assert (client.hears(), reader.hears()) == ([], [])
        cluster.heal()  # c hears all of it at once
        cluster.wait(0.5)
        assert client.hears() == [(P.JOB_CREATED, scene.handle)]
        assert reader.hears() == [(P.STATUS_RES, scene.handle, b"1", b"1", b"0", b"0")]
        worker.say(P.WORK_COMPLETE, scene.handle, b"2")

    @pytest.mark.parametrize("turns", range(0, 30, 4))
    def test_for_a_key_finds_the_next_job_when_the_first_ends_here_meanwhile(self, cluster, turns):
        scene = Scene(cluster, "c")
        cluster["a"].peer().say(P.SUBMIT_JOB_BG, b"g", b"u", b"in")
        cluster.settle()
        with cluster.loop.running():
            reader, others = cluster["b"].peer().say(P.GET_STATUS_UNIQUE, b"u"), cluster["b"].peer()
            for _ in range(turns):
                others.say(P.SUBMIT_JOB_BG, b"h", b"", b"")
                cluster.loop.turn()
            scene.worker.say(P.WORK_COMPLETE, scene.handle, b"1")
        cluster.settle()
        ((_, _, known, *_),) = reader.hears()
        assert known == b"1"


class TestARefusal:
    @pytest.mark.parametrize("turn", range(0, 40, 3))
    def test_does_not_meet_one_of_as_many_clients_as_the_queue_has_places(self, cluster, turn):
        """Each has one job at a time. One may take the place of the other's last job, and leave its own behind."""
        cluster["a"].peer().send(b"maxqueue f 2\n")
        cluster.settle()
        one, two = Scene(cluster, "c", b""), Scene(cluster, "a", b"")
        one.worker.say(P.WORK_COMPLETE, one.handle, b"")
        with cluster.loop.running():
            cluster.loop.settle()
            assert one.client.hears() == [(P.WORK_COMPLETE, one.handle, b"")]
            one.client.say(P.SUBMIT_JOB, b"f", b"", b"in")
            for _ in range(turn):
                cluster.loop.turn()
            two.worker.say(P.WORK_COMPLETE, two.handle, b"")
            while not two.client.hears():
                cluster.loop.turn()
            two.client.say(P.SUBMIT_JOB, b"f", b"", b"in")
        cluster.settle()
        heard = [one.client.hears(), two.client.hears()]
        assert [[kind for kind, *_ in each] for each in heard] == [[P.JOB_CREATED], [P.JOB_CREATED]]

    def test_of_a_queue_that_is_certainly_full_proposes_nothing(self, cluster):
        cluster["a"].peer().send(b"maxqueue f 2\n")
        cluster.settle()
        Scene(cluster, "c", b"")
        client = cluster["c"].peer().say(P.SUBMIT_JOB_BG, b"f", b"", b"")
        cluster.settle()
        numbered = cluster["c"].driver.numbered
        client.say(P.SUBMIT_JOB_BG, b"f", b"", b"")
        cluster.settle()
        assert client.hears()[1:] == [QUEUE_FULL]
        assert cluster["c"].driver.numbered == numbered + 1
