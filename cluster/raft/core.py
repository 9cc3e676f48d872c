"""The consensus core: one node's part in Raft, as a state machine without I/O.

This module holds the node together: the rules about terms that every message obeys (paper, section 5.1), and the
changes of role. What happens inside a role is in `following`, `election` and `leadership`; `bundle` makes the bundle.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from cluster.raft.bundle import Bundler
from cluster.raft.config import DurableState, RaftConfig
from cluster.raft.configuration import SnapshotMeta
from cluster.raft.election import Campaign, answer_pre_vote, answer_vote
from cluster.raft.errors import CampaignRefusedError, NoLeaderError, NotLeaderError, SnapshotRefusedError
from cluster.raft.following import Following
from cluster.raft.leadership import Leadership
from cluster.raft.membership import ConfigurationChange
from cluster.raft.messages import (
    Append,
    AppendAck,
    AppendReject,
    Commit,
    Heartbeat,
    HeartbeatAck,
    Message,
    PreVoteReply,
    PreVoteRequest,
    ReadReply,
    ReadRequest,
    SnapshotAck,
    SnapshotChunk,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from cluster.raft.quorum import Outcome
from cluster.raft.reads import ForwardedReads
from cluster.raft.ready import Position, ReadState, Ready, Role
from cluster.raft.server import Server
from cluster.raft.view import View

MAX_TERM: Final = 1 << 62
"""A term beyond this was never reached by elections: the message is nonsense."""

_FROM_LEADER: Final = frozenset({Append, Commit, Heartbeat, SnapshotChunk, TimeoutNow})
"""Messages that only the leader of their term sends."""

_FROM_ANYBODY: Final = frozenset({PreVoteRequest, VoteRequest}) | _FROM_LEADER
"""Messages heeded even from a node that is not in this node's configuration, which may not be the latest."""


