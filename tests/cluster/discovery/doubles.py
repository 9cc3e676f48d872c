"""What stands around a source in these tests: a receiver that remembers, and a sleep that ends when told to."""

import asyncio
from collections.abc import Iterable

from cluster.discovery import Endpoint
from tests.harness.conditions import eventually


class Receiver:
    """Remembers what it was told, in order, and what it should know by now."""

    def __init__(self):
        self.told = []
        self.current = []

    def found(self, host, port):
        self.told.append(("found", host, port))
        assert (host, port) not in self.current
        self.current.append((host, port))

    def lost(self, host, port):
        self.told.append(("lost", host, port))
        self.current.remove((host, port))

    async def knows(self, *expected, within=10.0):
        """Wait until exactly these are known."""

        async def ask():
            return sorted(self.current)

        await eventually(ask, lambda known: known == sorted(expected), within=within)


class Reports:
    """Sightings that remember each report."""

    def __init__(self, *, alone=False):
        self.alone = alone
        self.all = []

    def report(self, endpoints: Iterable[Endpoint]) -> None:
        self.all.append([(endpoint.host, endpoint.port) for endpoint in endpoints])


class StillTime:
    """A sleep that lasts until the test ends it."""

    def __init__(self):
        self.asked = []
        """Seconds that were asked for, in order."""
        self._sleepers = []

    async def sleep(self, seconds):
        self.asked.append(seconds)
        sleeper = asyncio.get_running_loop().create_future()
        self._sleepers.append(sleeper)
        await sleeper

    async def pass_by(self):
        """End every sleep, and let what waited for it run until it sleeps again."""
        sleepers, self._sleepers = self._sleepers, []
        for sleeper in sleepers:
            if not sleeper.done():
                sleeper.set_result(None)
        await turns()


async def turns(count=20):
    """Let the loop run what is ready."""
    for _ in range(count):
        await asyncio.sleep(0)
