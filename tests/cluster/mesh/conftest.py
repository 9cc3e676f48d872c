import asyncio
import functools
import gc

import pytest
import structlog
import uvloop

from cluster.mesh import mesh
from tests.cluster.mesh.nodes import Nodes


def pytest_asyncio_loop_factories():
    """Test with the loop that nodes use, and with the one whose transports are the measure."""
    return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}


_stretch = functools.cache(mesh.stretch)


@pytest.fixture(autouse=True)
def quick_secrets(monkeypatch):
    """Stretch each secret once: it takes long, which is what it is for."""
    monkeypatch.setattr(mesh, "stretch", _stretch)


@pytest.fixture
async def nodes():
    """Start nodes; at the end they are closed, and nothing of them is left: no task, no warning."""
    nodes = Nodes()
    yield nodes
    await nodes.close()
    for _ in range(3):
        await asyncio.sleep(0)
    # A connection that nobody closed warns when it is collected, and warnings are errors.
    gc.collect(1)
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.fixture
def logs():
    with structlog.testing.capture_logs() as lines:
        yield lines
