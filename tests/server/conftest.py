"""Offer servers and connections to every test, and show what a server logged when a test fails."""

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import pytest

from tests.harness import Client, Connection, ServerProcess, Worker, running_servers

_function_numbers = itertools.count(1)

StartServer = Callable[..., ServerProcess]
Connect = Callable[..., Awaitable[Connection]]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the end of every running server's log to the report of a failed test."""
    report = yield
    if report.failed:
        for server in running_servers():
            report.sections.append((f"log of the server on port {server.port}", server.log_tail()))
    return report


@pytest.fixture(scope="session")
def _shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("shared-server")) as server:
        yield server


@pytest.fixture
def server(_shared_server: ServerProcess) -> Iterator[ServerProcess]:
    """Give the server that many tests share; a test on it uses a function name of its own (`function`)."""
    if not _shared_server.running:
        _shared_server.restart()
    started = _shared_server.starts
    yield _shared_server
    assert _shared_server.running, f"the shared server died in this test\n{_shared_server.log_tail()}"
    assert _shared_server.starts == started


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[StartServer]:
    """Start servers of the test's own, each on a directory of its own, and kill them when the test is over."""
    with ExitStack() as running:
        numbers = itertools.count(1)

        def start(*arguments: str, environment: dict[str, str] | None = None) -> ServerProcess:
            directory = tmp_path / f"server-{next(numbers)}"
            return running.enter_context(ServerProcess(directory, *arguments, environment=environment))

        yield start


@pytest.fixture
def function() -> bytes:
    """Name a function that no other test uses."""
    return b"function-%d" % next(_function_numbers)


@pytest.fixture
async def connections() -> AsyncIterator[AsyncExitStack]:
    """Hold what the test has opened, and close it when the test is over."""
    async with AsyncExitStack() as opened:
        yield opened


@pytest.fixture
def connect(server: ServerProcess, connections: AsyncExitStack) -> Callable[..., Awaitable[Connection]]:
    """Open plain connections, to the shared server unless told otherwise."""

    async def connect(to: ServerProcess = server, **options: str) -> Connection:
        return await connections.enter_async_context(await Connection.open(to.port, **options))

    return connect


@pytest.fixture
def new_client(server: ServerProcess, connections: AsyncExitStack) -> Callable[..., Awaitable[Client]]:
    """Connect clients, to the shared server unless told otherwise."""

    async def connect(to: ServerProcess = server) -> Client:
        return await connections.enter_async_context(await Client.open(to.port))

    return connect


@pytest.fixture
def new_worker(server: ServerProcess, connections: AsyncExitStack) -> Callable[..., Awaitable[Worker]]:
    """Connect workers for the functions given, to the shared server unless told otherwise."""

    async def connect(*functions: bytes, to: ServerProcess = server, timeout_ms: int | None = None) -> Worker:
        worker = await connections.enter_async_context(await Worker.open(to.port))
        await worker.can_do(*functions, timeout_ms=timeout_ms)
        return worker

    return connect


@pytest.fixture
async def client(new_client: Callable[..., Awaitable[Client]]) -> Client:
    """Give a client connected to the shared server."""
    return await new_client()


@pytest.fixture
async def worker(new_worker: Callable[..., Awaitable[Worker]], function: bytes) -> Worker:
    """Give a worker for `function` connected to the shared server."""
    return await new_worker(function)