class Raft(View):
    """One node of a group. See the package for how to drive it, and `View` for what can be seen of it."""

    _handlers: Mapping[type, Callable[[Any], None]]

    def __init__(self, config: RaftConfig, durable: DurableState) -> None:
        """Start from what the disk holds, as a follower. Raise `RaftInvariantError` if it contradicts itself."""
        self._server = Server(config, durable)
        self._leadership = None
        self._following = Following(self._server)
        self._campaign: Campaign | None = None
        self._forwarded = ForwardedReads(config.randrange(1 << 31))
        self._bundler = Bundler(self._server, self._following)
        self._handlers = {
            Append: self._on_append,
            AppendAck: self._on_append_ack,
            AppendReject: self._on_append_reject,
            Commit: self._on_commit,
            Heartbeat: self._on_heartbeat,
            HeartbeatAck: self._on_heartbeat_ack,
            PreVoteRequest: self._on_pre_vote_request,
            PreVoteReply: self._on_vote_reply,
            VoteRequest: self._on_vote_request,
            VoteReply: self._on_vote_reply,
            TimeoutNow: self._on_timeout_now,
            ReadRequest: self._on_read_request,
            ReadReply: self._on_read_reply,
            SnapshotChunk: self._on_snapshot_chunk,
            SnapshotAck: self._on_snapshot_ack,
        }

    # What happens to the node. Each may give rise to a bundle: call `ready` afterwards.

    def step(self, message: Message) -> None:
        """Take a message from a peer. Nonsense, and what is late, is ignored or refused; it never raises."""
        server = self._server
        kind = type(message)
        if message.to != server.id or message.sender in {server.id, ""} or not 0 <= message.term <= MAX_TERM:
            return
        if kind not in _FROM_ANYBODY and not self._knows(message.sender):
            return
        if message.term > server.term:
            if not self._enter_term_of(message):
                return
        elif message.term < server.term:
            self._answer_from_the_past(message)
            return
        elif kind in _FROM_LEADER and server.leader != message.sender:
            if server.leader:
                return  # a second leader in one term: not from any node that keeps to the algorithm
            self._follow(server.term, message.sender)
        self._handlers[kind](message)
        self._settle()

    def tick(self) -> None:
        """Let one tick pass."""
        server = self._server
        if self._leadership is not None:
            self._leadership.tick()
            self._settle()
            return
        server.elapsed += 1
        if server.elapsed >= server.timeout:
            if server.electable and not self._following.installing:
                self._stand(pre=True)
            else:
                self._follow(server.term, "")
                server.restart_timer()
        self._ask_reads_again()

    def campaign(self) -> None:
        """Stand for election now, beginning with pre-vote. Does nothing on the leader.

        Raise `CampaignRefusedError` when this node is no voter or is installing a snapshot.
        """
        if self._leadership is not None:
            return
        if not self._server.electable:
            raise CampaignRefusedError(f"{self._server.id} is not a voter of the group")
        if self._following.installing:
            raise CampaignRefusedError(f"{self._server.id} is installing a snapshot")
        self._stand(pre=True)

    def leader_gone(self, node: str) -> None:
        """Take the driver's word that the process of `node` is gone: if it led, stand for election soon.

        The word may be wrong: it only takes back the trust in a leader that was heard of late, and pre-vote still keeps
        a node from disturbing one that the others hear.
        """
        server = self._server
        if self._leadership is not None or not node or server.leader != node:
            return
        self._follow(server.term, "")
        server.elapsed = 0
        server.timeout = 1 + server.config.randrange(max(1, server.config.election_ticks // 2))

    def propose(self, data: bytes) -> Position:
        """Append commands to the log. Leader only.

        Returns where they went, which is no promise: they are in when they come back in `Ready.committed`.
        Raise `NotLeaderError`, `TransferringError` or `OverloadedError`; then nothing was appended.
        """
        leadership = self._leadership
        if leadership is None:
            raise NotLeaderError(self._server.leader)
        return leadership.propose(data)

    def propose_configuration(self, change: ConfigurationChange) -> Position:
        """Begin a change of the membership. Leader only.

        The new configuration (or the joint one on the way) is in force on this node at once, and committed when its
        entry comes back in `Ready.committed`. Raise `NotLeaderError`, `TransferringError`, or
        `ConfigurationRefusedError`.
        """
        return self._lead().propose_configuration(change)

    def read_index(self, context: int) -> None:
        """Ask for a linearizable read; a `ReadState` with the same `context` will answer, once.

        On a follower the leader is asked, again and again until it answers or another one leads. Raise `NoLeaderError`
        when none is known, `OverloadedError` when too many wait.
        """
        server = self._server
        if self._leadership is not None:
            self._leadership.read(server.id, context)
            return
        if not server.leader:
            raise NoLeaderError("no leader is known; try again after an election")
        wire = self._forwarded.add(context)
        server.outbox.send(ReadRequest(server.leader, server.id, server.term, wire))

    def transfer(self, to: str) -> None:
        """Hand leadership to another voter. Leader only.

        Until the other one leads, or an election timeout is over, proposals raise `TransferringError`. Raise
        `NotLeaderError`, `ConfigurationRefusedError` when `to` cannot lead, `TransferringError` when it is another's
        turn.
        """
        self._lead().transfer(to)

    # The bundle and its acknowledgements.

    def ready(self) -> Ready | None:
        """Take what there is to do now, or None when there is nothing."""
        if self._leadership is not None:
            self._leadership.flush()
        return self._bundler.take()

    def persisted(self, sequence: int) -> None:
        """Acknowledge that the writes up to and including `sequence` are durable."""
        server = self._server
        if not server.outbox.release(sequence):
            return
        grown = server.log.persisted(sequence)
        if self._campaign is not None:
            self._campaign.persisted()
            self._count_votes()
        elif self._leadership is not None and grown:
            self._leadership.persisted()
            self._settle()

    def applied(self, index: int) -> None:
        """Acknowledge that committed entries up to and including `index` are applied."""
        self._server.log.applied_to(index)

    # Snapshots and the log's beginning.

    def snapshot_meta(self, index: int) -> SnapshotMeta:
        """Describe a snapshot of the state machine at `index`: base <= index <= applied.

        Raise `SnapshotRefusedError` outside of that, and while a snapshot is being installed.
        """
        server = self._server
        term = server.log.term(index)
        if self._following.installing:
            raise SnapshotRefusedError("a snapshot is being installed")
        if term is None or index > server.log.applied:
            raise SnapshotRefusedError(
                f"no snapshot at {index}: the log begins after {server.log.base_index} and is applied up to "
                f"{server.log.applied}"
            )
        return SnapshotMeta(index, term, server.history.at(index))

    def compact(self, index: int) -> int:
        """Let the log begin after `index`, or before it if members need more; return where it begins after now.

        A durable state machine stands at or after `index`; that it is durable is the driver's word. What members lack
        is kept, up to `kept_bytes` of the log: what a leader knows that they lack, and has told its followers. Raise
        `SnapshotRefusedError` when `index` is not applied yet.
        """
        server = self._server
        log = server.log
        if index > log.base_index:
            self.snapshot_meta(index)
        needed = self._leadership.room.needed() if self._leadership is not None else server.needed
        index = min(index, max(needed, log.extent.start_of_last(server.config.kept_bytes)), log.stable)
        if index <= log.base_index:
            return log.base_index
        self._bundler.compacted = self.snapshot_meta(index)
        log.compact(index)
        server.history.compact(index)
        return index

    def snapshot_opened(self, stream: int, index: int) -> None:
        """Answer `OpenSnapshot`: a snapshot of the state machine at `index` is open for reading.

        Raise `SnapshotRefusedError` if `index` is not one the log can describe: then close it, and open another.
        """
        if self._leadership is not None:
            self._leadership.shipping.opened(stream, self.snapshot_meta(index))

    def snapshot_data(self, stream: int, data: bytes, *, done: bool) -> None:
        """Answer `ReadSnapshot`: the next bytes, and whether they are the last."""
        if self._leadership is not None:
            self._leadership.shipping.data(stream, data, done=done)

    def snapshot_failed(self, stream: int) -> None:
        """Answer either: it cannot be done now; the core asks again after the follower's next sign of life."""
        if self._leadership is not None:
            self._leadership.shipping.failed(stream)

    # Terms and roles.

    def _knows(self, node: str) -> bool:
        """Tell whether `node` is a member, or was until a moment ago."""
        configuration = self._server.configuration
        return (
            configuration.votes(node)
            or node in configuration.learners
            or node in self.followers
            or node == self._server.leader
        )

    def _enter_term_of(self, message: Message) -> bool:
        """Go on to the later term of a message; tell whether to heed the message."""
        kind = type(message)
        if kind is PreVoteRequest or (isinstance(message, PreVoteReply) and message.granted):
            return True  # they speak of a term that has not begun
        if isinstance(message, VoteRequest) and self._server.hears_leader and not message.transfer:
            return False  # whoever disturbs a working leader is not helped to: removed, or half cut off
        self._follow(message.term, message.sender if kind in _FROM_LEADER else "")
        return True

    def _answer_from_the_past(self, message: Message) -> None:
        """Tell one who lives in an earlier term of the present one; ignore the rest."""
        server = self._server
        if isinstance(message, PreVoteRequest):
            answer_pre_vote(server, message)
        elif isinstance(message, VoteRequest):
            answer_vote(server, message)
        elif isinstance(message, Append | Heartbeat | SnapshotChunk):
            # A leader that does not know it is deposed; or this node's term ran ahead of a working leader's, which will
            # never know and so never reach it, unless told.
            server.outbox.send(HeartbeatAck(message.sender, server.id, server.term, 0))

    def _follow(self, term: int, leader: str) -> None:
        """Become a follower in `term`, of `leader` if it is known.

        Only the leader's own message restarts the timer, not a term that somebody else has reached.
        """
        server = self._server
        was_leader = self._leadership is not None
        if self._leadership is not None:
            self._leadership.close()
            self._leadership = None
        self._campaign = None
        if term > server.term:
            server.enter_term(term)
        server.role = Role.FOLLOWER
        if leader != server.leader or server.leader == server.id:
            server.leader = leader
            server.reads.extend(ReadState(context, None) for context in self._forwarded.abandon())
        if leader or was_leader:
            server.restart_timer()

    def _stand(self, *, pre: bool, transfer: bool = False) -> None:
        """Begin a campaign."""
        self._follow(self._server.term, "")
        self._campaign = Campaign(self._server, pre=pre, transfer=transfer)
        self._count_votes()

    def _count_votes(self) -> None:
        """Go on if the campaign is decided."""
        campaign = self._campaign
        if campaign is None:
            return
        outcome = campaign.outcome
        if outcome is Outcome.LOST:
            self._follow(self._server.term, "")
        elif outcome is Outcome.WON:
            if campaign.pre:
                self._stand(pre=False)
            else:
                self._begin_to_lead()

    def _begin_to_lead(self) -> None:
        server = self._server
        self._campaign = None
        server.role = Role.LEADER
        server.leader = server.id
        server.elapsed = 0
        self._leadership = Leadership(server)

    def _settle(self) -> None:
        """Step down if leading on would be wrong."""
        leadership = self._leadership
        if leadership is not None and leadership.deposed:
            self._follow(self._server.term, "")
            if leadership.yields:
                self._server.elapsed = -2 * self._server.config.election_ticks

    def _lead(self) -> Leadership:
        if self._leadership is None:
            raise NotLeaderError(self._server.leader)
        return self._leadership

    # Messages, all of this node's term (or of the coming one, in a pre-vote).

    def _on_append(self, message: Append) -> None:
        self._server.elapsed = 0
        self._following.append(message)

    def _on_commit(self, message: Commit) -> None:
        self._server.elapsed = 0
        self._following.commit(message)

    def _on_heartbeat(self, message: Heartbeat) -> None:
        self._server.elapsed = 0
        self._following.heartbeat(message)

    def _on_snapshot_chunk(self, message: SnapshotChunk) -> None:
        self._server.elapsed = 0
        self._following.chunk(message)

    def _on_timeout_now(self, _message: TimeoutNow) -> None:
        if self._server.electable and not self._following.installing:
            self._stand(pre=False, transfer=True)

    def _on_pre_vote_request(self, message: PreVoteRequest) -> None:
        answer_pre_vote(self._server, message)

    def _on_vote_request(self, message: VoteRequest) -> None:
        if answer_vote(self._server, message) and self._campaign is not None:
            self._follow(self._server.term, "")  # it was only asking around; somebody else is further

    def _on_vote_reply(self, message: PreVoteReply | VoteReply) -> None:
        if self._campaign is None:
            return
        if isinstance(message, PreVoteReply) and message.granted and message.term != self._server.term + 1:
            return  # for an earlier or a later campaign than this one
        self._campaign.answered(message)
        self._count_votes()

    def _on_append_ack(self, message: AppendAck) -> None:
        if self._leadership is not None:
            self._leadership.append_ack(message)

    def _on_append_reject(self, message: AppendReject) -> None:
        if self._leadership is not None:
            self._leadership.append_reject(message)

    def _on_heartbeat_ack(self, message: HeartbeatAck) -> None:
        if self._leadership is not None:
            self._leadership.heartbeat_ack(message)

    def _on_snapshot_ack(self, message: SnapshotAck) -> None:
        if self._leadership is not None:
            self._leadership.snapshot_ack(message)

    def _on_read_request(self, message: ReadRequest) -> None:
        if self._leadership is not None:
            self._leadership.read_request(message)

    def _on_read_reply(self, message: ReadReply) -> None:
        if message.sender != self._server.leader:
            return
        context = self._forwarded.answered(message.context)
        if context is not None:
            self._server.reads.append(ReadState(context, message.index))

    def _ask_reads_again(self) -> None:
        """Ask the leader again for reads that got no answer: the question or the answer may be lost."""
        server, forwarded = self._server, self._forwarded
        forwarded.elapsed += 1
        if server.leader and forwarded.elapsed > 2 * server.config.heartbeat_ticks:
            forwarded.elapsed = 0
            for wire in forwarded.waiting():
                server.outbox.send(ReadRequest(server.leader, server.id, server.term, wire))
