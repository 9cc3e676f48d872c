"""Clients and workers: they connect to any node, are patient for a while, and go to another one."""

from collections.abc import Callable
from random import Random
from typing import Any

from cluster.jobs import (
    Assigned,
    Can,
    Cancel,
    Cant,
    CantAny,
    Created,
    CreateFunction,
    DropFunction,
    Ended,
    Failed,
    Grab,
    Identify,
    Job,
    NoJob,
    Park,
    Prefetch,
    Progress,
    Refused,
    Reserved,
    Revoked,
    SessionOpen,
    SetLimit,
    Submit,
    Unreserve,
)
from cluster.jobs.job import number_of
from node.gateway.listening import FINAL
from protocol import PacketType
from tests.simulation.journal import Journal, ViolationError
from tests.simulation.machine import Machine
from tests.simulation.promises import Promises, Run
from tests.simulation.schedule import MS, SECOND, Schedule

FUNCTIONS = (b"f", b"g", b"h")
LIMITS_MS = {b"f": 0, b"g": 0, b"h": 700}
"""The time limit that workers declare for each function."""


class World:
    """What actors know of their world."""

    def __init__(
        self,
        schedule: Schedule,
        random: Random,
        journal: Journal,
        promises: Promises,
        machines: Callable[[], list[Machine]],
    ) -> None:
        """`machines` gives those that are to be connected to."""
        self.schedule = schedule
        self.random = random
        self.journal = journal
        self.promises = promises
        self.machines = machines
        self.calm = False
        """Whether the actors keep to what they began: no more pulled plugs."""
        self.submits = 0

    def chance(self, probability: float) -> bool:
        """Decide by chance."""
        return self.random.random() < probability


class Line:
    """A connection, between the two ends: what the node says into it after the actor hung up is heard by nobody."""

    __slots__ = ("actor",)

    def __init__(self, actor: "Actor") -> None:
        self.actor: Actor | None = actor

    def effect(self, effect: Any, index: int) -> None:
        """Pass an effect on."""
        if self.actor is not None:
            self.actor.effect(effect, index)

    def report(self, kind: PacketType, args: list[bytes]) -> None:
        """Pass on what a worker says of a job."""
        if self.actor is not None:
            self.actor.report(kind, args)

    def disconnected(self) -> None:
        """Pass on that the node has hung up."""
        if self.actor is not None:
            self.actor.disconnected()


def _bring(machine: Machine, session: int, commands: tuple[Any, ...]) -> None:
    """Bring commands before the table."""
    if machine.gateway is not None:
        machine.gateway.bring(session, commands)


