"""Raft's safety properties, checked at every bundle of every node (Raft paper, Figure 3, and what the core promises).

- *Election safety*: at most one leader in a term, by a quorum of votes that are on disks.
- *Leader append-only*: a leader never overwrites or deletes entries of its log.
- *Log matching*: the same index and term mean the same entry and the same term before it; by induction the same log.
- *Leader completeness*: what was committed in a term is in the log of every leader of a later one.
- *State machine safety*: all nodes apply the same entry at the same index, in order, and only what is committed.
- *Committed means durable*: when a leader commits, a quorum of its configuration has the entry on its disks.
- *Committed is final*: nobody overwrites it.
- *Configuration safety*: one uncommitted change at a time, after an entry of the leader's own term; old and new quorums
  overlap; a node uses the latest configuration of its log.
- *The gate*: no message leaves before what it promises is on the sender's disk.
- *One state machine*: at the same applied index the job table is the same, compared with a table that never was on any
  disk, sent, or restored; and that table does what another implementation says (`model`).

The log of each node is known from the writes it gives to its disk.
"""

from bisect import bisect_right
from typing import Any, Protocol

from cluster.jobs import JobTable, decode_proposal, digest
from cluster.log import Entry, EntryKind, HardState
from cluster.raft import (
    Change,
    ChangeKind,
    Configuration,
    DurableState,
    Raft,
    Ready,
    Role,
    SnapshotMeta,
    Write,
    bootstrap,
    decode_configuration,
)
from cluster.raft.messages import (
    AppendAck,
    PreVoteReply,
    PreVoteRequest,
    SnapshotAck,
    SnapshotState,
    VoteReply,
    VoteRequest,
)
from tests.simulation.disk import Disk
from tests.simulation.journal import ViolationError
from tests.simulation.model import Model, Reference


class Applier(Protocol):
    """Who follows the one true sequence of entries."""

    def entering(self, entry: Entry, proposal: Any, table: JobTable) -> None: ...
    def entered(self, entry: Entry, proposal: Any, table: JobTable) -> None: ...


class Known:
    """What is known of one node's log."""

    __slots__ = ("applied", "commit", "configurations", "described", "disk", "raft", "snapshot", "terms")

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.terms: list[int] = [0]
        """The term at each index; at 0 there is nothing."""
        self.configurations: list[tuple[int, Configuration]] = []
        self.raft: Raft | None = None
        self.commit = 0
        self.applied = 0
        self.described = 0
        """Where the table stood when the process began: its log knows no configuration of before."""
        self.snapshot = 0
        """Where the latest snapshot stands that it was told to install."""


