"""JOB_CREATED of foreground jobs, as clients hear it: at once, or with the result."""

import pytest

from node.gateway.company import COMPANY_TIME, IN_VAIN, PROVEN
from protocol import PacketType as T
from tests.node.stillness import StillNode

MOMENT = 0.01
"""Seconds in which a job is in the table, and its client answered if it is answered at once."""


@pytest.fixture
def node():
    with StillNode() as node:
        yield node


def kinds(heard):
    return [event[0] for event in heard]


def submit(node, client):
    """Submit a foreground job; give what the client hears at once."""
    client.say(T.SUBMIT_JOB, b"f", b"", b"")
    node.wait(MOMENT)
    return kinds(client.hears())


def complete(node, worker):
    worker.say(T.GRAB_JOB)
    node.wait(MOMENT)
    handles = [event[1] for event in worker.hears() if event[0] is T.JOB_ASSIGN]
    for handle in handles:
        worker.say(T.WORK_COMPLETE, handle, b"r")
    node.wait(MOMENT)


def in_step(node, worker):
    """A client that has had the result of each of its jobs before it submitted the next one."""
    client = node.peer()
    for _ in range(PROVEN):
        assert submit(node, client) == [T.JOB_CREATED]
        complete(node, worker)
        assert kinds(client.hears()) == [T.WORK_COMPLETE]
    return client


class TestAClientInStep:
    def test_hears_of_its_job_together_with_the_result(self, node):
        worker = node.worker(b"f")
        client = in_step(node, worker)
        assert submit(node, client) == []
        complete(node, worker)
        assert kinds(client.hears()) == [T.JOB_CREATED, T.WORK_COMPLETE]

    def test_hears_of_its_job_with_the_first_word_of_the_worker(self, node):
        worker = node.worker(b"f")
        client = in_step(node, worker)
        submit(node, client)
        worker.say(T.GRAB_JOB)
        node.wait(MOMENT)
        ((_, handle, *_),) = worker.hears()
        worker.say(T.WORK_DATA, handle, b"d")
        assert kinds(client.hears()) == [T.JOB_CREATED, T.WORK_DATA]

    def test_hears_of_its_job_in_the_order_of_its_requests(self, node):
        client = in_step(node, node.worker(b"f"))
        submit(node, client)
        client.say(T.ECHO_REQ, b"e")
        assert kinds(client.hears()) == [T.JOB_CREATED, T.ECHO_RES]

    def test_does_not_wait_for_long(self, node):
        client = in_step(node, node.worker(b"f"))
        assert submit(node, client) == []
        node.wait(COMPANY_TIME)
        assert kinds(client.hears()) == [T.JOB_CREATED]

    def test_is_served_at_once_for_a_while_after_it_has_waited_in_vain(self, node):
        worker = node.worker(b"f")
        client = in_step(node, worker)
        submit(node, client)
        node.wait(COMPANY_TIME)
        complete(node, worker)
        client.hears()
        for _ in range(IN_VAIN):
            assert submit(node, client) == [T.JOB_CREATED]
            complete(node, worker)
            client.hears()
        assert submit(node, client) == []

    def test_waits_for_each_of_its_jobs_anew(self, node):
        worker = node.worker(b"f")
        client = in_step(node, worker)
        for _ in range(5):
            assert submit(node, client) == []
            complete(node, worker)
            assert kinds(client.hears()) == [T.JOB_CREATED, T.WORK_COMPLETE]

    def test_that_goes_while_it_waits_harms_nobody(self, node):
        worker = node.worker(b"f")
        client, other = in_step(node, worker), in_step(node, worker)
        submit(node, client)
        submit(node, other)
        client.leave()
        node.wait(COMPANY_TIME)
        assert kinds(other.hears()) == [T.JOB_CREATED]


class TestAnyOtherClient:
    def test_hears_of_its_jobs_at_once_while_the_one_before_is_not_over(self, node):
        client = in_step(node, node.worker(b"f"))
        submit(node, client)
        assert submit(node, client) == [T.JOB_CREATED, T.JOB_CREATED]
        assert submit(node, client) == [T.JOB_CREATED]

    def test_hears_of_a_background_job_at_once(self, node):
        client = in_step(node, node.worker(b"f"))
        client.say(T.SUBMIT_JOB_BG, b"f", b"", b"")
        node.wait(MOMENT)
        assert kinds(client.hears()) == [T.JOB_CREATED]
