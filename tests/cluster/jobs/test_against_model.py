"""The table against the naive model, over random sequences of what nodes may say; against its own copies as well.

One copy has another audience, one was written to disk and read back at some moment: all of them go on with the same
proposals and must stay equal.
"""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cluster.jobs import (
    SEGMENT,
    Alarm,
    Batch,
    Can,
    Cancel,
    Cant,
    CantAny,
    Command,
    CreateFunction,
    DropFunction,
    Finish,
    Grab,
    Identify,
    JobTable,
    MirrorWriter,
    NodeDown,
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
    decode_proposal,
    departures,
    digest,
    encode_proposal,
    lifecycle,
    propose,
)
from tests.cluster.jobs import soundness
from tests.cluster.jobs.disk import Disk
from tests.cluster.jobs.naive import NaiveTable
from tests.cluster.jobs.views import describe, observe

NODES = ("a", "b", "c")
STEP, DUE = departures.STEP, lifecycle.DUE
FUNCTIONS = (b"f", b"f", b"f", b"g", b"g", b"h")
WORKLOADS = (b"", b"x", b"y", b"x" * 4095, b"x" * 4096, b"y" * 5000)
OFTEN = ("submit", "submit many", "grab", "park", "take", "finish", "unreserve")
SELDOM = (
    *("submit for later", "prefetch", "all park", "progress", "can", "cannot", "close", "open", "cancel", "limit"),
    *("create or drop", "alarm", "upload", "submit what was uploaded"),
)
nodes = st.sampled_from(NODES)
sessions = st.integers(1, 3)
picks = st.integers(0, 11)
deeds = st.tuples(
    st.sampled_from(OFTEN * 3 + SELDOM), nodes, sessions, st.sampled_from(FUNCTIONS), picks, st.integers(0, 3)
)


class Voice:
    """A node as it speaks: it numbers its commands, and may send them late, again, or with a gap."""

    def __init__(self) -> None:
        self.incarnation = 0
        self.said: list[Command] = []
        self.past: list[tuple[int, list[Command]]] = []

    def start(self, command: NodeUp) -> None:
        self.past.append((self.incarnation, self.said))
        self.incarnation += 1
        self.said = [command]


class TableMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.model = NaiveTable()
        self.table = JobTable("a")
        self.elsewhere = JobTable("b")
        self.writer = MirrorWriter()
        self.begun: bytes | None = None
        """The digest of the table when the mirror that is being taken was begun."""
        self.disk = Disk()
        self.restored, self.restored_writer, self.restored_disk = *self.disk.read("a"), Disk()
        self.voices = {name: Voice() for name in NODES}
        self.time = 1000
        self.most = 0

    # -- bringing proposals before all the tables --

    def apply(self, proposal: Proposal) -> None:
        proposal = decode_proposal(encode_proposal(proposal))
        told = self.model.apply(proposal)
        for table in (self.table, self.elsewhere, self.restored):
            effects = [describe(effect) for effect in table.apply(proposal)]
            assert effects == [effect for name, effect in told if name == table.audience]

    def batch(self, name: str) -> Batch:
        """Make the batch that an orderly node sends: what has not been applied yet."""
        voice = self.voices[name]
        node = self.model.node(name)
        last = node.last if node is not None and node.incarnation == voice.incarnation else 0
        return Batch(name, voice.incarnation, last + 1, voice.said[last:])

    def say(self, name: str, *commands: Command, gather: bool = False) -> None:
        self.voices[name].said.extend(commands)
        if not gather:
            self.apply(propose(self.time, [self.batch(name)]))

    def held_by(self, name: str, session: int, pick: int, *states: str) -> int:
        """Choose a job for a session to speak of: mostly one it holds, else any, else none that exists."""
        holder = self.model.session(self.model.node(name), session)
        held = [job for job in self.model.jobs if job.holder is holder is not None]
        own = [job.number for job in held if job.state in states] or [job.number for job in held]
        others = [job.number for job in self.model.jobs]
        if own and pick < 9:
            return own[pick % len(own)]
        return others[pick % len(others)] if others else self.model.last_job + pick

    # -- rules --

    @initialize(
        before=st.sampled_from([0, SEGMENT - 3, SEGMENT - 3, 2 * SEGMENT - 2]),
        retries=st.integers(-1, 1),
        step=st.sampled_from([1, 2, 5, 2000]),
        due=st.sampled_from([1, 2, 2000]),
        most=st.sampled_from([0, 2, 3]),
    )
    def begin(self, before: int, retries: int, step: int, due: int, most: int) -> None:
        """Start near the border of two segments, with three nodes that have sessions."""
        departures.STEP = self.model.step = step
        lifecycle.DUE = self.model.due = due
        self.most = most
        for name in NODES:
            self.voices[name].start(NodeUp(b"H:" + name.encode(), retries, 0, most))
        prefix = b"H:a:"
        self.say("a", *(Submit(0, b"old", b"", b"", 1, background=True) for _ in range(before)))
        self.say("a", *(Cancel(0, prefix + b"%d" % number) for number in range(1, before + 1)), DropFunction(0, b"old"))
        for name in NODES:
            opened = [SessionOpen(number, f"{name}:{number}") for number in (3, 1, 2)]
            able = [Can(number, function, 0) for number in (1, 2, 3) for function in (b"f", b"g")]
            self.say(name, *opened, *able, Can(2, b"g", 1500))

    @rule(milliseconds=st.sampled_from([0, 1, 400, 1000, 1600, -700]))
    def time_passes(self, milliseconds: int) -> None:
        """Or goes back: leaders' clocks differ."""
        self.time += milliseconds
        self.apply(propose(self.time, []))

    def do(self, kind: str, name: str, session: int, function: bytes, pick: int) -> list[Command]:
        """Make what a session does, as far as it can be known beforehand."""
        match kind:
            case "submit":
                unique = (b"", b"", b"u", b"-")[pick % 4]
                return [Submit(session, function, unique, WORKLOADS[pick % 6], pick % 3, background=pick % 5 > 2)]
            case "submit many":
                return [Submit(session, function, b"", b"%d" % n, n % 3, background=n % 4 > 0) for n in range(pick)]
            case "submit for later":
                due = self.time + (0, 1, 500, 2000)[pick % 4]
                return [Submit(0, function, b"v" * (pick % 2), b"later", 1, background=True, due=due, reducer=b"r")]
            case "upload":
                return [Part(1 + pick % 3, b"%d, " % pick)]
            case "submit what was uploaded":
                unique, workload = (b"", b"u", b"-")[pick % 3], WORKLOADS[pick % 6]
                return [Submit(session, function, unique, workload, 1, background=pick % 2 > 0, upload=1 + pick % 3)]
            case "grab":
                return [Grab(session, max(0, pick - 8))]
            case "prefetch":
                return [Prefetch(session, pick % 4)]
            case "park":
                return [Park(session)]
            case "all park":
                return [Park(other) for other in (1, 2, 3)]
            case "take":
                return [Take(session, self.held_by(name, session, pick, "RESERVED"))]
            case "unreserve":
                return [Unreserve(session, self.held_by(name, session, pick))]
            case "finish":
                return [Finish(session, self.held_by(name, session, pick, "RUNNING"))]
            case "progress":
                return [Progress(session, self.held_by(name, session, pick), pick, 12)]
            case "can":
                return [Can(session, function, (0, 1000, 1500)[pick % 3])]
            case "cannot":
                return [CantAny(session) if pick % 4 == 0 else Cant(session, function)]
            case "close":
                return [SessionClose(session)]
            case "open":
                return [SessionOpen(session, f"{name}:{pick}"), Identify(session, b"%d" % pick), Can(session, b"f", 0)]
            case "cancel":
                handles = [job.handle for job in self.model.jobs] if pick > 1 else []
                return [Cancel(session, handles[pick % len(handles)] if handles else b"H:b:\xb2")]
            case "limit":
                return [SetLimit(session, function, *((0, 0, 0), (2, 0, 3), (9, 8, 7))[pick % 3])]
            case "create or drop":
                return [CreateFunction(session, function) if pick % 2 else DropFunction(session, function)]
            case "alarm":
                # Mostly cleared at once: else nothing would be submitted for the rest of the story.
                raised = Alarm(pick % 3, session, (0, 7)[pick % 2])
                return [raised, Alarm(1, 0, 0), Alarm(2, 0, 0)][: 1 if pick > 9 else 3]
        raise AssertionError(kind)

    @rule(deeds=st.lists(deeds, min_size=1, max_size=15))
    def work_goes_on(self, deeds):
        """Each deed as an entry of its own; one in four is gathered and said with the next."""
        for kind, name, session, function, pick, gather in deeds:
            self.say(name, *self.do(kind, name, session, function, pick), gather=gather == 0)

    @rule(deeds=st.lists(deeds, min_size=10, max_size=30))
    def much_work_goes_on(self, deeds):
        self.work_goes_on(deeds)

    @rule(name=nodes, retries=st.integers(-1, 2))
    def restart_node(self, name, retries):
        self.voices[name].start(NodeUp(b"H:%b%d" % (name.encode(), retries + 1), retries, retries + 1))
        self.say(name, SessionOpen(3, "new"), SessionOpen(1, "new"), Can(3, b"f", 1000), Can(1, b"f", 0))

    @rule(of=nodes, ago=st.integers(0, 1), back=st.booleans(), speaks=st.booleans())
    def node_down(self, of, ago, back, speaks):
        """A node that is declared down says something more in its old incarnation, and mostly comes back."""
        batches = [self.batch(of)] if speaks else []
        self.apply(propose(self.time, batches, [NodeDown(of, self.voices[of].incarnation - ago)]))
        self.say(of, Park(1), Submit(0, b"f", b"", b"late", 1, background=True))
        if back:
            self.restart_node(of, -1)

    @rule(chosen=st.permutations(NODES), count=st.integers(1, 3))
    def several_nodes_speak(self, chosen, count):
        self.apply(propose(self.time, [self.batch(name) for name in chosen[:count]]))

    @rule(name=nodes, back=st.integers(0, 6), forward=st.integers(0, 2))
    def repeat_or_leave_a_gap(self, name, back, forward):
        said = self.voices[name].said
        batch = self.batch(name)
        first = max(1, batch.first - back) + forward
        self.apply(propose(self.time, [Batch(name, batch.incarnation, first, said[first - 1 :])]))

    @rule(name=nodes, pick=picks, start=st.integers(0, 5))
    def a_past_incarnation_speaks(self, name, pick, start):
        past = self.voices[name].past
        incarnation, said = past[pick % len(past)]
        self.apply(propose(self.time, [Batch(name, incarnation, start + 1, said[start:])]))

    @rule(name=nodes)
    def a_new_incarnation_begins_in_the_middle(self, name):
        voice = self.voices[name]
        self.apply(propose(self.time, [Batch(name, voice.incarnation + 1, 1, [Park(1)])]))
        self.apply(propose(self.time, [Batch(name, voice.incarnation + 1, 2, [NodeUp(b"", 0)])]))

    @rule()
    def flush(self):
        while self.begun is not None:
            self.go_on_with_the_mirror(1)
        self.disk.write(self.writer.take(self.table))
        self.restored_disk.write(self.restored_writer.take(self.restored))

    @rule()
    @precondition(lambda self: self.begun is None)
    def begin_a_mirror(self):
        """It is taken in steps, while the table changes."""
        self.writer.begin(self.table)
        self.begun = digest(self.table)

    @rule(most=st.integers(0, 2))
    @precondition(lambda self: self.begun is not None)
    def go_on_with_the_mirror(self, most):
        """Once it is whole, it is of the table as it was when the mirror was begun."""
        mirror = self.writer.go_on(most)
        if mirror is not None:
            self.disk.write(mirror)
            assert digest(self.disk.read("a")[0]) == self.begun
            self.begun = None

    @rule()
    @precondition(lambda self: self.model.jobs)
    def restart_from_disk(self):
        """Restore the mirrored table, from the increments so far; it goes on in place of the one restored before."""
        self.flush()
        self.restored_disk = self.disk.copy()
        self.restored, self.restored_writer = self.restored_disk.read("a")

    # -- after every step --

    @invariant()
    def the_table_is_as_the_model_says(self):
        expected = self.model.observe()
        for table in (self.table, self.restored):
            assert observe(table) == expected
        for job in self.model.jobs:
            assert self.table.find(job.handle).number == job.number
        for unique in (b"", b"u", b"v", b"-"):
            found, wanted = self.table.find_unique(unique), self.model.find_unique(unique)
            assert (found and found.number) == (wanted and wanted.number)

    @invariant()
    def every_table_is_sound(self):
        for table in (self.table, self.restored):
            soundness.check(table)

    @invariant()
    def a_parked_session_has_nothing_to_do(self):
        """What CAN_DO added while it slept is left out: that wakes nobody."""
        for node in self.table.nodes.values():
            for session in node.sessions.values():
                if session.parked and node.up:
                    added = self.added_asleep(session)
                    for name in session.abilities:
                        assert name in added or not any(self.table.functions[name].waiting)

    def added_asleep(self, session) -> set[bytes]:
        """Tell which functions a sleeping session has got since it parked: its parking is the last Park it said."""
        added: set[bytes] = set()
        node = session.node
        for command in self.voices[node.name].said[: node.last]:
            if getattr(command, "session", None) == session.number:
                if isinstance(command, Park):
                    added = set()
                elif isinstance(command, Can):
                    added.add(command.function)
        return added

    @invariant()
    def every_copy_is_equal(self):
        expected = digest(self.table)
        assert digest(self.elsewhere) == expected
        assert digest(self.restored) == expected

    @rule()
    @precondition(lambda self: self.model.departing)
    def what_departs_goes(self):
        """For as long as the table asks for it, entries that say nothing but the time are enough."""
        for _ in range(1000):
            if not self.model.departing:
                break
            assert self.table.next_deadline() == self.restored.next_deadline() == 0
            self.apply(propose(self.time, []))
        assert not self.table.departing

    def teardown(self):
        departures.STEP, lifecycle.DUE = STEP, DUE
        self.check_what_was_flushed()

    def check_what_was_flushed(self):
        """What was flushed on the way adds up to the table, for both writers."""
        self.flush()
        for disk in (self.disk, self.restored_disk):
            table, _ = disk.read("a")
            assert digest(table) == digest(self.table)
            big = {job.number for job in table.jobs.values() if len(job.workload) >= 4096 and not job.pieces}
            pieces = [piece for job in table.jobs.values() for piece in job.pieces]
            pieces += [piece for node in table.nodes.values() for up in node.uploads.values() for piece in up.pieces]
            assert len(set(pieces)) == len(pieces)
            assert set(disk.payloads) == big.union(-piece for piece in pieces)


TestAgainstModel = TableMachine.TestCase
TestAgainstModel.settings = settings(stateful_step_count=20)
