"""The job table's semantics in the plainest form: lists and linear scans, nothing kept that can be counted instead.

It says what is right; it is not for speed, and shares nothing with the table but the commands. Effects are tuples, as
`views.describe` gives for the table's own.
"""

from dataclasses import dataclass, field

import msgspec

from cluster.jobs import (
    Alarm,
    Batch,
    Can,
    Cancel,
    Cant,
    CantAny,
    CreateFunction,
    DropFunction,
    Finish,
    Grab,
    Identify,
    NodeUp,
    Park,
    Part,
    Prefetch,
    Progress,
    Proposal,
    SessionClose,
    SessionOpen,
    SetLimit,
    Submit,
    Take,
    Unreserve,
)

DELAYED, QUEUED, RESERVED, RUNNING = "DELAYED", "QUEUED", "RESERVED", "RUNNING"


@dataclass(eq=False)
class NaiveSession:
    node: "NaiveNode"
    number: int
    peer: str
    client_id: bytes = b""
    abilities: list[list] = field(default_factory=list)
    """[function, time limit], the one served longest ago first."""
    alive: bool = True

    @property
    def name(self):
        return self.node.name, self.number

    def can(self, function):
        return any(name == function for name, _ in self.abilities)


@dataclass(eq=False)
class NaiveNode:
    name: str
    incarnation: int = 0
    last: int = 0
    up: bool = False
    prefix: bytes = b""
    max_packet: int = 0
    process: str = ""
    timeout: int = 0
    short_of: dict[int, tuple[int, int]] = field(default_factory=dict)
    sessions: list[NaiveSession] = field(default_factory=list)
    uploads: dict[int, bytes] = field(default_factory=dict)


@dataclass
class NaiveSettings:
    limits: tuple[int, int, int] = (0, 0, 0)
    created: bool = False


@dataclass(eq=False)
class NaiveJob:
    number: int
    handle: bytes
    function: bytes
    unique: bytes
    workload: bytes
    reducer: bytes
    priority: int
    background: bool
    state: str = DELAYED
    due: int = 0
    deadline: int = 0
    attempts: int = 0
    progress: tuple[int, int] = (0, 0)
    holder: NaiveSession | None = None
    listeners: list[NaiveSession] = field(default_factory=list)

    def shown(self):
        return self.handle, self.function, self.unique, self.workload, self.reducer


