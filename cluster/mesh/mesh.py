"""The links of one node: who is linked, what is sent to whom, and what the owner is told.

Links come about on both ends (`reception`, `dialling`), are talked over (`encounter`), decided (`pairing`), and then
carry messages (`link`). This module puts the two ends together and keeps the books. Not for: what the messages mean,
or who is a member of the cluster.
"""

import asyncio
import contextlib
import functools
import ipaddress
import random
import secrets
import socket
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import structlog

from cluster.mesh.certificates import Certificates
from cluster.mesh.connection import Connection, plain
from cluster.mesh.dialling import Dialler, Target
from cluster.mesh.drops import Drops
from cluster.mesh.encounter import Meeting, encounter
from cluster.mesh.errors import ClosedError, DuplicateError, MeshError, OwnAddressError, RefusedByPeerError
from cluster.mesh.handshake import NONCE_SIZE, Handshake, Hello, Refused, Role, Standing, Taken, legible, stretch
from cluster.mesh.link import Link
from cluster.mesh.outbox import Drop
from cluster.mesh.pairing import Pairing
from cluster.mesh.peer import Address, Introduction, Lane, MeshEvents, Peer
from cluster.mesh.processes import Processes
from cluster.mesh.reception import Arrival, Reception
from cluster.mesh.records import Acquaintance, Acquaintances, Goodbye, Refusal
from cluster.mesh.refusals import Refusals
from cluster.mesh.settings import Limits, Timing, TlsFiles

_log: Final = structlog.get_logger()


_ANY_HOST: Final = ("0.0.0.0", "::", "")  # noqa: S104  # compared with, not bound to


