"""A node whose file descriptors are used up by clients is still a node of its cluster, and can be watched."""

import contextlib
import socket

import pytest

from tests.harness import procfs
from tests.harness.cluster import Node
from tests.harness.conditions import eventually

LIMIT = 128
RESERVED = 32


def connects(node: Node) -> socket.socket | None:
    """Open an idle connection; None: it was closed at once."""
    peer = socket.create_connection((node.host, node.port), 5)
    peer.sendall(b"version\n")
    try:
        if peer.recv(100):
            return peer
    except OSError:
        pass
    peer.close()
    return None


@pytest.mark.timeout(120)
async def test_that_are_used_up_by_clients_are_left_for_peers_and_for_the_site(new_cluster):
    cluster = await new_cluster(arguments=("--file-descriptors", str(LIMIT)))
    full, returning, _ = cluster.nodes
    with contextlib.ExitStack() as idle:
        refused = 0
        for _ in range(LIMIT):
            peer = connects(full)
            if peer is not None:
                idle.enter_context(peer)
            else:
                refused += 1
        assert refused > RESERVED
        assert LIMIT - RESERVED <= procfs.open_descriptors(full.pid) <= LIMIT - RESERVED + 8
        assert (await full.get("/readyz")).status == 200
        returning.kill()
        returning.spawn()
        await returning.serves()
        await cluster.settles()
        assert (await full.get("/readyz")).status == 200
        (said,) = full.events("connections_refused")
        assert (said["level"], said["limit"], said["reserved"]) == ("warning", LIMIT, RESERVED)

    async def lets_clients_in() -> bool:
        peer = connects(full)
        if peer is not None:
            peer.close()
        return peer is not None

    await eventually(lets_clients_in)
    assert len(full.events("connections_refused")) == 1


@pytest.mark.timeout(120)
async def test_of_a_burst_of_clients_are_not_taken_before_it_is_seen_how_many_there_are(new_cluster):
    """While a node is frozen, clients gather at its port: more than it has files."""
    cluster = await new_cluster(arguments=("--file-descriptors", str(LIMIT)))
    full, returning, _ = cluster.nodes
    with contextlib.ExitStack() as idle:
        full.stall()
        for _ in range(2 * LIMIT):
            idle.enter_context(socket.create_connection((full.host, full.port), 5))
        full.resume()

        async def refuses() -> bool:
            return "connections_refused" in full.log()

        await eventually(refuses)
        returning.kill()
        returning.spawn()
        await returning.serves()
        await cluster.settles()
        assert procfs.open_descriptors(full.pid) <= LIMIT - RESERVED + 8
