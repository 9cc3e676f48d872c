"""What can happen to a cluster: each misfortune does its damage, lets the load go on, and mends it again.

One comes after the other, so that at any time no more is broken than the misfortune says. Not for: which comes next
(`tests.chaos.run`).
"""

import random
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Final, NamedTuple

from tests.harness.cluster import Cluster, Node
from tests.harness.cluster_account import Account
from tests.harness.cluster_hosts import NamespaceHost, Segment
from tests.harness.cluster_load import Load

MOST_NODES: Final = 5
FEWEST_NODES: Final = 3
STANDS: Final = 120.0
"""Seconds within which a cluster that has a majority must take jobs, and a mended one must be whole."""


class Scene(NamedTuple):
    """What a misfortune comes upon."""

    cluster: Cluster
    account: Account
    load: Load
    segment: Segment | None
    chance: random.Random
    say: Callable[[str], None]

    async def victim(self) -> Node:
        """Choose a node: the leader half of the time."""
        leader = await self.cluster.leader(within=STANDS)
        return leader if self.chance.random() < 0.5 else self.chance.choice(self.cluster.others(leader))

    def minority(self) -> list[Node]:
        """Choose nodes that the others can do without."""
        nodes = self.cluster.nodes
        return self.chance.sample(nodes, self.chance.randint(1, (len(nodes) - 1) // 2))

    async def goes_on(self) -> None:
        """See the cluster take and run jobs for a while."""
        await self.load.progress(self.chance.randint(20, 400), within=STANDS)

    async def whole(self) -> None:
        """Wait until all nodes serve and agree."""
        for node in self.cluster.nodes:
            await node.serves(within=STANDS)
        await self.cluster.settles(within=STANDS)

    @contextmanager
    def excused(self, nodes: Iterable[Node], what: str) -> Iterator[None]:
        """Expect of these nodes what may be expected of failed ones."""
        with ExitStack() as stack:
            for node in nodes:
                stack.enter_context(self.account.failing(node.name, what))
            yield


Misfortune = Callable[[Scene], Awaitable[None]]


async def kill(scene: Scene) -> None:
    """A node dies and is started again."""
    node = await scene.victim()
    scene.say(f"kill -9 {node}")
    with scene.excused([node], "killed"):
        node.kill()
        await scene.goes_on()
        node.spawn()
        await scene.whole()


async def kill_while_it_comes_back(scene: Scene) -> None:
    """A node dies, and dies again before it is back."""
    node = await scene.victim()
    scene.say(f"kill -9 {node}, three times")
    with scene.excused([node], "killed"):
        for _ in range(3):
            node.kill()
            await scene.load.progress(scene.chance.randint(1, 100), within=STANDS)
            node.spawn()
        await scene.whole()


async def power_cut(scene: Scene) -> None:
    """All nodes die at once."""
    scene.say("kill -9 all")
    with scene.excused(scene.cluster.nodes, "power cut"):
        for node in scene.cluster.nodes:
            node.kill()
        await scene.cluster.start(within=STANDS)
        await scene.whole()


async def majority_dies(scene: Scene) -> None:
    """So many die that the others must refuse everybody."""
    survivors = scene.minority()
    dead = scene.cluster.others(*survivors)
    scene.say(f"kill -9 {_names(dead)}: no majority is left")
    with scene.excused(scene.cluster.nodes, "without a majority"):
        for node in dead:
            node.kill()
        for node in survivors:
            await node.refuses(within=STANDS)
        for node in dead:
            node.spawn()
        await scene.whole()


async def stall(scene: Scene) -> None:
    """A node is frozen for a while."""
    node = await scene.victim()
    scene.say(f"SIGSTOP {node}")
    with scene.excused([node], "stalled"):
        node.stall()
        for _ in range(scene.chance.randint(1, 4)):
            await scene.goes_on()
        node.resume()
        await scene.whole()


async def restart(scene: Scene) -> None:
    """A node is stopped in an orderly way, which excuses nothing."""
    node = await scene.victim()
    scene.say(f"SIGTERM {node}")
    status = await node.stop(within=STANDS)
    assert status == 0, f"{node} ended with status {status}"
    await scene.goes_on()
    node.spawn()
    await scene.whole()


async def wipe(scene: Scene) -> None:
    """A node loses its disk and is set up anew under its name."""
    node = await scene.victim()
    scene.say(f"wipe {node}")
    with scene.excused([node], "wiped"):
        node.wipe()
        await scene.goes_on()
        node.spawn()
        await scene.whole()


async def full_disk(scene: Scene) -> None:
    """A node cannot write any more: it must stop by itself."""
    node = await scene.victim()
    scene.say(f"fill the disk of {node}")
    with scene.excused([node], "its disk is full"):
        node.fill_disk()
        status = await node.ended(within=STANDS)
        assert status == 1, f"{node} ended with status {status}"
        await scene.goes_on()
        node.spawn()
        await scene.whole()


async def change_size(scene: Scene) -> None:
    """The cluster gets a node more, or one less."""
    size = len(scene.cluster.nodes)
    if size < MOST_NODES and (size <= FEWEST_NODES or scene.chance.random() < 0.5):
        node = scene.cluster.plan()
        scene.say(f"{node} joins: {size + 1} nodes")
        node.spawn()
        if scene.chance.random() < 0.3:
            await scene.load.progress(scene.chance.randint(1, 50), within=STANDS)
            scene.say(f"  kill -9 {node} while it joins")
            node.kill()
            node.spawn()
    else:
        node = await scene.victim()
        scene.say(f"remove {node}: {size - 1} nodes")
        await scene.cluster.remove(node, within=STANDS)
    await scene.whole()


async def transfer(scene: Scene) -> None:
    """Leadership is handed over by an operator, which excuses nothing."""
    leader = await scene.cluster.leader(within=STANDS)
    to = scene.chance.choice(scene.cluster.others(leader))
    scene.say(f"transfer leadership from {leader} to {to}")
    outcome = await scene.cluster.command(scene.chance.choice(scene.cluster.nodes), "transfer", to.name)
    assert outcome.status == 0, outcome.output


async def pull_plugs(scene: Scene) -> None:
    """Clients and workers lose their connections."""
    count = scene.chance.randint(1, 6)
    scene.say(f"cut {count} connections of clients and workers")
    scene.load.pull_plugs(count)
    await scene.goes_on()


async def isolate(scene: Scene) -> None:
    """A node is cut off from all others."""
    node = await scene.victim()
    scene.say(f"cut {node} off")
    with scene.excused([node], "cut off"):
        _segment(scene).isolate(_host(node))
        await _parted(scene)


async def split(scene: Scene) -> None:
    """A minority is cut off from the others."""
    minority = scene.minority()
    majority = scene.cluster.others(*minority)
    scene.say(f"part {_names(minority)} from {_names(majority)}")
    with scene.excused(minority, "in the minority"):
        _segment(scene).split([_host(node) for node in minority], [_host(node) for node in majority])
        await _parted(scene)


async def one_way(scene: Scene) -> None:
    """A node hears nobody, or is heard by nobody."""
    node = await scene.victim()
    deaf = scene.chance.random() < 0.5
    scene.say(f"{node} {'hears nobody' if deaf else 'is heard by nobody'}")
    with scene.excused([node], "one way"):
        for other in scene.cluster.others(node):
            ends = (_host(other), _host(node)) if deaf else (_host(node), _host(other))
            _segment(scene).cut_one_way(*ends)
        await _parted(scene)


async def bad_line(scene: Scene) -> None:
    """A node loses some of what it is sent."""
    node, percent = await scene.victim(), scene.chance.randint(1, 20)
    scene.say(f"{node} loses {percent} % of what it is sent")
    with scene.excused([node], "loses packets"):
        _segment(scene).lose(_host(node), percent)
        await _parted(scene)


MISFORTUNES: Final[dict[Misfortune, int]] = {
    kill: 6,
    kill_while_it_comes_back: 2,
    power_cut: 1,
    majority_dies: 1,
    stall: 3,
    restart: 5,
    wipe: 3,
    full_disk: 2,
    change_size: 4,
    transfer: 2,
    pull_plugs: 3,
}
"""With their weights."""

ON_A_SEGMENT: Final[dict[Misfortune, int]] = {isolate: 4, split: 3, one_way: 3, bad_line: 2}
"""Those that need hosts of their own."""


async def _parted(scene: Scene) -> None:
    for _ in range(scene.chance.randint(1, 3)):
        await scene.goes_on()
    _segment(scene).heal()
    await scene.whole()


def _segment(scene: Scene) -> Segment:
    assert scene.segment is not None
    return scene.segment


def _host(node: Node) -> NamespaceHost:
    assert isinstance(node.place, NamespaceHost)
    return node.place


def _names(nodes: Iterable[Node]) -> str:
    return ", ".join(node.name for node in nodes)
