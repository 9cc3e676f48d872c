"""What leaves when: messages and the writes they depend on."""

import pytest

from cluster.raft import RaftInvariantError
from cluster.raft.messages import HeartbeatAck
from cluster.raft.outbox import Outbox


def message(term=1, number=0):
    return HeartbeatAck("b", "a", term, number)


class TestOutbox:
    def test_what_depends_on_nothing_leaves_at_once(self):
        outbox = Outbox()
        outbox.send(message())
        assert outbox.take() == (message(),)
        assert outbox.take() == ()

    def test_a_message_waits_for_the_write_it_depends_on(self):
        outbox = Outbox()
        outbox.send(message(number=1), after=outbox.next_write)
        outbox.sequence = 1
        outbox.send(message(number=2), after=outbox.next_write)
        outbox.sequence = 2
        assert outbox.take() == ()
        assert outbox.release(1)
        assert outbox.take() == (message(number=1),)
        outbox.release(2)
        assert outbox.take() == (message(number=2),)

    def test_bug_01_nothing_is_said_in_a_term_that_is_not_durable(self):
        outbox = Outbox()
        outbox.hard_state_changed(new_term=True)
        outbox.send(message(2))
        assert outbox.hard_state_due
        assert outbox.take() == ()
        outbox.sequence = outbox.next_write
        assert not outbox.hard_state_due
        outbox.send(message(2, 1))
        assert outbox.take() == ()
        outbox.release(1)
        assert outbox.take() == (message(2), message(2, 1))

    def test_messages_of_the_term_before_are_dropped_if_they_still_wait(self):
        outbox = Outbox()
        outbox.send(message(1), after=outbox.next_write)
        outbox.hard_state_changed(new_term=True)
        outbox.sequence = 1
        outbox.release(1)
        assert outbox.take() == ()

    def test_a_vote_within_the_term_drops_nothing(self):
        outbox = Outbox()
        outbox.send(message(1), after=outbox.next_write)
        outbox.hard_state_changed(new_term=False)
        outbox.sequence = 1
        outbox.release(1)
        assert outbox.take() == (message(1),)

    def test_one_acknowledgement_stands_for_all_before_it(self):
        outbox = Outbox()
        for number in range(3):
            outbox.send(message(number=number), after=outbox.next_write)
            outbox.sequence += 1
        outbox.release(3)
        assert [m.round for m in outbox.take()] == [0, 1, 2]

    def test_an_acknowledgement_said_twice_is_no_news(self):
        outbox = Outbox()
        outbox.sequence = 2
        assert outbox.release(2)
        assert not outbox.release(2)
        assert not outbox.release(1)

    def test_bug_34_acknowledging_a_write_that_was_never_given_out_stops_the_node(self):
        with pytest.raises(RaftInvariantError, match="write 1 is acknowledged, but the last one given out is 0"):
            Outbox().release(1)
