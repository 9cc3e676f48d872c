"""Who might be out there: addresses where other nodes of the cluster may listen.

Candidates only. A candidate may be wrong, out of date, somebody else's or this node itself; who may link is decided by
`cluster.mesh`, who belongs to the cluster by `cluster.formation` and consensus.
"""

from cluster.discovery.discovery import Advertiser, Candidates, Discovery, Sightings, Source
from cluster.discovery.endpoint import Endpoint, OwnEndpoints
from cluster.discovery.multicast import Announcement, MulticastSource
from cluster.discovery.multicast.network import local_hosts
from cluster.discovery.names import NameSource, dns, static

__all__ = [
    "Advertiser",
    "Announcement",
    "Candidates",
    "Discovery",
    "Endpoint",
    "MulticastSource",
    "NameSource",
    "OwnEndpoints",
    "Sightings",
    "Source",
    "dns",
    "local_hosts",
    "static",
]
