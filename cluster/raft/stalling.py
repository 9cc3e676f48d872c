"""Whether a leader's entries get on, and what to do if not: a leader that only sends heartbeats stops everybody.

Three things can hold entries up, though the others are heard all the time: they do not arrive (the sending hangs, or an
entry cannot be sent), the disks of too many others do not take them, or this node's own disk does not finish a write.
In the first and the last case another node can do better: it is told to stand for election at once. In the second none
can, and an election needs the same disks; the leader steps down only if that lasts.

The patience allows for the bytes that are on their way. It doubles with each term in which nothing was committed, and
each time that this leader has tried to hand over: where the disks of a majority are just slow, leaders do not change
again and again.

Time is in ticks. Not for: a leader that is not heard, which check-quorum finds out (`replication`).
"""

from collections.abc import Mapping
from typing import Final

from cluster.raft import quorum
from cluster.raft.progress import Progress
from cluster.raft.ready import Obstacle, Stalled
from cluster.raft.server import Server

FOLLOWERS: Final = 10
"""How many times as long the disks of a majority may take: stepping down makes none of them quicker."""


class _Watch:
    """How long a figure has not grown though it should."""

    __slots__ = ("_before", "ticks")

    def __init__(self) -> None:
        self._before = -1
        self.ticks = 0

    def look(self, figure: int, *, due: bool) -> None:
        """Look at it once a tick. `due`: there is something that should make it grow."""
        if figure > self._before or not due:
            self.ticks = 0
        else:
            self.ticks += 1
        self._before = figure


class Stalling:
    """One leader's watch over its own entries."""

    __slots__ = ("_agreed", "_arriving", "_followers", "_own", "_server", "_tries")

    def __init__(self, server: Server, followers: Mapping[str, Progress]) -> None:
        self._server = server
        self._followers = followers
        self._agreed = _Watch()
        """What the others have on disk, as far as it takes the commit forward."""
        self._arriving = _Watch()
        """What has arrived at the others."""
        self._own = _Watch()
        """What this node's own disk has."""
        self._tries = 0
        """How often this leader has tried to hand over."""

    def tick(self) -> Stalled | None:
        """Let a tick pass; tell whether it is time to hand over, and to whom."""
        server = self._server
        log = server.log
        others = [self._followers[node] for node in self._voters() if node in self._followers]
        if not others:
            return None
        open_ = log.commit < log.last_index
        needed = [min(progress.match, log.commit) for progress in others]
        self._agreed.look(log.commit + sum(needed) + min(log.stable, log.commit), due=open_)
        arrived = sum([max(progress.match, min(progress.arrived, log.last_index)) for progress in others])
        self._arriving.look(arrived, due=open_)
        self._own.look(log.stable, due=log.stable < log.last_index)
        # Where its own disk leaves no room for more, nobody is to wait: the heir's disk has taken those bytes.
        full = log.bytes_after(log.stable) >= server.config.max_uncommitted_bytes
        if self._own.ticks > self._patience(log.last_index if full else log.stable, server.config.disk_ticks):
            heir = self._heir()
            if heir and self._followers[heir].match > log.stable and self._followers[heir].match >= log.commit:
                return self._stalled(Obstacle.DISK, self._own.ticks, log.stable, heir)
        patience = self._patience(log.commit, server.config.stall_ticks)
        stalled = min(self._agreed.ticks, self._arriving.ticks)
        if stalled > patience and self._missing(others):
            heir = self._heir()
            if heir:
                return self._stalled(Obstacle.SENDING, stalled, log.commit, heir)
        if self._agreed.ticks > FOLLOWERS * patience:
            return self._stalled(Obstacle.FOLLOWERS, self._agreed.ticks, log.commit, "")
        return None

    def _stalled(self, obstacle: Obstacle, ticks: int, index: int, heir: str) -> Stalled:
        self._tries += 1
        for watch in (self._agreed, self._arriving, self._own):
            watch.ticks = 0
        return Stalled(obstacle, ticks, self._server.log.bytes_after(index), heir)

    def _patience(self, index: int, usual: int) -> int:
        """How many ticks the entries after `index` may take: the usual ones, and those of their bytes."""
        server = self._server
        config = server.config
        ticks = usual + server.log.bytes_after(index) // config.progress_bytes
        return ticks << (server.fruitless + self._tries)

    def _missing(self, others: list[Progress]) -> bool:
        """Tell whether entries are missing with a voter that is heard, and needed for the commit."""
        log, least = self._server.log, self._server.config.election_ticks
        return any(
            max(progress.match, progress.arrived) < log.last_index and progress.silent < least and progress.arrived > 0
            for progress in others
            if progress.match <= log.commit
        )

    def _heir(self) -> str:
        """Return the voter that has most of the log, if those that are heard can elect it without this node."""
        server = self._server
        least = server.config.election_ticks // 2
        heard = {node for node, progress in self._followers.items() if progress.silent < least}
        if not quorum.is_quorum(server.configuration, heard):
            return ""
        heirs = [node for node in server.configuration.voters if node in heard]
        return max(heirs, key=lambda node: self._followers[node].match, default="")

    def _voters(self) -> set[str]:
        configuration = self._server.configuration
        return {*configuration.voters, *configuration.outgoing} - {self._server.id}
