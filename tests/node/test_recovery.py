"""What a node starts from: blank, or as its disk has it, whatever it is called by then."""

import msgspec
import pytest

from cluster.formation import Accepted, Founder, Free, Joiner, Proposal, encode_record
from cluster.jobs import Can, NodeUp, SessionOpen, Submit, digest
from cluster.log import HardState
from cluster.raft import DurableState, Raft, RaftConfig, SnapshotMeta, bootstrap
from cluster.storage import Install, Mirror, Piece, SnapshotReader, Store, UnusableSnapshotError
from node import recovery
from node.driver import Driver
from node.errors import RecoveryError
from node.peers import Nobody
from node.recovery import (
    FORMATION,
    INCARNATION,
    Identity,
    Recovery,
    adopt_meta,
    encode_meta,
    found_alone,
    identify,
    load_table,
    resume,
)
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

    def note(self, key, value, done):
        self.store.write_note(key, value)
        self.loop.call_soon(done)

    def mirror(self, mirror: Mirror, done):
        self.store.write_mirror(mirror)
        self.loop.call_soon(done)


def recover(store: Store, new_id: str, fetch) -> Recovery:
    """Read back what a node that keeps to itself goes on from, as a server does."""
    identity = identify(store, new_id)
    if identity.blank:
        found_alone(store, identity)
    return resume(store, fetch)


class Life:
    """A node from its recovery on, over a real store."""

    def __init__(self, directory, new_id: str) -> None:
        self.loop = StillLoop()
        self.store = Store.open(directory)
        self.found: Recovery = recover(self.store, new_id, unread)
        self.sink = Listening()
        self.failures: list[Exception] = []
        self.ready = False
        with self.loop.running():
            self.driver = Driver(
                name=self.found.node,
                incarnation=self.found.incarnation,
                first=NodeUp(b"H:n", -1),
                table=self.found.table,
                mirror_writer=self.found.mirror_writer,
                raft=Raft(RaftConfig(id=self.found.node, randrange=lambda n: 0), self.found.durable),
                disk=StoreDisk(self.loop, self.store),  # type: ignore[arg-type]
                peers=Nobody(),
                loop=self.loop,
                offload=lambda work, done, failed: self.loop.executed.append(work),
                clock=lambda: EPOCH + self.loop.now,
                node_timeout=3.0,
                on_serving=self._serves,
                on_failure=self.failures.append,
            )
        self.table = self.driver.table

    def begin(self) -> "Life":
        self.driver.start(self.sink)
        self.loop.settle()
        self.found.log.release()
        assert self.ready
        return self

    def _serves(self, serving: bool) -> None:  # noqa: FBT001 - as the driver calls it
        self.ready = serving

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


def unread(first, last, done):
    """Take the place of the storage thread's `read`, where nothing is to be read later."""


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


class TestANodeThatLinksToNobody:
    def test_may_work_when_its_group_is_itself(self, tmp_path):
        recovery.check_alone("a-1", ("a-1",), tmp_path)

    def test_is_told_to_have_the_secret_when_there_are_others(self, tmp_path):
        with pytest.raises(RecoveryError, match=r"a group with b-1, c-1, which cannot work alone.*--secret-file"):
            recovery.check_alone("a-1", ("a-1", "b-1", "c-1"), tmp_path)


class TestBlank:
    def test_becomes_a_group_of_one_under_the_new_id(self, tmp_path):
        store = Store.open(tmp_path)
        found = recover(store, "new-1", unread)
        assert (found.node, found.table.audience, found.table.jobs) == ("new-1", "new-1", {})
        assert found.durable.base.configuration.voters == ("new-1",)
        assert found.log.last_index() == found.durable.base.index == found.durable.applied
        store.close()

    def test_is_not_founded_alone_when_it_has_agreed_to_found_a_group_with_others(self, tmp_path):
        store = Store.open(tmp_path)
        identity = identify(store, "b-1")
        store.write_note(FORMATION, encode_record(Accepted(Proposal("p", "a-1", ("a-1", "b-1")))))
        with pytest.raises(RecoveryError, match=f"group with a-1 and has not heard.*delete {tmp_path}"):
            recover(store, "b-1", unread)
        assert not found_alone(store, identity).blank  # as it was when it was identified
        store.close()

    def test_keeps_the_id_it_was_founded_with_even_if_it_never_served(self, tmp_path):
        for new_id in ("first-1", "second-2"):
            store = Store.open(tmp_path)
            assert recover(store, new_id, unread).node == "first-1"
            store.close()


