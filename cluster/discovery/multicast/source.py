"""Candidates by multicast DNS: nodes on the same network find one another with nothing configured.

The host's interfaces are looked at every few seconds. When they have changed, everything is announced anew; when there
are none, or they take no multicast, that is said once and tried again.

Not for: sockets and services (`responder`), or what is worth listening to (`announcement`, `browser`).
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, Protocol

import structlog

from cluster.discovery.discovery import Sightings
from cluster.discovery.endpoint import Endpoint, is_loopback, is_numeric, is_wildcard
from cluster.discovery.multicast.announcement import Announcement
from cluster.discovery.multicast.network import Interface, Network, announced_hosts, host_interfaces, network_for
from cluster.discovery.multicast.responder import NoMulticastError, Responder
from cluster.discovery.names import resolve

log = structlog.get_logger()

CHECK_INTERVAL: Final = 5.0
"""Seconds between two looks at the host's interfaces."""


class _Stay(Protocol):
    async def announce_node(self, hosts: Iterable[str], port: int) -> None: ...
    async def announce_clients(self, hosts: Iterable[str], port: int) -> None: ...
    async def withdraw_clients(self) -> None: ...
    async def close(self) -> None: ...


Open = Callable[[Network, Announcement, Callable[[Iterable[Endpoint]], None]], Awaitable[_Stay]]
"""Begins a stay on a network, as `Responder.open`."""


class MulticastSource:
    """Announces this node on every interface that reaches it, and follows the announcements of others."""

    name = "mdns"

    def __init__(
        self,
        announcement: Announcement,
        bound: Endpoint,
        *,
        advertised: Endpoint | None = None,
        interfaces: Callable[[], Sequence[Interface]] = host_interfaces,
        open_responder: Open = Responder.open,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`bound` is where the mesh listens, as its socket says; `advertised` the address others are told instead."""
        self._announcement = announcement
        self._bound = bound
        self._advertised = advertised
        self._interfaces = interfaces
        self._open = open_responder
        self._sleep = sleep
        self._clients: Endpoint | None = None
        self._clients_changed = asyncio.Event()
        self._trouble = ""

    def advertise_clients(self, host: str, port: int) -> None:
        """Announce the Gearman listener that is bound to `host` and `port`, as long as this source runs."""
        self._set_clients(Endpoint(host, port))

    def withdraw_clients(self) -> None:
        """Take that announcement back; nothing to do without one."""
        self._set_clients(None)

    async def run(self, sightings: Sightings) -> None:
        """Announce and listen until cancelled; then say goodbye."""
        while True:
            interfaces = self._interfaces()
            network = network_for(self._bound.host, interfaces)
            try:
                await self._stay(network, sightings)
            except (NoMulticastError, OSError) as error:
                if str(error) != self._trouble:
                    self._trouble = str(error)
                    log.warning("mdns_unavailable", reason=self._trouble, again_every=CHECK_INTERVAL)
                sightings.report(())
                await self._sleep(CHECK_INTERVAL)

    def _set_clients(self, clients: Endpoint | None) -> None:
        if clients != self._clients:
            self._clients = clients
            self._clients_changed.set()

    async def _stay(self, network: Network, sightings: Sightings) -> None:
        if not network.interfaces:
            host = self._bound.host
            raise NoMulticastError("no network interface" if is_wildcard(host) else f"no network interface has {host}")
        responder = await self._open(network, self._announcement, sightings.report)
        try:
            log.info("mdns_started", interfaces=list(network.interfaces), announced=list(network.hosts))
            self._trouble = ""
            await responder.announce_node(*await self._announced(network))
            announced: Endpoint | None = None
            while network_for(self._bound.host, self._interfaces()) == network:
                self._clients_changed.clear()
                if announced != self._clients:
                    announced = self._clients
                    await self._announce_clients(responder, announced)
                else:
                    await self._wait()
            log.info("mdns_network_changed")
        finally:
            await responder.close()

    async def _announced(self, network: Network) -> tuple[Sequence[str], int]:
        if self._advertised is None:
            return network.hosts, self._bound.port
        host, port = self._advertised.host, self._advertised.port
        return (host,) if is_numeric(host) else await resolve(host, port), port

    async def _announce_clients(self, responder: _Stay, clients: Endpoint | None) -> None:
        if clients is None or (is_loopback(clients.host) and not is_loopback(self._bound.host)):
            # A listener on loopback is nothing to tell other hosts of.
            await responder.withdraw_clients()
        else:
            await responder.announce_clients(announced_hosts(clients.host, self._interfaces()), clients.port)

    async def _wait(self) -> None:
        """Wait until clients are to be told something else, or it is time to look at the interfaces."""
        waits = [
            asyncio.ensure_future(self._clients_changed.wait()),
            asyncio.ensure_future(self._sleep(CHECK_INTERVAL)),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
