"""Several nodes as one server: what a client, a worker and an operator see who are connected to different ones."""

import pytest

from cluster.raft import Change, ChangeKind, ConfigurationChange
from protocol import PacketType as P
from tests.node.still_cluster import StillCluster


@pytest.fixture
def cluster():
    cluster = StillCluster()
    yield cluster
    assert [member.failures for member in cluster] == [[]] * len(list(cluster))


def at_work(cluster, one, two):
    """Let a worker of one node run the job of a client of another; give both, and the job's handle."""
    worker = one.peer().say(P.CAN_DO, b"f").say(P.PRE_SLEEP)
    cluster.settle()
    client = two.peer().say(P.SUBMIT_JOB, b"f", b"", b"in")
    cluster.settle()
    ((_, handle),) = client.hears()
    worker.say(P.GRAB_JOB)
    cluster.settle()
    return worker, client, handle


class TestAJob:
    def test_goes_from_a_client_of_one_node_to_a_worker_of_another_and_its_result_back(self, cluster):
        one, two = cluster.followers
        worker = two.peer().say(P.CAN_DO, b"f").say(P.PRE_SLEEP)
        cluster.settle()
        client = one.peer().say(P.SUBMIT_JOB, b"f", b"", b"in")
        cluster.settle()
        ((_, handle),) = client.hears()
        assert worker.hears() == [(P.NOOP,)]
        worker.say(P.GRAB_JOB)
        assert worker.hears() == [(P.JOB_ASSIGN, handle, b"f", b"in")]
        worker.say(P.WORK_STATUS, handle, b"1", b"2").say(P.WORK_DATA, handle, b"some").say(
            P.WORK_WARNING, handle, b"!"
        )
        worker.say(P.WORK_COMPLETE, handle, b"out")
        cluster.settle()
        assert client.hears() == [
            (P.WORK_STATUS, handle, b"1", b"2"),
            (P.WORK_DATA, handle, b"some"),
            (P.WORK_WARNING, handle, b"!"),
            (P.WORK_COMPLETE, handle, b"out"),
        ]
        cluster.wait(5)
        assert client.hears() == []
        assert [len(member.table.jobs) for member in cluster] == [0, 0, 0]

    def test_that_coalesces_with_another_nodes_has_one_run_and_two_listeners(self, cluster):
        worker = cluster["a"].peer().say(P.CAN_DO, b"f")
        clients = [cluster[name].peer().say(P.SUBMIT_JOB, b"f", b"u", b"in") for name in "bca"]
        cluster.settle()
        handles = {client.hears()[0][1] for client in clients}
        assert len(handles) == 1
        worker.say(P.GRAB_JOB)
        cluster.settle()
        ((kind, handle, *_),) = worker.hears()
        assert (kind, {handle}) == (P.JOB_ASSIGN, handles)
        worker.say(P.WORK_COMPLETE, handle, b"out")
        cluster.settle()
        assert [client.hears() for client in clients] == [[(P.WORK_COMPLETE, handle, b"out")]] * 3

    def test_is_known_everywhere_as_soon_as_it_is_acknowledged_anywhere(self, cluster):
        one, two = cluster.followers
        cluster.cuts.add((cluster.leader.name, two.name))  # it lags
        client = one.peer().say(P.SUBMIT_JOB_BG, b"f", b"", b"")
        cluster.settle()
        ((_, handle),) = client.hears()
        other = two.peer().say(P.GET_STATUS, handle)
        listing = two.peer().send(b"status\n")
        cluster.settle()
        assert other.hears() == listing.hears() == []
        cluster.heal()
        cluster.wait(0.5)
        assert other.hears() == [(P.STATUS_RES, handle, b"1", b"0", b"0", b"0")]
        assert listing.hears() == [b"f\t1\t0\t0", b"."]

    def test_that_many_nodes_submit_at_once_is_there_once_each(self, cluster):
        clients = [(member, member.peer()) for member in cluster for _ in range(5)]
        for number, (_, client) in enumerate(clients):
            for count in range(20):
                client.say(P.SUBMIT_JOB_BG, b"f", b"", b"%d-%d" % (number, count))
        cluster.settle()
        assert all(len(client.hears()) == 20 for _, client in clients)
        for member in cluster:
            assert len(member.table.jobs) == 300
            assert len({job.workload for job in member.table.jobs.values()}) == 300


