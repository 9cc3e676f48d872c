"""Offer clusters of real processes to the tests, and show what their nodes logged when a test fails.

Tests marked `namespaces` put each node on a host of its own, which needs root, iproute2 and nftables. For other users
they are deselected, and the run says so; root must be able to run them: there they fail where it cannot be done.
"""

import itertools
import os
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import pytest

from tests.harness import Client, Connection, Worker
from tests.harness.cluster import Cluster, Node
from tests.harness.cluster_hosts import Segment

LOG_LINES = 30

_clusters: "weakref.WeakSet[Cluster]" = weakref.WeakSet()
_function_numbers = itertools.count(1)

NewCluster = Callable[..., Awaitable[Cluster]]
ClientOn = Callable[[Node], Awaitable[Client]]
WorkerOn = Callable[..., Awaitable[Worker]]
ConnectTo = Callable[[Node], Awaitable[Connection]]


def pytest_configure(config: pytest.Config) -> None:
    """Name the marker."""
    config.addinivalue_line("markers", "namespaces: needs network namespaces, which are root's; deselected for others")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what only root can do."""
    if os.geteuid() == 0:
        return
    left_out = [item for item in items if item.get_closest_marker("namespaces")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("namespaces")]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the end of every node's log to the report of a failed test."""
    report = yield
    if report.failed:
        for cluster in list(_clusters):
            for node in cluster.nodes:
                report.sections.append((f"log of {node.name} of {cluster.directory}", node.log_tail(LOG_LINES)))
    return report


@pytest.fixture(scope="session")
def _whole_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("whole-cluster")) as cluster:
        for node in cluster.nodes:
            node.spawn()
        for node in cluster.nodes:
            node.wait_until_it_answers(60.0)
        _clusters.add(cluster)
        yield cluster


@pytest.fixture
def cluster(_whole_cluster: Cluster) -> Iterator[Cluster]:
    """Give the three nodes that many tests share and no test harms; a test uses a function name of its own."""
    starts = [node.starts for node in _whole_cluster.nodes]
    yield _whole_cluster
    assert all(node.running for node in _whole_cluster.nodes), "a shared node died in this test"
    assert starts == [node.starts for node in _whole_cluster.nodes]


@pytest.fixture(scope="session")
def _battered_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("battered-cluster")) as cluster:
        _clusters.add(cluster)
        yield cluster


@pytest.fixture
async def battered(_battered_cluster: Cluster) -> Cluster:
    """Give three nodes that a test may kill and stall: they are all there, and agree, when it begins."""
    await _battered_cluster.start()
    await _battered_cluster.settles()
    return _battered_cluster


@pytest.fixture
async def new_cluster(tmp_path: Path) -> AsyncIterator[NewCluster]:
    """Start clusters of the test's own, and kill their nodes when it is over."""
    with ExitStack() as running:
        numbers = itertools.count(1)

        async def start(size: int = 3, *, wait: bool = True, **options: object) -> Cluster:
            cluster = Cluster(tmp_path / f"cluster-{next(numbers)}", size, **options)  # type: ignore[arg-type]
            running.enter_context(cluster)
            _clusters.add(cluster)
            if wait:
                await cluster.start()
                await cluster.settles()
            else:
                for node in cluster.nodes:
                    node.spawn()
            return cluster

        yield start


@pytest.fixture
def segment() -> Iterator[Segment]:
    """Give an Ethernet segment that gets a host for every node put on it."""
    with Segment() as segment:
        yield segment


@pytest.fixture
def function() -> bytes:
    """Name a function that no other test uses."""
    return b"function-%d-%d" % (os.getpid(), next(_function_numbers))


@pytest.fixture
async def connections() -> AsyncIterator[AsyncExitStack]:
    """Hold what the test has opened, and close it when the test is over."""
    async with AsyncExitStack() as opened:
        yield opened


@pytest.fixture
def connect(connections: AsyncExitStack) -> ConnectTo:
    """Open plain connections to a node."""

    async def connect(node: Node) -> Connection:
        return await connections.enter_async_context(await node.connect())

    return connect


@pytest.fixture
def client_on(connections: AsyncExitStack) -> ClientOn:
    """Connect clients to a node."""

    async def connect(node: Node) -> Client:
        return await connections.enter_async_context(await node.client())

    return connect


@pytest.fixture
def worker_on(connections: AsyncExitStack) -> WorkerOn:
    """Connect workers for the functions given to a node."""

    async def connect(node: Node, *functions: bytes, timeout_ms: int | None = None) -> Worker:
        return await connections.enter_async_context(await node.worker(*functions, timeout_ms=timeout_ms))

    return connect
