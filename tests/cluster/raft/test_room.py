"""What a leader takes in, and keeps of the log, for members that lag."""

import pytest

from cluster.raft import OverloadedError
from cluster.raft.messages import Append
from cluster.raft.replication import PROBE_BYTES
from cluster.raft.room import SHARE, SMALL
from cluster.raft.store import ENTRY_OVERHEAD
from tests.cluster.raft.stage import Group

KEPT = 100_000
SIZE = 1000
ENTRY = SIZE + ENTRY_OVERHEAD


def group(**settings: int) -> Group:
    group = Group("1", "2", "3", **{"kept_ticks": 300, "kept_bytes": KEPT, "max_inflight_bytes": 4 * SIZE, **settings})
    group.elect("1")
    return group


def propose(group: Group, count: int) -> None:
    for _ in range(count):
        group.propose("1", "x" * SIZE)
        group.deliver()


def isolate(group: Group, name: str) -> None:
    """Let nothing pass between a node and the others."""
    for other in group.actors:
        group.cut |= {(name, other), (other, name)}


def drop(group: Group, *names: str) -> None:
    """Let the log of these nodes begin after all that they have applied, as far as they may."""
    for name in names:
        group[name].compact(group[name].applied_index)


class TestTheLog:
    def test_is_kept_for_a_member_that_was_heard_of_late(self):
        g = group()
        propose(g, 3)
        match = g["1"].followers["3"].match
        isolate(g, "3")
        propose(g, 20)
        g.tick("1", 3)
        g.deliver()
        drop(g, "1", "2")
        assert g["1"].first_index == match + 1
        assert g["2"].first_index == match + 1
        g.cut.clear()
        g.tick("1", 3)
        g.deliver()
        assert g["3"].commit == g["1"].commit
        assert not g.actors["1"].streams
        g.tick("1")
        g.deliver()
        drop(g, "1", "2")
        assert g["1"].first_index == g["1"].last_index + 1
        assert g["2"].first_index == g["2"].last_index + 1

    def test_is_not_kept_for_one_that_is_silent_for_too_long(self):
        g = group(kept_ticks=20)
        propose(g, 3)
        isolate(g, "3")
        propose(g, 20)
        for _ in range(20):
            g.tick("1")
            g.deliver()
        drop(g, "1")
        assert g["1"].first_index == g["1"].last_index + 1

    def test_is_not_kept_beyond_its_bound(self):
        g = group()
        propose(g, 3)
        isolate(g, "3")
        propose(g, 3 * KEPT // ENTRY)
        g.tick("1")
        g.deliver()
        drop(g, "1", "2")
        for name in ("1", "2"):
            kept = g[name].last_index + 1 - g[name].first_index
            assert KEPT - 2 * ENTRY <= kept * ENTRY <= KEPT

    def test_of_one_that_has_not_heard_what_is_needed_is_kept_up_to_the_bound(self):
        g = group()
        propose(g, 10)
        first = g["2"].first_index
        g["2"]._server.needed = 0
        drop(g, "2")
        assert g["2"].first_index == first


class TestIntake:
    def lagging(self, **settings: int) -> Group:
        """Give a group whose third node is heard, and takes no entries; it lacks more than half of what is kept."""
        g = group(**settings)
        g.actors["3"].disk.held = True
        propose(g, (KEPT // 2) // ENTRY + 2)
        assert g["1"].room > KEPT  # until the next tick
        g.tick("1")
        g.deliver()
        return g

    def test_slows_down_for_a_member_that_is_heard_and_lacks_half_of_what_is_kept(self):
        g = self.lagging()
        assert 0 < g["1"].room <= KEPT // 2 // SHARE
        g.propose("1", "x" * SIZE)
        g.deliver()
        assert g["1"].room == 0
        with pytest.raises(OverloadedError, match="3 lags behind"):
            g["1"].propose(b"x" * (SMALL + 1))
        g["1"].propose(b"x" * SMALL)  # as one is that tells the time

    def test_never_takes_so_much_that_such_a_member_is_left_behind(self):
        g = self.lagging(election_ticks=1000)
        taken = 0
        for _ in range(3 * 64):
            while g["1"].room:
                g.propose("1", "x" * 100)
                g.deliver()
                taken += 1
            g.tick("1")
            g.deliver()
            drop(g, "1")
        assert taken > 50
        match = g["1"].followers["3"].match
        assert g["1"].first_index <= match + 1
        g.actors["3"].disk.held = False
        g.actors["3"].persist()
        g.deliver()
        g.tick("1", 2)
        g.deliver()
        assert g["3"].commit == g["1"].commit
        g.tick("1")
        assert g["1"].room > KEPT

    def test_does_not_slow_down_for_one_that_is_not_heard(self):
        g = group()
        propose(g, 3)
        isolate(g, "3")
        propose(g, (KEPT // 2) // ENTRY + 2)
        for _ in range(11):
            g.tick("1")
            g.deliver()
        assert g["1"].room > KEPT

    def test_does_not_slow_down_for_ever_for_one_that_does_not_get_on(self):
        g = self.lagging()
        for _ in range(120):
            g.tick("1")
            g.deliver()
        assert g["1"].room > KEPT

    def test_is_bounded_by_what_the_own_disk_has_not(self):
        g = Group("1", "2", "3", max_uncommitted_bytes=5 * SIZE)
        g.elect("1")
        g.actors["1"].disk.held = True
        propose(g, 5)
        assert g["1"].commit == g["1"].last_index
        assert g["1"].room == 0
        g.actors["1"].disk.held = False
        g.actors["1"].persist()
        assert g["1"].room == 5 * SIZE


class TestAProbe:
    def probed(self, size: int) -> list[Append]:
        """Give what a leader sends to a node that lacks one entry of this size, and of whose log it knows nothing."""
        g = Group("1", "2", "3")
        g.elect("1")
        isolate(g, "3")
        g.propose("1", "x" * size)
        g.deliver()
        g.cut = {("3", "1")}
        progress = g["1"].followers["3"]
        progress.become_probe()
        sent = []
        for _ in range(4):
            progress.heard()
            progress.poke = True
            g["1"]._leadership.replication.due = True
            g.settle()
            sent += [message for message in g.network if isinstance(message, Append) and message.to == "3"]
            g.network.clear()
        return sent

    def test_is_sent_again_with_each_sign_of_life_and_so_carries_no_large_entry(self):
        for size, carried in ((100, True), (PROBE_BYTES + 1, False)):
            sent = self.probed(size)
            assert len(sent) == 4
            assert all(bool(message.entries) is carried for message in sent)
