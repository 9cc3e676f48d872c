"""The driver: when commands are written, when they are answered, and what ends the node's service."""

from typing import Any

import pytest

from cluster.jobs import (
    Batch,
    Created,
    CreateFunction,
    NodeUp,
    Park,
    Submit,
    decode_proposal,
    encode_proposal,
    propose,
)
from cluster.log import Entry, EntryKind
from node.driver import driver as engine_room
from node.driver import gathering as timing
from node.driver import intake, mirroring
from node.driver.driver import STUCK
from node.errors import UnknownEntryError
from tests.node.stillness import Engine


def create(number: int) -> CreateFunction:
    return CreateFunction(0, b"f%d" % number)


def job(function: bytes = b"f", due: int = 0, workload: bytes = b"") -> Submit:
    return Submit(0, function, b"", workload, 1, background=True, due=due)


def names(engine: Engine) -> list[list[list[bytes]]]:
    """For each write, for each of its entries: the functions that are created there."""
    return [
        [[c.function for c in entry if isinstance(c, CreateFunction)] for entry in write]
        for write in engine.disk.proposals()
    ]


@pytest.fixture
def engine() -> Engine:
    """A driver that serves, and has been idle for a while."""
    engine = Engine()
    assert engine.ready
    engine.rest()
    return engine


class TestATurn:
    def test_applies_so_many_commands_and_leaves_the_rest_to_the_next(self, monkeypatch):
        """However much a slow disk has made wait: others have their turn in between."""
        monkeypatch.setattr(timing, "MAX_BATCH_COMMANDS", 2)
        monkeypatch.setattr(intake, "MAX_BATCH", 1)  # each batch is an entry
        monkeypatch.setattr(engine_room, "APPLIED", 3)
        engine = Engine()
        engine.rest()
        engine.disk.held = True
        for number in range(12):
            engine.driver.propose(create(number))
        engine.loop.settle()
        engine.disk.acknowledge()
        grown = [len(engine.table.functions)]
        while grown[-1] < 12 and len(grown) < 10:
            engine.loop.turn()
            grown.append(len(engine.table.functions))
        assert grown == [4, 8, 12]
        assert engine.driver.applied_number == engine.driver.numbered


class TestDurability:
    def test_nobody_learns_anything_before_it_is_on_disk(self, engine):
        engine.disk.held = True
        engine.driver.propose(job())
        engine.loop.advance(60)
        assert len(engine.disk.writes) == 1
        assert (engine.sink.effects, engine.table.jobs, engine.driver.applied_number) == ([], {}, 1)
        engine.disk.acknowledge()
        assert [type(effect) for effect in engine.sink.effects] == [Created]
        assert engine.driver.applied_number == 2

    def test_what_comes_while_a_write_is_under_way_shares_the_next(self, engine):
        engine.disk.held = True
        engine.driver.propose(create(0))
        engine.loop.settle()
        for number in (1, 2, 3):
            engine.driver.propose(create(number))
            engine.loop.settle()
        assert names(engine) == [[[b"f0"]]]
        engine.disk.acknowledge()
        assert names(engine) == [[[b"f0"]], [[b"f1", b"f2", b"f3"]]]
        assert engine.disk.most_under_way == 1

    def test_much_of_it_follows_on_the_heels_of_that_write_and_the_rest_waits(self, engine):
        engine.disk.held = True
        for count in (1, timing.MUCH, timing.MUCH, timing.MUCH):
            engine.driver.in_turn = True
            engine.driver.propose_all([create(number) for number in range(count)], 0)
            engine.driver.end_turn()
            engine.loop.settle()
        assert [len(entry) for write in names(engine) for entry in write] == [1, timing.MUCH]
        assert (engine.disk.most_under_way, engine.sink.effects) == (2, [])
        engine.disk.acknowledge()
        engine.loop.settle()
        assert [len(entry) for write in names(engine) for entry in write] == [1, timing.MUCH, 2 * timing.MUCH]
        engine.disk.release()
        engine.loop.settle()
        assert engine.driver.applied_number == engine.driver.numbered

    def test_the_sink_is_flushed_only_once_everything_of_the_bundle_is_delivered(self, engine, monkeypatch):
        order: list[str] = []
        monkeypatch.setattr(engine.sink, "deliver", lambda effects: order.append("deliver"))
        monkeypatch.setattr(engine.sink, "flush", lambda: order.append("flush"))
        engine.disk.held = True
        monkeypatch.setattr(timing, "MAX_BATCH_COMMANDS", 1)
        monkeypatch.setattr(intake, "MAX_BATCH", -1)  # each batch is an entry
        engine.driver.propose(create(0))
        engine.driver.propose(create(1))
        engine.loop.settle()
        engine.disk.acknowledge()
        assert order == ["deliver", "deliver", "flush"]