class Actor:
    """Someone with at most one connection."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.machine: Machine | None = None
        self._line = Line(self)
        self._generation = 0
        self.incarnation = 0
        self.session = 0
        self._turn = 0
        """Counts what the actor waited for: a timer for something older is void."""

    def later(self, delay: int, action: Callable[..., None], *arguments: Any) -> None:
        """Plan something, unless something else happens before."""
        self._turn += 1
        self.world.schedule.after(delay, self._on_time, self._turn, action, arguments)

    def _on_time(self, turn: int, action: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        if turn == self._turn:
            action(*arguments)

    def connect(self) -> None:
        """Connect to any node that runs; try again later if none does."""
        running = [machine for machine in self.world.machines() if machine.process is not None]
        if not running:
            self.later(SECOND, self.connect)
            return
        self.machine = self.world.random.choice(running)
        self._generation = self.machine.generation
        self._line = Line(self)
        self.session = 0
        self.later(3 * SECOND, self.leave)
        self.machine.run(self._generation, self._connected, self.machine, self._turn)

    def _connected(self, machine: Machine, turn: int) -> None:
        if turn != self._turn or machine.process is None:
            return  # gave up before the node, which was paused, took the connection in
        self.session = machine.process.gateway.connect(self._line)
        if not self.session:
            self.leave()  # nobody is served there
            return
        self.incarnation = machine.process.driver.incarnation
        if self.world.journal.on:
            self.world.journal.write(self.name, "connects", machine.name, f"session={self.session}")
        self.begin()

    def tell(self, *commands: Any) -> None:
        """Have the node bring commands before the table."""
        machine = self.machine
        if machine is not None and self.session:
            machine.run(self._generation, _bring, machine, self.session, commands)

    def leave(self) -> None:
        """Hang up; come back in a while, perhaps elsewhere."""
        machine, session = self.machine, self.session
        self.machine, self.session = None, 0
        self._line.actor = None
        if machine is not None:
            if self.world.journal.on:
                self.world.journal.write(self.name, "hangs up", machine.name)
            self.left()
            if session:
                machine.run(self._generation, self._close, machine, session)
        self.later(self.world.random.randrange(50 * MS, 500 * MS), self.connect)

    @staticmethod
    def _close(machine: Machine, session: int) -> None:
        if machine.gateway is not None:
            machine.gateway.close(session)

    def disconnected(self) -> None:
        """Notice that the node has hung up."""
        self.session = 0
        self.leave()

    def effect(self, effect: Any, index: int) -> None:
        """Be told something by the node."""
        if self.world.journal.on:
            job = getattr(effect, "job", None)
            self.world.journal.write(
                self.name, type(effect).__name__, f"job={job.number}" if job else "", f"at={index}"
            )
        self.told(effect, index)

    def begin(self) -> None:
        """Do what comes first on a new connection."""
        raise NotImplementedError

    def left(self) -> None:
        """Forget what belonged to the connection."""
        raise NotImplementedError

    def told(self, effect: Any, index: int) -> None:
        """Go on after an effect."""
        raise NotImplementedError

    def report(self, kind: PacketType, args: list[bytes]) -> None:
        """Be told how a job goes."""
        raise ViolationError(f"{self.name} is told of {args[0]!r}, and never asked")


class Client(Actor):
    """Submits a number of jobs, one after the other, and reads in between."""

    def __init__(self, world: World, name: str, jobs: int) -> None:
        super().__init__(world, name)
        self.remaining = jobs
        self._workload = b""
        self._job = 0
        self._background = True
        self._unique = b""
        self._open = False
        """Whether the table knows of the connection: only one that waits for a result matters to it."""
        self._awaited: dict[int, dict[int, int]] = {}
        """Jobs whose end this connection is to be told, and how many pieces of each run it has."""
        self._choose()
        self.later(world.random.randrange(SECOND), self.connect)

    @property
    def done(self) -> bool:
        """Tell whether all its jobs are in, and all that it waited for have come."""
        return self.remaining == 0

    def _choose(self) -> None:
        world = self.world
        self._background = world.chance(0.5)
        self._unique = b"" if world.chance(0.5) else b"u%d" % world.random.randrange(4)
        if world.chance(0.05):
            self._unique = b"-"
        self._function = world.random.choice(FUNCTIONS)

    def begin(self) -> None:
        self._open = False
        self.later(self.world.random.randrange(300 * MS), self._act)

    def _act(self) -> None:
        if not self.remaining or not self.session:
            if self.remaining == 0 and self.session and not self.world.calm:
                self._read()
                self.later(SECOND, self._act)
            return
        world, random = self.world, self.world.random
        if world.chance(0.2):
            self._read()
        if world.chance(0.06):
            self._administer()
        world.submits += 1
        self._workload = b"%s/%d" % (self.name.encode(), world.submits) + b"." * random.choice((0, 0, 20, 5000))
        due = 0
        if world.chance(0.1) and self.machine is not None:
            due = self.machine.wall_ms() + random.randrange(2000)
        self._job = 0
        if not self._background and not self._open:
            self._open = True
            self.tell(SessionOpen(self.session, self.name))
        self.tell(
            Submit(
                self.session, self._function, self._unique, self._workload, random.randrange(3), self._background, due
            )
        )
        self.later(4 * SECOND, self.leave)

    def _administer(self) -> None:
        random, session = self.world.random, self.session
        function = random.choice((*FUNCTIONS, b"idle", b"spare"))
        self.tell(
            random.choice(
                (
                    CreateFunction(session, function),
                    DropFunction(session, function),
                    SetLimit(session, function, 0, random.choice((0, 50)), 0),
                    Identify(session, b"me%d" % random.randrange(9)),
                )
            )
        )

    def _read(self) -> None:
        if self.machine is not None:
            read(self.world, self.name, self.machine)

    def told(self, effect: Any, index: int) -> None:
        world = self.world
        if isinstance(effect, Created) and not self._job and self.remaining:
            job: Job = effect.job
            self._job = job.number
            if not self._background:
                self._awaited[job.number] = {}
            if self._background:
                world.promises.acknowledged(job.number, index)
                if world.chance(0.04):
                    self.tell(Cancel(self.session, job.handle))
                self._finished()
            elif not world.calm and world.chance(0.1):
                self.later(world.random.randrange(SECOND), self.leave)
            else:
                self.later(3600 * SECOND, self.leave)  # waits for the result as long as it takes
        elif isinstance(effect, Refused):
            self._job = 0
            self.later(SECOND, self._act)
        elif isinstance(effect, Failed):
            self._ended(effect.job.number)
            world.promises.failed(effect.job.number)
            self._finished()

    def report(self, kind: PacketType, args: list[bytes]) -> None:
        job = number_of(args[0])
        if self.world.journal.on:
            self.world.journal.write(self.name, kind.name, f"job={job}", *args[1:])
        if job not in self._awaited:
            raise ViolationError(f"{self.name} is told {kind.name} of job {job}, for which it does not wait")
        if kind is PacketType.WORK_FAIL:  # no worker says so
            self.world.promises.result_lost(job)
        else:
            serial, pieces = map(int, args[1].split(b"/"))
            heard = self._awaited[job].get(serial)
            expected = pieces if heard is None else heard + (kind is PacketType.WORK_DATA)
            if pieces != expected:
                raise ViolationError(f"{self.name} hears piece {pieces} of run {serial} of job {job} after {heard}")
            self._awaited[job][serial] = pieces
            if kind in FINAL:
                self.world.promises.told(job, serial)
        if kind in FINAL:
            self._ended(job)
            if job == self._job:
                self._finished()

    def _ended(self, job: int) -> None:
        if self._awaited.pop(job, None) is None:
            raise ViolationError(f"{self.name} is told of the end of job {job}, for which it does not wait")

    def _finished(self) -> None:
        self._job = 0
        self.remaining -= 1
        function, unique = self._function, self._unique
        self._choose()
        if self.world.chance(0.1):  # the same once more, perhaps before its end is known everywhere
            self._function, self._unique = function, unique
            self.later(self.world.random.randrange(3 * MS), self._act)
        else:
            self.later(self.world.random.randrange(50 * MS, 1500 * MS), self._act)

    def left(self) -> None:
        self._job = 0
        self._awaited = {}


def read(world: World, who: str, machine: Machine) -> None:
    """Ask a node for a linearizable read; what it must see is what anybody knew before it was asked."""
    machine.run(machine.generation, _ask, world, who, machine, world.promises.read_floor())


def _ask(world: World, who: str, machine: Machine, floor: int) -> None:
    process = machine.process
    if process is None:
        return

    def answered() -> None:
        index = process.applied_index()
        if world.journal.on:
            world.journal.write(who, "read", machine.name, f"index={index} floor={floor}")
        world.promises.read_answered(floor, index, process.table.last_job)

    process.gateway.read(answered)


class Reader:
    """Reads at any node, all the time, until there is peace."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._read()

    def _read(self) -> None:
        world = self._world
        if world.calm:
            return
        machines = [machine for machine in world.machines() if machine.process is not None]
        if machines:
            read(world, "R", world.random.choice(machines))
        world.schedule.after(world.random.randrange(50 * MS, 900 * MS), self._read)


