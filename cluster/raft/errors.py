"""What can go wrong with consensus, sorted by who has to do something about it.

`RaftInvariantError` means the node must stop. Everything under `RefusedError` is an answer to the caller: nothing was
changed, try elsewhere or later. `MessageError` is about bytes a peer sent. Peers' nonsense that decodes never raises:
the core ignores or refuses it.
"""


class RaftError(Exception):
    """The root of every error this package raises on purpose."""


class RaftInvariantError(RaftError):
    """Something that Raft guarantees never to happen has happened: stop this node, change nothing more on its disk."""


class MessageError(RaftError):
    """A peer's bytes are no message that this version knows. The link it came over should be closed."""


class UnknownEntryError(RaftError):
    """The log holds a kind of entry, or a configuration, of a later version: this node must stop, not skip it."""


class RefusedError(RaftError):
    """The request was not taken; nothing changed."""


class NotLeaderError(RefusedError):
    """Only the leader can do this."""

    def __init__(self, leader: str) -> None:
        """Remember `leader`: the leader as far as this node knows, or "" when it knows none."""
        super().__init__(f"this node is not the leader; the leader is {leader or 'not known'}")
        self.leader = leader


class NoLeaderError(RefusedError):
    """No leader is known, so there is nobody to ask. Try again after an election."""


class TransferringError(RefusedError):
    """Leadership is on its way to another node; the request belongs there in a moment."""


class OverloadedError(RefusedError):
    """Too many bytes are proposed and not yet committed. Wait for commits."""


class ConfigurationRefusedError(RefusedError):
    """The change of membership is not allowed now, or makes no sense. The message says which and why."""


class CampaignRefusedError(RefusedError):
    """This node may not stand for election: it is no voter, or is still installing a snapshot."""


class SnapshotRefusedError(RefusedError):
    """The log has no position to describe a snapshot at: the index is compacted away, or not yet applied."""