class TestAnOperator:
    def test_sees_the_workers_of_every_node(self, cluster):
        cluster["a"].peer().say(P.SET_CLIENT_ID, b"alpha").say(P.CAN_DO, b"f")
        cluster["b"].peer().say(P.SET_CLIENT_ID, b"beta").say(P.CAN_DO, b"g")
        cluster.settle()
        operator = cluster["c"].peer().send(b"workers\n")
        cluster.settle()
        lines = operator.hears()
        assert [line.split(b" ", 2)[2] for line in lines[:-1]] == [b"- :", b"alpha : f", b"beta : g"]
        assert lines[-1] == b"."

    def test_can_cancel_a_job_that_runs_elsewhere(self, cluster):
        worker = cluster["a"].peer().say(P.CAN_DO, b"f")
        client = cluster["b"].peer().say(P.SUBMIT_JOB, b"f", b"", b"in")
        cluster.settle()
        ((_, handle),) = client.hears()
        worker.say(P.GRAB_JOB)
        cluster.settle()
        operator = cluster["c"].peer().send(b"cancel job " + handle + b"\n")
        cluster.settle()
        assert operator.hears() == [b"OK"]
        assert client.hears() == [(P.WORK_FAIL, handle)]
        worker.hears()
        worker.say(P.WORK_COMPLETE, handle, b"late")
        cluster.wait(1)
        assert (client.hears(), worker.hears()) == ([], [])


class TestTheDeathOfANode:
    def test_gives_its_workers_jobs_to_others_at_once(self, cluster):
        one, two = cluster.followers
        _, client, handle = at_work(cluster, one, two)
        other = two.peer().say(P.CAN_DO, b"f").say(P.PRE_SLEEP)
        cluster.kill(one.name)
        cluster.wait(0.3)
        assert other.hears() == [(P.NOOP,)]
        other.say(P.GRAB_JOB)
        cluster.settle()
        other.say(P.WORK_COMPLETE, handle, b"out")
        cluster.settle()
        assert client.hears() == [(P.WORK_COMPLETE, handle, b"out")]

    def test_that_led_is_followed_by_an_election_and_what_was_under_way_goes_on(self, cluster):
        one, two = cluster.followers
        worker = two.peer().say(P.CAN_DO, b"f").say(P.PRE_SLEEP)
        cluster.settle()
        cluster.kill(cluster.leader.name)
        client = one.peer().say(P.SUBMIT_JOB, b"f", b"", b"in")
        cluster.wait(1.5)
        ((_, handle),) = client.hears()
        assert worker.hears() == [(P.NOOP,)]
        worker.say(P.GRAB_JOB)
        cluster.settle()
        worker.say(P.WORK_COMPLETE, handle, b"out")
        cluster.settle()
        assert client.hears() == [(P.WORK_COMPLETE, handle, b"out")]

    def test_whose_last_word_arrived_before_the_log_heard_of_it_is_not_told_twice(self, cluster):
        """The result came straight to the client's node; the end of the job died with the worker's node."""
        one, two = cluster.followers
        leader = cluster.leader
        worker, client, handle = at_work(cluster, one, two)
        cluster.cuts.add((one.name, leader.name))
        worker.say(P.WORK_COMPLETE, handle, b"out")
        cluster.settle()
        assert client.hears() == [(P.WORK_COMPLETE, handle, b"out")]
        cluster.kill(one.name)
        cluster.cuts.clear()
        again = leader.peer().say(P.CAN_DO, b"f").say(P.PRE_SLEEP)
        cluster.wait(1)
        again.say(P.GRAB_JOB)
        cluster.settle()
        again.say(P.WORK_COMPLETE, handle, b"again")
        cluster.wait(1)
        assert client.hears() == []
        assert leader.table.jobs == {}

    def test_that_had_the_only_copy_of_a_result_fails_the_job_for_its_listeners(self, cluster):
        one, two = cluster.followers
        worker, client, handle = at_work(cluster, one, two)
        cluster.cuts.add((one.name, two.name))
        worker.say(P.WORK_COMPLETE, handle, b"out")
        cluster.settle()
        assert [len(member.table.jobs) for member in cluster] == [0, 0, 0]
        assert client.hears() == []
        cluster.kill(one.name)
        cluster.wait(1)
        assert client.hears() == [(P.WORK_FAIL, handle)]

    def test_and_its_return_begin_a_new_incarnation(self, cluster):
        one, two = cluster.followers
        client = one.peer().say(P.SUBMIT_JOB, b"f", b"", b"in")
        client_elsewhere = two.peer().say(P.SUBMIT_JOB_BG, b"g", b"", b"in")
        cluster.settle()
        assert client.hears()
        assert client_elsewhere.hears()
        dead = cluster.kill(one.name)
        cluster.restart(dead)
        cluster.settle_down()
        cluster.wait(1)
        for member in cluster:
            assert [job.function.name for job in member.table.jobs.values()] == [b"g"]
            assert member.table.nodes[one.name].incarnation == 2


