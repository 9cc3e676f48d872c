"""The messages that nodes of a group exchange: plain data, no behaviour.

Every message names its receiver and its sender and carries the sender's term. The exceptions to "the sender's term"
are `PreVoteRequest` and a granted `PreVoteReply`, which carry the term the candidate would campaign in. Not for:
bytes (`wire`), or deciding what to answer (`core`).

Delivery may lose, repeat, delay and reorder messages at will; nothing here relies on order.
"""

import enum

import msgspec

from cluster.log import Entry
from cluster.raft.configuration import SnapshotMeta


class PreVoteRequest(msgspec.Struct, frozen=True, array_like=True, tag=1, gc=False):
    """Ask whether the receiver would vote for the sender, without changing anything (dissertation, section 9.6)."""

    to: str
    sender: str
    term: int
    """The term the sender would campaign in: its own plus one."""
    last_index: int
    last_term: int


class PreVoteReply(msgspec.Struct, frozen=True, array_like=True, tag=2, gc=False):
    """Answer a `PreVoteRequest`."""

    to: str
    sender: str
    term: int
    """The requested term when granted, the answerer's own term when not."""
    granted: bool


class VoteRequest(msgspec.Struct, frozen=True, array_like=True, tag=3, gc=False):
    """Ask for a vote (Raft paper, Figure 2, RequestVote RPC)."""

    to: str
    sender: str
    term: int
    last_index: int
    last_term: int
    transfer: bool = False
    """The leader itself asked for this election: do not refuse for its sake (dissertation, section 4.2.3)."""


class VoteReply(msgspec.Struct, frozen=True, array_like=True, tag=4, gc=False):
    """Answer a `VoteRequest`."""

    to: str
    sender: str
    term: int
    granted: bool


class Append(msgspec.Struct, frozen=True, array_like=True, tag=5, gc=False):
    """Replicate entries, or only probe and tell the commit index (Raft paper, Figure 2, AppendEntries RPC)."""

    to: str
    sender: str
    term: int
    prev_index: int
    """The position just before `entries`."""
    prev_term: int
    entries: tuple[Entry, ...]
    commit: int
    """The leader's commit index; the receiver must not commit past the last entry this message vouches for."""


class AppendAck(msgspec.Struct, frozen=True, array_like=True, tag=6, gc=False):
    """Say that the receiver's log equals the leader's up to `match` and that all of it is durable."""

    to: str
    sender: str
    term: int
    match: int


class AppendReject(msgspec.Struct, frozen=True, array_like=True, tag=7, gc=False):
    """Say that the log does not hold (`prev_index`, prev_term), and where to try next (paper, end of section 5.3)."""

    to: str
    sender: str
    term: int
    prev_index: int
    """The `prev_index` of the append that is refused."""
    hint_index: int
    """The logs may match at or before this index, not after it."""
    hint_term: int
    """The term the refuser has at `hint_index`."""


class Heartbeat(msgspec.Struct, frozen=True, array_like=True, tag=8, gc=False):
    """Keep the leader's authority, and ask for a confirmation of it for read barriers."""

    to: str
    sender: str
    term: int
    commit: int
    """Never more than what the receiver has acknowledged."""
    round: int
    """The number of the leader's latest round of read barriers."""
    needed: int = -1
    """Members that are heard from still need the entries after this index; -1: the leader does not say."""
    committed: int = -1
    """What the leader has committed, whether the receiver has it or not; -1: the leader does not say.

    For the receiver to know how far it is behind. Nothing is ever committed by it.
    """


class HeartbeatAck(msgspec.Struct, frozen=True, array_like=True, tag=9, gc=False):
    """Confirm that the sender still follows this leader in this term."""

    to: str
    sender: str
    term: int
    round: int
    last: int = -1
    """Where the sender's log ends, durable or not; -1: it does not say."""


class TimeoutNow(msgspec.Struct, frozen=True, array_like=True, tag=10, gc=False):
    """Tell a caught-up voter to campaign at once (dissertation, section 3.10)."""

    to: str
    sender: str
    term: int


class ReadRequest(msgspec.Struct, frozen=True, array_like=True, tag=11, gc=False):
    """Ask the leader for a read index (dissertation, section 6.4)."""

    to: str
    sender: str
    term: int
    context: int
    """The asker's own number for the read."""


class ReadReply(msgspec.Struct, frozen=True, array_like=True, tag=12, gc=False):
    """Give a read index that a quorum has confirmed."""

    to: str
    sender: str
    term: int
    context: int
    index: int


class SnapshotChunk(msgspec.Struct, frozen=True, array_like=True, tag=13, gc=False):
    """Carry one piece of a snapshot (Raft paper, Figure 13, InstallSnapshot RPC)."""

    to: str
    sender: str
    term: int
    stream: int
    """The leader's number for this transfer, unique within its term."""
    meta: SnapshotMeta
    offset: int
    """Where `data` begins, in bytes from the beginning of the snapshot."""
    data: bytes
    checksum: int
    """CRC-32 of every byte of the stream up to the end of `data`."""
    done: bool
    """This is the last piece."""


class SnapshotState(enum.IntEnum):
    """What the receiver of a snapshot says about it."""

    RECEIVING = 1
    """The next piece must begin at the offset given."""
    INSTALLED = 2
    """It is complete and durable: the receiver's log now begins after it."""
    LOST = 3
    """The receiver has nothing of the stream: it restarted, found it damaged, or did not get the beginning yet."""


class SnapshotAck(msgspec.Struct, frozen=True, array_like=True, tag=14, gc=False):
    """Say how far a snapshot has come."""

    to: str
    sender: str
    term: int
    stream: int
    offset: int
    """The bytes before this offset are with the receiver."""
    state: SnapshotState


class Commit(msgspec.Struct, frozen=True, array_like=True, tag=15, gc=False):
    """Tell what is committed, as an append without entries would, but without asking for an answer.

    Lost, it is said again by the next append or heartbeat.
    """

    to: str
    sender: str
    term: int
    prev_index: int
    """The position up to which the receiver's log is known, or expected, to be the leader's."""
    prev_term: int
    commit: int


Message = (
    PreVoteRequest
    | PreVoteReply
    | VoteRequest
    | VoteReply
    | Append
    | AppendAck
    | AppendReject
    | Heartbeat
    | HeartbeatAck
    | TimeoutNow
    | ReadRequest
    | ReadReply
    | SnapshotChunk
    | SnapshotAck
    | Commit
)
