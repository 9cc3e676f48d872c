"""This node's part in its group: how it came to one, who else is in it, and what operators want changed.

It drives formation's state machines: a blank node's (`Forming`) until there is a group, then a member's (`Admission`).
Not for: the decisions, which are theirs, or links and consensus, which carry them out.
"""

import asyncio
import contextlib
import math
from collections.abc import Callable
from typing import Final, Protocol

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
from cluster.formation.messages import Message, Order, Presence
from cluster.raft import Configuration as GroupConfiguration
from cluster.raft import RefusedError, Standing
from cluster.storage import Store
from node.configuration import Configuration
from node.driver import AwakeClock, Driver, Handle, Loop, Offload
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


class Notes(Protocol):
    """Where the record is kept once the node has a group: the storage thread."""

    def note(self, key: str, value: bytes, done: Callable[[], None]) -> None:
        """Write down something small that must outlive the process."""


class OrderRefusedError(GearmeshError):
    """What an operator wants cannot be done; the text says why."""


class Membership:
    """`node.peers.FormationSide`, and what else there is to say about members."""

    def __init__(
        self,
        configuration: Configuration,
        identity: Identity,
        peers: Peers,
        *,
        loop: Loop,
        offload: Offload,
        randrange: Callable[[int], int],
        clock: Callable[[], float],
        on_failure: Callable[[Exception], None],
    ) -> None:
        """Prepare for the node of this identity.

        `randrange(n)` gives an integer in [0, n), `clock` seconds since the epoch; `on_failure` is told when the record
        cannot be kept.
        """
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
        self._loop = loop
        self._awake = AwakeClock(loop.time)
        """How long others have taken is measured by this: a pause of this process is not theirs."""
        self._offload = offload
        self._randrange = randrange
        self._clock = clock
        self._on_failure = on_failure
        self._machine: Forming | Admission | None = None
        self._driver: Driver | None = None
        self._disk: Notes | None = None
        self._store: Store | None = None
        self._formed: Callable[[], None] = _nothing
        self._heard: dict[str, Presence] = {}
        """What linked nodes said last of themselves while this one had no group. They do not say it again at once, and
        what they send as nodes of the group is heard only from those that are known to be of it."""
        self._orders: dict[int, Callable[[str], None]] = {}
        self._timer: Handle | None = None

    # -- forming ------------------------------------------------------------------------------------------------------

    def form(self, store: Store, formed: Callable[[], None]) -> None:
        """Find a group, or found one; `formed` is called when the node's record says so on `store`."""
        settings = self._configuration
        self._store = store
        self._formed = formed
        self._machine = Forming(
            FormingSettings(
                node=self._identity.node, name=settings.name, expect=settings.expect, place=str(settings.data_dir)
            ),
            self._identity.record,
            randrange=self._randrange,
            now=self._now(),
            wall=self._wall(),
        )
        self._begin()

    def take_part(self, recovery: Recovery, driver: Driver, disk: Notes) -> None:
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
            randrange=self._randrange,
            now=self._now(),
            wall=self._wall(),
        )
        self._begin()

    def _begin(self) -> None:
        machine = self._machine
        assert machine is not None
        for node in self._peers.mesh.peers:
            machine.linked(node)
            if node in self._heard:
                machine.received(node, self._heard[node])
        self._carry_out()
        self._tick()

    def _tick(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(TICK, self._tick)
        if self._machine is not None:
            self._machine.tick(self._now(), self._wall())
            self._carry_out()
        self._doubt()
        self._heed_the_clock()
        if self.reason != self._logged and self._awake.time() - self._since >= WORTH_LOGGING:
            self._logged = self.reason
            if self.reason:
                log.info("waiting", reason=self.reason)

    def _doubt(self) -> None:
        """Log what is wrong with other members, once for as long as it lasts."""
        doubts = dict(self._machine.doubts()) if isinstance(self._machine, Admission) else {}
        now = self._awake.time()
        self._doubted = {node: self._doubted.get(node, now) for node in doubts}
        for node, reason in doubts.items():
            if now - self._doubted[node] >= WORTH_DOUBTING:
                self._doubted[node] = math.inf
                log.warning("doubtful_member", node=node, reason=reason)

    def _heed_the_clock(self) -> None:
        """Let another node lead where this one's clock is wrong: delayed jobs and time limits go by the leader's."""
        driver, machine, now = self._driver, self._machine, self._awake.time()
        if driver is None or not driver.leads or not isinstance(machine, Admission) or not machine.astray:
            self._next_transfer = now + WORTH_DOUBTING
            return
        heirs = [voter for voter in driver.raft.configuration.voters if voter in self._peers.mesh.peers]
        if heirs and now >= self._next_transfer:
            self._next_transfer = now + TRANSFER_INTERVAL
            log.error("clock_astray", why="most members' clocks differ from this node's: it leaves leading to another")
            with contextlib.suppress(RefusedError):
                driver.transfer(heirs[self._randrange(len(heirs))])

    def close(self) -> None:
        """Do nothing more."""
        if self._timer is not None:
            self._timer.cancel()
        self._machine = None
        for answered in list(self._orders.values()):
            answered("this node is stopping")
        self._orders.clear()

    # -- what happens -------------------------------------------------------------------------------------------------

    def linked(self, node: str) -> None:
        """Take note of a new link."""
        self._heard.pop(node, None)
        if self._machine is not None:
            self._machine.linked(node)
            self._carry_out()

    def unlinked(self, node: str) -> None:
        """Take note of a lost one."""
        self._heard.pop(node, None)
        if self._machine is not None:
            self._machine.unlinked(node)
            self._carry_out()

    def received(self, node: str, message: Message) -> None:
        """Take a message."""
        if isinstance(message, Presence) and not isinstance(self._machine, Admission):
            self._heard[node] = message
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
        waiting: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        ticket = self.ask(order, lambda error: None if waiting.done() else waiting.set_result(error))
        try:
            error = await waiting
        finally:
            self._orders.pop(ticket, None)
        if error:
            raise OrderRefusedError(error)

    def ask(self, order: Order, answered: Callable[[str], None]) -> int:
        """Have an order carried out; `answered` is called once, with what stands in the way, or "" when it is done.

        Returns the order's ticket. Raises `OrderRefusedError` for a node that has no group yet.
        """
        machine = self._machine
        if not isinstance(machine, Admission):
            raise OrderRefusedError(f"this node has no group yet: {self.reason}")
        ticket = machine.ask(order)
        self._orders[ticket] = answered
        self._carry_out()
        return ticket

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
                self._end_forming()
            case Join(group):
                log.info("group_found", group=group)
                self._end_forming()
            case Refuse(node, reason):
                self._peers.mesh.refuse(node, reason)
            case Report(reason):
                self.reason = reason
                self._since = self._awake.time()
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
                answered = self._orders.pop(ticket, None)
                if answered is not None:
                    answered(error)

    def _end_forming(self) -> None:
        self._machine = None
        self._formed()

    def _persist(self, record: bytes) -> None:
        if self._disk is not None:
            self._disk.note(FORMATION, record, self._persisted)
            return
        store = self._store
        assert store is not None
        # There is no storage thread yet: a blank node has nothing else to write.
        self._offload(lambda: store.write_note(FORMATION, record), lambda _: self._persisted(), self._on_failure)

    def _persisted(self) -> None:
        if self._machine is not None:
            self._machine.persisted()
            self._carry_out()

    def _now(self) -> int:
        return int(self._awake.time() * 1000)

    def _wall(self) -> int:
        return int(self._clock() * 1000)


def _nothing() -> None:
    pass
