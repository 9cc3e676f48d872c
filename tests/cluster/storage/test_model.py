"""Random histories against a model that is a few plain dictionaries."""

import itertools
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cluster.log import Entry, EntryKind, HardState
from cluster.storage import Mirror, Store

BLOBS = st.binary(max_size=40) | st.integers(1, 4).map(lambda n: bytes([n]) * (n * 15_000))
NUMBERS = st.integers(0, 6)


class StoreAgainstModel(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.directory = Path(self.folder.name)
        self.terms = itertools.count(1)

    @initialize()
    def open_new(self):
        self.store = Store.open(self.directory)
        self.log, self.segments, self.payloads = {}, {}, {}
        self.hard_state = HardState()
        self.applied = self.applied_term = self.compacted = self.compacted_term = 0
        self.meta = b""

    @property
    def last(self):
        return max(self.log, default=self.compacted)

    @rule(data=st.data(), blobs=st.lists(BLOBS, min_size=1, max_size=5), vote=st.none() | st.sampled_from(["", "a"]))
    def append(self, data, blobs, vote):
        first = data.draw(st.integers(self.applied + 1, self.last + 1) | st.just(self.last + 1))
        term = next(self.terms)
        entries = [Entry(index, term, EntryKind.COMMANDS, blob) for index, blob in enumerate(blobs, first)]
        hard_state = None if vote is None else HardState(term, vote)
        self.store.append(entries, hard_state)
        self.log = {i: e for i, e in self.log.items() if i < first} | {e.index: e for e in entries}
        self.hard_state = hard_state or self.hard_state

    @precondition(lambda self: self.last > 0)
    @rule(
        data=st.data(),
        meta=BLOBS,
        segments=st.dictionaries(NUMBERS, st.none() | BLOBS),
        payloads=st.dictionaries(NUMBERS, BLOBS),
        dropped=st.sets(NUMBERS),
    )
    def mirror(self, data, meta, segments, payloads, dropped):
        applied = data.draw(st.integers(self.applied, self.last))
        compact_to = data.draw(st.integers(0, applied))
        term = self.log[applied].term if applied in self.log else self.applied_term
        self.store.write_mirror(
            Mirror(applied, term, meta, list(segments.items()), list(payloads.items()), list(dropped), compact_to)
        )
        self.segments = {n: d for n, d in (self.segments | segments).items() if d is not None}
        self.payloads = {n: d for n, d in (self.payloads | payloads).items() if n not in dropped}
        self.applied, self.applied_term, self.meta = applied, term, meta
        if compact_to > self.compacted:
            self.compacted, self.compacted_term = compact_to, self.log[compact_to].term
            self.log = {i: e for i, e in self.log.items() if i > compact_to}

    @precondition(lambda self: self.last > self.applied)
    @rule(rows=st.dictionaries(NUMBERS.map(lambda n: n + 100), BLOBS, min_size=1), crash=st.booleans())
    def stage(self, rows, crash):
        """Parts of a mirror that does not come, or whose rest comes next."""
        self.store.stage(self.applied + 1, segments=list(rows.items()), payloads=list(rows.items()))
        if crash:
            self.reopen()
            return
        self.applied += 1
        self.applied_term, self.meta = self.log[self.applied].term, b"staged"
        self.store.write_mirror(Mirror(self.applied, self.applied_term, self.meta, [], [], [], 0))
        dropped = [(number, None) for number in rows]
        self.store.write_mirror(Mirror(self.applied, self.applied_term, self.meta, dropped, [], list(rows), 0))

    @rule()
    def upkeep(self):
        self.store.upkeep()

    @rule()
    def reopen(self):
        self.store.close()
        self.store = Store.open(self.directory)

    @invariant()
    def holds_what_the_model_holds(self):
        recovered = self.store.recover()
        assert recovered.hard_state == self.hard_state
        assert (recovered.applied_index, recovered.applied_term, recovered.meta) == (
            self.applied,
            self.applied_term,
            self.meta,
        )
        assert (recovered.first_index, recovered.last_index) == (self.compacted + 1, self.last)
        assert recovered.compacted_term == self.compacted_term
        entries = self.store.read_entries(recovered.first_index, recovered.last_index)
        assert {entry.index: entry for entry in entries} == self.log
        assert dict(self.store.read_segments()) == self.segments
        assert dict(self.store.read_payloads()) == self.payloads

    def teardown(self):
        self.store.close()
        self.folder.cleanup()


TestStoreAgainstModel = StoreAgainstModel.TestCase
TestStoreAgainstModel.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
