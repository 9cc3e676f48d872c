"""Nodes for tests: a mesh on a port of the system's choice that writes down what it is told."""

import asyncio
import contextlib
import random
import socket

import msgspec

from cluster.mesh import Introduction, Lane, Limits, Mesh, Timing
from cluster.mesh.errors import ClosedError

SECRET = b"open sesame"
PATIENCE = 20.0
"""Seconds after which a test that waits for something fails."""

QUICK = Timing(first_delay=0.02, longest_delay=0.1, refusal=0.3, linger=0.3, penalty=0.0)


DEFAULT = Limits()


def bound(port=0):
    """Bind a socket, to a port of the system's choice unless there is another."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    return listener


class Node:
    """A mesh and everything it has told, in order."""

    def __init__(self, name, *, instance=None, cluster="tests", secret=SECRET, port=0, listener=None, **settings):
        self.listener = listener or bound(port)
        self.id = name
        self.port = self.listener.getsockname()[1]
        self.told = []
        self.got = []
        self.proofs = []
        self.goodbyes = 0
        self.doubts = []
        self.on_up = lambda peer: None
        self.on_received = lambda node, lane, data: None
        self._changed = asyncio.Event()
        introduction = Introduction(
            node=name,
            name=f"{name}-name",
            cluster=cluster,
            port=self.port,
            instance=instance or f"{name}-1",
            version="0.0",
        )
        settings = {"timing": QUICK, "chance": random.Random(1), **settings}
        self.mesh = Mesh(introduction, self, secret=secret, **settings)

    # events

    def link_up(self, peer):
        self._tell("up", peer.introduction.node)
        self.on_up(peer)

    def link_down(self, node):
        self._tell("down", node)

    def ended(self, node, instance, *, goodbye):
        self.proofs.append((node, instance))
        self.goodbyes += goodbye
        self._tell("ended", node)

    def unreachable(self, node):
        self.doubts.append(node)
        self._changed.set()

    def received(self, node, lane, data):
        self.got.append((node, lane, data))
        self._changed.set()
        self.on_received(node, lane, data)

    def _tell(self, *event):
        self.told.append(event)
        self._changed.set()

    # what tests do

    async def start(self):
        await self.mesh.start(self.listener)
        return self

    def dial(self, other):
        self.mesh.dial("127.0.0.1", other.port)

    async def until(self, condition):
        """Wait until something that this node's events tell of is true."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def linked(self, *others):
        await self.until(lambda: all(other.id in self.mesh.peers for other in others))

    async def told_of(self, *event):
        await self.until(lambda: event in self.told)

    async def told_times(self, count, *event):
        await self.until(lambda: self.told.count(event) >= count)

    async def has_got(self, count):
        await self.until(lambda: len(self.got) >= count)

    async def watches(self, node):
        """Wait until there is a link with a node, and a liveness connection beside it."""
        await self.told_of("up", node)
        await eventually(lambda: self.mesh._processes._linked[node].connection is not None)

    def watched(self, other):
        """Give the liveness connection beside the link to another node; None: there is none yet."""
        return self.mesh._processes._linked[other.id].connection

    def link(self, other):
        """Give the link to another node, for tests that break it."""
        return self.mesh._links[other.id]

    def break_link(self, other):
        """Cut the connection as a fault of the network would: both ends learn of it by a reset."""
        self.link(other).connection.abort()

    async def die(self):
        """End as a killed process does: the host closes its sockets in good order, and it says nothing."""
        self.mesh._closing = True
        for process in self.mesh._processes._linked.values():
            if process.connection is not None:
                process.connection._transport.abort()
        self.mesh._reception.stop()
        for link in tuple(self.mesh._links.values()):
            link.connection.abort()
        await self.mesh._dialler.close()
        await self.mesh._reception.close()

    def send(self, other, data, lane=Lane.CONSENSUS):
        return self.mesh.send(other.id, lane, data)


class Nodes:
    """Starts nodes, and closes them at the end of a test."""

    def __init__(self):
        self._nodes = []

    async def start(self, name, **settings):
        node = Node(name, **settings)
        self._nodes.append(node)
        return await node.start()

    async def pair(self, first="a", second="b", **settings):
        one, two = await self.start(first, **settings), await self.start(second, **settings)
        one.dial(two)
        await one.linked(two)
        await two.linked(one)
        await eventually(lambda: one.watched(two) is not None and two.watched(one) is not None)
        return one, two

    async def close(self):
        await asyncio.gather(*(node.mesh.close() for node in self._nodes))


async def eventually(condition):
    """Wait until something is true that nobody tells of."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110  # there is no event to wait for
            await asyncio.sleep(0.005)


def refusals(logs):
    """Give the log lines about those who were not let in."""
    return [line for line in logs if line["event"] == "link_refused"]


@contextlib.asynccontextmanager
async def raw(port, *, source="127.0.0.1", **named):
    """Connect without saying anything."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0), **named)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError, ClosedError):
            await writer.wait_closed()


def changed(struct, **fields):
    return msgspec.structs.replace(struct, **fields)


SMALL = Limits(
    max_message=4 * 1024 * 1024,
    max_report=4 * 1024 * 1024,
    consensus=256 * 1024,
    reports=256 * 1024,
    snapshots=256 * 1024,
)
