"""The dialling end: addresses that are tried again and again, later each time, as long as their nodes are not linked.

Not for: what is said on a connection (`cluster.mesh.encounter`), or which addresses there are (`cluster.discovery`).
"""

import asyncio
import errno
import random
from collections.abc import Callable, Iterable
from typing import Final, Protocol

import aiohttp
import structlog
from yarl import URL

from cluster.mesh import liveness
from cluster.mesh.certificates import Certificates
from cluster.mesh.connection import Connection
from cluster.mesh.errors import (
    ClosedError,
    DuplicateError,
    MeshError,
    OwnAddressError,
    ProtocolError,
    RefusedByPeerError,
    RefusedError,
)
from cluster.mesh.handshake import MAX_HANDSHAKE_FRAME, Role
from cluster.mesh.liveness import LivenessConnection
from cluster.mesh.peer import Address
from cluster.mesh.reception import PATH
from cluster.mesh.refusals import Refusals
from cluster.mesh.settings import Timing

_HANGING_UP: Final = 2
"""Failures in a row after which an address that hangs up is said to do so: a node that ends does it as well."""

_HUNG_UP: Final = "it hangs up on the request for a link: perhaps it speaks TLS, and this node was given no --mesh-cert"
_HUNG_UP_ON_TLS: Final = "TLS: it hangs up: it does not trust this node's certificate, says the log of the node there"

_log: Final = structlog.get_logger()


class Target:
    """One address."""

    def __init__(self, address: Address, *, asked: bool) -> None:
        self.address = address
        self.asked = asked
        """Whether the owner of the mesh asked for it; others are given up when they fail for long."""
        self.node: str | None = None
        """Who answered there last, as far as is known."""
        self.claims: str | None = None
        """Who said it was there, whether proven or not."""
        self.own = False
        """Whether it is this node's own address."""
        self.failures = 0
        """Attempts in a row that brought no link."""
        self.trouble = ""
        """Why the last attempt brought no link, as far as that is known and worth an operator's while."""
        self.flaps = 0
        """Links in a row that did not hold."""
        self.failing_since: float | None = None
        self.held = 0.0
        """For how many seconds the link that was lost last had held."""
        self.wake = asyncio.Event()
        self.task: asyncio.Task[None] | None = None


class DialOwner(Protocol):
    """What a dialler asks of the node, and what it tells."""

    def linked(self, node: str | None) -> bool:
        """Tell whether there is a link with a node."""

    def held_back(self, node: str | None) -> float:
        """Tell for how many seconds a node must not be linked."""

    async def meet(self, connection: Connection, target: Target) -> None:
        """Make the connection a link. Raises MeshError."""

    def host_refuses(self, address: Address) -> None:
        """Take note that nobody listens at an address, on a host that is there."""


class _Upgraded(aiohttp.ClientWebSocketResponse):
    """Gives out the transport of a WebSocket that aiohttp has opened."""

    def __init__(self, *args: object, **named: object) -> None:
        super().__init__(*args, **named)  # type: ignore[arg-type]  # whatever aiohttp passes, unchanged
        connection = self._response.connection
        self.transport = None if connection is None else connection.transport

    def release(self, _: object) -> None:
        """Let aiohttp forget the connection."""
        self._response.close()