class NaiveTable:
    def __init__(self, step=10**9, due=10**9):
        """`step`: how much of the end of sessions one entry does; `due`: how many jobs fall due in one entry."""
        self.step, self.due = step, due
        self.left = 0
        self.departing: list[list[NaiveSession]] = []
        """Sessions that are over and not gone yet, those that ended together in one list."""
        self.most_functions = 0
        self.now = 0
        self.retries = -1
        self.last_job = 0
        self.nodes: list[NaiveNode] = []
        self.settings: dict[bytes, NaiveSettings] = {}
        self.jobs: list[NaiveJob] = []
        self.queue: list[NaiveJob] = []
        """Every waiting job, of whatever function and priority, first in line first."""
        self.asleep: list[NaiveSession] = []
        """Parked sessions, the last one parked at the end."""
        self.told: list[tuple[str, tuple]] = []

    # -- applying --

    def apply(self, proposal: Proposal) -> list[tuple[str, tuple]]:
        """Return the effects for every node, each with the node's name, in order."""
        self.now = max(self.now, proposal.time)
        self.left = self.step
        self.depart()
        for _ in range(self.due):
            times = [(job.due, job.number, job) for job in self.jobs if job.state == DELAYED and job.due <= self.now]
            times += [(job.deadline, job.number, job) for job in self.jobs if 0 < job.deadline <= self.now]
            if not times:
                break
            job = min(times)[2]
            if job.state == DELAYED:
                self.enqueue(job)
                self.wake(job.function)
            else:
                self.tell(job.holder, ("revoked", job.holder.number, job.number, "TIME_LIMIT"))
                self.give_up(job, attempt=True)
                self.wake(job.function)
        for batch in proposal.batches:
            self.batch(batch)
        for decision in proposal.decisions:
            node = self.node(decision.node)
            if node is not None and node.incarnation == decision.incarnation:
                self.end_node(node)
        told, self.told = self.told, []
        return told

    def batch(self, batch: Batch) -> None:
        node = self.node(batch.node)
        if node is None:
            node = NaiveNode(batch.node)
            self.nodes.append(node)
        if batch.incarnation > node.incarnation:
            if batch.first != 1 or not batch.commands or not isinstance(batch.commands[0], NodeUp):
                return
            self.end_node(node)
            node.incarnation = batch.incarnation
            node.last = 0
        elif batch.incarnation < node.incarnation or not node.up:
            return
        for number, command in enumerate(batch.commands, batch.first):
            if number == node.last + 1:
                self.command(node, command)
                node.last = number

    def command(self, node: NaiveNode, command) -> None:
        session = self.session(node, command.session) if hasattr(command, "session") else None
        match command:
            case NodeUp():
                node.up = True
                node.prefix = command.handle_prefix
                node.max_packet = command.max_packet
                node.process = command.process
                node.timeout = command.timeout
                self.retries = command.job_retries
                self.most_functions = command.max_functions
            case SessionOpen():
                if session is None:
                    node.sessions.append(NaiveSession(node, command.session, command.peer))
            case SessionClose():
                if session is not None:
                    self.end_sessions(node, [session])
            case Identify():
                if session is not None:
                    session.client_id = command.client_id
            case Can():
                if session is not None:
                    self.can(node, session, command.function, command.time_limit)
            case Cant():
                if session is not None:
                    session.abilities = [ability for ability in session.abilities if ability[0] != command.function]
            case CantAny():
                if session is not None:
                    session.abilities = []
            case Part():
                node.uploads[command.upload] = node.uploads.get(command.upload, b"") + command.data
            case Submit():
                workload = node.uploads.pop(command.upload, b"") + command.workload
                self.submit(node, session, msgspec.structs.replace(command, workload=workload))
            case Grab():
                self.grab(node, session, command)
            case Prefetch():
                if session is not None and session not in self.asleep:
                    self.reserve_ahead(session, command.ahead)
            case Park():
                if session is not None:
                    self.park(session)
            case Take():
                job = self.held(session, command.job)
                if job is not None and job.state == RESERVED:
                    self.run(session, job)
            case Unreserve():
                job = self.held(session, command.job)
                if job is not None:
                    self.give_up(job, attempt=False)
                    self.wake(job.function)
            case Finish():
                job = self.held(session, command.job)
                if job is not None and job.attempts == command.attempts:
                    listeners = [listener.name for listener in job.listeners]
                    self.remove(job)
                    self.tell(node, ("ended", command.session, job.number, listeners))
                    for listener in job.listeners:
                        if listener.node is not node:
                            said = ("concluded", listener.number, job.number, (node.name, node.incarnation))
                            self.tell(listener, said)
            case Progress():
                job = self.held(session, command.job)
                if job is not None:
                    job.progress = (command.numerator, command.denominator)
            case Cancel():
                self.cancel(node, command)
            case SetLimit():
                limits = tuple(max(0, limit) for limit in (command.high, command.normal, command.low))
                if limits == (0, 0, 0) and command.function not in self.settings:
                    self.tell(node, ("settled", command.session, "DONE"))
                elif self.room_for(command.function):
                    self.settings.setdefault(command.function, NaiveSettings()).limits = limits
                    self.tell(node, ("settled", command.session, "DONE"))
                else:
                    self.tell(node, ("settled", command.session, "TOO_MANY_FUNCTIONS"))
            case CreateFunction():
                if self.room_for(command.function):
                    self.settings.setdefault(command.function, NaiveSettings()).created = True
                    self.tell(node, ("settled", command.session, "DONE"))
                else:
                    self.tell(node, ("settled", command.session, "TOO_MANY_FUNCTIONS"))
            case DropFunction():
                self.drop_function(node, command)
            case Alarm():
                short = {resource: said for resource, said in node.short_of.items() if resource != command.resource}
                if command.mark != 0 and command.resource in (1, 2):
                    short[command.resource] = (command.found, command.mark)
                node.short_of = short
            case _:
                raise AssertionError(command)

    def tell(self, who: NaiveNode | NaiveSession, effect: tuple) -> None:
        if isinstance(who, NaiveNode):
            self.told.append((who.name, effect))
        elif who.alive:
            self.told.append((who.node.name, effect))

    # -- looking things up --

    def node(self, name):
        return next((node for node in self.nodes if node.name == name), None)

    def session(self, node, number):
        return next((session for session in node.sessions if session.number == number), None)

    def sessions(self):
        """All of them, those that are departing as well."""
        alive = [session for node in self.nodes for session in node.sessions]
        return alive + [session for group in self.departing for session in group]

    def functions(self):
        """The names that stand for something: a job, a worker, a setting."""
        set_up = {name for name, settings in self.settings.items() if settings != NaiveSettings()}
        can = {name for session in self.sessions() for name, _ in session.abilities}
        return {job.function for job in self.jobs} | can | set_up

    def room_for(self, name):
        return name in self.functions() or not 0 < self.most_functions <= len(self.functions())

    def limits(self, name):
        return self.settings[name].limits if name in self.settings else (0, 0, 0)

    def workers(self, name):
        return [session for session in self.sessions() if session.can(name)]

    def jobs_of(self, name):
        return [job for job in self.jobs if job.function == name]

    def waiting(self, name):
        return [job for job in self.queue if job.function == name]

    def find(self, handle):
        return next((job for job in self.jobs if job.handle == handle), None)

    def find_unique(self, unique):
        return next((job for job in self.jobs if job.unique == unique and unique not in (b"", b"-")), None)

    def held(self, session, number):
        found = [job for job in self.jobs if job.number == number and job.holder is session and session is not None]
        return found[0] if found else None

    # -- nodes and sessions --

    def end_node(self, node: NaiveNode) -> None:
        if node.up:
            node.up = False
            node.short_of = {}
            node.uploads = {}
            self.told = [(name, effect) for name, effect in self.told if name != node.name]
            self.end_sessions(node, list(node.sessions))

    def end_sessions(self, node: NaiveNode, sessions: list[NaiveSession]) -> None:
        """End them all at once: none of them is given a job or told anything from now on."""
        for session in sessions:
            session.alive = False
            node.sessions.remove(session)
        self.asleep = [session for session in self.asleep if session.alive]
        if sessions:
            self.departing.append(sessions)
            self.depart()

    def depart(self) -> None:
        """Let go of those that ended first, as far as this entry goes, and give what they held to others then."""
        held = []
        while self.departing and self.left > 0:
            group = self.departing[0]
            if not self.let_go(group[0], held):
                break
            self.left -= 1
            del group[0]
            if not group:
                del self.departing[0]
        held.sort(key=lambda job: -job.number)
        for job in held:
            self.give_up(job, attempt=job.state == RUNNING)
        for job in reversed(held):
            if job in self.jobs:
                self.wake(job.function)

    def let_go(self, session, held) -> bool:
        """Tell whether nothing is left of a session."""
        self.left -= len(session.abilities)
        session.abilities = []
        for job in list(self.jobs):
            if session in job.listeners:
                if self.left <= 0:
                    return False
                self.left -= 1
                job.listeners.remove(session)
                if not job.listeners and not job.background and job.state in (DELAYED, QUEUED):
                    self.remove(job)
        for job in reversed(self.jobs):
            if job.holder is session and job not in held:
                if self.left <= 0:
                    return False
                self.left -= 1
                held.append(job)
        return True

    def can(self, node, session, function, time_limit) -> None:
        for ability in session.abilities:
            if ability[0] == function:
                ability[1] = time_limit
                return
        pairs = sum(len(each.abilities) for each in self.sessions())
        if not self.room_for(function) or 0 < 10 * self.most_functions <= pairs:
            self.tell(node, ("incapable", session.number, function))
        else:
            session.abilities.append([function, time_limit])

    # -- jobs --

    def submit(self, node, session, command) -> None:
        if not command.background and session is None:
            self.tell(node, ("refused", command.session, "NO_SESSION"))
            return
        for job in self.jobs_of(command.function):
            same = command.unique and job.unique == command.unique
            if same and (command.unique != b"-" or job.workload == command.workload):
                again = ()
                if command.background:
                    job.background = True
                elif session not in job.listeners:
                    job.listeners.append(session)
                else:
                    again = ("again",)
                if job.holder is not None and job.holder.alive and job.holder.node is not node:
                    holder = (job.holder.node.name, job.holder.node.incarnation)
                    self.tell(node, ("joined", command.session, job.number, job.handle, holder, *again))
                else:
                    self.tell(node, ("created", command.session, job.number, job.handle, *again))
                return
        if any(other.short_of for other in self.nodes):
            self.tell(node, ("refused", command.session, "NO_ROOM"))
            return
        if not self.room_for(command.function):
            self.tell(node, ("refused", command.session, "TOO_MANY_FUNCTIONS"))
            return
        limit = self.limits(command.function)[command.priority]
        if limit and len(self.jobs_of(command.function)) >= limit:
            delayed = [job for job in self.jobs_of(command.function) if job.state == DELAYED]
            held = ("held",) if delayed or any(job.holder for job in self.jobs_of(command.function)) else ()
            self.tell(node, ("refused", command.session, "QUEUE_FULL", *held))
            return
        self.last_job += 1
        job = NaiveJob(
            self.last_job,
            node.prefix + b":" + str(self.last_job).encode(),
            command.function,
            command.unique,
            command.workload,
            command.reducer,
            command.priority,
            command.background,
        )
        if not command.background:
            job.listeners.append(session)
        self.jobs.append(job)
        self.tell(node, ("created", command.session, job.number, job.handle))
        if command.due > self.now:
            job.due = command.due
        else:
            self.enqueue(job)
            self.wake(job.function)

    def enqueue(self, job) -> None:
        job.state = QUEUED
        job.due = 0
        self.queue.append(job)

    def best(self, session) -> NaiveJob | None:
        """Priority first; then the function served longest ago; then the first in line."""
        for priority in (0, 1, 2):
            for function, _ in session.abilities:
                for job in self.queue:
                    if job.priority == priority and job.function == function:
                        return job
        return None

    def pick(self, session) -> NaiveJob | None:
        job = self.best(session)
        if job is not None:
            self.queue.remove(job)
            served = next(ability for ability in session.abilities if ability[0] == job.function)
            session.abilities.remove(served)
            session.abilities.append(served)
        return job

    def share(self, function) -> int:
        """How many jobs one worker may have reserved at a time: its even share of those that wait."""
        return len(self.waiting(function)) // max(1, len(self.workers(function)))

    def grab(self, node, session, command) -> None:
        self.asleep = [other for other in self.asleep if other is not session]
        job = self.pick(session) if session is not None else None
        if job is None:
            self.tell(node, ("no job", command.session))
            return
        self.hold(session, job)
        self.tell(node, ("assigned", command.session, job.number, job.shown()))
        self.reserve_ahead(session, command.ahead)

    def reserve_ahead(self, session, most) -> None:
        shares = {}
        for _ in range(most):
            further = self.best(session)
            if further is None:
                return
            shares.setdefault(further.function, self.share(further.function))
            if not shares[further.function]:
                return
            shares[further.function] -= 1
            self.reserve(session, self.pick(session), wake=False)

    def run(self, session, job) -> None:
        job.state = RUNNING
        for function, limit in session.abilities:
            if function == job.function and limit:
                job.deadline = self.now + limit

    def hold(self, session, job) -> None:
        job.state = RESERVED
        job.holder = session

    def reserve(self, session, job, *, wake) -> None:
        self.hold(session, job)
        self.tell(session, ("reserved", session.number, job.number, job.shown(), wake))

    def park(self, session) -> None:
        for job in self.jobs:
            if job.holder is session:
                job.deadline = 0
        self.asleep = [other for other in self.asleep if other is not session]
        job = self.pick(session)
        if job is not None:
            self.reserve(session, job, wake=True)
        else:
            self.asleep.append(session)

    def wake(self, function) -> None:
        while self.waiting(function):
            able = [session for session in self.asleep if session.can(function)]
            if not able:
                return
            self.asleep.remove(able[-1])
            self.reserve(able[-1], self.pick(able[-1]), wake=True)

    def give_up(self, job, *, attempt) -> None:
        job.holder = None
        job.deadline = 0
        job.progress = (0, 0)
        if attempt:
            job.attempts += 1
            if self.retries >= 0 and job.attempts > self.retries:
                self.fail(job)
                return
        if job.background or job.listeners:
            job.state = QUEUED
            self.queue.insert(0, job)
        else:
            self.remove(job)

    def fail(self, job) -> None:
        self.remove(job)
        for listener in job.listeners:
            self.tell(listener, ("failed", listener.number, job.number))

    def remove(self, job) -> None:
        self.jobs.remove(job)
        if job in self.queue:
            self.queue.remove(job)

    # -- administration --

    def cancel(self, node, command) -> None:
        job = self.find(command.handle)
        if job is None:
            self.tell(node, ("settled", command.session, "NO_SUCH_JOB"))
            return
        if job.holder is not None:
            self.tell(job.holder, ("revoked", job.holder.number, job.number, "CANCELLED"))
        self.fail(job)
        self.tell(node, ("settled", command.session, "DONE"))

    def drop_function(self, node, command) -> None:
        name = command.function
        if name not in self.functions():
            outcome = "NO_SUCH_FUNCTION"
        elif self.workers(name) or any(job.state == RUNNING for job in self.jobs_of(name)):
            outcome = "FUNCTION_IN_USE"
        elif self.jobs_of(name):
            outcome = "FUNCTION_HAS_JOBS"
        else:
            del self.settings[name]
            outcome = "DONE"
        self.tell(node, ("settled", command.session, outcome))

    # -- what can be seen --

    def observe(self) -> dict:
        """Everything visible, in the form of `views.observe`."""
        return {
            "table": (self.now, self.retries, self.most_functions, self.last_job, len(self.departing)),
            "nodes": {
                node.name: (
                    *(node.incarnation, node.last, node.up, node.prefix),
                    *(node.max_packet, node.process, node.timeout, node.short_of),
                )
                for node in self.nodes
                if node.incarnation > 0
            },
            "sessions": {
                session.name: {
                    "about": (session.peer, session.client_id),
                    "abilities": dict(session.abilities),
                    "asleep": session in self.asleep,
                    "holds": {job.number for job in self.jobs if job.holder is session},
                    "listens": {job.number for job in self.jobs if session in job.listeners},
                    "waits for": next((p for p in (0, 1, 2) if self.could_take(session, p)), None),
                }
                for node in self.nodes
                for session in node.sessions
            },
            "functions": {
                name: {
                    "limits": self.limits(name),
                    "total": len(self.jobs_of(name)),
                    "running": len([job for job in self.jobs_of(name) if job.state == RUNNING]),
                    "pending": [
                        len([job for job in self.jobs_of(name) if job.priority == p and job.state != RUNNING])
                        for p in (0, 1, 2)
                    ],
                    "waiting": [len([job for job in self.waiting(name) if job.priority == p]) for p in (0, 1, 2)],
                    "workers": len(self.workers(name)),
                    "sleepers": [session.name for session in self.asleep if session.can(name)],
                }
                for name in self.functions()
            },
            "jobs": {
                job.number: {
                    "shown": job.shown(),
                    "kind": (job.priority, job.background),
                    "state": job.state,
                    "times": (job.due, job.deadline),
                    "attempts": job.attempts,
                    "progress": job.progress,
                    "holder": None if job.holder is None else job.holder.name,
                    "listeners": [listener.name for listener in job.listeners],
                }
                for job in self.jobs
            },
            "queues": {
                (name, p): [job.number for job in self.waiting(name) if job.priority == p]
                for name in self.functions()
                for p in (0, 1, 2)
            },
        }

    def could_take(self, session, priority) -> bool:
        return any(job.priority == priority and session.can(job.function) for job in self.queue)
