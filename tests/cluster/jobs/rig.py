"""A table and nodes that number their commands, for tests that tell a story.

Not for: judging. It only spares each test the batches around its commands.
"""

from cluster.jobs import Batch, Can, Command, Decision, Grab, JobTable, NodeUp, Park, SessionOpen, Submit, Take, propose
from tests.cluster.jobs.views import describe, queue

START = 1_000_000


class Rig:
    """One table whose audience is node `a`; `b` is up too. Time stands still unless a test moves it."""

    def __init__(self, retries: int = -1, audience: str | None = "a") -> None:
        self.table = JobTable(audience)
        self.time = START
        self.say(NodeUp(b"H:a", retries), node="a")
        self.say(NodeUp(b"H:b", retries), node="b")

    def say(self, *commands: Command, node: str = "a", again: int = 0) -> list[tuple]:
        """Apply commands of a node under its next numbers, and return what the audience is told.

        With `again`, the numbers begin so many earlier: those commands are repeats.
        """
        known = self.table.nodes.get(node)
        incarnation, last = (known.incarnation, known.last) if known is not None else (1, 0)
        batch = Batch(node, incarnation, last + 1 - again, list(commands))
        return [describe(effect) for effect in self.table.apply(propose(self.time, [batch]))]

    def restart(self, node: str = "a", retries: int = -1) -> list[tuple]:
        """Begin the node's next incarnation."""
        incarnation = self.table.nodes[node].incarnation + 1
        batch = Batch(node, incarnation, 1, [NodeUp(b"H:" + node.encode(), retries)])
        return [describe(effect) for effect in self.table.apply(propose(self.time, [batch]))]

    def decide(self, *decisions: Decision) -> list[tuple]:
        """Apply decisions of a leader."""
        return [describe(effect) for effect in self.table.apply(propose(self.time, [], decisions))]

    def wait(self, milliseconds: int) -> list[tuple]:
        """Let the leader's clock go on, and tell the table."""
        self.time += milliseconds
        return [describe(effect) for effect in self.table.apply(propose(self.time, []))]

    def settle(self) -> int:
        """Bring entries for as long as the table wants one now; tell how many."""
        count = 0
        while (due := self.table.next_deadline()) is not None and due <= self.time:
            self.wait(0)
            count += 1
        return count

    def open(self, *sessions: int, node: str = "a") -> None:
        self.say(*(SessionOpen(session, f"{node}:{session}") for session in sessions), node=node)

    def worker(self, session: int, *functions: bytes, node: str = "a", limit: int = 0) -> None:
        """Open a session that can do these functions, in this order."""
        self.open(session, node=node)
        self.say(*(Can(session, function, limit) for function in functions), node=node)

    def background(self, function: bytes = b"f", workload: bytes = b"", priority: int = 1, unique: bytes = b"") -> int:
        """Submit a background job and return its number."""
        self.say(Submit(0, function, unique, workload, priority, background=True))
        return self.table.last_job

    def foreground(self, session: int, function: bytes = b"f", unique: bytes = b"", node: str = "a") -> int:
        """Submit a job that the session, which is open, waits for; return its number."""
        self.say(Submit(session, function, unique, b"", 1, background=False), node=node)
        return self.table.last_job

    def grab(self, session: int, node: str = "a", ahead: int = 0) -> int | None:
        """Let a session grab and be handed its job; return the number of the job that it runs now."""
        number = self.ask(session, node, ahead)
        if number is not None:
            self.say(Take(session, number), node=node)
        return number

    def ask(self, session: int, node: str = "a", ahead: int = 0) -> int | None:
        """Let a session grab, and return the number of the job that is kept for it now, but not handed over yet."""
        before = set(self.reserved(session, node))
        for effect in self.say(Grab(session, ahead), node=node):
            if effect[0] == "assigned":
                return effect[2]
        new = [number for number in self.reserved(session, node) if number not in before]
        return new[0] if new else None

    def run(self, session: int, count: int) -> list[int]:
        """Let a session grab so many jobs and be handed them all; return the numbers of those that it runs now."""
        self.say(*(Grab(session, 0) for _ in range(count)))
        self.say(*(Take(session, number) for number in self.reserved(session)))
        return self.running(session)

    def grab_all(self, session: int) -> list[int]:
        """Let a session grab until there is nothing left for it."""
        taken = []
        while (number := self.grab(session)) is not None:
            taken.append(number)
        return taken

    def park(self, *sessions: int, node: str = "a") -> list[tuple]:
        return self.say(*(Park(session) for session in sessions), node=node)

    def held(self, session: int, state: str, node: str) -> list[int]:
        holding = self.table.nodes[node].sessions[session].holding
        return sorted(number for number in holding if self.table.jobs[number].state.name == state)

    def running(self, session: int, node: str = "a") -> list[int]:
        return self.held(session, "RUNNING", node)

    def reserved(self, session: int, node: str = "a") -> list[int]:
        return self.held(session, "RESERVED", node)

    def queue(self, function: bytes = b"f", priority: int = 1) -> list[int]:
        return queue(self.table, function, priority)

    def state(self, number: int) -> str | None:
        """Tell the name of a job's state; None: it is not in the table."""
        job = self.table.jobs.get(number)
        return None if job is None else job.state.name
