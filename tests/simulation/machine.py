"""A machine of the cluster: its disk and clock, which outlive crashes, and the process that runs on it now and then.

Everything that happens to a process goes through `run`, which is where a paused process defers it, a crashed one never
sees it, and an armed fuse ends the process at one of the `point`s in the middle of things.
"""

import sys
from collections.abc import Callable, Sequence
from random import Random
from typing import TYPE_CHECKING, Any, Final, Protocol

from cluster.jobs import Batch, JobTable, MirrorWriter, NodeUp, TableMirror
from cluster.log import Entry, HardState
from cluster.raft import DurableState, Message, Raft, RaftConfig
from cluster.storage import Install, Mirror, Piece, StorageError
from node.driver import Driver
from node.peers import Peers
from node.recovery import resume
from node.relay import Parcel
from tests.simulation.disk import Disk, Image
from tests.simulation.gateway import Gateway
from tests.simulation.journal import Journal, ViolationError
from tests.simulation.loop import Loop, Offload
from tests.simulation.network import Mesh, Network
from tests.simulation.observed import ObservedRaft, ObservedTable, Observer, Steps
from tests.simulation.schedule import MS, SECOND, Schedule

if TYPE_CHECKING:
    from tests.simulation.membership import Node

EPOCH: Final = 1_700_000_000 * SECOND
NODE_TIMEOUT: Final = 3.0
"""As a node's configuration has it by default."""


class CrashError(BaseException):
    """The process ends here and now; nobody in it can do anything about that."""


