"""What a node starts from: blank, or as its disk has it, whatever it is called by then."""

import msgspec
import pytest

from cluster.jobs import Can, NodeUp, SessionOpen, Submit, digest
from cluster.raft import Raft, RaftConfig
from cluster.storage import Mirror, Store
from node import recovery
from node.driver import Driver
from node.errors import RecoveryError
from node.recovery import Recovery, encode_meta, recover
from tests.node.stillness import EPOCH, Listening, StillLoop

BIG = bytes(range(256)) * 40


class StoreDisk:
    """`StorageThread` without the thread: the real store, and every acknowledgement in a later turn."""

    def __init__(self, loop: StillLoop, store: Store) -> None:
        self.loop = loop
        self.store = store

    def append(self, entries, hard_state, done):
        self.store.append(entries, hard_state)
        self.loop.call_soon(done)

    def mirror(self, mirror: Mirror, done):
        self.store.write_mirror(mirror)
        self.loop.call_soon(done)


class Life:
    """A node from its recovery on, over a real store."""

    def __init__(self, directory, new_id: str) -> None:
        self.loop = StillLoop()
        self.store = Store.open(directory)
        self.found: Recovery = recover(self.store, new_id, lambda first, last, done: None)
        self.sink = Listening()
        self.failures: list[Exception] = []
        self.ready = False
        with self.loop.running():
            self.driver = Driver(
                name=self.found.node,
                table=self.found.table,
                mirror_writer=self.found.mirror_writer,
                raft=Raft(RaftConfig(id=self.found.node, randrange=lambda n: 0), self.found.durable),
                disk=StoreDisk(self.loop, self.store),  # type: ignore[arg-type]
                clock=lambda: EPOCH + self.loop.now,
                on_failure=self.failures.append,
            )
        self.table = self.driver.table

    def begin(self) -> "Life":
        self.driver.start(self.sink, NodeUp(b"H:n", -1), self._ready)
        self.loop.settle()
        self.found.log.release()
        assert self.ready
        return self

    def _ready(self) -> None:
        self.ready = True

    def say(self, *commands) -> None:
        for command in commands:
            self.driver.propose(command)
        self.loop.settle()
        assert self.failures == []

    def crash(self) -> bytes:
        """End without a last mirror; tell what the table was."""
        self.driver.fail()
        self.store.close()
        return digest(self.table)

    def stop(self) -> bytes:
        """End as a node that is asked to."""
        self.driver.stop()
        self.loop.settle()
        self.store.close()
        return digest(self.table)


def submit(workload: bytes, session: int = 0) -> Submit:
    return Submit(session, b"f", b"", workload, 1, background=session == 0)


@pytest.fixture
def live(tmp_path):
    """Begin a life of the node; every one is ended."""
    lives: list[Life] = []

    def begin(new_id: str = "first-1") -> Life:
        lives.append(Life(tmp_path, new_id))
        return lives[-1].begin()

    yield begin
    for life in lives:
        life.store.close()


class TestBlank:
    def test_becomes_a_group_of_one_under_the_new_id(self, tmp_path):
        store = Store.open(tmp_path)
        found = recover(store, "new-1", lambda first, last, done: None)
        assert (found.node, found.table.audience, found.table.jobs) == ("new-1", "new-1", {})
        assert found.durable.base.configuration.voters == ("new-1",)
        assert found.log.last_index() == found.durable.base.index == found.durable.applied
        store.close()

    def test_keeps_the_id_it_was_founded_with_even_if_it_never_served(self, tmp_path):
        for new_id in ("first-1", "second-2"):
            store = Store.open(tmp_path)
            assert recover(store, new_id, lambda first, last, done: None).node == "first-1"
            store.close()


