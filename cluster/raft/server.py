"""The state of a node that does not depend on its role: term, vote, log, configuration, clock.

(Raft paper, Figure 2, "State", all servers.) Roles work on it: `following`, `election`, `leadership`.
"""

from collections.abc import Sequence
from typing import Final

from cluster.log import NO_VOTE, Entry, HardState
from cluster.raft.config import DurableState, RaftConfig
from cluster.raft.configuration import Configuration, SnapshotMeta
from cluster.raft.errors import RaftInvariantError
from cluster.raft.history import ConfigurationHistory
from cluster.raft.outbox import Outbox
from cluster.raft.ready import Notice, ReadState, Role, SnapshotRequest
from cluster.raft.window import LogWindow

SAMPLES: Final = 4096
"""How finely what is kept of the log is measured."""
MAX_FRUITLESS: Final = 6
"""Terms without a commit, one after the other, beyond which a leader's patience does not double any more."""


class Server:
    """One node, whatever its role."""

    __slots__ = (
        "_commit_before",
        "_fruitless",
        "config",
        "elapsed",
        "history",
        "id",
        "leader",
        "leader_commit",
        "log",
        "needed",
        "notices",
        "outbox",
        "reads",
        "role",
        "snapshots",
        "streams",
        "term",
        "timeout",
        "vote",
    )

    def __init__(self, config: RaftConfig, durable: DurableState) -> None:
        self.config = config
        self.id = config.id
        grain = max(1, config.kept_bytes // SAMPLES)
        self.log = LogWindow(durable.log, durable.base, durable.applied, config.max_recent_bytes, grain)
        self.history = ConfigurationHistory(durable.base, durable.log.configurations())
        self.outbox = Outbox()
        self.term = durable.hard_state.term
        self.vote = durable.hard_state.vote
        if self.term < self.log.last_term:
            if durable.hard_state != HardState() or self.log.last_term != 1:
                raise RaftInvariantError(f"the stored term is {self.term}, but the log is of term {self.log.last_term}")
            self.term = 1  # the beginning of a group is at term 1, and nobody votes in it: see `bootstrap`
        self.role = Role.FOLLOWER
        self.leader = ""
        self.elapsed = 0
        """Ticks since the leader was heard, a vote was granted or a campaign begun."""
        self.timeout = 0
        """The election timeout drawn for this wait, in ticks."""
        self.reads: list[ReadState] = []
        """Answers for the driver."""
        self.snapshots: list[SnapshotRequest] = []
        """Requests to the driver."""
        self.notices: list[Notice] = []
        """What an operator is to know."""
        self.needed = 0
        """The leader's word: members still need the entries after this index. 0: all there are, as far as is known."""
        self.leader_commit = -1
        """The leader's word: it has committed so much. Nothing follows from it here, however large it is."""
        self._fruitless = 0
        """How many terms in a row passed before this one in which nothing was committed."""
        self._commit_before = -1
        """The commit index when this term began."""
        self.streams = 0
        """The number of the last snapshot transfer begun; none is used twice while this node runs."""
        self.restart_timer()

    @property
    def configuration(self) -> Configuration:
        """The configuration in force."""
        return self.history.current

    @property
    def hard_state(self) -> HardState:
        """What has to be on disk before anything is said in this term."""
        return HardState(self.term, self.vote)

    @property
    def fruitless(self) -> int:
        """How many terms in a row have passed without a commit, up to `MAX_FRUITLESS`; 0 once there is one again."""
        return self._fruitless if self.log.commit == self._commit_before else 0

    @property
    def blank(self) -> bool:
        """Tell whether this node has never had a log: it joins, or it has lost everything it ever promised."""
        return self.log.last_index == 0

    @property
    def electable(self) -> bool:
        """Tell whether this node may have to lead: it is a voter, or was until a change that is not known committed.

        Without the latter nobody might ever be elected: this node's log is ahead of those who could vote themselves
        into office, and they of its vote (dissertation, section 4.2.2). It does not count its own vote then.
        """
        return any(configuration.votes(self.id) for configuration in self.history.since(self.log.commit))

    @property
    def hears_leader(self) -> bool:
        """Tell whether a leader was heard within the least election timeout (dissertation, section 4.2.3)."""
        return bool(self.leader) and self.elapsed < self.config.election_ticks

    def restart_timer(self) -> None:
        """Wait from now on, for a timeout drawn anew (paper, section 5.2)."""
        self.elapsed = 0
        self.timeout = self.config.election_ticks + self.config.randrange(self.config.election_ticks)

    def enter_term(self, term: int) -> None:
        """Go on to a later term, in which this node has not voted."""
        self.term = term
        self.vote = NO_VOTE
        commit = self.log.commit
        self._fruitless = min(self._fruitless + 1, MAX_FRUITLESS) if commit == self._commit_before else 0
        self._commit_before = commit
        self.outbox.hard_state_changed(new_term=True)

    def vote_for(self, node: str) -> None:
        """Give the vote of this term away."""
        if self.vote == node:
            return
        if self.vote != NO_VOTE:
            raise RaftInvariantError(f"second vote in term {self.term}: for {node} after {self.vote}")
        self.vote = node
        self.outbox.hard_state_changed(new_term=False)

    def append(self, entries: Sequence[Entry]) -> bool:
        """Append entries to the log; tell whether the configuration changed by it."""
        self.log.append(entries)
        return self.history.note(entries)

    def truncate(self, index: int) -> None:
        """Remove the entries at and after `index`, and the configurations that were in them."""
        self.log.truncate(index)
        self.history.truncate(index)

    def restore(self, meta: SnapshotMeta) -> None:
        """Put a snapshot in the place of log and configuration: the old log's membership counts no more."""
        self.log.restore(meta)
        self.history.restore(meta)

    def write_covering(self, index: int) -> int:
        """Return the number of the write that makes the log durable up to `index` (0: it is)."""
        covering = self.log.write_covering(index)
        return self.outbox.next_write if covering is None else covering
