"""A node's life: bind, become the user, recover, listen, serve, drain, stop.

Not for: what happens while it serves (`node.gateway`, `node.driver`), or where settings come from (`node.cli`).
"""

import asyncio
import contextlib
import gc
import random
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Final

import structlog
import uvloop

from cluster.jobs import NodeUp
from cluster.raft import Raft, RaftConfig
from cluster.storage import StorageError, StorageThread, Store
from node import logs
from node.configuration import Address, Configuration
from node.driver import Driver
from node.errors import GearmeshError, ListenError, RecoveryError
from node.gateway import Gateway
from node.offload import Offloading
from node.peers import Nobody
from node.pidfile import pid_file
from node.privileges import drop_privileges
from node.recovery import recover

SWITCH_INTERVAL: Final = 0.0005
"""Seconds that a busy event loop may keep the storage thread waiting; by default it is 5 ms, for every commit."""
RECENT_LOG_BYTES: Final = 4 << 20
"""How much of the log that is durable and applied stays in memory."""
COLLECT_AFTER: Final = 50_000
"""New container objects after which the garbage collector looks for cycles: the hot path makes none."""

log = structlog.get_logger()


def run(configuration: Configuration) -> int:
    """Serve until told to stop; return the exit status of the process.

    Raises `GearmeshError` or `StorageError` when the node cannot start.
    """
    sys.setswitchinterval(SWITCH_INTERVAL)
    gc.set_threshold(COLLECT_AFTER, 50, 100)
    listeners = bind(configuration)
    try:
        drop_privileges(configuration.user)
        try:
            store = Store.open(configuration.data_dir)
        except StorageError as error:
            raise RecoveryError(str(error)) from error
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_Server(configuration, store, listeners).serve())
    finally:
        for listener in listeners:
            listener.close()


def bind(configuration: Configuration) -> list[socket.socket]:
    """Bind every address of the configuration, so that a taken one is found out before anything else happens."""
    sockets: list[socket.socket] = []
    try:
        for address in configuration.listen:
            sockets.append(_bound(address))  # noqa: PERF401 - those bound before a failure have to be closed
    except BaseException:
        for bound in sockets:
            bound.close()
        raise
    return sockets


def _bound(address: Address) -> socket.socket:
    try:
        family, kind, number, _, where = socket.getaddrinfo(
            address.host or None, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, number)
    except OSError as error:
        raise ListenError(f"cannot listen on {address}: {error.strerror}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family is socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(where)
    except OSError as error:
        listener.close()
        raise ListenError(f"cannot listen on {address}: {error.strerror}") from error
    return listener


class _Server:
    def __init__(self, configuration: Configuration, store: Store, listeners: list[socket.socket]) -> None:
        self._configuration = configuration
        self._store = store
        self._listeners = listeners
        self._stop = asyncio.Event()
        self._serving = asyncio.Event()
        self._failure: Exception | None = None
        self._driver: Driver | None = None

    async def serve(self) -> int:
        """Recover, listen, and serve until the end."""
        loop = asyncio.get_running_loop()
        settings = self._configuration
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, logs.reopen)
        began = time.monotonic()
        disk = StorageThread(self._store, loop.call_soon_threadsafe, self._failed)
        driver, release = self._recover(disk)
        self._driver = driver
        gateway = Gateway(settings, driver, Nobody().parcel)
        disk.start()
        try:
            driver.start(gateway)
            await self._either(self._serving)
            release()
            gc.collect()
            gc.freeze()
            log.info(
                "recovered",
                data_dir=str(settings.data_dir),
                node=driver.name,
                jobs=len(driver.table.jobs),
                seconds=round(time.monotonic() - began, 3),
            )
            servers = [
                await loop.create_server(gateway.accept, sock=listener, backlog=settings.backlog)
                for listener in self._listeners
            ]
            with pid_file(settings.pid_file):
                for listener in self._listeners:
                    host, port = listener.getsockname()[:2]
                    log.info("listening", address=str(Address(host, port)), name=settings.name)
                await self._stop.wait()
                for server in servers:
                    server.close()
                if self._failure is None:
                    await self._drain(gateway, driver)
            gateway.close()
            await asyncio.sleep(0)  # the transports write what they were given last
        finally:
            if self._failure is None:
                driver.stop()
            await asyncio.to_thread(disk.close)
        if self._failure is not None:
            return 1
        log.info("stopped")
        return 0

    def _recover(self, disk: StorageThread) -> tuple[Driver, Callable[[], None]]:
        """Make the driver that goes on from what the disk has, and what lets go of the memory that took."""
        settings = self._configuration
        try:
            found = recover(self._store, f"{settings.name}-{secrets.token_hex(4)}", disk.read)
        except BaseException:
            self._store.close()
            raise
        loop = asyncio.get_running_loop()
        driver = Driver(
            name=found.node,
            incarnation=found.incarnation,
            first=NodeUp(settings.job_handle_prefix.encode(), settings.job_retries),
            table=found.table,
            mirror_writer=found.mirror_writer,
            raft=Raft(
                RaftConfig(id=found.node, randrange=random.SystemRandom().randrange, max_recent_bytes=RECENT_LOG_BYTES),
                found.durable,
            ),
            disk=disk,
            peers=Nobody(),
            loop=loop,
            offload=Offloading(loop),
            clock=time.time,
            node_timeout=settings.node_timeout,
            on_serving=lambda serving: self._serving.set() if serving else self._serving.clear(),
            on_failure=self._failed,
        )
        return driver, found.log.release

    async def _either(self, ready: asyncio.Event) -> None:
        """Wait until ready, or until there is nothing to wait for any more."""
        waits = [asyncio.ensure_future(ready.wait()), asyncio.ensure_future(self._stop.wait())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    async def _drain(self, gateway: Gateway, driver: Driver) -> None:
        """Let running jobs end, and everything accepted so far be answered."""
        timeout = self._configuration.drain_timeout
        log.info("draining", running=gateway.running, timeout=timeout)
        self._stop.clear()  # a second signal, or a failure, ends the waiting
        drained = asyncio.Event()
        gateway.drain(drained.set)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._either(drained)
        if gateway.running:
            log.warning("not_drained", running=gateway.running)
        settled = asyncio.Event()
        driver.when_settled(settled.set)
        if self._failure is None:
            self._stop.clear()
            await self._either(settled)
            gateway.flush()

    def _failed(self, error: Exception) -> None:
        if self._driver is not None:
            self._driver.fail()
        if self._failure is None:
            self._failure = error
            log.critical("failed", error=str(error), exc_info=not isinstance(error, StorageError | GearmeshError))
            self._stop.set()