class TestWhenAWriteBegins:
    def test_urgent_commands_of_one_turn_are_one_write_at_its_end(self, engine):
        engine.driver.propose(create(1))
        engine.driver.propose(create(2))
        assert engine.disk.writes == []
        engine.loop.turn()
        assert names(engine) == [[[b"f1", b"f2"]]]

    def test_whoever_announces_the_end_of_its_turn_decides_when_it_is(self, engine):
        engine.driver.in_turn = True
        engine.driver.propose(create(1))
        engine.loop.settle()
        assert engine.disk.writes == []
        engine.driver.end_turn()
        assert names(engine) == [[[b"f1"]]]

    def test_lazy_commands_wait_for_company_but_not_for_ever(self, engine):
        engine.driver.propose_lazily(create(1))
        engine.loop.advance(timing.LAZY_DELAY * 0.6)
        engine.driver.propose_lazily(create(2))
        engine.loop.advance(timing.LAZY_DELAY * 0.3)
        assert engine.disk.writes == []
        engine.loop.advance(timing.LAZY_DELAY * 0.2)
        assert names(engine) == [[[b"f1", b"f2"]]]

    def test_lazy_commands_join_an_urgent_one_in_the_order_they_came(self, engine):
        engine.driver.propose_lazily(create(1))
        engine.driver.propose(create(2))
        engine.driver.propose_lazily(create(3))
        engine.loop.settle()
        assert names(engine) == [[[b"f1", b"f2", b"f3"]]]
        engine.loop.advance(timing.LAZY_DELAY * 2)
        assert len(names(engine)) == 1

    def test_a_prompt_command_begins_a_write_at_once_when_none_began_lately(self, engine):
        engine.driver.propose_promptly(create(1))
        engine.loop.settle()
        assert names(engine) == [[[b"f1"]]]

    def test_prompt_commands_share_a_write_when_one_began_lately(self, engine):
        engine.driver.propose(create(0))
        engine.loop.settle()
        engine.loop.advance(timing.LAZY_DELAY * 0.5)
        engine.driver.propose_promptly(create(1))
        engine.driver.propose_promptly(create(2))
        engine.loop.advance(timing.LAZY_DELAY * 0.4)
        assert names(engine) == [[[b"f0"]]]
        engine.loop.advance(timing.LAZY_DELAY * 0.2)
        assert names(engine) == [[[b"f0"]], [[b"f1", b"f2"]]]

    def test_a_worker_about_to_be_parked_waits_no_longer_once_there_is_a_job(self, engine, monkeypatch):
        """Here a delayed job comes due: nobody waits for that, but the worker would for the job."""
        monkeypatch.setattr(timing, "LAZY_DELAY", 60)
        engine.driver.propose(job(due=engine.wall + 10_000))
        engine.loop.settle()
        engine.driver.propose_while_idle(Park(7))
        engine.loop.advance(9)
        assert Park(7) not in engine.disk.commands()
        engine.loop.advance(2)
        assert engine.disk.commands()[-1] == Park(7)

    def test_in_a_crowd_a_write_waits_for_a_turn_that_brings_nothing_more(self, engine):
        for number in range(timing.CROWD):
            engine.driver.propose(create(number))
        engine.loop.settle()
        engine.disk.writes.clear()
        for number in (100, 101, 102):
            engine.driver.propose(create(number))
            engine.loop.turn()
        assert names(engine) == []
        engine.loop.settle()
        assert names(engine) == [[[b"f100", b"f101", b"f102"]]]

    def test_a_crowd_that_does_not_end_is_not_waited_for(self, engine):
        for number in range(timing.CROWD):
            engine.driver.propose(create(number))
        engine.loop.settle()
        engine.disk.writes.clear()
        engine.driver.propose(create(100))
        began = engine.loop.now
        while not engine.disk.writes:
            engine.driver.propose(create(101))
            engine.loop.now += timing.GATHER_TIME / 10
            engine.loop.turn()
        assert engine.loop.now - began <= timing.GATHER_TIME * 1.5

    def test_nothing_proposed_means_nothing_written(self, engine):
        engine.loop.advance(30)
        assert engine.disk.writes == []


