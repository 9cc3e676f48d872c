"""This node's part in its group: how it came to one, who else is in it, and what operators want changed.

It drives formation's state machines: a blank node's (`Forming`) until there is a group, then a member's (`Admission`).
Not for: the decisions, which are theirs, or links and consensus, which carry them out.
"""

import asyncio
import contextlib
import math
import random
import time
from collections.abc import Callable
from typing import Final

import structlog

from cluster.formation import (
    Admission,
    AdmissionSettings,
    Answered,
    Dial,
    Forming,
    FormingSettings,
    Found,
    Join,
    Persist,
    ProposeConfiguration,
    Refuse,
    Removed,
    Report,
    Send,
    TransferLeadership,
)
from cluster.formation.actions import Action
from cluster.formation.messages import Message, Order
from cluster.raft import Configuration as GroupConfiguration
from cluster.raft import RefusedError, Standing
from cluster.storage import StorageError, StorageThread, Store
from node.configuration import Configuration
from node.driver import Driver
from node.errors import GearmeshError
from node.peers import Peers
from node.recovery import FORMATION, Identity, Recovery

TICK: Final = 0.1
"""Seconds between two looks at the clock."""

WORTH_LOGGING: Final = 1.0
"""Seconds that a node waits for the same thing before it is logged: most of it passes in a moment."""

WORTH_DOUBTING: Final = 5.0
"""Seconds for which something must be wrong with a member: to a process that was stopped, all clocks seem wrong."""
TRANSFER_INTERVAL: Final = 5.0
"""Seconds between two attempts to let another node lead because this one's clock is wrong."""

log = structlog.get_logger()


class OrderRefusedError(GearmeshError):
    """What an operator wants cannot be done; the text says why."""


