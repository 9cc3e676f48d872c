"""Random schedules on the stage: whatever happens in whatever order, the group stays safe, and afterwards it gets on.

A small relative of the simulator: no clock and no job table, but every message, write and tick in any order at all. The
number in a failing test's name reproduces it.
"""

import contextlib
import random

import pytest

from cluster.raft import (
    Change,
    ChangeKind,
    ConfigurationChange,
    RefusedError,
    Role,
)
from tests.cluster.raft.stage import Group

VOTERS = ("1", "2", "3")
SPARE = ("4", "5")


class Chaos:
    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.group = Group(
            *VOTERS,
            joining=SPARE,
            max_append_bytes=self.rng.choice([1, 40, 1000]),
            max_inflight=self.rng.choice([1, 2, 8]),
            max_recent_bytes=self.rng.choice([0, 500, 100_000]),
            max_apply_bytes=self.rng.choice([1, 100]),
            chunk_bytes=self.rng.choice([1, 7, 100]),
            chunk_window=self.rng.choice([1, 3]),
            promotion_lag=self.rng.choice([0, 5]),
        )
        self.proposals = 0
        self.contexts = 0
        self.asked: dict[tuple[str, int], int] = {}
        """For each read under way, the highest index that was applied anywhere when it was asked."""

    def run(self, steps: int) -> None:
        events = (
            [self.deliver] * 40
            + [self.tick] * 12
            + [self.propose] * 8
            + [self.persist] * 6
            + [self.lose, self.repeat, self.hold, self.read, self.read]
            + self.rng.choice([[self.crash], [self.crash, self.change, self.transfer, self.compact], [self.cut]])
        )
        for _ in range(steps):
            self.rng.choice(events)()
            self.group.settle()
            self.check_reads()

    def actor(self):
        return self.group.actors[self.rng.choice(list(self.group.actors))]

    def leader(self):
        leaders = [a for a in self.group.actors.values() if a.raft is not None and a.raft.role is Role.LEADER]
        return self.rng.choice(leaders) if leaders else None

    def deliver(self) -> None:
        network = self.group.network
        if network:
            # Mostly in order, sometimes anything.
            position = 0 if self.rng.random() < 0.7 else self.rng.randrange(len(network))
            self.group.deliver_one(network.pop(position))

    def lose(self) -> None:
        network = self.group.network
        for _ in range(self.rng.randrange(1, 4)):
            if network:
                network.pop(self.rng.randrange(len(network)))

    def repeat(self) -> None:
        if self.group.network:
            self.group.network.append(self.rng.choice(self.group.network))

    def tick(self) -> None:
        actor = self.actor()
        if actor.raft is not None:
            self.group.tick(actor.name, self.rng.choice([1, 1, 3, 12]))

    def propose(self) -> None:
        leader = self.leader()
        if leader is None:
            return
        try:
            for _ in range(self.rng.randrange(1, 4)):
                self.proposals += 1
                leader.core.propose(f"{self.proposals}".encode() * self.rng.randrange(1, 10))
        except RefusedError:
            pass

    def hold(self) -> None:
        self.actor().disk.held = True

    def persist(self) -> None:
        actor = self.actor()
        if actor.raft is not None:
            actor.persist(self.rng.randrange(1, 3))
            actor.disk.held = self.rng.random() < 0.3

    def crash(self) -> None:
        actor = self.actor()
        if actor.raft is not None and self.rng.random() < 0.5:
            actor.disk.mirror = (actor.applied, list(actor.items))
        if self.rng.random() < 0.5:
            self.group.restart(actor.name)
        elif actor.raft is not None:
            actor.crash()
        else:
            actor.start()

    def cut(self) -> None:
        if self.rng.random() < 0.5:
            self.group.cut.clear()
        else:
            self.group.cut.add((self.actor().name, self.actor().name))

    def change(self) -> None:
        leader = self.leader()
        if leader is None:
            return
        nodes = self.rng.sample(list(self.group.actors), self.rng.choice([1, 1, 2]))
        changes = tuple(Change(self.rng.choice(list(ChangeKind)), node) for node in nodes)
        with contextlib.suppress(RefusedError):
            leader.core.propose_configuration(ConfigurationChange(changes, joint=self.rng.random() < 0.3))

    def transfer(self) -> None:
        leader = self.leader()
        if leader is not None:
            with contextlib.suppress(RefusedError):
                leader.core.transfer(self.actor().name)

    def compact(self) -> None:
        actor = self.actor()
        if actor.raft is not None and actor.applied == actor.core.applied_index and actor.core.applied_index > 1:
            with contextlib.suppress(RefusedError):
                actor.compact(actor.applied - self.rng.randrange(3))

    def read(self) -> None:
        actor = self.actor()
        if actor.raft is None:
            return
        self.contexts += 1
        self.asked[actor.name, self.contexts] = max(self.group.log, default=0)
        with contextlib.suppress(RefusedError):
            actor.core.read_index(self.contexts)

    def check_reads(self) -> None:
        for actor in self.group.actors.values():
            for context, index in actor.reads.items():
                floor = self.asked.pop((actor.name, context), 0)
                assert index is None or index >= floor, f"stale read on {actor.name}: {index}, {floor} was applied"

    def heal(self) -> None:
        """End all faults and let time pass evenly: a leader must come, and everybody must catch up."""
        group = self.group
        group.cut.clear()
        for actor in group.actors.values():
            assert actor.stopped is None, f"{actor.name} stopped: {actor.stopped}"
            if actor.raft is None:
                actor.start()
            actor.disk.held = False
            actor.persist()
        for _ in range(300):
            group.settle()
            group.deliver()
            leader = self.leader()
            if leader is not None and self.caught_up(leader.core):
                return
            for name in self.rng.sample(list(group.actors), len(group.actors)):
                group.tick(name)
                if self.rng.random() < 0.5:
                    group.deliver()
        raise AssertionError("no progress after the faults have ended")

    def caught_up(self, core) -> bool:
        if core.commit < core.last_index or core.configuration.joint:
            return False
        return all(self.group.actors[name].applied == core.last_index for name in core.configuration.members)


class TestChaos:
    @pytest.mark.parametrize("seed", range(60))
    def test_any_schedule_is_safe_and_the_group_recovers(self, seed):
        chaos = Chaos(seed)
        chaos.run(600)
        chaos.heal()
        assert chaos.group.log
