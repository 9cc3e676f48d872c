"""Nodes, their disks, and a network between them that loses, repeats, delays and reorders, all from one seed.

A node is a `Forming` until it has a group, then an `Admission` of which only what it says of itself matters here. What
is checked at every step is in `record_changed` and `bind`.
"""

import random

from cluster.formation import (
    Accepted,
    Admission,
    AdmissionSettings,
    Forming,
    FormingSettings,
    Found,
    Founder,
    Join,
    Joiner,
    Persist,
    Refuse,
    Removed,
    Report,
    Send,
    decode,
    decode_record,
    encode,
)
from cluster.raft import Configuration

TICK = 100


class Machine:
    """One name, one disk; a process when it runs."""

    def __init__(self, world, name, expect, offset=0):
        self.world = world
        self.name = name
        self.expect = expect
        self.offset = offset
        self.lives = 0
        self.running = None
        self.report = ""
        self.pending = None
        self.blank_disk()

    def blank_disk(self):
        self.lives += 1
        self.id = f"{self.name}-{self.world.rng.randrange(1 << 32):08x}"
        self.disk = None
        self.record_changed(None)

    def record_changed(self, data):
        old, new = decode_record(self.disk), decode_record(data)
        self.disk = data
        if data is None:
            return
        world = self.world
        if isinstance(old, Founder | Joiner):
            assert old.group == new.group, f"{self.id} was in {old.group} and is in {new.group}"
        if isinstance(new, Founder):
            assert self.id in new.members
            assert world.groups.setdefault(new.group, new.members) == new.members
            if not isinstance(old, Accepted):  # the proposer: the group begins to exist
                for other in new.members:
                    if other != self.id:
                        assert world.accepted_by(other) == new.group, f"{other} never accepted {new.group}"
            else:
                assert old.proposal.id == new.group
        elif isinstance(new, Joiner):
            assert new.group in world.groups
        elif isinstance(new, Accepted):
            world.acceptances[self.id] = new.proposal.id
        else:
            assert isinstance(old, Accepted)
            assert old.proposal.id not in world.groups, f"{self.id} lets go of {old.proposal.id}, which was founded"
            del world.acceptances[self.id]

    def start(self):
        world = self.world
        record = decode_record(self.disk)
        self.pending = None
        if isinstance(record, Founder | Joiner):
            members = record.members if isinstance(record, Founder) else ()
            self.running = Admission(
                AdmissionSettings(node=self.id, name=self.name, place="/data"),
                record,
                Configuration(voters=members),
                1 if members else 0,
                alive=lambda node: False,
                randrange=world.rng.randrange,
                now=world.now,
                wall=world.now + self.offset,
            )
        else:
            self.running = Forming(
                FormingSettings(node=self.id, name=self.name, expect=self.expect, place="/data"),
                record,
                randrange=world.rng.randrange,
                now=world.now,
                wall=world.now + self.offset,
            )
        self.pump()

    def stop(self):
        self.running = None
        if self.pending is not None and self.world.rng.random() < 0.5:
            self.record_changed(self.pending)  # it reached the disk, and nobody was told
        self.pending = None

    def pump(self):
        world = self.world
        process = self.running
        while self.running is process and (actions := process.take()):
            for action in actions:
                match action:
                    case Send(to, message):
                        world.send(self.id, to, encode(message))
                    case Persist(record):
                        assert self.pending is None
                        self.pending = record
                        self.bind(decode_record(record))
                    case Report(reason):
                        self.report = reason
                    case Found() | Join():
                        links = [node for node in world.linked_to(self.id) if node in process._neighbours]
                        self.start()
                        for node in links:
                            self.running.linked(node)
                        self.pump()
                        return
                    case Refuse(node, reason):
                        world.refusals.append((self.id, node, reason))
                    case Removed():
                        pass
                    case _:
                        raise AssertionError(action)

    def bind(self, record):
        """Hold a node to the rule that makes two groups impossible: it goes with every lower node that it sees."""
        if isinstance(record, Accepted):
            members = record.proposal.members
        elif isinstance(record, Founder) and not isinstance(self.running._record, Accepted):
            members = record.members
        else:
            return
        for node in self.running._neighbours.links:
            assert node > self.id or node in members, f"{self.id} binds itself to {members} and sees {node}"

    def persisted(self):
        data, self.pending = self.pending, None
        self.record_changed(data)
        self.running.persisted()
        self.pump()