class Membership:
    """`node.peers.FormationSide`, and what else there is to say about members."""

    def __init__(
        self,
        configuration: Configuration,
        identity: Identity,
        peers: Peers,
        on_failure: Callable[[Exception], None],
    ) -> None:
        """`on_failure` is told when the record cannot be kept."""
        self.reason = ""
        """What the node waits for, or why it is in no group any more; empty when it is in its group."""
        self.group = ""
        self._since = 0.0
        """Since when that is the reason."""
        self._logged = ""
        self._next_transfer = 0.0
        """When leadership may be given away for the clock's sake."""
        self._doubted: dict[str, float] = {}
        """Since when something is wrong with a member; infinity once it was logged."""
        self._configuration = configuration
        self._identity = identity
        self._peers = peers
        self._on_failure = on_failure
        self._random = random.SystemRandom()
        self._loop = asyncio.get_running_loop()
        self._machine: Forming | Admission | None = None
        self._driver: Driver | None = None
        self._disk: StorageThread | None = None
        self._store: Store | None = None
        self._writing: set[asyncio.Task[None]] = set()
        self._formed = asyncio.Event()
        self._orders: dict[int, asyncio.Future[str]] = {}
        self._timer: asyncio.TimerHandle | None = None

    # -- forming ------------------------------------------------------------------------------------------------------

    async def form(self, store: Store) -> None:
        """Find a group, or found one; returns when the node's record says so on `store`."""
        settings = self._configuration
        self._store = store
        self._machine = Forming(
            FormingSettings(
                node=self._identity.node, name=settings.name, expect=settings.expect, place=str(settings.data_dir)
            ),
            self._identity.record,
            randrange=self._random.randrange,
            now=_now(),
            wall=_wall(),
        )
        self._begin()
        await self._formed.wait()
        self._machine = None

    def take_part(self, recovery: Recovery, driver: Driver, disk: StorageThread) -> None:
        """Go on as a node that has a group."""
        settings = self._configuration
        self._driver = driver
        self._disk = disk
        self.group = recovery.record.group
        self.reason = ""
        self._machine = Admission(
            AdmissionSettings(
                node=self._identity.node, name=settings.name, expect=settings.expect, place=str(settings.data_dir)
            ),
            recovery.record,
            driver.committed_configuration,
            driver.committed_index,
            alive=lambda node: node in self._peers.mesh.peers,
            randrange=self._random.randrange,
            now=_now(),
            wall=_wall(),
        )
        self._begin()

    def _begin(self) -> None:
        machine = self._machine
        assert machine is not None
        for node in self._peers.mesh.peers:
            machine.linked(node)
        self._carry_out()
        self._tick()

    def _tick(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(TICK, self._tick)
        if self._machine is not None:
            self._machine.tick(_now(), _wall())
            self._carry_out()
        self._doubt()
        self._heed_the_clock()
        if self.reason != self._logged and self._loop.time() - self._since >= WORTH_LOGGING:
            self._logged = self.reason
            if self.reason:
                log.info("waiting", reason=self.reason)

    def _doubt(self) -> None:
        """Log what is wrong with other members, once for as long as it lasts."""
        doubts = dict(self._machine.doubts()) if isinstance(self._machine, Admission) else {}
        now = self._loop.time()
        self._doubted = {node: self._doubted.get(node, now) for node in doubts}
        for node, reason in doubts.items():
            if now - self._doubted[node] >= WORTH_DOUBTING:
                self._doubted[node] = math.inf
                log.warning("doubtful_member", node=node, reason=reason)

    def _heed_the_clock(self) -> None:
        """Let another node lead where this one's clock is wrong: delayed jobs and time limits go by the leader's."""
        driver, machine, now = self._driver, self._machine, self._loop.time()
        if driver is None or not driver.leads or not isinstance(machine, Admission) or not machine.astray:
            self._next_transfer = now + WORTH_DOUBTING
            return
        heirs = [voter for voter in driver.raft.configuration.voters if voter in self._peers.mesh.peers]
        if heirs and now >= self._next_transfer:
            self._next_transfer = now + TRANSFER_INTERVAL
            log.error("clock_astray", why="most members' clocks differ from this node's: it leaves leading to another")
            with contextlib.suppress(RefusedError):
                driver.transfer(self._random.choice(heirs))

    def close(self) -> None:
        """Do nothing more."""
        if self._timer is not None:
            self._timer.cancel()
        self._machine = None
        for waiting in self._orders.values():
            waiting.cancel()

    # -- what happens -------------------------------------------------------------------------------------------------

    def linked(self, node: str) -> None:
        """Take note of a new link."""
        if self._machine is not None:
            self._machine.linked(node)
            self._carry_out()

    def unlinked(self, node: str) -> None:
        """Take note of a lost one."""
        if self._machine is not None:
            self._machine.unlinked(node)
            self._carry_out()

    def received(self, node: str, message: Message) -> None:
        """Take a message."""
        if self._machine is not None:
            self._machine.received(node, message)
            self._carry_out()

    def comrade(self, node: str) -> bool:
        """Tell whether a node is known to be of this node's group."""
        machine = self._machine
        if not isinstance(machine, Admission):
            return False
        presence = machine.presence_of(node)
        return presence is not None and presence.group == self.group

    @property
    def removed(self) -> bool:
        """Tell whether this node is not in its group any more."""
        return isinstance(self._machine, Admission) and self._machine.removed

    def name_of(self, node: str) -> str:
        """Give the name of a member."""
        machine = self._machine
        return machine.name_of(node) if isinstance(machine, Admission) else node.rpartition("-")[0]

    def standing(self, standing: Standing) -> None:
        """Take note of who leads."""
        if isinstance(self._machine, Admission):
            self._machine.standing(standing.leader)
            self._carry_out()

    def configured(self, configuration: GroupConfiguration, index: int) -> None:
        """Take note of a configuration that is committed."""
        if isinstance(self._machine, Admission):
            self._machine.applied(configuration, index)
            self._carry_out()

    # -- what operators want ------------------------------------------------------------------------------------------

    async def order(self, order: Order) -> None:
        """Have an order carried out by the leader, whoever that is. Raises `OrderRefusedError`."""
        machine = self._machine
        if not isinstance(machine, Admission):
            raise OrderRefusedError(f"this node has no group yet: {self.reason}")
        ticket = machine.ask(order)
        waiting = self._orders[ticket] = self._loop.create_future()
        self._carry_out()
        try:
            error = await waiting
        finally:
            del self._orders[ticket]
        if error:
            raise OrderRefusedError(error)

    # -- carrying out -------------------------------------------------------------------------------------------------

    def _carry_out(self) -> None:
        while self._machine is not None and (actions := self._machine.take()):
            for action in actions:
                self._do(action)

    def _do(self, action: Action) -> None:
        match action:
            case Send(to, message):
                self._peers.tell(to, message)
            case Persist(record):
                self._persist(record)
            case Found(group, members):
                log.info("group_founded", group=group, members=list(members))
                self._formed.set()
            case Join(group):
                log.info("group_found", group=group)
                self._formed.set()
            case Refuse(node, reason):
                self._peers.mesh.refuse(node, reason)
            case Report(reason):
                self.reason = reason
                self._since = self._loop.time()
            case Removed(reason):
                self.reason = self._logged = reason
                log.error("removed", reason=reason)
                assert self._driver is not None
                self._driver.removed()
            case ProposeConfiguration(change):
                assert self._driver is not None
                assert isinstance(self._machine, Admission)
                try:
                    self._driver.propose_configuration(change)
                except RefusedError as error:
                    self._machine.proposed(str(error))
                else:
                    self._machine.proposed()
            case TransferLeadership(to):
                assert self._driver is not None
                assert isinstance(self._machine, Admission)
                try:
                    self._driver.transfer(to)
                except RefusedError as error:
                    self._machine.transfer_refused(str(error))
            case Dial(host, port):
                self._peers.mesh.dial(host, port)
            case Answered(ticket, error):
                waiting = self._orders.get(ticket)
                if waiting is not None and not waiting.done():
                    waiting.set_result(error)

    def _persist(self, record: bytes) -> None:
        if self._disk is not None:
            self._disk.note(FORMATION, record, self._persisted)
            return
        # There is no storage thread yet: a blank node has nothing else to write.
        task = asyncio.ensure_future(self._write(record))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def _write(self, record: bytes) -> None:
        assert self._store is not None
        try:
            await asyncio.to_thread(self._store.write_note, FORMATION, record)
        except StorageError as error:
            self._on_failure(error)
        else:
            self._persisted()

    def _persisted(self) -> None:
        if self._machine is not None:
            self._machine.persisted()
            self._carry_out()


def _now() -> int:
    return time.monotonic_ns() // 1_000_000


def _wall() -> int:
    return time.time_ns() // 1_000_000
