"""What all sources together believe: which addresses are candidates, each of them once.

A candidate is an address where another node of this cluster might listen, no more: whether one does is found by
`cluster.mesh`, whether it belongs to the cluster by its secret, and who is a member by consensus.

Not for: how any source looks (`names`, `multicast`).
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, Protocol, runtime_checkable

import structlog

from cluster.discovery.endpoint import Endpoint, OwnEndpoints

log = structlog.get_logger()

MAX_CANDIDATES: Final = 256
"""Addresses taken from one source: what anybody on the network can announce must not fill the memory."""

_RESTART_DELAY: Final = 10.0
"""Seconds until a source that failed is run again."""

_CLOSE_TIMEOUT: Final = 3.0
"""Seconds that the sources have to say goodbye."""


class Candidates(Protocol):
    """Whoever wants to know the candidates. Called on the event loop; must not raise."""

    def found(self, host: str, port: int) -> None:
        """Take an address that was not a candidate until now."""

    def lost(self, host: str, port: int) -> None:
        """Drop an address in which no source believes any more."""


class Sightings(Protocol):
    """Where a source tells what it sees."""

    def report(self, endpoints: Iterable[Endpoint]) -> None:
        """Take all that the source believes in now; what it reported earlier and leaves out now is lost."""

    @property
    def alone(self) -> bool:
        """Whether no source at all knows of another node, so that looking more often is worth its price."""


class Source(Protocol):
    """One way to look for other nodes."""

    @property
    def name(self) -> str:
        """What it is called in logs and in `Discovery.known`."""

    async def run(self, sightings: Sightings) -> None:
        """Look until cancelled, then say goodbye if there is anybody to say it to; returns early if nothing can change.

        Trouble that may pass is the source's own to log and to wait for; what it raises is logged as a failure of its
        own, and it is run again later.
        """


@runtime_checkable
class Advertiser(Protocol):
    """A source that can tell Gearman's clients of this node as well."""

    def advertise_clients(self, host: str, port: int) -> None:
        """Announce the Gearman listener that is bound there, in place of any announced before."""

    def withdraw_clients(self) -> None:
        """Take the announcement back; nothing to do without one."""


class Discovery:
    """Runs any number of sources and tells one receiver of every candidate once."""

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        own: OwnEndpoints | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`own` says which addresses are this node's, to be passed over."""
        self._sources = tuple(sources)
        self._own = own
        self._sleep = sleep
        self._candidates: Candidates | None = None
        self._seen: dict[str, dict[Endpoint, None]] = {source.name: {} for source in sources}
        self._crowded: set[str] = set()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, candidates: Candidates) -> None:
        """Let the sources begin; does not wait for what they find."""
        self._candidates = candidates
        self._tasks = [
            asyncio.create_task(self._run(source), name=f"discovery {source.name}") for source in self._sources
        ]

    async def close(self) -> None:
        """Stop looking, say goodbye where it is heard, and tell the receiver nothing more. Takes 3 s at the most."""
        self._candidates = None
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=_CLOSE_TIMEOUT)
            for task in late:
                log.warning("discovery_source_does_not_end", task=task.get_name())
        self._tasks = []

    @property
    def known(self) -> dict[Endpoint, tuple[str, ...]]:
        """Every candidate with the names of the sources that believe in it."""
        known: dict[Endpoint, tuple[str, ...]] = {}
        for name, endpoints in self._seen.items():
            for endpoint in endpoints:
                known[endpoint] = (*known.get(endpoint, ()), name)
        return known

    @property
    def alone(self) -> bool:
        """Whether there is no candidate."""
        return not any(self._seen.values())

    def advertise_clients(self, host: str, port: int) -> None:
        """Tell Gearman's clients, by every source that can, of the listener bound to `host` (numeric) and `port`."""
        for source in self._sources:
            if isinstance(source, Advertiser):
                source.advertise_clients(host, port)

    def withdraw_clients(self) -> None:
        """Tell Gearman's clients that this node does not serve them now."""
        for source in self._sources:
            if isinstance(source, Advertiser):
                source.withdraw_clients()

    async def _run(self, source: Source) -> None:
        while True:
            try:
                await source.run(_SourceSightings(self, source.name))
            except Exception:
                log.exception("discovery_source_failed", source=source.name, again_after=_RESTART_DELAY)
                await self._sleep(_RESTART_DELAY)
            else:
                return

    def take(self, source: str, endpoints: Iterable[Endpoint]) -> None:
        """Let what `source` believes be exactly `endpoints`, and tell the receiver what that changes."""
        if self._candidates is None:
            return
        others = [seen for name, seen in self._seen.items() if name != source]
        before = self._seen[source]
        now = self._seen[source] = self._admitted(source, endpoints)
        for endpoint in now:
            if endpoint not in before and not any(endpoint in seen for seen in others):
                log.debug("candidate_found", address=str(endpoint), source=source)
                self._candidates.found(endpoint.host, endpoint.port)
        for endpoint in before:
            if endpoint not in now and not any(endpoint in seen for seen in others):
                log.debug("candidate_lost", address=str(endpoint), source=source)
                self._candidates.lost(endpoint.host, endpoint.port)

    def _admitted(self, source: str, endpoints: Iterable[Endpoint]) -> dict[Endpoint, None]:
        admitted = dict.fromkeys(endpoints if self._own is None else self._own.without(endpoints))
        if len(admitted) <= MAX_CANDIDATES:
            self._crowded.discard(source)
            return admitted
        if source not in self._crowded:
            self._crowded.add(source)
            log.warning("too_many_candidates", source=source, seen=len(admitted), taken=MAX_CANDIDATES)
        return dict.fromkeys(list(admitted)[:MAX_CANDIDATES])


class _SourceSightings:
    """One source's way to the discovery."""

    def __init__(self, discovery: Discovery, source: str) -> None:
        self._discovery = discovery
        self._source = source

    def report(self, endpoints: Iterable[Endpoint]) -> None:
        self._discovery.take(self._source, endpoints)

    @property
    def alone(self) -> bool:
        return self._discovery.alone
