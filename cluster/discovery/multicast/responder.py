"""One stay on one network: the sockets, the services announced on them, and what is heard there.

Not for: when a stay begins and ends (`source`).
"""

import contextlib
from collections.abc import Callable, Iterable

import structlog
from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

from cluster.discovery.endpoint import Endpoint
from cluster.discovery.multicast.announcement import CLIENT_SERVICE, PEER_SERVICE, Announcement, as_label
from cluster.discovery.multicast.browser import Browser
from cluster.discovery.multicast.network import Network

log = structlog.get_logger()


class NoMulticastError(Exception):
    """Multicast DNS cannot be spoken at present; the message says why."""


class Responder:
    """Announces this node and listens for others until it is closed, which says goodbye."""

    def __init__(self, zeroconf: AsyncZeroconf, browser: Browser, announcement: Announcement) -> None:
        """Use `open` instead."""
        self._zeroconf = zeroconf
        self._browser = browser
        self._announcement = announcement
        self._label = announcement.label
        self._clients: AsyncServiceInfo | None = None

    @classmethod
    async def open(
        cls, network: Network, announcement: Announcement, heard: Callable[[Iterable[Endpoint]], None]
    ) -> "Responder":
        """Take the sockets and begin to listen; `heard` is told the addresses of this cluster's nodes as they change.

        Raises NoMulticastError.
        """
        try:
            zeroconf = AsyncZeroconf(interfaces=list(network.interfaces))
        except (OSError, RuntimeError) as error:  # RuntimeError: an interface went away in the meantime
            raise NoMulticastError(str(error)) from error
        async with contextlib.AsyncExitStack() as undo:
            undo.push_async_callback(zeroconf.async_close)
            await zeroconf.zeroconf.async_wait_for_start()
            if not zeroconf.zeroconf.engine.senders:
                raise NoMulticastError("no network interface takes part in multicast")
            browser = Browser(zeroconf.zeroconf, announcement.cluster, heard)
            undo.pop_all()
        return cls(zeroconf, browser, announcement)

    async def announce_node(self, hosts: Iterable[str], port: int) -> None:
        """Announce the mesh address. Takes more than a second: RFC 6762, section 8.1, has a name probed first.

        Two nodes of one id are two processes on copies of one data directory. They get two names here, so that both
        are found, meet, and can be told.
        """
        service = self._service(PEER_SERVICE, self._label, hosts, port)
        announced = await self._zeroconf.async_register_service(service, allow_name_change=True)
        taken = service.name.removesuffix(f".{PEER_SERVICE}")
        if taken != self._label:
            log.warning("mdns_name_in_use", name=self._label, used_instead=taken, node=self._announcement.node)
            self._label = taken
        await announced

    async def announce_clients(self, hosts: Iterable[str], port: int) -> None:
        """Announce a Gearman listener, in place of any announced before.

        Under the name that was settled by `announce_node`; it is not probed again.
        """
        await self.withdraw_clients()
        self._clients = self._service(CLIENT_SERVICE, as_label(f"gearman.{self._label}"), hosts, port)
        await (await self._zeroconf.async_register_service(self._clients, cooperating_responders=True))

    async def withdraw_clients(self) -> None:
        """Take the announcement of the Gearman listener back."""
        if self._clients is not None:
            service, self._clients = self._clients, None
            await (await self._zeroconf.async_unregister_service(service))

    async def close(self) -> None:
        """Say goodbye, and let go of the sockets."""
        await self._browser.close()
        await self._zeroconf.async_close()

    def _service(self, kind: str, host: str, hosts: Iterable[str], port: int) -> AsyncServiceInfo:
        return AsyncServiceInfo(
            kind,
            f"{self._label}.{kind}",
            port=port,
            properties=self._announcement.text,
            server=f"{host}.local.",
            parsed_addresses=list(hosts),
        )
