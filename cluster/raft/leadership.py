"""What a leader does in its term: propose, commit, confirm, hand over, step down.

A `Leadership` lives from the won election to the end of the term's rule; nothing of it outlives it. Not for: who is
where in the log (`replication`), and the moving of snapshots (`shipping`).
"""

from cluster.log import Entry, EntryKind
from cluster.raft import quorum
from cluster.raft.configuration import Configuration, encode_configuration
from cluster.raft.errors import ConfigurationRefusedError, OverloadedError, TransferringError
from cluster.raft.membership import ChangeKind, ConfigurationChange, enter, leave
from cluster.raft.messages import (
    AppendAck,
    AppendReject,
    Heartbeat,
    HeartbeatAck,
    ReadReply,
    ReadRequest,
    SnapshotAck,
    TimeoutNow,
)
from cluster.raft.progress import Progress, ProgressState
from cluster.raft.reads import ReadRounds
from cluster.raft.ready import Position, ReadState
from cluster.raft.replication import Replication
from cluster.raft.room import Room
from cluster.raft.server import Server
from cluster.raft.shipping import Shipping
from cluster.raft.stalling import Stalling


class Leadership:
    """One leader in one term."""

    __slots__ = (
        "_heartbeat_elapsed",
        "_rounds",
        "_server",
        "_settled",
        "_stalling",
        "_transfer_elapsed",
        "barrier",
        "deposed",
        "replication",
        "room",
        "shipping",
        "transferee",
        "yields",
    )

    def __init__(self, server: Server) -> None:
        """Begin the term with an entry of its own: only by it can the entries of earlier terms be committed."""
        self._server = server
        followers: dict[str, Progress] = {}
        self.shipping = Shipping(server, followers)
        self.replication = Replication(server, followers, self.shipping.start)
        self.deposed = False
        """This node must not lead on: it has lost its quorum, or is no voter any more, or its entries get nowhere."""
        self.yields = False
        """It lets the others stand for election first."""
        self.transferee = ""
        """Whom leadership is being handed to."""
        self._transfer_elapsed = 0
        self._heartbeat_elapsed = 0
        self._rounds = ReadRounds()
        self.room = Room(server, followers, self.shipping)
        self._stalling = Stalling(server, followers)
        self._settled = -1
        """The position of the last configuration whose commit was acted upon."""
        self.replication.admit()
        self.barrier = self._append(EntryKind.BARRIER, b"").index
        """The index of this term's first entry. Until it is committed nobody knows what else is."""

    # Requests

    def propose(self, data: bytes) -> Position:
        """Append commands."""
        self._refuse_while_transferring()
        if not self.room.takes(len(data)):
            raise OverloadedError(self.room.refusal)
        position = self._append(EntryKind.COMMANDS, data)
        self.room.proposed(position.index, len(data))
        return position

    def propose_configuration(self, change: ConfigurationChange) -> Position:
        """Begin a change of membership, one at a time (dissertation, section 4.1; Ongaro 2015 for the barrier)."""
        self._refuse_while_transferring()
        log = self._server.log
        if log.commit < self.barrier:
            raise ConfigurationRefusedError("the leader has not yet committed an entry of its own term; try again")
        if self._server.history.index > log.commit:
            raise ConfigurationRefusedError("another change is under way; try again when it is committed")
        configuration = enter(self._server.configuration, change)
        for step in change.changes:
            if step.kind is ChangeKind.PROMOTE:
                self._refuse_a_laggard(step.node)
        return self._enter(configuration)

    def transfer(self, to: str) -> None:
        """Hand over to `to`: bring it up to date, then have it campaign (dissertation, section 3.10)."""
        if to == self._server.id or to not in self._server.configuration.voters:
            raise ConfigurationRefusedError(f"{to} is not another voter, so it cannot lead")
        if self.transferee == to:
            return
        self._refuse_while_transferring()
        self.transferee = to
        self._transfer_elapsed = 0
        self.replication.due = True
        self._hand_over()

    def read(self, origin: str, context: int) -> None:
        """Confirm a read for `origin`."""
        if not self._rounds.add(origin, context) and origin == self._server.id:
            raise OverloadedError("too many reads wait for their confirmation")

    # Messages

    def append_ack(self, message: AppendAck) -> None:
        """Count an acknowledgement."""
        if self.replication.acknowledged(message):
            self._advance(message.sender)

    def append_reject(self, message: AppendReject) -> None:
        """Look further back."""
        self.replication.rejected(message)

    def heartbeat_ack(self, message: HeartbeatAck) -> None:
        """Count a confirmation."""
        self.replication.heard(message.sender, message.last)
        if message.sender in self.replication.followers:
            self._rounds.confirm(message.sender, message.round)
            self._serve_reads()

    def read_request(self, message: ReadRequest) -> None:
        """Confirm a follower's read."""
        self.read(message.sender, message.context)

    def snapshot_ack(self, message: SnapshotAck) -> None:
        """Go on with a transfer."""
        if self.shipping.acknowledged(message):
            self._advance(message.sender)
        self.replication.due = True

    # Time, the disk, the bundle

    def tick(self) -> None:
        """Let a tick pass: heartbeats, and at every election timeout a look at who was heard (section 6.2)."""
        server = self._server
        server.elapsed += 1
        self._heartbeat_elapsed += 1
        if server.elapsed >= server.config.election_ticks:
            server.elapsed = 0
            if not self.replication.quorum_active():
                self.deposed = True
                return
        self.replication.tick()
        self.room.tick()
        if self.transferee:
            self._transfer_elapsed += 1
            if self._transfer_elapsed >= server.config.election_ticks:
                self.transferee = ""
        else:
            self._see_whether_entries_get_on()
            if self.deposed:
                return
        if self._heartbeat_elapsed >= server.config.heartbeat_ticks:
            self._heartbeat_elapsed = 0
            self._heartbeat()
            self._hand_over()
        self.shipping.tick()

    def persisted(self) -> None:
        """Count this node's own copy: more of its log is durable."""
        self.room.persisted()
        self._commit()

    def flush(self) -> None:
        """Send what has gathered."""
        if self._rounds.gathered and self._server.log.commit >= self.barrier:
            self._rounds.begin(self._server.log.commit)
            self._heartbeat()
            self._serve_reads()
        self.replication.flush()
        self.shipping.sweep()

    def close(self) -> None:
        """Stop leading: give back what was taken on."""
        self.shipping.close()
        server = self._server
        server.reads.extend(ReadState(context, None) for context in self._rounds.abandon(server.id))

    # The inside

    def _append(self, kind: EntryKind, data: bytes) -> Position:
        server = self._server
        index = server.log.last_index + 1
        server.append((Entry(index, server.term, kind, data),))
        self.replication.due = True
        return Position(index, server.term)

    def _enter(self, configuration: Configuration) -> Position:
        """Enter a configuration into the log; it is in force from now on."""
        position = self._append(EntryKind.CONFIGURATION, encode_configuration(configuration))
        self.replication.admit()
        if self.transferee and self.transferee not in configuration.voters:
            self.transferee = ""
        return position

    def _advance(self, node: str) -> None:
        """Go on after `node` has acknowledged more than before."""
        self._commit()
        if node == self.transferee:
            self._hand_over()

    def _commit(self) -> None:
        """Commit what a quorum has, if it is of this term: earlier terms' entries are never counted (section 5.4.2)."""
        server = self._server
        log = server.log
        index = self.replication.committed_index()
        if index <= log.commit or log.term(index) != server.term:
            return
        log.commit_to(index)
        self.replication.due = True
        self.room.committed(index)
        if self._settled < server.history.index <= index:
            self._settled = server.history.index
            self._configuration_committed()

    def _configuration_committed(self) -> None:
        """Take the next step of a change, or complete it (paper, section 6)."""
        server = self._server
        if server.configuration.joint:
            self._enter(leave(server.configuration))
            return
        self.replication.dismiss()
        if server.id not in server.configuration.voters:
            self._resign()

    def _resign(self) -> None:
        """Step down after the commit of a configuration without this node; let the best voter take over at once."""
        server = self._server
        self.replication.flush()
        followers = self.replication.followers
        heirs = [node for node in server.configuration.voters if node in followers]
        if heirs:
            heir = max(heirs, key=lambda node: followers[node].match)
            server.outbox.send(TimeoutNow(heir, server.id, server.term))
        self.deposed = True

    def _see_whether_entries_get_on(self) -> None:
        """Hand over, or step down, where this leader's entries get nowhere."""
        stalled = self._stalling.tick()
        if stalled is None:
            return
        server = self._server
        server.notices.append(stalled)
        if stalled.heir:
            # It need not have everything, which it may never get: what it lacks is not committed, and comes again.
            server.outbox.send(TimeoutNow(stalled.heir, server.id, server.term))
        else:
            self.deposed = self.yields = True

    def _heartbeat(self) -> None:
        """Send everybody a heartbeat.

        What is to be committed by it never is more than the receiver has acknowledged. What is committed here is told
        beside that.
        """
        server = self._server
        commit, number, needed = server.log.commit, self._rounds.round, self.room.needed()
        for node, progress in self.replication.followers.items():
            own = min(progress.match, commit)
            server.outbox.send(Heartbeat(node, server.id, server.term, own, number, needed, commit))

    def _serve_reads(self) -> None:
        server = self._server
        values = self._rounds.acknowledged | {server.id: self._rounds.round}
        for origin, context, index in self._rounds.release(quorum.reached(server.configuration, values)):
            if origin == server.id:
                server.reads.append(ReadState(context, index))
            else:
                server.outbox.send(ReadReply(origin, server.id, server.term, context, index))

    def _hand_over(self) -> None:
        """Tell the transferee to campaign once its log is this one's equal."""
        progress = self.replication.followers.get(self.transferee)
        if progress is not None and progress.match == self._server.log.last_index:
            server = self._server
            server.outbox.send(TimeoutNow(self.transferee, server.id, server.term))

    def _refuse_while_transferring(self) -> None:
        if self.transferee:
            raise TransferringError(f"leadership is being handed to {self.transferee}")

    def _refuse_a_laggard(self, node: str) -> None:
        progress = self.replication.followers.get(node)
        commit = self._server.log.commit
        lag = self._server.config.promotion_lag
        if progress is None or progress.state is not ProgressState.REPLICATE or progress.match + lag < commit:
            raise ConfigurationRefusedError(
                f"{node} has not caught up: it must be within {lag} entries of {commit}, it is at "
                f"{progress.match if progress is not None else 0}"
            )
