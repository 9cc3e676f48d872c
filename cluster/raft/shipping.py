"""A leader's snapshots to its followers: between the streams, the driver that reads the data, and the messages.

Not for: the state of one stream (`streaming`).
"""

from typing import Final

from cluster.raft.configuration import SnapshotMeta
from cluster.raft.errors import SnapshotRefusedError
from cluster.raft.messages import SnapshotAck, SnapshotChunk, SnapshotState
from cluster.raft.progress import Progress, ProgressState
from cluster.raft.ready import CloseSnapshot, OpenSnapshot, ReadSnapshot, SnapshotNeeded
from cluster.raft.server import Server
from cluster.raft.streaming import Piece, SnapshotSender

PATIENCE: Final = 10
"""A transfer without progress for this many election timeouts is given up: it holds the driver's resources."""


class Shipping:
    """The transfers of one leader in one term, at most one to each follower."""

    __slots__ = ("_followers", "_offsets", "_server", "_streams")

    def __init__(self, server: Server, followers: dict[str, Progress]) -> None:
        self._server = server
        self._followers = followers
        self._streams: dict[int, SnapshotSender] = {}
        self._offsets: dict[int, int] = {}
        """Where the next data of each stream begins."""

    def needed_after(self, base: int) -> int | None:
        """Return the lowest index that a snapshot under way stands at: the log after it will be needed.

        One that is being opened may stand at `base`.
        """
        metas = (stream.meta for stream in self._streams.values())
        return min((base if meta is None else meta.index for meta in metas), default=None)

    def start(self, to: str, progress: Progress) -> None:
        """Begin to send a snapshot: ask the driver to open one."""
        self._server.streams += 1
        number = self._server.streams
        config = self._server.config
        resend_ticks = max(config.election_ticks // 2, config.heartbeat_ticks + 1)
        self._streams[number] = SnapshotSender(number, to, config.chunk_window, resend_ticks)
        self._offsets[number] = 0
        progress.become_snapshot(number)
        self._server.snapshots.append(OpenSnapshot(number, to))

    def opened(self, number: int, meta: SnapshotMeta) -> None:
        """Take the driver's answer to `OpenSnapshot`."""
        stream = self._streams.get(number)
        if stream is None or stream.meta is not None:
            return
        stream.opened(meta)
        progress = self._followers.get(stream.to)
        if progress is not None and progress.stream == number:
            progress.snapshot_index = meta.index
            log = self._server.log
            lag = log.last_index - progress.match
            needed = SnapshotNeeded(stream.to, meta.index, progress.match, log.base_index + 1, lag)
            self._server.notices.append(needed)
        self._read_on(stream)

    def data(self, number: int, data: bytes, *, done: bool) -> None:
        """Take the driver's answer to `ReadSnapshot`."""
        stream = self._streams.get(number)
        if stream is None or not stream.reading:
            return
        if not data and not done:
            raise SnapshotRefusedError("no data, and not the end: a snapshot's data may be empty only with done")
        piece = stream.data(data, offset=self._offsets[number], done=done)
        self._offsets[number] = piece.end
        self._send(stream, piece)
        self._read_on(stream)

    def failed(self, number: int) -> None:
        """Give a stream up: the driver cannot serve it. The follower is tried again at its next sign of life."""
        self._end(number)

    def acknowledged(self, message: SnapshotAck) -> bool:
        """Take a receiver's word; tell whether the snapshot is installed."""
        stream = self._streams.get(message.stream)
        if stream is None or stream.to != message.sender or stream.meta is None:
            return False
        progress = self._followers.get(stream.to)
        if progress is None or progress.stream != message.stream:
            return False
        progress.note_heard()
        if message.state is SnapshotState.INSTALLED:
            meta = stream.meta
            self._end(message.stream)
            return progress.acknowledged(meta.index)
        if message.state is SnapshotState.LOST:
            if stream.can_begin_again:
                return False
            self._end(message.stream)
            self.start(message.sender, progress)
            return False
        if stream.acknowledged(message.offset):
            progress.idle = 0
        else:
            for piece in stream.gap(message.offset):
                self._send(stream, piece)
        self._read_on(stream)
        return False

    def tick(self) -> None:
        """Let a tick pass: send again what may be lost, give up what does not get on."""
        patience = PATIENCE * self._server.config.election_ticks
        for number, stream in tuple(self._streams.items()):
            for piece in stream.tick():
                self._send(stream, piece)
            if stream.meta is not None and stream.idle >= patience:
                self._end(number)

    def sweep(self) -> None:
        """Close the streams that nobody waits for any more."""
        for number, stream in tuple(self._streams.items()):
            progress = self._followers.get(stream.to)
            if progress is None or progress.state is not ProgressState.SNAPSHOT or progress.stream != number:
                self._close(number)

    def close(self) -> None:
        """Close all: this node leads no more."""
        for number in tuple(self._streams):
            self._close(number)

    def _read_on(self, stream: SnapshotSender) -> None:
        if stream.wants_data:
            stream.reading = True
            self._server.snapshots.append(ReadSnapshot(stream.number, self._server.config.chunk_bytes))

    def _send(self, stream: SnapshotSender, piece: Piece) -> None:
        server = self._server
        if stream.meta is not None:
            server.outbox.send(
                SnapshotChunk(
                    stream.to,
                    server.id,
                    server.term,
                    stream.number,
                    stream.meta,
                    piece.offset,
                    piece.data,
                    piece.checksum,
                    piece.done,
                )
            )

    def _end(self, number: int) -> None:
        """Close a stream, and go back to probing its follower."""
        stream = self._streams.get(number)
        if stream is None:
            return
        progress = self._followers.get(stream.to)
        if progress is not None and progress.stream == number:
            progress.become_probe()
            progress.paused = True  # no new transfer before a new sign of life
        self._close(number)

    def _close(self, number: int) -> None:
        del self._streams[number], self._offsets[number]
        self._server.snapshots.append(CloseSnapshot(number))