class TestAnUnknownResult:
    def test_that_comes_again_over_a_new_link_is_told_once(self, cluster):
        one, two = cluster.followers
        worker, client, handle = at_work(cluster, one, two)
        cluster.cuts.add((two.name, one.name))  # the receipt is lost
        worker.say(P.WORK_DATA, handle, b"1").say(P.WORK_COMPLETE, handle, b"out")
        cluster.settle()
        cluster.heal()
        cluster.wait(2)
        assert client.hears() == [(P.WORK_DATA, handle, b"1"), (P.WORK_COMPLETE, handle, b"out")]
        assert not one.gateway.relay.congested

    def test_waits_for_a_link(self, cluster):
        one, two = cluster.followers
        worker, client, handle = at_work(cluster, one, two)
        cluster.cuts |= {(one.name, two.name), (two.name, one.name)}
        worker.say(P.WORK_COMPLETE, handle, b"out")
        cluster.wait(1)
        cluster.heal()
        cluster.wait(1)
        assert client.hears() == [(P.WORK_COMPLETE, handle, b"out")]


class TestAMinority:
    def test_acknowledges_nothing_and_lets_its_clients_go(self, cluster):
        one, two = cluster.followers
        client = one.peer()
        idle = one.peer()
        cluster.cut(one.name)
        client.say(P.SUBMIT_JOB_BG, b"f", b"", b"in")
        cluster.wait(3.5)
        assert (client.wire.closed, idle.wire.closed) == (False, False)
        cluster.wait(1)
        assert client.hears() == []
        assert (client.wire.closed, idle.wire.closed) == (True, True)
        assert not one.serving
        assert one.peer().wire.aborted
        other = two.peer().say(P.SUBMIT_JOB_BG, b"f", b"", b"in")
        cluster.settle()
        assert other.hears()[0][0] is P.JOB_CREATED

    def test_that_is_left_by_the_death_of_the_others_lets_them_go_without_waiting_for_an_election(self, cluster):
        one, two = cluster.followers
        client = one.peer()
        cluster.kill(two.name)
        cluster.kill(cluster.leader.name)
        client.say(P.SUBMIT_JOB_BG, b"f", b"", b"in")
        cluster.wait(0.2)
        assert (client.wire.closed, one.serving) == (True, False)
        one.driver.linked(two.name)  # it is back, but nobody leads yet
        cluster.wait(0.2)
        assert not one.serving

    def test_led_by_the_old_leader_likewise(self, cluster):
        leader = cluster.leader
        client = leader.peer()
        cluster.cut(leader.name)
        client.say(P.SUBMIT_JOB_BG, b"f", b"", b"in")
        cluster.wait(7)
        assert client.hears() == []
        assert client.wire.closed
        assert not leader.serving

    def test_that_is_back_serves_again_as_a_new_incarnation_where_it_was_declared_down(self, cluster):
        one, _ = cluster.followers
        cluster.cut(one.name)
        cluster.wait(6)
        cluster.heal()
        cluster.settle_down()
        client = one.peer().say(P.SUBMIT_JOB_BG, b"f", b"", b"in")
        cluster.settle()
        assert client.hears()[0][0] is P.JOB_CREATED
        assert cluster.leader.table.nodes[one.name].incarnation == 2


class TestALeaderThatIsAskedToHandOver:
    def test_does_so_and_nothing_waits_for_long(self, cluster):
        leader = cluster.leader
        heir = cluster.followers[0]
        clients = [member.peer() for member in cluster]
        leader.driver.transfer(heir.name)
        for client in clients:
            client.say(P.SUBMIT_JOB_BG, b"f", b"", b"in")
        cluster.wait(1.5)
        assert heir.leads
        assert [client.hears()[0][0] for client in clients] == [P.JOB_CREATED] * 3
        assert len(heir.table.jobs) == 3


