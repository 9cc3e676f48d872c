"""Snapshots for nodes that lag: the mirror on disk is read beside everything else, piece by piece, as consensus asks.

Not for: installing one (`writing`), or what is in it (`cluster.storage`).
"""

from collections.abc import Callable

from cluster.raft import CloseSnapshot, OpenSnapshot, Raft, ReadSnapshot, SnapshotRefusedError, SnapshotRequest
from cluster.storage import CorruptionError, SnapshotReader
from node.driver.surroundings import Disk, Offload


class SnapshotService:
    """The snapshots that this node sends."""

    def __init__(
        self,
        raft: Raft,
        disk: Disk,
        offload: Offload,
        pump: Callable[[], None],
        damaged: Callable[[Exception], None],
    ) -> None:
        """`pump` carries out what follows from an answer to consensus; `damaged` ends a node with a damaged mirror."""
        self._raft = raft
        self._disk = disk
        self._offload = offload
        self._pump = pump
        self._damaged = damaged
        self._readers: dict[int, SnapshotReader | None] = {}
        """By stream; None while it is being opened."""

    def serve(self, request: SnapshotRequest) -> None:
        """Do what consensus asks for."""
        stream = request.stream
        if isinstance(request, OpenSnapshot):
            self._readers[stream] = None
            self._offload(
                lambda: SnapshotReader(self._disk.view()),
                lambda reader: self._opened(stream, reader),
                lambda error: self._unread(stream, error),
            )
        elif isinstance(request, ReadSnapshot):
            reader = self._readers.get(stream)
            if reader is not None:
                size = request.size
                self._offload(
                    lambda: reader.read(size),
                    lambda read: self._read(stream, *read),
                    lambda error: self._unread(stream, error),
                )
        elif isinstance(request, CloseSnapshot):
            self._close(self._readers.pop(stream, None))

    def _opened(self, stream: int, reader: SnapshotReader) -> None:
        if stream not in self._readers:
            self._close(reader)
            return
        self._readers[stream] = reader
        try:
            self._raft.snapshot_opened(stream, reader.index)
        except SnapshotRefusedError:
            self._failed(stream)
            return
        self._pump()

    def _read(self, stream: int, data: bytes, done: bool) -> None:  # noqa: FBT001 - as the reader gives it
        if stream in self._readers:
            self._raft.snapshot_data(stream, data, done=done)
            self._pump()

    def _unread(self, stream: int, error: Exception) -> None:
        """Give up a stream that could not be read. A damaged mirror ends the node: no follower can get it from here."""
        if isinstance(error, CorruptionError):
            self._damaged(error)
        else:
            self._failed(stream)

    def _failed(self, stream: int) -> None:
        """Give it up; consensus asks again when there is need."""
        if stream in self._readers:
            self._close(self._readers.pop(stream))
            self._raft.snapshot_failed(stream)
            self._pump()

    def _close(self, reader: SnapshotReader | None) -> None:
        if reader is not None:
            self._offload(reader.close, lambda _: None, lambda _: None)
