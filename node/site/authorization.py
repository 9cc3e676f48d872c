"""Proof that a request comes from somebody who knows the cluster's secret, without sending it.

    Authorization: Gearmesh-HMAC-SHA256 node=ID,time=SECONDS,nonce=HEX,mac=HEX

`mac` is an HMAC-SHA256 over the node that is meant, the method, the path with its query, a digest of the body, the time
and the nonce. So a proof that was overheard is good for that one request, at that one node, once: it is too old after
`WINDOW` seconds, or since the node was started, and its nonce is remembered for as long as it is not. What is sent is
not hidden by it. Not for: HTTP (`permission`), or links between nodes (`cluster.mesh`).
"""

import hashlib
import hmac
import re
import secrets
from collections import deque
from collections.abc import Callable
from typing import Final

SCHEME: Final = "Gearmesh-HMAC-SHA256"
WINDOW: Final = 60.0
"""Seconds that a proof's time may be off."""
MOST_NONCES: Final = 4096
"""Changes within the window; more are refused. Only proofs that are good are remembered."""

_PURPOSE: Final = b"gearmesh site request 1"
_PARTS: Final = re.compile(
    r"node=(?P<node>[!-+\--~]{1,200}),time=(?P<time>[0-9]{1,12}(?:\.[0-9]{1,6})?),"
    r"nonce=(?P<nonce>[0-9a-f]{32}),mac=(?P<mac>[0-9a-f]{64})"
)


class UnauthorizedError(Exception):
    """The proof is missing, or no good; the text says why in whole sentences."""


class TooManyChangesError(Exception):
    """More proofs than can be remembered came in a short time."""


def prove(secret: bytes, *, node: str, method: str, path: str, body: bytes, now: float) -> str:
    """Return the value of the Authorization header for one request.

    `node` is the id of the node that is asked; `path` is as it stands in the request, with its query; `now` is in
    seconds since the epoch.
    """
    time, nonce = f"{now:.6f}", secrets.token_hex(16)
    mac = _mac(secret, node, method, path, body, time, nonce)
    return f"{SCHEME} node={node},time={time},nonce={nonce},mac={mac}"


def _mac(secret: bytes, node: str, method: str, path: str, body: bytes, time: str, nonce: str) -> str:
    key = hmac.digest(secret, _PURPOSE, "sha256")  # a key for nothing else: what a link proves is no use here
    said = "\n".join((node, method, path, hashlib.sha256(body).hexdigest(), time, nonce))
    return hmac.new(key, said.encode("utf-8", "surrogateescape"), "sha256").hexdigest()


class Verifier:
    """Checks proofs, each of which is good once."""

    def __init__(self, secret: bytes, clock: Callable[[], float]) -> None:
        """Take proofs from now on; `clock` gives seconds since the epoch."""
        self._secret = secret
        self._clock = clock
        self._started = clock()
        self._nonces: set[str] = set()
        self._used: deque[tuple[float, str]] = deque()
        """(when it is too old, nonce), the first to be forgotten first, but for what clocks that differ make of it."""

    def check(self, header: str | None, *, node: str, method: str, path: str, body: bytes) -> None:
        """Return if the header proves that this request comes from somebody who knows the secret.

        Raises `UnauthorizedError` or `TooManyChangesError`.
        """
        if header is None:
            raise UnauthorizedError(
                f"This node has a secret, and the request does not prove that its sender knows it: {SCHEME} is "
                "missing. gearmesh cluster with --secret-file or GEARMESH_SECRET does it."
            )
        scheme, _, rest = header.partition(" ")
        parts = _PARTS.fullmatch(rest.strip())
        if scheme.lower() != SCHEME.lower() or parts is None:
            raise UnauthorizedError(f"The Authorization header is not {SCHEME} node=ID,time=SECONDS,nonce=HEX,mac=HEX.")
        now, time = self._clock(), float(parts["time"])
        if abs(now - time) > WINDOW:
            raise UnauthorizedError(
                f"The request's time is {time - now:+.0f} s from this node's clock: the clocks of the two hosts "
                "differ, or it was made long ago."
            )
        expected = _mac(self._secret, node, method, path, body, parts["time"], parts["nonce"])
        if parts["node"] != node:
            raise UnauthorizedError(f"The request is meant for {parts['node']}, and this is {node}.")
        if not hmac.compare_digest(expected, parts["mac"]):
            raise UnauthorizedError("The proof does not fit the request: the secret is another one than this node's.")
        if time < self._started:
            raise UnauthorizedError("The request was made before this node was started. Send a new one.")
        self._use(parts["nonce"], now, time)

    def _use(self, nonce: str, now: float, time: float) -> None:
        while self._used and self._used[0][0] < now:
            self._nonces.discard(self._used.popleft()[1])
        if nonce in self._nonces:
            raise UnauthorizedError("The request was sent before: each proof is good once.")
        if len(self._nonces) >= MOST_NONCES:
            raise TooManyChangesError("There were too many changes within a minute. Wait for one.")
        self._nonces.add(nonce)
        self._used.append((max(time, now) + WINDOW, nonce))
