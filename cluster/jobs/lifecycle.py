"""What can happen to one job: in, from its queue to a worker, back again, and out.

`delayed -> queued -> reserved -> running`, each of which can lead to the end, and any held job back to the front of its
queue. Every count, queue, deadline and reference that follows from a job's state is kept here, together with it.

Not for: what commands mean and who may give them (`table`), which job a worker is to have next (`waiting`).
"""

from typing import Final

from cluster.jobs.changes import Changes
from cluster.jobs.deadlines import Deadlines
from cluster.jobs.effects import Failed, Reserved, Revocation, Revoked
from cluster.jobs.functions import NO_QUEUE, NO_QUEUES, Function, Queue, Queues
from cluster.jobs.job import NOBODY, Job, JobState, number_of
from cluster.jobs.keys import Keys
from cluster.jobs.sessions import Session
from cluster.jobs.uploads import Pieces
from cluster.jobs.waiting import Waiting

FOREVER: Final = 2**63 - 1
"""The latest time there is."""
DUE: Final = 2000
"""How many jobs whose time has come one entry sees to at most: it takes some 5 ms."""
SPARE_QUEUES: Final = 64
"""Empty queues that are kept for the next function that gets a job. A busy worker's function has one job, and none, and
one."""

_DELAYED, _QUEUED, _RESERVED, _RUNNING, _ENDED = (
    JobState.DELAYED,
    JobState.QUEUED,
    JobState.RESERVED,
    JobState.RUNNING,
    JobState.ENDED,
)


