"""Nodes and the sessions on them, as the table knows them: who works, on what, and holds which jobs.

Not for: sockets. A session here is a number within a node's incarnation; the node's gateway knows the connection.
"""

from cluster.jobs.effects import Effect
from cluster.jobs.uploads import Upload


class Ability:
    """That a session can do a function."""

    __slots__ = ("served", "time_limit")

    def __init__(self, time_limit: int, served: int) -> None:
        self.time_limit = time_limit
        """Milliseconds; 0: none."""
        self.served = served
        """The session's count of jobs when it last got one of this function: the lowest comes next (round robin)."""


class Session:
    """A connection that works or listens."""

    __slots__ = ("abilities", "client_id", "holding", "listening", "node", "number", "parked", "peer", "served")

    def __init__(self, node: "Node", number: int, peer: str) -> None:
        self.node = node
        self.number = number
        self.peer = peer
        self.client_id = b""
        self.abilities: dict[bytes, Ability] = {}
        self.served = 0
        self.parked = 0
        """When it last went to sleep, counted in parkings of the whole table; 0: it is awake."""
        self.holding: set[int] = set()
        """Numbers of the jobs it runs or has reserved."""
        self.listening: set[int] = set()
        """Numbers of the jobs whose end it waits for."""

    def note_served(self, function: bytes) -> None:
        """Note that it is given a job of this function."""
        self.abilities[function].served = self.served
        self.served += 1


class Node:
    """A member of the cluster, in its present incarnation."""

    __slots__ = (
        "alarms",
        "audible",
        "effects",
        "handle_prefix",
        "incarnation",
        "last",
        "max_packet",
        "name",
        "sessions",
        "up",
        "uploads",
    )

    def __init__(self, name: str, *, audible: bool) -> None:
        self.name = name
        self.incarnation = 0
        self.last = 0
        """The number of the last command applied of this incarnation."""
        self.up = False
        self.handle_prefix = b""
        self.max_packet = 0
        """Bytes of the largest packet that it takes; 0: not known."""
        self.alarms: dict[int, tuple[int, int]] = {}
        """What it has too little of: a `Resource`, how much was found, and the mark."""
        self.sessions: dict[int, Session] = {}
        self.uploads: dict[int, Upload] = {}
        """Workloads of which parts have come, and whose Submit has not."""
        self.audible = audible
        """Whether somebody here collects the effects for this node; the replicated state does not depend on it."""
        self.effects: list[Effect] = []
