"""Put the nodes of a cluster on hosts: on this machine's loopback address, or each in a network namespace of its own.

A `Segment` is an Ethernet segment of such hosts, which can be cut between any two of them, in one direction or both.
It needs root, iproute2 and nftables. Nothing of it is to be seen in the network of the machine: the bridge lives in a
namespace too. Not for: the processes on the hosts (`tests.harness.cluster`).
"""

import contextlib
import ctypes
import itertools
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

_NAMESPACES = Path("/run/netns")
_CLONE_NEWNET = 0x40000000
_segments = itertools.count(1)


class Host(Protocol):
    """Where a process runs and a socket is opened."""

    address: str
    """Its IPv4 address."""

    def enter(self) -> list[str]:
        """Give what a command line starts with so that the process is on this host."""

    def socket(self) -> socket.socket:
        """Open a TCP socket of this host.

        Its protocol must be named: only then does asyncio switch Nagle's algorithm off, which costs 40 ms a packet.
        """


class ThisMachine:
    """The loopback address."""

    address = "127.0.0.1"

    def enter(self) -> list[str]:
        """Need nothing."""
        return []

    def socket(self) -> socket.socket:
        """Open a TCP socket."""
        return socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)


class NoNamespacesError(Exception):
    """This machine does not let the tests have network namespaces; the message says why."""


class NamespaceHost:
    """One host of a segment."""

    def __init__(self, namespace: str, number: int) -> None:
        self.namespace = namespace
        self.number = number
        self.address = f"10.77.0.{number}"

    def enter(self) -> list[str]:
        """Go into the namespace; the process that does so becomes the command."""
        return [_tool("ip"), "netns", "exec", self.namespace]

    def socket(self) -> socket.socket:
        """Open a TCP socket that belongs to the namespace, and to this process."""
        with _inside(self.namespace):
            return socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)