class Mesh:
    """One link to every node it can reach; messages to each of them in lanes.

    With `secret`, only nodes that know it are linked; None means that any node is (`--insecure`). `advertise` is the
    address that others are told, where the one they see is not the one to dial. Events come from the event loop, never
    from within a call; after `close` has begun there are none.
    """

    def __init__(
        self,
        introduction: Introduction,
        events: MeshEvents,
        *,
        secret: bytes | None,
        tls: TlsFiles | None = None,
        advertise: Address | None = None,
        timing: Timing | None = None,
        limits: Limits | None = None,
        chance: random.Random | None = None,
    ) -> None:
        """Prepare. Raises TlsError when the certificates cannot be used, ValueError for an empty secret."""
        if secret is not None and not secret:
            raise ValueError("the cluster secret is empty: anybody could guess it")
        self._introduction = introduction
        self._events = events
        self._key = None if secret is None else stretch(secret, introduction.cluster)
        self._certificates = None if tls is None else Certificates(tls)
        self._advertise = advertise
        self._timing = Timing() if timing is None else timing
        self._limits = Limits() if limits is None else limits
        self._chance = random.Random() if chance is None else chance  # noqa: S311  # jitter guards nothing
        self._pairing = Pairing(introduction, lambda: secrets.randbits(63) | 1)
        self._links: dict[str, Link] = {}
        self._peers: dict[str, Peer] = {}
        self._parting: set[Link] = set()
        self._held: dict[str, tuple[float, str]] = {}
        """Until when a node is refused, and why."""
        self._drops = Drops()
        self._closing = False
        self.peers: Final[Mapping[str, Peer]] = MappingProxyType(self._peers)
        """The nodes that are linked, by id."""

    async def start(self, listener: socket.socket) -> None:
        """Listen on a bound socket, which from now on is the mesh's, and dial what `dial` names."""
        self._loop = asyncio.get_running_loop()
        self._refusals = Refusals(self._loop.time)
        self._dialler = Dialler(
            self, self._certificates, self._refusals, self._timing, self._limits.acquaintances, self._chance
        )
        self._processes = Processes(self._events, self._dialler.open_liveness)
        self._listens_at = plain(listener.getsockname()[0])
        self._reception = Reception(
            listener,
            self._greet,
            self._processes.arrived,
            self._certificates,
            self._refusals,
            self._timing,
            self._limits,
        )
        self._reception.start()

    def dial(self, host: str, port: int) -> None:
        """Keep trying to link with whoever is at an address, until `forget`."""
        if not self._closing:
            self._dialler.dial(Address(host, port), asked=True)

    def forget(self, host: str, port: int) -> None:
        """Dial an address no more; a link that there is stays."""
        self._dialler.forget(Address(host, port))

    def send(self, node: str, lane: Lane, data: bytes | bytearray) -> bool:
        """Send a message; False when it is dropped, which is logged unless it is for want of a link."""
        link = self._links.get(node)
        drop = Drop.NO_LINK if link is None else link.send(lane, data)
        if drop is None:
            return True
        if drop is not Drop.NO_LINK:
            self._drops.report(node, lane, drop, len(data), self._limits)
        return False

    def waiting(self, node: str, lane: Lane) -> int:
        """Tell how many bytes of a lane wait on this side of a link; 0 without one."""
        link = self._links.get(node)
        return 0 if link is None else link.waiting(lane)

    def refuse(self, node: str, reason: str) -> None:
        """End the link with a node, tell it why, and do not link with it for a while."""
        now = self._loop.time()
        self._held = {other: hold for other, hold in self._held.items() if hold[0] > now}
        self._held[node] = (now + self._timing.refusal, reason)
        link = self._links.get(node)
        if link is not None:
            self._drop(link)
            self._processes.dropped(node)
            self._part(link, Refusal(reason))
            self._refusals.report(str(link.peer.address), reason, node=node)
            self._loop.call_soon(self._tell_down, node)
            # Whoever is at that address next, perhaps another node, is dialled again.
            self._dialler.lost(node, now - link.peer.since)

    @property
    def troubles(self) -> dict[str, str]:
        """Why there is no link with whoever is at an address that is dialled, where that is known."""
        return self._dialler.troubles()

    async def close(self, *, failed: bool = False) -> None:
        """Say goodbye to every peer and end, within a moment. `failed`: nobody asked for it."""
        if self._closing:
            return
        self._closing = True
        self._reception.stop()
        await self._dialler.stop()
        for link in tuple(self._links.values()):
            self._drop(link)
            self._part(link, Goodbye(failed))
        endings = [link.connection.closed for link in self._parting]
        if endings:
            await asyncio.wait(endings, timeout=2 * self._timing.linger)
        await self._processes.close()
        for link in self._parting:
            link.connection.abort()
        await self._dialler.close()
        await self._reception.close()

    # --- Party: what a conversation asks

    def handshake(self, role: Role, local_host: str) -> Handshake:
        """Begin a conversation."""
        host = self._listens_at if self._listens_at not in _ANY_HOST else local_host
        return Handshake(
            role,
            self._introduction,
            self._key,
            secrets.token_bytes(NONCE_SIZE),
            address=self._advertise or Address(host, self._introduction.port),
            advertised=self._advertise is not None,
        )

    def arbiter(self, node: str) -> bool:
        """Tell whether this node decides."""
        return self._pairing.arbiter(node)

    def standing(self, other: Introduction) -> Standing:
        """Tell what this node knows of its links with another."""
        return self._pairing.standing(other.node)

    def objection(self, other: Introduction) -> str | None:
        """Tell why there must be no link with a node at present."""
        if self._closing:
            return "this node is ending"
        until, reason = self._held.get(other.node, (0.0, ""))
        return reason if self._loop.time() < until else None

    def decide(self, other: Introduction, standing: Standing) -> Taken | Refused:
        """Decide as the arbiter."""
        return self._pairing.decide(other, standing)

    def proven(self, other: Introduction) -> None:
        """When another process has a linked node's id, see whether the one that is linked is still there."""
        if self._pairing.contested(other):
            self._links[other.node].ask()

    # --- the two ends

    async def _greet(self, connection: Connection, arrival: Arrival) -> bool:
        def introduced(hello: Hello) -> None:
            who["node"] = legible(hello.introduction.node)

        who: dict[str, str] = {}
        try:
            meeting = await encounter(connection, Role.ACCEPTOR, self, introduced, arrival.prove)
            self._take_up(connection, meeting, None)
        except (DuplicateError, OwnAddressError):
            arrival.explained = True
            connection.close()
        except ClosedError:
            connection.abort()
        except MeshError as error:
            arrival.explained = True
            by = {"by_peer": True} if isinstance(error, RefusedByPeerError) else {}
            self._refusals.report(arrival.host, str(error), **who, **by)
            connection.close()
        else:
            return True
        return False

    async def meet(self, connection: Connection, target: Target) -> None:
        """Make a connection that this node dialled a link. Raises MeshError."""

        def introduced(hello: Hello) -> None:
            target.claims = legible(hello.introduction.node)

        def proven(hello: Hello) -> None:
            target.node = hello.introduction.node

        meeting = await encounter(connection, Role.DIALLER, self, introduced, proven)
        self._take_up(connection, meeting, target.address.port)

    def _take_up(self, connection: Connection, meeting: Meeting, dialled_port: int | None) -> None:
        if self._closing:
            raise ClosedError("this node is ending")
        other = meeting.hello.introduction
        told = meeting.hello.address
        seen = Address(connection.host, other.port if dialled_port is None else dialled_port)
        # Behind address translation a node is not where it seems to be, and that nobody listens there says nothing. Nor
        # does it where somebody else listens for the node: then it advertises an address.
        certain = seen if (dialled_port is not None or told == seen) and not meeting.hello.advertised else None
        peer = Peer(
            introduction=other,
            address=told if told is not None and meeting.hello.advertised else seen,
            dialled=dialled_port is not None,
            since=self._loop.time(),
            seen=seen,
        )
        before = self._links.get(other.node)
        if before is not None:
            before.connection.end(ClosedError("a new link takes its place"))
        link = Link(
            meeting.number,
            peer,
            certain,
            connection,
            meeting.seals,
            functools.partial(self._events.received, other.node),
            self,
            self._timing,
            self._limits,
        )
        self._pairing.taken(other, meeting.number)
        self._links[other.node] = link
        self._peers[other.node] = peer
        self._processes.linked(link)
        _log.info("link_up", node=other.node, address=str(peer.address), dialled=peer.dialled, version=other.version)
        self._events.link_up(peer)
        self._introduce(link)
        connection.open(link)

    def _drop(self, link: Link) -> None:
        del self._links[link.node]
        del self._peers[link.node]
        self._pairing.lost(link.node)

    def _part(self, link: Link, word: Goodbye | Refusal) -> None:
        self._parting.add(link)
        link.connection.closed.add_done_callback(lambda _: self._parting.discard(link))
        link.part(word)

    # --- LinkOwner

    def link_ended(self, link: Link, error: MeshError) -> None:
        """Take note that a link is lost: tell the owner, and find out whether the node is still there."""
        self._drop(link)
        if self._closing:
            return
        node = link.node
        _log.info("link_down", node=node, address=str(link.peer.address), reason=str(error))
        self._events.link_down(node)
        self._processes.lost(link)
        if link.farewell is None and link.evidence is not None:
            self._dialler.dial(link.evidence, asked=False)
        self._dialler.dial(link.peer.address, asked=False)
        self._dialler.lost(node, self._loop.time() - link.peer.since)

    def liveness_wanted(self, link: Link, nonce: bytes) -> None:
        """Open a liveness connection for a link that this node dialled."""
        self._processes.wanted(link, nonce)

    def acquaintances_told(self, link: Link, told: Acquaintances) -> None:
        """Dial those whom a peer is linked to and this node is not."""
        for one in told.nodes[: self._limits.acquaintances]:
            address = one.address if one.address.host else Address(link.peer.address.host, one.address.port)
            if one.node not in self._links and one.node != self._introduction.node and 0 < address.port < 65536:
                self._dialler.dial(address, asked=False)

    def _introduce(self, link: Link) -> None:
        """Tell a new peer of the others, and the others of it."""
        others = [other for other in self._links.values() if other is not link][: self._limits.acquaintances]
        if others:
            link.say(Acquaintances(tuple(_acquaintance(other.peer) for other in others)))
        for other in others:
            other.say(Acquaintances((_acquaintance(link.peer),)))

    # --- DialOwner

    def linked(self, node: str | None) -> bool:
        """Tell whether there is a link with a node."""
        return node in self._links

    def held_back(self, node: str | None) -> float:
        """Tell for how many seconds a node must not be linked."""
        return 0.0 if node not in self._held else self._held[node][0] - self._loop.time()

    def host_refuses(self, address: Address) -> None:
        """Take note that connections are refused at an address."""
        self._processes.refused(address)

    def _tell_down(self, node: str) -> None:
        if not self._closing:
            self._events.link_down(node)


def _acquaintance(peer: Peer) -> Acquaintance:
    host = peer.address.host
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(host).is_loopback:
            # To others this address would mean themselves.
            host = ""
    return Acquaintance(peer.introduction.node, Address(host, peer.address.port))