class TestNumbering:
    def batches(self, engine: Engine) -> list[list[tuple[int, int]]]:
        """For each write, the number of the first command and the length of every batch."""
        return [
            [(b.first, len(b.commands)) for e in entries for b in decode_proposal(e.data).batches]
            for entries in engine.disk.writes
            if entries
        ]

    def test_goes_on_without_a_gap_from_batch_to_batch_and_from_write_to_write(self, engine, monkeypatch):
        monkeypatch.setattr(timing, "MAX_BATCH_COMMANDS", 3)
        monkeypatch.setattr(timing, "MAX_WRITE_BATCHES", 2)
        for number in range(8):
            engine.driver.propose(create(number))
        engine.loop.settle()
        assert self.batches(engine) == [[(2, 3), (5, 3)], [(8, 2)]]
        assert engine.driver.numbered == engine.driver.applied_number == engine.table.nodes["n"].last == 9
        assert list(engine.table.functions) == [b"f%d" % number for number in range(8)]

    def test_a_batch_is_closed_when_it_is_heavy(self, engine, monkeypatch):
        monkeypatch.setattr(timing, "MAX_BATCH_BYTES", 100 + 2 * timing.COMMAND_BYTES)
        for size in (60, 30, 60, 1, 60):
            engine.driver.propose(job(workload=bytes(size)), size)
        engine.loop.settle()
        assert self.batches(engine) == [[(2, 2), (4, 2), (6, 1)]]

    def test_stays_right_for_what_is_proposed_between_the_writes_of_a_long_queue(self, engine, monkeypatch):
        monkeypatch.setattr(timing, "MAX_BATCH_COMMANDS", 2)
        monkeypatch.setattr(timing, "MAX_WRITE_BATCHES", 1)
        engine.disk.held = True
        for number in range(5):
            engine.driver.propose(create(number))
        engine.loop.settle()
        for number in range(5, 8):
            engine.disk.acknowledge()
            engine.driver.propose_lazily(create(number))
        while engine.disk.under_way:
            engine.disk.acknowledge()
            engine.loop.advance(0.01)
        assert engine.driver.applied_number == engine.driver.numbered == 9
        assert list(engine.table.functions) == [b"f%d" % number for number in range(8)]

    def test_a_refusal_of_consensus_keeps_everything_in_order_until_there_is_room(self, monkeypatch):
        engine = Engine(max_uncommitted_bytes=300)
        monkeypatch.setattr(timing, "MAX_BATCH_COMMANDS", 1)
        engine.rest()
        for number in range(12):
            engine.driver.propose(CreateFunction(number, b"%d" % number + b"x" * 60))
        engine.loop.turn()
        assert len(engine.disk.writes[0]) < timing.MAX_WRITE_BATCHES
        engine.loop.settle()
        assert [c.session for c in engine.disk.commands()] == list(range(12))
        assert [effect.session for effect in engine.sink.effects] == list(range(12))
        assert engine.driver.applied_number == engine.driver.numbered == 13
        assert engine.failures == []

    def test_an_entry_of_another_term_at_the_index_of_a_proposal_is_read_from_the_entry(self, engine):
        """What was proposed here and lost its place to another leader's entry must not be applied in its stead."""
        engine.disk.held = True
        engine.driver.propose(create(1))
        engine.loop.settle()
        (entry,) = engine.disk.writes[-1]
        theirs = decode_proposal(entry.data)
        batch = theirs.batches[0]
        data = encode_proposal(propose(theirs.time, [Batch("n", 1, batch.first, [create(2)])]))
        engine.driver._apply(Entry(entry.index, entry.term + 1, EntryKind.COMMANDS, data))
        assert list(engine.table.functions) == [b"f2"]


class TestAStandstill:
    def test_is_told_once_commands_have_waited_too_long(self, engine):
        assert engine.driver.stuck == 0
        engine.disk.held = True
        engine.driver.propose(create(1))
        engine.loop.advance(STUCK - 0.1)
        assert engine.driver.stuck == 0
        engine.loop.advance(0.4)
        assert STUCK < engine.driver.stuck < STUCK + 0.4
        engine.disk.acknowledge()
        engine.loop.settle()
        assert engine.driver.stuck == 0

    def test_is_none_where_their_bytes_need_the_time(self, engine):
        engine.disk.held = True
        engine.driver.propose(create(1), size=20_000_000)
        engine.loop.advance(STUCK + 1.9)
        assert engine.driver.stuck == 0
        engine.loop.advance(0.4)
        assert engine.driver.stuck > STUCK + 2.0

    def test_is_none_while_nothing_waits(self, engine):
        engine.loop.advance(60)
        assert engine.driver.stuck == 0