class Watcher(Observer, Protocol):
    """An observer that is also told of the processes' beginnings and ends."""

    def started(self, name: str, raft: Raft, durable: DurableState, table: JobTable) -> None: ...
    def crashed(self, name: str, incarnation: int) -> None: ...
    def incarnated(self, name: str, incarnation: int) -> None: ...


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
    """What runs on a machine: the real driver, between a simulated disk, network and gateway."""

    def __init__(
        self, machine: "Machine", network: Network, watcher: Watcher, retries: int, node: "Node | None" = None
    ) -> None:
        """`node`: what is around it when it had to find its group; else all were told who is in it."""
        self._machine = machine
        self._generation = generation = machine.generation
        self._disk = machine.disk
        name = machine.name
        self.recovery = recovery = resume(machine.disk.store, self._read)  # type: ignore[arg-type] - as far as it is asked for
        steps = Steps(name, watcher, machine.point, lambda: machine.disk.store.image.applied_index)
        self.table = ObservedTable(steps, recovery.table)
        config = RaftConfig(id=name, randrange=machine.random.randrange, **machine.config)
        self.raft = ObservedRaft(config, recovery.durable, steps)
        self.raft.table = self.table
        self.applied_index = lambda: steps.index
        self._release = recovery.log.release
        callbacks: dict[str, Any] = {}
        if node is None:
            self._peers = Peers()
            self._peers.formation = self  # type: ignore[assignment] - nobody forms
            self._peers.group = self
        else:
            self._peers = node.peers
            membership = node.membership
            callbacks = {"on_standing": membership.standing, "on_configuration": membership.configured}
        self.loop = Loop(machine, generation)
        self.driver = Driver(
            name=name,
            incarnation=recovery.incarnation,
            first=NodeUp(b"H:" + name.encode(), retries),
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
        self.gateway = Gateway(
            machine,
            self.driver,
            self._peers.parcel,
            self.applied_index,
            lambda number: watcher.incarnated(name, number),
        )
        watcher.started(name, self.raft, recovery.durable, self.table)
        self.mesh: Mesh
        if node is None:
            self.mesh = network.join(name, self._peers, self._run)
            self._peers.mesh = self.mesh  # type: ignore[assignment] - another mesh, of the same ways
        else:
            self.mesh = node.mesh

    def _run(self, action: Callable[..., Any], *arguments: Any) -> None:
        self._machine.run(self._generation, action, *arguments)

    def _serving(self, serving: bool) -> None:  # noqa: FBT001 - as the driver calls it
        self._machine.note("SERVES" if serving else "serves not")
        self._release()

    def _failed(self, error: Exception) -> None:
        """Report what the driver cannot go on after: nothing in a simulation should be that, but a failing disk."""
        if isinstance(error, ViolationError):
            raise error
        if isinstance(error, StorageError):
            machine = self._machine
            machine.schedule.after(machine.random.randrange(2 * SECOND), machine.start)
            raise CrashError
        raise ViolationError(f"{self._machine.name} stopped with {type(error).__name__}: {error}") from error

    # `node.driver.Disk`

    def append(self, entries: Sequence[Entry], hard_state: HardState | None, done: Callable[[], None]) -> None:
        """Write entries."""
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
        self._disk.write(entries, hard_state, pieces, install, lambda: self._run(done))
        self._machine.point()

    def mirror(self, mirror: Mirror, done: Callable[[], None]) -> None:
        """Write what changed in the table."""
        self._disk.mirror(mirror, lambda: self._run(done))
        self._machine.point()

    def note(self, key: str, value: bytes, done: Callable[[], None]) -> None:
        """Write a note."""
        self._disk.note(key, value, lambda: self._run(done))
        self._machine.point()

    def view(self) -> Image:
        """Open the mirror for reading."""
        return self._disk.view()

    def _read(self, first: int, last: int, done: Callable[[tuple[Entry, ...]], None]) -> None:
        self._disk.read(first, last, lambda entries: self._run(done, entries))

    # `node.driver.Peers`

    def send(self, message: Message) -> None:
        """Send a message of consensus."""
        self._peers.send(message)
        self._machine.point()

    def forward(self, leader: str, batches: Sequence[Batch]) -> bool:
        """Send batches to the leader."""
        sent = self._peers.forward(leader, batches)
        self._machine.point()
        return sent

    def busy(self, node: str) -> bool:
        """Tell whether entries for a node wait here."""
        return self._peers.busy(node)

    # `node.peers.GroupSide` and `FormationSide`

    def linked(self, node: str) -> None:
        """Take note of a new link."""
        self.driver.linked(node)
        self.gateway.linked(node)

    def unlinked(self, node: str) -> None:
        """Take note of a lost one."""

    def gone(self, node: str) -> None:
        """Take note that a node's process is not there."""
        self._machine.note("gone", node)
        self.driver.gone(node)

    def consensus(self, message: Message) -> None:
        """Take a message of consensus."""
        self.driver.receive(message)

    def batches(self, node: str, batches: list[Batch], size: int) -> None:
        """Take batches for the leader."""
        self.driver.offer(node, batches, size)

    def parcel(self, node: str, parcel: Parcel) -> None:
        """Take reports."""
        self.gateway.parcel(node, parcel)

    def comrade(self, node: str) -> bool:
        """Say that everybody is of the one group there is."""
        return bool(node)

    def received(self, node: str, message: object) -> None:
        """Never called: nobody forms."""
        raise ViolationError(f"{node} sends {message}")


class Machine:
    """One node's hardware."""

    def __init__(
        self,
        name: str,
        *,
        schedule: Schedule,
        random: Random,
        network: Network,
        journal: Journal,
        watcher: Watcher,
        founders: tuple[str, ...],
        config: dict[str, int],
        retries: int,
        rate: float,
    ) -> None:
        """`founders`: the first members, this one among them; nobody for one that will join. `rate`: of its clock."""
        self.name = name
        self.schedule = schedule
        self.random = random
        self.config = config
        self._network = network
        self._journal = journal
        self._watcher = watcher
        self._retries = retries
        self.disk = Disk(schedule, random, name, founders)
        self.disk.on_failure = lambda error: self.crash(str(error))
        self.rate = rate
        self._clock = 0.0
        self._clock_set = schedule.now
        self.clock_offset = 0
        """By how much the wall clock is wrong, in microseconds."""
        self.process: Process | None = None
        self.node_maker: Callable[[Machine], Node] | None = None
        """Makes what a process begins as, where nodes have to find their group."""
        self.node: Node | None = None
        """What this has made for the process that runs."""
        self.lost = False
        """Whether its disk is lost: nothing starts from it again."""
        self.generation = 0
        self.paused = False
        self.stopping = False
        self._deferred: list[tuple[int, Callable[..., None], tuple[Any, ...]]] = []
        self._busy = False
        self.fuse = 0
        """When not 0: the process crashes at its so-manieth point from now."""

    # Life and death

    @property
    def driver(self) -> Driver | None:
        """The driver of the process that runs."""
        return self.process.driver if self.process is not None else None

    @property
    def raft(self) -> Raft | None:
        """The core of the process that runs."""
        return self.process.raft if self.process is not None else None

    @property
    def gateway(self) -> Gateway | None:
        """The gateway of the process that runs."""
        return self.process.gateway if self.process is not None else None

    @property
    def loop(self) -> Loop:
        """The loop of the process that runs."""
        assert self.process is not None
        return self.process.loop

    @property
    def running(self) -> bool:
        """Tell whether a process runs, with a group or without one."""
        return self.process is not None or self.node is not None

    def start(self) -> None:
        """Start a process, if none runs."""
        if self.running or self.disk.full or self.lost:
            return
        self.generation += 1
        if self.node_maker is None:
            process = self.serve()
            self.run(self.generation, process.driver.start, process.gateway)
        else:
            self.node = node = self.node_maker(self)
            self.note("BEGIN")
            self.run(self.generation, node.start)

    def serve(self, node: "Node | None" = None) -> Process:
        """Make the process a member of its group, from what is on the disk."""
        self.process = process = Process(self, self._network, self._watcher, self._retries, node)
        if self._journal.on:
            raft = process.raft
            self.note("START", f"term={raft.term} first={raft.first_index} last={raft.last_index}")
        return process

    def crash(self, why: str, *, silent: bool = False) -> None:
        """End the process; what it had in memory, and on the way to the disk, is gone. `silent`: with its host."""
        process = self.process
        if not self.running:
            return
        self.process = self.node = None
        self.generation += 1
        self.fuse = 0
        self.paused = self.stopping = False
        self._deferred.clear()
        survivors = self.disk.crash()
        self.note("CRASH", why, f"({survivors} unacknowledged writes survive)")
        if process is not None:
            self._watcher.crashed(self.name, process.driver.incarnation)
        self._network.leave(self.name, silent=silent)
        if process is not None:
            process.gateway.break_off()

    def stop(self) -> None:
        """End the process in an orderly way: the disk gets all that it was given."""
        process = self.process
        if not self.running or self.paused or self.stopping:
            return
        self.note("STOP")
        if process is None:
            self.crash("stopped")
            return
        self.stopping = True
        self.run(self.generation, process.driver.stop)
        generation = self.generation

        def stopped() -> None:
            if generation == self.generation:
                self.crash("stopped")

        if self.disk.idle:
            stopped()
        else:
            self.disk.on_idle = stopped

    def pause(self) -> None:
        """Stop the process without ending it (SIGSTOP, a long collection of garbage)."""
        if self.running:
            self.paused = True
            self.note("PAUSE")

    def resume(self) -> None:
        """Let it go on: everything that came in the meantime comes at once."""
        if not self.paused:
            return
        self.paused = False
        self.note("RESUME", f"{len(self._deferred)} events")
        deferred, self._deferred = self._deferred, []
        for generation, action, arguments in deferred:
            self.run(generation, action, *arguments)

    # What happens to the process

    def run(self, generation: int, action: Callable[..., Any], *arguments: Any) -> None:
        """Let something happen to the process of this generation."""
        if generation != self.generation or not self.running:
            return
        if self.paused:
            self._deferred.append((generation, action, arguments))
            return
        if self._busy:
            action(*arguments)  # somebody answers while being told something
            return
        self._busy = True
        try:
            action(*arguments)
        except CrashError:
            self.crash("at a point in the middle")
        except ViolationError:
            raise
        except Exception as error:
            raise ViolationError(f"{self.name} stopped with {type(error).__name__}: {error}") from error
        finally:
            self._busy = False

    def point(self) -> None:
        """Crash here, if the fuse has burnt down."""
        if self.fuse:
            self.fuse -= 1
            if not self.fuse:
                raise CrashError

    def note(self, event: str, *details: Any) -> None:
        """Write a line into the journal."""
        if self._journal.on:
            self._journal.write(self.name, event, *details)

    # Clocks

    def monotonic(self) -> float:
        """Give the monotonic clock, in seconds; it may go too fast or too slowly."""
        return self._clock + (self.schedule.now - self._clock_set) * self.rate / SECOND

    def set_rate(self, rate: float) -> None:
        """Let the monotonic clock go at another rate from now on."""
        self._clock = self.monotonic()
        self._clock_set = self.schedule.now
        self.rate = rate

    def wall(self) -> float:
        """Give the wall clock, in seconds since the epoch; it may be wrong, and may jump."""
        return (EPOCH + self.schedule.now + self.clock_offset) / SECOND

    def wall_ms(self) -> int:
        """Give it in milliseconds."""
        return (EPOCH + self.schedule.now + self.clock_offset) // MS
