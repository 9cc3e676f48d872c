"""Addresses that a node might be reached at, and which of them are this node's own.

Not for: where addresses come from (the sources), or whether anybody answers there (`cluster.mesh`).
"""

import ipaddress
from collections.abc import Callable, Collection, Iterable
from typing import Final

import msgspec

_WILDCARDS: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - recognised, not bound


class Endpoint(msgspec.Struct, frozen=True, order=True):
    """A host and a TCP port."""

    host: str
    """An IP address, a link-local IPv6 address with its zone (`fe80::1%eth0`), or a host name still to be resolved."""
    port: int

    def __str__(self) -> str:
        """Write it as HOST:PORT, an IPv6 host in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def is_wildcard(host: str) -> bool:
    """Tell whether who listens there listens on every address of its host."""
    return host in _WILDCARDS


def is_loopback(host: str) -> bool:
    """Tell whether a numeric address reaches no further than its own host."""
    return is_numeric(host) and ipaddress.ip_address(host).is_loopback


def is_numeric(host: str) -> bool:
    """Tell an IP address from a host name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def reachable(hosts: Iterable[str]) -> tuple[str, ...]:
    """Return those IP addresses that can be connected to, IPv4 first and otherwise in their order, without repeats.

    A link-local IPv6 address without a zone names no interface, so nobody could say where it is.
    """
    kept: dict[str, int] = {}
    for host in hosts:
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            continue
        if address.is_unspecified or address.is_multicast:
            continue
        if isinstance(address, ipaddress.IPv6Address) and address.is_link_local and not address.scope_id:
            continue
        kept[host] = address.version
    return tuple(sorted(kept, key=kept.__getitem__))


class OwnEndpoints:
    """The addresses at which a node would only find itself."""

    def __init__(
        self, bound: Endpoint, *, advertised: Endpoint | None = None, local: Callable[[], Collection[str]]
    ) -> None:
        """`bound` is what the listening socket says of itself (numeric), `local` returns this host's addresses."""
        self._bound = bound
        self._advertised = advertised
        self._local = local

    def without(self, endpoints: Iterable[Endpoint]) -> list[Endpoint]:
        """Return those that are not this node's own, in their order."""
        if is_wildcard(self._bound.host):
            local = self._local()
            return [endpoint for endpoint in endpoints if not self._is_own(endpoint, local)]
        return [endpoint for endpoint in endpoints if not self._is_own(endpoint, ())]

    def _is_own(self, endpoint: Endpoint, local: Collection[str]) -> bool:
        if endpoint in (self._advertised, self._bound):
            return True
        if endpoint.port != self._bound.port or not is_wildcard(self._bound.host):
            return False
        return is_loopback(endpoint.host) or endpoint.host in local
