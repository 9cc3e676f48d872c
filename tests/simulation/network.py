"""The links between the nodes, as `cluster.mesh` makes them; and what goes wrong with them.

Every message is bytes. In the lane of reports a link keeps what a TCP connection promises: everything arrives, in
order, up to some moment; then the link is lost, the ends notice in their own time, and a new one is made. The other
lanes are given less than the mesh would: they delay, lose, repeat and reorder, and what is late may come after a link
or a process that it was sent to. That a process has ended is only said when it has; it may be said late, when the next
one runs already, or not at all. That a node is out of reach may be said of any at any time.

The lanes have the mesh's limits: a message longer than the longest is dropped, a lane that is full takes none, and what
waits in a lane leaves at the pace of the link, which all lanes share. When a process does not read, the lanes of its
peers fill.
"""

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Final, Protocol

import msgspec

from cluster.mesh import Address, Introduction, Lane, Limits, Peer
from cluster.raft import decode
from cluster.raft.messages import Append, Commit, Heartbeat, SnapshotChunk
from node.peers import Kind
from tests.simulation import sizes
from tests.simulation.journal import Journal, ViolationError, brief
from tests.simulation.schedule import MS, SECOND, Schedule
from tests.simulation.truth import Truth

RETRY: Final = (50 * MS, 400 * MS)
"""Between two attempts to make a link."""
SILENT: Final = (4 * SECOND, 5200 * MS)
"""After this long a peer that says nothing is lost (`cluster.mesh.settings.Timing`)."""
_OF_LEADERS: Final = frozenset({Append, Commit, Heartbeat, SnapshotChunk})
OVERHEAD: Final = 64
"""What a waiting message counts besides its bytes (`cluster.mesh.outbox`)."""


class Events(Protocol):
    """A process as the network sees it (`cluster.mesh.MeshEvents`)."""

    def link_up(self, peer: Peer) -> None: ...
    def link_down(self, node: str) -> None: ...
    def ended(self, node: str, instance: str, *, goodbye: bool) -> None: ...
    def unreachable(self, node: str) -> None: ...
    def received(self, node: str, lane: Lane, data: bytes) -> None: ...


Run = Callable[..., None]
"""Let something happen to a process, in its own time."""


class Refused(msgspec.Struct, frozen=True):
    """A message that the mesh did not take because it is longer than the longest."""

    at: int
    sender: str
    to: str
    lane: Lane
    size: int


class Lanes:
    """What one end of a link has to send, lane by lane."""

    __slots__ = ("_free_at", "_held", "_queues", "_waiting", "unread")

    def __init__(self) -> None:
        self._queues: list[deque[tuple[int, int]]] = [deque() for _ in Lane]
        """When each message has left this end, and how many bytes it counts."""
        self._waiting = [0 for _ in Lane]
        self._free_at = [0 for _ in Lane]
        """When the last message of each lane is on the wire."""
        self._held: deque[tuple[Lane, bytes]] = deque()
        """Messages that cannot leave, because the other end does not read."""
        self.unread = 0
        """Bytes that are on their way to a process that does not read."""

    def waiting(self, lane: Lane, now: int) -> int:
        """Tell how many bytes of a lane wait at this end."""
        queue = self._queues[lane]
        while queue and queue[0][0] <= now:
            self._waiting[lane] -= queue.popleft()[1]
        return self._waiting[lane]

    def put(self, lane: Lane, size: int, now: int, pace: float, kernel: int) -> int:
        """Queue a message; return when its last byte is on the wire. `pace`: of the link, in bytes per microsecond."""
        sharing = sum(1 for other in Lane if other is not lane and self._free_at[other] > now)
        # What the kernel has already is overtaken by nothing.
        begins = max(now, self._free_at[lane], min(max(self._free_at), now + int(kernel / pace)))
        free_at = begins + int((size + OVERHEAD) * (1 + sharing) / pace)
        self._free_at[lane] = free_at
        left = free_at - int(kernel / pace)
        if left > now:
            self._queues[lane].append((left, size + OVERHEAD))
            self._waiting[lane] += size + OVERHEAD
        return free_at

    def hold(self, lane: Lane, data: bytes) -> None:
        """Keep a message that cannot leave."""
        self._held.append((lane, data))
        self._waiting[lane] += len(data) + OVERHEAD

    def holds(self) -> bool:
        """Tell whether there are messages that cannot leave."""
        return bool(self._held)

    def release(self) -> list[tuple[Lane, bytes]]:
        """Give the messages that could not leave."""
        held = list(self._held)
        self._held.clear()
        for lane, data in held:
            self._waiting[lane] -= len(data) + OVERHEAD
        self.unread = 0
        return held