class TestANodeThatIsAskedToStop:
    def test_hangs_up_on_the_idle_at_once_and_on_others_when_they_have_their_answers(self, cluster):
        one, two = cluster.followers
        idle = one.peer()
        worker = two.peer().say(P.CAN_DO, b"f")
        client = one.peer().say(P.SUBMIT_JOB, b"f", b"", b"in")
        cluster.settle()
        ((_, handle),) = client.hears()
        worker.say(P.GRAB_JOB)
        cluster.settle()
        drained: list[int] = []
        with cluster.loop.running():
            one.gateway.drain(lambda: drained.append(1))
        cluster.wait(1)
        assert (idle.wire.closed, client.wire.closed, drained) == (True, False, [])
        worker.say(P.WORK_COMPLETE, handle, b"out")
        cluster.wait(0.3)
        assert client.hears() == [(P.WORK_COMPLETE, handle, b"out")]
        assert (client.wire.closed, drained) == (True, [1])


class TestTheLastOneLeft:
    def test_does_not_answer_from_a_table_that_lacks_what_the_others_acknowledged(self):
        """It has the entry in its log, but was not told that it is committed: the leader left with that knowledge."""
        cluster = StillCluster(2)
        leader = cluster.leader
        (other,) = cluster.followers
        client, reader = leader.peer(), other.peer()
        with cluster.loop.running():
            leader.driver.propose_configuration(ConfigurationChange((Change(ChangeKind.REMOVE, leader.name),)))
        client.say(P.SUBMIT_JOB_BG, b"f", b"", b"in")
        while other.raft.last_index != leader.raft.last_index or not other.driver.alone:
            with cluster.loop.running():
                cluster.loop.turn()
        cluster.cuts.add((leader.name, other.name))
        cluster.settle()
        ((_, handle),) = client.hears()
        assert other.table.jobs == {}
        reader.say(P.GET_STATUS, handle)
        cluster.settle()
        assert reader.hears() == []
        cluster.wait(0.2)
        other.raft.campaign()
        cluster.wait(0.2)
        assert other.leads
        assert reader.hears() == [(P.STATUS_RES, handle, b"1", b"0", b"0", b"0")]


class TestARunWhoseTimeIsOver:
    def test_is_not_told_again_by_another_node_before_this_one_knows(self, cluster):
        """The worker here says its word at the last moment; the job runs again elsewhere, and that is heard first."""
        one, two = cluster.followers
        leader = cluster.leader
        worker = one.peer().say(P.CAN_DO_TIMEOUT, b"f", b"1")
        client = one.peer().say(P.SUBMIT_JOB, b"f", b"", b"in")
        cluster.settle()
        ((_, handle),) = client.hears()
        worker.say(P.GRAB_JOB)
        cluster.settle()
        other = two.peer().say(P.CAN_DO, b"f").say(P.PRE_SLEEP)
        cluster.wait(0.8)
        cluster.cuts.add((leader.name, one.name))
        cluster.wait(0.4)
        other.say(P.GRAB_JOB)
        cluster.settle()
        assert [kind for kind, *_ in other.hears()] == [P.NOOP, P.JOB_ASSIGN]
        worker.say(P.WORK_COMPLETE, handle, b"out")
        assert client.hears() == [(P.WORK_COMPLETE, handle, b"out")]
        other.say(P.WORK_DATA, handle, b"1").say(P.WORK_COMPLETE, handle, b"again")
        cluster.settle()
        assert client.hears() == []
        cluster.heal()
        cluster.wait(1)
        assert client.hears() == []
        assert leader.table.jobs == {}


class TestALateLink:
    def test_brings_a_new_leader_what_was_lost_on_the_way(self, cluster):
        one, two = cluster.followers
        client = one.peer()
        cluster.cuts |= {(one.name, other.name) for other in cluster if other is not one}
        client.say(P.SUBMIT_JOB_BG, b"f", b"", b"in")
        cluster.wait(0.3)
        assert client.hears() == []
        cluster.heal()
        cluster.settle()
        assert client.hears()[0][0] is P.JOB_CREATED
        assert len(two.table.jobs) == 1


class TestAClientThatLeaves:
    def test_just_before_its_job_is_over_is_waited_for_by_nobody(self, cluster):
        one, two = cluster.followers
        worker, client, handle = at_work(cluster, one, two)
        cluster.cuts.add((two.name, cluster.leader.name))  # that it has left is not known to the table in time
        client.leave()
        worker.say(P.WORK_COMPLETE, handle, b"out")
        cluster.settle()
        cluster.heal()
        cluster.wait(1)
        listening = two.gateway._listening
        assert not listening._early
        assert listening._awaiting == listening.told == {}
