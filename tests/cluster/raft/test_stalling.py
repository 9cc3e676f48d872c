"""A leader whose entries get nowhere hands over where another node can do better, and says why."""

from cluster.log import Entry, EntryKind
from cluster.raft import Notice, Obstacle, Role, Stalled
from cluster.raft.messages import Append, TimeoutNow
from tests.cluster.raft.stage import Group

STALL = 10


def group(*names: str, **settings: int) -> Group:
    group = Group(*(names or ("1", "2", "3")), **{"stall_ticks": STALL, "progress_bytes": 1000, **settings})
    group.elect("1")
    group.propose("1", "first")
    group.deliver()
    return group


def notices(group: Group, name: str) -> list[Notice]:
    return [notice for bundle in group.actors[name].bundles for notice in bundle.notices]


def tick(group: Group, count: int, *, losing: type | None = None, name: str = "1") -> int:
    """Let so many ticks pass, with all messages delivered but those of one kind; tell after how many it said so."""
    for number in range(count):
        if group[name].role is not Role.LEADER:
            return number
        group.tick(name)
        while group.network:
            if losing is not None:
                group.network = [message for message in group.network if not isinstance(message, losing)]
            waiting, group.network = group.network, []
            for message in waiting:
                group.deliver_one(message)
        if notices(group, name):
            return number + 1
    return count


class TestTheOwnDisk:
    def test_that_hangs_makes_a_leader_hand_over_to_one_that_has_more(self):
        g = group()
        g.actors["1"].disk.held = True
        g.propose("1", "second")
        g.deliver()
        assert g["1"].commit == g["1"].last_index  # nobody waits for it
        assert 2 * STALL < tick(g, 100) <= 2 * STALL + 3
        (notice,) = notices(g, "1")
        assert isinstance(notice, Stalled)
        assert (notice.obstacle, notice.heir in ("2", "3")) == (Obstacle.DISK, True)
        assert g[notice.heir].role is Role.LEADER
        assert g[notice.heir].commit == g[notice.heir].last_index

    def test_that_leaves_no_room_for_more_is_not_given_that_time(self):
        g = group(max_uncommitted_bytes=20_000)
        g.actors["1"].disk.held = True
        g.propose("1", "x" * 20_000)
        g.deliver()
        assert g["1"].room == 0
        assert 2 * STALL < tick(g, 100) <= 2 * STALL + 3

    def test_that_hangs_together_with_those_of_the_others_changes_nothing(self):
        g = group()
        for actor in g.actors.values():
            actor.disk.held = True
        g.propose("1", "second")
        assert tick(g, 5 * STALL) == 5 * STALL
        assert g["1"].role is Role.LEADER

    def test_that_gets_on_is_given_the_time_that_its_bytes_need(self):
        g = group()
        g.actors["1"].disk.held = True
        g.propose("1", "x" * 20_000)
        g.deliver()
        assert 2 * STALL + 20 < tick(g, 100) <= 2 * STALL + 23

    def test_of_a_node_alone_or_of_one_of_two_is_nothing_to_step_down_for_soon(self):
        for names in (("1",), ("1", "2")):
            g = group(*names)
            g.actors["1"].disk.held = True
            g.propose("1", "second")
            assert tick(g, 5 * STALL) == 5 * STALL
            assert g["1"].role is Role.LEADER


class TestSending:
    def test_that_loses_all_entries_makes_a_leader_hand_over_though_nobody_has_them(self):
        g = group()
        g.propose("1", "second")
        assert STALL < tick(g, 100, losing=Append) <= STALL + 3
        (notice,) = notices(g, "1")
        assert isinstance(notice, Stalled)
        assert notice.obstacle is Obstacle.SENDING
        assert g[notice.heir].role is Role.LEADER
        g.deliver()
        assert g["1"].role is Role.FOLLOWER
        assert g["1"].commit == g[notice.heir].commit

    def test_is_given_the_time_that_the_bytes_need(self):
        g = group()
        g.propose("1", "x" * 30_000)
        assert STALL + 30 < tick(g, 100, losing=Append) <= STALL + 33

    def test_to_one_of_three_only_is_no_reason(self):
        g = group()
        g.cut = {("1", "3")}
        g.propose("1", "second")
        g.deliver()
        assert tick(g, 5 * STALL) == 5 * STALL

    def test_is_tried_again_after_twice_the_time_only(self):
        g = group()
        g.propose("1", "second")
        lost = (Append, TimeoutNow)
        first = tick(g, 100, losing=lost)
        g.actors["1"].bundles.clear()
        second = tick(g, 100, losing=lost)
        assert 2 * STALL < second <= 2 * STALL + 3
        assert first <= STALL + 3


class TestTheDisksOfTheOthers:
    def slow(self) -> Group:
        g = group()
        for name in ("2", "3"):
            g.actors[name].disk.held = True
        g.propose("1", "second")
        g.deliver()
        return g

    def test_are_waited_for_much_longer_and_then_the_leader_steps_down(self):
        g = self.slow()
        after = tick(g, 1000)
        assert 10 * STALL < after <= 10 * STALL + 3
        (notice,) = notices(g, "1")
        assert isinstance(notice, Stalled)
        assert (notice.obstacle, notice.heir) == (Obstacle.FOLLOWERS, "")
        assert g["1"].role is Role.FOLLOWER

    def test_let_the_others_stand_for_election_before_it(self):
        g = self.slow()
        tick(g, 1000)
        g.tick("1", 30)
        assert g["1"].role is Role.FOLLOWER
        g.tick("1", 20)
        assert g["1"].role is Role.PRE_CANDIDATE

    def test_that_get_on_are_no_reason(self):
        g = self.slow()
        for _ in range(30):
            g.tick("1", 9)
            g.deliver()
            g.propose("1", "more")
            for name in ("2", "3"):
                disk = g.actors[name].disk
                disk.held = False
                g.actors[name].persist()
                disk.held = True
            g.deliver()
        assert notices(g, "1") == []

    def test_have_twice_the_time_after_a_term_without_a_commit(self):
        g = self.slow()
        server = g["1"]._server
        assert server.fruitless == 0
        server._fruitless, server._commit_before = 1, server.log.commit
        assert 20 * STALL < tick(g, 1000) <= 20 * STALL + 3


class TestFruitlessTerms:
    def test_are_counted_until_something_is_committed(self):
        g = group()
        server = g["2"]._server
        for term in (10, 11, 12):
            server.enter_term(term)
        assert server.fruitless == 2
        server.log.append((Entry(server.log.last_index + 1, 12, EntryKind.BARRIER, b""),))
        server.log.commit_to(server.log.last_index)
        assert server.fruitless == 0
        server.enter_term(13)
        assert server.fruitless == 0
