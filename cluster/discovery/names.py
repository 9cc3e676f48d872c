"""Candidates by name: addresses that were written down, and names that are resolved again and again.

A name of DNS is how nodes find one another in Kubernetes: a headless service has one address for each pod, and they
change whenever pods do. Fixed peers (`--peer`) are the same thing with a name for each.

Not for: multicast DNS (`multicast`).
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from cluster.discovery.discovery import Sightings
from cluster.discovery.endpoint import Endpoint, is_numeric, reachable

log = structlog.get_logger()

INTERVAL: Final = 5.0
"""Seconds between two look-ups of a name."""

EAGER_INTERVAL: Final = 1.0
"""The same while no other node is known."""

_PASSING: Final = frozenset({socket.EAI_AGAIN, socket.EAI_FAIL, socket.EAI_MEMORY, socket.EAI_SYSTEM})
"""Errors that say nothing about the name, only about the way to those who know it."""

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Returns the IP addresses of a host name; the port is that of the service looked for. Raises OSError."""


async def resolve(host: str, port: int) -> Sequence[str]:
    """Ask the system for the A and AAAA records of a name, in a thread beside the event loop."""
    answers = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(answer[4][0]) for answer in answers]


class NameSource:
    """Follows the addresses behind a list of hosts.

    An IP address is a candidate once and for all. A name is looked up every few seconds: an address that is not among
    the answers any more is lost, and so are all when the name is gone; but when the resolver cannot be reached, what
    is known stays.
    """

    def __init__(
        self,
        name: str,
        endpoints: Sequence[Endpoint],
        *,
        resolve: Resolve = resolve,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        interval: float = INTERVAL,
        eager_interval: float = EAGER_INTERVAL,
    ) -> None:
        """`name` is what the source is called; the intervals are in seconds."""
        self.name = name
        self._resolve = resolve
        self._sleep = sleep
        self._interval = interval
        self._eager_interval = eager_interval
        self._hosts: dict[Endpoint, tuple[str, ...]] = {
            endpoint: (endpoint.host,) if is_numeric(endpoint.host) else () for endpoint in endpoints
        }

    async def run(self, sightings: Sightings) -> None:
        """Report the addresses, and follow the names among them until cancelled."""
        self._report(sightings)
        async with asyncio.TaskGroup() as tasks:
            for endpoint in self._hosts:
                if not is_numeric(endpoint.host):
                    tasks.create_task(self._follow(endpoint, sightings), name=f"resolve {endpoint.host}")

    async def _follow(self, endpoint: Endpoint, sightings: Sightings) -> None:
        trouble = ""
        while True:
            known = self._hosts[endpoint]
            previous, trouble = trouble, ""
            try:
                hosts = reachable(await self._resolve(endpoint.host, endpoint.port))
                trouble = "" if hosts else "it has no address that can be connected to"
            except (OSError, UnicodeError) as error:
                hosts = known if isinstance(error, OSError) and error.errno in _PASSING else ()
                trouble = getattr(error, "strerror", None) or str(error)
            if trouble and trouble != previous:
                log.warning("name_not_resolved", source=self.name, host=endpoint.host, reason=trouble, kept=len(hosts))
            if set(hosts) != set(known) or (previous and not trouble):
                if not trouble:
                    log.info("name_resolved", source=self.name, host=endpoint.host, addresses=list(hosts))
                self._hosts[endpoint] = hosts
                self._report(sightings)
            await self._sleep(self._eager_interval if sightings.alone else self._interval)

    def _report(self, sightings: Sightings) -> None:
        sightings.report(Endpoint(host, endpoint.port) for endpoint, hosts in self._hosts.items() for host in hosts)


def dns(host: str, port: int) -> NameSource:
    """Return the source `dns:HOST`: whatever the name resolves to, each at `port`, the mesh port."""
    return NameSource(f"dns:{host}", (Endpoint(host, port),))


def static(peers: Sequence[Endpoint]) -> NameSource:
    """Return the source `static`: the peers that were written down."""
    return NameSource("static", peers)
