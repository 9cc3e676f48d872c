"""How two nodes find out whether they belong together, each proving to the other that it knows the secret.

    dialler  -> acceptor   Hello     who I am, which versions of the link I speak, a nonce
    acceptor -> dialler    Hello     the same
    dialler  -> acceptor   Proof     HMAC-SHA256 over both Hellos, the version and the role
    acceptor -> dialler    Proof

Then frames are sealed (`cluster.mesh.seal`) with keys made of the same, and the arbiter, which is the node with the
lower id, says Taken, or Refused (`cluster.mesh.pairing`). Each proof covers both nonces, so nothing of an earlier
connection is of use; it covers the role, so nothing can be sent back; it covers both ranges of versions, so nobody in
between can choose an old one. The secret is stretched (scrypt) once, so that a proof that was listened to is no cheap
test for guessed passphrases.

Sans-IO. Not for: deadlines and limits of those who have proven nothing, which `cluster.mesh.reception` holds.
"""

import enum
import hashlib
import hmac
import struct
from typing import Final

import msgspec

from cluster.mesh.errors import UNREADABLE, OwnAddressError, ProtocolError, RefusedByPeerError, RefusedError
from cluster.mesh.peer import Address, Introduction
from cluster.mesh.seal import Seal

MAX_HANDSHAKE_FRAME: Final = 4096
"""Bytes of the longest frame before both sides have proven themselves."""

NONCE_SIZE: Final = 32

_REASON_LENGTH: Final = 300
_LABEL: Final = b"gearmesh link"


class Versions(msgspec.Struct, frozen=True):
    """The versions of the link protocol that a node speaks."""

    oldest: int
    newest: int

    def __str__(self) -> str:
        return str(self.newest) if self.oldest == self.newest else f"{self.oldest} to {self.newest}"


VERSIONS: Final = Versions(1, 1)


class Role(enum.Enum):
    """Which end of the connection."""

    DIALLER = b"dialler"
    ACCEPTOR = b"acceptor"

    @property
    def other(self) -> "Role":
        """The other end."""
        return Role.ACCEPTOR if self is Role.DIALLER else Role.DIALLER


class Standing(msgspec.Struct, frozen=True):
    """What a node that is not the arbiter knows of links with the other, at the moment of its proof."""

    last: int = 0
    """The number of the last link it was told is taken; 0: none."""
    live: bool = False
    """Whether it still has it."""
    instance: str = ""
    """Of the other node: the process at the other end of that link."""


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """The first words of either side. Later versions may add fields; these stay."""

    versions: Versions
    introduction: Introduction
    nonce: bytes
    secured: bool
    address: Address | None = None
    """Where it can be dialled, as far as it knows itself."""
    advertised: bool = False
    """Whether its operator said so."""


class Proof(msgspec.Struct, frozen=True, tag="proof"):
    """That the sender knows the secret, in this very conversation."""

    mac: bytes
    standing: Standing


class Taken(msgspec.Struct, frozen=True, tag="taken"):
    """The arbiter's word that this connection is the link, and its number."""

    link: int


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """Why there will be no link. `duplicate`: because there is one, or is just being one."""

    reason: str
    duplicate: bool = False


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Hello | Proof | Taken | Refused)


def encode(message: Hello | Proof | Taken | Refused) -> bytes:
    """Turn a message of the handshake into bytes."""
    return _encoder.encode(message)


def decode(data: bytes) -> Hello | Proof | Taken | Refused:
    """Read a message of the handshake. Raises ProtocolError."""
    try:
        message: Hello | Proof | Taken | Refused = _decoder.decode(data)
    except UNREADABLE as error:
        raise ProtocolError(f"it does not speak as a node does: {error}") from None
    return message


