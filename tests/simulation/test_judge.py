"""What the world writes down, and what the judge makes of it: histories told by hand, excused and not excused."""

from types import SimpleNamespace

import pytest

from cluster.jobs import Batch, JobTable, NodeDown, NodeUp, propose
from tests.simulation.journal import ViolationError
from tests.simulation.promises import Promises
from tests.simulation.punctuality import LATE, RESERVED, Punctuality
from tests.simulation.runs import Run
from tests.simulation.schedule import MS, SECOND, Schedule
from tests.simulation.truth import CLOCK_MEMORY, EPOCH, SETTLED, Truth

TIMEOUT = 3 * SECOND


class World:
    """Three machines, of which the first leads; and the judge."""

    def __init__(self) -> None:
        self.schedule = Schedule()
        self.truth = Truth(self.schedule, TIMEOUT / SECOND)
        for name in "abc":
            self.truth.started(name)
            self.truth.incarnated(name, 1)
        self.truth.leads("a")
        self.naive = SimpleNamespace(queue=[], jobs=[], now=0)
        self.promises = Promises(self.truth, -1)
        self.committed = SimpleNamespace(members=("a", "b", "c"), voters=("a", "b", "c"))
        safety = SimpleNamespace(table_index=0, model=SimpleNamespace(naive=self.naive), leader_of=lambda term: "a")
        safety.configuration = self.committed
        self.promises.begin(safety)
        self.table = JobTable()
        self.index = 0
        for name in "abc":
            self.enter(Batch(name, 1, 1, [NodeUp(b"", -1)]))

    @property
    def punctuality(self) -> Punctuality:
        return self.promises.punctuality

    def at(self, seconds: float) -> None:
        """Let time go on to this moment."""
        self.schedule.now = int(seconds * SECOND)

    def enter(self, *batches: Batch, decisions: tuple[NodeDown, ...] = ()) -> None:
        """Commit batches, and decisions of the leader."""
        self.index += 1
        proposal = propose(0, list(batches), decisions)
        entry = SimpleNamespace(index=self.index, term=1)
        self.promises.entering(entry, proposal, self.table)
        self.table.apply(proposal)
        self.promises.entered(entry, proposal, self.table)

    def declare_down(self, name: str) -> None:
        """Commit the leader's word that a node is down."""
        self.enter(decisions=(NodeDown(name, 1),))

    def run(self, node: str = "b", limit: int = 0, job: int = 1, priority: int = 1, due: int = 0) -> Run:
        """Let a worker begin with a job now."""
        workload = b"%d" % job
        self.punctuality.asked(workload, b"f", priority, due)
        run = Run(job, node, 1, 1, self.truth.now, limit, workload, self.truth.life_of(node, 1))
        self.promises.run_begins(run)
        return run


@pytest.fixture
def world():
    return World()


class TestSilence:
    def test_is_that_of_a_node_that_a_leader_does_not_hear(self, world):
        world.at(2.9)
        assert not world.truth.silent("a", "b", 0)
        world.at(3.1)
        assert world.truth.silent("a", "b", 0)

    def test_ends_with_a_message(self, world):
        world.at(2)
        world.truth.arrived("b", "a")
        world.at(4)
        assert not world.truth.silent("a", "b", 0)
        assert world.truth.silent("a", "c", 0)

    def test_ends_with_a_link(self, world):
        world.at(2)
        world.truth.linked("a", "b")
        world.at(4)
        assert not world.truth.silent("a", "b", 0)

    def test_is_remembered(self, world):
        world.at(4)
        world.truth.arrived("b", "a")
        world.at(5)
        assert world.truth.silent("a", "b", 4 * SECOND)
        assert not world.truth.silent("a", "b", 4 * SECOND + 1)

    def test_is_measured_by_the_clock_of_the_leader(self, world):
        world.truth.clock_rate("a", 2.0)
        world.at(1.4)
        assert not world.truth.silent("a", "b", 0)
        world.at(1.6)
        assert world.truth.silent("a", "b", 0)

    def test_is_none_of_a_node_that_does_not_lead(self, world):
        world.at(9)
        assert not world.truth.silent("b", "c", 0)

    def test_begins_with_the_leadership(self, world):
        world.at(2)
        world.truth.follows("a")
        world.truth.leads("a")
        world.at(4.9)
        assert not world.truth.silent("a", "b", 0)

    def test_does_not_go_on_while_the_leader_is_frozen(self, world):
        world.at(1)
        world.truth.froze("a")
        world.at(9)
        world.truth.thawed("a")
        world.at(9.5)
        assert not world.truth.silent("a", "b", 0)


