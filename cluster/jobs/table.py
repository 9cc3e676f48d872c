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
from typing import Any

import msgspec

from cluster.jobs import commands as c
from cluster.jobs import departures
from cluster.jobs.effects import (
    Assigned,
    Concluded,
    Created,
    Effect,
    Ended,
    Joined,
    NoJob,
    Outcome,
    Refusal,
    Refused,
    Revocation,
    Revoked,
    Settled,
)
from cluster.jobs.functions import NO_LIMITS
from cluster.jobs.job import LOW, NORMAL, Job, JobState
from cluster.jobs.keys import coalescing_key
from cluster.jobs.names import Names
from cluster.jobs.sessions import Node, Session
from cluster.jobs.uploads import Upload

_RESOURCES = frozenset(c.Resource)
_DELAYED, _QUEUED, _RESERVED, _RUNNING = JobState.DELAYED, JobState.QUEUED, JobState.RESERVED, JobState.RUNNING


class JobTable(Names):
    """The table. Read its attributes freely; change them through `apply` only."""

    def __init__(self, audience: str | None = None) -> None:
        """Make an empty table. `audience` names the node whose sessions' effects `apply` is to return."""
        super().__init__()
        self.audience = audience
        self.last_job = 0
        """The number of the newest job there ever was."""
        self.last_session = 0
        """The serial number of the newest session there ever was."""
        self.parkings = 0
        self.nodes: dict[str, Node] = {}
        self.alarm: tuple[Node, int] | None = None
        """A node that is up and has too little of a `Resource`: no new job is taken. None: all have enough."""
        self._handlers: dict[type, Callable[[Node, Any], None]] = {
            c.NodeUp: self._node_up,
            c.SessionOpen: self._session_open,
            c.SessionClose: self._session_close,
            c.Identify: self._identify,
            c.Can: self._can,
            c.Cant: self._cant,
            c.CantAny: self._cant_any,
            c.Submit: self._submit,
            c.Part: self._part,
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
            c.Alarm: self._alarm,
        }

    # -- applying ----------------------------------------------------------------------------------

    def apply(self, proposal: c.Proposal) -> list[Effect]:
        """Apply one entry and return what the audience's node has to do about it, in order."""
        self.now = max(self.now, proposal.time)
        self._left = departures.STEP
        if self.departing:
            self._depart()
        if self.deadlines.chunks:
            self._fall_due()
        handlers = self._handlers
        for batch in proposal.batches:
            node = self._admit(batch)
            if node is None:
                continue
            fresh = batch.commands[node.last + 1 - batch.first :] if batch.first <= node.last else batch.commands
            for command in fresh:
                handlers[type(command)](node, command)
            node.last = max(node.last, batch.first + len(batch.commands) - 1)
        for decision in proposal.decisions:
            self._node_down(decision)
        listening = self.nodes.get(self.audience) if self.audience is not None else None
        if listening is None or not listening.effects:
            return []
        effects, listening.effects = listening.effects, []
        return effects

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
        if node is not None:
            self._end(node)
        node = self.nodes[batch.node] = Node(batch.node, batch.incarnation, audible=batch.node == self.audience)
        return node

    # -- nodes and sessions ------------------------------------------------------------------------

    def _node_up(self, node: Node, command: c.NodeUp) -> None:
        node.up = True
        node.handle_prefix = command.handle_prefix
        node.max_packet = command.max_packet
        node.process = command.process
        node.timeout = command.timeout
        self.job_retries = command.job_retries
        self.max_functions = command.max_functions

    def _node_down(self, decision: c.NodeDown) -> None:
        node = self.nodes.get(decision.node)
        if node is not None and node.incarnation == decision.incarnation:
            self._end(node)

    def _end(self, node: Node) -> None:
        if node.up:
            self._end_node(node)
            node.alarms.clear()
            self.note_alarms()
            self._give_up_uploads(node)

    def _alarm(self, node: Node, command: c.Alarm) -> None:
        if not command.mark:
            node.alarms.pop(command.resource, None)
        elif command.resource in _RESOURCES:
            node.alarms[command.resource] = (command.found, command.mark)
        self.note_alarms()

    def joins(self, submit: c.Submit) -> bool:
        """Tell whether a submit would join a job, if it were applied now."""
        key = coalescing_key(submit.unique, submit.workload) if submit.unique else None
        return key is not None and self.keys.find(key, submit.function) is not None

    def note_alarms(self) -> None:
        """See whether any node has an alarm; of several nodes the first by name counts, so that all see the same."""
        raised = [name for name, node in self.nodes.items() if node.alarms]
        self.alarm = (node := self.nodes[min(raised)], min(node.alarms)) if raised else None

    def _session_open(self, node: Node, command: c.SessionOpen) -> None:
        number = command.session
        if number not in node.sessions:
            serial = self.last_session = self.last_session + 1
            page = self.changes.session_page(serial)
            session = node.sessions[number] = Session(node, number, command.peer, serial, page)
            page.add(serial, session)

    def _session_close(self, node: Node, command: c.SessionClose) -> None:
        session = node.sessions.get(command.session)
        if session is not None:
            self._end_session(session)

    def _identify(self, node: Node, command: c.Identify) -> None:
        session = node.sessions.get(command.session)
        if session is not None:
            session.page.change()
            session.client_id = command.client_id

    # -- submitting --------------------------------------------------------------------------------

    def _part(self, node: Node, command: c.Part) -> None:
        upload = node.uploads.get(command.upload)
        if upload is None:
            upload = node.uploads[command.upload] = Upload()
        upload.parts.append(command.data)
        upload.pieces.append(self.pieces.add(command.data))

    def _submit_upload(self, node: Node, command: c.Submit) -> None:
        """Submit a job whose workload came in parts before."""
        upload = node.uploads.pop(command.upload, None) or Upload()
        pieces = (*upload.pieces, self.pieces.add(command.workload))
        before = self.last_job
        self._submit(node, msgspec.structs.replace(command, workload=upload.whole(command.workload), upload=0))
        if self.last_job > before:
            self.jobs[self.last_job].pieces = pieces
        else:
            self.pieces.drop(pieces)

    def _give_up_uploads(self, node: Node) -> None:
        for upload in node.uploads.values():
            self.pieces.drop(upload.pieces)
        node.uploads.clear()

    def _submit(self, node: Node, command: c.Submit) -> None:
        if command.upload:
            self._submit_upload(node, command)
            return
        listener: Session | None = None
        if not command.background:
            listener = node.sessions.get(command.session)
            if listener is None:
                if node.audible:
                    node.effects.append(Refused(command.session, Refusal.NO_SESSION, ticket=command.ticket))
                return
        priority = command.priority if 0 <= command.priority <= LOW else NORMAL
        key = coalescing_key(command.unique, command.workload) if command.unique else None
        if key is not None and (twin := self.keys.find(key, command.function)) is not None:
            job = self.jobs[twin]
            again = self._join(job, listener)
            if node.audible:
                node.effects.append(self._joined(node, command, job, again))
            return
        if self.alarm is not None:
            if node.audible:
                node.effects.append(Refused(command.session, Refusal.NO_ROOM, ticket=command.ticket))
            return
        function = self.functions.get(command.function) or self._make_function(command.function)
        if function is None:
            if node.audible:
                node.effects.append(Refused(command.session, Refusal.TOO_MANY_FUNCTIONS, ticket=command.ticket))
            return
        if 0 < function.limits[priority] <= function.total:
            if node.audible:
                held = function.total > function.queued
                refused = Refused(command.session, Refusal.QUEUE_FULL, command if held else None, command.ticket)
                node.effects.append(refused)
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
        self._enter(job, listener)
        if node.audible:
            node.effects.append(Created(command.session, job, listener is not None, ticket=command.ticket))
        if command.due > self.now:
            job.due = command.due
            self.deadlines.set(command.due, number)
            return
        if function.sleepers and not function.queued and (sleeper := function.wake_last(self.asleep)) is not None:
            if len(sleeper.abilities) == 1:
                # It is the only job for this worker: what would come of queueing it is known.
                self._rouse(sleeper)
                sleeper.note_served(function.name)
                self._reserve(sleeper, job, wake=True)
                return
            self.waiting.append(job)
            self._wake_up(sleeper)
        else:
            self.waiting.append(job)
        if function.sleepers:
            self._wake(function)

    def _joined(self, node: Node, command: c.Submit, job: Job, again: bool) -> Effect:  # noqa: FBT001 - one caller
        """Answer a submit that joined a job."""
        holder: Session | None = job.holder
        if holder is not None and holder.node is not node and holder.node.up:
            return Joined(command.session, job, command, holder.node.name, holder.node.incarnation, again)
        return Created(command.session, job, not command.background, again, command.ticket)

    # -- giving jobs to workers --------------------------------------------------------------------

    def _grab(self, node: Node, command: c.Grab) -> None:
        session = node.sessions.get(command.session)
        job = None
        if session is not None:
            if session.parked:
                self._rouse(session)
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
        if session.parked:
            self._rouse(session)
        job = self.waiting.take(session)
        if job is not None:
            self._reserve(session, job, wake=True)
            return
        if not session.page.changed:
            session.page.change()
        asleep, functions = self.asleep, self.functions
        parking = session.parked = self.parkings = self.parkings + 1
        asleep[parking] = session
        for name in session.abilities:
            functions[name].add_sleeper(parking, asleep)

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
        if job is not None and job.attempts == command.attempts:
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
        limits = (max(0, command.high), max(0, command.normal), max(0, command.low))
        outcome = Outcome.DONE
        if any(limits) or command.function in self.functions:
            outcome = self._configure(command.function, limits=limits)
        self._settle(node, command.session, outcome)

    def _create_function(self, node: Node, command: c.CreateFunction) -> None:
        self._settle(node, command.session, self._configure(command.function, created=True))

    def _drop_function(self, node: Node, command: c.DropFunction) -> None:
        function = self.functions.get(command.function)
        if function is None:
            outcome = Outcome.NO_SUCH_FUNCTION
        elif function.running or function.workers:
            outcome = Outcome.FUNCTION_IN_USE
        elif function.total:
            outcome = Outcome.FUNCTION_HAS_JOBS
        else:
            outcome = self._configure(command.function, limits=NO_LIMITS, created=False)
        self._settle(node, command.session, outcome)

    def _settle(self, node: Node, session: int, outcome: Outcome) -> None:
        if node.audible:
            node.effects.append(Settled(session, outcome))
