"""The vocabulary of change: every command that a node may bring before the job table, and how commands travel.

Commands are what the replicated log holds. A `Batch` is what one node had to say at one moment; a `Proposal` is the
batches of several nodes under one clock reading: the data of one log entry. A proposal may also hold *decisions*, which
only a leader makes. Not for: what the commands do. That is `cluster.jobs.table`.

Numbers: `session` names a connection within its node's incarnation, `job` is the job's number in the table. Times are
milliseconds since the Unix epoch by the leader's clock.
"""

import enum
from collections.abc import Sequence
from typing import Final

import msgspec

from cluster.jobs.errors import UnreadableProposalError

FORMAT: Final = 2
"""Version of the encoding, written into every proposal; a reader that does not know it must stop."""


class Resource(enum.IntEnum):
    """What a node can have too little of."""

    MEMORY = 1
    DISK = 2


class DownReason(enum.IntEnum):
    """Why a node is down."""

    ENDED = 1
    """Its process has ended."""
    SILENT = 2
    """It has not been heard for too long."""
    REMOVED = 3
    """It is no member any more."""
    STOPPED = 4
    """Its process has ended in good order, and said so."""


class NodeUp(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True, tag=1):
    """The first command of a new incarnation: it ends every session of the ones before."""

    handle_prefix: bytes
    """What the handles of jobs submitted through this node begin with; a colon and the job's number follow."""
    job_retries: int
    """How often a job may be tried again after its worker went away; below zero: for ever. The newest word holds."""
    max_packet: int = 0
    """Bytes of the largest packet that this node takes from its clients; 0: it does not say."""
    max_functions: int = 0
    """How many functions the cluster may know at a time; 0: any number. The newest word holds."""
    process: str = ""
    """Names the process that this incarnation lives in; no two processes have the same name. Empty: it has no name."""
    timeout: int = 0
    """Milliseconds of silence that this node's settings allow before it counts as down; 0: it does not say."""


class Alarm(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True, tag=21):
    """This node has less of a resource than it needs, or, with a `mark` of 0, enough of it again."""

    resource: int
    """A `Resource`."""
    found: int
    """Bytes of memory that it uses, or of disk space that is free."""
    mark: int
    """Bytes beyond which the alarm is raised; 0: it is cleared."""


class NodeDown(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True, tag=2):
    """A node is gone: ends its sessions, if it is still in the incarnation named."""

    node: str
    incarnation: int
    reason: int = 0
    """A `DownReason`, for people; 0: none is given."""


class SessionOpen(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True, tag=3):
    """A connection has begun to matter to the table: it works, or it waits for a job's result."""

    session: int
    peer: str
    """The peer's address, for `workers`."""


class SessionClose(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True, tag=4):
    """The connection is gone: its jobs go back to their queues, and nobody listens there any more."""

    session: int


class Identify(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True, tag=5):
    """SET_CLIENT_ID."""

    session: int
    client_id: bytes


class Can(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True, tag=6):
    """CAN_DO and CAN_DO_TIMEOUT."""

    session: int
    function: bytes
    time_limit: int
    """Milliseconds one run of a job may take; 0: no limit."""


class Cant(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True, tag=7):
    """CANT_DO."""

    session: int
    function: bytes


class CantAny(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True, tag=8):
    """RESET_ABILITIES."""

    session: int


class Submit(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True, tag=9):
    """Every SUBMIT_ packet."""

    session: int
    function: bytes
    unique: bytes
    """The unique key: empty for none, `-` for "the workload is the key"."""
    workload: bytes
    priority: int
    """An index: 0 high, 1 normal, 2 low."""
    background: bool
    due: int = 0
    """Not to be run before this time; 0: at once."""
    reducer: bytes = b""
    ticket: int = 0
    """What its node knows it by when it proposes it again; 0 the first time."""
    upload: int = 0
    """The upload that holds the beginning of the workload (`Part`); 0: all of it is here."""


