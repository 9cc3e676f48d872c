"""A function and its queues: three priorities, each first in, first out. Not for: choosing among functions."""

from collections import deque

from cluster.jobs.job import Job, JobState
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
        self.queues: tuple[deque[Job], deque[Job], deque[Job]] = (deque(), deque(), deque())
        """The waiting jobs in order; among them jobs that have ended and are passed over."""
        self.workers: dict[Session, None] = {}
        self.sleepers: dict[Session, None] = {}
        """Parked workers, the last one parked at the end."""

    def first(self, priority: int) -> Job:
        """Give the first waiting job of this priority; there must be one."""
        queue = self.queues[priority]
        while queue[0].state is not JobState.QUEUED:
            queue.popleft()
        return queue[0]

    def forget_ended(self, priority: int) -> None:
        """Let go of ended jobs inside the queue once they are the greater part of it."""
        queue = self.queues[priority]
        if len(queue) > _SPARSE_QUEUE and len(queue) > 2 * self.waiting[priority]:
            alive = [job for job in queue if job.state is JobState.QUEUED]
            queue.clear()
            queue.extend(alive)
