"""One run: a cluster from a seed, its troubles, their end, and the verdict."""

import contextlib
import hashlib
import sys
import time
from collections.abc import Iterator
from random import Random
from typing import TextIO

import msgspec

from cluster.jobs import Alarm, JobTable, digest
from cluster.raft import Raft, Ready, Role, SnapshotMeta, bootstrap
from tests.simulation import sizes
from tests.simulation.actors import World
from tests.simulation.adversary import Adversary
from tests.simulation.clients import Client, Monitor
from tests.simulation.discovery import Discovery, IntroducedNetwork
from tests.simulation.histories import Histories
from tests.simulation.journal import Journal, ViolationError
from tests.simulation.limited import Limited
from tests.simulation.machine import Machine
from tests.simulation.membership import Operator, silent
from tests.simulation.network import Network
from tests.simulation.process import NODE_TIMEOUT
from tests.simulation.profile import Profile, choose
from tests.simulation.progress import Progress, large_ahead
from tests.simulation.promises import Promises
from tests.simulation.punctuality import LOOK
from tests.simulation.safety import Safety
from tests.simulation.schedule import SECOND, Schedule
from tests.simulation.truth import Truth
from tests.simulation.workers import Worker

PATIENCE = 90 * SECOND
"""After this much time without faults everything must be done."""


class Result(msgspec.Struct, frozen=True):
    """How a run went."""

    seed: int
    kind: str
    nodes: int
    virtual: float
    """Seconds that the cluster lived."""
    real: float
    """Seconds of processor time it took."""
    events: int
    entries: int
    leaders: int
    acknowledged: int
    runs: int
    again: int
    """Runs of a job after its first."""
    reads: int
    undecided: int
    """Unique keys with too many calls to be judged."""
    fingerprint: str
    """Of everything that happened: two runs of one seed have the same."""


class Watch(Safety):
    """Safety, and what the promises need to know of processes."""

    def __init__(self, base: SnapshotMeta, promises: Promises, sample: int) -> None:
        super().__init__(base, promises, sample)
        self._promises = promises
        self._incarnations: dict[str, int] = {}
        """The latest of each node."""
        promises.begin(self)

    def bundle(self, raft: Raft, ready: Ready) -> None:
        """Check a bundle, and note who leads."""
        super().bundle(raft, ready)
        if ready.standing is not None:
            if raft.role is Role.LEADER:
                self._promises.truth.leads(raft.id)
            else:
                self._promises.truth.follows(raft.id)

    def installed(self, name: str, table: JobTable, index: int) -> None:
        """Check a table that came with a snapshot, and note whose sessions it ended: those that it does not have."""
        super().installed(name, table, index)
        incarnation, node = self._incarnations.get(name, 0), table.nodes.get(name)
        if node is None or not node.up or node.incarnation != incarnation:
            self._promises.replaced(name, incarnation)

    def incarnated(self, name: str, incarnation: int) -> None:
        """Note which process began an incarnation."""
        self._incarnations[name] = incarnation
        self._promises.truth.incarnated(name, incarnation)

    def hung_up(self, name: str) -> None:
        """Check that a node had a reason to hang up on everybody."""
        self._promises.hung_up(name, self._logs[name].disk.busy_for)

    def asked(self) -> int:
        """Tell what a read asked for now must see."""
        return self._promises.read_floor()

    def answered(self, name: str, floor: int, index: int, last_job: int) -> None:
        """Check what it saw."""
        self._promises.read_answered(floor, index, last_job)


