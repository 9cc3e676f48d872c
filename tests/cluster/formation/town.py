"""Whole nodes: forming, then admission with the real consensus core under it, over disks in memory and one network."""

import random

from cluster.formation import (
    Admission,
    AdmissionSettings,
    Answered,
    Dial,
    Forming,
    FormingSettings,
    Found,
    Founder,
    Free,
    Join,
    Joiner,
    Persist,
    ProposeConfiguration,
    Refuse,
    Removed,
    Report,
    Send,
    TransferLeadership,
    decode,
    decode_record,
    encode,
)
from cluster.log import EntryKind
from cluster.raft import (
    Configuration,
    DurableState,
    MemoryStore,
    OpenSnapshot,
    Raft,
    RaftConfig,
    ReadSnapshot,
    RefusedError,
    Role,
    bootstrap,
    decode_configuration,
)
from cluster.raft import decode as decode_raft
from cluster.raft import encode as encode_raft

TICK = 100


class Resident:
    """One node: its disk, and its process while it runs."""

    def __init__(self, town, name, expect):
        self.town = town
        self.name = name
        self.expect = expect
        self.offset = 0
        self.running = False
        self.wipe()

    def wipe(self):
        """Lose the disk."""
        assert not self.running
        self.id = f"{self.name}-{self.town.rng.randrange(1 << 32):08x}"
        self.record = None
        self.store = None

    def start(self):
        assert not self.running
        town = self.town
        self.running = True
        self.forming = self.admission = self.raft = None
        self.report = None
        self.reports = []
        self.removed = ""
        self.leader = ""
        self.answers = {}
        record = decode_record(self.record)
        if isinstance(record, Founder | Joiner):
            self.enter()
        else:
            self.forming = Forming(
                FormingSettings(node=self.id, name=self.name, expect=self.expect, place=f"/var/lib/{self.name}"),
                record if record is not None else Free(),
                randrange=town.rng.randrange,
                now=town.now,
                wall=town.now + self.offset,
            )
        for other in town.residents:
            if other is not self and other.running and town.joined(self, other):
                for one, its in ((self, other), (other, self)):
                    one.life.linked(its.id)
                    one.pump()

    def enter(self):
        record = decode_record(self.record)
        if self.store is None:
            self.store = MemoryStore(bootstrap(*record.members)) if isinstance(record, Founder) else MemoryStore()
        base = self.store.base
        self.forming = None
        self.applied = base.index
        self.admission = Admission(
            AdmissionSettings(node=self.id, name=self.name, place=f"/var/lib/{self.name}"),
            record,
            base.configuration,
            base.index,
            alive=self.town.linked_with(self),
            randrange=self.town.rng.randrange,
            now=self.town.now,
            wall=self.town.now + self.offset,
        )
        self.raft = Raft(
            RaftConfig(id=self.id, randrange=self.town.rng.randrange),
            DurableState(log=self.store, hard_state=self.store.hard_state, base=base, applied=base.index),
        )

    def stop(self):
        self.running = False
        for other in self.town.residents:
            if other.running and self.town.joined(self, other):
                other.life.unlinked(self.id)
                other.pump()

    @property
    def life(self):
        return self.forming or self.admission

    @property
    def leads(self):
        return self.running and self.raft is not None and self.raft.role is Role.LEADER

    @property
    def configuration(self):
        return self.raft.configuration if self.raft is not None else Configuration()

    def tick(self):
        self.life.tick(self.town.now, self.town.now + self.offset)
        if self.raft is not None and not self.removed:
            self.raft.tick()
        self.pump()

    def take(self, sender, data):
        if data[:1] == b"R":
            if self.raft is not None:
                self.raft.step(decode_raft(data[1:]))
        else:
            self.life.received(sender, decode(data[1:]))
        self.pump()

    def pump(self):
        while True:
            if self.raft is not None and (ready := self.raft.ready()) is not None:
                self.carry_out(ready)
            elif actions := self.life.take():
                for action in actions:
                    self.act(action)
            else:
                return

    def carry_out(self, ready):
        for message in ready.messages:
            self.town.send(self.id, message.to, b"R" + encode_raft(message))
        if ready.write is not None:
            self.store.write(ready.write)
            if ready.write.snapshot is not None:
                self.applied = ready.write.snapshot.index
                self.admission.applied(ready.write.snapshot.configuration, self.applied)
            self.raft.persisted(ready.write.sequence)
        for entry in ready.committed:
            self.applied = entry.index
            if entry.kind is EntryKind.CONFIGURATION:
                self.admission.applied(decode_configuration(entry.data), entry.index)
        if ready.committed:
            self.raft.applied(self.applied)
        for request in ready.snapshots:
            match request:
                case OpenSnapshot(stream):
                    self.raft.snapshot_opened(stream, self.applied)
                case ReadSnapshot(stream):
                    self.raft.snapshot_data(stream, b"x", done=True)
        if ready.standing is not None:
            self.leader = ready.standing.leader
            self.admission.standing(self.leader)

    def act(self, action):
        match action:
            case Send(to, message):
                self.town.send(self.id, to, b"F" + encode(message))
            case Persist(record):
                self.record = record
                self.life.persisted()
            case Found() | Join():
                self.enter()
                for other in self.town.residents:
                    if other is not self and other.running and self.town.joined(self, other):
                        self.admission.linked(other.id)
            case Report(reason):
                self.report = reason
                self.reports.append(reason)
            case Removed(reason):
                self.removed = reason
            case Refuse(node, reason):
                self.town.refusals.append((self.name, node, reason))
            case ProposeConfiguration(change):
                self.town.changes.append(change)
                try:
                    self.raft.propose_configuration(change)
                except RefusedError as error:
                    self.town.changes.pop()
                    self.admission.proposed(str(error))
                else:
                    self.admission.proposed()
            case TransferLeadership(to):
                try:
                    self.raft.transfer(to)
                except RefusedError as error:
                    self.admission.transfer_refused(str(error))
            case Dial(host, port):
                self.town.dialled.append((self.name, host, port))
            case Answered(ticket, error):
                assert ticket not in self.answers, "answered twice"
                self.answers[ticket] = error

    def ask(self, order):
        ticket = self.admission.ask(order)
        self.pump()
        return ticket


