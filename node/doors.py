"""The Gearman listeners: open while the node can serve, shut while it cannot, so that clients go to a node that can.

Not for: who decides that (`node.driver`), or what comes in (`node.gateway`).
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Final

import structlog

from node.binding import bind_one, bound_address
from node.errors import ListenError

RETRY: Final = 0.5
"""Seconds until an address that somebody else has taken meanwhile is tried again."""

_EFFECT: Final = "its clients and workers are hung up on, so that they go to another node; it listens when this is over"

log = structlog.get_logger()


class Doors:
    """The listening sockets of one node."""

    def __init__(
        self,
        sockets: list[socket.socket],
        accept: Callable[[], asyncio.Protocol],
        *,
        backlog: int,
        name: str,
        changed: Callable[[bool], None],
    ) -> None:
        """Take over bound sockets. `changed` is told when all of them listen, and when none does any more."""
        self.addresses = [bound_address(listener) for listener in sockets]
        self._sockets = sockets
        self._accept = accept
        self._backlog = backlog
        self._name = name
        self._changed = changed
        self._wanted = False
        self._why_not: str | None = None
        self._wake = asyncio.Event()
        self._servers: list[asyncio.Server] = []
        self._ended = False

    def want(self, why_not: str | None) -> None:
        """Have the doors open, soon; or shut, if there is a reason why not."""
        self._why_not = why_not
        self._wanted = why_not is None
        self._wake.set()

    async def keep(self) -> None:
        """Open and shut them as wanted, until `close`."""
        while not self._ended:
            self._wake.clear()
            if self._wanted and not self._servers:
                await self._open()
            elif not self._wanted and self._servers:
                self._shut()
                log.warning("not_listening", why=self._why_not, effect=_EFFECT)
            else:
                await self._wake.wait()

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            for position, address in enumerate(self.addresses):
                listener = self._sockets[position] if self._sockets else bind_one(address)
                self._servers.append(await loop.create_server(self._accept, sock=listener, backlog=self._backlog))
        except (ListenError, OSError) as error:
            self._shut()
            log.error("cannot_listen", error=str(error))  # noqa: TRY400 - whose address it is says all
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RETRY):
                    await self._wake.wait()
            return
        self._sockets = []
        if not self._wanted or self._ended:
            self._shut()
            return
        for address in self.addresses:
            log.info("listening", address=str(address), name=self._name)
        self._changed(True)  # noqa: FBT003 - see `changed`

    def _shut(self) -> None:
        for server in self._servers:
            server.close()
        if self._servers:
            self._changed(False)  # noqa: FBT003 - see `changed`
        self._servers = []

    def close(self) -> None:
        """Shut them for good."""
        self._ended = True
        self._wanted = False
        self._shut()
        for listener in self._sockets:
            listener.close()
        self._wake.set()
