"""The thread that owns a store: order, grouping, the end, and the first failure."""

import asyncio
import queue
import sqlite3
import threading

import pytest
import structlog

from cluster.log import HardState
from cluster.storage import (
    DiskFailureError,
    DiskFullError,
    Install,
    MisuseError,
    Piece,
    StorageError,
    StorageThread,
    Store,
    UnusableSnapshotError,
)
from cluster.storage import thread as module
from cluster.storage.stream import Header, encode

PATIENCE = 20.0


class Receiver:
    """Stands for the event loop: runs what is delivered, in the test's thread, when it is told to."""

    def __init__(self):
        self.deliveries = queue.SimpleQueue()
        self.events = []
        self.failures = []
        self.delivered = 0

    def note(self, event):
        return lambda: self.events.append(event)

    def wait_for(self, count):
        while len(self.events) + len(self.failures) < count:
            self.deliveries.get(timeout=PATIENCE)()
            self.delivered += 1

    def take_what_is_there(self):
        while not self.deliveries.empty():
            self.deliveries.get()()
            self.delivered += 1


class HeldConnection(sqlite3.Connection):
    """Waits before a statement that starts with `trigger` until it is let go, and keeps the order of all statements."""

    trigger = ""

    def execute(self, sql, parameters=()):
        self.statements.append(sql)
        if self.trigger and sql.startswith(self.trigger):
            self.reached.set()
            assert self.go.wait(PATIENCE)
        return super().execute(sql, parameters)


@pytest.fixture
def held_connection():
    return type("Held", (HeldConnection,), {"reached": threading.Event(), "go": threading.Event(), "statements": []})


@pytest.fixture
def receiver():
    return Receiver()


@pytest.fixture
def start(directory, receiver):
    threads = []

    def starter(connection=sqlite3.Connection):
        thread = StorageThread(
            Store.open(directory, connection=connection), receiver.deliveries.put, receiver.failures.append
        )
        thread.start()
        threads.append(thread)
        return thread

    yield starter
    for thread in threads:
        thread.close()


class TestAnAppend:
    def test_is_acknowledged_when_it_is_on_disk(self, start, receiver, entry, open_store):
        thread = start()
        thread.append([entry(1)], HardState(1, "a"), receiver.note("done"))
        receiver.wait_for(1)
        thread.close()
        store = open_store()
        assert receiver.events == ["done"]
        assert (list(store.read_entries(1, 1)), store.recover().hard_state) == ([entry(1)], HardState(1, "a"))

    def test_is_not_acknowledged_before(self, start, receiver, entry, held_connection):
        thread = start(held_connection)
        held_connection.trigger = "INSERT INTO log"
        thread.append([entry(1)], None, receiver.note("done"))
        assert held_connection.reached.wait(PATIENCE)
        assert receiver.deliveries.empty()
        held_connection.go.set()
        receiver.wait_for(1)
        assert receiver.events == ["done"]

    def test_wakes_a_real_event_loop(self, directory, entry):
        async def main():
            loop = asyncio.get_running_loop()
            done = loop.create_future()
            thread = StorageThread(Store.open(directory), loop.call_soon_threadsafe, done.set_exception)
            thread.start()
            thread.append([entry(1)], None, lambda: done.set_result("durable"))
            result = await asyncio.wait_for(done, PATIENCE)
            thread.close()
            return result

        assert asyncio.run(main()) == "durable"

    def test_is_acknowledged_in_order_and_in_one_delivery_with_those_that_waited(
        self, start, receiver, entry, held_connection
    ):
        thread = start(held_connection)
        held_connection.trigger = "INSERT INTO log"
        thread.append([entry(1)], None, receiver.note(1))
        assert held_connection.reached.wait(PATIENCE)
        for index in range(2, 51):
            thread.append([entry(index)], None, receiver.note(index))
        held_connection.statements.clear()
        held_connection.go.set()
        receiver.wait_for(50)
        assert receiver.events == list(range(1, 51))
        assert receiver.delivered == 2
        assert sum(sql.startswith("INSERT INTO log") for sql in held_connection.statements) == 1

    def test_that_replaces_what_waits_beside_it_leaves_only_its_own(
        self, start, receiver, entry, held_connection, open_store
    ):
        thread = start(held_connection)
        held_connection.trigger = "INSERT INTO log"
        thread.append([entry(1)], None, receiver.note(1))
        assert held_connection.reached.wait(PATIENCE)
        thread.append([entry(2), entry(3), entry(4)], HardState(1, "a"), receiver.note(2))
        thread.append([entry(3, term=2)], HardState(2, "b"), receiver.note(3))
        thread.append([], None, receiver.note(4))
        thread.append([entry(4, term=2), entry(5, term=2)], None, receiver.note(5))
        thread.append([entry(1, term=3)], None, receiver.note(6))
        thread.append([entry(2, term=3)], None, receiver.note(7))
        held_connection.go.set()
        receiver.wait_for(7)
        thread.close()
        store = open_store()
        assert list(store.read_entries(1, 2)) == [entry(1, term=3), entry(2, term=3)]
        assert (store.recover().last_index, store.recover().hard_state) == (2, HardState(2, "b"))

    def test_of_much_data_does_not_make_the_first_wait_for_all(self, start, receiver, entry, held_connection):
        thread = start(held_connection)
        held_connection.trigger = "INSERT INTO log"
        thread.append([entry(1)], None, receiver.note(1))
        assert held_connection.reached.wait(PATIENCE)
        for index in range(2, 12):
            thread.append([entry(index, data=bytes(2 << 20))], None, receiver.note(index))
        held_connection.go.set()
        receiver.wait_for(11)
        assert receiver.events == list(range(1, 12))
        assert receiver.delivered == 4


