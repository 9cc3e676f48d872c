"""The nodes of one cluster that can be heard: their services, resolved and kept up to date.

python-zeroconf tells that something about a service has changed; what it is now has to be asked. An address that was
replaced stays in its cache for another second (RFC 6762, section 10.2), and a node that was killed said no goodbye:
so every service is looked up again a little later, and then each minute, which asks the network only for records
that ran out.

Not for: which addresses are this node's own, or what becomes of an address.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Final

import structlog
from zeroconf import ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo

from cluster.discovery.discovery import MAX_CANDIDATES
from cluster.discovery.endpoint import Endpoint
from cluster.discovery.multicast.announcement import PEER_SERVICE, endpoints_of

log = structlog.get_logger()

_PATIENCE_MS: Final = 3000
"""Milliseconds that a service is given to answer for itself."""

_SETTLED: Final = 1.5
"""Seconds after a change until records that it replaced are gone."""

_VERIFY_INTERVAL: Final = 60.0
"""Seconds between two look-ups of a service that says nothing new."""


class Browser:
    """Follows the services of one cluster."""

    def __init__(self, zeroconf: Zeroconf, cluster: str, changed: Callable[[Iterable[Endpoint]], None]) -> None:
        """Begin to browse. `changed` is told every address of every service whenever that has changed."""
        self._zeroconf = zeroconf
        self._cluster = cluster
        self._changed = changed
        self._endpoints: dict[str, tuple[Endpoint, ...]] = {}
        self._followers: dict[str, asyncio.Task[None]] = {}
        self._crowded = False
        self._browser = AsyncServiceBrowser(zeroconf, PEER_SERVICE, handlers=[self._heard])

    async def close(self) -> None:
        """Stop listening."""
        await self._browser.async_cancel()
        for follower in self._followers.values():
            follower.cancel()
        await asyncio.gather(*self._followers.values(), return_exceptions=True)

    def _heard(self, *, name: str, state_change: ServiceStateChange, **_: Any) -> None:
        follower = self._followers.pop(name, None)
        if follower is not None:
            follower.cancel()
        if state_change is ServiceStateChange.Removed:
            self._note(name, ())
        elif len(self._followers) < MAX_CANDIDATES:
            self._followers[name] = asyncio.create_task(self._follow(name), name=f"follow {name}")
        elif not self._crowded:
            self._crowded = True
            log.warning("too_many_services", service=PEER_SERVICE, followed=MAX_CANDIDATES)

    async def _follow(self, name: str) -> None:
        pause = _SETTLED
        while True:
            service = AsyncServiceInfo(PEER_SERVICE, name)
            answered = await service.async_request(self._zeroconf, _PATIENCE_MS)
            self._note(name, endpoints_of(service, self._cluster) if answered else ())
            await asyncio.sleep(pause)
            pause = _VERIFY_INTERVAL

    def _note(self, name: str, endpoints: tuple[Endpoint, ...]) -> None:
        if endpoints == self._endpoints.get(name, ()):
            return
        if endpoints:
            self._endpoints[name] = endpoints
        else:
            del self._endpoints[name]
        self._changed(endpoint for known in self._endpoints.values() for endpoint in known)
