"""The simulated links and disks keep to what the real ones do, where a run depends on it."""

from random import Random

import pytest

from cluster.log import Entry, EntryKind
from cluster.mesh import Lane
from cluster.storage import CorruptionError
from tests.simulation import sizes
from tests.simulation.disk import Append, Store
from tests.simulation.journal import Journal
from tests.simulation.network import Network
from tests.simulation.schedule import MS, SECOND, Schedule
from tests.simulation.truth import Truth


class Process:
    """Takes note of what comes over the links."""

    def __init__(self) -> None:
        self.received_at: list[tuple[int, int]] = []
        self.schedule: Schedule

    def link_up(self, peer):
        pass

    def link_down(self, node):
        pass

    def ended(self, node, instance, *, goodbye):
        pass

    def unreachable(self, node):
        pass

    def received(self, node, lane, data):
        self.received_at.append((len(data), self.schedule.now))


def linked(scale: int = sizes.SCALE):
    """Make two processes with a link between them, in a scaled world of 1 Gbit/s."""
    schedule, random = Schedule(), Random(1)
    truth = Truth(schedule, 3.0)
    network = Network(schedule, random, Journal(schedule), truth)
    network.ordered = True
    network.jitter, network.slander = 1, 0.0
    network.limits, network.pace = sizes.limits(scale), 125 / scale
    network.kernel, network.window = sizes.KERNEL // scale, sizes.WINDOW // scale
    network.busy = lambda: False
    ends = {}
    for name in "ab":
        ends[name] = process = Process()
        process.schedule = schedule
        truth.started(name)
        ends[name + "mesh"] = network.join(name, f"{name}.1", process, lambda action, *arguments: action(*arguments))
    schedule.run(SECOND)
    return schedule, network, ends


class TestALink:
    def test_takes_time_for_what_is_large(self):
        schedule, _, ends = linked()
        began = schedule.now
        assert ends["amesh"].send("b", Lane.REPORTS, bytes(sizes.MAX_PACKET // sizes.SCALE))
        schedule.run(began + 5 * SECOND)
        ((size, at),) = ends["b"].received_at
        assert size == sizes.MAX_PACKET // sizes.SCALE
        assert 500 * MS < at - began < 600 * MS  # 64 MiB at 1 Gbit/s

    def test_lets_heartbeats_pass_what_is_large(self):
        schedule, _, ends = linked()
        began = schedule.now
        ends["amesh"].send("b", Lane.REPORTS, bytes(sizes.MAX_PACKET // sizes.SCALE))
        ends["amesh"].send("b", Lane.CONSENSUS, b"beat")
        schedule.run(began + 5 * SECOND)
        (size, at), _ = ends["b"].received_at
        assert size == 4
        assert at - began < 10 * MS

    def test_drops_a_message_longer_than_the_longest_and_the_world_knows(self):
        _, network, ends = linked()
        longest = network.limits.max_message
        assert ends["amesh"].send("b", Lane.ENTRIES, bytes(longest))
        assert not ends["amesh"].send("b", Lane.ENTRIES, bytes(longest + 1))
        assert [(one.sender, one.to, one.size) for one in network.refused] == [("a", "b", longest + 1)]

    def test_takes_no_more_than_a_lane_holds_and_tells_what_waits(self):
        _, network, ends = linked()
        piece = network.limits.max_message // 2
        taken = 0
        while ends["amesh"].send("b", Lane.ENTRIES, bytes(piece)):
            taken += piece
            assert ends["amesh"].waiting("b", Lane.ENTRIES) <= network.limits.lanes()[Lane.ENTRIES]
        assert taken >= network.limits.lanes()[Lane.ENTRIES] - piece
        assert ends["amesh"].send("b", Lane.CONSENSUS, b"beat")
        assert ends["amesh"].waiting("b", Lane.CONSENSUS) < 100

    def test_keeps_at_the_sender_what_a_frozen_process_does_not_read(self):
        schedule, network, ends = linked()
        network.freeze("b")
        piece = network.window // 2
        for _ in range(5):
            ends["amesh"].send("b", Lane.ENTRIES, bytes(piece))
        schedule.run(schedule.now + SECOND)
        assert ends["amesh"].waiting("b", Lane.ENTRIES) >= 3 * piece
        network.thaw("b")
        schedule.run(schedule.now + SECOND)
        assert ends["amesh"].waiting("b", Lane.ENTRIES) == 0
        assert len(ends["b"].received_at) == 5


class TestADisk:
    @pytest.mark.parametrize("seed", range(5))
    def test_refuses_to_give_an_entry_that_has_rotted(self, seed):
        store = Store()
        store.perform(Append([Entry(index, 1, EntryKind.COMMANDS, b"data%d" % index) for index in (1, 2, 3)], None))
        where = store.rot(Random(seed))
        number = int(where.removeprefix("entry "))
        with pytest.raises(CorruptionError, match=f"log entry {number} has a wrong checksum"):
            tuple(store.read_entries(1, 3))
        store.repair()
        assert [entry.data for entry in store.read_entries(1, 3)] == [b"data1", b"data2", b"data3"]


class TestAScaledWorld:
    def test_has_every_bound_in_the_same_proportion_to_the_others(self):
        usual, scaled = sizes.limits(1), sizes.limits(sizes.SCALE)
        assert scaled.max_message == usual.max_message // sizes.SCALE
        assert scaled.lanes() == tuple(size // sizes.SCALE for size in usual.lanes())
        assert sizes.consensus(sizes.SCALE)["max_append_bytes"] == sizes.consensus(1)["max_append_bytes"] // sizes.SCALE
        assert all(value > 0 for value in sizes.bounds(sizes.SCALE).values())

    def test_leaves_room_for_the_largest_packet_in_a_report(self):
        assert max(sizes.SCALED_WEIGHTS) < sizes.limits(sizes.SCALE).max_report