class TestAMirror:
    def test_is_acknowledged_when_it_is_on_disk(self, start, receiver, entry, mirror, open_store):
        thread = start()
        thread.append([entry(1)], None, receiver.note("append"))
        thread.mirror(mirror(1, meta=b"m", segments=[(1, b"s")], compact_to=1), receiver.note("mirror"))
        receiver.wait_for(2)
        thread.close()
        store = open_store()
        assert receiver.events == ["append", "mirror"]
        assert (store.recover().meta, store.recover().first_index) == (b"m", 2)

    def test_lets_every_waiting_append_go_first(self, start, receiver, entry, mirror, held_connection):
        thread = start(held_connection)
        held_connection.trigger = "INSERT INTO log"
        thread.append([entry(1)], None, receiver.note(1))
        assert held_connection.reached.wait(PATIENCE)
        thread.mirror(mirror(1), receiver.note("mirror"))
        thread.append([entry(2)], None, receiver.note(2))
        held_connection.go.set()
        receiver.wait_for(3)
        assert receiver.events == [1, 2, "mirror"]

    def test_with_many_payload_bytes_lets_appends_in_between(self, start, receiver, entry, mirror, held_connection):
        thread = start(held_connection)
        thread.append([entry(1)], None, receiver.note(1))
        receiver.wait_for(1)
        held_connection.trigger = "INSERT OR REPLACE INTO payloads"
        payloads = [(number, bytes([number]) * (1 << 20)) for number in range(12)]
        thread.mirror(mirror(1, payloads=payloads), receiver.note("mirror"))
        assert held_connection.reached.wait(PATIENCE)
        thread.append([entry(2)], None, receiver.note(2))
        held_connection.go.set()
        receiver.wait_for(3)
        thread.close()
        assert receiver.events == [1, 2, "mirror"]

    def test_with_many_payload_bytes_is_complete(self, start, receiver, entry, mirror, open_store):
        payloads = [(number, bytes([number]) * (1 << 20)) for number in range(12)]
        thread = start()
        thread.append([entry(1)], None, receiver.note(1))
        thread.mirror(mirror(1, payloads=payloads), receiver.note("mirror"))
        thread.close()
        assert list(open_store().read_payloads()) == payloads

    def test_with_many_new_segments_lets_appends_in_between_and_is_complete(
        self, start, receiver, entry, mirror, held_connection, open_store
    ):
        thread = start(held_connection)
        thread.append([entry(1), entry(2)], None, receiver.note(1))
        thread.mirror(mirror(1, segments=[(3, b"old")]), receiver.note("mirror"))
        receiver.wait_for(2)
        held_connection.trigger = "INSERT OR REPLACE INTO segments"
        segments = [(number, bytes([number]) * (1 << 20)) for number in range(12)]
        thread.mirror(mirror(2, segments=segments), receiver.note("another mirror"))
        assert held_connection.reached.wait(PATIENCE)
        thread.append([entry(3)], None, receiver.note(3))
        held_connection.go.set()
        receiver.wait_for(4)
        thread.close()
        assert receiver.events == [1, "mirror", 3, "another mirror"]
        assert list(open_store().read_segments()) == segments

    def test_is_followed_by_deleting_what_it_compacted(self, start, receiver, entry, mirror, held_connection):
        thread = start(held_connection)
        thread.append([entry(1)], None, receiver.note(1))
        held_connection.trigger = "DELETE FROM log"
        held_connection.go.set()
        thread.mirror(mirror(1, compact_to=1), receiver.note("mirror"))
        assert held_connection.reached.wait(PATIENCE)
        receiver.wait_for(2)
        assert receiver.events == [1, "mirror"]