class Segment:
    """Hosts on one Ethernet segment: `desk`, where clients and workers sit, and those of the nodes.

    Multicast works. What is cut is dropped without a word, as by a broken switch; the desk reaches everybody always.
    """

    def __init__(self) -> None:
        """Plan a segment with nobody on it but the desk; hosts are added while it stands."""
        self._prefix = f"gm{os.getpid()}n{next(_segments)}"
        self._bridge = f"{self._prefix}-bridge"
        self.desk = NamespaceHost(f"{self._prefix}-desk", 250)
        self.hosts: list[NamespaceHost] = []

    def __enter__(self) -> Self:
        if os.geteuid() != 0:
            raise NoNamespacesError("network namespaces are root's")
        _remove_leftovers()
        try:
            self._lay()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def add(self) -> NamespaceHost:
        """Connect one more host."""
        host = NamespaceHost(f"{self._prefix}-h{len(self.hosts) + 1}", len(self.hosts) + 1)
        self._connect(host)
        self.hosts.append(host)
        return host

    def cut(self, one: NamespaceHost, other: NamespaceHost) -> None:
        """Let nothing pass between two hosts."""
        self.cut_one_way(one, other)
        self.cut_one_way(other, one)

    def cut_one_way(self, sender: NamespaceHost, receiver: NamespaceHost) -> None:
        """Let nothing pass from one host to another."""
        self._rule(f'iifname "v{sender.number}" oifname "v{receiver.number}" drop')

    def reject(self, one: NamespaceHost, other: NamespaceHost, answer: str = "") -> None:
        """Let the firewalls of two hosts reject what the other one sends; `answer`: "with tcp reset", or an ICMP error.

        The processes on them take it for the word of a host on which nobody listens.
        """
        for host, peer in ((one, other), (other, one)):
            self._in(host.namespace, "nft", "add", "table", "inet", "wall")
            self._in(host.namespace, "nft", "add chain inet wall input { type filter hook input priority 0; }")
            self._in(host.namespace, "nft", f"add rule inet wall input ip saddr {peer.address} reject {answer}")

    def isolate(self, host: NamespaceHost) -> None:
        """Let nothing pass between a host and all others but the desk."""
        for other in self.hosts:
            if other is not host:
                self.cut(host, other)

    def split(self, *sides: list[NamespaceHost]) -> None:
        """Let nothing pass between hosts of different sides."""
        for one_side, other_side in itertools.combinations(sides, 2):
            for one, other in itertools.product(one_side, other_side):
                self.cut(one, other)

    def lose(self, host: NamespaceHost, percent: int) -> None:
        """Drop that share of what a host is sent."""
        self._rule(f'oifname "v{host.number}" numgen random mod 100 < {percent} drop')

    def heal(self) -> None:
        """Undo every cut and every loss, and every firewall."""
        self._in_bridge("nft", "flush", "chain", "bridge", "cut", "forward")
        for host in self.hosts:
            self._in(host.namespace, "nft", "add", "table", "inet", "wall")
            self._in(host.namespace, "nft", "delete", "table", "inet", "wall")

    def remove(self) -> None:
        """Take the segment down; processes that are left on it have no network any more."""
        for namespace in (*(host.namespace for host in self.hosts), self.desk.namespace, self._bridge):
            _remove(namespace)
        self.hosts.clear()

    def _lay(self) -> None:
        _run("ip", "netns", "add", self._bridge)
        _run("ip", "-n", self._bridge, "link", "set", "lo", "up")
        _run("ip", "-n", self._bridge, "link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
        _run("ip", "-n", self._bridge, "link", "set", "br0", "up")
        self._in_bridge("nft", "add", "table", "bridge", "cut")
        self._in_bridge("nft", "add chain bridge cut forward { type filter hook forward priority 0; }")
        self._connect(self.desk)

    def _connect(self, host: NamespaceHost) -> None:
        cable = f"v{host.number}"
        _run("ip", "netns", "add", host.namespace)
        _run("ip", "-n", host.namespace, "link", "set", "lo", "up")
        _run(
            "ip",
            "-n",
            self._bridge,
            *("link", "add", cable, "type", "veth"),
            "peer",
            "name",
            "eth0",
            "netns",
            host.namespace,
        )
        _run("ip", "-n", self._bridge, "link", "set", cable, "master", "br0", "up")
        _run("ip", "-n", host.namespace, "addr", "add", f"{host.address}/24", "dev", "eth0")
        _run("ip", "-n", host.namespace, "link", "set", "eth0", "up")
        _run("ip", "-n", host.namespace, "route", "add", "default", "dev", "eth0")

    def _rule(self, rule: str) -> None:
        self._in_bridge("nft", f"add rule bridge cut forward {rule}")

    def _in_bridge(self, tool: str, *arguments: str) -> None:
        self._in(self._bridge, tool, *arguments)

    @staticmethod
    def _in(namespace: str, tool: str, *arguments: str) -> None:
        _run("ip", "netns", "exec", namespace, _tool(tool), *arguments)


def _tool(name: str) -> str:
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if path is None:
        package = {"ip": "iproute2", "nft": "nftables"}[name]
        raise NoNamespacesError(f"{name} is not installed: apt-get install {package}")
    return path


def _run(tool: str, *arguments: str) -> None:
    done = subprocess.run([_tool(tool), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoNamespacesError(f"{tool} {' '.join(arguments)}: {done.stderr.strip() or done.returncode}")


def _remove(namespace: str) -> None:
    if (_NAMESPACES / namespace).exists():
        _run("ip", "netns", "del", namespace)


def _remove_leftovers() -> None:
    """Remove the namespaces of test processes that were killed before they could."""
    if not _NAMESPACES.is_dir():
        return
    for namespace in _NAMESPACES.glob("gm*n*-*"):
        process = namespace.name.removeprefix("gm").partition("n")[0]
        if process.isdigit() and not Path(f"/proc/{process}").exists():
            with contextlib.suppress(NoNamespacesError):  # another test process may have been quicker
                _remove(namespace.name)


@contextlib.contextmanager
def _inside(namespace: str) -> Iterator[None]:
    """Put this thread into a namespace: what it opens there stays there."""
    with Path("/proc/thread-self/ns/net").open() as home, (_NAMESPACES / namespace).open() as away:
        _set_namespace(away.fileno())
        try:
            yield
        finally:
            _set_namespace(home.fileno())


def _set_namespace(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWNET) != 0:
        raise NoNamespacesError(f"setns: {os.strerror(ctypes.get_errno())}")
