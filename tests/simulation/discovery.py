"""How nodes find one another: addresses come late, not all of them, and some are nobody's.

A process starts without an address. Its sources name some of all that are or were in use, bit by bit, and take some of
them back. Some they never name; but nodes that are linked tell one another of third ones. A link is made between two
nodes of which one knows the other's address, once the real handshake has found that they belong together.

Not for: what becomes of links and messages, which is `network`'s.
"""

from collections.abc import Callable
from random import Random
from typing import Final

from cluster.formation import Presence, decode
from cluster.mesh import Introduction, Lane, MeshError
from cluster.mesh.handshake import NONCE_SIZE, Handshake, Role
from node.peers import Kind
from tests.simulation.journal import Journal, ViolationError, brief
from tests.simulation.network import Events, Link, Mesh, Network, Run
from tests.simulation.schedule import MS, SECOND, Schedule
from tests.simulation.truth import Truth

PORT: Final = 4731
HELD: Final = 10 * SECOND
"""A node that was refused is not linked for so long (`cluster.mesh.settings.Timing.refusal`)."""
STRANGERS: Final = 2 * SECOND
"""Between two attempts to link with whom the handshake finds to be a stranger."""
NOWHERE: Final = 3
"""Addresses that are named and are nobody's."""


class Discovery:
    """Who knows which addresses."""

    def __init__(self, schedule: Schedule, random: Random) -> None:
        self._schedule = schedule
        self._random = random
        self._addresses: dict[str, str] = {}
        """Where each node listens, or did before its disk was lost."""
        self._directory: list[str] = [f"10.0.9.{number}" for number in range(NOWHERE)]
        """Every address that a source may name."""
        self._known: dict[str, set[str]] = {}
        """What each process knows."""
        self._hidden: dict[str, set[str]] = {}
        """What no source names to a node."""
        self.complete = False
        """Whether everybody knows everything."""

    def place(self, node: str, address: str = "") -> str:
        """Give a node an address, which may have been another's; a new one, if none is given. Returns it."""
        if not address:
            address = f"10.0.0.{len(self._directory)}"
            self._directory.append(address)
        self._addresses[node] = address
        self._hidden[node] = {other for other in self._directory if self._random.random() < 0.2}
        return address

    def address(self, node: str) -> str:
        """Tell where a node listens."""
        return self._addresses[node]

    def begin(self, node: str) -> None:
        """Begin with a process, which knows nothing."""
        known = self._known[node] = set()
        self._schedule.after(self._random.randrange(SECOND // 2), self._look, node, known)

    def dial(self, node: str, host: str) -> None:
        """Name an address to a process."""
        self._known[node].add(host)

    def know(self, node: str, other: str) -> bool:
        """Tell whether one of two processes knows the other's address."""
        return (
            self.complete or self._addresses[other] in self._known[node] or self._addresses[node] in self._known[other]
        )

    def _look(self, node: str, known: set[str]) -> None:
        """Hear from the sources once more."""
        if self._known.get(node) is not known or self.complete:
            return
        random = self._random
        for address in self._directory:
            if address in known:
                if random.random() < 0.05:
                    known.discard(address)
            elif address not in self._hidden[node] and random.random() < 0.5:
                known.add(address)
        self._schedule.after(random.randrange(300 * MS, 2 * SECOND), self._look, node, known)


class IntroducedMesh(Mesh):
    """One process's links, as `node.membership` asks for them."""

    _network: "IntroducedNetwork"

    @property
    def peers(self) -> dict[str, Link]:
        """The nodes that are linked."""
        return self._links

    def dial(self, host: str, port: int) -> None:
        """Look for a node at an address."""
        if port != PORT:
            raise ViolationError(f"{self._name} is told of port {port}")
        self._network.discovery.dial(self._name, host)

    def refuse(self, node: str, reason: str) -> None:
        """End the link with a node, and do not link with it for a while."""
        if "could not be read" in reason:
            raise ViolationError(f"{self._name} refuses {node}: {reason}")
        link = self._links.pop(node, None)
        self._network.hold(self._name, node, link, reason)
        if link is not None:
            self._network.told_later(self, self._events.link_down, node)


class IntroducedNetwork(Network):
    """All links between nodes that have to find and to recognise one another."""

    def __init__(
        self, schedule: Schedule, random: Random, journal: Journal, truth: Truth, discovery: Discovery
    ) -> None:
        super().__init__(schedule, random, journal, truth)
        self.discovery = discovery
        self._introductions: dict[str, Callable[[], Introduction]] = {}
        self._held: dict[tuple[str, str], int] = {}
        """Until when a pair is not to be linked."""

    def introduce(self, node: str, introduction: Callable[[], Introduction]) -> None:
        """Take note of how a node's process introduces itself."""
        self._introductions[node] = introduction

    def join(self, name: str, instance: str, events: Events, run: Run) -> Mesh:
        """Let a process in."""
        self.discovery.begin(name)
        mesh = self._processes[name] = IntroducedMesh(self, name, instance, events, run)
        for other in self._processes:
            if other != name:
                self._retry((min(name, other), max(name, other)))
        return mesh

    def hold(self, name: str, node: str, link: Link | None, reason: str) -> None:
        """Keep a pair apart for a while."""
        if self._journal.on:
            self._journal.write(name, "REFUSES", node, reason)
        self._held[min(name, node), max(name, node)] = self._schedule.now + HELD
        if link is not None:
            self._lose(link)

    def told_later(self, mesh: Mesh, action: Callable[..., None], *arguments: object) -> None:
        """Tell a process something in its next turn."""
        self._schedule.after(20, self._tell, mesh, action, *arguments)

    def carry(self, link: Link, sender: str, lane: Lane, data: bytes) -> bool:
        """Take a message. What a node says of itself comes before all that it says after it, as on the real link.

        A report is heard only from one that is known to be of the group, and is sent once.
        """
        if data[0] != Kind.FORMATION or not isinstance(decode(memoryview(data)[1:]), Presence):
            return super().carry(link, sender, lane, data)
        to = link.other(sender)
        if self._journal.on:
            self._journal.write(sender, f"-> {to}", brief(data))
        self._carry_report(link, sender, to, data)
        return True

    def _try(self, pair: tuple[str, str]) -> None:
        one, other = pair
        if pair in self._links or one not in self._processes or other not in self._processes:
            return
        if self._held.get(pair, 0) > self._schedule.now or not self._acquainted(one, other):
            self._retry(pair)
            return
        if reason := self._objection(one, other):
            if self._journal.on:
                self._journal.write(one, "STRANGERS", other, reason)
            self._schedule.after(STRANGERS, self._try, pair)
            return
        super()._try(pair)

    def _acquainted(self, one: str, other: str) -> bool:
        """Tell whether one of two nodes knows of the other, by itself or by one that both are linked to."""
        if self.discovery.know(one, other):
            return True
        return any(
            (min(one, third), max(one, third)) in self._links and (min(other, third), max(other, third)) in self._links
            for third in self._processes
        )

    def _objection(self, one: str, other: str) -> str:
        """Have two nodes introduce themselves; returns why they do not belong together, "" when they do."""
        dialler, acceptor = (
            Handshake(role, self._introductions[name](), None, self._random.randbytes(NONCE_SIZE))
            for role, name in ((Role.DIALLER, one), (Role.ACCEPTOR, other))
        )
        try:
            acceptor.meet(dialler.hello)
            dialler.meet(acceptor.hello)
        except MeshError as error:
            return str(error)
        return ""