class TestUpkeep:
    """It is done in quiet moments: two appends that follow each other closely have none between them."""

    def test_is_not_begun_between_appends_that_follow_each_other(
        self, start, receiver, entry, mirror, held_connection, monkeypatch
    ):
        monkeypatch.setattr(module, "QUIET_SECONDS", 10 * PATIENCE)
        thread = start(held_connection)
        thread.append([entry(1), entry(2)], None, receiver.note(2))
        thread.mirror(mirror(1, compact_to=1), receiver.note("mirror"))
        receiver.wait_for(2)
        for index in range(3, 10):
            thread.append([entry(index)], None, receiver.note(index))
            receiver.wait_for(index)
        thread.close()
        assert receiver.events == [2, "mirror", *range(3, 10)]
        assert not [sql for sql in held_connection.statements if sql.startswith("DELETE FROM log")]

    def test_goes_on_until_it_is_done_once_it_is_quiet(self, start, receiver, entry, mirror, held_connection):
        held_connection.trigger = "PRAGMA freelist_count"  # the last look, after the last row has gone
        thread = start(held_connection)
        assert held_connection.reached.wait(PATIENCE)  # there was nothing to do at the start
        held_connection.reached.clear()
        held_connection.go.set()
        for index in range(1, 15):  # so few bytes that no step of vacuuming is due before
            thread.append([entry(index, data=bytes(1 << 20))], None, receiver.note(index))
        receiver.wait_for(14)
        thread.mirror(mirror(14, compact_to=14), receiver.note("mirror"))
        assert held_connection.reached.wait(PATIENCE)
        thread.close()
        assert len([sql for sql in held_connection.statements if sql.startswith("DELETE FROM log")]) > 2