class Link:
    """One link, from when it is made to when it is lost."""

    __slots__ = ("deaf", "delay", "ends", "instances", "lanes", "latest", "lost", "lost_at", "number", "up_at")

    def __init__(self, number: int, ends: tuple[str, str], instances: dict[str, str], delay: int) -> None:
        self.number = number
        self.delay = delay
        """How long everything is on its way, where the network keeps the order."""
        self.ends = ends
        self.instances = instances
        """The process at each end."""
        self.lost = False
        self.lost_at = 0
        self.lanes = {end: Lanes() for end in ends}
        self.up_at: dict[str, int] = {}
        """When each end hears of it."""
        self.latest: dict[str, int] = {}
        """When the last report of each end arrives."""
        self.deaf: set[str] = set()
        """Ends that get no reports over it any more."""

    def other(self, end: str) -> str:
        """Give the other end."""
        return self.ends[1] if end == self.ends[0] else self.ends[0]


class Mesh:
    """One process's links: what `node.peers.Peers` takes for its mesh."""

    def __init__(self, network: "Network", name: str, instance: str, events: Events, run: Run) -> None:
        self._network = network
        self._name = name
        self.instance = instance
        """Names the process."""
        self._instances: dict[str, str] = {}
        """The process of each node with which there was a link last."""
        self._ended: set[str] = set()
        """The processes that it was told have ended."""
        self._events = events
        self.run = run
        self._links: dict[str, Link] = {}

    @property
    def peers(self) -> dict[str, Link]:
        """The links there are, by node."""
        return self._links

    def send(self, node: str, lane: Lane, data: bytes) -> bool:
        """Send a message."""
        link = self._links.get(node)
        return link is not None and self._network.carry(link, self._name, lane, data)

    def waiting(self, node: str, lane: Lane) -> int:
        """Tell how much of a lane has not left yet: sometimes something, as it happens."""
        link = self._links.get(node)
        if link is None:
            return 0
        return self._network.waiting(link, self._name, lane) or (len(lane.name) if self._network.busy() else 0)

    def refuse(self, node: str, reason: str) -> None:
        """Never called: every message can be read."""
        raise ViolationError(f"{self._name} refuses {node}: {reason}")

    # What the network tells it

    def up(self, link: Link) -> None:
        """Notice a link."""
        node = link.other(self._name)
        if link.lost:
            return
        if node in self._links:
            self._lose(node)
        self._links[node] = link
        self._network.truth.linked(self._name, node)
        instance = link.instances[node]
        if self._instances.get(node, instance) != instance:
            self.ended(node, self._instances[node])
        self._instances[node] = instance
        introduction = Introduction(node, node, "simulated", 4731, instance, "0")
        self._events.link_up(Peer(introduction, Address(node, 4731), dialled=True, since=0.0))

    def down(self, link: Link) -> None:
        """Notice that a link is lost."""
        node = link.other(self._name)
        if self._links.get(node) is link:
            self._lose(node)

    def ended(self, node: str, instance: str) -> None:
        """Notice that a process has ended."""
        if instance not in self._ended:
            self._ended.add(instance)
            self._events.ended(node, instance, goodbye=False)

    def unreachable(self, node: str) -> None:
        """Notice that a node cannot be reached."""
        if node not in self._links:
            self._events.unreachable(node)

    def received(self, link: Link, lane: Lane, data: bytes) -> None:
        """Take a message; a report only over the link that there is."""
        node = link.other(self._name)
        if lane is not Lane.REPORTS or self._links.get(node) is link:
            self._events.received(node, lane, data)

    def _lose(self, node: str) -> None:
        del self._links[node]
        self._events.link_down(node)


