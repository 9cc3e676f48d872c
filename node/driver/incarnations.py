"""This node's incarnations in the group, and when clients are served in one.

A node begins another incarnation when it starts, when the group has declared it down, and when a snapshot took the
place of its table: what happened to its sessions meanwhile is not known here. Its number is on disk before anything is
said in it, so that none is used twice. It serves once its NodeUp is applied.

A node that hears no leader makes its clients wait: an election is over in a few seconds, and costs no connection. After
`leaderless_timeout` it hangs up, so that they go to another node. By then it may be cut off from the others, who are
about to give its jobs to other workers: the node timeout ends one second later. It hangs up at once when too many
nodes have ended for any leader. A node whose disk does not take the present term hears the leader, and cannot be heard:
after the same time it hangs up as well. Not for: which node is down (`failure_detector`), or who is connected
(`node.gateway`).
"""

from collections.abc import Callable
from functools import partial
from typing import Final

from cluster.jobs import JobTable
from cluster.raft import Configuration, Raft, Role
from node.driver import notices
from node.driver.awake_clock import AwakeClock
from node.driver.barriers import ReadBarriers
from node.driver.failure_detector import GRACE, FailureDetector
from node.driver.surroundings import Disk, EffectSink
from node.recovery import INCARNATION

LEAST_LEADERLESS: Final = 4.0
"""Seconds without a leader that a node waits at the least: two election timeouts, so one election may fail. It is the
least node timeout that can be set, less the margin."""
MARGIN: Final = 1.0
"""Seconds by which a node hangs up before the others give its jobs to other workers."""


def leaderless_timeout(node_timeout: float) -> float:
    """Return the seconds without a leader after which a node hangs up on its clients."""
    return max(LEAST_LEADERLESS, node_timeout - MARGIN)


class Incarnations:
    """The incarnations of one node."""

    def __init__(
        self,
        *,
        name: str,
        used: int,
        configuration: Configuration,
        table: JobTable,
        raft: Raft,
        barriers: ReadBarriers,
        disk: Disk,
        detector: FailureDetector,
        clock: AwakeClock,
        node_timeout: float,
        tick: float,
        begun: Callable[[int], None],
        introduce: Callable[[], None],
        noted: Callable[[], None],
        on_serving: Callable[[bool], None],
    ) -> None:
        """Begin where this node's last life ended: `used` is the highest number that it ever used.

        `tick`: the seconds of one tick of consensus.

        `begun` is told the number of an incarnation when it begins, and forgets what the last one had under way; then
        `introduce` proposes the NodeUp, and `noted` is called once the number is on disk. `on_serving` is told when
        the node begins and ceases to serve.
        """
        self.serving = False
        """Whether clients can be served here now."""
        self.noted = False
        """Whether this incarnation's number is on disk: before that nothing is said in it."""
        self.open = False
        """Whether its NodeUp is applied."""
        self.configuration = configuration
        """The last configuration of the group that is committed. One that is not may be taken back."""
        self._removed = False
        """Whether it was told that it is not, by others than consensus."""
        self._clock = clock
        self._paused = clock.paused
        self._leaderless_timeout = leaderless_timeout(node_timeout)
        self._tick = tick
        self._led = clock.time()
        """When a leader was last heard."""
        self._lost = 0.0
        """When the leader was lost whose loss is in the log; 0: there is one."""
        self._name = name
        self._used = used
        self._table = table
        self._raft = raft
        self._barriers = barriers
        self._disk = disk
        self._detector = detector
        self._begun = begun
        self._introduce = introduce
        self._on_noted = noted
        self._on_serving = on_serving
        self._sink: EffectSink | None = None

    def start(self, sink: EffectSink) -> None:
        """Begin the first one of this life."""
        self._sink = sink
        self.begin()

    def begin(self) -> None:
        """Begin another one."""
        self.open = False
        self._barriers.forget()
        known = self._table.nodes.get(self._name)
        self._used = number = max(self._used, known.incarnation if known is not None else 0) + 1
        self._begun(number)
        self.see_to_service()
        if self._sink is not None:
            self._sink.begin(number)
        self.noted = False
        self._introduce()
        self._disk.note(INCARNATION, b"%d" % number, partial(self._noted, number))

    def _noted(self, number: int) -> None:
        if number == self._used:
            self.noted = True
            self._on_noted()

    def opened(self) -> None:
        """Note that the NodeUp of this one is applied."""
        self.open = True
        self.see_to_service()

    def break_off(self) -> None:
        """Begin another one: the sessions of this one are over, whatever those on them may think."""
        if self._sink is not None:
            self._sink.break_off()
        self.begin()

    def leader_heard(self) -> None:
        """Note that the leader was heard."""
        self._led = self._clock.time()

    def _note_quorum(self, now: float, *, led: bool) -> None:
        """Log that no leader is heard for longer than an election takes, and that there is one again."""
        if led and self._lost:
            notices.quorum_restored(self._raft.leader, now - self._lost)
            self._lost = 0.0
        elif not led and not self._lost and self.open and now - self._led >= LEAST_LEADERLESS / 2:
            self._lost = self._led
            notices.quorum_lost(now - self._led, self._leaderless_timeout)

    def removed(self) -> None:
        """Serve no more: the group has let this node go."""
        self._removed = True
        self.see_to_service()

    def see_to_service(self) -> None:
        """Begin or cease to serve."""
        now = self._clock.time()
        if self._raft.role is Role.LEADER:
            # One that hears no quorum may be a leader no more, without knowing it.
            self._led = max(self._led, now - self._raft.unheard * self._tick)
        if self._clock.paused != self._paused:
            self._paused = self._clock.paused
            # What the leader sent during the pause has not been read.
            self._led = max(self._led, now - self._leaderless_timeout + GRACE)
        led = bool(self._raft.leader)
        waits = now - self._led < self._leaderless_timeout
        self._note_quorum(now, led=led)
        if led and self._raft.mute:
            led = waits
        elif not led and self.serving:
            led = waits and self._detector.leaves_quorum(self.configuration.voters)
        member = self._name in self.configuration.members
        serving = self.open and led and member and not self._removed
        if serving == self.serving:
            return
        self.serving = serving
        if not serving and self.open and self._sink is not None:
            if self._raft.mute:
                notices.unheard(now - self._led)
            self._sink.hang_up()
            self._barriers.forget()
        self._on_serving(serving)
