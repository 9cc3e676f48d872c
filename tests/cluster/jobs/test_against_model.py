"""The table against the naive model, over random sequences of what nodes may say; against its own copies as well.

One copy has another audience, one was written to disk and read back at some moment: all of them go on with the same
proposals and must stay equal.
"""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cluster.jobs import (
    SEGMENT,
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
    Prefetch,
    Progress,
    Proposal,
    SessionClose,
    SessionOpen,
    SetLimit,
    Submit,
    TableMirror,
    Take,
    Unreserve,
    decode_proposal,
    digest,
    encode_proposal,
    propose,
    restore,
)
from tests.cluster.jobs import soundness
from tests.cluster.jobs.naive import NaiveTable
from tests.cluster.jobs.views import describe, observe

NODES = ("a", "b", "c")
nodes = st.sampled_from(NODES)
sessions = st.integers(1, 3)
functions = st.sampled_from([b"f", b"g", b"h"])
uniques = st.sampled_from([b"", b"", b"u", b"v", b"-"])
workloads = st.sampled_from([b"", b"x", b"y", b"x" * 4095, b"x" * 4096, b"y" * 5000])
priorities = st.integers(0, 2)
time_limits = st.sampled_from([0, 0, 1000, 1500])
picks = st.integers(0, 11)


