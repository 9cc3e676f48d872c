"""What runs on a machine: the real driver and gateway, between a simulated disk, network and connections.

It ends as `node.server` does. Not for: when anything happens to it, which is for `machine`.
"""

import asyncio
import contextlib
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from cluster.formation import Transfer
from cluster.jobs import Batch, JobTable, MirrorWriter, NodeUp, TableMirror
from cluster.log import Entry, HardState
from cluster.raft import DurableState, Message, Raft, RaftConfig, RefusedError
from cluster.storage import Install, Mirror, Piece, StorageError
from node.configuration import Configuration
from node.peers import GroupSide, Peers
from node.recovery import resume
from node.relay import Parcel
from node.server import QUORUM_CHECK, _Server
from node.status import NodeStatus
from tests.simulation import sizes
from tests.simulation.connections import Wire
from tests.simulation.disk import Image
from tests.simulation.journal import ViolationError
from tests.simulation.loop import Offload
from tests.simulation.network import Network
from tests.simulation.observed import ObservedDriver, ObservedGateway, ObservedRaft, ObservedTable, Observer, Steps
from tests.simulation.schedule import SECOND

if TYPE_CHECKING:
    from tests.simulation.machine import Machine
    from tests.simulation.membership import Node

NODE_TIMEOUT: Final = 5.0
"""As a node's configuration has it by default."""


class Watcher(Observer, Protocol):
    """An observer that is also told what each process begins with."""

    def started(self, name: str, raft: Raft, durable: DurableState, table: JobTable) -> None: ...


class Leisurely(MirrorWriter):
    """Takes as many turns for a mirror of a few jobs as it would for one of many: so commands come in between."""

    TURNS: Final = (0, 40, 400, 4)
    """How many; one after the other."""

    def __init__(self, writer: MirrorWriter) -> None:
        vars(self).update(vars(writer))
        self._mirrors = 0
        self._idle = 0

    def begin(self, table: JobTable) -> None:
        """Begin a mirror."""
        super().begin(table)
        self._idle = self.TURNS[self._mirrors % len(self.TURNS)]
        self._mirrors += 1

    def go_on(self, most: int) -> TableMirror | None:
        """Go on with it, or do nothing."""
        if self._idle and most < sys.maxsize:
            self._idle -= 1
            return None
        return super().go_on(most)


