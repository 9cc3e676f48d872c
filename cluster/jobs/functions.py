"""A function and its queues: three priorities, each first in, first out. Not for: choosing among functions."""

from collections import deque

from cluster.jobs.job import Job
from cluster.jobs.sessions import Session

_SPARSE_QUEUE = 64


class Function:
    """Everything the table knows about one function name."""

    __slots__ = ("limits", "name", "pending", "queues", "running", "sleepers", "total", "waiting", "workers")

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.limits = (0, 0, 0)
        """For each priority: refuse a submit when the function has this many jobs; 0: never."""
        self.total = 0
        """Jobs in the table, in whatever state."""
        self.running = 0
        self.pending = [0, 0, 0]
        """For each priority: jobs that do not run yet (delayed, queued or reserved)."""
        self.waiting = [0, 0, 0]
        """For each priority: jobs that a worker could take now."""
        self.queues: tuple[deque[int], deque[int], deque[int]] = (deque(), deque(), deque())
        """Numbers of the waiting jobs in order; among them jobs that have ended and are passed over."""
        self.workers: dict[Session, None] = {}
        self.sleepers: dict[Session, int] = {}
        """Workers that were parked, each with the number of that parking, in the order of the parkings. One that has
        been woken since, or parked again, is passed over: waking a worker costs nothing for what else it can do."""

    def add_sleeper(self, session: Session) -> None:
        """Add a parked worker, in its place."""
        sleepers = self.sleepers
        sleepers.pop(session, None)
        last = next(reversed(sleepers.values()), 0)
        sleepers[session] = session.parked
        if last > session.parked:
            self.sleepers = dict(sorted(sleepers.items(), key=_parking))

    def wake_last(self) -> Session | None:
        """Take out the sleeper that was parked last; None: nobody sleeps."""
        while self.sleepers:
            session, parking = self.sleepers.popitem()
            if session.parked == parking:
                return session
        return None

    @property
    def share(self) -> int:
        """Tell how many of the waiting jobs one worker may have reserved ahead in one go: those of an even deal."""
        high, normal, low = self.waiting
        return (high + normal + low) // (len(self.workers) or 1)

    def forget_ended(self, priority: int, jobs: dict[int, Job]) -> None:
        """Let go of ended jobs inside the queue once they are the greater part of it."""
        queue = self.queues[priority]
        if len(queue) > _SPARSE_QUEUE and len(queue) > 2 * self.waiting[priority]:
            alive = [number for number in queue if number in jobs]
            queue.clear()
            queue.extend(alive)


def _parking(sleeper: tuple[Session, int]) -> int:
    return sleeper[1]
