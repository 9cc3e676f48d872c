"""Random writes as consensus asks for them, against the contract as code and a few dictionaries, amid kills.

`cluster.raft.MemoryStore` says what a disk has to do with a `Write`; the state machine beside it is two dictionaries.
"""

import itertools
import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cluster.log import Entry, EntryKind, HardState
from cluster.raft import MemoryStore, SnapshotMeta, SnapshotPiece, Write
from cluster.storage import Install, Mirror, Piece, Store
from cluster.storage.stream import Header, encode

BLOBS = st.binary(max_size=40) | st.integers(1, 4).map(lambda n: bytes([n]) * (n * 15_000))
ROWS = st.dictionaries(st.integers(0, 6), BLOBS)
VOTES = st.none() | st.sampled_from(["", "a"])


class StoreAgainstContract(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.directories = (Path(self.folder.name) / str(number) for number in itertools.count())
        self.numbers = itertools.count(1)

    @initialize()
    def open_new(self):
        self.directory = next(self.directories)
        self.store = Store.open(self.directory)
        self.model = MemoryStore()
        self.segments, self.payloads, self.meta = {}, {}, b""
        self.applied = self.applied_term = 0
        self.coming = b""
        self.position = SnapshotMeta()

    def entries(self, first, blobs):
        term = next(self.numbers)
        return tuple(Entry(index, term, EntryKind.COMMANDS, blob) for index, blob in enumerate(blobs, first))

    def hard_state(self, vote):
        return None if vote is None else HardState(next(self.numbers), vote)

    def do(self, write):
        self.model.write(write)
        self.store.write(
            write.entries,
            write.hard_state,
            [Piece(piece.offset, piece.data) for piece in write.pieces],
            None if write.snapshot is None else Install(write.snapshot.index, write.snapshot.term),
        )

    @rule(data=st.data(), blobs=st.lists(BLOBS, max_size=5), vote=VOTES)
    def append(self, data, blobs, vote):
        last = self.model.last_index()
        first = data.draw(st.just(last + 1) | st.integers(self.applied + 1, last + 1))
        self.do(Write(0, self.hard_state(vote), entries=self.entries(first, blobs)))

    @precondition(lambda self: self.model.last_index() > 0)
    @rule(data=st.data(), meta=BLOBS, segments=ROWS, payloads=ROWS)
    def mirror_and_compact(self, data, meta, segments, payloads):
        applied = data.draw(st.integers(self.applied, self.model.last_index()))
        base = self.model.base
        compact_to = data.draw(st.integers(base.index, applied))
        held = applied > base.index
        self.applied, self.applied_term = applied, self.model.term(applied) if held else base.term
        self.meta = meta
        self.segments |= segments
        self.payloads |= payloads
        self.store.write_mirror(
            Mirror(applied, self.applied_term, meta, list(segments.items()), list(payloads.items()), [], compact_to)
        )
        if compact_to > base.index:
            self.model.write(Write(0, compact=SnapshotMeta(compact_to, self.model.term(compact_to))))

    @rule(beyond=st.integers(1, 9), meta=BLOBS, segments=ROWS, payloads=ROWS)
    def a_snapshot_is_sent(self, beyond, meta, segments, payloads):
        self.position = SnapshotMeta(max(self.applied, self.model.base.index) + beyond, next(self.numbers))
        self.sent = (meta, segments, payloads)
        header = Header(self.position.index, self.position.term, meta)
        self.coming = b"".join(encode(header, sorted(segments.items()), sorted(payloads.items())))
        self.model.spool.clear()
        self.store.write(pieces=[Piece(0, b"")])

    @precondition(lambda self: self.coming)
    @rule(data=st.data(), vote=VOTES, blobs=st.lists(BLOBS, max_size=2))
    def pieces_come(self, data, vote, blobs):
        """Come in order or again from somewhere before, and with entries beside them."""
        pieces = []
        there = len(self.model.spool)
        for _ in range(data.draw(st.integers(1, 3))):
            start = data.draw(st.just(there) | st.integers(0, there))
            end = data.draw(st.integers(start, len(self.coming)))
            pieces.append(SnapshotPiece(start, self.coming[start:end]))
            there = end
        entries = self.entries(self.model.last_index() + 1, blobs)
        self.do(Write(0, self.hard_state(vote), pieces=tuple(pieces), entries=entries))

    @precondition(lambda self: self.coming and self.position.index > self.applied)
    @rule(vote=VOTES, blobs=st.lists(BLOBS, max_size=2))
    def the_rest_comes_and_is_installed(self, vote, blobs):
        there = len(self.model.spool)
        last = SnapshotPiece(there, self.coming[there:])
        entries = self.entries(self.position.index + 1, blobs)
        self.do(Write(0, self.hard_state(vote), (last,), self.position, entries))
        meta, segments, payloads = self.sent
        self.meta, self.segments, self.payloads = meta, dict(segments), dict(payloads)
        self.applied, self.applied_term = self.position.index, self.position.term
        self.coming = b""

    @rule()
    def upkeep(self):
        self.store.upkeep()

    @rule()
    def reopen(self):
        self.store.close()
        self.begin_again()

    @rule()
    def kill(self):
        """Go on from the files as they are at this moment."""
        directory = next(self.directories)
        directory.mkdir()
        for name in ("node.db", "node.db-wal"):
            shutil.copy(self.directory / name, directory / name)
        self.store.close()
        self.directory = directory
        self.begin_again()

    def begin_again(self):
        self.store = Store.open(self.directory)
        self.model.spool.clear()

    @invariant()
    def holds_what_the_contract_says(self):
        recovered = self.store.recover()
        model = self.model
        assert recovered.hard_state == model.hard_state
        assert (recovered.first_index, recovered.last_index) == (model.first_index(), model.last_index())
        assert recovered.compacted_term == model.base.term
        entries = tuple(self.store.read_entries(recovered.first_index, recovered.last_index))
        assert entries == model.entries(model.first_index(), model.last_index() + 1, 1 << 30)
        assert (recovered.applied_index, recovered.applied_term) == (self.applied, self.applied_term)
        assert recovered.meta == self.meta
        assert dict(self.store.read_segments()) == self.segments
        assert dict(self.store.read_payloads()) == self.payloads
        assert b"".join(self.store._spool.read()) == model.spool

    def teardown(self):
        self.store.close()
        self.folder.cleanup()


TestStoreAgainstContract = StoreAgainstContract.TestCase
TestStoreAgainstContract.settings = settings(max_examples=50, stateful_step_count=20, deadline=None)