class Part(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True, tag=30):
    """A part of a workload that is too large for one entry; its Submit follows, and brings the last part."""

    upload: int
    """Which upload of the node's incarnation it belongs to; 1 or more."""
    data: bytes


class Grab(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True, tag=10):
    """GRAB_JOB and its kin: reserve the best job now, and perhaps some more behind it."""

    session: int
    ahead: int
    """How many further jobs may be reserved for this session where the queue is deep enough."""


class Prefetch(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True, tag=20):
    """A fast worker is about to run out of reserved jobs: reserve some more, without an answer."""

    session: int
    ahead: int
    """How many, where the queue is deep enough."""


class Park(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True, tag=11):
    """PRE_SLEEP: reserve the next job for this session, now or when one comes."""

    session: int


class Take(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True, tag=12):
    """A reserved job was handed to its worker: it runs. From here on the loss of the worker uses up an attempt."""

    session: int
    job: int


class Unreserve(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True, tag=13):
    """The holder gives a job back that its worker never saw: no attempt is used up."""

    session: int
    job: int


class Finish(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True, tag=14):
    """WORK_COMPLETE, WORK_FAIL or WORK_EXCEPTION: the job is over. What it brought goes to its listeners directly."""

    session: int
    job: int
    attempts: int = 0
    """The job's failed attempts when this run began: the end of one run is not that of the next."""


class Progress(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True, tag=15):
    """WORK_STATUS, as often as the node thinks fit."""

    session: int
    job: int
    numerator: int
    denominator: int


class Cancel(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True, tag=16):
    """`cancel job`."""

    session: int
    handle: bytes


class SetLimit(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True, tag=17):
    """`maxqueue`: how many jobs the function may have before a submit of each priority is refused; 0: any number."""

    session: int
    function: bytes
    high: int
    normal: int
    low: int


class CreateFunction(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True, tag=18):
    """`create function`."""

    session: int
    function: bytes


class DropFunction(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True, tag=19):
    """`drop function`."""

    session: int
    function: bytes


Command = (
    NodeUp
    | SessionOpen
    | SessionClose
    | Identify
    | Can
    | Cant
    | CantAny
    | Submit
    | Part
    | Grab
    | Prefetch
    | Park
    | Take
    | Unreserve
    | Finish
    | Progress
    | Cancel
    | SetLimit
    | CreateFunction
    | DropFunction
    | Alarm
)


Decision = NodeDown
"""What a leader decides for the cluster. A command is numbered, and its node sends it again until it is applied. A
decision belongs to the one entry that its leader appended, in its term: it is committed with that entry, or never."""


class Batch(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True):
    """Commands of one node, numbered without a gap within the node's incarnation."""

    node: str
    incarnation: int
    first: int
    """The number of the first command; an incarnation's numbers begin at 1, with its NodeUp."""
    commands: list[Command]


class Proposal(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True):
    """The data of one log entry. With no batches it only says what time it is."""

    format: int
    time: int
    """The leader's clock."""
    batches: list[Batch]
    decisions: list[Decision] = []
    """Applied after the batches: what a node had still proposed counts."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Proposal)


def propose(time: int, batches: list[Batch], decisions: Sequence[Decision] = ()) -> Proposal:
    """Make the proposal that puts these batches and decisions before the table at this time."""
    return Proposal(FORMAT, time, batches, list(decisions))


def encode_proposal(proposal: Proposal) -> bytes:
    """Give the bytes for the log."""
    return _encoder.encode(proposal)


def decode_proposal(data: bytes) -> Proposal:
    """Read a log entry's data back.

    Raises `UnreadableProposalError` for a format or a command that this version does not know: applying the rest
    would make this node's table differ from the others'.
    """
    try:
        proposal = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableProposalError(f"a log entry holds what this version cannot read: {error}") from error
    if proposal.format != FORMAT:
        raise UnreadableProposalError(f"a log entry has format {proposal.format}, this version reads format {FORMAT}")
    return proposal