class TestIdentity:
    def test_is_on_disk_before_anybody_hears_of_it_and_stays(self, tmp_path):
        for new_id in ("first-1", "second-2"):
            store = Store.open(tmp_path)
            identity = identify(store, new_id)
            assert (identity.node, identity.record, identity.blank) == ("first-1", Free(), True)
            assert store.note("node") == b"first-1"
            store.close()

    def test_tells_what_was_promised(self, tmp_path):
        store = Store.open(tmp_path)
        promise = Accepted(Proposal("p", "a-1", ("a-1", "b-1")))
        identify(store, "b-1")
        store.write_note(FORMATION, encode_record(promise))
        assert identify(store, "b-2") == Identity("b-1", promise)
        assert identify(store, "b-2").blank
        store.close()

    def test_of_a_database_of_before_there_were_notes_is_in_its_mirror(self, tmp_path):
        store = Store.open(tmp_path)
        first = bootstrap("old-1")
        store.found(first.index, first.term, encode_meta("old-1", first.configuration, b""))
        identity = identify(store, "new-2")
        assert identity.node == "old-1"
        assert identity.record == Founder(identity.record.group, ("old-1",))
        assert identify(store, "new-2") == identity
        assert resume(store, unread).durable.base == first
        store.close()

    def test_that_cannot_be_read_is_refused(self, tmp_path):
        store = Store.open(tmp_path)
        store.write_note(FORMATION, b"\x63")
        with pytest.raises(RecoveryError, match="has version 63, this gearmesh reads version 1"):
            identify(store, "n-1")
        store.close()


class TestAFounder:
    def test_begins_with_all_the_first_members_and_again_after_every_restart(self, tmp_path):
        store = Store.open(tmp_path)
        identify(store, "b-1")
        store.write_note(FORMATION, encode_record(Founder("g", ("a-1", "b-1", "c-1"))))
        store.close()
        for _ in range(2):
            store = Store.open(tmp_path)
            assert identify(store, "b-2").record == Founder("g", ("a-1", "b-1", "c-1"))
            found = resume(store, unread)
            assert found.node == found.table.audience == "b-1"
            assert found.durable.base == bootstrap("a-1", "b-1", "c-1")
            assert (found.durable.applied, found.log.last_index(), found.incarnation) == (1, 1, 0)
            assert Raft(RaftConfig(id="b-1", randrange=lambda n: 0), found.durable).configuration.voters == (
                "a-1",
                "b-1",
                "c-1",
            )
            store.close()

    def test_remembers_its_last_incarnation(self, tmp_path):
        store = Store.open(tmp_path)
        recover(store, "a-1", unread)
        store.write_note(INCARNATION, b"17")
        assert resume(store, unread).incarnation == 17
        store.close()

    def test_with_a_directory_put_together_from_two_is_refused(self, tmp_path):
        store = Store.open(tmp_path)
        recover(store, "a-1", unread)
        store.write_note("node", b"b-1")
        with pytest.raises(RecoveryError, match="is of node a-1, but was noted to be of b-1"):
            resume(store, unread)
        store.close()


class TestAJoiner:
    @pytest.fixture
    def snapshot(self, live):
        """What a node with jobs sends, and the digest of its table."""
        life = live("a-1")
        life.say(submit(b"small"), submit(BIG))
        life.loop.advance(5)
        with life.store.view() as view:
            reader = SnapshotReader(view)
            data, done = reader.read(1 << 24)
            assert done
        return data, Install(reader.index, reader.term), digest(life.table)

    def join(self, directory):
        store = Store.open(directory)
        identify(store, "j-1")
        store.write_note(FORMATION, encode_record(Joiner("g", ("a-1",))))
        return store

    def test_begins_with_nothing_and_again_after_a_restart(self, tmp_path):
        self.join(tmp_path).close()
        for _ in range(2):
            store = Store.open(tmp_path)
            assert identify(store, "j-2") == Identity("j-1", Joiner("g", ("a-1",)))
            found = resume(store, unread)
            assert (found.node, found.table.audience, found.table.jobs) == ("j-1", "j-1", {})
            assert found.durable == DurableState(log=found.log)
            assert found.log.last_index() == 0
            raft = Raft(RaftConfig(id="j-1", randrange=lambda n: 0), found.durable)
            assert raft.configuration.members == ()
            store.append([], HardState(3))  # a term that it has heard of
            store.close()
            store = Store.open(tmp_path)
            assert resume(store, unread).durable.hard_state == HardState(3)
            store.append([], HardState())
            store.close()

    def test_takes_over_the_snapshot_under_its_own_id(self, tmp_path, snapshot):
        data, install, table = snapshot
        store = self.join(tmp_path / "j")
        adopted = msgspec.structs.replace(install, adopt=adopt_meta("j-1"))
        store.write(hard_state=HardState(4, ""), pieces=[Piece(0, data)], install=adopted)
        with store.view() as view:
            loaded = load_table(view, "j-1")
        assert (loaded.index, loaded.term) == (install.index, install.term)
        assert loaded.configuration.voters == ("a-1",)
        assert loaded.table.audience == "j-1"
        store.close()
        store = Store.open(tmp_path / "j")
        assert identify(store, "j-2").node == "j-1"
        found = resume(store, unread)
        assert digest(found.table) == digest(loaded.table) == table
        assert (found.node, found.table.audience) == ("j-1", "j-1")
        assert (found.durable.base.index, found.durable.applied, found.durable.hard_state.term) == (
            install.index,
            install.index,
            4,
        )
        big = next(job.number for job in found.table.jobs.values() if job.workload == BIG)
        for writer in (found.mirror_writer, loaded.mirror_writer):
            written = writer.take(found.table)
            assert (written.segments, written.payloads) == ([], [])
        assert big
        store.close()

    def test_refuses_a_snapshot_whose_meta_it_cannot_read(self, tmp_path, snapshot, monkeypatch):
        data, install, _ = snapshot
        store = self.join(tmp_path / "j")
        monkeypatch.setattr(recovery, "FORMAT", 7)
        with pytest.raises(UnusableSnapshotError, match="the snapshot has format 1, this version reads format 7"):
            store.write(pieces=[Piece(0, data)], install=msgspec.structs.replace(install, adopt=adopt_meta("j-1")))
        assert resume(store, unread).durable.applied == 0
        store.close()

    def test_that_cannot_load_what_was_installed_says_so(self, tmp_path, snapshot):
        data, install, _ = snapshot
        store = self.join(tmp_path / "j")
        store.write(pieces=[Piece(0, data)], install=msgspec.structs.replace(install, adopt=lambda _: b"\xc1"))
        with store.view() as view, pytest.raises(RecoveryError, match="cannot load the snapshot that was installed"):
            load_table(view, "j-1")
        store.close()


