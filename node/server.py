"""A node's life: bind, become the user, find its group, recover, serve, drain, stop.

Not for: what happens while it serves (`node.gateway`, `node.driver`), or where settings come from (`node.cli`).
"""

import asyncio
import contextlib
import gc
import os
import random
import secrets
import signal
import socket
import sys
import time
from collections.abc import Coroutine, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final, NoReturn

import structlog
import uvloop

from cluster.jobs import Alarm, NodeUp, Resource
from cluster.raft import Message, Raft, RaftConfig
from cluster.storage import DiskFullError, DiskHungError, StorageError, StorageThread, Store
from node import logs
from node.alarms import disk_mark
from node.binding import bind, bind_one, bound_address
from node.configuration import Configuration
from node.disk_watch import DiskWatch
from node.doors import Doors
from node.driver import TICK, Driver, Weighed
from node.driver import Peers as DriverPeers
from node.driver.mirroring import MIRROR_LOG_BYTES
from node.errors import GearmeshError, RecoveryError
from node.gateway import Gateway
from node.links import Links
from node.machine import disk_room
from node.membership import Membership
from node.monitor import Monitor, memory_mark
from node.offload import Offloading
from node.peers import Nobody, Peers
from node.pidfile import pid_file
from node.privileges import drop_privileges
from node.recovery import Recovery, check_alone, found_alone, identify, resume
from node.relay import Parcel, Send
from node.site import ChangeRefusedError, Site
from node.status import NodeStatus

SWITCH_INTERVAL: Final = 0.0005
"""Seconds that a busy event loop may keep the storage thread waiting; by default it is 5 ms, for every commit."""
RECENT_LOG_BYTES: Final = 4 << 20
"""How much of the log that is durable and applied stays in memory."""
KEPT_LOG_BYTES: Final = 256 << 20
"""The most of the log that is kept on disk for members that lack it, and would be sent the whole table else."""
KEPT_SHARE: Final = 4
"""It is no more than this part of the disk space that is to be free: with less free no new job is taken."""
LEAST_KEPT: Final = 2 * MIRROR_LOG_BYTES
"""It is no less than what there is of the log anyway, from one mirror of the table to the next but one."""
COLLECT_AFTER: Final = 50_000
"""New container objects after which the garbage collector looks for cycles: the hot path makes none."""
HANDOVER_TIME: Final = 3.0
"""Seconds that a stopping leader waits for another node to lead."""
SETTLING_TIME: Final = 5.0
"""Seconds that a stopping node waits for its last words to get into the table, where that depends on others."""
ROOM_TO_OPEN: Final = 16 << 20
"""Bytes of disk space that are waited for where the database could not be opened for want of it."""
ROOM_CHECK: Final = 1.0
"""Seconds between two looks at that."""
LAST_WORDS: Final = 1.0
"""Seconds that the last lines of the log may take."""
QUORUM_CHECK: Final = 0.1
"""Seconds between two looks at whether these others are still there."""

log = structlog.get_logger()


def run(configuration: Configuration) -> int:
    """Serve until told to stop; return the exit status of the process.

    Raises `GearmeshError` or `StorageError` when the node cannot start.
    """
    sys.setswitchinterval(SWITCH_INTERVAL)
    gc.set_threshold(COLLECT_AFTER, 50, 100)
    with contextlib.ExitStack() as sockets:
        listeners = bind(configuration.listen)
        for listener in listeners:
            sockets.callback(listener.close)
        mesh = site = None
        if not configuration.alone:
            mesh = sockets.enter_context(bind_one(configuration.mesh, "; --mesh names another address for other nodes"))
        if configuration.http is not None:
            site = sockets.enter_context(
                bind_one(configuration.http, "; --http names another address for the site, or none")
            )
        drop_privileges(configuration.user)
        log.info("opening", data_dir=str(configuration.data_dir))
        store = _open(configuration.data_dir)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_Server(configuration, store, listeners, mesh, site).serve())


def _open(directory: Path) -> Store:
    """Open the store; on a full disk, as soon as there is room."""
    waiting = False
    while True:
        try:
            return Store.open(directory)
        except DiskFullError as error:
            if not waiting:
                log.warning("disk_full", why=str(error))
            waiting = True
            while disk_room(directory).free < ROOM_TO_OPEN:
                time.sleep(ROOM_CHECK)
        except StorageError as error:
            raise RecoveryError(str(error)) from error


