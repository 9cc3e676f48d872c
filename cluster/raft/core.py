"""The consensus core: one node's part in Raft, as a state machine without I/O."""

from cluster.raft.config import DurableState, RaftConfig
from cluster.raft.configuration import Configuration, SnapshotMeta
from cluster.raft.membership import ConfigurationChange
from cluster.raft.messages import Message
from cluster.raft.ready import Position, Ready, Role


class Raft:
    """One node of a group. INTERFACE ONLY so far."""

    def __init__(self, config: RaftConfig, durable: DurableState) -> None:
        """Start from what the disk holds, as a follower."""

    # What happens to the node. Each may give rise to a bundle: call `ready` afterwards.

    def step(self, message: Message) -> None:
        """Take a message from a peer."""

    def tick(self) -> None:
        """Let one tick pass."""

    def campaign(self) -> None:
        """Stand for election now (with pre-vote). Raise `CampaignRefusedError` when this node may not."""

    def propose(self, data: bytes) -> Position:
        """Append commands to the log; leader only."""

    def propose_configuration(self, change: ConfigurationChange) -> Position:
        """Begin a change of the membership; leader only."""

    def read_index(self, context: int) -> None:
        """Ask for a linearizable read; the answer comes as a `ReadState` with the same `context`."""

    def transfer(self, to: str) -> None:
        """Hand leadership to another voter; leader only."""

    # The bundle and its acknowledgements.

    def ready(self) -> Ready | None:
        """Take what there is to do now, or None when there is nothing."""

    def persisted(self, sequence: int) -> None:
        """Acknowledge that the writes up to and including `sequence` are durable."""

    def applied(self, index: int) -> None:
        """Acknowledge that committed entries up to and including `index` are applied."""

    # Snapshots and the log's beginning.

    def snapshot_meta(self, index: int) -> SnapshotMeta:
        """Describe a snapshot of the state machine at `index` (base <= index <= applied)."""

    def compact(self, index: int) -> None:
        """Let the log begin after `index` (<= applied, and a durable state machine stands at or after it)."""

    def snapshot_opened(self, stream: int, index: int) -> None:
        """Answer `OpenSnapshot`: a snapshot of the state machine at `index` is open for reading."""

    def snapshot_data(self, stream: int, data: bytes, *, done: bool) -> None:
        """Answer `ReadSnapshot`."""

    def snapshot_failed(self, stream: int) -> None:
        """Answer either: it cannot be done now; the core asks again later."""

    # What can be seen from outside.

    id: str
    role: Role
    leader: str
    term: int
    vote: str
    commit: int
    """The highest index known to be committed."""
    applied_index: int
    first_index: int
    last_index: int
    stable_index: int
    """Entries up to here are durable on this node."""
    configuration: Configuration
    """The configuration in force."""

    def entry_term(self, index: int) -> int | None:
        """Return the term of the entry at `index`; None outside [base, last]."""
