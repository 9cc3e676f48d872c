"""What a node does at the word of its leader: append, commit, install a snapshot (paper, Figures 2 and 13).

Every message here is of this node's term and from its leader: `core` has seen to that. Not for: timers and terms.
"""

from collections.abc import Sequence

from cluster.log import Entry
from cluster.raft.errors import RaftInvariantError
from cluster.raft.messages import (
    Append,
    AppendAck,
    AppendReject,
    Commit,
    Heartbeat,
    HeartbeatAck,
    SnapshotAck,
    SnapshotChunk,
    SnapshotState,
)
from cluster.raft.ready import SnapshotPiece
from cluster.raft.server import Server
from cluster.raft.streaming import Piece, SnapshotReceiver, Verdict


class Following:
    """The follower's side of replication."""

    __slots__ = ("_installing", "_receiver", "_server", "_source", "pieces", "snapshot")

    def __init__(self, server: Server) -> None:
        self._server = server
        self._receiver = SnapshotReceiver()
        self._source = (0, "")
        """The term and the leader whose stream the receiver is taking."""
        self._installing = 0
        """The write that installs the snapshot which the log in memory already begins with."""
        self.pieces: list[SnapshotPiece] = []
        """For the next write."""
        self.snapshot = False
        """The next write installs the snapshot that is now the log's base."""

    @property
    def installing(self) -> bool:
        """Tell whether a snapshot is in the log but not yet on disk and in the state machine."""
        return self._installing > self._server.outbox.persisted

    def append(self, message: Append) -> None:
        """Append what is new, or refuse (Figure 2, AppendEntries RPC)."""
        if not _well_formed(message):
            return
        server = self._server
        log = server.log
        prev_index = message.prev_index
        if log.term(prev_index) != message.prev_term and not self._behind_base(prev_index):
            if prev_index <= log.commit:
                raise RaftInvariantError(
                    f"the leader {message.sender} of term {message.term} has term {message.prev_term} at {prev_index}, "
                    f"where this node has committed term {log.term(prev_index)}"
                )
            self._reject(message)
            return
        entries: Sequence[Entry] = message.entries
        last_new = prev_index + len(entries)
        if entries:
            if prev_index != log.last_index:
                entries = self._not_yet_here(entries)
            if entries:
                if entries[0].index <= log.last_index:
                    server.truncate(entries[0].index)
                server.append(entries)
        # Not to message.commit alone: what this log has after last_new may contradict the leader's.
        log.commit_to(min(message.commit, last_new))
        # What is committed is in every later leader's log, even if this message did not get so far.
        self._acknowledge(max(last_new, log.commit))

    def commit(self, message: Commit) -> None:
        """Learn what is committed, as far as this log is known to be the leader's."""
        log = self._server.log
        if message.prev_index >= 0 and log.term(message.prev_index) == message.prev_term:
            log.commit_to(min(message.commit, message.prev_index))

    def heartbeat(self, message: Heartbeat) -> None:
        """Learn what is committed here and at the leader, and confirm the leader's authority."""
        server = self._server
        if message.commit > server.log.last_index:
            raise RaftInvariantError(
                f"this node has acknowledged entries up to {message.commit} or more, but its log ends at "
                f"{server.log.last_index}: it has lost data. Remove it from the group; let it join under a new id"
            )
        server.log.commit_to(message.commit)
        server.needed = message.needed if message.needed >= 0 else server.log.last_index
        server.leader_commit = message.committed
        ack = HeartbeatAck(message.sender, server.id, server.term, message.round, server.log.last_index)
        server.outbox.send(ack)

    def chunk(self, message: SnapshotChunk) -> None:
        """Take a piece of a snapshot; with the last one, put the snapshot in the place of the log."""
        meta = message.meta
        server = self._server
        if meta.index < 1 or not 1 <= meta.term <= message.term or not meta.configuration.sound or message.stream < 1:
            return
        if self._source != (message.term, message.sender):
            self._source = (message.term, message.sender)
            self._receiver.drop()
        receiver = self._receiver
        if self.installing:
            if receiver.number == message.stream:
                self._report(message, SnapshotState.RECEIVING)
            return
        if not (receiver.complete and receiver.number == message.stream) and self._has(meta.index, meta.term):
            server.log.commit_to(meta.index)
            self._acknowledge(server.log.commit)
            return
        piece = Piece(message.offset, message.data, message.checksum, message.done)
        match receiver.piece(message.stream, piece):
            case Verdict.STALE:
                return
            case Verdict.REPEATED:
                self._report(message, SnapshotState.INSTALLED if receiver.complete else SnapshotState.RECEIVING)
            case Verdict.LOST:
                self._report(message, SnapshotState.LOST)
            case Verdict.TAKEN:
                self.pieces.append(SnapshotPiece(message.offset, message.data))
                self._report(message, SnapshotState.RECEIVING, after=server.outbox.next_write)
            case Verdict.COMPLETE:
                self.pieces.append(SnapshotPiece(message.offset, message.data))
                self.snapshot = True
                self._installing = server.outbox.next_write
                server.restore(meta)
                self._report(message, SnapshotState.INSTALLED, after=self._installing)

    def _behind_base(self, index: int) -> bool:
        """Tell whether `index` is compacted away: then it is committed, and the entry there cannot be compared."""
        return index < self._server.log.base_index

    def _has(self, index: int, term: int) -> bool:
        """Tell whether this log holds all that a snapshot at (`index`, `term`) would bring."""
        log = self._server.log
        return index <= log.commit or log.term(index) == term

    def _not_yet_here(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """Return the entries from the first on that is not in the log; nothing is to be truncated but for them."""
        log = self._server.log
        for position, entry in enumerate(entries):
            if log.term(entry.index) != entry.term and not self._behind_base(entry.index):
                return entries[position:]
        return ()

    def _acknowledge(self, match: int) -> None:
        server = self._server
        ack = AppendAck(server.leader, server.id, server.term, match)
        server.outbox.send(ack, server.write_covering(match))

    def _reject(self, message: Append) -> None:
        server = self._server
        log = server.log
        # The logs differ at prev_index; they cannot meet at a term later than the leader has there. What is committed
        # is the same in both.
        index = log.last_at_or_below_term(min(message.prev_index, log.last_index), message.prev_term)
        index = max(index, log.commit)
        server.outbox.send(
            AppendReject(message.sender, server.id, server.term, message.prev_index, index, log.term(index) or 0)
        )

    def _report(self, message: SnapshotChunk, state: SnapshotState, after: int = 0) -> None:
        server = self._server
        ack = SnapshotAck(message.sender, server.id, server.term, message.stream, self._receiver.offset, state)
        server.outbox.send(ack, after)


def _well_formed(message: Append) -> bool:
    """Tell whether an append's entries follow `prev_index` one by one, with terms that rise to the leader's at most."""
    index, term = message.prev_index, message.prev_term
    if index < 0 or term < 0 or message.commit < 0:
        return False
    for entry in message.entries:
        index += 1
        if entry.index != index or entry.term < term:
            return False
        term = entry.term
    return term <= message.term
