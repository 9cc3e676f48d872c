"""What the core asks of its driver: the bundle that `Raft.ready` returns, and the parts of it.

The driver, for each bundle: sends `messages` at once, hands `write` to the disk (without waiting), applies `committed`,
answers `reads`, serves `snapshots`. Nothing in `messages` waits for `write`: a message that promises something
durable is kept inside the core until `Raft.persisted` has acknowledged the write it depends on, and comes with a
later bundle.
"""

import enum

import msgspec

from cluster.log import Entry, HardState
from cluster.raft.configuration import Configuration, SnapshotMeta
from cluster.raft.messages import Message


class Role(enum.Enum):
    """What a node is at the moment."""

    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre-candidate"
    CANDIDATE = "candidate"
    LEADER = "leader"


class Position(msgspec.Struct, frozen=True, gc=False):
    """Where a proposal went. It is committed when the entry applied at `index` has this `term`; another term: lost."""

    index: int
    term: int


class SnapshotPiece(msgspec.Struct, frozen=True, gc=False):
    """A part of an incoming snapshot, to be put aside (spooled) until the snapshot is complete."""

    offset: int
    """Where the data goes, in bytes. At 0, drop whatever was put aside before."""
    data: bytes


class Write(msgspec.Struct, frozen=True, gc=False):
    """One unit of work for the disk.

    Writes must become durable in the order of `sequence`, each whole or not at all. Several may be joined into one
    transaction; then acknowledging the last acknowledges all. Inside one write the order is that of the fields.
    """

    sequence: int
    """Acknowledge with `Raft.persisted(sequence)`."""
    hard_state: HardState | None = None
    """Replace the hard state by this."""
    pieces: tuple[SnapshotPiece, ...] = ()
    """Put these aside."""
    snapshot: SnapshotMeta | None = None
    """Install the snapshot that was put aside: it replaces the state machine, and the *whole* log: every entry goes, on
    both sides of `snapshot.index`, and the log's base becomes this. After `persisted`, entries are applied on top of
    it."""
    entries: tuple[Entry, ...] = ()
    """Append these; entries already there at or after `entries[0].index` go first."""
    compact: SnapshotMeta | None = None
    """Delete the entries up to and including `compact.index`; the log's base becomes this."""


class ReadState(msgspec.Struct, frozen=True, gc=False):
    """The answer to `Raft.read_index`."""

    context: int
    index: int | None
    """Serve the read once this index is applied. None: the leader changed or was lost; ask again."""


class OpenSnapshot(msgspec.Struct, frozen=True, gc=False):
    """A follower needs a snapshot: open one and answer `Raft.snapshot_opened(stream, index)` or `snapshot_failed`."""

    stream: int
    to: str


class ReadSnapshot(msgspec.Struct, frozen=True, gc=False):
    """Read the next bytes, up to `size`, and answer `Raft.snapshot_data(stream, data, done=...)` or `snapshot_failed`.

    Reads are strictly sequential, one at a time for each stream. Data may be shorter than `size`, empty only with
    `done`.
    """

    stream: int
    size: int


class CloseSnapshot(msgspec.Struct, frozen=True, gc=False):
    """Close the stream: it is over, or nobody wants it any more."""

    stream: int


SnapshotRequest = OpenSnapshot | ReadSnapshot | CloseSnapshot


class Standing(msgspec.Struct, frozen=True, gc=False):
    """Who leads, as far as this node knows. Never to be stored."""

    term: int
    role: Role
    leader: str
    """The leader's id, or "" when none is known."""


class Obstacle(enum.Enum):
    """What keeps a leader's entries from getting on."""

    DISK = "disk"
    """Its own disk has not finished a write for too long, and another node's has."""
    SENDING = "sending"
    """They do not arrive where they are needed, though these nodes are heard."""
    FOLLOWERS = "followers"
    """They arrive, and too few disks take them."""


class Stalled(msgspec.Struct, frozen=True, gc=False):
    """This leader's entries got nowhere: it hands over to `heir`, or steps down if that is empty."""

    obstacle: Obstacle
    ticks: int
    """For how long."""
    bytes: int
    """What was on its way."""
    heir: str


class SnapshotNeeded(msgspec.Struct, frozen=True, gc=False):
    """A snapshot is being sent to a member, because the log that it would need is not kept any more."""

    to: str
    index: int
    """Where the snapshot stands."""
    match: int
    """What the member is known to have."""
    first_index: int
    """The first entry that is kept."""
    lag: int
    """Entries from `match` to the end of the log."""


Notice = Stalled | SnapshotNeeded


class Ready(msgspec.Struct, frozen=True, gc=False):
    """Everything there is to do now. See the module for what to do with it."""

    messages: tuple[Message, ...] = ()
    """Send these, to `message.to`. In the order given where that is possible; losing any is fine."""
    write: Write | None = None
    """Make this durable, then `Raft.persisted(write.sequence)`."""
    committed: tuple[Entry, ...] = ()
    """Apply these in order, then `Raft.applied(index of the last)`. They are committed: durable on a majority, though
    perhaps not on this node yet; a copy of the state machine must be in order with the writes, so that it is never
    ahead of the log on disk. They include `BARRIER` and `CONFIGURATION` entries, so that the indexes have no gap."""
    reads: tuple[ReadState, ...] = ()
    snapshots: tuple[SnapshotRequest, ...] = ()
    standing: Standing | None = None
    """Set when it changed since the last bundle."""
    configuration: Configuration | None = None
    """The configuration in force, set when it changed since the last bundle: whom to keep links to."""
    notices: tuple[Notice, ...] = ()
    """What an operator is to know."""
