"""A machine of the cluster: its disk and clock, which outlive crashes, and the process that runs on it now and then.

Everything that happens to a process goes through `run`, which is where a paused process defers it, a crashed one never
sees it, and an armed fuse ends the process at one of the `point`s in the middle of things.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, NoReturn

from cluster.jobs import Alarm
from cluster.raft import Raft
from node.configuration import Configuration
from node.driver import Driver
from node.errors import RecoveryError
from node.gateway import Gateway
from tests.simulation import sizes
from tests.simulation.disk import Disk
from tests.simulation.journal import Journal, ViolationError
from tests.simulation.loop import CrashError, Loop
from tests.simulation.network import Network
from tests.simulation.process import Process, Watcher
from tests.simulation.schedule import MS, SECOND, Schedule
from tests.simulation.truth import EPOCH, SHORT, Truth

if TYPE_CHECKING:
    from tests.simulation.membership import Node

_running_loop = asyncio._get_running_loop
_set_running_loop = asyncio._set_running_loop


class Machine:
    """One node's hardware."""

    def __init__(
        self,
        name: str,
        *,
        schedule: Schedule,
        random: Random,
        network: Network,
        truth: Truth,
        journal: Journal,
        watcher: Watcher,
        founders: tuple[str, ...],
        config: dict[str, int],
        retries: int,
        rate: float,
        scale: int = 1,
    ) -> None:
        """`founders`: the first members, this one among them; nobody for one that will join. `rate`: of its clock.

        `scale`: by how much everything in bytes is smaller than in a real cluster.
        """
        self.scale = scale
        self.name = name
        self.settings = Configuration(
            name=name,
            data_dir=Path("/nowhere"),
            drain_timeout=float(random.choice((1, 5, 20))),
            max_packet=sizes.MAX_PACKET // scale,
            stall_timeout=float(random.choice((1, 60))),
        )
        self.max_unread = random.choice((2000, 1 << 30))
        """Bytes that a connection may leave unread before it is closed."""
        self.schedule = schedule
        self.random = random
        self.config = config
        self._network = network
        self._truth = truth
        self._journal = journal
        self._watcher = watcher
        self._retries = retries
        self.disk = Disk(schedule, random, name, founders)
        self.disk.on_failure = lambda error: self.crash(str(error))
        self._clock = 0.0
        self._clock_set = schedule.now
        self.rate = 0.0
        self.set_rate(rate)
        self._clock_offset = 0
        self.process: Process | None = None
        self.node_maker: Callable[[Machine], Node] | None = None
        """Makes what a process begins as, where nodes have to find their group."""
        self.node: Node | None = None
        """What this has made for the process that runs."""
        self.lost = False
        """Whether its disk is lost: nothing starts from it again."""
        self.generation = 0
        self.loop = Loop(self, 0)
        """The event loop of the process that runs."""
        self.paused = False
        self.stopping = False
        self._stop_began = 0
        """When a process that is stopping was asked to."""
        self._stopped_by = 0
        """When a process that is stopping has to be done with waiting for the jobs that run."""
        self._starts_again = False
        """Whether another one is to start when it has stopped."""
        self._dying = False
        """Whether the process ends, and only what called it does not know yet."""
        self._deferred: list[tuple[int, Callable[..., None], tuple[Any, ...]]] = []
        self._busy = False
        self.fuse = 0
        """When not 0: the process crashes at its so-manieth point from now."""
        self.alarms: dict[int, Alarm] = {}
        """What the machine has too little of, whatever process runs on it."""
        self.damaged = ""
        """Why no process can start here: what is on the disk is not what was written."""
        self.since = schedule.now
        """Since when the process has run without a pause."""

    # Life and death

    @property
    def instance(self) -> str:
        """Name the process that runs, or ran last."""
        return f"{self.name}.{self.generation}"

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
    def running(self) -> bool:
        """Tell whether a process runs, with a group or without one."""
        return self.process is not None or self.node is not None

    def start(self) -> None:
        """Start a process, if none runs."""
        self._starts_again = self.stopping
        if self.running or self.disk.full or self.lost or self.damaged:
            return
        self.generation += 1
        self.since = self.schedule.now
        self._truth.started(self.name)
        self.loop = Loop(self, self.generation)
        if self.node_maker is None:
            try:
                with self.loop.running():  # the gateway's parts ask for it
                    process = self.serve()
            except RecoveryError as error:
                if not self.disk.store.rotten:
                    raise ViolationError(f"{self.name} cannot start from a sound disk: {error}") from error
                self.damaged = str(error)
                self.note("DAMAGED", error)
                return
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

    def alarm(self, alarm: Alarm) -> None:
        """Begin or cease to have too little of something, as the monitor of a process notices it."""
        if alarm.mark:
            self.alarms[alarm.resource] = alarm
            self._truth.begin(SHORT, self.name)
        else:
            self.alarms.pop(alarm.resource, None)
            if not self.alarms:
                self._truth.end(SHORT, self.name)
        if self.process is not None:
            self.run(self.generation, self.process.driver.alarm, alarm)

    def crash(self, why: str, *, silent: bool = False) -> None:
        """End the process; what it had in memory, and on the way to the disk, is gone. `silent`: with its host."""
        process = self.process
        if not self.running:
            return
        again = self._starts_again
        self.process = self.node = None
        self.generation += 1
        self.fuse = 0
        self.paused = self.stopping = self._starts_again = self._dying = False
        self._deferred.clear()
        self._truth.crashed(self.name)
        survivors = self.disk.crash()
        self.note("CRASH", why, f"({survivors} unacknowledged writes survive)")
        self._network.leave(self.name, silent=silent)
        for wire in list(process.wires) if process is not None else ():
            wire.process_ended(silent=silent)
        if again:
            self.schedule.after(self.random.randrange(SECOND), self.start)

    def stop(self) -> None:
        """End the process in an orderly way, as on SIGTERM."""
        process = self.process
        if not self.running or self.paused or self.stopping:
            return
        self.note("STOP")
        if process is None:
            self.crash("stopped")
            return
        self.stopping = True
        self._stop_began = self.schedule.now
        self._stopped_by = self.schedule.now + int(self.settings.drain_timeout * SECOND / self.rate)
        self.run(self.generation, process.stop)

    def stopped(self) -> None:
        """Note that the process has done all that it does before it ends; a job that it let end runs no more."""
        assert self.process is not None
        gateway, now = self.process.gateway, self.schedule.now
        if gateway.running and now < self._stopped_by:
            raise ViolationError(f"{self.name} stops while {gateway.running} jobs run, and has time left for them")
        untold = len(gateway.telling.endings)
        if untold and now < min(self._stopped_by, self._stop_began + 4 * SECOND) and self.process.reaches_quorum:
            raise ViolationError(f"{self.name} stops before the table knows that {untold} jobs have ended")
        self.crash("stopped")

    def pause(self) -> None:
        """Stop the process without ending it (SIGSTOP, a long collection of garbage)."""
        if self.running and not self.paused:
            self.paused = True
            self._network.freeze(self.name)
            self._truth.froze(self.name)
            self.note("PAUSE")

    def resume(self) -> None:
        """Let it go on: everything that came in the meantime comes at once."""
        if not self.paused:
            return
        self.paused = False
        self.since = self.schedule.now
        self._network.thaw(self.name)
        self._truth.thawed(self.name)
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
        before = _running_loop()
        _set_running_loop(self.loop)
        try:
            action(*arguments)
        except CrashError:
            self.crash("at a point in the middle")
        except ViolationError:
            raise
        except Exception as error:
            raise ViolationError(f"{self.name} stopped with {type(error).__name__}: {error}") from error
        finally:
            _set_running_loop(before)
            self._busy = False

    def point(self) -> None:
        """Crash here, if the fuse has burnt down."""
        self.live()
        if self.fuse:
            self.fuse -= 1
            if not self.fuse:
                self.die()

    def die(self) -> NoReturn:
        """Crash here."""
        self._dying = True
        raise CrashError

    def live(self) -> None:
        """Let a process that crashes do nothing more, whatever is done in it on the way out."""
        if self._dying:
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
        self._truth.clock_rate(self.name, rate)

    @property
    def clock_offset(self) -> int:
        """By how much the wall clock is wrong, in microseconds."""
        return self._clock_offset

    @clock_offset.setter
    def clock_offset(self, offset: int) -> None:
        self._clock_offset = offset
        self._truth.clock_offset(self.name, offset)

    def wall(self) -> float:
        """Give the wall clock, in seconds since the epoch; it may be wrong, and may jump."""
        return (EPOCH + self.schedule.now + self.clock_offset) / SECOND

    def wall_ms(self) -> int:
        """Give it in milliseconds."""
        return (EPOCH + self.schedule.now + self.clock_offset) // MS

    def repair(self) -> None:
        """Make the disk sound again."""
        if self.disk.store.rotten:
            self.disk.store.repair()
            self.damaged = ""
            self.note("REPAIRED")
