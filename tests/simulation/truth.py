"""What really happened in the simulated world, in true time, written down by the world itself.

Machines tell when their processes begin, end, freeze and go on, and what their clocks show. The network tells which
messages arrived, which links were made and lost, and where nothing gets through.
Nothing of this is asked of the processes: what they think of each other is what the promises are judged on.

A node is *silent* for a leader while no message of consensus from it arrives there, and no new link. The time is that
of the leader's monotonic clock, at whatever rate that goes. It leaves out the time for which the leader itself was
frozen: a leader that does not run cannot tell whether others are silent.

Not for: judging. `promises` and `punctuality` know what the documents allow.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from tests.simulation.schedule import MS, SECOND, Schedule

EPOCH: Final = 1_700_000_000 * SECOND
"""What a right wall clock shows when the world begins."""
CLOCK_MEMORY: Final = 5 * SECOND
"""For so long after a clock was wrong its error counts. The time that the table goes by never goes back: when a clock
is set back it stands still, for as long as the step was. A step in the usual kinds of run is shorter than this."""

SHORT: Final = "has too little of something"

PAUSE: Final = 1200 * MS
"""A freeze of this length is a pause for its process: it looks at its clock ten times a second, and by a clock that may
go wrong a gap of a second counts (`node.driver.awake_clock`)."""
DEPOSED: Final = 2 * SECOND
"""So long after it last heard a majority a leader may still lead: it looks once in each election timeout."""
SETTLED: Final = 5 * SECOND
"""So long after the last fault every node has a leader that it hears: some elections, and what had to be caught up."""


class Condition(msgspec.Struct):
    """Something that was the case in the world for a while."""

    what: str
    whom: tuple[str, ...]
    began: int
    ended: int = -1
    """In microseconds, -1: it still is."""

    def __str__(self) -> str:
        end = f"{self.ended / SECOND:.3f}" if self.ended >= 0 else "now"
        return f"{' '.join(self.whom)} {self.what} {self.began / SECOND:.3f}-{end}"


class Host:
    """One machine, as the world knows it."""

    __slots__ = (
        "asleep",
        "clock",
        "froze_at",
        "frozen",
        "heard",
        "leads",
        "led",
        "led_at",
        "life",
        "offsets",
        "rate",
        "since",
    )

    def __init__(self, now: int) -> None:
        self.life = 0
        """The number of the process that runs; 0: none does."""
        self.frozen = False
        self.rate = 1.0
        self.clock = 0.0
        """Microseconds of its monotonic clock, as of `since`."""
        self.since = now
        self.leads = False
        self.led = -1
        """When it last did; -1: never yet."""
        self.led_at = -float("inf")
        """When it last led or was sent anything by the leader, by its own clock without its pauses."""
        self.asleep = 0.0
        """How much of its clock was pauses."""
        self.froze_at = 0.0
        self.heard: dict[str, tuple[float, int]] = {}
        """While it leads: when each other node was last heard, or its leadership began; by its clock, and in truth."""
        self.offsets: list[tuple[int, int]] = [(0, 0)]
        """By how much its wall clock is wrong, in microseconds, and since when."""

    def time(self, now: int) -> float:
        """Give the time of its clock."""
        return self.clock + (now - self.since) * self.rate

    def awake(self, now: int) -> float:
        """Give the time of its clock without its pauses."""
        return self.time(now) - self.asleep


class Truth:
    """The record of one world."""

    def __init__(self, schedule: Schedule, timeout: float) -> None:
        """`timeout`: the seconds of silence that are worth remembering, those of `--node-timeout`."""
        self._schedule = schedule
        self._timeout = timeout * SECOND
        self.record: list[Condition] = []
        """All that was the case, in the order in which it began."""
        self._known: dict[tuple[str, tuple[str, ...]], list[Condition]] = {}
        """The same, by what and whom."""
        self._hosts: dict[str, Host] = {}
        self._lives = 0
        self._ended: dict[int, int] = {}
        """When each process that is over ended."""
        self._incarnations: dict[tuple[str, int], tuple[int, int]] = {}
        """The process in which each incarnation of a node was begun, and when."""
        self._silences: dict[tuple[str, str], list[Condition]] = {}
        """Silences of at least the timeout that are over, by listener and node."""
        self._noticed: dict[tuple[str, str], int] = {}
        """When a node last noticed that it has a link with another one."""
        self.leader = ""
        """The node that came to lead last."""
        self.peace = -1
        """Since when nothing goes wrong any more; -1: something does."""

    @property
    def nodes(self) -> Iterable[str]:
        """All machines there ever were."""
        return self._hosts

    @property
    def settled(self) -> bool:
        """Whether nothing goes wrong, and has not for long enough to be forgotten."""
        return self.settled_at(self.now)

    def settled_at(self, time: int) -> bool:
        """Tell whether that was so at a time."""
        return 0 <= self.peace <= time - SETTLED

    @property
    def now(self) -> int:
        """The true time, in microseconds since the world began."""
        return self._schedule.now

    # What is the case

    def begin(self, what: str, *whom: str) -> Condition:
        """Note that something is the case from now on."""
        known = self._known.setdefault((what, whom), [])
        if not known or known[-1].ended >= 0:
            known.append(Condition(what, whom, self.now))
            self.record.append(known[-1])
        return known[-1]

    def end(self, what: str, *whom: str) -> None:
        """Note that it is no more."""
        known = self._known.get((what, whom))
        if known and known[-1].ended < 0:
            known[-1].ended = self.now

    def had(self, what: str, node: str, within: int) -> bool:
        """Tell whether something is the case with a node, or was not longer ago than that."""
        return any(one.ended < 0 or one.ended >= self.now - within for one in self._known.get((what, (node,)), ()))

    def happened(self, what: str, *whom: str) -> None:
        """Note something that takes no time."""
        self.record.append(Condition(what, whom, self.now, self.now))

    def about(self, *nodes: str) -> str:
        """Tell what was the case with nodes in the last ten seconds, for whoever reads of a violation."""
        since = self.now - 10 * SECOND
        recent = [one for one in self.record if one.ended < 0 or one.ended >= since]
        told = [str(one) for one in recent if any(node in one.whom for node in nodes)]
        return f"the world knows of {' and '.join(nodes)}: {', '.join(told[-12:]) or 'nothing'}"

    # Processes

    def started(self, node: str) -> None:
        """Note that a process begins."""
        host = self._host(node)
        self._lives += 1
        host.life = self._lives
        self.end("is dead", node)

    def crashed(self, node: str) -> None:
        """Note that it is over."""
        host = self._host(node)
        self._ended[host.life] = self.now
        host.life = 0
        host.frozen = False
        self.follows(node)
        self.end("is frozen", node)
        self.begin("is dead", node)

    def froze(self, node: str) -> None:
        """Note that a process does not run for a while."""
        host = self._host(node)
        host.frozen = True
        host.froze_at = host.time(self.now)
        self.begin("is frozen", node)

    def thawed(self, node: str) -> None:
        """Note that it runs again."""
        host = self._host(node)
        paused = host.time(self.now) - host.froze_at
        if host.frozen and paused >= PAUSE:
            host.asleep += paused
        host.frozen = False
        self.end("is frozen", node)

    def life(self, node: str) -> int:
        """Give the process that runs at a node; 0: none does."""
        return self._host(node).life

    def dead(self, life: int) -> bool:
        """Tell whether a process is over."""
        return life in self._ended

    def incarnated(self, node: str, incarnation: int) -> None:
        """Note in which process a node's incarnation began."""
        self._incarnations[node, incarnation] = (self.life(node), self.now)

    def life_of(self, node: str, incarnation: int) -> int:
        """Give that process; 0: it never began."""
        return self._incarnations.get((node, incarnation), (0, 0))[0]

    def incarnated_at(self, node: str, incarnation: int) -> int:
        """Tell when it began."""
        return self._incarnations.get((node, incarnation), (0, 0))[1]

    # Clocks

    def clock_rate(self, node: str, rate: float) -> None:
        """Note at which rate a monotonic clock goes from now on."""
        host = self._host(node)
        host.clock, host.since = host.time(self.now), self.now
        host.rate = rate

    def clock_offset(self, node: str, offset: int) -> None:
        """Note by how much a wall clock is wrong from now on."""
        offsets = self._host(node).offsets
        if offsets[-1][1] != offset:
            offsets.append((self.now, offset))
            self.happened(f"has its clock at {offset / SECOND:+.3f} s", node)

    def clock_error(self, since: int) -> int:
        """Give by how much a leader's wall clock was wrong at most, from `CLOCK_MEMORY` before `since` until now."""
        since -= CLOCK_MEMORY
        worst = 0
        for host in self._hosts.values():
            if not host.leads and (host.led < 0 or host.led < since):
                continue
            until = self.now
            for began, offset in reversed(host.offsets):
                if until < since:
                    break
                worst = max(worst, abs(offset))
                until = began
        return worst

    # Leaders, and whom they hear

    def leads(self, node: str) -> None:
        """Note that a node begins to lead: nobody had reason to speak to it before."""
        self.follows(node)
        self.leader = node
        host = self._host(node)
        host.leads = True
        mark = (host.time(self.now), self.now)
        host.heard = dict.fromkeys(self._hosts, mark)

    def follows(self, node: str) -> None:
        """Note that it does not lead any more: its silences are over."""
        host = self._host(node)
        if host.leads:
            for other in host.heard:
                self._hears(host, node, other)
            host.leads = False
            host.led = self.now
            host.led_at = max(host.led_at, host.awake(self.now) - DEPOSED)
            host.heard = {}

    def arrived(self, sender: str, to: str, *, leads: bool = False) -> None:
        """Note that a message of consensus arrived at a host; a process that is frozen there finds it later.

        `leads`: it is one that only leaders send.
        """
        host = self._hosts[to]
        if leads and self.leader == sender:
            host.led_at = host.awake(self.now)
        if host.leads:
            self._hears(host, to, sender)

    def _hears(self, host: Host, node: str, other: str) -> None:
        clock = host.time(self.now)
        before = host.heard.get(other)
        if before is not None and clock - before[0] >= self._timeout and self._is_silent(host, node, other):
            self._silences.setdefault((node, other), []).append(
                Condition("hears nothing of", (node, other), before[1], self.now)
            )
        host.heard[other] = (clock, self.now)

    def seems_dead(self, node: str, to: str) -> bool:
        """Tell whether a node has no link with another one whose process ended, as far as it can know."""
        apart = self._known.get(("have no link", (min(node, to), max(node, to))))
        if not apart or self._noticed.get((to, node), -1) > apart[-1].began:
            return False
        return self.had("is dead", node, self.now - apart[-1].began)

    def leaderless_for(self, node: str) -> float:
        """Give for how long a process has been without a leader, by its own clock and as long as it ran."""
        host = self._host(node)
        return 0.0 if host.leads else host.awake(self.now) - host.led_at

    def silent(self, listener: str, node: str, since: int) -> bool:
        """Tell whether a leader heard nothing of a node for the timeout, in a time that goes on to `since` at least."""
        host = self._hosts[listener]
        return self._is_silent(host, listener, node) or any(
            silence.ended >= since for silence in self._silences.get((listener, node), ())
        )

    def _is_silent(self, host: Host, listener: str, node: str) -> bool:
        before = host.heard.get(node)
        if before is None:
            return False
        silence = host.time(self.now) - before[0]
        if silence < self._timeout:
            return False
        deaf = 0
        for freeze in self._known.get(("is frozen", (listener,)), ()):
            began, ended = max(freeze.began, before[1]), freeze.ended if freeze.ended >= 0 else self.now
            if began < ended:
                deaf += ended - began if ended - began >= PAUSE else 0
        return silence - deaf * host.rate >= self._timeout

    # Links

    def linked(self, node: str, other: str) -> None:
        """Note that a node notices a new link."""
        self._noticed[node, other] = self.now
        self.arrived(other, node)

    def _host(self, node: str) -> Host:
        host = self._hosts.get(node)
        if host is None:
            host = self._hosts[node] = Host(self.now)
        return host