class Worker(Actor):
    """Works for ever: fetches, runs, sleeps, sometimes dies."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__(world, name)
        self._functions: list[bytes] = []
        self._run: Run | None = None
        self._reserved: list[Job] = []
        self.later(world.random.randrange(SECOND), self.connect)

    @property
    def _timed(self) -> bool:
        """Whether it ever declared a time limit."""
        return any(LIMITS_MS[name] for name in self._functions)

    def begin(self) -> None:
        world = self.world
        self._functions = world.random.sample(FUNCTIONS, world.random.choice((1, 2, 3, 3)))
        if world.calm:
            self._functions = list(FUNCTIONS)
        self.tell(
            SessionOpen(self.session, self.name),
            *(Can(self.session, name, LIMITS_MS[name]) for name in self._functions),
        )
        self._next()

    def settle(self) -> None:
        """Come back able to do everything."""
        if self._run is None and len(self._functions) < len(FUNCTIONS):
            self.leave()

    def _next(self) -> None:
        """Look for work: a reserved job first."""
        if not self.session:
            return
        if self._reserved:
            assert self.machine is not None
            self.machine.run(self._generation, self._fetch, self.session)
            return
        self.tell(Grab(self.session, self.world.random.choice((0, 0, 2))))
        self.later(4 * SECOND, self.leave)

    def _fetch(self, session: int) -> None:
        """Be handed a reserved job by the node, which need not ask anybody."""
        if session != self.session or self._run is not None:
            return
        if self._reserved:
            job = self._reserved.pop(0)
            assert self.machine is not None
            self.machine.run(self._generation, self._take, self.machine, session, job, self._timed)
            self._start(job)
        else:
            self._next()

    @staticmethod
    def _take(machine: Machine, session: int, job: Job, timed: bool) -> None:  # noqa: FBT001 - as it is planned
        if machine.gateway is not None:
            machine.gateway.take(session, job, timed=timed)

    def told(self, effect: Any, index: int) -> None:
        world = self.world
        if isinstance(effect, Assigned):
            self._reserved.append(effect.job)
            if self._run is None:
                self._fetch(self.session)
        elif isinstance(effect, NoJob):
            if self._run is not None:
                return  # it asked twice
            if world.calm:
                pass
            elif world.chance(0.1) and len(self._functions) > 1:
                self.tell(Cant(self.session, self._functions.pop()))
            elif world.chance(0.02):
                self._functions = [FUNCTIONS[0]]
                self.tell(CantAny(self.session), Can(self.session, FUNCTIONS[0], LIMITS_MS[FUNCTIONS[0]]))
            self._sleep()
        elif isinstance(effect, Reserved):
            if self._run is not None or not effect.wake:
                self._reserved.append(effect.job)
            elif world.chance(0.1):
                world.schedule.after(50 * MS, self._not_fetched, effect.job, self._line)
            else:
                self._reserved.append(effect.job)
                self.later(world.random.randrange(5 * MS), self._next)
        elif isinstance(effect, Revoked | Ended):
            self._reserved = [job for job in self._reserved if job.number != effect.job.number]

    def _sleep(self) -> None:
        self.tell(Park(self.session))
        missing = [name for name in FUNCTIONS if name not in self._functions]
        if missing and self.world.chance(0.2):
            self._functions.append(missing[0])
            self.tell(Can(self.session, missing[0], LIMITS_MS[missing[0]]))
        # One that sleeps for long looks by itself whether it was forgotten.
        self.later(self.world.random.randrange(5 * SECOND, 15 * SECOND), self._next)

    def _not_fetched(self, job: Job, line: Line) -> None:
        """Have the node give back what it kept for this worker, which did not come for it."""
        if line is self._line:
            self.tell(Unreserve(self.session, job.number))
            if self._run is None:
                self._sleep()

    def _start(self, job: Job) -> None:
        world, machine = self.world, self.machine
        assert machine is not None
        assert machine.process is not None
        name = job.function.name
        run = Run(job.number, machine.name, self.incarnation, self.session, machine.process.table.now, LIMITS_MS[name])
        self._run = run
        world.promises.run_begins(run)
        if world.journal.on:
            world.journal.write(self.name, "runs", f"job={job.number}")
        if world.chance(0.1):
            self.tell(Prefetch(self.session, 1))
        duration = world.random.choice((1, 5, 20, 100, 400)) * MS
        if not world.calm:
            if world.chance(0.05):
                duration = 2 * SECOND
            if world.chance(0.06):
                self.later(duration // 2, self.leave)
                return
        if world.chance(0.1):
            self.tell(Progress(self.session, job.number, 1, 2))
        pieces = world.random.choice((0, 0, 0, 1, 3))
        self.later(duration // (pieces + 1), self._go_on, run, job, 0, pieces, duration // (pieces + 1))

    def _go_on(self, run: Run, job: Job, said: int, pieces: int, interval: int) -> None:
        """Say the next piece, or that it is done."""
        if said < pieces:
            self._report(job, PacketType.WORK_DATA, run, said + 1)
            self.later(interval, self._go_on, run, job, said + 1, pieces, interval)
        else:
            kind = PacketType.WORK_EXCEPTION if self.world.chance(0.1) else PacketType.WORK_COMPLETE
            self._finish(run, job, kind, pieces)

    def _report(self, job: Job, kind: PacketType, run: Run, pieces: int) -> None:
        machine = self.machine
        if machine is not None:
            args = [job.handle, b"%d/%d" % (run.serial, pieces)]
            machine.run(self._generation, self._say, machine, self.session, job, kind, args, run)

    @staticmethod
    def _say(machine: Machine, session: int, job: Job, kind: PacketType, args: list[bytes], run: Run) -> None:
        if machine.gateway is not None and not machine.gateway.report(session, job, kind, args):
            run.broken = True  # the node had hung up before it read the worker's word

    def _finish(self, run: Run, job: Job, kind: PacketType, pieces: int) -> None:
        run.over = True
        self._run = None
        if self.world.journal.on:
            self.world.journal.write(self.name, "finishes", f"job={run.job} run={run.serial}")
        self._report(job, kind, run, pieces)
        if self.world.calm and len(self._functions) < len(FUNCTIONS):
            self.leave()
        else:
            self._next()

    def left(self) -> None:
        if self._run is not None:
            self._run.broken = True
            self._run = None
        self._reserved.clear()