class World:
    def __init__(self, seed, names, expect):
        self.rng = random.Random(seed)
        self.now = 1_000_000
        self.groups = {}
        self.acceptances = {}
        self.refusals = []
        self.flying = []
        self.up = set()
        self.machines = [Machine(self, name, expect) for name in names]

    def accepted_by(self, node):
        return self.acceptances.get(node)

    def machine(self, node):
        return next((m for m in self.machines if m.id == node and m.running is not None), None)

    def linked_to(self, node):
        return [other for pair in self.up if node in pair for other in pair if other != node]

    def send(self, sender, to, data):
        assert data
        self.flying.append((sender, to, data))

    def deliver(self, position):
        sender, to, data = self.flying.pop(position)
        machine = self.machine(to)
        if machine is not None:
            machine.running.received(sender, decode(data))
            machine.pump()

    def link(self, a, b):
        self.up.add(frozenset((a.id, b.id)))
        for one, other in ((a, b), (b, a)) if self.rng.random() < 0.5 else ((b, a), (a, b)):
            if one.running is not None:
                one.running.linked(other.id)
                one.pump()
                while self.flying and self.rng.random() < 0.3:
                    self.deliver(self.rng.randrange(len(self.flying)))

    def unlink(self, a, b):
        self.up.discard(frozenset((a.id, b.id)))
        for one, other in ((a, b), (b, a)):
            if one.running is not None:
                one.running.unlinked(other.id)
                one.pump()

    def crash(self, machine):
        for node in self.linked_to(machine.id):
            self.unlink(machine, self.machine(node))
        machine.stop()

    def tick(self, milliseconds=TICK):
        self.now += milliseconds
        for machine in self.machines:
            if machine.running is not None:
                machine.running.tick(self.now, self.now + machine.offset)
                machine.pump()

    def random_step(self, *, wipes=False):
        rng = self.rng
        dice = rng.random()
        waiting = [m for m in self.machines if m.running is not None and m.pending is not None]
        if dice < 0.5 and self.flying:
            position = rng.randrange(len(self.flying)) if rng.random() < 0.5 else 0
            fate = rng.random()
            if fate < 0.1:
                self.flying.pop(position)
                return
            if fate < 0.2:
                self.flying.append(self.flying[position])
            self.deliver(position)
        elif dice < 0.62 and waiting:
            rng.choice(waiting).persisted()
        elif dice < 0.88:
            self.tick(rng.choice((TICK, TICK, 500)))
        elif dice < 0.96:
            a, b = rng.sample(self.machines, 2)
            if a.running is None or b.running is None:
                return
            if frozenset((a.id, b.id)) not in self.up:
                self.link(a, b)
            elif rng.random() < 0.3:
                self.unlink(a, b)
        else:
            machine = rng.choice(self.machines)
            if machine.running is None:
                if wipes and rng.random() < 0.2:
                    machine.blank_disk()
                machine.start()
            elif rng.random() < 0.6:
                self.crash(machine)

    def quieten(self, seconds=60):
        """Mend everything, and let time pass."""
        for machine in self.machines:
            if machine.running is None:
                machine.start()
        for a in self.machines:
            for b in self.machines:
                if a.id < b.id and frozenset((a.id, b.id)) not in self.up:
                    self.link(a, b)
        for _ in range(seconds * 1000 // TICK):
            self.settle()
            if all(m.group for m in self.machines):
                return
            self.tick()

    def settle(self):
        """Deliver and write until there is nothing left to."""
        while True:
            waiting = [m for m in self.machines if m.running is not None and m.pending is not None]
            if waiting:
                waiting[0].persisted()
            elif self.flying:
                self.deliver(0)
            else:
                return


def group_of(machine):
    record = decode_record(machine.disk)
    return record.group if isinstance(record, Founder | Joiner) else ""


Machine.group = property(group_of)
