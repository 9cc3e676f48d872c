"""Bound sockets: where a node listens is settled before anything else happens, so that a taken address is found out.

Not for: accepting connections.
"""

import contextlib
import socket
from collections.abc import Iterable

from node.configuration import Address
from node.errors import ListenError


def bind(addresses: Iterable[Address]) -> list[socket.socket]:
    """Bind every address; raises `ListenError`, with none of them bound, where one cannot be had."""
    with contextlib.ExitStack() as bound:
        sockets = [bound.enter_context(bind_one(address)) for address in addresses]
        bound.pop_all()
        return sockets


def bind_one(address: Address, hint: str = "") -> socket.socket:
    """Bind one address; raises `ListenError`, whose text ends with the hint."""
    try:
        family, kind, number, _, where = socket.getaddrinfo(
            address.host or None, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, number)
    except OSError as error:
        raise ListenError(f"cannot listen on {address}: {error.strerror}{hint}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family is socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(where)
    except OSError as error:
        listener.close()
        raise ListenError(f"cannot listen on {address}: {error.strerror}{hint}") from error
    return listener


def bound_address(listener: socket.socket) -> Address:
    """Tell where a socket is bound: with the port that it got, where it asked for any."""
    host, port = listener.getsockname()[:2]
    return Address(host, port)
