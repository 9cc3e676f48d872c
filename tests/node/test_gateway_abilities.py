"""The gateway and workers that name too many functions: what they are told, and what they are given after that."""

import pytest

from protocol import PacketType as T
from tests.node.stillness import StillNode

HERE = (T.ERROR, b"TOO_MANY_FUNCTIONS", b"This connection has named as many functions as it may")
IN_ALL = (T.ERROR, b"TOO_MANY_FUNCTIONS", b"The cluster has as many functions as it may have")


@pytest.fixture
def node():
    with StillNode(max_worker_functions=3) as node:
        yield node


def names(worker):
    return worker.connection.worker.abilities


def known(node, worker):
    return set(node.table.nodes["n"].sessions[worker.connection.number].abilities)


class TestAConnectionThatNamesTooManyFunctions:
    def test_is_told_so_for_each(self, node):
        worker = node.worker(b"a", b"b", b"c", b"d", b"e")
        assert worker.hears() == [HERE, HERE]
        assert names(worker) == known(node, worker) == {b"a", b"b", b"c"}

    def test_may_name_the_same_again(self, node):
        worker = node.worker(b"a", b"b", b"c", b"a")
        worker.say(T.CAN_DO_TIMEOUT, b"c", b"5")
        node.settle()
        assert worker.hears() == []

    def test_may_name_another_once_it_took_one_back(self, node):
        worker = node.worker(b"a", b"b", b"c")
        worker.say(T.CANT_DO, b"a").say(T.CAN_DO, b"d")
        node.wait(0.01)
        assert worker.hears() == []
        worker.say(T.RESET_ABILITIES)
        for name in (b"x", b"y", b"z"):
            worker.say(T.CAN_DO, name)
        node.wait(0.01)
        assert worker.hears() == []
        assert names(worker) == known(node, worker) == {b"x", b"y", b"z"}

    def test_is_told_so_behind_the_answers_that_it_waits_for(self, node):
        worker = node.worker(b"a", b"b", b"c")
        node.disk.held = True
        worker.say(T.SUBMIT_JOB_BG, b"a", b"", b"").say(T.CAN_DO, b"d").say(T.ECHO_REQ, b"echo")
        node.settle()
        assert worker.hears() == []
        node.disk.held = False
        node.disk.acknowledge()
        node.wait(0.01)
        assert [event[0] for event in worker.hears()] == [T.JOB_CREATED, T.ERROR, T.ECHO_RES]


class TestAFunctionThatTheTableDoesNotTake:
    @pytest.fixture(autouse=True)
    def _full(self, node):
        node.table.max_functions = 2
        node.worker(b"a", b"b")

    def test_is_not_taken_by_the_gateway_either(self, node):
        worker = node.worker(b"c", b"a", b"d")
        node.wait(0.1)
        assert worker.hears() == [IN_ALL, IN_ALL]
        assert names(worker) == known(node, worker) == {b"a"}

    def test_counts_no_longer_for_its_connection(self, node):
        worker = node.worker(b"c", b"d", b"e")
        node.wait(0.1)
        assert worker.hears() == [IN_ALL] * 3
        for name in (b"a", b"b"):
            worker.say(T.CAN_DO, name)
        node.wait(0.01)
        assert worker.hears() == []

    def test_may_be_named_again_when_there_is_room(self, node):
        worker = node.worker(b"c")
        node.table.max_functions = 3
        worker.say(T.CANT_DO, b"c").say(T.CAN_DO, b"c")
        node.wait(0.1)
        assert worker.hears() == [IN_ALL]
        assert names(worker) == known(node, worker) == {b"c"}
        handle = node.background(b"c")
        worker.say(T.GRAB_JOB)
        node.wait(0.01)
        assert worker.hears() == [(T.JOB_ASSIGN, handle, b"c", b"")]

    def test_is_left_out_though_the_worker_goes_on_to_name_others(self, node):
        worker = node.worker()
        node.disk.held = True
        worker.say(T.CAN_DO, b"c")
        node.wait(0.01)
        worker.say(T.CAN_DO, b"a")
        for _ in range(5):
            node.disk.acknowledge()
            worker.say(T.CAN_DO, b"b")
            node.wait(0.01)
        node.disk.held = False
        node.disk.acknowledge()
        node.wait(0.1)
        assert worker.hears() == [IN_ALL]
        assert names(worker) == known(node, worker) == {b"a", b"b"}

    def test_is_the_first_of_a_job_that_is_refused(self, node):
        peer = node.peer().say(T.SUBMIT_JOB, b"c", b"", b"").say(T.SUBMIT_JOB_BG, b"c", b"", b"")
        peer.say(T.SUBMIT_JOB_BG, b"a", b"", b"")
        node.wait(0.01)
        heard = peer.hears()
        assert heard[:2] == [IN_ALL, IN_ALL]
        assert heard[2][0] is T.JOB_CREATED

    @pytest.mark.parametrize("line", [b"create function c", b"maxqueue c 5"])
    def test_is_refused_to_operators(self, node, line):
        operator = node.peer().send(line + b"\n")
        node.settle()
        assert operator.hears() == [b"ERR TOO_MANY_FUNCTIONS There+may+be+no+further+function"]
