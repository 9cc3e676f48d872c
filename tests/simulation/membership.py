"""Nodes that come, find their group, and go, as the real server has them: and the operator who sees to that.

`Node` is what a process is before there is a driver and around it: the real identity, peers and membership, in the
order in which `node.server` takes them, over a simulated disk and simulated links. `Operator` starts blank nodes, has
members removed, loses disks, and brings nodes back; in the end it is the one who says who should be a member.

Not for: what is checked about foundings (`foundings`), or how nodes find one another (`discovery`).
"""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cluster.formation import Accepted, Add, Free, Order, Remove, Transfer
from cluster.mesh import Introduction
from cluster.storage import StorageError
from node.configuration import Configuration
from node.membership import Membership, OrderRefusedError
from node.peers import Peers
from node.recovery import identify
from tests.simulation.discovery import PORT, IntroducedNetwork
from tests.simulation.foundings import Foundings, NotedStore
from tests.simulation.journal import ViolationError
from tests.simulation.loop import Offload
from tests.simulation.machine import Machine
from tests.simulation.schedule import SECOND

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

CLUSTER: Final = "simulated"
STRANGERS: Final = "strange"
"""The name of another cluster on the same network."""
MAX_NODES: Final = 7
"""How many nodes there are at once, at most."""
MAX_NODES_SCALED: Final = 4
"""How many where links are slow: what clients submit has to go to all but one of them over the leader's."""
MAX_CLOCK_OFFSET: Final = 12 * SECOND
"""Two clocks that are off by this much are not too far apart for a group (`MAX_CLOCK_DIFFERENCE`)."""
EXPECT_LATER: Final = 3
"""What nodes that come later expect at least: with less they would found a group of their own when they see nobody."""


class NoteOffload(Offload):
    """Threads that write notes: it takes as long as the disk does, and fails as it does."""

    def _later(self, action: Any, *args: Any) -> None:
        machine = self._machine
        machine.schedule.after(machine.disk._duration(), machine.run, self._generation, action, *args)

    def _work(self, work: Any, done: Any, failed: Any) -> None:
        disk = self._machine.disk
        if disk.full or disk.fails:
            disk.fails = False
            self._later(failed, StorageError("the disk is full, or cannot sync"))
            return
        self._machine.point()
        super()._work(work, done, failed)
        self._machine.point()


class Node:
    """One process, from its start to its end."""

    def __init__(self, machine: Machine, network: IntroducedNetwork, *, label: str, cluster: str, expect: int) -> None:
        """`label`: what the operator calls it (`--name`)."""
        self._machine = machine
        self._label = label
        self._generation = generation = machine.generation
        store = machine.disk.store
        self._identity = identify(store, machine.name)  # type: ignore[arg-type] - as far as it is asked for
        if self._identity.node != machine.name:
            raise ViolationError(f"{machine.name} thinks that it is {self._identity.node}")
        self.peers = Peers()
        settings = Configuration(
            name=label, data_dir=Path(f"/data/{machine.name}"), cluster=cluster, expect=expect, http=None
        )
        self.membership = Membership(
            settings,
            self._identity,
            self.peers,
            loop=machine.loop,
            offload=NoteOffload(machine, generation),
            randrange=machine.random.randrange,
            clock=machine.wall,
            on_failure=self._failed,
        )
        self.peers.formation = self.membership
        introduction = Introduction(machine.name, label, cluster, PORT, machine.instance, "0")
        network.introduce(machine.name, lambda: introduction)
        self.mesh = network.join(machine.name, machine.instance, self.peers, self._run)
        self.peers.mesh = self.mesh  # type: ignore[assignment] - another mesh, of the same ways

    def start(self) -> None:
        """Find a group if the node has none, and take part in it."""
        self._machine.point()
        if self._identity.blank:
            self.membership.form(self._machine.disk.store, self._formed)  # type: ignore[arg-type] - likewise
        else:
            self._take_part()

    def _formed(self) -> None:
        self._machine.loop.call_soon(self._take_part)

    def _take_part(self) -> None:
        self._machine.point()
        process = self._machine.serve(self)
        self.membership.take_part(process.recovery, process.driver, process)
        self.peers.group = process.group
        process.driver.start(process.gateway)

    def _run(self, action: Any, *arguments: Any) -> None:
        self._machine.run(self._generation, action, *arguments)

    def _failed(self, error: Exception) -> None:
        if isinstance(error, ViolationError):
            raise error
        if isinstance(error, StorageError):
            machine = self._machine
            machine.schedule.after(machine.random.randrange(2 * SECOND), machine.start)
            machine.die()
        raise ViolationError(f"{self._machine.name} stopped with {type(error).__name__}: {error}") from error


