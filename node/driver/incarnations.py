"""This node's incarnations in the group, and when clients are served in one.

A node begins another incarnation when it starts, when the group has declared it down, and when a snapshot took the
place of its table: what happened to its sessions meanwhile is not known here. Its number is on disk before anything is
said in it, so that none is used twice. It serves once its NodeUp is applied; without a leader it lets its clients go
to another node. Not for: which node is thought to be alive (`vigil`), or who is connected (`node.gateway`).
"""

from collections.abc import Callable
from functools import partial
from typing import Final

from cluster.jobs import JobTable
from cluster.raft import Raft
from node.driver.barriers import ReadBarriers
from node.driver.surroundings import Disk, EffectSink, Loop
from node.driver.vigil import Vigil
from node.recovery import INCARNATION

LEADERLESS_PATIENCE: Final = 1.0
"""Seconds without a leader after which clients are let go: the least election timeout."""


class Incarnations:
    """The incarnations of one node."""

    def __init__(
        self,
        *,
        name: str,
        used: int,
        table: JobTable,
        raft: Raft,
        barriers: ReadBarriers,
        disk: Disk,
        loop: Loop,
        vigil: Vigil,
        begun: Callable[[int], None],
        introduce: Callable[[], None],
        noted: Callable[[], None],
        on_serving: Callable[[bool], None],
    ) -> None:
        """Begin where this node's last life ended: `used` is the highest number that it ever used.

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
        self.member = True
        """Whether this node is in the group, whether that is committed or not."""
        self._removed = False
        """Whether it was told that it is not, by others than consensus."""
        self._led = loop.time()
        """When a leader was last known."""
        self._name = name
        self._used = used
        self._table = table
        self._raft = raft
        self._barriers = barriers
        self._disk = disk
        self._loop = loop
        self._vigil = vigil
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

    def removed(self) -> None:
        """Serve no more: the group has let this node go."""
        self._removed = True
        self.see_to_service()

    def see_to_service(self) -> None:
        """Begin or cease to serve."""
        now = self._loop.time()
        if self._raft.leader:
            self._led = now
            led = True
        else:
            # Patience is for an election, by who served before; there is none where too many are known to be gone.
            patient = now - self._led < LEADERLESS_PATIENCE
            led = self.serving and patient and self._vigil.leaves_quorum(self._raft.configuration.voters)
        serving = self.open and led and self.member and not self._removed
        if serving == self.serving:
            return
        self.serving = serving
        if not serving and self.open and self._sink is not None:
            self._sink.hang_up()
            self._barriers.forget()
        self._on_serving(serving)
