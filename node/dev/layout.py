"""Who is where in a cluster on one machine: names, ports, directories, and each node's command line.

Not for: running them (`session`).
"""

import contextlib
import hashlib
import os
import shlex
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

import msgspec

from node.configuration import Address, values
from node.errors import ConfigurationError, ListenError

MOST_NODES: Final = 9
STEP: Final = 10
"""Ports from one node to the next."""
HTTP_OFFSET: Final = 50
"""Ports from the first Gearman port to the first HTTP port, as from 4730 to 4780; more when there are more nodes."""

SETTLED_HERE: Final = frozenset(
    "GEARMESH_" + setting
    for setting in (
        *("NAME", "CLUSTER", "DATA_DIR", "LISTEN", "MESH", "HTTP", "ADVERTISE", "EXPECT", "DISCOVERY", "PEER"),
        *("SECRET", "SECRET_FILE", "INSECURE", "MESH_CERT", "MESH_KEY", "MESH_CA"),
        *("CONFIG", "PID_FILE", "LOG_FILE", "USER"),
    )
)
"""Variables that nodes on one machine cannot share, or that say how they find and trust each other."""


class NodeLayout(msgspec.Struct, frozen=True):
    """Where one node is."""

    name: str
    data_dir: Path
    pid_file: Path
    listen: Address
    """Gearman."""
    mesh: Address
    http: Address

    @property
    def site(self) -> str:
        """The URL of its HTTP site, as it is reached from this machine."""
        return f"http://{reachable(self.http)}"


class ClusterLayout(msgspec.Struct, frozen=True):
    """Where the nodes of a cluster are, and what they have in common."""

    directory: Path
    nodes: tuple[NodeLayout, ...]
    program: tuple[str, ...]
    """The command that `serve` and a node's flags are added to."""
    cluster: str = ""

    @property
    def secret_file(self) -> Path:
        """The file with the secret that the nodes share."""
        return self.directory / "secret"

    def of_cluster_named_after(self, secret: str) -> Self:
        """Return the same layout for a cluster of a name of its own, that stays the same with its secret.

        So it has nothing to do with other clusters on the network, whose names are others.
        """
        return msgspec.structs.replace(self, cluster=f"dev-{hashlib.sha256(secret.encode()).hexdigest()[:8]}")

    def command(self, node: NodeLayout) -> list[str]:
        """Return the command line that runs a node in the foreground."""
        console = {} if "GEARMESH_LOG_FORMAT" in os.environ else {"log-format": "console"}
        # They share the memory of one machine, of which each would take what is good for one alone.
        memory = {} if "GEARMESH_MAX_MEMORY" in os.environ else {"max-memory": f"{70 // len(self.nodes)}%"}
        flags = {
            "name": node.name,
            "cluster": self.cluster,
            "data-dir": node.data_dir,
            "pid-file": node.pid_file,
            "listen": node.listen,
            "mesh": node.mesh,
            "http": node.http,
            "expect": len(self.nodes),
            "discovery": "mdns",
            "secret-file": self.secret_file,
            **memory,
            **console,
        }
        return [*self.program, "serve", *(text for flag, value in flags.items() for text in (f"--{flag}", str(value)))]


def arrange(*, nodes: int, directory: Path, listen_base: int, host: str) -> ClusterLayout:
    """Give every node its place; raises `ConfigurationError` with everything that is wrong."""
    problems = []
    if not 1 <= nodes <= MOST_NODES:
        problems.append(f"--nodes: {nodes} is not between 1 and {MOST_NODES}")
    count = min(max(nodes, 1), MOST_NODES)
    # Beyond five nodes, the Gearman ports of the last ones would be the HTTP ports of the first.
    http_base = listen_base + max(HTTP_OFFSET, STEP * count)
    highest = 65535 - (http_base - listen_base) - STEP * (count - 1)
    if not 1 <= listen_base <= highest:
        problems.append(f"--listen-base: {listen_base} is not between 1 and {highest}")
    try:
        address, has_no_port = values.address(host, 0)
    except values.UnusableValueError as error:
        problems.append(f"--host: {error}")
    else:
        if not has_no_port:
            problems.append(f"--host: {values.quoted(host)} names a port: the ports follow from --listen-base")
    if problems:
        raise ConfigurationError(problems)

    def node(index: int) -> NodeLayout:
        name = f"node-{index + 1}"
        return NodeLayout(
            name,
            data_dir=directory / name,
            pid_file=directory / f"{name}.pid",
            listen=Address(address.host, listen_base + STEP * index),
            mesh=Address(address.host, listen_base + STEP * index + 1),
            http=Address(address.host, http_base + STEP * index),
        )

    return ClusterLayout(directory, tuple(map(node, range(nodes))), _program())


def require_free_ports(layout: ClusterLayout) -> None:
    """Raise `ListenError`, with every address that cannot be listened on and what may be done about it."""
    problems = []
    for node in layout.nodes:
        problems += [
            f"{address}: {reason} ({node.name}, {use})"
            for use, address in (("Gearman", node.listen), ("mesh", node.mesh), ("HTTP", node.http))
            if (reason := _why_not(address))
        ]
    if not problems:
        return
    left_over = [f"{node.name} is process {pid}" for node in layout.nodes if (pid := running_process(node))]
    if left_over:
        problems.append(f"nodes on {layout.directory} are still running: {', '.join(left_over)}; stop them with kill")
    else:
        problems.append("stop what listens there, or take other ports with --listen-base")
    raise ListenError("\n".join(problems))


def running_process(node: NodeLayout) -> int | None:
    """Return the id of the process that the node's pid file names, if there is one."""
    with contextlib.suppress(OSError, ValueError):
        pid = int(node.pid_file.read_text())
        os.kill(pid, 0)
        return pid
    return None


def environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """Return what a node's environment is: everything but what is settled here, or would be shared by mistake."""
    return {name: value for name, value in inherited.items() if name not in SETTLED_HERE}


def reachable(address: Address) -> Address:
    """Return an address to connect to for one to listen on: the loopback one for "every address"."""
    return Address({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host), address.port)  # noqa: S104 - read, not bound


def shown(command: list[str]) -> str:
    """Return a command line as it is typed into a shell."""
    return shlex.join(command)


def _why_not(address: Address) -> str | None:
    try:
        family, kind, number, _, where = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, number) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
            probe.listen(1)
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return None


def _program() -> tuple[str, ...]:
    """Return this program's own command, as it is best read; it is the same program either way."""
    script = Path(sys.executable).with_name("gearmesh")
    if not os.access(script, os.X_OK):
        return (sys.executable, "-m", "node")
    with contextlib.suppress(ValueError):
        return (str(script.relative_to(Path.cwd())),)
    return (str(script),)