class TestWhenSettled:
    def test_calls_back_at_once_when_nothing_is_on_its_way(self, engine):
        called: list[int] = []
        engine.driver.when_settled(lambda: called.append(1))
        assert called == [1]

    def test_calls_back_once_what_was_proposed_before_is_applied_and_hurries_it(self, engine):
        engine.disk.held = True
        seen: list[list[bytes]] = []
        engine.driver.propose_lazily(create(1))
        engine.driver.when_settled(lambda: seen.append(list(engine.table.functions)))
        engine.loop.settle()
        engine.driver.propose(create(2))
        engine.driver.when_settled(lambda: seen.append(list(engine.table.functions)))
        assert seen == []
        engine.disk.acknowledge()
        assert seen == [[b"f1"]]
        engine.disk.acknowledge()
        assert seen == [[b"f1"], [b"f1", b"f2"]]


class TestFailure:
    def test_while_applying_is_reported_once_and_nothing_more_is_written_or_told(self, engine, monkeypatch):
        settled: list[int] = []
        engine.disk.held = True
        engine.driver.propose(create(1))
        engine.loop.settle()
        engine.driver.propose(create(2))
        engine.driver.when_settled(lambda: settled.append(1))
        monkeypatch.setattr(engine.sink, "deliver", lambda effects: 1 // 0)
        engine.disk.acknowledge()
        assert [type(error) for error in engine.failures] == [ZeroDivisionError]
        assert engine.driver.failed
        written = len(engine.disk.writes)
        engine.driver.propose(create(3))
        engine.disk.release()
        engine.loop.advance(60)
        assert len(engine.disk.writes) == written
        assert (len(engine.failures), settled, engine.disk.mirrors) == (1, [], [])
        assert list(engine.table.functions) == [b"f1"]

    def test_an_entry_of_an_unknown_kind_is_never_passed_over(self, engine):
        entry = Entry(engine.raft.applied_index + 1, 1, 99, b"")  # type: ignore[arg-type]
        with pytest.raises(UnknownEntryError, match="of kind 99"):
            engine.driver._apply(entry)

    def test_an_entry_that_cannot_be_read_stops_the_node(self, engine, monkeypatch):
        engine.disk.held = True
        engine.driver.propose(create(1))
        engine.loop.settle()
        engine.driver._proposals.clear()
        monkeypatch.setattr(engine_room, "decode_proposal", lambda data: 1 // 0)
        engine.disk.acknowledge()
        assert [type(error) for error in engine.failures] == [ZeroDivisionError]
        assert engine.driver.failed


class TestDeadlines:
    def test_a_delayed_job_comes_due_without_any_other_traffic(self, engine):
        engine.driver.propose(job(due=engine.wall + 60_000))
        engine.loop.advance(59)
        written = len(engine.disk.writes)
        assert not any(engine.table.waiting.ready)
        engine.loop.advance(2)
        assert engine.table.waiting.ready[1]
        entries = [entry for entries in engine.disk.writes[written:] for entry in entries]
        assert 1 <= len(entries) <= 2
        assert all(decode_proposal(entry.data).batches == [] for entry in entries)

    def test_an_earlier_deadline_takes_the_place_of_a_later_one_and_comes_back_to_it(self, engine):
        engine.driver.propose(job(b"late", due=engine.wall + 60_000))
        engine.loop.settle()
        engine.driver.propose(job(b"early", due=engine.wall + 30_000))
        engine.loop.advance(31)
        assert list(engine.table.waiting.ready[1]) == [b"early"]
        engine.loop.advance(30)
        assert list(engine.table.waiting.ready[1]) == [b"early", b"late"]

    def test_one_that_is_armed_is_not_armed_again(self, engine, monkeypatch):
        armed: list[float] = []
        call_later = engine.loop.call_later

        def counting(delay: float, callback: Any, *args: Any) -> Any:
            if callback == engine.driver._due._fire:
                armed.append(delay)
            return call_later(delay, callback, *args)

        monkeypatch.setattr(engine.loop, "call_later", counting)
        engine.driver.propose(job(due=engine.wall + 60_000))
        engine.loop.settle()
        for number in range(5):
            engine.driver.propose(create(number))
            engine.loop.settle()
        assert len(armed) == 1

    def test_a_job_that_is_due_in_the_past_needs_no_entry(self, engine):
        engine.driver.propose(job(due=engine.wall - 1))
        engine.loop.advance(1)
        assert len([entry for entries in engine.disk.writes for entry in entries]) == 1


class TestMirror:
    def test_is_written_after_a_while_when_the_table_changed(self, engine):
        engine.driver.propose(create(1))
        engine.loop.advance(mirroring.MIRROR_INTERVAL * 0.9)
        assert engine.disk.mirrors == []
        engine.loop.advance(mirroring.MIRROR_INTERVAL * 0.2)
        (mirror,) = engine.disk.mirrors
        assert mirror.applied_index == engine.raft.applied_index
        engine.loop.advance(mirroring.MIRROR_INTERVAL * 5)
        assert len(engine.disk.mirrors) == 1

    @pytest.mark.parametrize(("limit", "value"), [("MIRROR_SEGMENTS", 1), ("MIRROR_LOG_BYTES", 1)])
    def test_is_written_at_once_when_much_changed(self, engine, monkeypatch, limit, value):
        monkeypatch.setattr(mirroring, limit, value)
        engine.driver.propose(job())
        engine.loop.settle()
        assert len(engine.disk.mirrors) == 1

    def test_is_not_begun_while_another_is_under_way(self, engine, monkeypatch):
        monkeypatch.setattr(mirroring, "MIRROR_LOG_BYTES", 1)
        engine.disk.held = True
        for number in range(3):
            engine.driver.propose(create(number))
            engine.loop.settle()
            engine.disk.acknowledge()
            engine.loop.advance(mirroring.MIRROR_INTERVAL * 2)
        assert engine.disk.mirrors_under_way == len(engine.disk.mirrors) == 1

    def test_lets_go_of_the_log_up_to_the_one_before_it(self, engine):
        """A snapshot opened just before it is on disk is the one before; whoever gets that needs what follows."""
        before = engine.raft.applied_index
        engine.propose_and_mirror(create(1))
        first = engine.raft.applied_index
        engine.propose_and_mirror(create(2))
        assert [mirror.compact_to for mirror in engine.disk.mirrors] == [before, first]
        assert engine.raft.first_index - 1 == first < engine.raft.applied_index

    def test_that_is_not_on_disk_yet_lets_go_of_nothing(self, engine):
        engine.propose_and_mirror(create(1))
        engine.disk.held = True
        engine.driver.propose(create(2))
        engine.loop.settle()
        engine.disk.acknowledge()
        engine.loop.advance(mirroring.MIRROR_INTERVAL * 1.1)
        assert engine.raft.first_index - 1 == engine.disk.mirrors[0].applied_index < engine.raft.applied_index

    def test_holds_the_state_at_its_position_and_nothing_later(self, engine, monkeypatch):
        monkeypatch.setattr(mirroring, "MIRROR_LOG_BYTES", 1)
        engine.disk.held = True
        engine.driver.propose(create(1))
        engine.loop.settle()
        engine.driver.propose(create(2))
        engine.disk.acknowledge()  # applies the first, and begins to write the second
        engine.loop.turn()
        (mirror,) = engine.disk.mirrors
        written = b"".join(data for _, data in mirror.segments)
        assert b"f1" in written
        assert b"f2" not in written
        assert mirror.applied_index == engine.raft.applied_index

    def test_is_written_a_last_time_when_the_node_stops_and_nothing_after_it(self, engine):
        engine.driver.propose(create(1))
        engine.loop.settle()
        engine.driver.stop()
        assert [mirror.applied_index for mirror in engine.disk.mirrors] == [engine.raft.applied_index]
        engine.driver.propose(create(2))
        engine.driver.stop()
        engine.loop.advance(60)
        assert len(engine.disk.mirrors) == 1
        assert names(engine) == [[[b"f1"]]]

    def test_memory_is_given_back_after_the_mirror_that_follows_a_long_queue(self, engine, monkeypatch):
        monkeypatch.setattr(engine.driver._mirroring._memory, "_most", 10_000)
        engine.driver.propose(create(1))
        engine.loop.advance(mirroring.MIRROR_INTERVAL * 1.5)
        assert engine.loop.executed == [engine_room.trim]


class TestBeginning:
    def test_the_first_command_of_an_incarnation_is_its_node_up(self):
        engine = Engine()
        assert engine.ready
        assert engine.disk.commands() == [NodeUp(b"H:n", -1)]
        assert engine.table.nodes["n"].incarnation == 1
        assert engine.driver.applied_number == 1

    def test_is_over_only_when_the_node_up_is_on_disk(self):
        engine = Engine(start=False)
        engine.disk.held = True
        engine.start(engine.sink)
        for _ in range(20):
            if not engine.disk.under_way or engine.disk.commands():
                break
            engine.disk.acknowledge()
            engine.loop.settle()
        assert engine.disk.commands() == [NodeUp(b"H:n", -1)]
        assert not engine.ready
        engine.disk.acknowledge()
        assert engine.ready