class Killed(BaseException):
    """The process is gone."""


class TestKilledBetweenAnyTwoWrites:
    @pytest.mark.parametrize("record", [None, Founder("g", ("a-1", "b-1")), Joiner("g", ("a-1",))])
    def test_goes_on_as_if_it_had_not_been(self, tmp_path, monkeypatch, record):
        """Start again and again, each time with one write more before the end."""

        def start(store):
            identity = identify(store, f"b-{len(lives)}")
            if record is None:
                found_alone(store, identity)
            elif identity.blank:
                store.write_note(FORMATION, encode_record(record))
            return resume(store, unread)

        lives = []
        names = set()
        left = 0

        def limited(write):
            def limit(*arguments):
                nonlocal left
                if not left:
                    raise Killed
                left -= 1
                write(*arguments)

            return limit

        for name in ("write_note", "found"):
            monkeypatch.setattr(Store, name, limited(getattr(Store, name)))
        while True:
            left = 1
            store = Store.open(tmp_path)
            lives.append(store)
            try:
                found = start(store)
            except Killed:
                names.add(store.note("node"))
                store.close()
                continue
            break
        assert names == {b"b-1"}
        assert found.node == "b-1"
        assert len(lives) == (2 if isinstance(record, Joiner) else 3)
        members = ("b-1",) if record is None else record.members
        assert found.durable.base == (SnapshotMeta() if isinstance(record, Joiner) else bootstrap(*members))
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
        found = recover(store, "unused", unread)
        assert digest(found.table) == table
        assert found.durable.applied == found.log.last_index()
        store.close()

    def test_after_a_crash_reads_the_log_behind_the_mirror(self, live, tmp_path):
        life = live()
        life.say(submit(b"1"))
        life.loop.advance(5)
        life.say(submit(b"2"))
        life.crash()
        store = Store.open(tmp_path)
        found = recover(store, "unused", unread)
        assert [job.workload for job in found.table.jobs.values()] == [b"1"]
        assert found.log.last_index() == found.durable.applied + 1
        store.close()

    def test_after_crashes_without_number_is_no_longer_than_after_one(self, live):
        for incarnation in range(1, 8):
            life = live()
            assert life.table.nodes["first-1"].incarnation == incarnation
            for _ in range(3):  # what is before the last mirror but one goes with the next
                life.say(submit(b"1"))
                life.loop.advance(5)
            held = life.store.recover()
            assert held.applied_index == held.last_index
            assert held.last_index - held.first_index < 8
            life.crash()


class TestUnreadable:
    def test_meta_of_another_format_is_refused_by_its_number(self, tmp_path, monkeypatch):
        store = Store.open(tmp_path)
        with monkeypatch.context() as later:
            later.setattr(recovery, "FORMAT", 7)
            recover(store, "n-1", unread)
        with pytest.raises(RecoveryError, match="has format 7, this version reads format 1"):
            recover(store, "n-1", unread)
        store.close()

    @pytest.mark.parametrize("meta", [b"\xc1", msgspec.msgpack.encode([1, "n", b"\xc1", b""])])
    def test_nonsense_is_refused_with_the_place_it_was_found(self, tmp_path, meta):
        store = Store.open(tmp_path)
        store.found(1, 1, meta)
        with pytest.raises(RecoveryError, match="cannot recover from .*" + tmp_path.name):
            recover(store, "n-1", unread)
        store.close()

    def test_a_table_that_cannot_be_read_is_refused(self, tmp_path):
        store = Store.open(tmp_path)
        first = recovery.bootstrap("n-1")
        store.found(first.index, first.term, encode_meta("n-1", first.configuration, b"\xc1"))
        with pytest.raises(RecoveryError, match="job table"):
            recover(store, "n-1", unread)
        store.close()