class Network:
    """All links."""

    def __init__(self, schedule: Schedule, random: Random, journal: Journal, truth: Truth) -> None:
        self.truth = truth
        self._schedule = schedule
        self._random = random
        self._journal = journal
        self._processes: dict[str, Mesh] = {}
        self._links: dict[tuple[str, str], Link] = {}
        self._made = 0
        self.cut: set[tuple[str, str]] = set()
        """Pairs (from, to) between which nothing gets through."""
        self.loss = 0.0
        self.repeats = 0.0
        self.jitter = 2 * MS
        """Delays are even between 0.2 ms and this."""
        self.ordered = False
        """Whether every lane keeps its order, as over TCP; else only that of reports does."""
        self.stragglers = 0.0
        """How many messages are held up for up to two seconds, and so come after their successors."""
        self.slander = 0.1
        """How often a node is said to be out of reach when a link to it is lost."""
        self.full = 0.0
        """How often there is no room for a report."""
        self.limits: Limits = sizes.limits(1)
        self.pace = 125.0
        """Of each link, one way, in bytes per microsecond."""
        self.kernel, self.window = sizes.KERNEL, sizes.WINDOW
        self.refused: list[Refused] = []
        """Messages that were longer than the longest."""
        self._frozen: dict[str, int] = {}
        """Processes that do not read, and since when."""
        self.slandered_at = 0
        """When a node was last said to be out of reach that was there."""

    # Processes

    def join(self, name: str, instance: str, events: Events, run: Run) -> Mesh:
        """Let a process in; it gets links to all others."""
        mesh = self._processes[name] = Mesh(self, name, instance, events, run)
        for other in self._processes:
            if other != name:
                self._retry((min(name, other), max(name, other)))
        return mesh

    def leave(self, name: str, *, silent: bool) -> None:
        """Let a process end: what it had sent may still arrive. `silent`: nothing at its host says that it is gone."""
        del self._processes[name]
        self._frozen.pop(name, None)
        for link in list(self._links.values()):
            if name in link.ends:
                self._lose(link, dead=name, silent=silent)

    def freeze(self, name: str) -> None:
        """Let a process read nothing: its peers give it up after a while."""
        self._frozen[name] = self._schedule.now
        self._schedule.after(self._random.randrange(*SILENT), self._silent, name, self._schedule.now)

    def thaw(self, name: str) -> None:
        """Let it read again; what could not be sent to it leaves now."""
        if self._frozen.pop(name, None) is None:
            return
        for link in list(self._links.values()):
            if name in link.ends:
                sender = link.other(name)
                for lane, data in link.lanes[sender].release():
                    self._put(link, sender, lane, data)

    def _silent(self, name: str, since: int) -> None:
        if self._frozen.get(name) == since:
            for link in list(self._links.values()):
                if name in link.ends:
                    self._lose(link)

    def complaint(self) -> str:
        """Say which messages were too long, if any were: whoever waits for them waits in vain."""
        if not self.refused:
            return ""
        last = self.refused[-1]
        most = self.limits.longest()[last.lane]
        return (
            f"; {len(self.refused)} messages were too long for the mesh, the last one of {last.size} bytes from"
            f" {last.sender} to {last.to}, {most} at most"
        )

    # Faults

    def heal(self) -> None:
        """Lose and hold up nothing any more."""
        self.mend(sorted(self.cut))
        self.loss = self.repeats = self.stragglers = self.full = self.slander = 0.0
        self.jitter = 2 * MS

    def cut_off(self, pairs: list[tuple[str, str]]) -> None:
        """Let nothing pass; links on which nothing passes are lost after a while."""
        self.cut.update(pairs)
        for pair in pairs:
            self.truth.begin("cannot reach", *pair)
            self._doubt(self._links.get((min(pair), max(pair))))

    def mend(self, pairs: list[tuple[str, str]]) -> None:
        """Let everything pass again."""
        self.cut.difference_update(pairs)
        for pair in pairs:
            self.truth.end("cannot reach", *pair)

    def suspect(self, name: str) -> None:
        """Lose some of a node's links: it has not answered for long."""
        for link in list(self._links.values()):
            if name in link.ends and self._random.random() < 0.5:
                self._lose(link)

    def break_one(self) -> str:
        """Lose any link."""
        if not self._links:
            return ""
        link = self._random.choice(list(self._links.values()))
        self._lose(link)
        return "-".join(link.ends)

    # Messages

    def busy(self) -> bool:
        """Tell whether something has not left yet."""
        return self._random.random() < 0.05

    def waiting(self, link: Link, sender: str, lane: Lane) -> int:
        """Tell how many bytes of a lane wait at one end."""
        return link.lanes[sender].waiting(lane, self._schedule.now)

    def carry(self, link: Link, sender: str, lane: Lane, data: bytes) -> bool:
        """Take a message; what becomes of it is chance's business. False: there is no room for it."""
        to, size = link.other(sender), len(data)
        limits = self.limits
        if self._journal.on:
            self._journal.write(sender, f"-> {to}", brief(data))
        longest = limits.longest()[lane]
        if size > longest:
            self.refused.append(Refused(self._schedule.now, sender, to, lane, size))
            if self._journal.on:
                self._journal.write(sender, "TOO LONG", f"{size} bytes for {to}, {longest} at most")
            return False
        waiting = self.waiting(link, sender, lane)
        if waiting and waiting + size + OVERHEAD > limits.lanes()[lane]:
            if self._journal.on:
                self._journal.write(sender, "LANE FULL", f"{lane.name} to {to}: {waiting} bytes wait")
            return False
        if lane is Lane.REPORTS and self.full and self._random.random() < self.full:
            return False
        lanes = link.lanes[sender]
        if to in self._frozen:
            if lanes.holds() or lanes.unread + size > self.window:
                lanes.hold(lane, data)
                return True
            lanes.unread += size
        self._put(link, sender, lane, data)
        return True

    def _put(self, link: Link, sender: str, lane: Lane, data: bytes) -> None:
        random = self._random.random
        to, now = link.other(sender), self._schedule.now
        leaves = link.lanes[sender].put(lane, len(data), now, self.pace, self.kernel)
        if lane is Lane.REPORTS:
            self._carry_report(link, sender, to, data, leaves)
            return
        if link.lost or (sender, to) in self.cut or (self.loss and random() < self.loss):
            if self._journal.on:
                self._journal.write(to, "lost", f"from {sender}: {brief(data)}")
            return
        delay = link.delay if self.ordered else self._delay()
        self._schedule.after(leaves - now + delay, self._arrive, link, to, lane, data, leaves)
        if self.repeats and random() < self.repeats:
            self._schedule.after(leaves - now + self._delay(), self._arrive, link, to, lane, data, leaves)

    def _carry_report(self, link: Link, sender: str, to: str, data: bytes, leaves: int = 0) -> None:
        if (sender, to) in self.cut or (self.loss and self._random.random() < self.loss / 4):
            link.deaf.add(to)
            self._doubt(link)
        if link.lost or to in link.deaf:
            if self._journal.on:
                self._journal.write(to, "lost", f"from {sender}: {brief(data)}")
            return
        now = self._schedule.now
        arrival = max(max(now, leaves) + self._delay(), link.latest.get(sender, 0), link.up_at[to])
        link.latest[sender] = arrival
        self._schedule.after(arrival - now, self._arrive, link, to, Lane.REPORTS, data, max(now, leaves))

    def _arrive(self, link: Link, to: str, lane: Lane, data: bytes, left: int) -> None:
        if link.lost and left > link.lost_at:
            return  # it was still waiting at the other end when the link was lost
        mesh = self._processes.get(to)
        if mesh is not None:
            # Without a link there, a node does not listen to what still comes.
            if data[0] == Kind.CONSENSUS and link.other(to) in mesh.peers:
                sender = link.other(to)
                leads = sender == self.truth.leader and type(decode(memoryview(data)[1:])) in _OF_LEADERS
                self.truth.arrived(sender, to, leads=leads)
            mesh.run(mesh.received, link, lane, data)

    def _delay(self) -> int:
        random = self._random.random
        if self.stragglers and random() < self.stragglers:
            return int(random() * 2 * SECOND)
        return 200 + int(random() * self.jitter)

    # Links

    def _retry(self, pair: tuple[str, str]) -> None:
        self.truth.begin("have no link", *pair)
        self._schedule.after(self._random.randrange(*RETRY), self._try, pair)

    def _try(self, pair: tuple[str, str]) -> None:
        one, other = pair
        if pair in self._links or one not in self._processes or other not in self._processes:
            return
        if pair in self.cut or (other, one) in self.cut or one in self._frozen or other in self._frozen:
            self._retry(pair)
            return
        self._made += 1
        instances = {end: self._processes[end].instance for end in pair}
        link = self._links[pair] = Link(self._made, pair, instances, self._delay())
        self.truth.end("have no link", *pair)
        if self._journal.on:
            self._journal.write(one, "LINK", other)
        for end in pair:
            mesh = self._processes[end]
            delay = self._delay()
            link.up_at[end] = self._schedule.now + delay
            self._schedule.after(delay, self._tell, mesh, mesh.up, link)

    def _tell(self, mesh: Mesh, action: Callable[..., None], *arguments: object) -> None:
        mesh.run(action, *arguments)

    def _doubt(self, link: Link | None) -> None:
        """Look at a link again in a while, and give it up if nothing passes."""
        if link is not None:
            self._schedule.after(self._random.randrange(300 * MS, 3 * SECOND), self._decide, link)

    def _decide(self, link: Link) -> None:
        one, other = link.ends
        if not link.lost and (link.deaf or (one, other) in self.cut or (other, one) in self.cut):
            self._lose(link)

    def _lose(self, link: Link, dead: str = "", *, silent: bool = True) -> None:
        """Lose a link; what is on its way arrives until the end notices."""
        if link.lost:
            return
        link.lost = True
        link.lost_at = self._schedule.now
        pair = link.ends
        self.truth.begin("have no link", *pair)
        del self._links[pair]
        random = self._random
        if self._journal.on:
            self._journal.write(pair[0], "LINK LOST", pair[1])
        for end in pair:
            mesh = self._processes.get(end)
            if mesh is None:
                continue
            at_once = dead and not silent
            delay = random.randrange(MS, 30 * MS) if at_once or random.random() < 0.5 else random.randrange(2 * SECOND)
            self._schedule.after(delay, self._tell, mesh, mesh.down, link)
            other = link.other(end)
            if dead and at_once:
                late = random.randrange(MS, 300 * MS if random.random() < 0.9 else 6 * SECOND)
                self._schedule.after(delay + late, self._tell, mesh, mesh.ended, other, link.instances[other])
            elif not dead and random.random() < self.slander:
                self._schedule.after(delay + random.randrange(MS, 300 * MS), self._slander, mesh, other)
        if not dead:
            self._retry(pair)

    def _slander(self, mesh: Mesh, node: str) -> None:
        """Say that a node is out of reach."""
        self.slandered_at = self._schedule.now
        mesh.run(mesh.unreachable, node)