class Dialler:
    """Dials targets until it is closed."""

    def __init__(
        self,
        owner: DialOwner,
        certificates: Certificates | None,
        refusals: Refusals,
        timing: Timing,
        learned: int,
        chance: random.Random,
    ) -> None:
        """Begin without targets; at most `learned` of them may be ones that nobody asked for."""
        self._owner = owner
        self._certificates = certificates
        self._refusals = refusals
        self._timing = timing
        self._learned = learned
        self._chance = chance
        self._loop = asyncio.get_running_loop()
        self._targets: dict[Address, Target] = {}
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, force_close=True, ttl_dns_cache=0, use_dns_cache=False),
            timeout=aiohttp.ClientTimeout(total=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            ws_response_class=_Upgraded,
            max_line_size=1024,
            max_field_size=1024,
        )

    def addresses(self) -> Iterable[Address]:
        """Tell which addresses are being watched over."""
        return tuple(self._targets)

    def troubles(self) -> dict[str, str]:
        """Tell why there is no link with whoever is at an address, where that is known."""
        return {
            str(address): target.trouble
            for address, target in self._targets.items()
            if target.trouble and not self._owner.linked(target.node)
        }

    def dial(self, address: Address, *, asked: bool) -> None:
        """Keep trying an address."""
        target = self._targets.get(address)
        if target is not None:
            target.asked = target.asked or asked
            return
        if not asked and sum(not other.asked for other in self._targets.values()) >= self._learned:
            return
        target = self._targets[address] = Target(address, asked=asked)
        target.task = self._loop.create_task(self._keep(target))

    def forget(self, address: Address) -> None:
        """Try an address no more."""
        target = self._targets.pop(address, None)
        if target is not None and target.task is not None:
            target.task.cancel()

    def lost(self, node: str, held: float) -> None:
        """Dial a node: the link with it is lost, `held` seconds after it came up."""
        for target in self._targets.values():
            if target.node == node:
                target.held = held
                target.wake.set()

    async def stop(self) -> None:
        """End all attempts; links stay."""
        tasks = [target.task for target in self._targets.values() if target.task is not None]
        self._targets.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self) -> None:
        """Drop every connection that was dialled."""
        await self.stop()
        await self._session.close()

    async def _keep(self, target: Target) -> None:
        while True:
            if target.own or self._owner.linked(target.node):
                target.failures = 0
                await self._pause(target, None)
                delay = self._after_loss(target)
            elif (delay := self._owner.held_back(target.node)) <= 0:
                if await self._attempt(target):
                    continue
                if self._hopeless(target):
                    del self._targets[target.address]
                    return
                delay = self._delay(target.failures)
            while delay > 0 and await self._pause(target, delay):
                delay = self._after_loss(target)

    async def _pause(self, target: Target, delay: float | None) -> bool:
        """Wait; tell whether a link was lost meanwhile."""
        target.wake.clear()
        try:
            async with asyncio.timeout(delay):
                await target.wake.wait()
        except TimeoutError:
            return False
        return True

    def _after_loss(self, target: Target) -> float:
        """Tell how long to wait after a link was lost: not at all, unless it is one of several that did not hold."""
        target.failing_since = None
        if target.held >= self._timing.settled:
            target.flaps = 0
            return 0.0
        target.flaps += 1
        return 0.0 if target.flaps == 1 else self._delay(target.flaps - 1)

    def _delay(self, times: int) -> float:
        longest = min(self._timing.longest_delay, self._timing.first_delay * 2.0 ** min(times - 1, 20))
        return longest * self._chance.uniform(0.5, 1.0)

    def _hopeless(self, target: Target) -> bool:
        now = self._loop.time()
        target.failures += 1
        if target.failing_since is None:
            target.failing_since = now
        return not target.asked and now - target.failing_since >= self._timing.abandon

    async def _attempt(self, target: Target) -> bool:
        """Dial once; tell whether there is a link with whoever is there."""
        host = str(target.address)
        before, target.trouble = target.trouble, ""
        try:
            async with asyncio.timeout(self._timing.handshake):
                await self._dial(target)
        except OwnAddressError:
            target.own = True
        except DuplicateError:
            # The link is there, or is about to be.
            return self._owner.linked(target.node)
        except (RefusedError, RefusedByPeerError) as error:
            by = {"by_peer": True} if isinstance(error, RefusedByPeerError) else {}
            self._report(target, str(error), node=target.claims, **by)
            target.failures += 10
        except ProtocolError as error:
            self._report(target, str(error))
        except aiohttp.ClientConnectorCertificateError as error:
            self._report(target, f"TLS: {error.certificate_error}")
        except aiohttp.ClientConnectorError as error:
            if error.os_error.errno == errno.ECONNREFUSED:
                self._owner.host_refuses(target.address)
            elif isinstance(error, aiohttp.ClientSSLError):
                self._report(target, f"TLS: {error.os_error}")
        except aiohttp.WSServerHandshakeError as error:
            self._report(target, f"it is no node: it answers {error.status} to the request for a link")
        except aiohttp.ServerDisconnectedError:
            # In TLS 1.3 the dialling end has shaken hands before the other has looked at its certificate.
            if target.failures >= _HANGING_UP:
                self._report(target, _HUNG_UP if self._certificates is None else _HUNG_UP_ON_TLS)
        except TimeoutError as error:
            # A process that does not turn refuses nothing; what it said before still stands.
            target.trouble = before
            _log.debug("dial_failed", address=host, error=type(error).__name__)
        except (ClosedError, OSError, OverflowError, aiohttp.ClientError, ValueError) as error:
            # Not there at present; the next attempt may find it.
            _log.debug("dial_failed", address=host, error=str(error) or type(error).__name__)
        else:
            return True
        return False

    def _report(self, target: Target, reason: str, **details: object) -> None:
        target.trouble = reason
        self._refusals.report(str(target.address), reason, **details)

    async def open_liveness(
        self, address: Address, header: str, lost: Callable[[LivenessConnection, bool], None]
    ) -> LivenessConnection | None:
        """Open a liveness connection; None when that cannot be done now."""
        try:
            async with asyncio.timeout(self._timing.handshake):
                upgraded, transport = await self._upgrade(address, liveness.PATH, {liveness.HEADER: header})
        except (MeshError, OSError, ValueError, TimeoutError, aiohttp.ClientError) as error:
            _log.debug("liveness_failed", address=str(address), error=str(error) or type(error).__name__)
            return None
        connection = LivenessConnection(transport, lost)
        connection.closed.add_done_callback(upgraded.release)
        return connection

    async def _upgrade(
        self, address: Address, path: str, headers: dict[str, str] | None = None
    ) -> tuple[_Upgraded, asyncio.Transport]:
        """Connect, and have a WebSocket opened."""
        context = None if self._certificates is None else self._certificates.for_dialling()
        url = URL.build(scheme="ws" if context is None else "wss", host=address.host, port=address.port, path=path)
        upgraded = await self._session.ws_connect(
            url,
            ssl=True if context is None else context,
            headers=headers,
            autoping=False,
            autoclose=False,
            max_msg_size=MAX_HANDSHAKE_FRAME,
        )
        assert isinstance(upgraded, _Upgraded)
        if upgraded.transport is None or upgraded.transport.is_closing():
            upgraded.release(None)
            raise ClosedError("the connection was closed")
        return upgraded, upgraded.transport

    async def _dial(self, target: Target) -> None:
        upgraded, transport = await self._upgrade(target.address, PATH)
        connection = Connection(transport, Role.DIALLER, self._timing)
        connection.closed.add_done_callback(upgraded.release)
        try:
            await self._owner.meet(connection, target)
        except MeshError:
            connection.close()
            raise
        except BaseException:
            connection.abort()
            raise
