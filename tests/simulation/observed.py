"""The core, table, driver and gateway of one process, the real ones, watched at every step; nothing is changed.

Not for: judging. That is for `safety` and `promises`.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from cluster.jobs import Created, Effect, JobTable, Joined, Proposal
from cluster.log import Entry, EntryKind
from cluster.raft import Change, ConfigurationChange, DurableState, Position, Raft, RaftConfig, Ready
from node.driver import Driver
from node.gateway import Gateway
from tests.simulation.journal import ViolationError


class Observer(Protocol):
    """Who watches, to find fault."""

    def bundle(self, raft: Raft, ready: Ready) -> None: ...
    def changing(self, raft: Raft, changes: tuple[Change, ...], lag: int) -> None: ...
    def applied(self, name: str, entry: Entry, table: JobTable) -> None: ...
    def installed(self, name: str, table: JobTable, index: int) -> None: ...
    def incarnated(self, name: str, incarnation: int) -> None: ...
    def hung_up(self, name: str) -> None: ...
    def asked(self) -> int: ...
    def answered(self, name: str, floor: int, index: int, last_job: int) -> None: ...


class Steps:
    """What one process does with the entries that its core hands out."""

    def __init__(self, name: str, observer: Observer, point: Callable[[], None], stored: Callable[[], int]) -> None:
        """`point()` is a place where a crash is interesting; `stored()` tells where the table on disk stands."""
        self.name = name
        self.stored = stored
        self.observer = observer
        self.point = point
        self.index = 0
        """The last entry that is in the table."""
        self.handed: deque[Entry] = deque()

    def take(self, table: JobTable, through: int) -> None:
        """Note that entries without commands are applied, up to the next one with commands."""
        handed = self.handed
        while handed and handed[0].index <= through and handed[0].kind is not EntryKind.COMMANDS:
            self._done(handed.popleft(), table)

    def command(self, table: JobTable) -> None:
        """Note that the next entry with commands is applied."""
        self._done(self.handed.popleft(), table)

    def _done(self, entry: Entry, table: JobTable) -> None:
        self.index = entry.index
        self.observer.applied(self.name, entry, table)


class ObservedRaft(Raft):
    """The core."""

    def __init__(self, config: RaftConfig, durable: DurableState, steps: Steps) -> None:
        super().__init__(config, durable)
        self._steps = steps
        self._lag = config.promotion_lag
        self.table: JobTable
        steps.index = self.applied_index

    def ready(self) -> Ready | None:
        """Give the bundle, once it is checked."""
        ready = super().ready()
        if ready is not None:
            self._steps.observer.bundle(self, ready)
            self._steps.handed.extend(ready.committed)
            self._steps.point()
        return ready

    def propose_configuration(self, change: ConfigurationChange) -> Position:
        """Begin a change of membership, and show it."""
        position = super().propose_configuration(change)
        self._steps.observer.changing(self, change.changes, self._lag)
        return position

    def applied(self, index: int) -> None:
        """Be told that entries are applied, which they must be."""
        steps = self._steps
        steps.take(self.table, index)
        if steps.index != index or (steps.handed and steps.handed[0].index <= index):
            raise ViolationError(f"{self.id} says it has applied {index}; it has {steps.index}")
        super().applied(index)


class ObservedTable(JobTable):
    """The table."""

    def __init__(self, steps: Steps, content: JobTable) -> None:
        super().__init__(steps.name)
        super().become(content)
        self._steps = steps

    def apply(self, proposal: Proposal) -> list[Effect]:
        """Apply an entry."""
        steps = self._steps
        if not steps.handed:
            raise ViolationError(f"{steps.name} applies what was not handed out")
        steps.take(self, steps.handed[-1].index)
        effects = super().apply(proposal)
        steps.command(self)
        steps.point()
        return effects

    def become(self, other: JobTable) -> None:
        """Take over what a snapshot brought."""
        steps = self._steps
        super().become(other)
        if steps.handed:
            raise ViolationError(f"{steps.name} replaces its table before {steps.handed[0].index} is applied")
        steps.index = steps.stored()
        steps.observer.installed(steps.name, self, steps.index)
        steps.point()


class ObservedDriver(Driver):
    """The driver."""

    def __init__(self, steps: Steps, **parts: Any) -> None:
        self._steps = steps
        super().__init__(**parts)

    def when_current(self, callback: Callable[[], None]) -> None:
        """Answer a question for all that is known anywhere, and have it checked what the answer was given from."""
        observer, steps = self._steps.observer, self._steps
        floor = observer.asked()

        def current() -> None:
            observer.answered(self.name, floor, steps.index, self.table.last_job)
            callback()

        super().when_current(current)


class ObservedGateway(Gateway):
    """The gateway."""

    def __init__(self, steps: Steps, created: Callable[[int, int, int], None], *parts: Any) -> None:
        """`created` is told the session, the job and the index of each submit that made or joined a job."""
        super().__init__(*parts)
        self._steps = steps
        self._tell_created = created
        self._begun = 0
        """The incarnation that this process began last."""
        self.farewells = 0
        """How often everybody was hung up on."""

    def deliver(self, effects: list[Effect]) -> None:
        """Carry out the effects of one entry."""
        steps = self._steps
        steps.point()
        for effect in effects:
            if isinstance(effect, Created | Joined):
                self._tell_created(effect.session, effect.job.number, steps.index)
        super().deliver(effects)

    def begin(self, incarnation: int) -> None:
        """Begin with the sessions of a new incarnation, which there is to be only where the last one is over."""
        here = self.table.nodes.get(self._steps.name)
        if self._begun and here is not None and here.up and here.incarnation == self._begun:
            raise ViolationError(f"{self._steps.name} ends the sessions of incarnation {self._begun}, which is up")
        self._begun = incarnation
        super().begin(incarnation)
        self._steps.observer.incarnated(self._steps.name, incarnation)

    def hang_up(self) -> None:
        """Close every connection."""
        self.farewells += 1
        self._steps.observer.hung_up(self._steps.name)
        super().hang_up()

    def break_off(self) -> None:
        """Close every connection, and begin anew."""
        self.farewells += 1
        super().break_off()