def kept_bytes(disk_mark: int) -> int:
    """Return how much of the log is kept, where alarms over the disk are raised at this mark; 0: nowhere."""
    return max(LEAST_KEPT, min(KEPT_LOG_BYTES, disk_mark // KEPT_SHARE)) if disk_mark else KEPT_LOG_BYTES


class _Server:
    def __init__(
        self,
        configuration: Configuration,
        store: Store,
        listeners: list[socket.socket],
        mesh: socket.socket | None,
        site: socket.socket | None,
    ) -> None:
        self._configuration = configuration
        self._store = store
        self._listeners = listeners
        self._mesh_socket = mesh
        self._site_socket = site
        self._stop = asyncio.Event()
        self._listening = asyncio.Event()
        """Set when the Gearman listeners have been open once."""
        self._failure: Exception | None = None
        self._hung = asyncio.Event()
        """Set when the disk has not answered for too long: the storage thread will not end."""
        self._driver: Driver | None = None
        self._gateway: Gateway | None = None
        self._doors: Doors | None = None
        self._peers: Peers | None = None
        self._links: Links | None = None
        self._membership: Membership | None = None
        self._status: NodeStatus

    async def serve(self) -> int:
        """Find the group, recover, and serve until the end."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, logs.reopen)
        settings = self._configuration
        async with contextlib.AsyncExitStack() as ending:
            with _closing_on_error(self._store):
                identity = identify(self._store, f"{settings.name}-{secrets.token_hex(4)}")
                self._status = NodeStatus(settings, identity.node)
                if self._mesh_socket is not None:
                    self._peers = Peers()
                    self._links = Links(settings, identity.node, self._mesh_socket, self._peers)
                    self._membership = Membership(
                        settings,
                        identity,
                        self._peers,
                        loop=loop,
                        offload=Offloading(loop),
                        randrange=random.SystemRandom().randrange,
                        clock=time.time,
                        on_failure=self._failed,
                    )
                    self._peers.formation = self._membership
                    self._status.membership = self._membership
                    self._status.peers = self._peers
                    self._status.mesh_address = settings.advertise or bound_address(self._mesh_socket)
                if self._site_socket is not None:
                    site = Site(self._status, secret=settings.secret)
                    log.info("site_up", address=str(bound_address(self._site_socket)))
                    await site.start(self._site_socket)
                    ending.push_async_callback(site.close)
                if self._links is not None:
                    await self._links.start()
                    ending.push_async_callback(self._part, self._links)
                if identity.blank:
                    if self._membership is None:
                        found_alone(self._store, identity)
                    elif not await self._form(self._membership):
                        self._store.close()
                        log.info("stopped")
                        return 0 if self._failure is None else 1
            await self._take_part()
        if self._hung.is_set():
            _leave(1)
        if self._failure is not None:
            return 1
        log.info("stopped")
        return 0

    async def _form(self, membership: Membership) -> bool:
        """Find a group, or found one; False when the node is asked to stop before that."""
        formed = asyncio.Event()
        membership.form(self._store, formed.set)
        return await self._unless_stopped(_wait(formed))

    async def _take_part(self) -> None:
        """Serve as a node of the group."""
        loop = asyncio.get_running_loop()
        settings = self._configuration
        began = time.monotonic()
        disk = StorageThread(self._store, loop.call_soon_threadsafe, self._failed)
        with _closing_on_error(self._store):
            found = resume(self._store, disk.read)
            driver = self._make_driver(found, disk)
            if self._membership is None:
                check_alone(driver.name, driver.raft.configuration.members, settings.data_dir)
        self._driver = driver
        send: Send = Nobody().parcel if self._peers is None else self._peers.parcel
        self._gateway = gateway = Gateway(settings, driver, send, memory=memory_mark(settings.max_memory))
        self._doors = doors = Doors(
            self._listeners, gateway.accept, backlog=settings.backlog, name=settings.name, changed=self._opened
        )
        self._status.driver, self._status.gateway = driver, gateway
        self._status.group = found.record.group
        monitor = Monitor(
            settings,
            driver.name,
            loop=loop,
            offload=Offloading(loop),
            written=lambda: driver.applied_bytes,
            changed=partial(self._alarmed, driver, disk),
        )
        self._status.monitor = monitor
        watch = DiskWatch(
            disk,
            settings.data_dir,
            settings.disk_timeout,
            loop=loop,
            clock=driver.awake,
            alone=lambda: driver.alone,
            failed=self._disk_hung,
        )
        disk.start()
        try:
            if self._membership is not None and self._peers is not None:
                self._membership.take_part(found, driver, disk)
                self._peers.group = self
            watch.start()
            monitor.start()  # a node that is short of something says so with its first words
            found.log.arrived = driver.wake
            driver.start(gateway)
            found.log.release()
            gc.collect()
            gc.freeze()
            log.info(
                "recovered",
                data_dir=str(settings.data_dir),
                node=driver.name,
                jobs=len(driver.table.jobs),
                seconds=round(time.monotonic() - began, 3),
            )
            keeper = asyncio.create_task(doors.keep())
            keeper.add_done_callback(self._kept)
            if await self._unless_stopped(_wait(self._listening)):
                with pid_file(settings.pid_file):
                    await self._stop.wait()
                    await self._end(gateway, driver, doors)
            else:
                await self._end(gateway, driver, doors)
            closed = asyncio.Event()
            gateway.close(closed.set)
            await closed.wait()
            await asyncio.sleep(0)  # the transports write what they were given last
            await keeper
        finally:
            monitor.stop()
            if self._peers is not None:
                self._peers.group = None
            if self._membership is not None:
                self._membership.close()
            if self._failure is None:
                driver.stop()
            await self._close(disk)
            watch.stop()

    def _make_driver(self, found: Recovery, disk: StorageThread) -> Driver:
        settings = self._configuration
        loop = asyncio.get_running_loop()
        peers: DriverPeers = Nobody() if self._peers is None else self._peers
        raft = Raft(
            RaftConfig(
                id=found.node,
                randrange=random.SystemRandom().randrange,
                max_recent_bytes=RECENT_LOG_BYTES,
                kept_bytes=kept_bytes(disk_mark(settings.min_free_disk, disk_room(settings.data_dir))),
                disk_ticks=max(1, round(settings.disk_timeout / TICK)),
            ),
            found.durable,
        )
        membership = self._membership
        callbacks: dict[str, Any] = {}
        if membership is not None:
            callbacks = {"on_standing": membership.standing, "on_configuration": membership.configured}
        return Driver(
            name=found.node,
            incarnation=found.incarnation,
            first=NodeUp(
                settings.job_handle_prefix.encode(),
                settings.job_retries,
                settings.max_packet,
                settings.max_functions,
                self._links.process if self._links is not None else "",
                int(settings.node_timeout * 1000),
            ),
            table=found.table,
            mirror_writer=found.mirror_writer,
            raft=raft,
            disk=disk,
            peers=peers,
            loop=loop,
            offload=Offloading(loop),
            clock=time.time,
            node_timeout=settings.node_timeout,
            on_serving=self._serving,
            on_failure=self._failed,
            **callbacks,
        )

    def _alarmed(self, driver: Driver, disk: StorageThread, alarm: Alarm) -> None:
        driver.alarm(alarm)
        if alarm.resource == Resource.DISK:
            disk.keep_free_pages(keep=not alarm.mark)

    # -- what the driver and the doors say ----------------------------------------------------------------------------

    def _serving(self, serving: bool) -> None:  # noqa: FBT001 - the driver's callback
        if self._doors is not None:
            self._doors.want(None if serving else self._status.why_not_serving())

    def _opened(self, opened: bool) -> None:  # noqa: FBT001 - the doors' callback
        self._status.listening = opened
        if opened:
            self._listening.set()
        if self._links is not None and self._doors is not None:
            self._links.serve(self._doors.addresses[0] if opened else None)

    def _kept(self, keeper: asyncio.Task[None]) -> None:
        if not keeper.cancelled() and isinstance(error := keeper.exception(), Exception):
            self._failed(error)

    # -- what other nodes say (`node.peers.GroupSide`) ----------------------------------------------------------------

    def linked(self, node: str, process: str) -> None:
        """Take note of a new link to a process of a node."""
        if self._driver is not None and self._gateway is not None:
            self._driver.linked(node, process)
            self._gateway.relay.linked(node)

    def ended(self, node: str, process: str, *, goodbye: bool) -> None:
        """Take note of proof that a process of a node has ended."""
        if self._driver is not None:
            self._driver.ended(node, process, goodbye=goodbye)

    def unreachable(self, node: str) -> None:
        """Take note that a node may have ended."""
        if self._driver is not None:
            self._driver.unreachable(node)

    def consensus(self, message: Message) -> None:
        """Take a message of consensus."""
        if self._driver is not None:
            self._driver.receive(message)

    def batches(self, node: str, batches: list[Weighed]) -> None:
        """Take batches for the leader."""
        if self._driver is not None:
            self._driver.offer(node, batches)

    def parcel(self, node: str, parcel: Parcel) -> None:
        """Take reports, or the receipt for some."""
        if self._gateway is not None:
            self._gateway.parcel(node, parcel)

    # -- the end ------------------------------------------------------------------------------------------------------

    async def _unless_stopped(self, work: Coroutine[Any, Any, None], within: float | None = None) -> bool:
        """Do something `within` seconds, unless the node is asked to stop first; tell whether it was done."""
        doing = asyncio.ensure_future(work)
        stopping = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait([doing, stopping], timeout=within, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if doing.done():
            doing.result()
            return True
        doing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await doing
        return False

    async def _end(self, gateway: Gateway, driver: Driver, doors: Doors) -> None:
        self._status.stopping = True
        doors.close()
        if self._failure is None:
            await self._drain(gateway, driver)

    async def _drain(self, gateway: Gateway, driver: Driver) -> None:
        """Let another node lead, running jobs end, and everything accepted so far be answered."""
        timeout = self._configuration.drain_timeout
        log.info("draining", running=gateway.running, awaited=gateway.awaited, timeout=timeout)
        self._stop.clear()  # a second signal, or a failure, ends the waiting
        drained = asyncio.Event()
        gateway.drain(drained.set)
        if not driver.alone:
            await self._unless_stopped(self._hand_over(driver), within=HANDOVER_TIME)
            if driver.leads:
                log.warning("not_handed_over", why="no other node has come to lead")
        await self._unless_stopped(_wait(drained), within=timeout)
        if gateway.running or gateway.awaited:
            log.warning("not_drained", running=gateway.running, awaited=gateway.awaited)
        if self._failure is None:
            self._stop.clear()
            settled = asyncio.Event()
            driver.when_empty(settled.set)
            await self._unless_stopped(self._settle(driver, settled), within=None if driver.alone else SETTLING_TIME)
            gateway.flush()

    async def _hand_over(self, driver: Driver) -> None:
        if driver.leads and self._status.quorum_linked(driver):
            with contextlib.suppress(ChangeRefusedError):
                await self._status.transfer(None)

    async def _settle(self, driver: Driver, settled: asyncio.Event) -> None:
        """Wait for this node's last words to get into the table, as long as that is possible."""
        while not settled.is_set() and self._status.quorum_linked(driver):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(QUORUM_CHECK):
                    await settled.wait()

    async def _part(self, links: Links) -> None:
        await links.close(failed=self._failure is not None)

    def _disk_hung(self, error: DiskHungError) -> None:
        self._hung.set()
        self._failed(error)

    async def _close(self, disk: StorageThread) -> None:
        """Close the disk, unless it does not answer."""
        closing = asyncio.ensure_future(asyncio.to_thread(disk.close))
        hanging = asyncio.ensure_future(self._hung.wait())
        await asyncio.wait([closing, hanging], return_when=asyncio.FIRST_COMPLETED)
        hanging.cancel()
        if closing.done():
            closing.result()

    def _failed(self, error: Exception) -> None:
        if self._driver is not None:
            self._driver.fail()
        if self._failure is None:
            self._failure = error
            log.critical("failed", error=str(error), exc_info=not isinstance(error, StorageError | GearmeshError))
            self._stop.set()


def _leave(status: int) -> NoReturn:
    """End the process at once: the interpreter would wait for the thread that the disk does not answer."""
    logs.flush(LAST_WORDS)
    os._exit(status)


async def _wait(event: asyncio.Event) -> None:
    await event.wait()


@contextlib.contextmanager
def _closing_on_error(store: Store) -> Iterator[None]:
    try:
        yield
    except BaseException:
        store.close()
        raise
