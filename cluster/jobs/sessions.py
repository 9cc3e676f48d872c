"""Nodes and the sessions on them, as the table knows them: who works, on what, and holds which jobs.

Not for: sockets. A session here is a number within a node's incarnation; the node's gateway knows the connection.
"""

from cluster.jobs.changes import Page
from cluster.jobs.effects import Effect
from cluster.jobs.uploads import Upload


class Session:
    """A connection that works or listens."""

    __slots__ = (
        "abilities",
        "client_id",
        "holding",
        "joined",
        "limits",
        "listening",
        "node",
        "number",
        "page",
        "parked",
        "peer",
        "serial",
        "served",
    )

    def __init__(self, node: "Node", number: int, peer: str, serial: int, page: Page) -> None:
        self.node = node
        self.number = number
        self.peer = peer
        self.serial = serial
        """Unique for the life of the cluster: what the mirror knows it by."""
        self.page = page
        """To be told before anything of this changes that the mirror has."""
        self.client_id = b""
        self.abilities: dict[bytes, int] = {}
        """The functions it can do; for each, its count of jobs when it last got one of it: the lowest comes next (round
        robin)."""
        self.limits: dict[bytes, int] = {}
        """How many milliseconds a run may take, for those of its functions that have a limit."""
        self.served = 0
        self.parked = 0
        """When it last went to sleep, counted in parkings of the whole table; 0: it is awake."""
        self.holding: set[int] = set()
        """Numbers of the jobs it runs or has reserved."""
        self.listening: dict[int, None] = {}
        """Numbers of the jobs whose end it waits for, in ascending order unless it has joined any."""
        self.joined = False

    def note_served(self, function: bytes) -> None:
        """Note that it is given a job of this function."""
        if not self.page.changed:
            self.page.change()
        self.abilities[function] = self.served
        self.served += 1


class Node:
    """A member of the cluster, in one of its incarnations."""

    __slots__ = (
        "alarms",
        "alone",
        "audible",
        "effects",
        "handle_prefix",
        "incarnation",
        "last",
        "max_packet",
        "name",
        "process",
        "sessions",
        "timeout",
        "up",
        "uploads",
    )

    def __init__(self, name: str, incarnation: int = 0, *, audible: bool = False, alone: int = 0) -> None:
        self.name = name
        self.incarnation = incarnation
        self.alone = alone
        """If this stands for one session that ended by itself: its serial number."""
        self.last = 0
        """The number of the last command applied of this incarnation."""
        self.up = False
        """Whether its sessions are alive. Those of an incarnation that is over are let go, by and by (`departures`)."""
        self.handle_prefix = b""
        self.max_packet = 0
        """Bytes of the largest packet that it takes; 0: not known."""
        self.process = ""
        """The process that this incarnation lives in; empty: it has no name."""
        self.timeout = 0
        """Milliseconds of silence before it is down, by its own settings; 0: not known."""
        self.alarms: dict[int, tuple[int, int]] = {}
        """What it has too little of: a `Resource`, how much was found, and the mark."""
        self.sessions: dict[int, Session] = {}
        self.uploads: dict[int, Upload] = {}
        """Workloads of which parts have come, and whose Submit has not."""
        self.audible = audible
        """Whether somebody here collects the effects for this node; the replicated state does not depend on it."""
        self.effects: list[Effect] = []
