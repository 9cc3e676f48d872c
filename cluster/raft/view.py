"""What can be seen of a node from outside: for the driver, the dashboard and the tests. Changes nothing."""

from collections.abc import Mapping

from cluster.raft.configuration import Configuration
from cluster.raft.leadership import Leadership
from cluster.raft.progress import Progress
from cluster.raft.ready import Role
from cluster.raft.server import Server


class View:
    """The visible side of a node."""

    _server: Server
    _leadership: Leadership | None
    """Present while this node leads."""

    @property
    def id(self) -> str:
        """This node."""
        return self._server.id

    @property
    def role(self) -> Role:
        """What this node is now."""
        return self._server.role

    @property
    def leader(self) -> str:
        """The leader of this term, "" when it is not known."""
        return self._server.leader

    @property
    def term(self) -> int:
        """The latest term seen."""
        return self._server.term

    @property
    def vote(self) -> str:
        """Who got this node's vote in this term, "" when nobody did."""
        return self._server.vote

    @property
    def commit(self) -> int:
        """The highest index known to be committed."""
        return self._server.log.commit

    @property
    def leader_commit(self) -> int:
        """The highest index that the leader has committed, as far as it has said so, whether it is here or not.

        It is the word of another node: no more than a figure, and it may be out of all proportion.
        """
        server = self._server
        return server.log.commit if self._leadership is not None else max(server.log.commit, server.leader_commit)

    @property
    def applied_index(self) -> int:
        """The highest index acknowledged as applied (or brought by a snapshot)."""
        return self._server.log.applied

    @property
    def first_index(self) -> int:
        """The index of the first entry that is not compacted away; last + 1 when there is none."""
        return self._server.log.base_index + 1

    @property
    def last_index(self) -> int:
        """The index of the last entry."""
        return self._server.log.last_index

    @property
    def stable_index(self) -> int:
        """Entries up to here are durable on this node."""
        return self._server.log.stable

    @property
    def configuration(self) -> Configuration:
        """The configuration in force, committed or not."""
        return self._server.configuration

    @property
    def room(self) -> int:
        """Bytes of commands that may be proposed now; 0: none, wait for commits. Only a leader has any.

        While there is room one proposal of any size is taken. So the bounds are exceeded by one entry at most, and no
        entry is too large for ever.
        """
        return 0 if self._leadership is None else max(0, self._leadership.room.left)

    @property
    def mute(self) -> bool:
        """Tell whether the present term, or vote, is not on disk yet: until it is, no message of the term leaves."""
        outbox = self._server.outbox
        return outbox.persisted < outbox.hard_state_write

    @property
    def unheard(self) -> int:
        """For how many ticks this leader has heard no quorum. It may not know yet that another one leads. Else 0."""
        return 0 if self._leadership is None else self._leadership.replication.unheard

    @property
    def transferee(self) -> str:
        """Whom this leader is handing over to, "" when to nobody."""
        return "" if self._leadership is None else self._leadership.transferee

    @property
    def followers(self) -> Mapping[str, Progress]:
        """On the leader: what it knows of each follower, to look at only. Else empty."""
        return {} if self._leadership is None else self._leadership.replication.followers

    def entry_term(self, index: int) -> int | None:
        """Return the term of the entry at `index`; None outside of base..last."""
        return self._server.log.term(index)
