"""Put together what there is to do: the bundle, and in it the one write for the disk.

Not for: deciding anything; everything here has been decided, and lies ready in the server's log, outbox and lists.
"""

from cluster.raft.configuration import Configuration, SnapshotMeta
from cluster.raft.following import Following
from cluster.raft.ready import Ready, Role, SnapshotPiece, Standing, Write
from cluster.raft.server import Server


class Bundler:
    """Makes one node's bundles, and remembers what the driver was told."""

    __slots__ = ("_following", "_server", "_told_configuration", "_told_standing", "compacted")

    def __init__(self, server: Server, following: Following) -> None:
        self._server = server
        self._following = following
        self.compacted: SnapshotMeta | None = None
        """Where the log in memory begins now, if the disk does not know yet."""
        self._told_standing: tuple[int, Role, str] | None = None
        self._told_configuration: Configuration | None = None

    def take(self) -> Ready | None:
        """Take everything; None when there is nothing."""
        server = self._server
        write = self._take_write()
        messages = server.outbox.take()
        # While a snapshot is being installed this is nothing: what follows it is durable only after it.
        committed = server.log.take_committed(server.config.max_apply_bytes)
        reads = tuple(server.reads)
        server.reads.clear()
        snapshots = tuple(server.snapshots)
        server.snapshots.clear()
        notices = tuple(server.notices)
        server.notices.clear()
        standing = (server.term, server.role, server.leader)
        new_standing = None
        if standing != self._told_standing:
            self._told_standing = standing
            new_standing = Standing(*standing)
        configuration = None
        if server.configuration is not self._told_configuration:
            configuration = self._told_configuration = server.configuration
        if messages or committed or write or reads or snapshots or new_standing or configuration or notices:
            return Ready(messages, write, committed, reads, snapshots, new_standing, configuration, notices)
        return None

    def _take_write(self) -> Write | None:
        server, following = self._server, self._following
        log, outbox = server.log, server.outbox
        due = outbox.hard_state_due
        if not (due or log.written < log.last_index or following.pieces or self.compacted):
            return None
        sequence = outbox.sequence = outbox.next_write
        compact, self.compacted = self.compacted, None
        snapshot = None
        pieces: tuple[SnapshotPiece, ...] = ()
        if following.pieces:
            pieces = tuple(following.pieces)
            following.pieces.clear()
        if following.snapshot:
            following.snapshot = False
            snapshot = SnapshotMeta(log.base_index, log.base_term, server.history.at(log.base_index))
            compact = None  # it was for the log that the snapshot replaces
        entries = log.take_unwritten(sequence)
        return Write(sequence, server.hard_state if due else None, pieces, snapshot, entries, compact)
