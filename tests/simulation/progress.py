"""Progress during faults: while a majority is healthy, a submit through a healthy node is acknowledged in time.

Which nodes are healthy is the simulated world's own knowledge: the process runs and is not frozen, its disk answers,
and it is cut off from no other healthy node. Only who leads is taken from the nodes: a majority without a leader
has the time of an election before anything is required of it.

A probe at each node submits all the time, in the same way as every client. Not for: what becomes of jobs (`promises`).
"""

from typing import TYPE_CHECKING, Final

from protocol import Packet, PacketType, encode_request
from tests.simulation import sizes
from tests.simulation.connections import Event, Wire
from tests.simulation.journal import ViolationError
from tests.simulation.machine import Machine
from tests.simulation.profile import Profile
from tests.simulation.schedule import MS, SECOND

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

POLL: Final = 50 * MS
"""How often the world is looked at."""
TICK: Final = 100 * MS
"""Of consensus (`node.driver.driver`)."""
ROUNDS: Final = 4
"""Elections in which nobody wins before one is won: in each, the two first candidates have to draw the same timeout."""
RESEND: Final = SECOND
"""After this long a node sends again what has got lost (`node.driver.sending`)."""
ANSWER: Final = SECOND
"""How long an acknowledgement may take where nothing gets lost, besides disks and links."""
TRIPS: Final = 2
"""How often one of the largest packets may be ahead of a submit: on its way to the leader, and on to the majority."""
PATIENCE: Final = 10 * SECOND
"""How long a probe waits before it tries another connection."""
SLOW_DISK: Final = 100 * MS
"""A disk that takes this long for a write is not a healthy one's."""
CATCH_UP: Final = 10 * SECOND
"""How long a node that comes back may take to get what it has missed; after that it counts as any other."""


def large_ahead(profile: Profile) -> int:
    """Give the time that links may need for large packets ahead of a submit: a client has one of them under way."""
    return int(TRIPS * profile.clients * sizes.MAX_PACKET / profile.scale / profile.pace)


class Health:
    """What the world knows of its machines."""

    def __init__(self, simulation: "Simulation") -> None:
        self._simulation = simulation

    def sound(self, machine: Machine) -> bool:
        """Tell whether nothing is wrong with a machine itself."""
        disk = machine.disk
        return (
            machine.process is not None
            and not machine.paused
            and not machine.stopping
            and not machine.fuse
            and not disk.full
            and not disk.fails
            and disk.latency < SLOW_DISK
            and machine.schedule.now >= disk.hangs_until
            and disk.writes_until - machine.schedule.now < SLOW_DISK  # begun when it was slow
        )

    def healthy(self) -> frozenset[str]:
        """Give the voters that are well and that reach each other, if they all do; nobody if some do not."""
        simulation = self._simulation
        cut = simulation.network.cut
        configuration = simulation.safety.configuration
        machines = simulation.machines
        sound = [name for name in configuration.voters if self.sound(machines[name])]
        if cut:
            # One that reaches nobody, or is reached by nobody, is not among them.
            sound = [
                name
                for name in sound
                if len(sound) == 1
                or (
                    any((name, other) not in cut for other in sound if other != name)
                    and any((other, name) not in cut for other in sound if other != name)
                )
            ]
            if any((one, other) in cut for one in sound for other in sound):
                return frozenset()
        return frozenset(sound)

    def is_majority(self, names: frozenset[str]) -> bool:
        """Tell whether these are a majority of the voters."""
        configuration = self._simulation.safety.configuration
        return all(
            2 * sum(1 for voter in voters if voter in names) > len(voters)
            for voters in (configuration.voters, configuration.outgoing)
            if voters
        )

    def spares(self, machine: Machine) -> bool:
        """Tell whether a majority would be healthy without this machine."""
        return self.is_majority(self.healthy() - {machine.name})


