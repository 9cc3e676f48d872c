"""A directory, stores that close themselves, and a disk that fails when told to."""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster.log import Entry, EntryKind
from cluster.storage import Mirror, Store


def make_entry(index: int, term: int = 1, data: bytes | None = None) -> Entry:
    return Entry(index, term, EntryKind.COMMANDS, f"{index}/{term}".encode() if data is None else data)


def make_mirror(applied_index: int, **fields: object) -> Mirror:
    defaults: dict[str, object] = {
        "applied_term": 1,
        "meta": b"",
        "segments": [],
        "payloads": [],
        "dropped_payloads": [],
        "compact_to": 0,
    }
    return Mirror(applied_index, **(defaults | fields))  # type: ignore[arg-type]


class FailingConnection(sqlite3.Connection):
    """Raises `failure` for the first statement that starts with `trigger`, and counts what is asked of it later."""

    trigger = ""
    failure: sqlite3.Error = sqlite3.OperationalError()
    statements_after = 0
    failed = False

    @classmethod
    def fail_at(cls, trigger: str, code: int, name: str) -> None:
        cls.trigger = trigger
        cls.failure = sqlite3.OperationalError("injected")
        cls.failure.sqlite_errorcode = code
        cls.failure.sqlite_errorname = name

    def execute(self, sql, parameters=()):
        if type(self).failed:
            type(self).statements_after += 1
        if self.trigger and sql.startswith(self.trigger):
            type(self).failed = True
            raise self.failure
        return super().execute(sql, parameters)


@pytest.fixture
def entry() -> Callable[..., Entry]:
    return make_entry


@pytest.fixture
def mirror() -> Callable[..., Mirror]:
    return make_mirror


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def open_store(directory: Path) -> Iterator[Callable[..., Store]]:
    """Open stores in `directory`; whatever is still open at the end is closed."""
    stores: list[Store] = []

    def opener(**arguments: object) -> Store:
        store = Store.open(directory, **arguments)
        stores.append(store)
        return store

    yield opener
    for store in stores:
        store.close()


@pytest.fixture
def failing_connection() -> type[FailingConnection]:
    """A connection class of its own for each test, so that one test's failure is not another's."""
    return type("Failing", (FailingConnection,), {})
