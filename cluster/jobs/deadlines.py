"""What is to happen to which job when: delayed jobs that come due, and time limits of running ones.

Not for: reading a clock. The table is told the time by the entries it applies.
"""

import heapq

from cluster.jobs.job import Job, JobState

_SMALL = 1024


class Deadlines:
    """A heap of times. An entry whose job has moved on since is worthless, and is passed over or swept out."""

    __slots__ = ("_heap", "_live")

    def __init__(self) -> None:
        self._heap: list[tuple[int, int]] = []
        self._live = 0

    def set(self, when: int, number: int) -> None:
        """Note that something is to happen to this job at this time."""
        heapq.heappush(self._heap, (when, number))
        self._live += 1

    def settle(self, jobs: dict[int, Job]) -> None:
        """Count one entry as worthless; when most are, sweep them out."""
        self._live -= 1
        if len(self._heap) > _SMALL and len(self._heap) > 2 * self._live:
            wanted = {entry for entry in self._heap if _wanted(jobs.get(entry[1]), entry[0])}
            self._heap = sorted(wanted)
            self._live = len(self._heap)

    def pop(self, now: int, jobs: dict[int, Job]) -> Job | None:
        """Take out the job whose time came first, None when no job's time has come."""
        while self._heap and self._heap[0][0] <= now:
            when, number = heapq.heappop(self._heap)
            job = jobs.get(number)
            if _wanted(job, when):
                self._live -= 1
                return job
        return None

    def next(self, jobs: dict[int, Job]) -> int | None:
        """Give the earliest time at which something is due; None: nothing is."""
        while self._heap and not _wanted(jobs.get(self._heap[0][1]), self._heap[0][0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None


def _wanted(job: Job | None, when: int) -> bool:
    if job is None:
        return False
    if job.state is JobState.DELAYED:
        return job.due == when
    return job.state is JobState.RUNNING and job.deadline == when