class Town:
    def __init__(self, *names, expect=1, seed=1):
        self.rng = random.Random(seed)
        self.now = 1_000_000
        self.loss = 0.0
        self.flying = []
        self.cut = set()
        self.refusals = []
        self.dialled = []
        self.changes = []
        self.residents = []
        for name in names:
            self.add(name, expect)

    def __getitem__(self, name):
        return next(resident for resident in self.residents if resident.name == name)

    def add(self, name, expect=1):
        resident = Resident(self, name, expect)
        self.residents.append(resident)
        resident.start()
        return resident

    def joined(self, one, other):
        return frozenset((one.name, other.name)) not in self.cut

    def linked_with(self, resident):
        def alive(node):
            return any(
                other.id == node and other.running and other is not resident and self.joined(resident, other)
                for other in self.residents
            )

        return alive

    def separate(self, *names):
        """Cut the links between these and all the others."""
        for one in self.residents:
            for other in self.residents:
                if one.name in names and other.name not in names and self.joined(one, other):
                    self.cut.add(frozenset((one.name, other.name)))
                    for a, b in ((one, other), (other, one)):
                        if a.running and b.running:
                            a.life.unlinked(b.id)
                            a.pump()

    def mend(self):
        pairs, self.cut = self.cut, set()
        for pair in pairs:
            one, other = (self[name] for name in pair)
            if one.running and other.running:
                for a, b in ((one, other), (other, one)):
                    a.life.linked(b.id)
                    a.pump()

    def send(self, sender, to, data):
        self.flying.append((sender, to, data))

    def settle(self):
        while self.flying:
            sender, to, data = self.flying.pop(0)
            if self.rng.random() < self.loss:
                continue
            one, other = (next((r for r in self.residents if r.id == node), None) for node in (sender, to))
            if one is not None and other is not None and other.running and self.joined(one, other):
                other.take(sender, data)

    def wait(self, seconds, until=None):
        """Let time pass until something is so; fails when it does not come to be."""
        for _ in range(int(seconds * 1000 / TICK)):
            if until is not None and until():
                return
            self.now += TICK
            for resident in self.residents:
                if resident.running:
                    resident.tick()
            self.settle()
        assert until is None or until(), self.describe()

    def describe(self):
        return [(r.id, r.running, r.configuration if r.running else "", r.report, r.removed) for r in self.residents]

    @property
    def leader(self):
        """The latest leader, once a majority follows it."""
        leaders = [resident for resident in self.residents if resident.leads]
        latest = max(leaders, key=lambda resident: resident.raft.term, default=None)
        if latest is None:
            return None
        following = [r for r in self.residents if r.running and r.id in latest.configuration.voters]
        following = [r for r in following if r.leader == latest.id]
        return latest if 2 * len(following) > len(latest.configuration.voters) else None

    def voters(self, *names):
        """Tell whether exactly these are the voters, and nobody learns, as every one of them has it."""
        ids = tuple(sorted(self[name].id for name in names))
        return all(self[name].configuration == Configuration(voters=ids) for name in names if self[name].running)
