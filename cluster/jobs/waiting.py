"""The jobs that wait for a worker, and which of them a worker gets next.

Priority goes first, over all functions of the worker; among functions of equal priority the one that served it longest
ago comes next (round robin); within a function's priority the first in is the first out. Not for: who works or sleeps,
or what becomes of a job that is taken; that is the table's.
"""

from typing import Final

from cluster.jobs.functions import Function, Queue
from cluster.jobs.job import HIGH, LOW, NORMAL, PRIORITIES, Job, JobState
from cluster.jobs.sessions import Session

_QUEUED: Final = JobState.QUEUED


class Waiting:
    """Every queued job, found by function and priority."""

    __slots__ = ("back", "front", "jobs", "ready")

    def __init__(self, jobs: dict[int, Job]) -> None:
        self.jobs = jobs
        """All jobs of the table: the queues hold numbers."""
        self.front = 0
        self.back = 0
        """The positions last given at the two ends of the queues."""
        self.ready: tuple[dict[bytes, Function], ...] = ({}, {}, {})
        """For each priority: the functions that have a waiting job."""

    def append(self, job: Job) -> None:
        """Put a job at the back of its queue."""
        self.back += 1
        job.position = self.back
        self._admit(job).append(job.number)

    def put_back(self, job: Job) -> None:
        """Put a job at the front of its queue."""
        self.front -= 1
        job.position = self.front
        self._admit(job).numbers.appendleft(job.number)

    def _admit(self, job: Job) -> Queue:
        """Count a job in; give its queue."""
        job.state = _QUEUED
        function: Function = job.function
        priority = job.priority
        queue = function.queues[priority]
        if not queue.waiting:
            self.ready[priority][function.name] = function
        queue.waiting += 1
        function.queued += 1
        return queue

    def restore(self, job: Job) -> None:
        """Put a job at the back of its queue, at the position that it has."""
        self._admit(job).append(job.number)

    def remove(self, job: Job) -> None:
        """Count out a queued job that has left `jobs`; its queue passes over the number."""
        function: Function = job.function
        queue = function.queues[job.priority]
        queue.remove(job.number, self.jobs)
        self._count_out(function, job.priority, queue)

    def _count_out(self, function: Function, priority: int, queue: Queue) -> None:
        function.queued -= 1
        left = queue.waiting = queue.waiting - 1
        if not left:
            del self.ready[priority][function.name]
            queue.clear()

    def best_priority(self, session: Session) -> int | None:
        """Tell the priority of the best job for this session; None: there is none."""
        abilities = session.abilities
        if len(abilities) == 1:
            (name,) = abilities
            high, normal, low = self.ready
            return HIGH if name in high else NORMAL if name in normal else LOW if name in low else None
        for priority in PRIORITIES:
            ready = self.ready[priority]
            if ready and not ready.keys().isdisjoint(abilities.keys()):  # in the time that the smaller one takes
                return priority
        return None

    def best(self, session: Session) -> tuple[Function, int] | None:
        """Tell from which function's queue, and of which priority, this session is to be given its next job."""
        abilities = session.abilities
        if len(abilities) == 1:  # there is nothing to choose, and most workers are like that
            (name,) = abilities
            for priority in PRIORITIES:
                ready = self.ready[priority]
                if name in ready:
                    return ready[name], priority
            return None
        for priority in PRIORITIES:
            ready = self.ready[priority]
            if not ready:
                continue
            chosen: bytes | None = None
            lowest = session.served
            for name in abilities if len(abilities) <= len(ready) else ready:
                if name in ready and name in abilities and abilities[name] < lowest:
                    lowest = abilities[name]
                    chosen = name
            if chosen is not None:
                return ready[chosen], priority
        return None

    def take(self, session: Session) -> Job | None:
        """Take the session's next job out of its queue; None: there is none."""
        best = self.best(session)
        return self.take_from(best[0], best[1], session) if best is not None else None

    def take_from(self, function: Function, priority: int, session: Session) -> Job:
        """Take a job out of the queue that `best` has just named for this session."""
        session.note_served(function.name)
        queue = function.queues[priority]
        job = queue.take(self.jobs)
        self._count_out(function, priority, queue)
        return job