class Probe:
    """A client of one node that submits one job after the other and waits for the acknowledgement of each."""

    def __init__(self, simulation: "Simulation", machine: Machine) -> None:
        self.name = f"P{machine.name}"
        self._simulation = simulation
        self._machine = machine
        self._wire: Wire | None = None
        self._turn = 0
        """Counts what the probe waited for: a timer for something older is void."""
        self.asked = simulation.schedule.now
        """Since when it has wanted the acknowledgement that is missing; 0: none is."""
        self.acknowledged = 0
        self._later(SECOND)

    def _later(self, delay: int) -> None:
        self._turn += 1
        self._simulation.schedule.after(delay, self._on_time, self._turn)

    def _on_time(self, turn: int) -> None:
        """Go on: submit the next one, or, if it waited in vain, try it on another connection."""
        if turn != self._turn:
            return
        if self._wire is not None and (self.asked or self._simulation.world.calm):
            self._wire.leave()
            self._wire = None
        if self._simulation.world.calm:
            return
        self.asked = self.asked or self._simulation.schedule.now
        if self._wire is not None:
            self._submit(self._wire)
        elif self._machine.process is not None:
            self._wire = Wire(self._machine, self, self._simulation.random)
            self._later(PATIENCE)
        else:
            self._later(200 * MS)

    def look(self) -> None:
        """Drop a connection to a process that is no more: its host may have gone without a word."""
        if self._wire is not None and self._wire.process is not self._machine.process:
            self._wire.leave()
            self._wire = None
            self._later(100 * MS)

    def _submit(self, wire: Wire) -> None:
        # They all join one job, which nobody ever does: so the table does not grow.
        wire.send(encode_request(PacketType.SUBMIT_JOB_BG, b"probe", b"probe", b""))
        self._later(PATIENCE)

    # What the node says (`tests.simulation.connections.End`)

    def opened(self, wire: Wire) -> None:
        """Submit at once."""
        self._submit(wire)

    def heard(self, wire: Wire, event: Event, given: int) -> None:
        """Take the acknowledgement."""
        if not isinstance(event, Packet) or event.kind is not PacketType.JOB_CREATED:
            raise ViolationError(f"the probe of {self._machine.name} submits a job and is told {event}")
        self.acknowledged += 1
        self.asked = 0
        self._later(self._simulation.random.randrange(400 * MS, 1200 * MS))

    def closed(self, wire: Wire) -> None:
        """Notice that the node has hung up."""
        if wire is self._wire:
            self._wire = None
            self._later(100 * MS)

    def missed(self, wire: Wire, event: Event, given: int) -> None:
        """Take no note of what came too late."""


class Progress:
    """Who requires that the cluster goes on."""

    def __init__(self, simulation: "Simulation") -> None:
        self._simulation = simulation
        self.health = Health(simulation)
        profile = simulation.profile
        slowest = 1 - profile.drift
        self.election = int(ROUNDS * 2 * profile.config["election_ticks"] * TICK / slowest) + RESEND
        """How long a healthy majority may take to have a leader again, and its nodes to serve."""
        self.patience = int(ANSWER / slowest) + 40 * profile.latency + 40 * profile.jitter
        if profile.scale > 1:
            self.patience += large_ahead(profile)
        """How long an acknowledgement may take then: links between healthy nodes lose nothing."""
        self._since = 0
        """Since when a majority has been healthy that did not lose its leader."""
        self._healthy: dict[str, int] = {}
        """Who is healthy, and since when."""
        self._missed: dict[str, int] = {}
        """Who has come back, and which entry it has to have before it is one of them."""
        self._leader = ""
        self._probes: dict[str, Probe] = {}
        self.required = 0
        """How often something was required."""
        if profile.progress:
            self._probes = {name: Probe(simulation, machine) for name, machine in simulation.machines.items()}
            simulation.schedule.after(POLL, self._look)

    def disturbed(self) -> None:
        """Note that leadership may have to change, though everybody is well."""
        self._since = self._simulation.schedule.now

    def _look(self) -> None:
        simulation = self._simulation
        if simulation.world.calm:
            return
        simulation.schedule.after(POLL, self._look)
        for probe in self._probes.values():
            probe.look()
        now = simulation.schedule.now
        healthy = frozenset(name for name in self.health.healthy() if self._has_caught_up(name, now))
        for name, since in list(self._healthy.items()):
            # It may have ended and begun again since the last look.
            if name not in healthy or simulation.machines[name].since > since:
                del self._healthy[name]
                if name == self._leader:
                    self._since = now
        for name in sorted(healthy):
            self._healthy.setdefault(name, now)
        leader = simulation.leader()
        self._leader = leader.name if leader is not None else ""
        if not self.health.is_majority(healthy) or simulation.network.slandered_at > self._since:
            self._since = now
        for name, since in self._healthy.items():
            self._require(name, max(self._since, since), now)

    def _has_caught_up(self, name: str, now: int) -> bool:
        """Tell whether a node has what was committed when it came back."""
        machine = self._simulation.machines[name]
        assert machine.process is not None
        if name in self._healthy:
            return True
        needed = self._missed.setdefault(name, len(self._simulation.safety.committed) - 1)
        if machine.process.steps.index < needed and now - machine.since < CATCH_UP:
            return False
        del self._missed[name]
        return True

    def _require(self, name: str, since: int, now: int) -> None:
        probe = self._probes[name]
        start = since + self.election
        self.required += now >= start
        if probe.asked and now - max(start, probe.asked) > self.patience:
            others = ", ".join(sorted(self._healthy))
            raise ViolationError(
                f"no progress at {name}: what was submitted there at {probe.asked / SECOND:.2f} s was not acknowledged"
                f" by {now / SECOND:.2f} s, though {others} were healthy, linked and a majority all the time since"
                f" {since / SECOND:.2f} s ({self._leader or 'nobody'} leads)"
                f"{self._simulation.network.complaint()}"
            )