class Simulation:
    """A cluster in one thread."""

    def __init__(
        self, seed: int, log: TextIO | None = None, *, kind: str | None = None, nodes: int | None = None
    ) -> None:
        """`log`: where to write one line per event. `kind` and `nodes` override what the seed says."""
        self.seed = seed
        self.random = Random(seed)
        self.profile: Profile = choose(self.random, kind, nodes)
        self.schedule = Schedule()
        self.journal = Journal(self.schedule, log)
        self.truth = Truth(self.schedule, NODE_TIMEOUT)
        self.network = self._make_network()
        self.machines: dict[str, Machine] = {}
        profile = self.profile
        ahead = large_ahead(profile) if profile.scale > 1 else 0
        self.promises = Promises(self.truth, profile.retries, exact=profile.exact, ahead=ahead)
        names = [] if self.profile.forms else [chr(ord("a") + number) for number in range(self.profile.nodes)]
        self._founders = tuple(names)
        self.safety = Watch(bootstrap(*names), self.promises, self.profile.sample)
        profile, network = self.profile, self.network
        network.loss, network.repeats, network.stragglers = profile.loss, profile.repeats, profile.stragglers
        network.jitter, network.slander, network.full = profile.jitter, profile.slander, profile.full
        network.ordered = profile.progress
        network.limits, network.pace = sizes.limits(profile.scale), profile.pace
        network.kernel, network.window = sizes.KERNEL // profile.scale, sizes.WINDOW // profile.scale
        for name in names:
            self.add_machine(name)
        self.operator: Operator | None = None
        if isinstance(network, IntroducedNetwork):
            self.operator = Operator(self, network)
        self.histories = Histories(self.schedule, self.safety, attempts_limited=profile.retries >= 0)
        self.world = World(self.schedule, self.random, self.journal, self.promises, self.histories, self._reachable)
        self.world.weights = sizes.WEIGHTS if profile.scale == 1 else sizes.SCALED_WEIGHTS
        self.clients = [self._make_client(number) for number in range(profile.clients)]
        self.workers = [Worker(self.world, f"W{number}") for number in range(profile.workers)]
        self.monitor = Monitor(self.world, "M")
        self.progress = Progress(self)
        self.adversary = Adversary(self)
        if not (profile.faults or profile.loss or profile.stragglers or profile.unreadable):
            self.truth.peace = 0
        self._look()

    def _make_client(self, number: int) -> Client:
        profile = self.profile
        if profile.kind == "limits":
            return Limited(self.world, f"C{number}", 4 * profile.jobs, profile.clients)
        return Client(self.world, f"C{number}", profile.jobs)

    def _make_network(self) -> Network:
        if self.profile.forms:
            discovery = Discovery(self.schedule, self.random)
            return IntroducedNetwork(self.schedule, self.random, self.journal, self.truth, discovery)
        return Network(self.schedule, self.random, self.journal, self.truth)

    def _look(self) -> None:
        """Look every now and then whether something is late."""
        self.promises.punctuality.look()
        self.schedule.after(LOOK, self._look)

    def founded(self, members: tuple[str, ...]) -> None:
        """Hold everybody to a founding that has become real."""
        self.safety.found(members)

    def another_watch(self) -> Watch:
        """Begin to watch another cluster, which nobody uses."""
        return Watch(bootstrap(), Promises(self.truth, self.profile.retries), self.profile.sample)

    def add_machine(self, name: str | None = None) -> Machine:
        """Add a machine, and start it: one of the first members when named, else one that is going to join."""
        first = name is not None
        name = name or chr(ord("a") + len(self.machines))
        machine = self.machines[name] = self.build(name, founders=self._founders if first else ())
        machine.start()
        return machine

    def build(self, name: str, watch: Watch | None = None, founders: tuple[str, ...] = ()) -> Machine:
        """Make a machine."""
        profile, watch = self.profile, watch or self.safety
        machine = Machine(
            name,
            schedule=self.schedule,
            random=self.random,
            network=self.network,
            truth=self.truth,
            journal=self.journal,
            watcher=watch,
            founders=founders,
            config=profile.config,
            retries=profile.retries,
            scale=profile.scale,
            rate=1 + profile.drift * (2 * self.random.random() - 1),
        )
        machine.disk.latency, machine.disk.joins = profile.latency, profile.joins
        machine.disk.unreadable = profile.unreadable
        machine.disk.pace /= profile.scale
        watch.watch(name, machine.disk)
        return machine

    def leader(self) -> Machine | None:
        """Return the machine that leads in the latest term, if any does."""
        best: Machine | None = None
        for machine in self.machines.values():
            raft = machine.raft
            if (
                raft is not None
                and raft.role is Role.LEADER
                and (best is None or best.raft is None or raft.term > best.raft.term)
            ):
                best = machine
        return best

    def _reachable(self) -> list[Machine]:
        members = self.safety.configuration.members
        return [machine for name, machine in self.machines.items() if name in members]

    def run(self) -> Result:
        """Live through it all. Raise `ViolationError` for the first thing that is wrong."""
        with _tuned(self.profile.tuning), silent():
            return self._run()

    def _run(self) -> Result:
        began = time.process_time()
        schedule = self.schedule
        schedule.run(self.profile.duration)
        self._make_peace()
        finished = schedule.run(schedule.now + PATIENCE, self._finished)
        if not finished:
            raise ViolationError(f"no progress: {self._unfinished()}{self.network.complaint()}")
        # What is on its way still may not break anything.
        self._quiesce()
        self.promises.check()
        self.histories.check()
        return Result(
            seed=self.seed,
            kind=self.profile.kind,
            nodes=self.profile.nodes,
            virtual=schedule.now / SECOND,
            real=time.process_time() - began,
            events=schedule.happened,
            entries=self.safety.table_index,
            leaders=self.safety.leaders_count,
            acknowledged=self.promises.acknowledged_count,
            runs=self.promises.runs_count,
            again=self.promises.again,
            reads=self.promises.reads,
            undecided=self.histories.undecided,
            fingerprint=self._fingerprint(),
        )

    def _make_peace(self) -> None:
        """End all faults."""
        self.adversary.stop()
        self.network.heal()
        self.world.calm = True
        if self.truth.peace < 0:
            self.truth.peace = self.schedule.now
        if self.journal.on:
            self.journal.write("-", "PEACE")
        for machine in self.machines.values():
            machine.resume()
            machine.fuse = 0
            machine.set_rate(1.0)
            disk = machine.disk
            disk.full = disk.fails = False
            disk.unreadable = 0.0
            disk.latency = self.profile.latency
            disk.hangs_until = 0
            machine.clock_offset = 0
            for resource in list(machine.alarms):
                machine.alarm(Alarm(resource, 3, 0))
            machine.repair()
            self.truth.end("has a slow disk", machine.name)
            machine.start()
        if self.operator is not None:
            self.operator.make_peace()
        for worker in self.workers:
            worker.settle()

    def _members(self) -> list[Machine]:
        return [self.machines[name] for name in self.safety.configuration.members]

    def _finished(self) -> bool:
        return not self._unfinished()

    def _unfinished(self) -> str:
        """Say what is not done yet."""
        if self.operator is not None and (unfinished := self.operator.unfinished()):
            return unfinished
        leader = self.leader()
        if leader is None:
            return "nobody leads"
        if leader.name not in self.safety.configuration.voters:
            return f"{leader.name} leads, which is no voter any more"
        waiting = [client.name for client in self.clients if not client.done]
        if waiting:
            return f"{', '.join(waiting)} still wait"
        jobs = self.promises.unfinished()
        if jobs:
            return f"jobs {jobs[:10]} are not run"
        last = len(self.safety.committed) - 1
        for machine in self._members():
            process = machine.process
            if process is None:
                return f"{machine.name} does not run"
            if process.raft.leader != leader.name:
                return f"{machine.name} follows {process.raft.leader or 'nobody'}, not {leader.name}"
            if not process.driver.serving:
                return f"{machine.name} does not serve"
            if process.unfinished:
                return f"{machine.name} is left with {process.unfinished}"
            if process.steps.index != last:
                return f"{machine.name} has applied {process.steps.index} of {last}"
        return ""

    def _quiesce(self) -> None:
        """Compare all tables at the end."""
        expected = digest(self.safety.table)
        for machine in self._members():
            assert machine.process is not None
            process = machine.process
            if process.steps.index == self.safety.table_index and digest(process.table) != expected:
                raise ViolationError(f"{machine.name} ends with another job table than the log makes")

    def _fingerprint(self) -> str:
        state = repr((self.random.getstate(), self.schedule.happened, self.schedule.now)).encode()
        return hashlib.sha256(state + digest(self.safety.table)).hexdigest()[:16]


@contextlib.contextmanager
def _tuned(tuning: dict[tuple[str, str], float]) -> Iterator[None]:
    """Give modules other constants for a while."""
    usual = {(module, name): getattr(sys.modules[module], name) for module, name in tuning}
    try:
        for (module, name), value in tuning.items():
            setattr(sys.modules[module], name, value)
        yield
    finally:
        for (module, name), value in usual.items():
            setattr(sys.modules[module], name, value)


def simulate(seed: int, log: TextIO | None = None, **overrides: object) -> Result:
    """Run one seed."""
    return Simulation(seed, log, **overrides).run()  # type: ignore[arg-type]
