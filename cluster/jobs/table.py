"""The replicated state machine: every job, queue, worker and node of the cluster.

`apply(proposal)` is the only way to change it. What it does depends on the state and the proposal alone: no clock, no
randomness, no I/O, no iteration over anything whose order is not itself part of the state. Every node applies the same
log and has the same table.

Two rules keep commands honest. *Exactly once*: a node numbers its commands; those already applied are passed over, and
a batch that would leave a gap is passed over whole (its node sends again, in order). *Fenced*: what a past incarnation
of a node says changes nothing.

Not for: sockets, packets, results. A job's result never enters the table; it goes from the worker's node straight to
the listeners.
"""

from collections.abc import Callable
from typing import Any, Final

from cluster.jobs import commands as c
from cluster.jobs.deadlines import Deadlines
from cluster.jobs.effects import (
    Assigned,
    Concluded,
    Created,
    Effect,
    Ended,
    Failed,
    NoJob,
    Outcome,
    Refusal,
    Refused,
    Reserved,
    Revocation,
    Revoked,
    Settled,
)
from cluster.jobs.functions import Function
from cluster.jobs.job import LOW, NOBODY, NORMAL, Job, JobState, number_of
from cluster.jobs.keys import Keys, coalescing_key
from cluster.jobs.sessions import Ability, Node, Session
from cluster.jobs.waiting import Waiting

SEGMENT: Final = 256
"""Jobs are mirrored to disk in segments of this many neighbouring numbers."""
FOREVER: Final = 2**63 - 1
"""The latest time there is."""

_DELAYED, _QUEUED, _RESERVED, _RUNNING, _ENDED = (
    JobState.DELAYED,
    JobState.QUEUED,
    JobState.RESERVED,
    JobState.RUNNING,
    JobState.ENDED,
)