class TestAWrite:
    STREAM = b"".join(encode(Header(9, 4, b"sent"), [(1, b"sent")], []))

    def test_without_pieces_is_an_append_and_joins_those_that_wait(self, start, receiver, entry, held_connection):
        thread = start(held_connection)
        held_connection.trigger = "INSERT INTO log"
        thread.append([entry(1)], None, receiver.note(1))
        assert held_connection.reached.wait(PATIENCE)
        held_connection.statements.clear()
        for index in range(2, 10):
            thread.write([entry(index)], None, (), None, receiver.note(index))
        held_connection.go.set()
        receiver.wait_for(9)
        assert receiver.events == list(range(1, 10))
        assert sum(sql.startswith("INSERT INTO log") for sql in held_connection.statements) == 1

    def test_is_one_transaction_of_all_its_parts(self, start, receiver, entry, held_connection, open_store):
        thread = start(held_connection)
        held_connection.statements.clear()
        thread.write([entry(10)], HardState(4, "a"), [Piece(0, self.STREAM)], Install(9, 4), receiver.note("done"))
        receiver.wait_for(1)
        thread.close()
        assert sum(sql.startswith("COMMIT") for sql in held_connection.statements) == 1
        store = open_store()
        recovered = store.recover()
        assert (recovered.hard_state, recovered.meta, recovered.applied_index) == (HardState(4, "a"), b"sent", 9)
        assert list(store.read_entries(10, 10)) == [entry(10)]

    def test_is_in_order_with_appends_and_mirrors_on_both_sides(
        self, start, receiver, entry, mirror, held_connection, open_store
    ):
        thread = start(held_connection)
        held_connection.trigger = "INSERT INTO log"
        thread.append([entry(1)], None, receiver.note("append before"))
        assert held_connection.reached.wait(PATIENCE)
        thread.mirror(mirror(1, meta=b"before", segments=[(5, b"before")]), receiver.note("mirror before"))
        thread.append([entry(2)], None, receiver.note("append between"))
        thread.write([], None, [Piece(0, self.STREAM)], None, receiver.note("pieces"))
        thread.write([], None, [], Install(9, 4), receiver.note("install"))
        thread.append([entry(10, term=4)], None, receiver.note("append after"))
        thread.mirror(mirror(10, applied_term=4, meta=b"after", compact_to=9), receiver.note("mirror after"))
        held_connection.go.set()
        thread.close()
        receiver.take_what_is_there()
        assert receiver.failures == []
        assert receiver.events == [
            "append before",
            "append between",
            "mirror before",
            "pieces",
            "install",
            "append after",
            "mirror after",
        ]
        store = open_store()
        assert (store.recover().meta, list(store.read_segments())) == (b"after", [(1, b"sent")])

    def test_waits_for_a_mirror_whose_payloads_are_still_being_written(
        self, start, receiver, entry, mirror, held_connection
    ):
        thread = start(held_connection)
        thread.append([entry(1)], None, receiver.note("append"))
        receiver.wait_for(1)
        held_connection.trigger = "INSERT OR REPLACE INTO payloads"
        thread.mirror(mirror(1, payloads=[(n, bytes(1 << 20)) for n in range(12)]), receiver.note("mirror"))
        assert held_connection.reached.wait(PATIENCE)
        thread.write([], None, [Piece(0, self.STREAM)], Install(9, 4), receiver.note("install"))
        thread.append([entry(10)], None, receiver.note("append after"))
        held_connection.go.set()
        receiver.wait_for(4)
        assert receiver.events == ["append", "mirror", "install", "append after"]

    def test_with_a_snapshot_of_no_use_stops_the_thread_and_leaves_the_store(self, start, receiver, entry, open_store):
        thread = start()
        thread.append([entry(1)], None, receiver.note("append"))
        thread.write([], HardState(7, "a"), [Piece(0, b"no snapshot")], Install(9, 4), receiver.note("install"))
        thread.append([entry(2)], None, receiver.note("after"))
        receiver.wait_for(2)
        thread.close()
        receiver.take_what_is_there()
        assert receiver.events == ["append"]
        assert [type(failure) for failure in receiver.failures] == [UnusableSnapshotError]
        recovered = open_store().recover()
        assert (recovered.last_index, recovered.hard_state) == (1, HardState())


class TestAViewFromTheThread:
    def test_shows_what_was_installed(self, start, receiver):
        thread = start()
        stream = b"".join(encode(Header(9, 4, b"sent"), [(1, b"s")], [(2, b"p")]))
        thread.write([], None, [Piece(0, stream)], Install(9, 4), receiver.note("install"))
        receiver.wait_for(1)
        with thread.view() as view:
            assert (view.applied_index, view.meta) == (9, b"sent")
            assert (list(view.segments()), list(view.payloads())) == ([(1, b"s")], [(2, b"p")])

    def test_does_not_outlive_it(self, start):
        thread = start()
        view = thread.view()
        thread.close()
        assert view.closed


