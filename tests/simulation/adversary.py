"""What goes wrong, and when: picks faults by the profile, and ends them again after a while."""

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from cluster.jobs import Alarm, Resource
from cluster.raft import Change, ChangeKind, ConfigurationChange, RefusedError
from tests.simulation.burst import Burst
from tests.simulation.connections import Wire
from tests.simulation.flood import Flood
from tests.simulation.machine import Machine
from tests.simulation.schedule import MS, SECOND
from tests.simulation.truth import CLOCK_MEMORY

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

MAX_MACHINES = 9
DISTURBING = frozenset({"campaign", "transfer", "member", "links", "noise"})
"""Faults after which another node may lead, though all are well."""
STEPS = (SECOND, 60 * SECOND, 3600 * SECOND, 86400 * SECOND, 30 * 86400 * SECOND)
"""A clock steps by up to one of these."""

DOZE: Final = 2 * SECOND
"""The longest time for which one that dozes is frozen."""


class Adversary:
    """The source of all trouble."""

    def __init__(self, simulation: "Simulation") -> None:
        self._simulation = simulation
        self._random = simulation.random
        self._schedule = simulation.schedule
        self._profile = simulation.profile
        self._names = list(self._profile.faults)
        self._weights = list(self._profile.faults.values())
        self._shrinks = 0.9 if self._profile.kind == "shrinking" else 0.3
        """How often a group of two becomes a group of one."""
        self._bursts = self._floods = 0
        self._over = False
        self._acts: dict[str, Callable[[], str]] = {name: getattr(self, f"_{name}") for name in self._names}
        if self._names:
            self._plan()

    def stop(self) -> None:
        """Leave the cluster in peace from now on."""
        self._over = True

    def _plan(self) -> None:
        self._schedule.after(int(self._random.expovariate(1.0) * self._profile.interval), self._strike)

    def _strike(self) -> None:
        if self._over:
            return
        name = self._random.choices(self._names, self._weights)[0]
        what = self._acts[name]()
        if name in DISTURBING:
            self._simulation.progress.disturbed()
        journal = self._simulation.journal
        if journal.on and what:
            journal.write("-", name.upper(), what)
        self._plan()

    def _later(self, least: int, most: int, action: Callable[..., None], *arguments: object) -> None:
        self._schedule.after(self._random.randrange(least, most), self._unless_over, action, arguments)

    def _unless_over(self, action: Callable[..., None], arguments: tuple[object, ...]) -> None:
        if not self._over:
            action(*arguments)

    def _victim(self) -> Machine | None:
        """Pick a machine that runs, the leader more often than not."""
        running = [machine for machine in self._simulation.machines.values() if machine.running]
        if not running:
            return None
        leader = self._simulation.leader()
        if leader is not None and self._random.random() < 0.4:
            return leader
        return self._random.choice(running)

    def _spare(self) -> Machine | None:
        """Pick a machine that runs and does not lead, and without which a majority is still healthy."""
        simulation, health = self._simulation, self._simulation.progress.health
        leader = simulation.leader()
        voters = simulation.safety.configuration.voters
        candidates = [
            machine
            for name, machine in simulation.machines.items()
            if name in voters and machine is not leader and health.sound(machine) and health.spares(machine)
        ]
        return self._random.choice(candidates) if candidates else None

    def _spare_leader(self) -> Machine | None:
        """Pick the leader, if a majority is still healthy without it."""
        leader = self._simulation.leader()
        return leader if leader is not None and self._simulation.progress.health.spares(leader) else None

    # Processes

    def _alarm(self) -> str:
        """Let a node have too little of something for a while, or for as long as it goes on."""
        machine = self._random.choice(list(self._simulation.machines.values()))
        resource = self._random.choice(list(Resource))
        machine.alarm(Alarm(resource, 1, 2))
        if self._random.random() < 0.9:
            self._later(20 * MS, 4 * SECOND, machine.alarm, Alarm(resource, 3, 0))
        return f"{machine.name} {resource.name}"

    def _crash(self) -> str:
        machine = self._victim()
        if machine is None:
            return ""
        machine.crash("killed", silent=self._random.random() < 0.3)
        self._later(0, 4 * SECOND, machine.start)
        return machine.name

    def _fuse(self) -> str:
        machine = self._victim()
        if machine is None:
            return ""
        machine.fuse = self._random.randrange(1, 80)
        self._later(SECOND, 4 * SECOND, machine.start)
        return f"{machine.name} {machine.fuse}"

    def _blackout(self) -> str:
        for machine in self._simulation.machines.values():
            if machine.running:
                machine.crash("power lost", silent=True)
                self._later(0, 3 * SECOND, machine.start)
        return "all"

    def _pause(self) -> str:
        machine = self._victim()
        if machine is None:
            return ""
        machine.pause()
        self._later(50 * MS, 8 * SECOND, machine.resume)
        self._later(SECOND, 6 * SECOND, self._suspect, machine)
        return machine.name

    def _nap(self, machine: Machine | None = None) -> str:
        """Freeze one that does not lead for 0.5 to 10 s."""
        machine = machine or self._spare()
        if machine is None:
            return ""
        machine.pause()
        self._later(SECOND // 2, 10 * SECOND, machine.resume)
        return machine.name

    def _nap_leader(self) -> str:
        """Freeze the leader for as long."""
        leader = self._spare_leader()
        return self._nap(leader) if leader is not None else ""

    def _nap_all(self) -> str:
        """Freeze everybody, as a suspended host does; they go on within 100 ms of each other."""
        length = self._random.randrange(SECOND // 2, 10 * SECOND)
        for machine in self._simulation.machines.values():
            machine.pause()
            self._later(length, length + 100 * MS, machine.resume)
        return f"{length / SECOND:.1f} s"

    def _burst(self) -> str:
        """Freeze all followers for a second while a client of the leader sends several large jobs."""
        leader = self._simulation.leader()
        if leader is None or leader.process is None or leader.paused:
            return ""
        for machine in self._simulation.machines.values():
            if machine is not leader:
                machine.pause()
                self._later(SECOND, SECOND + 1, machine.resume)
        self._bursts += 1
        Wire(leader, Burst(self._bursts), self._random)
        return leader.name

    def _doze(self) -> str:
        """Freeze one that does not lead for less time than it takes to be declared down.

        Much less: for one that is missed for longer the leader takes in little, where the log that is kept is small.
        """
        machine = self._spare()
        if machine is None:
            return ""
        machine.pause()
        self._later(SECOND // 5, int(DOZE * (1 - self._profile.drift)), machine.resume)
        return machine.name

    def _flood(self) -> str:
        """Let a client of any node submit as fast as it can."""
        machine = self._victim()
        if machine is None or machine.process is None or machine.paused:
            return ""
        self._floods += 1
        Wire(machine, Flood(self._floods), self._random)
        return machine.name

    def _suspect(self, machine: Machine) -> None:
        if machine.paused:
            self._simulation.network.suspect(machine.name)

    def _stop(self) -> str:
        machine = self._victim()
        if machine is None:
            return ""
        machine.stop()
        self._later(SECOND, 4 * SECOND, machine.start)
        return machine.name

    # Disks and clocks

    def _stall(self) -> str:
        machine = self._victim()
        if machine is None:
            return ""
        usual = self._profile.latency
        machine.disk.latency = self._random.choice((200 * MS, SECOND, 3 * SECOND))
        truth = self._simulation.truth
        truth.begin("has a slow disk", machine.name)

        def recover() -> None:
            machine.disk.latency = usual
            truth.end("has a slow disk", machine.name)

        self._later(100 * MS, 6 * SECOND, recover)
        return f"{machine.name} {machine.disk.latency // MS} ms"

    def _hang(self, machine: Machine | None = None) -> str:
        """Let the disk of one that does not lead answer nothing for 1 to 30 s."""
        machine = machine or self._spare()
        if machine is None:
            return ""
        length = self._random.choice((SECOND, 3 * SECOND, 10 * SECOND, 30 * SECOND))
        machine.disk.hangs_until = max(machine.disk.hangs_until, self._schedule.now + length)
        return f"{machine.name} {length // SECOND} s"

    def _hang_leader(self) -> str:
        """Let the leader's disk hang."""
        leader = self._spare_leader()
        return self._hang(leader) if leader is not None else ""

    def _slow(self, machine: Machine | None = None) -> str:
        """Let each write of one that does not lead take 50, 300 or 2000 ms for a while."""
        machine = machine or self._spare()
        if machine is None:
            return ""
        usual = self._profile.latency
        machine.disk.latency = self._random.choice((50 * MS, 300 * MS, 2 * SECOND))

        def recover() -> None:
            machine.disk.latency = usual

        self._later(SECOND, 8 * SECOND, recover)
        return f"{machine.name} {machine.disk.latency // MS} ms"

    def _slow_leader(self) -> str:
        """Let the leader's disk be slow."""
        leader = self._spare_leader()
        return self._slow(leader) if leader is not None else ""

    def _rot(self) -> str:
        """Let a bit on a disk turn over, on any machine as long as most disks are sound; mostly it is read soon."""
        machines = self._simulation.machines
        voters = self._simulation.safety.configuration.voters
        rotten = {name for name in voters if machines[name].disk.store.rotten}
        sound = [name for name in voters if name not in rotten and machines[name].process is not None]
        if 2 * (len(rotten) + 1) >= len(voters) or not sound:
            return ""
        machine = machines[self._random.choice(sound)]
        where = machine.disk.store.rot(self._random)
        if not where:
            return ""
        if self._random.random() < 0.5:
            self._later(0, SECOND, machine.crash, "killed")
            self._later(SECOND, 2 * SECOND, machine.start)

        def repair() -> None:
            machine.repair()
            machine.start()

        self._later(4 * SECOND, 12 * SECOND, repair)
        return f"{machine.name} {where}"

    def _step(self, machine: Machine | None = None) -> str:
        """Set the clock of one that does not lead wrong, by up to a month, for a while."""
        machine = machine or (self._spare() if self._simulation.leader() is not None else None)
        if machine is None:
            return ""  # where nobody leads, it could be the one who is going to
        most = self._random.choice(STEPS)
        machine.clock_offset = self._random.randrange(-most, most)

        def put_right() -> None:
            machine.clock_offset = 0

        self._later(SECOND // 2, 10 * SECOND, put_right)
        return f"{machine.name} {machine.clock_offset / SECOND:+.1f} s"

    def _step_leader(self) -> str:
        """Set the leader's clock wrong."""
        leader = self._simulation.leader()
        return self._step(leader) if leader is not None else ""

    def _fsync(self) -> str:
        machine = self._victim()
        if machine is None:
            return ""
        machine.disk.fails = True
        self._later(SECOND, 4 * SECOND, machine.start)
        return machine.name

    def _full(self) -> str:
        machine = self._victim()
        if machine is None:
            return ""
        machine.disk.full = True

        def empty() -> None:
            machine.disk.full = False
            machine.start()

        self._later(SECOND, 5 * SECOND, empty)
        return machine.name

    def _clock(self) -> str:
        machine = self._random.choice(list(self._simulation.machines.values()))
        # What is wrong by more than the judge remembers is a fault that is known (`known`).
        machine.clock_offset = self._random.randrange(-CLOCK_MEMORY // 2, CLOCK_MEMORY // 2)
        if not machine.paused:
            machine.set_rate(self._random.choice((0.5, 0.8, 1.0, 1.25, 2.0)))
        return f"{machine.name} {machine.clock_offset / SECOND:+.1f} s, rate {machine.rate}"

    # Links

    def _cut(self, pairs: list[tuple[str, str]]) -> None:
        network = self._simulation.network
        network.cut_off(pairs)

        def mend() -> None:
            network.mend(pairs)

        self._later(200 * MS, 7 * SECOND, mend)

    def _isolate(self) -> str:
        machine = self._victim()
        if machine is None:
            return ""
        name = machine.name
        others = [other for other in self._simulation.machines if other != name]
        self._cut([(name, other) for other in others] + [(other, name) for other in others])
        return name

    def _oneway(self) -> str:
        machine = self._victim()
        if machine is None:
            return ""
        name = machine.name
        others = [other for other in self._simulation.machines if other != name]
        if self._random.random() < 0.5:
            self._cut([(name, other) for other in others])
            return f"from {name}"
        self._cut([(other, name) for other in others])
        return f"to {name}"

    def _partial(self) -> str:
        names = list(self._simulation.machines)
        if len(names) < 2:
            return ""
        one, other = self._random.sample(names, 2)
        pairs = [(one, other)]
        if self._random.random() < 0.7:
            pairs.append((other, one))
        self._cut(pairs)
        return str(pairs)

    def _halves(self) -> str:
        names = list(self._simulation.machines)
        self._random.shuffle(names)
        split = self._random.randrange(len(names) + 1)
        one, other = names[:split], names[split:]
        self._cut([(a, b) for a in one for b in other] + [(b, a) for a in one for b in other])
        return f"{''.join(one)} | {''.join(other)}"

    def _noise(self) -> str:
        network, random = self._simulation.network, self._random
        network.loss = random.choice((0.0, 0.05, 0.3))
        network.repeats = random.choice((0.0, 0.1, 0.5))
        network.stragglers = random.choice((0.0, 0.02, 0.2))
        network.jitter = random.choice((1, 10, 100)) * MS
        return f"loss {network.loss} repeats {network.repeats} stragglers {network.stragglers}"

    def _links(self) -> str:
        return self._simulation.network.break_one()

    # Leadership and membership

    def _campaign(self) -> str:
        machine = self._victim()
        if machine is None or machine.driver is None:
            return ""
        machine.run(machine.generation, self._campaign_on, machine)
        return machine.name

    @staticmethod
    def _campaign_on(machine: Machine) -> None:
        if machine.driver is not None:
            with contextlib.suppress(RefusedError):
                machine.driver.raft.campaign()
            machine.driver._pump_soon()

    def _transfer(self) -> str:
        leader = self._simulation.leader()
        if leader is None or leader.raft is None:
            return ""
        to = self._random.choice(leader.raft.configuration.members)
        leader.run(leader.generation, self._transfer_on, leader, to)
        return f"{leader.name} to {to}"

    @staticmethod
    def _transfer_on(machine: Machine, to: str) -> None:
        if machine.driver is not None:
            with contextlib.suppress(RefusedError):
                machine.driver.transfer(to)

    def _member(self) -> str:
        leader = self._simulation.leader()
        if self._simulation.operator is not None:
            if leader is not None and self._random.random() < 0.3:  # in the middle of it
                leader.fuse = self._random.randrange(1, 60)
                self._later(SECOND // 2, 4 * SECOND, leader.start)
            return self._simulation.operator.strike()
        if leader is None or leader.raft is None:
            return ""
        change = self._change(leader)
        leader.run(leader.generation, self._change_on, leader, change)
        if self._random.random() < 0.4:  # in the middle of the change
            leader.fuse = self._random.randrange(1, 25)
            self._later(SECOND // 2, 4 * SECOND, leader.start)
        steps = " ".join(f"{step.kind.name} {step.node}" for step in change.changes)
        return f"{leader.name}: {steps}{' joint' if change.joint else ''}"

    @staticmethod
    def _change_on(machine: Machine, change: ConfigurationChange) -> None:
        if machine.driver is not None and machine.driver.leads:
            with contextlib.suppress(RefusedError):
                machine.driver.propose_configuration(change)

    def _change(self, leader: Machine) -> ConfigurationChange:
        random, simulation = self._random, self._simulation
        assert leader.raft is not None
        configuration = leader.raft.configuration
        steps: list[Change] = []
        learners, voters = list(configuration.learners), list(configuration.voters)
        roll = random.random()
        if learners and roll < 0.5:
            steps.append(Change(ChangeKind.PROMOTE, random.choice(learners)))
            if len(voters) > 1 and random.random() < 0.4:
                kind = random.choice((ChangeKind.REMOVE, ChangeKind.DEMOTE))
                steps.append(Change(kind, random.choice(voters)))
        elif roll < 0.75 and len(simulation.machines) < MAX_MACHINES and len(learners) < 2:
            outsiders = [name for name in simulation.machines if name not in configuration.members]
            returning = [name for name in outsiders if random.random() < 0.3]
            name = random.choice(returning) if returning else simulation.add_machine().name
            steps.append(Change(ChangeKind.ADD_LEARNER, name))
        elif len(voters) > 2 or (len(voters) > 1 and random.random() < self._shrinks):
            kind = random.choice((ChangeKind.REMOVE, ChangeKind.DEMOTE))
            victims = random.sample(voters, 2 if len(voters) > 3 and random.random() < 0.3 else 1)
            steps.extend(Change(kind, name) for name in victims)
        elif learners:
            steps.append(Change(random.choice((ChangeKind.REMOVE, ChangeKind.PROMOTE)), random.choice(learners)))
        else:
            steps.append(Change(ChangeKind.ADD_LEARNER, simulation.add_machine().name))
        return ConfigurationChange(tuple(steps), joint=random.random() < 0.4)
