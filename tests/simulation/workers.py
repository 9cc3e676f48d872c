"""Workers: each works for one or several nodes, for ever: fetches jobs, runs them, sleeps, sometimes dies.

Not for: clients (`clients`).
"""

from typing import Final

from cluster.jobs.job import number_of
from protocol import Packet, PacketType
from tests.simulation.actors import FUNCTIONS, LIMITS_MS, Actor, Alarm, World
from tests.simulation.connections import Event, Wire
from tests.simulation.journal import ViolationError
from tests.simulation.runs import Run
from tests.simulation.schedule import MS, SECOND

P: Final = PacketType
_ASSIGNMENTS: Final = frozenset({P.JOB_ASSIGN, P.JOB_ASSIGN_UNIQ, P.JOB_ASSIGN_ALL})
_GRABS: Final = (P.GRAB_JOB, P.GRAB_JOB_UNIQ, P.GRAB_JOB_ALL)
NEW, AWAKE, GRABBING, EMPTY, ASLEEP = "new", "awake", "grabbing", "empty", "asleep"


class Desk:
    """One of a worker's connections."""

    __slots__ = ("patience", "state", "wire")

    def __init__(self, wire: Wire, patience: Alarm) -> None:
        self.wire = wire
        self.patience = patience
        self.state = NEW
        """AWAKE: the node may have a job; GRABBING: it was asked for one; EMPTY: it said that it has none."""


