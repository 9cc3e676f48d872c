"""While a node is short of something, submits are refused in their turn on every node, and all else goes on."""

import pytest

from cluster.jobs import Alarm, Resource
from protocol import PacketType as P
from protocol import encode_request
from tests.node.still_cluster import StillCluster
from tests.node.stillness import StillNode

MIB = 1024**2
RAISED = Alarm(Resource.DISK, 96 * MIB, 1024 * MIB)
CLEARED = Alarm(Resource.DISK, 2000 * MIB, 0)
TEXT = b"has 96 MiB of disk space left, and its --min-free-disk is 1 GiB: no job is taken until that is over"


@pytest.fixture
def node():
    with StillNode() as node:
        yield node


def refused(said: tuple, name: bytes = b"n") -> bool:
    return said == (P.ERROR, b"QUEUE_ERROR", b"Node %b %b" % (name, TEXT))


class TestWithAnAlarmOfTheNodeItself:
    @pytest.mark.parametrize(
        ("kind", "arguments"),
        [
            (P.SUBMIT_JOB, (b"f", b"", b"w")),
            (P.SUBMIT_JOB_HIGH, (b"f", b"", b"w")),
            (P.SUBMIT_JOB_LOW_BG, (b"f", b"", b"w")),
            (P.SUBMIT_JOB_EPOCH, (b"f", b"", b"99999999999", b"w")),
            (P.SUBMIT_REDUCE_JOB, (b"f", b"", b"r", b"", b"w")),
            (P.SUBMIT_REDUCE_JOB_BACKGROUND, (b"f", b"", b"r", b"", b"w")),
        ],
    )
    def test_a_submit_is_refused_with_the_reason(self, node, kind, arguments):
        node.driver.alarm(RAISED)
        peer = node.peer().say(kind, *arguments)
        node.settle()
        (said,) = peer.hears()
        assert refused(said)

    def test_a_refused_submit_does_not_reach_the_log(self, node):
        node.driver.alarm(RAISED)
        node.settle()
        node.disk.writes.clear()
        node.peer().say(P.SUBMIT_JOB_BG, b"f", b"", b"w" * 1000)
        node.settle()
        assert node.disk.commands() == []

    def test_it_is_refused_before_the_table_knows_of_the_alarm(self, node):
        node.disk.held = True
        node.driver.alarm(RAISED)
        peer = node.peer()
        peer.say(P.SUBMIT_JOB_BG, b"f", b"", b"w")
        node.settle()
        (said,) = peer.hears()
        assert refused(said)

    def test_a_submit_that_joins_a_job_is_taken(self, node):
        first = node.peer().say(P.SUBMIT_JOB_BG, b"f", b"u", b"w")
        node.settle()
        node.driver.alarm(RAISED)
        second = node.peer().say(P.SUBMIT_JOB_BG, b"f", b"u", b"w")
        node.settle()
        assert first.hears() == second.hears()

    def test_answers_stay_in_the_order_of_the_submits(self, node):
        handle = node.background()
        node.peer().say(P.SUBMIT_JOB_BG, b"f", b"u", b"w")
        node.driver.alarm(RAISED)
        node.settle()
        peer = node.peer()
        uniques = [b"", b"u", b"x", b"u", b"u", b""]
        peer.send(b"".join(encode_request(P.SUBMIT_JOB_BG, b"f", unique, b"w") for unique in uniques))
        peer.say(P.ECHO_REQ, b"end")
        node.settle()
        kinds = [said[0] for said in peer.hears()]
        assert kinds == [P.ERROR, P.JOB_CREATED, P.ERROR, P.JOB_CREATED, P.JOB_CREATED, P.ERROR, P.ECHO_RES]
        assert handle

    def test_a_large_submit_that_is_taken_is_not_overtaken(self, node):
        first = node.peer().say(P.SUBMIT_JOB_BG, b"f", b"u", b"w")
        node.settle()
        ((_, handle),) = first.hears()
        node.driver.alarm(RAISED)
        node.settle()
        peer = node.peer().say(P.SUBMIT_JOB_BG, b"f", b"u", b"w" * (3 << 20))
        node.driver.alarm(CLEARED)
        peer.say(P.SUBMIT_JOB_BG, b"f", b"", b"w")
        node.settle()
        assert [said[1] == handle for said in peer.hears()] == [True, False]

    def test_what_was_submitted_before_is_answered_first(self, node):
        node.disk.held = True
        peer = node.peer().say(P.SUBMIT_JOB_BG, b"f", b"", b"w")
        node.driver.alarm(RAISED)
        peer.say(P.SUBMIT_JOB_BG, b"f", b"", b"w")
        node.disk.release()
        node.settle()
        assert [said[0] for said in peer.hears()] == [P.JOB_CREATED, P.ERROR]

    def test_jobs_are_given_out_and_end_and_clients_hear_of_it(self, node):
        client = node.peer().say(P.SUBMIT_JOB, b"f", b"", b"w")
        node.settle()
        node.driver.alarm(RAISED)
        worker = node.worker(b"f").say(P.GRAB_JOB)
        node.settle()
        ((_, handle, *_),) = worker.hears()
        worker.say(P.WORK_COMPLETE, handle, b"done")
        node.wait(0.1)
        assert client.hears()[-1] == (P.WORK_COMPLETE, handle, b"done")
        assert not node.table.jobs

    def test_it_ends_as_soon_as_there_is_room(self, node):
        node.driver.alarm(RAISED)
        node.settle()
        node.driver.alarm(CLEARED)
        node.settle()
        assert node.background()

    def test_a_submit_while_the_end_is_on_its_way_is_taken_behind_it(self, node):
        node.driver.alarm(RAISED)
        node.settle()
        node.disk.held = True
        node.driver.alarm(CLEARED)
        peer = node.peer().say(P.SET_CLIENT_ID, b"c").say(P.GET_STATUS, b"H:n:1").say(P.SUBMIT_JOB_BG, b"f", b"", b"w")
        node.disk.release()
        node.settle()
        assert [said[0] for said in peer.hears()] == [P.STATUS_RES, P.JOB_CREATED]

    def test_who_leaves_before_the_answer_costs_nothing(self, node):
        node.disk.held = True
        peer = node.peer().say(P.SUBMIT_JOB_BG, b"f", b"", b"w")
        node.driver.alarm(RAISED)
        peer.say(P.SUBMIT_JOB_BG, b"f", b"", b"w")
        peer.leave()
        node.disk.release()
        node.settle()
        assert len(node.table.jobs) == 1

    def test_a_client_that_floods_behind_an_answer_that_it_is_owed_is_not_read_from(self, node):
        node.disk.held = True
        peer = node.peer().say(P.SUBMIT_JOB_BG, b"f", b"", b"w")
        node.driver.alarm(RAISED)
        peer.say(P.SUBMIT_JOB_BG, b"f", b"", b"w" * (9 << 20))
        assert not peer.wire.reading
        node.disk.release()
        node.settle()
        assert peer.wire.reading


