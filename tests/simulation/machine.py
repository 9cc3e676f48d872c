"""A machine of the cluster: its disk and clock, which outlive crashes, and the process that runs on it now and then.

Everything that happens to a process goes through `run`, which is where a paused process defers it, a crashed one never
sees it, and an armed fuse ends the process at one of the `point`s in the middle of things.
"""

from collections.abc import Callable
from random import Random
from typing import Any, Protocol

import msgspec

from cluster.jobs import JobTable, MirrorWriter
from cluster.raft import DurableState, Raft, RaftConfig, RefusedError, SnapshotMeta
from tests.simulation.disk import Disk, Work
from tests.simulation.driver import Driver, Observer, Settings
from tests.simulation.gateway import Gateway
from tests.simulation.journal import Journal, ViolationError
from tests.simulation.network import Network
from tests.simulation.schedule import MS, Schedule

EPOCH_MS = 1_700_000_000_000


class CrashError(Exception):
    """The process ends here and now."""


class Watcher(Observer, Protocol):
    """An observer that is also told of the processes' beginnings and ends."""

    def started(self, name: str, raft: Raft, durable: DurableState, table: JobTable) -> None: ...
    def crashed(self, name: str, incarnation: int) -> None: ...
    def incarnated(self, name: str, incarnation: int) -> None: ...


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
        base: SnapshotMeta | None,
        config: dict[str, int],
        settings: Settings,
        misses: float,
        tick: int,
    ) -> None:
        """`base`: what a first member begins with; None for one that will join. `tick` in microseconds."""
        self.name = name
        self.schedule = schedule
        self.random = random
        self._network = network
        self._journal = journal
        self._watcher = watcher
        self._config = config
        self._settings = settings
        self.disk = Disk(schedule, random, base, misses)
        self.disk.on_failure = self._disk_failed
        self.tick_length = tick
        self.clock_offset = 0
        self.driver: Driver | None = None
        self.generation = 0
        self.paused = False
        self._deferred: list[tuple[int, Callable[..., None], tuple[Any, ...]]] = []
        self._busy = False
        self.fuse = 0
        """When not 0: the process crashes at its so-manieth point from now."""

    # Life and death

    @property
    def raft(self) -> Raft | None:
        """The core of the process that runs."""
        return self.driver.raft if self.driver is not None else None

    def start(self) -> None:
        """Start a process, if none runs."""
        if self.driver is not None or self.disk.full:
            return
        self.generation += 1
        durable = self.disk.durable_state()
        config = RaftConfig(id=self.name, randrange=self.random.randrange, **self._config)
        raft = Raft(config, durable)
        generation = self.generation
        gateway = Gateway(self.name, self.send, self.now, self.schedule.after)
        # The gateway speaks through the driver, and the driver opens its incarnation through the gateway.
        gateway.driver = self
        self.driver = Driver(self, raft, self._settings, gateway, self._watcher)
        gateway.driver = self.driver
        if self._journal.on:
            details = f"term={raft.term} base={durable.base.index} last={raft.last_index} applied={raft.applied_index}"
            self._journal.write(self.name, "START", f"incarnation={self.driver.incarnation}", details)
        self._watcher.started(self.name, raft, durable, self.driver.table)
        self.schedule.after(self.random.randrange(self.tick_length), self._tick, generation)

    def propose(self, command: Any) -> None:
        """Never called: a gateway without a driver has no connection."""
        raise AssertionError(command)

    def crash(self, why: str) -> None:
        """End the process; what it had in memory, and on the way to the disk, is gone."""
        driver = self.driver
        if driver is None:
            return
        self.driver = None
        self.generation += 1
        self.fuse = 0
        self.paused = False
        self._deferred.clear()
        survivors = self.disk.crash()
        if self._journal.on:
            self._journal.write(self.name, "CRASH", why, f"({survivors} unacknowledged writes survive)")
        self._watcher.crashed(self.name, driver.incarnation)
        driver.gateway.reset()

    def pause(self) -> None:
        """Stop the process without ending it (SIGSTOP, a long collection of garbage)."""
        if self.driver is not None:
            self.paused = True
            if self._journal.on:
                self._journal.write(self.name, "PAUSE")

    def resume(self) -> None:
        """Let it go on: everything that came in the meantime comes at once."""
        if not self.paused:
            return
        self.paused = False
        if self._journal.on:
            self._journal.write(self.name, "RESUME", f"{len(self._deferred)} events")
        deferred, self._deferred = self._deferred, []
        for generation, action, arguments in deferred:
            self.run(generation, action, *arguments)

    def _disk_failed(self, why: str) -> None:
        self.crash(why)

    # What happens to the process

    def run(self, generation: int, action: Callable[..., Any], *arguments: Any) -> None:
        """Let something happen to the process of this generation, and carry out what follows from it."""
        if generation != self.generation or self.driver is None:
            return
        if self.paused:
            self._deferred.append((generation, action, arguments))
            return
        if self._busy:
            action(*arguments)  # somebody answers while being told something: what follows is carried out afterwards
            return
        self._busy = True
        try:
            action(*arguments)
            self.driver.pump()
        except CrashError:
            self.crash("at a point in the middle")
        except (ViolationError, RefusedError):
            raise
        except Exception as error:
            raise ViolationError(f"{self.name} stopped with {type(error).__name__}: {error}") from error
        finally:
            self._busy = False

    def arrive(self, message: Any) -> None:
        """Take a message from the network."""
        if self.driver is not None:
            self.run(self.generation, self.driver.receive, message)

    def _tick(self, generation: int) -> None:
        if generation != self.generation or self.driver is None:
            return
        if self.paused:
            self._deferred.append((generation, self._tick_now, (generation,)))
            return
        self.run(generation, self.driver.tick)
        self.schedule.after(self.tick_length, self._tick, generation)

    def _tick_now(self, generation: int) -> None:
        """Make up for a tick that fell into a pause: one, however long the pause was."""
        if self.driver is not None:
            self.driver.tick()
            self.schedule.after(self.tick_length, self._tick, generation)

    # What the driver needs

    def now(self) -> int:
        """Give the monotonic clock."""
        return self.schedule.now

    def wall(self) -> int:
        """Give the wall clock, in milliseconds; it may be wrong, and may jump."""
        return EPOCH_MS + (self.schedule.now + self.clock_offset) // MS

    def later(self, delay: int, action: Callable[..., None], *arguments: Any) -> None:
        """Let something happen to this process later."""
        self.schedule.after(delay, self.run, self.generation, action, *arguments)

    def send(self, to: str, message: Any) -> None:
        """Send a message."""
        self._network.send(self.name, to, message)

    def write(self, work: Work) -> None:
        """Give something to the disk."""
        generation = self.generation
        self.disk.submit(work, lambda done: self._written(generation, done))

    def _written(self, generation: int, work: Work) -> None:
        if self.driver is not None:
            self.run(generation, self.driver.persisted, work)

    def reload(self) -> tuple[JobTable, MirrorWriter]:
        """Read the state machine from the disk."""
        return self.disk.load_table(self.name)

    def snapshot(self) -> tuple[int, bytes]:
        """Open the image on disk for reading: its index and its bytes, whatever becomes of it meanwhile."""
        return self.disk.image.index, msgspec.msgpack.encode(self.disk.image)

    def new_incarnation(self) -> int:
        """Give the number of a new incarnation."""
        incarnation = self.disk.next_incarnation()
        self._watcher.incarnated(self.name, incarnation)
        return incarnation

    def point(self) -> None:
        """Crash here, if the fuse has burnt down."""
        if self.fuse:
            self.fuse -= 1
            if not self.fuse:
                raise CrashError