class TestTheWordThatANodeIsDown:
    def test_is_false_of_a_node_that_was_heard(self, world):
        world.at(1)
        with pytest.raises(ViolationError, match="for no reason"):
            world.declare_down("b")

    def test_is_true_of_a_silent_one(self, world):
        world.at(3.1)
        world.declare_down("b")
        assert not world.table.nodes["b"].up

    def test_is_true_of_one_whose_process_is_over(self, world):
        world.at(1)
        world.truth.crashed("b")
        world.truth.started("b")
        world.declare_down("b")
        assert not world.table.nodes["b"].up

    def test_is_true_of_one_that_is_no_member(self, world):
        world.committed.members = ("a", "c")
        world.declare_down("b")
        assert not world.table.nodes["b"].up

    def test_is_false_when_the_leader_was_frozen_and_not_the_node(self, world):
        world.at(1)
        world.truth.froze("a")
        world.at(9)
        world.truth.thawed("a")
        with pytest.raises(ViolationError, match="for no reason"):
            world.declare_down("b")

    def test_is_false_when_all_were_frozen_together(self, world):
        world.at(1)
        for name in "abc":
            world.truth.froze(name)
        world.at(9)
        for name in "abc":
            world.truth.thawed(name)
        with pytest.raises(ViolationError, match="for no reason"):
            world.declare_down("b")

    def test_is_true_of_one_that_was_frozen_alone(self, world):
        world.at(1)
        world.truth.froze("b")
        world.at(5)
        world.declare_down("b")
        assert not world.table.nodes["b"].up

    def test_is_false_when_it_is_old(self, world):
        for seconds in range(4, 20, 2):
            world.at(seconds)
            world.truth.arrived("b", "a")
        with pytest.raises(ViolationError, match="for no reason"):
            world.declare_down("b")


class TestHangingUp:
    def test_is_wrong_soon_after_a_leader_was_heard(self, world):
        world.at(5)
        world.truth.arrived("a", "b", leads=True)
        world.at(7.5)
        with pytest.raises(ViolationError, match="after it heard a leader"):
            world.promises.hung_up("b")

    def test_is_right_after_several_elections(self, world):
        world.at(5)
        world.truth.arrived("a", "b", leads=True)
        world.at(9.1)
        world.promises.hung_up("b")

    def test_is_wrong_soon_after_a_pause(self, world):
        world.at(5)
        world.truth.arrived("a", "b", leads=True)
        world.truth.froze("b")
        world.at(15)
        world.truth.thawed("b")
        world.at(16)
        with pytest.raises(ViolationError, match="after it heard a leader"):
            world.promises.hung_up("b")

    def test_is_right_at_once_when_too_many_processes_are_over_for_any_leader(self, world):
        world.at(5)
        world.truth.arrived("a", "b", leads=True)
        for other in "ac":
            world.truth.crashed(other)
            world.truth.begin("have no link", *sorted((other, "b")))
        world.at(6)
        world.truth.started("c")  # but there is no link with it yet
        world.promises.hung_up("b")

    def test_is_right_for_one_that_is_no_member(self, world):
        world.at(5)
        world.truth.arrived("a", "b", leads=True)
        world.committed.members = ("a", "c")
        world.promises.hung_up("b")


class TestASecondRun:
    def test_needs_a_failure(self, world):
        world.run("b")
        world.at(60)
        with pytest.raises(ViolationError, match="run again without a failure"):
            world.run("c")

    def test_may_follow_the_end_of_a_connection(self, world):
        world.run("b").broken = True
        assert world.run("c").serial == 2

    def test_may_follow_the_end_of_a_process(self, world):
        world.run("b")
        world.truth.crashed("b")
        assert world.run("c").serial == 2

    def test_may_follow_a_silence_that_is_known_of(self, world):
        world.run("b")
        world.at(3.1)
        world.declare_down("b")
        assert world.run("c").serial == 2

    def test_is_not_excused_by_a_silence_alone(self, world):
        world.run("b")
        world.at(3.1)
        with pytest.raises(ViolationError, match="run again without a failure"):
            world.run("c")

    def test_may_follow_a_time_limit(self, world):
        world.run("b", limit=1000)
        world.at(1)
        assert world.run("c").serial == 2

    def test_is_not_excused_by_a_time_limit_that_is_not_over(self, world):
        world.run("b", limit=1000)
        world.at(0.9)
        with pytest.raises(ViolationError, match="run again without a failure"):
            world.run("c")

    def test_may_come_as_early_as_the_clocks_of_leaders_are_wrong(self, world):
        world.truth.clock_offset("a", 50 * MS)
        world.run("b", limit=1000)
        world.at(0.91)
        assert world.run("c").serial == 2

    def test_is_not_excused_by_the_clock_of_a_node_that_never_led(self, world):
        world.truth.clock_offset("b", 50 * MS)
        world.run("b", limit=1000)
        world.at(0.91)
        with pytest.raises(ViolationError, match="run again without a failure"):
            world.run("c")