class Process:
    """One process."""

    def __init__(
        self, machine: "Machine", network: Network, watcher: Watcher, retries: int, node: "Node | None" = None
    ) -> None:
        """`node`: what is around it when it had to find its group; else all were told who is in it."""
        self._machine = machine
        self._generation = generation = machine.generation
        self._disk = machine.disk
        name = machine.name
        self.recovery = recovery = resume(machine.disk.store, self._read)  # type: ignore[arg-type] - as far as it is used
        self.steps = steps = Steps(name, watcher, machine.point, lambda: machine.disk.store.image.applied_index)
        self.table = ObservedTable(steps, recovery.table)
        config = RaftConfig(id=name, randrange=machine.random.randrange, **machine.config)
        self.raft = ObservedRaft(config, recovery.durable, steps)
        self.raft.table = self.table
        self._release = recovery.log.release
        self.membership: Any = self
        callbacks: dict[str, Any] = {}
        if node is None:
            self.peers = Peers()
            self.peers.formation = self  # type: ignore[assignment] - nobody forms
        else:
            self.peers = node.peers
            self.membership = node.membership
            callbacks = {"on_standing": node.membership.standing, "on_configuration": node.membership.configured}
        self.loop = machine.loop
        self.wires: dict[Wire, None] = {}
        """The connections of clients, workers and operators, and those that are about to be taken in."""
        self.sessions: dict[int, Wire] = {}
        """Those that are taken in, by number."""
        self.listening = False
        """Whether new connections are taken in."""
        self.driver = ObservedDriver(
            steps,
            name=name,
            incarnation=recovery.incarnation,
            first=NodeUp(b"H:" + name.encode(), retries, machine.settings.max_packet, process=machine.instance),
            table=self.table,
            mirror_writer=Leisurely(recovery.mirror_writer),
            raft=self.raft,
            disk=self,
            peers=self,
            loop=self.loop,
            offload=Offload(machine, generation),
            clock=machine.wall,
            node_timeout=NODE_TIMEOUT,
            on_serving=self._serving,
            on_failure=self._failed,
            **callbacks,
        )
        for alarm in machine.alarms.values():
            self.driver.alarm(alarm)
        recovery.log.arrived = self.driver.wake
        self.gateway = ObservedGateway(steps, self._created, machine.settings, self.driver, self._parcel)
        self.gateway.max_unread = min((sizes.MAX_UNREAD + sizes.MAX_PACKET) // machine.scale, machine.max_unread)
        self._stopping = Stopping(self, machine.settings)
        self.group: GroupSide = self._stopping.server
        if node is None:
            self.peers.group = self.group
        watcher.started(name, self.raft, recovery.durable, self.table)
        if node is None:
            self.peers.mesh = network.join(name, machine.instance, self.peers, self._run)  # type: ignore[assignment] - as far as it is used

    def _run(self, action: Callable[..., Any], *arguments: Any) -> None:
        self._machine.run(self._generation, action, *arguments)

    def _serving(self, serving: bool) -> None:  # noqa: FBT001 - as the driver calls it
        self._machine.note("SERVES" if serving else "serves not")
        self.listening = serving and not self._machine.stopping
        self._release()

    def _failed(self, error: Exception) -> None:
        """Report what the driver cannot go on after: nothing in a simulation should be that, but a failing disk."""
        if isinstance(error, ViolationError):
            raise error
        if isinstance(error, StorageError):
            machine = self._machine
            machine.schedule.after(machine.random.randrange(2 * SECOND), machine.start)
            machine.die()
        raise ViolationError(f"{self._machine.name} stopped with {type(error).__name__}: {error}") from error

    def _created(self, session: int, job: int, index: int) -> None:
        if session in self.sessions:
            self.sessions[session].created[job] = index

    # The end

    def stop(self) -> None:
        """Begin to end in an orderly way, as on SIGTERM."""
        # What is wrong with it is to come to light in the loop, not to stay with the task.
        self.loop.create_task(self._stop()).add_done_callback(lambda task: task.result())

    async def _stop(self) -> None:
        await self._stopping.drain()
        self.gateway.close()
        await asyncio.sleep(0)
        self.peers.group = None
        self.membership.close()
        self.driver.stop()
        if not self._disk.idle:
            idle = self.loop.create_future()
            self._disk.on_idle = lambda: self._run(idle.set_result, None)
            await idle
        self._machine.stopped()

    @property
    def reaches_quorum(self) -> bool:
        """Whether something can be agreed upon, as far as the process knows."""
        return self._stopping.server._status.quorum_linked(self.driver)

    @property
    def unfinished(self) -> str:
        """Say what is still to be told or answered, and what was kept for nobody."""
        gateway = self.gateway
        telling = gateway.telling
        left = {
            "connections whose other end has left": sum(wire.left for wire in self.wires),
            "bytes of reports without a receipt": telling.relay._size,
            "words awaited": len(telling.listening._awaiting),
            "reports that came early": len(telling.listening._early),
            "ends that were told": len(telling.listening.told),
            "ends on their way": len(telling.endings),
            "sessions of other nodes that are expected to listen": len(telling.expected),
            "submits that wait for another node's word": len(self.gateway.joins) + len(telling.listening._held),
            "questions to other nodes": int(self.gateway.holders.busy),
            "repeated requests": sum(len(repeats) for repeats in telling._repeats.values()),
            "jobs that nobody is told are taken": len(gateway.assigning.untold),
            "jobs whose progress is known": len(gateway.progress),
        }
        return ", ".join(f"{count} {what}" for what, count in left.items() if count)

    # `node.driver.Disk`

    def append(self, entries: Sequence[Entry], hard_state: HardState | None, done: Callable[[], None]) -> None:
        """Write entries."""
        self._machine.live()
        self._disk.append(entries, hard_state, lambda: self._run(done))
        self._machine.point()

    def write(
        self,
        entries: Sequence[Entry],
        hard_state: HardState | None,
        pieces: Sequence[Piece],
        install: Install | None,
        done: Callable[[], None],
    ) -> None:
        """Write all of this."""
        self._machine.live()
        self._disk.write(entries, hard_state, pieces, install, lambda: self._run(done))
        self._machine.point()

    def mirror(self, mirror: Mirror, done: Callable[[], None]) -> None:
        """Write what changed in the table."""
        self._machine.live()
        self._disk.mirror(mirror, lambda: self._run(done))
        self._machine.point()

    def note(self, key: str, value: bytes, done: Callable[[], None]) -> None:
        """Write a note."""
        self._machine.live()
        self._disk.note(key, value, lambda: self._run(done))
        self._machine.point()

    def view(self) -> Image:
        """Open the mirror for reading."""
        return self._disk.view()

    def _read(self, first: int, last: int, done: Callable[[tuple[Entry, ...]], None]) -> None:
        self._disk.read(first, last, lambda entries: self._run(done, entries))

    # `node.driver.Peers`, and `node.relay.Send`

    def send(self, message: Message) -> None:
        """Send a message of consensus."""
        self._machine.live()
        self.peers.send(message)
        self._machine.point()

    def forward(self, leader: str, batches: Sequence[Batch]) -> bool:
        """Send batches to the leader."""
        self._machine.live()
        sent = self.peers.forward(leader, batches)
        self._machine.point()
        return sent

    def busy(self, node: str) -> bool:
        """Tell whether entries for a node wait here."""
        return self.peers.busy(node)

    def _parcel(self, node: str, parcel: Parcel) -> bool:
        self._machine.live()
        return self.peers.parcel(node, parcel)

    # `node.peers.FormationSide`

    def linked(self, node: str) -> None:
        """Take note of a new link."""

    def unlinked(self, node: str) -> None:
        """Take note of a lost one."""

    def comrade(self, node: str) -> bool:
        """Say that everybody is of the one group there is."""
        return bool(node)

    def received(self, node: str, message: object) -> None:
        """Never called: nobody forms."""
        raise ViolationError(f"{node} sends {message}")

    # `node.membership.Membership`, as far as `node.server` asks for it

    def close(self) -> None:
        """Do nothing more."""

    async def order(self, order: Transfer) -> None:
        """Hand leadership over."""
        driver = self.driver
        with contextlib.suppress(RefusedError):
            driver.transfer(order.node)
        while driver.leads:  # noqa: ASYNC110 - nothing in the driver is waited for in this way
            await asyncio.sleep(QUORUM_CHECK)


class Stopping:
    """The end of a process, as `node.server` has it: its own object, with what it needs for that."""

    def __init__(self, process: Process, settings: Configuration) -> None:
        self._process = process
        self.server = server = _Server(settings, None, [], None, None)  # type: ignore[arg-type] - it opens nothing
        server._driver, server._gateway = process.driver, process.gateway
        server._status = status = NodeStatus(settings, settings.name)
        status.driver, status.gateway, status.peers = process.driver, process.gateway, process.peers
        status.membership = process.membership

    async def drain(self) -> None:
        """Shut the listeners, and let everything end that can."""
        await self.server._end(self._process.gateway, self._process.driver, self)  # type: ignore[arg-type] - its doors

    def close(self) -> None:
        """Take no more connections in (`node.doors.Doors.close`)."""
        self._process.listening = False