class Lifecycle:
    """The jobs of the cluster, and what is known of them by number, function, key and deadline."""

    def __init__(self) -> None:
        self.now = 0
        """The latest time that an applied proposal carried, in milliseconds since the epoch."""
        self.job_retries = -1
        """How many failed runs a job may have behind it and be run once more; below 0: any number."""
        self.jobs: dict[int, Job] = {}
        self.functions: dict[bytes, Function] = {}
        self.waiting = Waiting(self.jobs)
        self.asleep: dict[int, Session] = {}
        """Every parked session, by the number of its parking."""
        self.abilities = 0
        """How many functions the sessions can do, all together."""
        self.keys = Keys()
        self.deadlines = Deadlines()
        self.pieces = Pieces()
        """The pieces in which the mirror keeps large workloads."""
        self.changes = Changes()
        self._touch = self.changes.touch
        """To be called with a job's number before it changes, comes or goes."""
        self._spare: list[Queues] = []

    # -- finding ------------------------------------------------------------------------------------------------------

    def find(self, handle: bytes) -> Job | None:
        """Give the job that a handle names."""
        number = number_of(handle)
        job = self.jobs.get(number) if number is not None else None
        return job if job is not None and job.handle == handle else None

    def find_unique(self, unique: bytes) -> Job | None:
        """Give the oldest job with this unique key, of whatever function."""
        number = self.keys.oldest(unique)
        return self.jobs[number] if number is not None else None

    def next_deadline(self) -> int | None:
        """Give the time at which an entry is wanted though nobody has anything to say; None: never."""
        return self.deadlines.next()

    def _forget_if_idle(self, function: Function) -> None:
        """Let a name go that stands for nothing any more."""
        if function.idle:
            del self.functions[function.name]
            if not self.functions:
                self.functions.clear()  # an emptied dict keeps the room of its best days

    # -- in -----------------------------------------------------------------------------------------------------------

    def _enter(self, job: Job, listener: Session | None) -> None:
        """Let a new job in. It waits in no queue yet."""
        number = job.number
        self._touch(number)
        self.jobs[number] = job
        function: Function = job.function
        if not function.total:
            function.queues = self._spare.pop() if self._spare else list(NO_QUEUES)
        function.total += 1
        queue = function.queues[job.priority]
        if queue is NO_QUEUE:
            queue = function.queues[job.priority] = Queue()
        queue.pending += 1
        if job.key is not None:
            self.keys.add(job.key, job)
        if listener is not None:
            job.listeners = {listener: None}
            listener.listening[number] = None

    def _join(self, job: Job, listener: Session | None) -> bool:
        """Coalesce: what was promised to the first submitter is kept, and the new one's wish added to it.

        Tell whether the new one is a listener already.
        """
        self._touch(job.number)
        if listener is None:
            job.background = True
            return False
        if listener in job.listeners:
            return True
        if job.listeners is NOBODY:
            job.listeners = {}
        job.listeners[listener] = None
        listener.listening[job.number] = None
        listener.joined = True
        return False

    # -- to a worker --------------------------------------------------------------------------------------------------

    def _hold(self, session: Session, job: Job) -> None:
        self._touch(job.number)
        job.state = _RESERVED
        job.holder = session
        session.holding.add(job.number)

    def _reserve(self, session: Session, job: Job, *, wake: bool) -> None:
        self._hold(session, job)
        if session.node.audible:
            session.node.effects.append(Reserved(session.number, job, wake))

    def _reserve_ahead(self, session: Session, most: int) -> None:
        """Reserve further jobs for a fast worker.

        Only deep queues are shared out ahead of demand, each by its own depth: no other worker of a function is to find
        its queue empty meanwhile.
        """
        shares: dict[bytes, int] = {}
        for _ in range(most):
            best = self.waiting.best(session)
            if best is None:
                return
            function, priority = best
            share = shares.get(function.name)
            if share is None:
                share = function.share
            if not share:
                return
            shares[function.name] = share - 1
            self._reserve(session, self.waiting.take_from(function, priority, session), wake=False)

    def _run(self, session: Session, job: Job) -> None:
        function: Function = job.function
        self._touch(job.number)
        job.state = _RUNNING
        function.running += 1
        function.queues[job.priority].pending -= 1
        if session.limits and function.name in session.limits:
            job.deadline = min(self.now + session.limits[function.name], FOREVER)
            self.deadlines.set(job.deadline, job.number)

    def _wake(self, function: Function) -> None:
        """Reserve waiting jobs for sleeping workers, the one last parked first, one job each."""
        while function.queued:
            session = function.wake_last(self.asleep)
            if session is None:
                return
            self._wake_up(session)

    def _wake_up(self, session: Session) -> None:
        """Reserve the best job there is for a sleeper that is to have one."""
        self._rouse(session)
        job = self.waiting.take(session)
        assert job is not None
        self._reserve(session, job, wake=True)

    def _rouse(self, session: Session) -> None:
        """Note that a parked session sleeps no more."""
        if not session.page.changed:
            session.page.change()
        del self.asleep[session.parked]
        session.parked = 0

    # -- in time ------------------------------------------------------------------------------------------------------

    def _fall_due(self) -> None:
        """See to the jobs whose time has come. Where there are too many for one entry, the next one goes on with them.

        For that it need not say a later time: `next_deadline` is in the past until they are done.
        """
        for _ in range(DUE):
            number = self.deadlines.pop(self.now)
            if number is None:
                return
            job = self.jobs[number]
            self._touch(number)
            if job.state is _DELAYED:
                job.due = 0
                self.waiting.append(job)
                self._wake(job.function)
            else:
                self._time_out(job)

    # -- back, or out -------------------------------------------------------------------------------------------------

    def _time_out(self, job: Job) -> None:
        job.deadline = 0
        session: Session = job.holder
        if session.node.audible:
            session.node.effects.append(Revoked(session.number, job, Revocation.TIME_LIMIT))
        self._give_up(job, attempt=True)
        self._wake(job.function)

    def _give_up(self, job: Job, *, attempt: bool) -> None:
        """Part the job from its holder: back to the front of its queue, or out where it may not be run again."""
        self._touch(job.number)
        self._release(job)
        job.function.queues[job.priority].pending += 1
        job.numerator = job.denominator = 0
        if attempt:
            job.attempts += 1
            if 0 <= self.job_retries < job.attempts:
                self._fail(job)
                return
        if job.background or job.listeners:
            self.waiting.put_back(job)
        else:
            self._remove(job)

    def _release(self, job: Job) -> None:
        """Undo `_run` or `_reserve`; the job then neither runs nor waits."""
        session: Session = job.holder
        _discard(session.holding, job.number)
        job.holder = None
        if job.state is _RUNNING:
            job.function.running -= 1
            self._lift_deadline(job)
        else:
            job.function.queues[job.priority].pending -= 1
        job.state = _DELAYED

    def _lift_deadline(self, job: Job) -> None:
        if job.deadline:
            self._touch(job.number)
            self.deadlines.lift(job.deadline, job.number)
            job.deadline = 0

    def _fail(self, job: Job) -> None:
        """End a job whose worker can say no more about it, and tell those who listen."""
        listeners = job.listeners
        self._remove(job)
        for listener in listeners:
            if listener.node.audible:
                listener.node.effects.append(Failed(listener.number, job))

    def _remove(self, job: Job) -> None:
        """Take the job out of the table for good. Its listeners stay readable on the job itself."""
        function: Function = job.function
        self._touch(job.number)
        if job.holder is not None:
            self._release(job)
        else:
            function.queues[job.priority].pending -= 1
        del self.jobs[job.number]
        if job.state is _QUEUED:
            self.waiting.remove(job)
        elif job.due:
            self.deadlines.lift(job.due, job.number)
        job.state = _ENDED
        function.total -= 1
        if not function.total:
            if len(self._spare) < SPARE_QUEUES:
                self._spare.append(function.queues)
            function.queues = NO_QUEUES
            if not function.workers:
                self._forget_if_idle(function)
        for listener in job.listeners:
            heard = listener.listening
            heard.pop(job.number, None)
            if not heard:
                heard.clear()  # an emptied dict keeps the room of its best days
        if job.key is not None:
            self.keys.remove(job.key, function.name)
        if job.pieces:
            self.pieces.drop(job.pieces)
        if not self.jobs:
            self.jobs.clear()  # an emptied dict keeps the room of its best days


def _discard(numbers: set[int], number: int) -> None:
    numbers.discard(number)
    if not numbers:
        numbers.clear()  # an emptied set keeps the room of its best days
