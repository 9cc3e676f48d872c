"""The conversation of `cluster.mesh.handshake` over a connection, up to the arbiter's word.

Not for: deadlines, which whoever made the connection holds.
"""

from collections.abc import Callable
from typing import Protocol

import msgspec

from cluster.mesh.connection import Connection
from cluster.mesh.errors import DuplicateError, OwnAddressError, ProtocolError, RefusedError
from cluster.mesh.handshake import (
    Handshake,
    Hello,
    Refused,
    Role,
    Standing,
    Taken,
    decode,
    encode,
    refusal,
)
from cluster.mesh.peer import Introduction
from cluster.mesh.seal import Seal


class Party(Protocol):
    """What a conversation asks of the node."""

    def handshake(self, role: Role, local_host: str) -> Handshake:
        """Begin one, with a nonce that was never used, on a connection that has this address at this end."""

    def arbiter(self, node: str) -> bool:
        """Tell whether this node decides."""

    def standing(self, other: Introduction) -> Standing:
        """Tell what this node knows of its links with another."""

    def objection(self, other: Introduction) -> str | None:
        """Tell why there must be no link with this node at present, if there is a reason."""

    def proven(self, other: Introduction) -> None:
        """Take note that a node has proven that it knows the secret."""

    def decide(self, other: Introduction, standing: Standing) -> Taken | Refused:
        """Decide as the arbiter."""


class Meeting(msgspec.Struct, frozen=True):
    """What came of a conversation: this connection is the link."""

    hello: Hello
    number: int
    seals: tuple[Seal, Seal]
    """Of what goes out, and of what comes in."""


async def encounter(
    connection: Connection,
    role: Role,
    party: Party,
    introduced: Callable[[Hello], None],
    proven: Callable[[Hello], None],
) -> Meeting:
    """Find out about the other end; the caller takes up the link before it gives way to anything else.

    `introduced` is called with what the other says of itself, `proven` when it has proven itself. Raises RefusedError,
    RefusedByPeerError, DuplicateError, OwnAddressError, ProtocolError, ClosedError; what there is to say to the other
    has been said.
    """
    handshake = party.handshake(role, connection.local_host)
    if role is Role.DIALLER:
        connection.write(b"", handshake.hello)
        hello = handshake.meet(await connection.receive())
    else:
        try:
            hello = handshake.meet(await connection.receive())
        except (RefusedError, OwnAddressError):
            # It finds the reason in this node's Hello as this one did in its.
            connection.write(b"", handshake.hello)
            raise
        connection.write(b"", handshake.hello)
    other = hello.introduction
    introduced(hello)

    decides = party.arbiter(other.node)
    own_proof = handshake.prove(Standing() if decides else party.standing(other))
    try:
        if role is Role.DIALLER:
            _object(party, other)
            connection.write(b"", own_proof)
            standing = handshake.check(await connection.receive())
        else:
            standing = handshake.check(await connection.receive())
            proven(hello)
            _object(party, other)
            connection.write(b"", own_proof)
    except RefusedError as error:
        connection.write(b"", encode(Refused(str(error))))
        raise

    outgoing, incoming = handshake.outgoing(), handshake.incoming()
    if role is Role.DIALLER:
        proven(hello)
    party.proven(other)
    if decides:
        verdict = party.decide(other, standing)
        data = encode(verdict)
        connection.write(outgoing.tag(data), data)
        if isinstance(verdict, Refused):
            raise DuplicateError(verdict.reason) if verdict.duplicate else RefusedError(verdict.reason)
        return Meeting(hello, verdict.link, (outgoing, incoming))

    frame = await connection.receive()
    try:
        incoming.check(frame)
    except ProtocolError:
        _refused_in_the_open(frame)
        raise
    answer = decode(frame[incoming.size :])
    if isinstance(answer, Refused):
        raise DuplicateError(answer.reason) if answer.duplicate else refusal(answer)
    if not isinstance(answer, Taken):
        raise ProtocolError("it does not say whether there is a link")
    return Meeting(hello, answer.link, (outgoing, incoming))


def _object(party: Party, other: Introduction) -> None:
    if (reason := party.objection(other)) is not None:
        raise RefusedError(reason)


def _refused_in_the_open(frame: bytes) -> None:
    """Raise RefusedByPeerError where a refusal was sent before there was a key to seal it with."""
    try:
        message = decode(frame)
    except ProtocolError:
        return
    if isinstance(message, Refused):
        raise refusal(message)
