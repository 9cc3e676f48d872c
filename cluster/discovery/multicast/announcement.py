"""What a node says of itself by multicast DNS, and what it makes of what others say.

DNS-based service discovery, RFC 6763: a service type for the nodes among themselves and one for Gearman's clients, an
instance name that is the node's, and a TXT record of key=value pairs (section 6) that begins with `txtvers=1`.

Not for: packets and sockets, which are python-zeroconf's.
"""

from collections.abc import Mapping
from typing import Final

import msgspec
from zeroconf import ServiceInfo

from cluster.discovery.endpoint import Endpoint, reachable

PEER_SERVICE: Final = "_gearmesh._tcp.local."
"""Nodes, for one another."""

CLIENT_SERVICE: Final = "_gearman._tcp.local."
"""Job servers, for clients and workers: Gearman's name in IANA's register of services."""

_TEXT_VERSION: Final = "1"
_MAX_LABEL: Final = 63
"""Bytes of one label of a name (RFC 1035, section 2.3.4)."""
_MAX_HOSTS: Final = 16
"""Addresses taken of one instance."""


class Announcement(msgspec.Struct, frozen=True):
    """Who announces itself."""

    node: str
    """The node's id; letters, digits, dots, hyphens and underscores, its random part at the end."""
    name: str
    """The node's name."""
    cluster: str
    """The cluster it belongs to; the others ignore one another."""
    version: str
    """gearmesh's version."""

    @property
    def label(self) -> str:
        """The instance name: the id as one label."""
        return as_label(self.node)

    @property
    def text(self) -> dict[str, str]:
        """The TXT record."""
        return {
            "txtvers": _TEXT_VERSION,
            "cluster": self.cluster,
            "node": self.node,
            "name": self.name,
            "version": self.version,
        }


def as_label(name: str) -> str:
    """Return a name as one label that a host can have, too; of a long one the end, where a node's random part is."""
    return name.replace(".", "-").replace("_", "-")[-_MAX_LABEL:].lstrip("-")


def endpoints_of(service: ServiceInfo, cluster: str) -> tuple[Endpoint, ...]:
    """Return where a service says it is, IPv4 first; nothing unless it is a node of `cluster`.

    A TXT record of another version is not for us to understand (RFC 6763, section 6.7).
    """
    text = _folded(service.properties)
    if text.get("txtvers") != _TEXT_VERSION or text.get("cluster") != cluster or not service.port:
        return ()
    return tuple(Endpoint(host, service.port) for host in reachable(service.parsed_scoped_addresses())[:_MAX_HOSTS])


def _folded(properties: Mapping[bytes, bytes | None]) -> dict[str, str]:
    """Decode a TXT record: keys are compared without case, and the first of two that are alike counts (section 6.4)."""
    folded: dict[str, str] = {}
    for key, value in properties.items():
        folded.setdefault(key.decode("utf-8", "replace").lower(), (value or b"").decode("utf-8", "replace"))
    return folded