class TestAmongSeveralNodes:
    @pytest.fixture
    def cluster(self):
        return StillCluster()

    @pytest.mark.parametrize("who", ["leader", "follower"])
    def test_a_node_that_dies_with_an_alarm_does_not_keep_the_others_from_taking_jobs(self, cluster, who):
        node = cluster.leader if who == "leader" else cluster.followers[0]
        node.driver.alarm(RAISED)
        cluster.settle()
        cluster.kill(node.name)
        cluster.wait(5)
        peer = next(iter(cluster)).peer().say(P.SUBMIT_JOB_BG, b"f", b"", b"w")
        cluster.settle()
        assert [said[0] for said in peer.hears()] == [P.JOB_CREATED]

    def test_a_node_that_is_parted_with_an_alarm_does_not_either_and_says_it_again_when_it_is_back(self, cluster):
        node = cluster.followers[0]
        node.driver.alarm(RAISED)
        cluster.settle()
        cluster.cut(node.name)
        cluster.wait(5)
        peer = cluster.leader.peer().say(P.SUBMIT_JOB_BG, b"f", b"", b"w")
        cluster.settle()
        assert [said[0] for said in peer.hears()] == [P.JOB_CREATED]
        cluster.heal()
        cluster.wait(5)
        peer.say(P.SUBMIT_JOB_BG, b"f", b"", b"w")
        cluster.settle()
        (said,) = peer.hears()
        assert refused(said, node.name.encode())

    def test_an_alarm_outlives_a_change_of_the_leader(self, cluster):
        leader, other = cluster.leader, cluster.followers[0]
        other.driver.alarm(RAISED)
        cluster.settle()
        cluster.kill(leader.name)
        cluster.wait(5)
        peer = cluster.leader.peer().say(P.SUBMIT_JOB_BG, b"f", b"", b"w")
        cluster.settle()
        (said,) = peer.hears()
        assert refused(said, other.name.encode())

    def test_an_alarm_that_ended_while_its_node_was_parted_is_not_said_again(self, cluster):
        node = cluster.followers[0]
        node.driver.alarm(RAISED)
        cluster.settle()
        cluster.cut(node.name)
        cluster.wait(5)
        node.driver.alarm(CLEARED)
        cluster.heal()
        cluster.wait(5)
        peer = cluster.leader.peer().say(P.SUBMIT_JOB_BG, b"f", b"", b"w")
        cluster.settle()
        assert [said[0] for said in peer.hears()] == [P.JOB_CREATED]

    def test_every_node_refuses_and_names_the_one_that_is_short(self, cluster):
        names = list(cluster.members)
        cluster.members[names[1]].driver.alarm(RAISED)
        cluster.settle()
        for name in names:
            peer = cluster.members[name].peer().say(P.SUBMIT_JOB_BG, b"f", b"", b"w")
            cluster.settle()
            (said,) = peer.hears()
            assert refused(said, names[1].encode())