def legible(text: str) -> str:
    """Make what a stranger wrote fit for a log line."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:_REASON_LENGTH])


def refusal(message: Refused) -> RefusedByPeerError:
    """Make an error of what the other node said."""
    return RefusedByPeerError(legible(message.reason))


def stretch(secret: bytes, cluster: str) -> bytes:
    """Make the key of the proofs. Takes some 40 ms and 16 MiB, once for a process."""
    salt = _LABEL + b" secret of " + cluster.encode()
    return hashlib.scrypt(secret, salt=salt, n=2**14, r=8, p=1, maxmem=64 * 1024 * 1024, dklen=32)


class Handshake:
    """One conversation, seen from one end: `hello`, `meet`; `prove` and `check`; then `outgoing` and `incoming`."""

    def __init__(
        self,
        role: Role,
        introduction: Introduction,
        key: bytes | None,
        nonce: bytes,
        *,
        address: Address | None = None,
        advertised: bool = False,
        versions: Versions = VERSIONS,
    ) -> None:
        """Begin; `key` is the stretched secret, `nonce` one that was never used before, `address` as in `Hello`."""
        self._role = role
        self._key = key
        self._own = Hello(
            versions=versions,
            introduction=introduction,
            nonce=nonce,
            secured=key is not None,
            address=address,
            advertised=advertised,
        )
        self.hello: Final = encode(self._own)
        """What to send first, or in answer to the other's."""
        self._transcript = b""

    def meet(self, data: bytes) -> Hello:
        """Read the other's Hello; nothing in it is proven yet.

        Raises RefusedError when the two do not belong together, OwnAddressError when the other is this node itself,
        RefusedByPeerError, ProtocolError.
        """
        other = decode(data)
        if isinstance(other, Refused):
            raise refusal(other)
        if not isinstance(other, Hello) or len(other.nonce) != NONCE_SIZE:
            raise ProtocolError("it does not introduce itself as a node does")
        version = self._agree(other)
        hellos = (self.hello, data) if self._role is Role.DIALLER else (data, self.hello)
        digest = hashlib.sha256(struct.pack(">H", version))
        for hello in hellos:
            digest.update(struct.pack(">I", len(hello)))
            digest.update(hello)
        self._transcript = digest.digest()
        return other

    def _agree(self, other: Hello) -> int:
        mine, theirs = self._own.introduction, other.introduction
        if mine.node == theirs.node and mine.instance == theirs.instance:
            raise OwnAddressError("this is the node's own address")
        version = min(self._own.versions.newest, other.versions.newest)
        if version < max(self._own.versions.oldest, other.versions.oldest):
            raise RefusedError(
                f"no version of the link protocol is common: {mine.name} (gearmesh {mine.version}) speaks"
                f" {self._own.versions}, {legible(theirs.name)} (gearmesh {legible(theirs.version)}) speaks"
                f" {other.versions}"
            )
        if mine.cluster != theirs.cluster:
            raise RefusedError(f"it belongs to cluster {legible(theirs.cluster)!r}, this node to {mine.cluster!r}")
        if self._own.secured != other.secured:
            with_it, without = ("this node", "the other") if self._own.secured else ("the other node", "this one")
            raise RefusedError(f"{with_it} has a cluster secret and {without} is insecure: give both the same secret")
        if mine.node == theirs.node:
            raise RefusedError(
                f"it has this node's own id {mine.node}: the data directory of another node was copied;"
                " give the copy an empty one"
            )
        return version

    def prove(self, standing: Standing) -> bytes:
        """Make this end's Proof."""
        return encode(Proof(mac=self._mac(self._role, standing), standing=standing))

    def check(self, data: bytes) -> Standing:
        """Read the other's Proof. Raises RefusedError, RefusedByPeerError, ProtocolError."""
        proof = decode(data)
        if isinstance(proof, Refused):
            raise refusal(proof)
        if not isinstance(proof, Proof):
            raise ProtocolError("it proves nothing")
        if not hmac.compare_digest(proof.mac, self._mac(self._role.other, proof.standing)):
            raise RefusedError("its proof is wrong: the two nodes do not have the same cluster secret")
        return proof.standing

    def outgoing(self) -> Seal:
        """Make the seal of what this end sends."""
        return self._seal(self._role)

    def incoming(self) -> Seal:
        """Make the seal of what this end receives."""
        return self._seal(self._role.other)

    def _seal(self, sender: Role) -> Seal:
        if self._key is None:
            return Seal(None)
        return Seal(hmac.digest(self._key, _LABEL + b" key of " + sender.value + self._transcript, "sha256"))

    def _mac(self, prover: Role, standing: Standing) -> bytes:
        if self._key is None:
            return b""
        parts = (_LABEL, b" proof of ", prover.value, self._transcript, _encoder.encode(standing))
        return hmac.digest(self._key, b"".join(parts), "sha256")