class Operator:
    """Who comes and goes."""

    def __init__(self, simulation: "Simulation", network: IntroducedNetwork) -> None:
        self._simulation = simulation
        self._random = simulation.random
        self._network = network
        self._discovery = network.discovery
        self._foundings = Foundings(simulation.journal)
        self._expect = simulation.profile.nodes
        self._max_nodes = MAX_NODES if simulation.profile.scale == 1 else MAX_NODES_SCALED
        self._labels = [f"{letter}{number or ''}" for number in range(9) for letter in "abcdefgh"]
        head = self._labels[:8]
        self._random.shuffle(head)  # ids that come later may be lower
        self._labels[:8] = head
        self._label_of: dict[str, str] = {}
        self._expects: dict[str, int] = {}
        self._ordered: dict[str, str] = {}
        """Nodes that somebody ordered out, and with which error, where there was one."""
        self._strange: list[Machine] = []
        self._forces = self._random.random() < 0.3
        """Whether removals are forced. Nobody who forces them loses disks as well."""
        self._foundings.expect(CLUSTER, simulation.founded)
        late = self._random.choice((0, 0, 0, 3 * SECOND))
        for _ in range(self._expect):
            self._add(self._expect, self._random.randrange(late) if late else 0)
        for _ in range(self._random.choice((0, 0, 1))):
            if len(self._machines) < 2 * self._expect - 1:
                self._add(self._expect, self._random.randrange(6 * SECOND))
        if simulation.profile.kind in ("founding", "admission") and self._random.random() < 0.3:
            self._add_strangers()

    @property
    def _machines(self) -> dict[str, Machine]:
        return self._simulation.machines

    @property
    def _living(self) -> list[Machine]:
        """All nodes whose disks are there."""
        return [machine for machine in self._machines.values() if not machine.lost]

    @property
    def _members(self) -> list[Machine]:
        """Processes that have a group and can take orders."""
        return [machine for machine in self._living if machine.process is not None]

    # New nodes

    def _new_id(self, label: str) -> str:
        return f"{label}-{self._random.randrange(1 << 16):04x}"

    def _add(self, expect: int, delay: int = 0, *, label: str = "", address: str = "") -> Machine:
        """Add a node with an empty disk, and start it."""
        label = label or self._labels.pop(0)
        name = self._new_id(label)
        machine = self._simulation.build(name)
        self._machines[name] = machine
        self._prepare(machine, label, CLUSTER, expect, address)
        self._simulation.schedule.after(delay, machine.start)
        return machine

    def _prepare(self, machine: Machine, label: str, cluster: str, expect: int, address: str = "") -> None:
        name = machine.name
        self._label_of[name], self._expects[name] = label, expect
        self._foundings.enrol(name, cluster)
        machine.disk.store = NotedStore(name, self._foundings)
        self._discovery.place(name, address)
        network = self._network
        machine.node_maker = lambda machine: Node(
            machine, network, label=self._label_of[name], cluster=cluster, expect=expect
        )

    def _add_strangers(self) -> None:
        """Add a cluster of another name to the network."""
        watch = self._simulation.another_watch()
        expect = self._random.choice((1, 2))
        self._foundings.expect(STRANGERS, watch.found)
        for _ in range(expect):
            name = self._new_id(self._labels.pop(0))
            machine = self._simulation.build(name, watch)
            self._strange.append(machine)
            self._prepare(machine, name.partition("-")[0], STRANGERS, expect)
            self._simulation.schedule.after(self._random.randrange(4 * SECOND), machine.start)

    # What happens under load

    def strike(self) -> str:
        """Have somebody come or go; returns what was done."""
        if self._foundings.founding(CLUSTER) is None:
            return self._wipe_free() if self._random.random() < 0.3 else self._join()
        shrinking = self._simulation.profile.kind == "shrinking"
        acts = (self._join, self._remove, self._wipe, self._return, self._rename, self._point_out, self._hand_over)
        weights = (3, 5, 2, 4, 1, 1, 1) if shrinking else (4, 2, 3, 2, 1, 1, 1)
        return self._random.choices(acts, weights)[0]()

    @property
    def _room(self) -> bool:
        """Tell whether one more blank node can come without there being enough of them to found a second group."""
        blank = sum(1 for machine in self._living if isinstance(record_of(machine), Free | Accepted))
        if self._foundings.founding(CLUSTER) is None:
            return len(self._living) < 2 * self._expect - 1
        return blank + 1 < max(EXPECT_LATER, self._expect) and len(self._living) < self._max_nodes

    @property
    def _expect_now(self) -> int:
        return self._expect if self._foundings.founding(CLUSTER) is None else max(EXPECT_LATER, self._expect)

    def _join(self) -> str:
        if not self._room:
            return ""
        machine = self._add(self._expect_now)
        return f"joins: {machine.name}"

    def _remove(self) -> str:
        """Have any member, or the one that is to go itself, see to it that a member goes."""
        members = self._members
        if not members or self._lost_members():
            return ""
        asked = self._random.choice(members)
        target = self._random.choice((asked, self._living[-1], self._random.choice(self._living)))
        if target.name not in self._simulation.safety.configuration.members:
            return ""
        self._ordered.setdefault(target.name, "")
        self._order(asked, Remove(target.name, force=self._forces))
        return f"{asked.name} is told to remove {target.name}"

    def _wipe(self) -> str:
        """Lose a disk; the node comes back under another id, and under its name or another one."""
        machine = self._random.choice(self._living)
        if not self._may_lose(machine):
            return ""
        return self._replace(machine, keeps_name=self._random.random() < 0.7)

    def _wipe_free(self) -> str:
        """Lose the disk of a node that has promised nothing yet."""
        free = [machine for machine in self._living if isinstance(record_of(machine), Free)]
        return self._replace(self._random.choice(free), keeps_name=True) if free else ""

    def _return(self) -> str:
        """Delete the disk of a node that was removed, and start it again."""
        gone = [machine for machine in self._living if self._is_removed(machine)]
        if not gone or not self._room:
            return ""
        return self._replace(self._random.choice(gone), keeps_name=self._random.random() < 0.7)

    def _replace(self, machine: Machine, *, keeps_name: bool) -> str:
        machine.crash("disk lost", silent=self._random.random() < 0.3)
        machine.lost = True
        address = self._discovery.address(machine.name) if self._random.random() < 0.7 else ""
        label = self._label_of[machine.name] if keeps_name else ""
        new = self._add(self._expect_now, self._random.randrange(3 * SECOND), label=label, address=address)
        return f"{machine.name} loses its disk and is now {new.name}"

    def _rename(self) -> str:
        """Start a node under another name; its id stays."""
        machine = self._random.choice(self._living)
        self._label_of[machine.name] = label = self._labels.pop(0)
        machine.crash("stopped")
        self._simulation.schedule.after(self._random.randrange(2 * SECOND), machine.start)
        return f"{machine.name} is now called {label}"

    def _point_out(self) -> str:
        """Tell a member of an address."""
        members = self._members
        if not members:
            return ""
        asked, other = self._random.choice(members), self._random.choice(self._living)
        self._order(asked, Add(self._discovery.address(other.name), PORT))
        return f"{asked.name} is told of {other.name}"

    def _hand_over(self) -> str:
        members = self._members
        if not members:
            return ""
        asked, other = self._random.choice(members), self._random.choice(self._living)
        self._order(asked, Transfer(other.name))
        return f"{asked.name} is told to have {other.name} lead"

    def _order(self, machine: Machine, order: Order) -> None:
        machine.run(machine.generation, self._give, machine, order)

    def _give(self, machine: Machine, order: Order) -> None:
        node = machine.node
        if node is None:
            return

        def answered(error: str) -> None:
            machine.note("ORDERED", order, error or "done")

        with contextlib.suppress(OrderRefusedError):
            node.membership.ask(order, answered)

    # Who is there

    def _lost_members(self) -> list[str]:
        """Give the nodes that may still be in the group, and whose disks are lost."""
        named = {name for one in self._simulation.safety.possible_configurations() for name in one.members}
        return [name for name in self._machines if name in named and self._machines[name].lost]

    def _may_lose(self, machine: Machine) -> bool:
        """Tell whether the group can do without a disk: a majority of each configuration in force keeps theirs."""
        if self._forces or not self._room:
            return False
        founding = self._foundings.founding(CLUSTER)
        assert founding is not None
        if isinstance(record_of(machine), Free | Accepted):
            return machine.name not in founding.members
        configurations = self._simulation.safety.possible_configurations()
        for configuration in configurations:
            if any(name in self._ordered for name in configuration.members):
                return False  # a removal may be under way, by one who thinks that this node is up
            for voters in (configuration.voters, configuration.outgoing):
                # A learner may be made a voter just before it is missed.
                named = {*voters, *configuration.learners} if voters else set()
                lost = {name for name in named if name == machine.name or self._machines[name].lost}
                if lost and 2 * len(lost) >= len({*voters, *lost}):
                    return False
        # What it has accepted or founded with others must not depend on it any more.
        return all(not isinstance(record_of(self._machines[name]), Free | Accepted) for name in founding.members)

    def _is_removed(self, machine: Machine) -> bool:
        node = machine.node
        return node is not None and node.membership.removed

    # The end

    def make_peace(self) -> None:
        """Let everybody find everybody, and every member that is not there be removed."""
        self._discovery.complete = True
        for machine in (*self._living, *self._strange):
            if abs(machine.clock_offset) > MAX_CLOCK_OFFSET:
                machine.clock_offset = 0
        self._tidy()

    def _tidy(self) -> None:
        lost = self._lost_members()
        members = [machine for machine in self._members if not self._is_removed(machine)]
        if lost and members:
            self._order(self._random.choice(members), Remove(self._random.choice(lost)))
        for machine in self._living:
            self._release(machine)
        self._simulation.schedule.after(3 * SECOND, self._tidy)

    def _release(self, machine: Machine) -> None:
        """Do what a node asks for that has accepted what nobody can tell it the outcome of any more."""
        record, node, founding = record_of(machine), machine.node, self._foundings.founding(CLUSTER)
        if node is None or not isinstance(record, Accepted):
            return
        founded = founding is not None and founding.group == record.proposal.id
        if self._machines[record.proposal.proposer].lost and not founded:
            if "delete /data" not in node.membership.reason:
                raise ViolationError(f"{machine.name} says no way out: {node.membership.reason}")
            self._replace(machine, keeps_name=True)

    def unfinished(self) -> str:
        """Say who is not yet what he should be."""
        if self._foundings.founding(CLUSTER) is None:
            reasons = [machine.node.membership.reason for machine in self._living if machine.node is not None]
            return f"nobody founds the cluster: {reasons}"
        configuration = self._simulation.safety.configuration
        if configuration.outgoing or configuration.learners:
            return f"{configuration} is not final"
        for machine in self._living:
            if machine.name in configuration.voters:
                continue
            if machine.name not in self._ordered or not self._is_removed(machine):
                reason = machine.node.membership.reason if machine.node is not None else "it does not run"
                return f"{machine.name} is no member: {reason or 'it does not say why'}"
        for machine in self._strange:
            if machine.process is None or not machine.process.driver.serving:
                return f"{machine.name} of the other cluster does not serve"
        return ""


def record_of(machine: Machine) -> Any:
    """Give what a machine's disk says about its part in its group."""
    store = machine.disk.store
    assert isinstance(store, NotedStore)
    return store.record


class _Silent:
    """A logger that says nothing."""

    def __getattr__(self, _: str) -> Any:
        return lambda *_, **__: None


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Let what nodes log be written nowhere."""
    names = [name for name, module in sys.modules.items() if name.startswith("node.") and hasattr(module, "log")]
    modules = [sys.modules[name] for name in names]
    usual = [module.log for module in modules]
    try:
        for module in modules:
            module.log = _Silent()  # type: ignore[attr-defined] - as they have it
        yield
    finally:
        for module, logger in zip(modules, usual, strict=True):
            module.log = logger  # type: ignore[attr-defined] - likewise