class TestClosing:
    def test_finishes_everything_that_was_handed_over(self, start, receiver, entry, mirror, open_store):
        thread = start()
        for index in range(1, 101):
            thread.append([entry(index)], None, receiver.note(index))
        for index in (10, 20):
            thread.mirror(mirror(index, meta=str(index).encode()), receiver.note("mirror"))
        thread.close()
        receiver.take_what_is_there()
        assert receiver.events[-2:] == ["mirror", "mirror"]
        assert len(receiver.events) == 102
        store = open_store()
        assert (store.recover().last_index, store.recover().meta) == (100, b"20")

    def test_releases_the_directory(self, start, open_store):
        start().close()
        assert open_store().recover().last_index == 0

    def test_may_be_done_twice(self, start, receiver):
        thread = start()
        thread.close()
        thread.close()
        assert receiver.failures == []

    def test_may_come_before_the_start(self, directory, receiver, open_store):
        StorageThread(Store.open(directory), receiver.deliveries.put, receiver.failures.append).close()
        assert open_store().recover().last_index == 0


class TestTheFirstFailure:
    @pytest.mark.parametrize(
        ("code", "error"),
        [(sqlite3.SQLITE_IOERR_FSYNC, DiskFailureError), (sqlite3.SQLITE_IOERR_WRITE, DiskFailureError)],
    )
    def test_is_delivered_once_and_nothing_is_acknowledged_any_more(
        self, start, receiver, entry, mirror, failing_connection, code, error
    ):
        thread = start(failing_connection)
        thread.append([entry(1)], None, receiver.note(1))
        receiver.wait_for(1)
        failing_connection.fail_at("INSERT INTO log", code, "injected")
        for index in range(2, 10):
            thread.append([entry(index)], None, receiver.note(index))
        thread.mirror(mirror(1), receiver.note("mirror"))
        receiver.wait_for(2)
        thread.append([entry(2)], None, receiver.note("after"))
        thread.mirror(mirror(1), receiver.note("after"))
        thread.close()
        receiver.take_what_is_there()
        assert receiver.events == [1]
        assert [type(failure) for failure in receiver.failures] == [error]
        assert failing_connection.statements_after == 0

    def test_may_come_from_a_mirror(self, start, receiver, entry, mirror, failing_connection):
        thread = start(failing_connection)
        failing_connection.fail_at("UPDATE mirror", sqlite3.SQLITE_IOERR_WRITE, "SQLITE_IOERR_WRITE")
        thread.append([entry(1)], None, receiver.note(1))
        thread.mirror(mirror(1), receiver.note("mirror"))
        thread.close()
        receiver.take_what_is_there()
        assert (receiver.events, len(receiver.failures)) == ([1], 1)

    def test_may_come_from_upkeep(self, start, receiver, entry, failing_connection):
        thread = start(failing_connection)
        failing_connection.fail_at("PRAGMA wal_checkpoint", sqlite3.SQLITE_IOERR_FSYNC, "SQLITE_IOERR_FSYNC")
        thread.append([entry(1, data=bytes(5 << 20))], None, receiver.note(1))
        receiver.wait_for(2)
        assert receiver.events == [1]
        assert isinstance(receiver.failures[0], DiskFailureError)

    def test_may_be_the_callers(self, start, receiver, entry, open_store):
        thread = start()
        thread.append([entry(7)], None, receiver.note(7))
        receiver.wait_for(1)
        thread.close()
        assert isinstance(receiver.failures[0], MisuseError)
        assert open_store().recover().last_index == 0

    def test_may_be_no_error_of_storage_at_all(self, start, receiver):
        thread = start()
        thread.append([object()], None, receiver.note(1))
        receiver.wait_for(1)
        assert receiver.events == []
        assert isinstance(receiver.failures[0], StorageError)
        assert isinstance(receiver.failures[0].__cause__, AttributeError)

    def test_lets_go_of_the_directory(self, start, receiver, entry, failing_connection, open_store):
        thread = start(failing_connection)
        failing_connection.fail_at("INSERT INTO log", sqlite3.SQLITE_IOERR_FSYNC, "SQLITE_IOERR_FSYNC")
        thread.append([entry(1)], None, receiver.note(1))
        receiver.wait_for(1)
        thread.close()
        assert open_store().recover().last_index == 0


