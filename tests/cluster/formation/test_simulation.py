"""Formation under everything a network and its machines can do, from seeds.

`World` checks at every step that a node is in one group at most, that all of a group agree on its first members, that
nobody is in one without having accepted, and that a node binds itself with every lower node that it sees, which is what
keeps nodes that see each other from founding two groups.
"""

import random

import pytest

from cluster.formation import Founder, Joiner, decode_record
from tests.cluster.formation.world import World

CHUNK = 25


def play(seed, *, wipes=False):
    rng = random.Random(seed)
    count = rng.choice((1, 2, 3, 3, 4, 5))
    expect = min(rng.choice((1, 2, 3, count)), count)
    world = World(seed, [f"n{number}" for number in range(count)], expect)
    for machine in world.machines:
        if rng.random() < 0.8:
            machine.start()
    if count > 1:
        for _ in range(rng.choice((0, 50, 200, 500))):
            world.random_step(wipes=wipes)
    return world, expect


class TestManyHistories:
    @pytest.mark.parametrize("chunk", range(16))
    def test_end_in_one_group_of_all(self, chunk):
        for seed in range(chunk * CHUNK, (chunk + 1) * CHUNK):
            world, expect = play(seed)
            before = len(world.groups) + sum(machine.pending is not None for machine in world.machines)
            world.quieten()
            states = [(machine.id, machine.group, machine.report) for machine in world.machines]
            assert world.groups, (seed, states)
            if before == 0 or 2 * expect > len(world.machines):
                assert len(world.groups) == 1, (seed, states)
            if len(world.groups) == 1:
                assert all(machine.group for machine in world.machines), (seed, states)

    @pytest.mark.parametrize("chunk", range(8))
    def test_with_disks_that_are_lost_end_so_too_or_with_a_way_out_in_words(self, chunk):
        for seed in range(chunk * CHUNK, (chunk + 1) * CHUNK):
            world, _ = play(seed, wipes=True)
            for _ in range(len(world.machines)):
                world.quieten(30)
                told = [machine for machine in world.machines if "delete /data" in machine.report]
                for machine in told:  # as an operator does
                    world.crash(machine)
                    machine.blank_disk()
                restarted = [machine for machine in world.machines if "restart this node" in machine.report]
                for machine in restarted:
                    world.crash(machine)
                    machine.start()
                if not told and not restarted:
                    break
            stuck = [(machine.id, machine.report) for machine in world.machines if not machine.group]
            assert all(report for _, report in stuck), (seed, stuck)
            assert not stuck or len(world.groups) > 1, (seed, stuck)

    def test_of_one_seed_are_the_same(self):
        def history(seed):
            world, _ = play(seed)
            world.quieten()
            return world.now, world.groups, [machine.disk for machine in world.machines]

        assert history(7) == history(7)
        assert history(7) != history(8)


class TestACalmNetwork:
    @pytest.mark.parametrize(("count", "expect"), [(1, 1), (2, 2), (3, 3), (5, 5), (5, 3), (4, 1)])
    def test_founds_one_group_of_the_lowest_and_the_others_join(self, count, expect):
        world = World(1, [f"n{number}" for number in range(count)], expect)
        world.quieten()
        lowest = tuple(sorted(machine.id for machine in world.machines)[:expect])
        (members,) = world.groups.values()
        assert members == lowest
        for machine in world.machines:
            record = decode_record(machine.disk)
            assert isinstance(record, Founder if machine.id in lowest else Joiner)