class TestAFailureThatNoWorkerTold:
    def test_needs_the_end_of_a_node(self, world):
        world.run("b").broken = True
        with pytest.raises(ViolationError, match="said to be lost"):
            world.promises.failed(1, exceptions=True)

    def test_may_follow_the_end_of_a_process(self, world):
        world.run("b").over = True
        world.truth.crashed("b")
        world.promises.failed(1, exceptions=True)
        assert world.promises.lost == 1


class TestTheErrorOfTheClocks:
    def test_counts_for_a_while(self, world):
        world.truth.clock_offset("a", -SECOND)
        world.at(1)
        world.truth.clock_offset("a", 0)
        world.at(1 + CLOCK_MEMORY / SECOND)
        assert world.truth.clock_error(world.truth.now) == SECOND
        world.at(1.1 + CLOCK_MEMORY / SECOND)
        assert world.truth.clock_error(world.truth.now) == 0


class TestADelayedJob:
    DUE = EPOCH // MS + 2000

    def test_may_not_be_begun_before_it_is_due(self, world):
        world.at(1.9)
        with pytest.raises(ViolationError, match="before it is due"):
            world.run(due=self.DUE)

    def test_may_be_begun_then(self, world):
        world.at(2)
        assert world.run(due=self.DUE).serial == 1

    def test_may_be_begun_earlier_by_what_the_leader_is_ahead(self, world):
        world.truth.clock_offset("a", 200 * MS)
        world.at(1.9)
        assert world.run(due=self.DUE).serial == 1

    def test_stands_in_its_queue_soon_when_nothing_goes_wrong(self, world):
        world.naive.jobs = [SimpleNamespace(number=7, due=self.DUE)]
        world.truth.peace = 0
        world.at(2 + LATE / SECOND)
        world.punctuality.look()
        world.at(max(2.1 + LATE / SECOND, SETTLED / SECOND))
        with pytest.raises(ViolationError, match="job 7 is not in its queue"):
            world.punctuality.look()

    def test_may_be_late_while_something_goes_wrong(self, world):
        world.naive.jobs = [SimpleNamespace(number=7, due=self.DUE)]
        world.at(60)
        world.punctuality.look()
        assert not world.truth.settled


class TestATimeLimit:
    def held(self, world: World, began: float) -> Run:
        world.truth.peace = 0
        world.at(began)
        run = world.run("b", limit=1000)
        world.naive.jobs = [SimpleNamespace(number=1, due=0, holder=SimpleNamespace(name=("b", 1)))]
        return run

    def test_is_enforced_soon_when_nothing_goes_wrong(self, world):
        self.held(world, 10)
        world.at(11 + LATE / SECOND)
        world.punctuality.look()
        world.at(11.1 + LATE / SECOND)
        with pytest.raises(ViolationError, match="after its time limit"):
            world.punctuality.look()

    def test_is_none_for_a_run_that_is_over(self, world):
        run = self.held(world, 10)
        run.over = True
        world.at(60)
        world.punctuality.look()
        assert run.over

    def test_may_be_enforced_late_when_something_went_wrong(self, world):
        run = self.held(world, 1)
        world.at(60)
        world.punctuality.look()
        assert not run.over


class TestPriorities:
    def waiting(self, world: World, priority: int) -> None:
        world.truth.peace = 0
        world.punctuality.asked(b"9", b"f", priority, 0)
        world.naive.queue = [SimpleNamespace(number=9, workload=b"9")]
        world.at(10)
        world.punctuality.entered()

    def test_may_not_be_passed_over_for_long(self, world):
        self.waiting(world, 0)
        world.at(10.1 + RESERVED / SECOND)
        with pytest.raises(ViolationError, match="job 9 of priority 0"):
            world.run(priority=1)

    def test_may_be_passed_over_for_what_was_reserved_before(self, world):
        self.waiting(world, 0)
        world.at(10 + RESERVED / SECOND)
        assert world.run(priority=1).serial == 1

    def test_are_no_matter_between_equals(self, world):
        self.waiting(world, 1)
        world.at(60)
        assert world.run(priority=1).serial == 1
