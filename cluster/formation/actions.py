"""What formation asks its driver to do: plain data, taken in order with `take`.

Not for: doing it.
"""

import msgspec

from cluster.formation.messages import Message
from cluster.raft import ConfigurationChange


class Send(msgspec.Struct, frozen=True):
    """Send a message to a node, if it is linked; losing it is fine."""

    to: str
    message: Message


class Persist(msgspec.Struct, frozen=True):
    """Note this record durably in the place of the last one, then call `persisted`. Never two at a time."""

    record: bytes


class Found(msgspec.Struct, frozen=True):
    """Go on as a founder of `group`: its record is durable, and `members` are the first configuration. Forming ends."""

    group: str
    members: tuple[str, ...]


class Join(msgspec.Struct, frozen=True):
    """Go on as a joiner of `group`: its record is durable. Forming ends."""

    group: str


class Refuse(msgspec.Struct, frozen=True):
    """Close the link to a node and tell it why."""

    node: str
    reason: str


class Report(msgspec.Struct, frozen=True):
    """Say what this node waits for, as /readyz and the log have it; empty when it waits for nothing any more."""

    reason: str


class Removed(msgspec.Struct, frozen=True):
    """Stop serving: this node is not in the group any more. `reason` says so, and what to do."""

    reason: str


class ProposeConfiguration(msgspec.Struct, frozen=True):
    """Have consensus propose this change, and call `proposed` with what it says to that. Never two at a time."""

    change: ConfigurationChange


class TransferLeadership(msgspec.Struct, frozen=True):
    """Have consensus hand over; if it refuses, call `transfer_refused`."""

    to: str


class Dial(msgspec.Struct, frozen=True):
    """Have the mesh look for a node at this address."""

    host: str
    port: int


class Answered(msgspec.Struct, frozen=True):
    """Tell the operator what became of an order; `error` is empty when it is done."""

    ticket: int
    error: str


Action = (
    Send
    | Persist
    | Found
    | Join
    | Refuse
    | Report
    | Removed
    | ProposeConfiguration
    | TransferLeadership
    | Dial
    | Answered
)