class Worker(Actor):
    """A worker: one job at a time, or, if it is a wide one, one for each connection."""

    SLEEP_TIME: Final = (5 * SECOND, 15 * SECOND)
    """One that sleeps for long looks by itself whether it was forgotten."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__(world, name)
        self._functions: list[bytes] = []
        self._breadth = world.random.choice((1, 1, 2, 3))
        """To how many nodes it connects."""
        self._wide = world.chance(0.2)
        self._desks: list[Desk] = []
        self._running: dict[Run, Alarm] = {}
        self._nap = Alarm(world.schedule)
        self._again = Alarm(world.schedule)
        self._again.set(world.random.randrange(SECOND), self._come)

    # Connections

    def _come(self) -> None:
        """Connect to as many nodes as it works for."""
        world = self.world
        if not self._desks:
            self._functions = world.random.sample(FUNCTIONS, world.random.choice((1, 2, 3, 3)))
            if world.calm:
                self._functions = list(FUNCTIONS)
        while len(self._desks) < self._breadth:
            wire = self.dial(*(desk.wire.machine for desk in self._desks))
            if wire is None:
                break
            desk = Desk(wire, Alarm(world.schedule))
            desk.patience.set(self.CONNECT_TIME, self._leave, desk)
            self._desks.append(desk)
        if not self._desks:
            self._again.set(SECOND, self._come)

    def _desk(self, wire: Wire) -> Desk:
        return next(desk for desk in self._desks if desk.wire is wire)

    def opened(self, wire: Wire) -> None:
        """Say what it can do, and look for work (`connections.End`)."""
        desk = self._desk(wire)
        desk.patience.cancel()
        desk.state = AWAKE
        self.note("connects", wire.machine.name, f"session={wire.session}")
        if self.world.chance(0.3):
            self.send(wire, P.SET_CLIENT_ID, self.name.encode())
        for name in self._functions:
            self._can(wire, name)
        self._look()

    def _can(self, wire: Wire, name: bytes) -> None:
        if LIMITS_MS[name]:
            self.send(wire, P.CAN_DO_TIMEOUT, name, b"%d" % LIMITS_MS[name])
        else:
            self.send(wire, P.CAN_DO, name)

    def closed(self, wire: Wire) -> None:
        """Notice that a node has hung up (`connections.End`)."""
        self._leave(self._desk(wire))

    def _leave(self, desk: Desk) -> None:
        """Hang up on one node; come back in a while, perhaps elsewhere."""
        self._part(desk, self.world.departure())
        self._again.set(self.world.random.randrange(50 * MS, 500 * MS), self._come)
        self._look()

    def _part(self, desk: Desk, how: str) -> None:
        self.note("hangs up", desk.wire.machine.name)
        self._desks.remove(desk)
        desk.patience.cancel()
        for run, alarm in list(self._running.items()):
            if run in desk.wire.runs.values():
                run.broken = True
                alarm.cancel()
                del self._running[run]
        desk.wire.leave(how)

    def _die(self) -> None:
        """Leave all nodes in the middle of everything, and come back as another process."""
        how = self.world.departure()
        for desk in list(self._desks):
            self._part(desk, how)
        self._nap.cancel()
        self._again.set(self.world.random.randrange(50 * MS, 500 * MS), self._come)

    def settle(self) -> None:
        """Come back able to do everything."""
        if not self._running and len(self._functions) < len(FUNCTIONS):
            self._die()

    # Looking for work

    def _look(self) -> None:
        """Ask the next node that may have a job; go to sleep when none has."""
        desks = self._desks
        if not self._wide and (self._running or any(desk.state is GRABBING for desk in desks)):
            return
        for desk in desks:
            if desk.state is AWAKE and not (self._wide and self._busy(desk)):
                desk.state = GRABBING
                self.world.calls.fetching(desk.wire)
                self.send(desk.wire, self.world.random.choice(_GRABS))
                desk.patience.set(self.ANSWER_TIME, self._leave, desk)
                if not self._wide:
                    return
        tired = [desk for desk in desks if desk.state is EMPTY]
        if tired and (self._wide or all(desk.state in (EMPTY, ASLEEP, NEW) for desk in desks)):
            self._sleep(tired)

    def _busy(self, desk: Desk) -> bool:
        return any(run in self._running for run in desk.wire.runs.values())

    def _sleep(self, desks: list[Desk]) -> None:
        world = self.world
        for desk in desks:
            desk.state = ASLEEP
            self.send(desk.wire, P.PRE_SLEEP)
        missing = [name for name in FUNCTIONS if name not in self._functions]
        if missing and world.chance(0.2):
            self._functions.append(missing[0])
            for desk in self._desks:
                if desk.state is not NEW:
                    self._can(desk.wire, missing[0])
        self._nap.set(world.random.randrange(*self.SLEEP_TIME), self._wake_up)

    def _wake_up(self) -> None:
        for desk in self._desks:
            if desk.state is ASLEEP:
                desk.state = AWAKE
        self._look()

    # What the nodes say

    def packet(self, wire: Wire, packet: Packet, given: int) -> None:
        """Take a packet."""
        desk, kind, args = self._desk(wire), packet.kind, packet.args
        if kind is P.NOOP:
            self._woken(desk)
        elif kind is P.NO_JOB or kind in _ASSIGNMENTS:
            if desk.state is not GRABBING:
                raise ViolationError(f"{self.name} is sent {kind.name} by {wire.machine.name}, and never asked")
            desk.patience.cancel()
            self.world.calls.fetched(wire)
            if kind is P.NO_JOB:
                desk.state = EMPTY
                self._unlearn()
                self._look()
            else:
                desk.state = AWAKE
                self._start(desk, args[0], args[1], args[-1], given)
        elif kind is not P.ERROR or args[0] != b"JOB_NOT_FOUND":
            raise ViolationError(f"{self.name} is sent {kind.name} {args} by {wire.machine.name}")

    def _woken(self, desk: Desk) -> None:
        if desk.state is ASLEEP:
            if self.world.chance(0.1):
                self.world.schedule.after(200 * MS, self._late, desk)
            else:
                desk.state = AWAKE
                self._look()

    def _late(self, desk: Desk) -> None:
        """Come for the job after the node has given it to somebody else."""
        if desk in self._desks and desk.state is ASLEEP:
            desk.state = AWAKE
            self._look()

    def _unlearn(self) -> None:
        world = self.world
        if world.calm or len(self._functions) < 2:
            return
        if world.chance(0.1):
            name = self._functions.pop()
            self._tell_all(P.CANT_DO, name)
        elif world.chance(0.02):
            self._functions = [FUNCTIONS[0]]
            self._tell_all(P.RESET_ABILITIES)
            for desk in self._desks:
                if desk.state is not NEW:
                    self._can(desk.wire, FUNCTIONS[0])

    def _tell_all(self, kind: PacketType, *args: bytes) -> None:
        for desk in self._desks:
            if desk.state is not NEW:
                self.send(desk.wire, kind, *args)

    # Running

    def _begin_run(self, wire: Wire, handle: bytes, name: bytes, workload: bytes, given: int) -> Run:
        job = number_of(handle)
        assert job is not None
        life = self.world.promises.truth.life_of(wire.machine.name, wire.incarnation)
        run = Run(job, wire.machine.name, wire.incarnation, wire.session, given, LIMITS_MS[name], workload, life)
        run.broken = wire.left or wire.severed
        self.world.promises.given(job, workload)
        self.world.promises.run_begins(run)
        wire.runs[handle] = run
        self.world.calls.run_begins(wire, handle, workload, run)
        return run

    def missed(self, wire: Wire, event: Event, given: int) -> None:
        """Note, for the judge, a job that came when the worker had gone."""
        if isinstance(event, Packet) and event.kind in _ASSIGNMENTS:
            self._begin_run(wire, event.args[0], event.args[1], event.args[-1], given)

    def _start(self, desk: Desk, handle: bytes, name: bytes, workload: bytes, given: int) -> None:
        world = self.world
        run = self._begin_run(desk.wire, handle, name, workload, given)
        alarm = self._running[run] = Alarm(world.schedule)
        self.note("runs", f"job={run.job} run={run.serial}")
        duration = world.random.choice((0, 1, 5, 20, 100, 400)) * MS
        if not world.calm:
            if world.chance(0.05):
                duration = 2 * SECOND
            if world.chance(0.06):
                alarm.set(duration // 2, self._die)
                return
        if world.chance(0.1):
            self.send(desk.wire, P.WORK_STATUS, handle, b"1", b"2")
        pieces = world.random.choice((0, 0, 0, 1, 3))
        interval = duration // (pieces + 1)
        alarm.set(interval, self._go_on, desk, handle, run, 0, pieces, interval)
        if self._wide:
            self._look()

    def _go_on(self, desk: Desk, handle: bytes, run: Run, said: int, pieces: int, interval: int) -> None:
        """Say the next piece, or that it is done."""
        world = self.world
        if said < pieces:
            kind = P.WORK_WARNING if world.chance(0.2) else P.WORK_DATA
            self.send(desk.wire, kind, handle, b"%d/%d" % (run.serial, said + 1))
            self._running[run].set(interval, self._go_on, desk, handle, run, said + 1, pieces, interval)
            return
        del self._running[run]
        run.over = True
        run.how = world.random.choices((P.WORK_COMPLETE, P.WORK_EXCEPTION, P.WORK_FAIL), (82, 12, 6))[0]
        self.note("finishes", f"job={run.job} run={run.serial}")
        word = (handle,) if run.how is P.WORK_FAIL else (handle, b"%d/%d" % (run.serial, pieces))
        world.calls.run_ends(desk.wire, handle, run, run.how)
        self.send(desk.wire, run.how, *word)
        if run.how is P.WORK_EXCEPTION and world.chance(0.5):
            self.send(desk.wire, P.WORK_FAIL, handle)
        if desk.wire.severed:
            run.broken = True  # the node had hung up before it read the worker's word
        if world.calm and len(self._functions) < len(FUNCTIONS) and not self._running:
            self._die()
        else:
            self._look()