class Safety:
    """The watcher of a whole cluster."""

    def __init__(self, base: SnapshotMeta, applier: Applier, sample: int) -> None:
        """`sample`: tables are compared at every so-manieth index."""
        self._applier = applier
        self._sample = sample
        self._logs: dict[str, Known] = {}
        self._entries: dict[tuple[int, int], tuple[int, bytes, int]] = {}
        self._leaders: dict[int, str] = {}
        self.committed: list[int] = [0] * base.index + [base.term]
        """The term at each committed index."""
        self._committed_in: list[int] = [base.term] * (base.index + 1)
        """The term in whose time the commit was first seen."""
        self._configurations: list[tuple[int, Configuration]] = [(base.index, base.configuration)]
        self.table = Reference()
        """The job table as the log alone makes it."""
        self.model = Model(self.table)
        self.table_index = base.index
        self._applied: list[Entry | None] = [None] * (base.index + 1)
        self._digests: dict[int, bytes] = {}

    def found(self, members: tuple[str, ...]) -> None:
        """Learn the first configuration, where it was not given: a cluster has just been founded."""
        base = bootstrap(*members)
        self._configurations = [(base.index, base.configuration)]

    def watch(self, name: str, disk: Disk) -> None:
        """Begin to watch a node."""
        self._logs[name] = Known(disk)

    @property
    def configuration(self) -> Configuration:
        """The latest committed configuration."""
        return self._configurations[-1][1]

    def possible_configurations(self) -> list[Configuration]:
        """Give the latest committed configuration, and all that any log has beyond it."""
        committed, configuration = self._configurations[-1]
        later = [one for known in self._logs.values() for index, one in known.configurations if index > committed]
        return [configuration, *later]

    def leader_of(self, term: int) -> str:
        """Give the node that led in a term."""
        return self._leaders.get(term, "")

    @property
    def leaders_count(self) -> int:
        """How many terms had a leader."""
        return len(self._leaders)

    # A process begins

    def started(self, name: str, raft: Raft, durable: DurableState, table: JobTable) -> None:
        """Take in what a process found on its disk."""
        known = self._logs[name]
        base = durable.base
        known.raft = raft
        known.snapshot = 0
        # What is kept with the mirror is the configuration where the mirror stands; the log knows those before.
        self._check_base(name, base, durable.applied)
        known.terms = self.committed[: base.index + 1]
        known.configurations = [(base.index, base.configuration)]
        known.commit = known.applied = known.described = durable.applied
        store = known.disk.store
        if store.last_index > base.index:
            self._append(name, known, store.as_written(base.index + 1, store.last_index))
        if raft.term < known.terms[-1] or raft.term < durable.hard_state.term or raft.vote != durable.hard_state.vote:
            raise ViolationError(f"{name} starts in term {raft.term} with vote {raft.vote}: {durable.hard_state}")
        self._compare(name, durable.applied, table)

    def installed(self, name: str, table: JobTable, index: int) -> None:
        """Compare a table that came with a snapshot."""
        self._logs[name].applied = index
        self._compare(name, index, table)

    # A bundle

    def bundle(self, raft: Raft, ready: Ready) -> None:
        """Check a bundle, before anything of it is carried out."""
        name = raft.id
        known = self._logs[name]
        ruled = known.configurations[-1][1] if known.configurations else raft.configuration
        if ready.write is not None:
            self._check_write(name, known, raft, ready.write)
        if raft.last_index != len(known.terms) - 1:
            raise ViolationError(f"{name} has a log to {raft.last_index}, was told to write {len(known.terms) - 1}")
        if raft.commit != known.commit:
            self._check_commit(name, known, raft, ruled)
        if ready.standing is not None:
            if raft.role is Role.LEADER:
                self._check_leader(name, known, raft.term)
        elif raft.role is Role.LEADER and self._leaders.get(raft.term) != name:
            raise ViolationError(f"{name} leads in term {raft.term} without having said so")
        if ready.configuration is not None or (ready.write is not None and ready.write.entries):
            self._check_configuration(name, known, raft)
        if ready.messages:
            self._check_gate(name, known, raft, ready.messages)

    def _check_write(self, name: str, known: Known, raft: Raft, write: Write) -> None:
        leads = raft.role is Role.LEADER
        if write.snapshot is not None:
            self._check_base(name, write.snapshot)
            if leads:
                raise ViolationError(f"{name} replaces its log by a snapshot while it leads")
            if write.snapshot.index <= known.commit:
                raise ViolationError(f"{name} goes back to a snapshot of {write.snapshot.index}")
            known.snapshot = write.snapshot.index
            known.terms = self.committed[: write.snapshot.index + 1]
            known.configurations = [(write.snapshot.index, write.snapshot.configuration)]
        if write.entries:
            first, last = write.entries[0].index, write.entries[-1].index
            terms = known.terms
            if first < len(terms):
                if leads:
                    raise ViolationError(f"{name} overwrites {first} of its own log while it leads term {raft.term}")
                final = min(len(terms), len(self.committed))
                for index in range(first, final):
                    if terms[index] == self.committed[index] and (
                        index > last or write.entries[index - first].term != terms[index]
                    ):
                        raise ViolationError(f"{name} removes entry {index}, which is committed")
                del terms[first:]
                while known.configurations[-1][0] >= first:
                    known.configurations.pop()
            if leads and any(entry.kind == EntryKind.CONFIGURATION for entry in write.entries):
                self._check_change(name, known, raft, write.entries)
            self._append(name, known, write.entries)
        if write.compact is not None:
            before = known.described if write.compact.index < known.described else 0
            self._check_base(name, write.compact, before)
            if write.compact.index > known.disk.store.image.applied_index:
                raise ViolationError(f"{name} drops its log up to {write.compact.index}, beyond the table on disk")

    def _append(self, name: str, known: Known, entries: Any) -> None:
        terms = known.terms
        for entry in entries:
            if entry.index != len(terms):
                raise ViolationError(f"{name} writes entry {entry.index} after {len(terms) - 1}")
            term = entry.term
            seen = self._entries.setdefault((entry.index, term), (entry.kind, entry.data, terms[-1]))
            if seen[0] != entry.kind or seen[1] != entry.data or seen[2] != terms[-1]:
                raise ViolationError(f"two logs differ at or before index {entry.index} of term {term}")
            terms.append(term)
            if entry.kind == EntryKind.CONFIGURATION:
                known.configurations.append((entry.index, decode_configuration(entry.data)))

    def _check_base(self, name: str, base: SnapshotMeta, described: int = 0) -> None:
        if base.index == 0:
            return
        if base.index >= len(self.committed) or self.committed[base.index] != base.term:
            raise ViolationError(f"{name} has a log that begins at {base.index} of term {base.term}: not committed")
        configurations = self._configurations
        position = bisect_right(configurations, described or base.index, key=_first) - 1
        if configurations[position][1] != base.configuration:
            raise ViolationError(f"{name} has a base at {base.index} with {base.configuration}, a wrong one")

    # Commit and leaders

    def _check_commit(self, name: str, known: Known, raft: Raft, ruled: Configuration) -> None:
        """Check a commit; `ruled` was in force before this bundle, which may bring a change after the commit."""
        commit, before = raft.commit, known.commit
        if commit < before:
            raise ViolationError(f"{name} takes back its commit index from {before} to {commit}")
        known.commit = commit
        terms, committed = known.terms, self.committed
        if commit >= len(terms):
            raise ViolationError(f"{name} commits {commit}, its log ends at {len(terms) - 1}")
        news = commit >= len(committed)
        # A leader may have stepped down by this very commit, or since: what it led by is in the log.
        led = self._leaders.get(terms[commit]) == name
        if raft.role is Role.LEADER or (news and led):
            if raft.role is Role.LEADER and terms[commit] != raft.term:
                raise ViolationError(f"{name} commits {commit} of term {terms[commit]} in its term {raft.term}")
            if known.configurations[-1][0] <= commit or not self._has_quorum(ruled, commit, terms[commit]):
                self._check_quorum(name, raft.configuration, commit, terms[commit])
        elif news:
            raise ViolationError(f"{name} has commit index {commit}; no leader committed that")
        for index in range(before + 1, min(commit + 1, len(committed))):
            if terms[index] != committed[index]:
                raise ViolationError(
                    f"{name} commits entry {index} of term {terms[index]}, another one of {committed[index]} is"
                )
        if news:
            first = len(committed)
            committed.extend(terms[first : commit + 1])
            self._committed_in.extend([raft.term] * (commit + 1 - first))
            for index, configuration in known.configurations:
                if first <= index <= commit:
                    self._configurations.append((index, configuration))

    def _check_quorum(self, name: str, configuration: Configuration, index: int, term: int) -> None:
        for voters in (configuration.voters, configuration.outgoing):
            have = sum(1 for voter in voters if self._durable(voter, index, term))
            if voters and have * 2 <= len(voters):
                raise ViolationError(f"{name} commits entry {index}: {have} of {voters} have it on disk")

    def _has_quorum(self, configuration: Configuration, index: int, term: int) -> bool:
        return all(
            2 * sum(1 for voter in voters if self._durable(voter, index, term)) > len(voters)
            for voters in (configuration.voters, configuration.outgoing)
            if voters
        )

    def _durable(self, name: str, index: int, term: int) -> bool:
        known = self._logs.get(name)
        if known is None:
            return False
        store = known.disk.store
        return store.base_index >= index or (store.last_index >= index and store.term(index) == term)

    def _check_leader(self, name: str, known: Known, term: int) -> None:
        other = self._leaders.setdefault(term, name)
        if other != name:
            raise ViolationError(f"{name} leads in term {term}, and so does {other}")
        configuration = known.configurations[-1][1]
        for voters in (configuration.voters, configuration.outgoing):
            votes = sum(1 for voter in voters if self._has_voted(voter, term, name))
            if voters and votes * 2 <= len(voters):
                raise ViolationError(f"{name} leads in term {term} by {votes} durable votes of {voters}")
        for index in range(len(self.committed) - 1, 0, -1):
            if self._committed_in[index] < term:
                if index >= len(known.terms) or known.terms[index] != self.committed[index]:
                    raise ViolationError(f"{name} leads term {term} without entry {index}, which is committed")
                return

    def _has_voted(self, voter: str, term: int, name: str) -> bool:
        """Tell whether a vote is on the voter's disk, or may have been: it lives in a later term."""
        known = self._logs.get(voter)
        if known is None:
            return False
        hard = known.disk.store.hard_state
        return hard.term > term or (hard.term == term and hard.vote == name)

    def _check_configuration(self, name: str, known: Known, raft: Raft) -> None:
        index, configuration = known.configurations[-1]
        if raft.configuration != configuration:
            raise ViolationError(f"{name} uses {raft.configuration}; its log has {configuration} at {index}")

    def _check_change(self, name: str, known: Known, raft: Raft, entries: tuple[Entry, ...]) -> None:
        index, old = known.configurations[-1]
        if known.terms[min(raft.commit, len(known.terms) - 1)] != raft.term and len(known.terms) > raft.commit:
            raise ViolationError(f"{name} changes the configuration before it committed an entry of its term")
        for entry in entries:
            if entry.kind != EntryKind.CONFIGURATION:
                continue
            if index > raft.commit:
                raise ViolationError(f"{name} changes the configuration at {entry.index}; {index} is not committed")
            new = decode_configuration(entry.data)
            if not _overlap(old, new):
                raise ViolationError(f"{name} goes from {old} to {new}: quorums need not overlap")
            index, old = entry.index, new

    def changing(self, raft: Raft, changes: tuple[Change, ...], lag: int) -> None:
        """Check a change that consensus has taken: who is to vote has caught up to within `lag` entries."""
        for change in changes:
            if change.kind is ChangeKind.PROMOTE:
                last = self._logs[change.node].disk.store.last_index
                if last + lag < raft.commit:
                    raise ViolationError(f"{raft.id} promotes {change.node}, which has {last} of {raft.commit} entries")

    # What leaves

    def _check_gate(self, name: str, known: Known, raft: Raft, messages: tuple[Any, ...]) -> None:
        store = known.disk.store
        hard: HardState = store.hard_state
        last = store.last_index
        # Before the first election everybody is in the base's term without having written it.
        term = max(hard.term, store.base_term)
        for message in messages:
            kind = type(message)
            ahead = kind is PreVoteRequest or (kind is PreVoteReply and message.granted)
            if message.term > term and not ahead:
                raise ViolationError(f"{name} speaks of term {message.term}, on its disk is {term}: {message}")
            if message.term < min(hard.term, raft.term):
                continue  # what it said in an earlier term, in the same turn, was so then
            if kind is VoteReply:
                if message.granted and (hard.term, hard.vote) != (message.term, message.to):
                    raise ViolationError(f"{name} votes for {message.to} in {message.term}, on its disk is {hard}")
            elif kind is VoteRequest:
                if (hard.term, hard.vote) != (message.term, name):
                    raise ViolationError(f"{name} stands in term {message.term}, on its disk is {hard}")
                # One that stands no more may have overwritten what it stood with: nobody's answer counts for it.
                if last < message.last_index and raft.role is Role.CANDIDATE:
                    raise ViolationError(f"{name} stands with entry {message.last_index}, on its disk is {last}")
            elif kind is AppendAck and message.term == raft.term:
                match = message.match
                if match > store.base_index and (last < match or store.term(match) != known.terms[match]):
                    raise ViolationError(f"{name} acknowledges {match}, which is not on its disk")
            elif kind is SnapshotAck and message.state is SnapshotState.INSTALLED and known.snapshot > store.base_index:
                raise ViolationError(f"{name} says it has the snapshot of {known.snapshot}, which is not on its disk")

    # The state machine

    def applied(self, name: str, entry: Entry, table: JobTable) -> None:
        """Check an entry that was just applied."""
        known = self._logs[name]
        index = entry.index
        if index != known.applied + 1:
            raise ViolationError(f"{name} applies {index} after {known.applied}")
        known.applied = index
        if index >= len(self.committed) or self.committed[index] != entry.term:
            raise ViolationError(f"{name} applies entry {index} of term {entry.term}, which is not committed")
        if index > self.table_index:
            self._enter(entry)
        else:
            first = self._applied[index]
            if first is not None and (first.kind != entry.kind or first.data != entry.data):
                raise ViolationError(f"{name} applies another entry {index} than was applied elsewhere")
        if index % self._sample == 0:
            self._compare(name, index, table)

    def _enter(self, entry: Entry) -> None:
        proposal = None
        if entry.kind == EntryKind.COMMANDS:
            proposal = decode_proposal(entry.data)
            self._applier.entering(entry, proposal, self.table)
            self.model.apply(entry.index, proposal)
        self.table_index = entry.index
        self._applied.append(entry)
        if entry.index % self._sample == 0:
            self._digests[entry.index] = digest(self.table)
        if proposal is not None:
            self._applier.entered(entry, proposal, self.table)

    def _compare(self, name: str, index: int, table: JobTable) -> None:
        expected = self._digests.get(index)
        if not expected:
            if index != self.table_index:
                return
            expected = self._digests[index] = digest(self.table)
        if digest(table) != expected:
            raise ViolationError(f"{name} has another job table at index {index} than the log makes")


def _first(item: tuple[int, Any]) -> int:
    return item[0]


def _overlap(old: Configuration, new: Configuration) -> bool:
    """Tell whether every quorum of the one meets every quorum of the other."""
    if new.outgoing:
        return not old.outgoing and new.outgoing == old.voters
    if old.outgoing:
        return new.voters == old.voters
    return len(set(old.voters) ^ set(new.voters)) <= 1
