"""Links to other nodes, and the search for them: mesh and discovery of one node.

Not for: who of them belongs to the group (`node.membership`), or what is said on the links (`node.peers`).
"""

import secrets
import socket

import structlog

from cluster import discovery as d
from cluster.mesh import Address as MeshAddress
from cluster.mesh import Introduction, Mesh, TlsError, TlsFiles
from node.binding import bound_address
from node.configuration import Address, Configuration
from node.errors import ConfigurationError
from node.peers import Peers
from node.version import VERSION

log = structlog.get_logger()


class Links:
    """Mesh and discovery of one node."""

    def __init__(self, configuration: Configuration, node: str, listener: socket.socket, peers: Peers) -> None:
        """Prepare links for the node with this id. Raises `ConfigurationError` for certificates that cannot be used."""
        settings = configuration
        self.process = secrets.token_hex(8)
        """Names this process among all that the node ever had."""
        self._listener = listener
        self._address = bound_address(listener)
        advertised = self._advertised(settings.advertise)
        tls = None
        if settings.mesh_cert is not None and settings.mesh_key is not None and settings.mesh_ca is not None:
            tls = TlsFiles(settings.mesh_cert, settings.mesh_key, settings.mesh_ca)
        try:
            self.mesh = Mesh(
                Introduction(
                    node=node,
                    name=settings.name,
                    cluster=settings.cluster,
                    port=self._address.port,
                    instance=self.process,
                    version=VERSION,
                ),
                peers,
                secret=settings.secret,
                tls=tls,
                advertise=None if advertised is None else MeshAddress(advertised.host, advertised.port),
            )
        except TlsError as error:
            raise ConfigurationError([str(error)]) from error
        peers.mesh = self.mesh
        self._discovery = self._look(settings, node, advertised)

    def _advertised(self, advertise: Address | None) -> Address | None:
        if advertise is None:
            return None
        return Address(advertise.host, advertise.port or self._address.port)

    def _look(self, settings: Configuration, node: str, advertised: Address | None) -> d.Discovery:
        bound = d.Endpoint(self._address.host, self._address.port)
        told = None if advertised is None else d.Endpoint(advertised.host, advertised.port)
        sources: list[d.Source] = []
        for way in settings.discovery:
            kind, _, name = way.partition(":")
            if kind == "mdns":
                announcement = d.Announcement(node=node, name=settings.name, cluster=settings.cluster, version=VERSION)
                sources.append(d.MulticastSource(announcement, bound, advertised=told))
            elif kind == "dns":
                host, _, port = name.partition(":")
                sources.append(d.dns(host, int(port) if port else self._address.port))
        if settings.peer:
            sources.append(d.static([d.Endpoint(peer.host, peer.port) for peer in settings.peer]))
        return d.Discovery(sources, own=d.OwnEndpoints(bound, advertised=told, local=d.local_hosts))

    async def start(self) -> None:
        """Listen for other nodes, and look for them."""
        await self.mesh.start(self._listener)
        await self._discovery.start(self)
        log.info("meshed", address=str(self._address))

    def found(self, host: str, port: int) -> None:
        """Take a candidate (`cluster.discovery.Candidates`)."""
        self.mesh.dial(host, port)

    def lost(self, host: str, port: int) -> None:
        """Drop one."""
        self.mesh.forget(host, port)

    def serve(self, address: Address | None) -> None:
        """Let clients on the network know of the Gearman listener; None: there is none at present."""
        if address is None:
            self._discovery.withdraw_clients()
        else:
            self._discovery.advertise_clients(address.host, address.port)

    async def close(self, *, failed: bool) -> None:
        """Say goodbye, and let all links go. `failed`: nobody asked this node to stop."""
        await self._discovery.close()
        await self.mesh.close(failed=failed)