class TestRestart:
    def test_keeps_the_node_id_whatever_the_name_is_by_then(self, live):
        live("first-1").stop()
        life = live("second-2")
        assert life.driver.name == "first-1"
        assert list(life.table.nodes) == ["first-1"]

    @pytest.mark.parametrize("end", [Life.crash, Life.stop])
    def test_has_every_job_that_was_acknowledged_workloads_great_and_small(self, live, end):
        life = live()
        life.say(submit(b"small"), submit(BIG))
        life.loop.advance(5)  # a mirror is written
        life.say(submit(b"later"), submit(BIG + b"!"))
        end(life)
        life = live()
        assert [job.workload for job in life.table.jobs.values()] == [b"small", BIG, b"later", BIG + b"!"]
        assert [job.number for job in life.table.jobs.values()] == [1, 2, 3, 4]
        life.say(submit(b"new"))
        assert life.table.last_job == 5

    def test_begins_a_new_incarnation_that_ends_the_sessions_of_the_old_one(self, live):
        life = live()
        life.say(SessionOpen(1, "192.0.2.1"), Can(1, b"f", 0), submit(b"theirs", session=1), submit(b"kept"))
        life.crash()
        life = live()
        node = life.table.nodes["first-1"]
        assert (node.incarnation, node.sessions, node.last) == (2, {}, 1)
        assert [job.workload for job in life.table.jobs.values()] == [b"kept"]
        assert not life.table.functions[b"f"].workers
        assert (life.driver.numbered, life.driver.applied_number) == (1, 1)
        life.stop()
        assert live().table.nodes["first-1"].incarnation == 3

    def test_after_a_clean_stop_finds_the_table_in_the_mirror_and_nothing_to_catch_up_with(self, live, tmp_path):
        life = live()
        life.say(submit(b"1"), submit(BIG))
        table = life.stop()
        store = Store.open(tmp_path)
        found = recover(store, "unused", lambda first, last, done: None)
        assert digest(found.table) == table
        assert found.durable.applied == found.log.last_index() == found.durable.base.index
        store.close()

    def test_after_a_crash_reads_the_log_behind_the_mirror(self, live, tmp_path):
        life = live()
        life.say(submit(b"1"))
        life.loop.advance(5)
        life.say(submit(b"2"))
        life.crash()
        store = Store.open(tmp_path)
        found = recover(store, "unused", lambda first, last, done: None)
        assert [job.workload for job in found.table.jobs.values()] == [b"1"]
        assert found.log.last_index() == found.durable.applied + 1
        store.close()

    def test_after_crashes_without_number_is_no_longer_than_after_one(self, live):
        for incarnation in range(1, 8):
            life = live()
            assert life.table.nodes["first-1"].incarnation == incarnation
            life.loop.advance(5)
            assert life.driver._raft.snapshot_meta(life.driver._applied_index).index == life.store.recover().last_index
            life.crash()


class TestUnreadable:
    def test_meta_of_another_format_is_refused_by_its_number(self, tmp_path, monkeypatch):
        store = Store.open(tmp_path)
        with monkeypatch.context() as later:
            later.setattr(recovery, "FORMAT", 7)
            recover(store, "n-1", lambda first, last, done: None)
        with pytest.raises(RecoveryError, match="has format 7, this version reads format 1"):
            recover(store, "n-1", lambda first, last, done: None)
        store.close()

    @pytest.mark.parametrize("meta", [b"\xc1", msgspec.msgpack.encode([1, "n", b"\xc1", b""])])
    def test_nonsense_is_refused_with_the_place_it_was_found(self, tmp_path, meta):
        store = Store.open(tmp_path)
        store.found(1, 1, meta)
        with pytest.raises(RecoveryError, match="cannot recover from .*" + tmp_path.name):
            recover(store, "n-1", lambda first, last, done: None)
        store.close()

    def test_a_table_that_cannot_be_read_is_refused(self, tmp_path):
        store = Store.open(tmp_path)
        first = recovery.bootstrap("n-1")
        store.found(first.index, first.term, encode_meta("n-1", first.configuration, b"\xc1"))
        with pytest.raises(RecoveryError, match="job table"):
            recover(store, "n-1", lambda first, last, done: None)
        store.close()
