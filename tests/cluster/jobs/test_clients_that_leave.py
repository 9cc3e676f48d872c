"""Jobs whose clients do not wait any more."""

import pytest

from cluster.jobs import NodeDown, SessionClose, Submit
from tests.cluster.jobs.rig import Rig


@pytest.fixture
def rig():
    rig = Rig()
    rig.open(1, 2)
    return rig


class TestAForegroundJob:
    def test_is_dropped_when_its_client_goes_before_it_runs(self, rig):
        number = rig.foreground(1)
        rig.say(SessionClose(1))
        assert rig.state(number) is None
        assert rig.queue() == []

    def test_is_kept_while_one_of_its_clients_stays(self, rig):
        number = rig.foreground(1, unique=b"u")
        rig.foreground(2, unique=b"u")
        rig.say(SessionClose(1))
        assert rig.state(number) == "QUEUED"
        rig.say(SessionClose(2))
        assert rig.state(number) is None

    def test_that_runs_is_left_to_its_worker(self, rig):
        rig.worker(3, b"f")
        number = rig.foreground(1)
        rig.grab(3)
        rig.say(SessionClose(1))
        assert rig.running(3) == [number]

    def test_that_runs_for_nobody_is_not_tried_again(self, rig):
        rig.worker(3, b"f")
        number = rig.foreground(1)
        rig.grab(3)
        rig.say(SessionClose(1), SessionClose(3))
        assert rig.state(number) is None

    def test_can_be_for_a_session_that_also_works(self, rig):
        rig.worker(3, b"f")
        number = rig.foreground(3)
        rig.grab(3)
        rig.say(SessionClose(3))
        assert rig.state(number) is None

    def test_needs_a_session(self, rig):
        assert rig.say(Submit(9, b"new", b"", b"", 1, background=False)) == [("refused", 9, "NO_SESSION")]
        assert b"new" not in rig.table.functions

    def test_that_waits_for_its_time_is_dropped_too(self, rig):
        rig.say(Submit(1, b"f", b"", b"", 1, background=False, due=rig.time + 1000))
        rig.say(SessionClose(1))
        assert rig.table.jobs == {}
        assert rig.wait(1000) == []

    @pytest.mark.parametrize(("client", "worker"), [(5, 6), (6, 5)])
    def test_goes_with_the_node_of_both_its_client_and_its_worker(self, rig, client, worker):
        """Whichever of the two opened first: it must not come to run for nobody."""
        rig.open(client, node="b")
        rig.worker(worker, b"f", node="b")
        rig.worker(3, b"f")
        number = rig.foreground(client, node="b")
        rig.grab(worker, node="b")
        rig.park(3)
        assert rig.decide(NodeDown("b", 1)) == []
        assert rig.state(number) is None
        assert rig.reserved(3) == []


class TestABackgroundJob:
    def test_does_not_care(self, rig):
        rig.say(Submit(1, b"f", b"", b"", 1, background=True))
        rig.say(SessionClose(1))
        assert rig.queue() == [rig.table.last_job]

    def test_needs_no_session(self, rig):
        assert rig.say(Submit(99, b"f", b"", b"", 1, background=True)) == [("created", 99, 1, b"H:a:1")]


class TestASession:
    def test_opened_twice_is_one_session(self, rig):
        number = rig.foreground(1)
        rig.open(1)
        assert set(rig.table.nodes["a"].sessions[1].listening) == {number}

    def test_closed_twice_does_no_harm(self, rig):
        assert rig.say(SessionClose(1), SessionClose(1), SessionClose(77)) == []

    def test_with_the_number_of_a_closed_one_inherits_nothing(self, rig):
        rig.worker(1, b"f")
        rig.background()
        rig.grab(1)
        rig.say(SessionClose(1))
        rig.open(1)
        session = rig.table.nodes["a"].sessions[1]
        assert (session.abilities, session.holding, session.listening, session.parked) == ({}, set(), {}, 0)
