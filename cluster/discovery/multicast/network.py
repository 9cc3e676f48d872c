"""Which of this host's interfaces multicast DNS is spoken on, and which addresses are announced there.

Not for: speaking (`responder`).
"""

from collections.abc import Sequence

import ifaddr
import msgspec

from cluster.discovery.endpoint import is_loopback, is_wildcard, reachable


class Interface(msgspec.Struct, frozen=True):
    """One network interface with its addresses."""

    index: int
    hosts: tuple[str, ...]
    """Its IP addresses; a link-local IPv6 address has its zone (`fe80::1%2`)."""


class Network(msgspec.Struct, frozen=True):
    """Where a listener can be announced."""

    interfaces: tuple[str | int, ...]
    """The interfaces to speak on: IPv4 addresses, and indexes for IPv6."""
    hosts: tuple[str, ...]
    """The addresses to announce."""


def host_interfaces() -> tuple[Interface, ...]:
    """Read this host's interfaces, in the system's order; those without an address are left out."""
    found = []
    for adapter in ifaddr.get_adapters():
        hosts = tuple(
            ip.ip if isinstance(ip.ip, str) else f"{ip.ip[0]}%{ip.ip[2]}" if ip.ip[2] else ip.ip[0]
            for ip in adapter.ips
        )
        if hosts and adapter.index is not None:
            found.append(Interface(adapter.index, hosts))
    return tuple(found)


def local_hosts() -> frozenset[str]:
    """Return every address of this host."""
    return frozenset(host for interface in host_interfaces() for host in interface.hosts)


def announced_hosts(bound: str, interfaces: Sequence[Interface]) -> tuple[str, ...]:
    """Return the addresses at which others reach a listener that is bound to `bound`.

    For one bound to every address these are the host's, without those that mean another host elsewhere (loopback,
    link-local IPv6), unless it has no others.
    """
    if not is_wildcard(bound):
        return (bound,)
    hosts = [host for interface in interfaces for host in interface.hosts if "%" not in host]
    if ":" not in bound:
        hosts = [host for host in hosts if ":" not in host]
    return reachable(host for host in hosts if not is_loopback(host)) or reachable(hosts)


def network_for(bound: str, interfaces: Sequence[Interface]) -> Network:
    """Return where to announce a listener bound to `bound`; without interfaces when there is nowhere.

    A listener on loopback is of use on this host alone, so nothing of it is said on other interfaces. One on every
    address speaks on all, loopback among them: another node of this host may listen there only.
    """
    speak: list[str | int] = []
    for interface in interfaces:
        ipv4 = [host for host in interface.hosts if ":" not in host]
        ipv6 = len(interface.hosts) > len(ipv4)
        if is_wildcard(bound):
            speak += ipv4
            if ipv6 and ":" in bound:
                speak.append(interface.index)
        elif is_loopback(bound) and any(is_loopback(host) for host in interface.hosts):
            speak += ipv4 or [interface.index]
        elif bound in interface.hosts:
            speak.append(interface.index if ":" in bound else bound)
    return Network(tuple(speak), announced_hosts(bound, interfaces) if speak else ())