class Disk:
    """What a node's storage keeps of one table: blobs by number."""

    def __init__(self) -> None:
        self.meta = b""
        self.segments: dict[int, bytes] = {}
        self.payloads: dict[int, bytes] = {}

    def write(self, mirror: TableMirror) -> None:
        self.meta = mirror.meta
        for number, data in mirror.segments:
            if data is None:
                del self.segments[number]
            else:
                self.segments[number] = data
        for number, payload in mirror.payloads:
            assert number not in self.payloads, "a payload was written twice"
            self.payloads[number] = payload
        for number in mirror.dropped_payloads:
            del self.payloads[number]

    def read(self, audience: str) -> tuple[JobTable, MirrorWriter]:
        return restore(self.meta, self.segments.items(), self.payloads.items(), audience)

    def copy(self) -> "Disk":
        copy = Disk()
        copy.meta, copy.segments, copy.payloads = self.meta, dict(self.segments), dict(self.payloads)
        return copy


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
        self.disk = Disk()
        self.restored, self.restored_writer, self.restored_disk = *self.disk.read("a"), Disk()
        self.voices = {name: Voice() for name in NODES}
        self.time = 1000

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

    def held_by(self, name: str, session: int, pick: int) -> int:
        """Choose a job for a session to speak of: mostly one it holds, else any, else none that exists."""
        own = [job.number for job in self.model.jobs if job.holder is not None and job.holder.name == (name, session)]
        others = [job.number for job in self.model.jobs]
        if own and pick < 9:
            return own[pick % len(own)]
        return others[pick % len(others)] if others else self.model.last_job + pick

    # -- rules --

    @initialize(before=st.sampled_from([0, SEGMENT - 3, SEGMENT - 3, 2 * SEGMENT - 2]), retries=st.integers(-1, 1))
    def begin(self, before: int, retries: int) -> None:
        """Start near the border of two segments, with three nodes that have sessions."""
        for name in NODES:
            self.voices[name].start(NodeUp(b"H:" + name.encode(), retries))
        prefix = b"H:a:"
        self.say("a", *(Submit(0, b"old", b"", b"", 1, background=True) for _ in range(before)))
        self.say("a", *(Cancel(0, prefix + b"%d" % number) for number in range(1, before + 1)), DropFunction(0, b"old"))
        for name in NODES:
            opened = [SessionOpen(number, f"{name}:{number}") for number in (2, 1)]
            self.say(name, *opened, Can(2, b"f", 0), Can(2, b"g", 1500), Can(1, b"g", 0))

    @rule(milliseconds=st.sampled_from([0, 1, 400, 1000, 1600, -700]))
    def time_passes(self, milliseconds: int) -> None:
        """Or goes back: leaders' clocks differ."""
        self.time += milliseconds
        self.apply(propose(self.time, []))

    @rule(name=nodes, session=sessions, gather=st.booleans())
    def open(self, name, session, gather):
        self.say(name, SessionOpen(session, f"{name}:{session}"), gather=gather)

    @rule(name=nodes, session=sessions)
    def close(self, name, session):
        self.say(name, SessionClose(session))

    @rule(name=nodes, session=sessions, client_id=st.sampled_from([b"", b"me"]))
    def identify(self, name, session, client_id):
        self.say(name, Identify(session, client_id), gather=True)

    @rule(name=nodes, session=sessions, function=functions, limit=time_limits, gather=st.booleans())
    def can(self, name, session, function, limit, gather):
        self.say(name, Can(session, function, limit), gather=gather)

    @rule(name=nodes, session=sessions, function=functions, every=st.booleans())
    def cannot(self, name, session, function, every):
        self.say(name, CantAny(session) if every else Cant(session, function))

    @rule(name=nodes, session=sessions, function=functions, unique=uniques, workload=workloads, priority=priorities,
          background=st.booleans(), gather=st.booleans())  # fmt: skip
    def submit(self, name, session, function, unique, workload, priority, background, gather):
        self.say(name, Submit(session, function, unique, workload, priority, background), gather=gather)

    @rule(name=nodes, function=functions, count=st.integers(2, 9), background=st.booleans())
    def submit_many(self, name, function, count, background):
        self.say(name, *(Submit(2, function, b"", b"%d" % n, n % 3, background) for n in range(count)))

    @rule(name=nodes, session=sessions, function=functions, unique=uniques, delay=st.sampled_from([0, 1, 500, 2000]))
    def submit_for_later(self, name, session, function, unique, delay):
        due = self.time + delay
        self.say(name, Submit(session, function, unique, b"later", 1, background=True, due=due, reducer=b"reducer"))

    @rule(name=nodes, session=sessions, ahead=st.integers(0, 3), gather=st.booleans())
    def grab(self, name, session, ahead, gather):
        self.say(name, Grab(session, ahead), gather=gather)

    @rule(name=nodes, session=sessions, ahead=st.integers(0, 3))
    def prefetch(self, name, session, ahead):
        self.say(name, Prefetch(session, ahead))

    @rule(name=nodes, session=sessions, gather=st.booleans())
    def park(self, name, session, gather):
        self.say(name, Park(session), gather=gather)

    @rule()
    def park_all(self):
        for name in NODES:
            self.say(name, *(Park(session) for session in (1, 2, 3)))

    @rule(name=nodes, session=sessions, pick=picks)
    def take(self, name, session, pick):
        self.say(name, Take(session, self.held_by(name, session, pick)))

    @rule(name=nodes, session=sessions, pick=picks)
    def unreserve(self, name, session, pick):
        self.say(name, Unreserve(session, self.held_by(name, session, pick)))

    @rule(name=nodes, session=sessions, pick=picks)
    def finish(self, name, session, pick):
        self.say(name, Finish(session, self.held_by(name, session, pick)))

    @rule(name=nodes, session=sessions, pick=picks, part=st.integers(0, 3))
    def progress(self, name, session, pick, part):
        self.say(name, Progress(session, self.held_by(name, session, pick), part, 3))

    @rule(name=nodes, session=sessions, pick=picks, known=st.booleans())
    def cancel(self, name, session, pick, known):
        handles = [job.handle for job in self.model.jobs] if known else [b"H:a:0", b"", b"nothing", b"H:b:\xb2"]
        if handles:
            self.say(name, Cancel(session, handles[pick % len(handles)]))

    @rule(name=nodes, function=functions, limits=st.tuples(*[st.sampled_from([0, 0, 1, 3])] * 3))
    def limit(self, name, function, limits):
        self.say(name, SetLimit(1, function, *limits))

    @rule(name=nodes, function=functions, drop=st.booleans())
    def create_or_drop(self, name, function, drop):
        self.say(name, DropFunction(1, function) if drop else CreateFunction(1, function))

    @rule(name=nodes, retries=st.integers(-1, 2))
    def restart_node(self, name, retries):
        self.voices[name].start(NodeUp(b"H:%b%d" % (name.encode(), retries + 1), retries))
        self.say(name, SessionOpen(3, "new"), SessionOpen(1, "new"), Can(3, b"f", 1000), Can(1, b"f", 0))

    @rule(name=nodes, of=nodes, ago=st.integers(0, 1))
    def node_down(self, name, of, ago):
        self.say(name, NodeDown(of, self.voices[of].incarnation - ago))

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
        self.disk.write(self.writer.take(self.table))
        self.restored_disk.write(self.restored_writer.take(self.restored))

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
                if session.parked:
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

    def teardown(self):
        """What was flushed on the way adds up to the table, for both writers."""
        self.flush()
        for disk in (self.disk, self.restored_disk):
            table, _ = disk.read("a")
            assert digest(table) == digest(self.table)
            big = {job.number for job in table.jobs.values() if len(job.workload) >= 4096}
            assert set(disk.payloads) == big


TestAgainstModel = TableMachine.TestCase
TestAgainstModel.settings = settings(stateful_step_count=50)
