"""A leader's followers: who is where, what is sent to whom next, and what a quorum has.

Appends are not built when something is proposed but when a bundle is taken (`flush`): the proposals of one moment
travel in one message. Not for: what a commit brings about (`leadership`), and how a snapshot is sent (`streaming`).
"""

from collections.abc import Callable
from typing import Final

from cluster.log import Entry
from cluster.raft import quorum
from cluster.raft.messages import Append, AppendAck, AppendReject, Commit
from cluster.raft.progress import Inflights, Progress, ProgressState
from cluster.raft.server import Server

PROBE_BYTES: Final = 16 * 1024
"""Bytes of entries that a probe carries at the most: it is sent again with each sign of life until it is answered."""


class Replication:
    """The followers of one leader in one term."""

    __slots__ = ("_server", "_start_snapshot", "due", "followers")

    def __init__(
        self, server: Server, followers: dict[str, Progress], start_snapshot: Callable[[str, Progress], None]
    ) -> None:
        """Fill `followers`, which is empty. `start_snapshot` is called for a follower that needs one."""
        self._server = server
        self._start_snapshot = start_snapshot
        self.followers = followers
        """Every member but this node; also one that is being removed, until the removal is committed."""
        self.due = True
        """Something happened since the last `flush` that may let an append through."""

    def admit(self) -> None:
        """Begin to replicate to the members that are new."""
        server = self._server
        for node in server.configuration.members:
            if node != server.id and node not in self.followers:
                inflights = Inflights(server.config.max_inflight, server.config.max_inflight_bytes)
                self.followers[node] = Progress(server.log.last_index + 1, inflights)
        self.due = True

    def dismiss(self) -> list[str]:
        """Stop replicating to those that are no members any more, with a last word to each; return them."""
        gone = [node for node in self.followers if node not in self._server.configuration.members]
        for node in gone:
            self._send_to(node, self.followers.pop(node))
        return gone

    def acknowledged(self, message: AppendAck) -> bool:
        """Take an acknowledgement; tell whether the follower is further than was known."""
        progress = self.followers.get(message.sender)
        if progress is None or not 0 <= message.match <= self._server.log.last_index:
            return False
        progress.note_heard()
        progress.arrived = max(progress.arrived, message.match)
        self.due = True
        if progress.state is ProgressState.SNAPSHOT:
            needed = min(progress.snapshot_index or self._server.log.base_index, self._server.log.base_index)
            if message.match < needed or message.match <= progress.match:
                return False
            progress.become_probe()  # it has got, some other way, what the snapshot was to bring
        return progress.acknowledged(message.match)

    def rejected(self, message: AppendReject) -> None:
        """Look for the place where the logs meet further back: one term, not one entry, at a time."""
        progress = self.followers.get(message.sender)
        if progress is None or message.hint_index < 0 or message.hint_term < 0:
            return
        progress.note_heard()
        hint = min(message.hint_index, message.prev_index)
        if hint > self._server.log.base_index:
            hint = self._server.log.last_at_or_below_term(hint, message.hint_term)
        if progress.rejected(message.prev_index, hint):
            self.due = True

    def heard(self, node: str, arrived: int) -> None:
        """Take a sign of life that acknowledges nothing; `arrived`: where the follower's log ends, if it says so."""
        progress = self.followers.get(node)
        if progress is None:
            return
        progress.heard()
        progress.arrived = max(progress.arrived, arrived)
        if progress.match < self._server.log.last_index or progress.state is ProgressState.PROBE:
            progress.poke = True
            self.due = True

    def committed_index(self) -> int:
        """Return the highest index that is on a quorum's disks, this node's own counted as far as it is durable."""
        values = {node: progress.match for node, progress in self.followers.items()}
        values[self._server.id] = self._server.log.stable
        return quorum.reached(self._server.configuration, values)

    def quorum_active(self) -> bool:
        """Tell whether a quorum was heard from since the last call."""
        active = {node for node, progress in self.followers.items() if progress.active}
        active.add(self._server.id)
        for progress in self.followers.values():
            progress.active = False
        return quorum.is_quorum(self._server.configuration, active)

    @property
    def unheard(self) -> int:
        """For how many ticks no quorum has been heard, this node counted as heard; 0: one was, in the last tick."""
        heard = {node: -progress.silent for node, progress in self.followers.items()}
        heard[self._server.id] = 0
        values = {node: heard.get(node, -1 << 31) + (1 << 31) for node in self._server.configuration.members}
        return (1 << 31) - quorum.reached(self._server.configuration, values)

    def tick(self) -> None:
        """Let a tick pass."""
        last = self._server.log.last_index
        for progress in self.followers.values():
            progress.silent += 1
            progress.idle = progress.idle + 1 if progress.match < last else 0

    def flush(self) -> None:
        """Send every follower what flow control allows."""
        if not self.due:
            return
        self.due = False
        for node, progress in self.followers.items():
            self._send_to(node, progress)

    def _send_to(self, node: str, progress: Progress) -> None:
        log = self._server.log
        while (
            (progress.may_send and progress.next <= log.last_index)
            or (progress.poke and progress.state is not ProgressState.SNAPSHOT)
            or (progress.commit_sent < log.commit and self._may_tell_commit(progress))
        ):
            if not self._append(node, progress):
                return

    @staticmethod
    def _may_tell_commit(progress: Progress) -> bool:
        """Tell whether an append without entries may go: it needs no place in the window, but probes go one by one."""
        return progress.state is ProgressState.REPLICATE or progress.may_send

    def _append(self, node: str, progress: Progress) -> bool:
        """Send one append; tell whether it went out."""
        server = self._server
        log = server.log
        prev_index = progress.next - 1
        prev_term = log.term(prev_index)
        if prev_term is None:
            # Only an answer leads here, so the node is up: a silent one stays at its first probe.
            self._start_snapshot(node, progress)
            return False
        wanted = progress.next <= log.last_index and progress.may_send
        entries: tuple[Entry, ...] = ()
        if wanted:
            probes = progress.state is not ProgressState.REPLICATE
            most = min(PROBE_BYTES, server.config.max_append_bytes) if probes else server.config.max_append_bytes
            entries = log.entries(progress.next, log.last_index + 1, most)
            if probes and entries and len(entries[0].data) > PROBE_BYTES:
                entries, wanted = (), False
        if wanted and not entries:
            self.due = True  # the store is fetching them: ask again with the next bundle
            if not progress.poke and progress.commit_sent >= log.commit:
                return False
        if entries or progress.poke or progress.state is not ProgressState.REPLICATE:
            server.outbox.send(Append(node, server.id, server.term, prev_index, prev_term, entries, log.commit))
        else:
            server.outbox.send(Commit(node, server.id, server.term, prev_index, prev_term, log.commit))
        progress.sent(prev_index + len(entries), sum([len(entry.data) for entry in entries]), log.commit)
        return True
