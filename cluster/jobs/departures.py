"""The end of sessions: what they held goes back to its queues, and nobody listens there any more.

A node may go with 50,000 sessions, and one session may hold or hear of a million jobs. So an entry lets go of only so
much (`STEP`), and what is left is *departing*: nothing of it is alive from the moment of its end, so no job is given to
it, and nothing is said to it. Each entry that follows goes on with it. While anything is departing the table asks for
an entry now (`next_deadline`), and whoever leads brings one.

Not for: why they end (`table`).
"""

from collections import deque
from itertools import islice
from typing import Final

from cluster.jobs.job import JobState
from cluster.jobs.lifecycle import Lifecycle
from cluster.jobs.sessions import Node, Session

STEP: Final = 2000
"""How much of the end of sessions one entry does at most, about 5 ms: sessions, their functions, and their jobs."""

_QUEUED, _RUNNING = JobState.QUEUED, JobState.RUNNING


class Departures(Lifecycle):
    """The jobs of the cluster, and the sessions that let go of them."""

    def __init__(self) -> None:
        super().__init__()
        self.departing: deque[Node] = deque()
        """Incarnations that are over, and still have sessions; for a session that ended by itself, one of its own."""
        self._left = 0
        """How much of a step this entry may still do."""
        self._begun: list[int] | None = None
        """If the first departing session holds too much for one step: its jobs in order; the last one is let go first.
        Among them may be jobs that have ended since."""

    def next_deadline(self) -> int | None:
        """Give the time at which an entry is wanted though nobody has anything to say; None: never."""
        return 0 if self.departing else super().next_deadline()

    def _end_node(self, node: Node) -> None:
        """End an incarnation, and all of its sessions."""
        node.up = node.audible = False
        node.effects.clear()
        if node.sessions:
            self.departing.append(node)
            self._depart()

    def _end_session(self, session: Session) -> None:
        """End one session of a node that goes on."""
        node = session.node
        del node.sessions[session.number]
        alone = session.node = Node(node.name, node.incarnation, alone=session.serial)
        alone.sessions[session.number] = session
        self.departing.append(alone)
        self._depart()

    def _depart(self) -> None:
        """Let go of sessions that are departing, as far as this entry goes.

        Those that go together do so before any of their jobs is given to anybody.
        """
        held: list[int] = []
        while self.departing and self._left > 0:
            node = self.departing[0]
            for number in list(islice(node.sessions, self._left)):
                if self._left <= 0 or not self._let_go(node.sessions[number], held):
                    break
                self._left -= 1
                session = node.sessions.pop(number)
                session.page.remove(session.serial)
            if not node.sessions:
                self.departing.popleft()
        if held:
            self._give_back(held)

    def _let_go(self, session: Session, held: list[int]) -> bool:
        """Take a session off its functions and jobs, those that it held into `held`; tell whether nothing is left.

        How many functions it may have is bounded where it names them: they go in one go.
        """
        if session.parked:
            self._rouse(session)
        if session.abilities:
            self._left -= len(session.abilities)
            self._disable_all(session)
        if session.listening and not self._stop_hearing(session):
            return False
        holding = session.holding
        if holding:
            if self._begun is None:
                self._begun = sorted(holding)
            kept = self._begun
            while kept:
                if kept[-1] in holding:
                    if self._left <= 0:
                        return False
                    self._left -= 1
                    held.append(kept[-1])
                kept.pop()
        self._begun = None
        return True

    def _stop_hearing(self, session: Session) -> bool:
        """Take a session off the jobs that it hears of, the oldest first; tell whether it hears of none any more."""
        if session.joined:
            session.listening = dict.fromkeys(sorted(session.listening))
            session.joined = False
        numbers = list(islice(session.listening, max(0, self._left)))
        self._left -= len(numbers)
        for number in numbers:
            self._stop_listening(session, number)
        return not session.listening

    def _stop_listening(self, session: Session, number: int) -> None:
        job = self.jobs[number]
        self._touch(number)
        del job.listeners[session]
        session.listening.pop(number, None)
        if job.state <= _QUEUED and not job.background and not job.listeners:
            self._remove(job)

    def _give_back(self, held: list[int]) -> None:
        """Let go of jobs that were held: the last one goes first, so that they queue as they were submitted."""
        held.sort(reverse=True)
        for number in held:
            job = self.jobs[number]
            self._give_up(job, attempt=job.state is _RUNNING)
        jobs = self.jobs
        for function in {jobs[number].function: None for number in reversed(held) if number in jobs}:
            self._wake(function)

    def _disable_all(self, session: Session) -> None:
        """Note that a session can do nothing any more."""
        session.page.change()
        abilities, session.abilities = session.abilities, {}
        for name in abilities:
            self._disable(session, name)

    def _disable(self, session: Session, name: bytes) -> None:
        """Note that a session can do a function no more; it is off the session's list already."""
        session.limits.pop(name, None)
        self.abilities -= 1
        function = self.functions[name]
        function.workers -= 1
        if not function.workers and not function.total:
            self._forget_if_idle(function)
