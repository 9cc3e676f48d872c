"""The table raises for nothing that a command can hold: an entry that stops one node stops them all, for ever."""

from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.jobs import Can, Grab, JobTable, MirrorWriter, SessionOpen, Submit, digest, propose, restore
from tests.cluster.jobs import anything, soundness
from tests.cluster.jobs.views import describe


def check(table):
    """Assert that the table is sound, and can be written and read back."""
    soundness.check(table)
    mirror = MirrorWriter().take(table)
    restored, _ = restore(mirror.meta, mirror.segments, mirror.payloads)
    assert digest(restored) == digest(table)
    table.next_deadline()


class TestApply:
    @given(st.lists(anything.commands, max_size=30), anything.integers)
    @settings(max_examples=300)
    def test_takes_any_commands(self, said, time):
        table = JobTable("a")
        ready = [SessionOpen(n, "") for n in range(4)] + [Can(n, b"f", 2**n) for n in range(4)]
        for effect in table.apply(anything.opening(ready)):
            describe(effect)
        last = table.nodes["a"].last
        for command in said:
            last += 1
            told = table.apply(propose(time, [anything.Batch("a", 1, last, [command])]))
            if table.nodes["a"].incarnation > 1:
                break
            assert all(describe(effect) for effect in told)
        check(table)

    @given(st.lists(anything.proposals, max_size=6))
    def test_takes_any_proposals(self, proposals):
        table = JobTable("a")
        for proposal in proposals:
            table.apply(proposal)
        check(table)

    @given(time=anything.integers, limit=anything.integers, due=anything.integers, later=anything.integers)
    def test_keeps_every_time_within_what_can_be_written(self, time, limit, due, later):
        table = JobTable("a")
        said = [SessionOpen(1, ""), Can(1, b"f", limit), Submit(1, b"f", b"", b"", 0, background=True, due=due)]
        table.apply(propose(time, [anything.opening(said).batches[0]]))
        table.apply(propose(time, [anything.Batch("a", 1, 5, [Grab(1, 0)])]))
        table.apply(propose(later, []))
        check(table)
