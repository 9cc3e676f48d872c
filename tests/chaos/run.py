"""One run: a cluster, its load, one misfortune after another until the time is over, and the account at the end."""

import random
import sys
import time
from pathlib import Path
from typing import NamedTuple

from tests.chaos.misfortunes import MISFORTUNES, ON_A_SEGMENT, STANDS, Scene
from tests.harness.cluster import Cluster
from tests.harness.cluster_account import Account, Figures
from tests.harness.cluster_hosts import Segment
from tests.harness.cluster_load import FUNCTIONS, Load
from tests.harness.conditions import eventually


def say(text: str) -> None:
    """Print a line at once, also into a pipe."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


class Outcome(NamedTuple):
    """What a run comes to."""

    figures: Figures
    violations: list[str]
    misfortunes: int


class Run:
    """A run that the seed decides, as far as processes can be decided about."""

    def __init__(
        self, directory: Path, *, seed: int, seconds: float, nodes: int, largest: int, segment: Segment | None
    ) -> None:
        """`largest`: bytes of the largest jobs; 0: there are none but small ones."""
        self.account = Account()
        self._chance = random.Random(seed)
        self._seconds = seconds
        self._largest = largest
        self._segment = segment
        self._cluster = Cluster(directory, nodes, segment=segment)
        self._began = time.monotonic()
        self._count = 0

    def say(self, text: str) -> None:
        """Print a line with the time since the start."""
        say(f"[{time.monotonic() - self._began:7.1f} s] {text}")

    async def play(self) -> Outcome:
        """Play it; raises what the harness raises when the cluster does not go on or a node does not come back."""
        with self._cluster as cluster:
            await cluster.start(within=STANDS)
            await cluster.settles(within=STANDS)
            self.say(f"{len(cluster.nodes)} nodes serve")
            chance = random.Random(self._chance.random())
            heavy = {"heavy_clients": 1, "largest": self._largest} if self._largest else {}
            async with Load(cluster, self.account, chance=chance, **heavy) as load:
                await load.progress(within=STANDS)
                scene = Scene(cluster, self.account, load, self._segment, self._chance, self.say)
                await self._misfortunes(scene)
                await load.settle(within=STANDS)
                await self._nothing_is_left()
        return Outcome(self.account.figures(), self.account.violations(), self._count)

    async def _misfortunes(self, scene: Scene) -> None:
        kinds = MISFORTUNES if self._segment is None else MISFORTUNES | ON_A_SEGMENT
        known = 0
        while time.monotonic() - self._began < self._seconds:
            (misfortune,) = self._chance.choices(list(kinds), list(kinds.values()))
            before = self.account.longest_wait
            self.account.longest_wait = before._replace(seconds=0.0)
            began = time.monotonic()
            await misfortune(scene)
            await scene.goes_on()
            self._count += 1
            self.say(
                f"  mended after {time.monotonic() - began:.1f} s, the longest wait was "
                f"{self.account.longest_wait.seconds:.2f} s for {self.account.longest_wait.what}"
            )
            self.account.longest_wait = max(before, self.account.longest_wait)
            violations = self.account.violations_so_far()
            for violation in violations[known:]:
                self.say(f"VIOLATION: {violation}")
            known = len(violations)

    async def _nothing_is_left(self) -> None:
        """See every node agree that the queues are empty."""
        for node in self._cluster.nodes:

            async def left(node=node) -> int:
                async with await node.connect() as connection:
                    rows = [row.split(b"\t") for row in await connection.table("status")]
                return sum(int(row[1]) for row in rows if row[0] in FUNCTIONS)

            await eventually(left, lambda jobs: jobs == 0, within=STANDS, every=0.1)
