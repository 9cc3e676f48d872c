"""Reports that are kept for sessions, by session and job; each session's connection is told how many bytes they are.

Not for: why they are kept, and when they are passed on (`listening`).
"""

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

Kept_ = TypeVar("Kept_")
"""What is kept."""

Note = Callable[[int, int], None]
"""Take note that for a session so many bytes more are kept, or fewer."""


class Kept(Generic[Kept_]):
    """What is kept for one reason."""

    def __init__(self, weigh: Callable[[Kept_], int], note: Note) -> None:
        self._weigh = weigh
        self._note = note
        self._of: dict[int, dict[int, list[Kept_]]] = {}

    def __bool__(self) -> bool:
        return bool(self._of)

    def __len__(self) -> int:
        return sum(map(len, self._of.values()))

    def __contains__(self, key: tuple[int, int]) -> bool:
        session, job = key
        return session in self._of and job in self._of[session]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Give each session and job for which something may be kept; it may be taken meanwhile."""
        for session, jobs in list(self._of.items()):
            for job in list(jobs):
                yield session, job

    def begin(self, session: int, job: int, kept: list[Kept_]) -> None:
        """Keep these from now on, none though they may be."""
        self._of.setdefault(session, {})[job] = kept
        self._tell(session, kept, 1)

    def add(self, session: int, job: int, one: Kept_) -> None:
        """Keep one more."""
        self._of.setdefault(session, {}).setdefault(job, []).append(one)
        self._note(session, self._weigh(one))

    def get(self, session: int, job: int) -> list[Kept_] | None:
        """Give what is kept, and go on keeping it; None: nothing is to be kept."""
        jobs = self._of.get(session)
        return jobs.get(job) if jobs is not None else None

    def take(self, session: int, job: int) -> list[Kept_]:
        """Give what was kept, and keep it no longer."""
        jobs = self._of.get(session)
        if jobs is None or job not in jobs:
            return []
        kept = jobs.pop(job)
        if not jobs:
            del self._of[session]
        self._tell(session, kept, -1)
        return kept

    def forget(self, session: int) -> None:
        """Keep nothing for a session any more, which is gone."""
        self._of.pop(session, None)

    def clear(self) -> None:
        """Keep nothing for any of them: they are gone."""
        self._of.clear()

    def _tell(self, session: int, kept: list[Kept_], sign: int) -> None:
        if kept:
            self._note(session, sign * sum(map(self._weigh, kept)))