class TestAFullDisk:
    @pytest.fixture(autouse=True)
    def _looks_often(self, monkeypatch):
        monkeypatch.setattr(module, "ROOM_CHECK", 0.01)

    @pytest.mark.parametrize("trigger", ["INSERT INTO log", "UPDATE mirror", "INSERT OR REPLACE INTO notes"])
    def test_is_waited_for_and_everything_is_done_in_order_when_there_is_room(
        self, start, receiver, entry, mirror, failing_connection, open_store, trigger
    ):
        thread = start(failing_connection)
        failing_connection.fail_at(trigger, sqlite3.SQLITE_FULL, "SQLITE_FULL")
        thread.append([entry(1)], None, receiver.note(1))
        thread.mirror(mirror(1, meta=b"m"), receiver.note("mirror"))
        thread.note("key", b"value", receiver.note("note"))
        thread.append([entry(2)], None, receiver.note(2))
        while failing_connection.statements_after < 5:
            threading.Event().wait(0.01)
        failing_connection.fail_at("", 0, "")
        receiver.wait_for(4)
        assert set(receiver.events) == {1, 2, "mirror", "note"}
        assert receiver.events.index(1) < receiver.events.index(2)
        assert receiver.failures == []
        thread.close()
        store = open_store()
        assert list(store.read_entries(2, 2)) == [entry(2)]
        assert (store.recover().meta, store.note("key")) == (b"m", b"value")

    def test_is_not_waited_for_by_upkeep_while_appends_find_room(self, start, receiver, entry, failing_connection):
        thread = start(failing_connection)
        failing_connection.fail_at("PRAGMA wal_checkpoint", sqlite3.SQLITE_FULL, "SQLITE_FULL")
        for index in range(1, 4):
            thread.append([entry(index, data=bytes(5 << 20))], None, receiver.note(index))
        receiver.wait_for(3)
        assert receiver.events == [1, 2, 3]
        assert failing_connection.failed
        failing_connection.fail_at("", 0, "")

    def test_is_not_waited_for_by_who_closes(self, start, receiver, entry, failing_connection, open_store):
        thread = start(failing_connection)
        failing_connection.fail_at("INSERT INTO log", sqlite3.SQLITE_FULL, "SQLITE_FULL")
        thread.append([entry(1)], None, receiver.note(1))
        while not failing_connection.failed:
            threading.Event().wait(0.01)
        thread.close()
        receiver.take_what_is_there()
        assert receiver.events == []
        assert [type(failure) for failure in receiver.failures] == [DiskFullError]
        assert open_store().recover().last_index == 0

    def test_is_said_once_and_so_is_its_end(self, start, receiver, entry, failing_connection):
        thread = start(failing_connection)
        with structlog.testing.capture_logs() as logs:
            failing_connection.fail_at("INSERT INTO log", sqlite3.SQLITE_FULL, "SQLITE_FULL")
            thread.append([entry(1)], None, receiver.note(1))
            while failing_connection.statements_after < 5:
                threading.Event().wait(0.01)
            failing_connection.fail_at("", 0, "")
            receiver.wait_for(1)
            thread.close()
        assert [(log["log_level"], log["event"]) for log in logs] == [
            ("warning", "disk_full"),
            ("info", "disk_has_room"),
        ]
        assert "Make room" in logs[0]["why"]


class TestFreePages:
    def test_are_all_given_back_to_a_file_system_that_is_short_of_space(
        self, start, receiver, entry, mirror, directory
    ):
        thread = start()
        payloads = [(number, bytes(1 << 20)) for number in range(40)]
        thread.append([entry(1), entry(2)], None, receiver.note(1))
        thread.mirror(mirror(1, payloads=payloads), receiver.note(2))
        thread.mirror(mirror(2, dropped_payloads=[number for number, _ in payloads]), receiver.note(3))
        receiver.wait_for(3)
        assert (directory / "node.db").stat().st_size > 30 << 20
        thread.keep_free_pages(keep=False)
        while (directory / "node.db").stat().st_size > 8 << 20:
            threading.Event().wait(0.01)
        thread.keep_free_pages(keep=True)
        thread.close()