class JobTable:
    """The table. Read its attributes freely; change them through `apply` only."""

    def __init__(self, audience: str | None = None) -> None:
        """Make an empty table. `audience` names the node whose sessions' effects `apply` is to return."""
        self.audience = audience
        self.now = 0
        """The latest time that an applied proposal carried, in milliseconds since the epoch."""
        self.job_retries = -1
        self.last_job = 0
        """The number of the newest job there ever was."""
        self.parkings = 0
        self.jobs: dict[int, Job] = {}
        self.functions: dict[bytes, Function] = {}
        self.nodes: dict[str, Node] = {}
        self.waiting = Waiting(self.jobs)
        self.keys = Keys()
        self.deadlines = Deadlines()
        self.dirty: set[int] = set()
        """Segments that changed since the last mirror was begun."""
        self._owed: set[int] = set()
        """Segments that this mirror is still to have, as they were when it was begun."""
        self._take_owed: Callable[[int], None]
        self._handlers: dict[type, Callable[[Node, Any], None]] = {
            c.NodeUp: self._node_up,
            c.NodeDown: self._node_down,
            c.SessionOpen: self._session_open,
            c.SessionClose: self._session_close,
            c.Identify: self._identify,
            c.Can: self._can,
            c.Cant: self._cant,
            c.CantAny: self._cant_any,
            c.Submit: self._submit,
            c.Grab: self._grab,
            c.Prefetch: self._prefetch,
            c.Park: self._park,
            c.Take: self._take,
            c.Unreserve: self._unreserve,
            c.Finish: self._finish,
            c.Progress: self._progress,
            c.Cancel: self._cancel,
            c.SetLimit: self._set_limit,
            c.CreateFunction: self._create_function,
            c.DropFunction: self._drop_function,
        }

    # -- applying ----------------------------------------------------------------------------------

    def apply(self, proposal: c.Proposal) -> list[Effect]:
        """Apply one entry and return what the audience's node has to do about it, in order."""
        self.now = max(self.now, proposal.time)
        while (job := self.deadlines.pop(self.now, self.jobs)) is not None:
            self._touch(job.number)
            if job.state is _DELAYED:
                job.due = 0
                self.waiting.append(job)
                self._wake(job.function)
            else:
                self._time_out(job)
        handlers = self._handlers
        for batch in proposal.batches:
            node = self._admit(batch)
            if node is None:
                continue
            fresh = batch.commands[node.last + 1 - batch.first :] if batch.first <= node.last else batch.commands
            for command in fresh:
                handlers[type(command)](node, command)
            node.last = max(node.last, batch.first + len(batch.commands) - 1)
        listening = self.nodes.get(self.audience) if self.audience is not None else None
        if listening is None or not listening.effects:
            return []
        effects, listening.effects = listening.effects, []
        return effects

    def begin_mirror(self, take: Callable[[int], None]) -> set[int]:
        """Give the segments that changed: a mirror is to have each of them as it is now.

        Whoever takes one at leisure takes it out of the set. Before the first change to one that is still in there,
        `take` is called with its number, and does so. None may be left when the next mirror is begun.
        """
        assert not self._owed
        self._take_owed = take
        self._owed, self.dirty = self.dirty, set()
        return self._owed

    def _touch(self, number: int) -> None:
        """Note that a job is about to change, to come or to go: to be said before it does."""
        segment = number // SEGMENT
        if segment in self._owed:
            self._take_owed(segment)
        self.dirty.add(segment)

    def become(self, other: "JobTable") -> None:
        """Take the place of `other`, which must not be used any more: whoever holds this table sees that one's state.

        Both have the same audience.
        """
        for name, value in vars(other).items():
            if name != "_handlers":
                setattr(self, name, value)

    def _admit(self, batch: c.Batch) -> Node | None:
        """Tell whose batch this is; None when nothing of it may be applied.

        A node that was declared down comes back with a new incarnation, or not at all: nobody would end the sessions
        that it opened in the old one.
        """
        node = self.nodes.get(batch.node)
        if node is not None and batch.incarnation <= node.incarnation:
            current = batch.incarnation == node.incarnation and node.up
            return node if current and batch.first <= node.last + 1 else None
        if batch.incarnation < 1 or batch.first != 1 or not batch.commands or type(batch.commands[0]) is not c.NodeUp:
            return None
        if node is None:
            node = self.nodes[batch.node] = Node(batch.node, audible=batch.node == self.audience)
        else:
            self._end_sessions(node)
        node.incarnation = batch.incarnation
        node.last = 0
        return node

    # -- nodes and sessions ------------------------------------------------------------------------

    def _node_up(self, node: Node, command: c.NodeUp) -> None:
        node.up = True
        node.handle_prefix = command.handle_prefix
        self.job_retries = command.job_retries

    def _node_down(self, _: Node, command: c.NodeDown) -> None:
        node = self.nodes.get(command.node)
        if node is not None and node.incarnation == command.incarnation:
            self._end_sessions(node)

    def _end_sessions(self, node: Node) -> None:
        node.up = False
        self._close([session for _, session in sorted(node.sessions.items())])
        node.effects.clear()

    def _session_open(self, node: Node, command: c.SessionOpen) -> None:
        if command.session not in node.sessions:
            node.sessions[command.session] = Session(node, command.session, command.peer)

    def _session_close(self, node: Node, command: c.SessionClose) -> None:
        session = node.sessions.get(command.session)
        if session is not None:
            self._close([session])

    def _close(self, sessions: list[Session]) -> None:
        """Let sessions go together: no job is given to one of them, or run for one of them, on behalf of another."""
        for session in sessions:
            self._disable_all(session)
            session.parked = 0
        for session in sessions:
            for number in sorted(session.listening):
                job = self.jobs[number]
                self._touch(number)
                del job.listeners[session]
                if job.state <= _QUEUED and not job.background and not job.listeners:
                    self._remove(job)
            session.listening.clear()
        held = sorted((number for session in sessions for number in session.holding), reverse=True)
        for session in sessions:
            del session.node.sessions[session.number]
        for number in held:
            job = self.jobs[number]
            self._give_up(job, attempt=job.state is _RUNNING)
        for name in {self.jobs[number].function.name: None for number in reversed(held) if number in self.jobs}:
            self._wake(self.functions[name])

    def _identify(self, node: Node, command: c.Identify) -> None:
        session = node.sessions.get(command.session)
        if session is not None:
            session.client_id = command.client_id

    # -- abilities ---------------------------------------------------------------------------------

    def _can(self, node: Node, command: c.Can) -> None:
        session = node.sessions.get(command.session)
        if session is None:
            return
        ability = session.abilities.get(command.function)
        if ability is not None:
            ability.time_limit = command.time_limit
            return
        session.abilities[command.function] = Ability(command.time_limit, session.served)
        session.served += 1
        function = self._function(command.function)
        function.workers[session] = None
        if session.parked:
            function.add_sleeper(session)

    def _cant(self, node: Node, command: c.Cant) -> None:
        session = node.sessions.get(command.session)
        if session is not None and command.function in session.abilities:
            self._disable(session, command.function)

    def _cant_any(self, node: Node, command: c.CantAny) -> None:
        session = node.sessions.get(command.session)
        if session is not None:
            self._disable_all(session)

    def _disable_all(self, session: Session) -> None:
        for name in list(session.abilities):
            self._disable(session, name)

    def _disable(self, session: Session, name: bytes) -> None:
        del session.abilities[name]
        function = self.functions[name]
        del function.workers[session]
        function.sleepers.pop(session, None)

    # -- submitting --------------------------------------------------------------------------------

    def _submit(self, node: Node, command: c.Submit) -> None:
        listener: Session | None = None
        if not command.background:
            listener = node.sessions.get(command.session)
            if listener is None:
                if node.audible:
                    node.effects.append(Refused(command.session, Refusal.NO_SESSION))
                return
        function = self.functions.get(command.function)
        if function is None:
            function = self._function(command.function)
        priority = command.priority if 0 <= command.priority <= LOW else NORMAL
        key = coalescing_key(command.unique, command.workload) if command.unique else None
        if key is not None and (twin := self.keys.find(key, function.name)) is not None:
            job = self.jobs[twin]
            self._join(job, listener)
            if node.audible:
                node.effects.append(Created(command.session, job, listener is not None))
            return
        if 0 < function.limits[priority] <= function.total:
            if node.audible:
                node.effects.append(Refused(command.session, Refusal.QUEUE_FULL))
            return
        number = self.last_job = self.last_job + 1
        job = Job(
            number,
            node.handle_prefix,
            function,
            command.unique,
            key,
            command.workload,
            command.reducer,
            priority,
            command.background,
            _DELAYED,
        )
        if key is not None:
            self.keys.add(key, job)
        if listener is not None:
            job.listeners = {listener: None}
            listener.listening.add(number)
        self._touch(number)
        self.jobs[number] = job
        function.total += 1
        function.pending[priority] += 1
        if node.audible:
            node.effects.append(Created(command.session, job, listener is not None))
        if command.due > self.now:
            job.due = command.due
            self.deadlines.set(command.due, number)
            return
        if function.sleepers and not any(function.waiting) and (sleeper := function.wake_last()) is not None:
            if len(sleeper.abilities) == 1:
                # It is the only job for this worker: what would come of queueing it is known.
                sleeper.parked = 0
                sleeper.note_served(function.name)
                self._reserve(sleeper, job, wake=True)
                return
            self.waiting.append(job)
            self._wake_up(sleeper)
        else:
            self.waiting.append(job)
        if function.sleepers:
            self._wake(function)

    def _join(self, job: Job, listener: Session | None) -> None:
        """Coalesce: what was promised to the first submitter is kept, and the new one's wish added to it."""
        self._touch(job.number)
        if listener is None:
            job.background = True
        else:
            if job.listeners is NOBODY:
                job.listeners = {}
            job.listeners[listener] = None
            listener.listening.add(job.number)

    def _function(self, name: bytes) -> Function:
        function = self.functions.get(name)
        if function is None:
            function = self.functions[name] = Function(name)
        return function

    # -- giving jobs to workers --------------------------------------------------------------------

    def _grab(self, node: Node, command: c.Grab) -> None:
        session = node.sessions.get(command.session)
        job = None
        if session is not None:
            session.parked = 0
            job = self.waiting.take(session)
        if session is None or job is None:
            if node.audible:
                node.effects.append(NoJob(command.session))
            return
        self._hold(session, job)
        if node.audible:
            node.effects.append(Assigned(session.number, job))
        if command.ahead:
            self._reserve_ahead(session, command.ahead)

    def _prefetch(self, node: Node, command: c.Prefetch) -> None:
        session = node.sessions.get(command.session)
        if session is not None and not session.parked:
            self._reserve_ahead(session, command.ahead)

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
        function.pending[job.priority] -= 1
        ability = session.abilities.get(function.name)
        if ability is not None and ability.time_limit:
            job.deadline = min(self.now + ability.time_limit, FOREVER)
            self.deadlines.set(job.deadline, job.number)

    def _hold(self, session: Session, job: Job) -> None:
        self._touch(job.number)
        job.state = _RESERVED
        job.holder = session
        session.holding.add(job.number)

    def _reserve(self, session: Session, job: Job, *, wake: bool) -> None:
        self._hold(session, job)
        if session.node.audible:
            session.node.effects.append(Reserved(session.number, job, wake))

    def _take(self, node: Node, command: c.Take) -> None:
        job = self._held(node, command.session, command.job)
        if job is not None and job.state is _RESERVED:
            self._run(job.holder, job)

    def _unreserve(self, node: Node, command: c.Unreserve) -> None:
        job = self._held(node, command.session, command.job)
        if job is not None:
            self._give_up(job, attempt=False)
            self._wake(job.function)

    def _park(self, node: Node, command: c.Park) -> None:
        session = node.sessions.get(command.session)
        if session is None:
            return
        if session.holding:
            for number in sorted(session.holding):
                self._lift_deadline(self.jobs[number])
        session.parked = 0
        job = self.waiting.take(session)
        if job is not None:
            self._reserve(session, job, wake=True)
            return
        self.parkings += 1
        session.parked = self.parkings
        for name in session.abilities:
            self.functions[name].add_sleeper(session)

    def _wake(self, function: Function) -> None:
        """Reserve waiting jobs for sleeping workers, the one last parked first, one job each."""
        while any(function.waiting):
            session = function.wake_last()
            if session is None:
                return
            self._wake_up(session)

    def _wake_up(self, session: Session) -> None:
        """Reserve the best job there is for a sleeper that is to have one."""
        session.parked = 0
        job = self.waiting.take(session)
        assert job is not None
        self._reserve(session, job, wake=True)

    # -- the end of a run --------------------------------------------------------------------------

    def _held(self, node: Node, session: int, number: int) -> Job | None:
        """Give the job, if this session still holds it."""
        job = self.jobs.get(number)
        if job is None or job.holder is None:
            return None
        holder: Session = job.holder
        return job if holder.number == session and holder.node is node else None

    def _finish(self, node: Node, command: c.Finish) -> None:
        job = self._held(node, command.session, command.job)
        if job is not None:
            self._remove(job)
            if node.audible:
                node.effects.append(Ended(command.session, job))
            for listener in job.listeners:
                there: Node = listener.node
                if there.audible and there is not node:
                    there.effects.append(Concluded(listener.number, job, node.name, node.incarnation))

    def _progress(self, node: Node, command: c.Progress) -> None:
        job = self._held(node, command.session, command.job)
        if job is not None:
            self._touch(job.number)
            job.numerator = command.numerator
            job.denominator = command.denominator

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
        job.function.pending[job.priority] += 1
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
            job.function.pending[job.priority] -= 1
        job.state = _DELAYED

    def _lift_deadline(self, job: Job) -> None:
        if job.deadline:
            self._touch(job.number)
            job.deadline = 0
            self.deadlines.settle(self.jobs)

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
            function.pending[job.priority] -= 1
        del self.jobs[job.number]
        if job.state is _QUEUED:
            self.waiting.remove(job)
        elif job.due:
            self.deadlines.settle(self.jobs)
        job.state = _ENDED
        function.total -= 1
        for listener in job.listeners:
            _discard(listener.listening, job.number)
        if job.key is not None:
            self.keys.remove(job.key, function.name)
        if not self.jobs:
            self.jobs.clear()  # an emptied dict keeps the room of its best days

    # -- finding jobs -------------------------------------------------------------------------------------------------

    def find(self, handle: bytes) -> Job | None:
        """Give the job that a handle names."""
        number = number_of(handle)
        job = self.jobs.get(number) if number is not None else None
        return job if job is not None and job.handle == handle else None

    def find_unique(self, unique: bytes) -> Job | None:
        """Give the oldest job with this unique key, of whatever function."""
        number = self.keys.oldest(unique)
        return self.jobs[number] if number is not None else None

    # -- administration ----------------------------------------------------------------------------

    def _cancel(self, node: Node, command: c.Cancel) -> None:
        job = self.find(command.handle)
        if job is None:
            self._settle(node, command.session, Outcome.NO_SUCH_JOB)
            return
        holder: Session | None = job.holder
        if holder is not None and holder.node.audible:
            holder.node.effects.append(Revoked(holder.number, job, Revocation.CANCELLED))
        self._fail(job)
        self._settle(node, command.session, Outcome.DONE)

    def _set_limit(self, node: Node, command: c.SetLimit) -> None:
        limits = (command.high, command.normal, command.low)
        if any(limits) or command.function in self.functions:
            self._function(command.function).limits = limits
        self._settle(node, command.session, Outcome.DONE)

    def _create_function(self, node: Node, command: c.CreateFunction) -> None:
        self._function(command.function)
        self._settle(node, command.session, Outcome.DONE)

    def _drop_function(self, node: Node, command: c.DropFunction) -> None:
        function = self.functions.get(command.function)
        if function is None:
            outcome = Outcome.NO_SUCH_FUNCTION
        elif function.running or function.workers:
            outcome = Outcome.FUNCTION_IN_USE
        elif function.total:
            outcome = Outcome.FUNCTION_HAS_JOBS
        else:
            del self.functions[command.function]
            outcome = Outcome.DONE
        self._settle(node, command.session, outcome)

    def _settle(self, node: Node, session: int, outcome: Outcome) -> None:
        if node.audible:
            node.effects.append(Settled(session, outcome))

    def next_deadline(self) -> int | None:
        """Give the time at which an entry is wanted though nobody has anything to say; None: never."""
        return self.deadlines.next(self.jobs)


def _discard(numbers: set[int], number: int) -> None:
    numbers.discard(number)
    if not numbers:
        numbers.clear()  # an emptied set keeps the room of its best days
