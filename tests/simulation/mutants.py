"""Deliberate faults, to prove that the net has no holes: `python -m tests.simulation.mutants`.

Each fault is a small change of one file, made in a copy of the tree. The simulator, or failing that the tests of the
mutated package, must notice it within a bounded number of seeds. Some the simulator must notice by itself. What
survives is a hole in the net.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import msgspec

from tests.simulation.journal import say

ROOT = Path(__file__).resolve().parents[2]
NETS = {
    "cluster/raft": ("tests/cluster/raft",),
    "cluster/jobs": ("tests/cluster/jobs",),
    "cluster/formation": ("tests/cluster/formation",),
    "cluster/mesh": (
        "tests/cluster/mesh/test_parts.py",
        "tests/cluster/mesh/test_flow.py",
        "tests/cluster/mesh/test_ended_processes.py",
    ),
    "cluster/storage": ("tests/cluster/storage/test_failures.py", "tests/cluster/storage/test_thread.py"),
    "protocol": ("tests/protocol/test_decoder.py",),
    "node/": (
        "tests/node/driver",
        "tests/node/test_relay.py",
        "tests/node/test_listening.py",
        "tests/node/test_told_therefore_ended.py",
        "tests/node/test_told_in_spite_of_lag.py",
        "tests/node/test_gateway_requests.py",
        "tests/node/test_gateway_workers.py",
        "tests/node/test_gateway_abilities.py",
        "tests/node/test_stored_log.py",
        "tests/node/test_driver.py",
        "tests/node/test_cluster.py",
        "tests/node/test_races.py",
        "tests/node/test_resuming.py",
        "tests/node/test_status.py",
        "tests/node/test_gateway_connections.py",
        "tests/node/test_bounds.py",
        "tests/node/test_peers.py",
        "tests/node/test_alarms.py",
        "tests/node/test_monitor.py",
        "tests/node/test_machine.py",
        "tests/node/test_shortage.py",
        "tests/node/test_packet_limit.py",
        "tests/node/test_admission.py",
    ),
}
"""The tests that stand behind the simulator, by the mutated package."""

PYTEST = ("-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-p", "no:randomly")

SIMULATED_SEEDS = 200


class Mutant(msgspec.Struct, frozen=True):
    """One fault."""

    name: str
    file: str
    old: str
    """Occurs exactly once in the file."""
    new: str
    kind: str = ""
    """The kind of seeds that hunt it; empty: of every kind, as they come."""
    simulated: bool = False
    """Whether the simulator has to notice it by itself, within `SIMULATED_SEEDS`."""


MUTANTS = (
    # Large messages, slow parts, damage, wrong clocks
    Mutant(
        "large entries in the lane of the heartbeats",
        "node/peers.py",
        "Lane.ENTRIES if behind else Lane.CONSENSUS",
        "Lane.CONSENSUS",
        "sizes",
    ),
    Mutant(
        "a checksum that does not cover the data",
        "cluster/storage/records.py",
        "    crc = zlib.crc32(_NUMBERS[len(numbers)].pack(*numbers))\n",
        '    data, crc = b"", zlib.crc32(_NUMBERS[len(numbers)].pack(*numbers))\n',
        "rot",
    ),
    Mutant(
        "elections that take long",
        "cluster/raft/server.py",
        "self.timeout = self.config.election_ticks + self",
        "self.timeout = 20 * self.config.election_ticks + self",
        "rot",
    ),
    Mutant(
        "what was on its way to the last leader is sent again late",
        "node/driver/sending.py",
        "        self._resend = RESEND\n        self._send_again()",
        "        self._resend = MAX_RESEND",
        "rot",
    ),
    Mutant(
        "entries wait for all disks",
        "cluster/raft/quorum.py",
        "[(count - 1) // 2]",
        "[0]",
        "hangs",
    ),
    # What the world knows better than the system
    Mutant(
        "a node that is silent for 0.15 s is declared down",
        "node/driver/failure_detector.py",
        "silence > max(self._timeout, node.timeout / 1000)",
        "silence > 0.15",
        simulated=True,
    ),
    Mutant(
        "a leader declares live nodes down every second",
        "node/driver/failure_detector.py",
        "elif name in members and silence",
        "elif int(now) != int(now - 0.1) or silence",
        simulated=True,
    ),
    Mutant(
        "delayed jobs run at once",
        "cluster/jobs/table.py",
        "if command.due > self.now:",
        "if False:",
        simulated=True,
    ),
    Mutant(
        "time limits are never enforced",
        "cluster/jobs/lifecycle.py",
        "        if session.limits and function.name in session.limits:",
        "        if False:",
        simulated=True,
    ),
    Mutant(
        "low priority first",
        "cluster/jobs/job.py",
        "PRIORITIES: Final = (HIGH, NORMAL, LOW)",
        "PRIORITIES: Final = (LOW, NORMAL, HIGH)",
        simulated=True,
    ),
    Mutant(
        "nobody tells the time when nothing else happens",
        "node/driver/due.py",
        "due = self._table.next_deadline()",
        "due = None",
        simulated=True,
    ),
    # Elections
    Mutant(
        "vote not persisted",
        "cluster/raft/server.py",
        "self.vote = node\n        self.outbox.hard_state_changed(new_term=False)",
        "self.vote = node",
    ),
    Mutant(
        "term not persisted",
        "cluster/raft/server.py",
        "self.outbox.hard_state_changed(new_term=True)",
        "pass",
    ),
    Mutant(
        "vote given away again",
        "cluster/raft/election.py",
        "(server.vote == request.sender or (server.vote == NO_VOTE and not server.leader))",
        "True",
    ),
    Mutant(
        "up-to-date check by index alone",
        "cluster/raft/window.py",
        "return (last_term, last_index) >= (self.last_term, self.last_index)",
        "return last_index >= self.last_index",
    ),
    Mutant(
        "up-to-date check by term alone",
        "cluster/raft/window.py",
        "return (last_term, last_index) >= (self.last_term, self.last_index)",
        "return last_term >= self.last_term",
    ),
    Mutant(
        "half the votes are enough",
        "cluster/raft/quorum.py",
        "needed = len(voters) // 2 + 1",
        "needed = (len(voters) + 1) // 2",
    ),
    Mutant(
        "election in one half of a joint configuration",
        "cluster/raft/quorum.py",
        "    if not configuration.outgoing:\n        return outcome",
        "    if True:\n        return outcome",
    ),
    Mutant(
        "own vote counted before it is durable",
        "cluster/raft/election.py",
        "if not self.pre and self._server.outbox.persisted >= self.own_vote_write:",
        "if not self.pre:",
    ),
    Mutant(
        "pre-vote granted while the leader is heard",
        "cluster/raft/election.py",
        "        and not server.hears_leader\n",
        "",
    ),
    Mutant(
        "vote request heeded while the leader is heard",
        "cluster/raft/core.py",
        "if isinstance(message, VoteRequest) and self._server.hears_leader and not message.transfer:",
        "if False:",
    ),
    Mutant(
        "a quorum that is half",
        "cluster/raft/quorum.py",
        "return sum(1 for voter in voters if voter in nodes) > len(voters) // 2",
        "return sum(1 for voter in voters if voter in nodes) >= len(voters) // 2",
    ),
    # Replication and commit
    Mutant(
        "commit of an old term",
        "cluster/raft/leadership.py",
        "if index <= log.commit or log.term(index) != server.term:",
        "if index <= log.commit:",
    ),
    Mutant(
        "commit quorum off by one",
        "cluster/raft/quorum.py",
        "[(count - 1) // 2]",
        "[min(count - 1, (count + 1) // 2)]",
    ),
    Mutant(
        "commit by half of an even group",
        "cluster/raft/quorum.py",
        "[(count - 1) // 2]",
        "[count // 2]",
    ),
    Mutant(
        "commit in one half of a joint configuration",
        "cluster/raft/quorum.py",
        "    if configuration.outgoing:\n        return min(value,",
        "    if False:\n        return min(value,",
    ),
    Mutant(
        "leader counts its own copy before it is durable",
        "cluster/raft/replication.py",
        "values[self._server.id] = self._server.log.stable",
        "values[self._server.id] = self._server.log.last_index",
    ),
    Mutant(
        "acknowledgement before fsync",
        "cluster/raft/outbox.py",
        "after = max(after, self.hard_state_write)",
        "after = self.hard_state_write",
    ),
    Mutant(
        "messages do not wait for the hard state",
        "cluster/raft/outbox.py",
        "after = max(after, self.hard_state_write)",
        "after = max(after, 0)",
    ),
    Mutant(
        "acknowledgement of an overwritten write",
        "cluster/raft/window.py",
        "write[1] = min(write[1], self.last_index)",
        "pass",
    ),
    Mutant(
        "truncation where nothing conflicts",
        "cluster/raft/following.py",
        "            if prev_index != log.last_index:\n",
        "            if False:\n",
    ),
    Mutant(
        "no truncation where something conflicts",
        "cluster/raft/following.py",
        "if log.term(entry.index) != entry.term and not self._behind_base(entry.index):",
        "if log.term(entry.index) is None and not self._behind_base(entry.index):",
    ),
    Mutant(
        "the place before the entries is not compared",
        "cluster/raft/following.py",
        "if log.term(prev_index) != message.prev_term and not self._behind_base(prev_index):",
        "if log.term(prev_index) is None and not self._behind_base(prev_index):",
    ),
    Mutant(
        "commit past the last new entry",
        "cluster/raft/following.py",
        "log.commit_to(min(message.commit, last_new))",
        "log.commit_to(min(message.commit, log.last_index))",
    ),
    Mutant(
        "heartbeats promise too much",
        "cluster/raft/leadership.py",
        "min(progress.match, commit)",
        "commit",
    ),
    Mutant(
        "a lost append is never sent again",
        "cluster/raft/progress.py",
        "        if self.state is ProgressState.REPLICATE:\n            self.become_probe()\n            return True\n",
        "        if self.state is ProgressState.REPLICATE:\n            return False\n",
    ),
    # Reads
    Mutant(
        "reads without a quorum",
        "cluster/raft/leadership.py",
        "quorum.reached(server.configuration, values)",
        "self._rounds.round",
    ),
    Mutant(
        "reads before the term's first commit",
        "cluster/raft/leadership.py",
        "if self._rounds.gathered and self._server.log.commit >= self.barrier:",
        "if self._rounds.gathered:",
    ),
    Mutant(
        "reads of a deposed leader answered",
        "cluster/raft/reads.py",
        "return [context for node, context in everything if node == origin]",
        "return []",
    ),
    # Membership
    Mutant(
        "a change before an entry of the own term",
        "cluster/raft/leadership.py",
        "if log.commit < self.barrier:",
        "if False:",
    ),
    Mutant(
        "two changes at once",
        "cluster/raft/leadership.py",
        "if self._server.history.index > log.commit:",
        "if False:",
    ),
    Mutant(
        "several voters change without the joint step",
        "cluster/raft/membership.py",
        "joint = change.joint or len(crossing) > 1",
        "joint = change.joint",
    ),
    Mutant(
        "a truncated change stays in force",
        "cluster/raft/server.py",
        "        self.history.truncate(index)\n",
        "",
    ),
    Mutant(
        "membership taken from the old log under a snapshot",
        "cluster/raft/server.py",
        "        self.history.restore(meta)\n",
        "",
    ),
    Mutant(
        "a removed leader stays",
        "cluster/raft/leadership.py",
        "            self._resign()\n",
        "            pass\n",
    ),
    Mutant(
        "nobody stands whom an uncommitted change leaves out",
        "cluster/raft/server.py",
        "return any(configuration.votes(self.id) for configuration in self.history.since(self.log.commit))",
        "return self.configuration.votes(self.id)",
    ),
    # Snapshots
    Mutant(
        "snapshot said to be installed before it is durable",
        "cluster/raft/following.py",
        "self._report(message, SnapshotState.INSTALLED, after=self._installing)",
        "self._report(message, SnapshotState.INSTALLED)",
    ),
    Mutant(
        "acknowledgement on top of a snapshot under way",
        "cluster/raft/window.py",
        "        self.stable = min(self.stable, self.applied)\n"
        "        for write in self._writes:\n            write[1] = self.stable\n",
        "        self.stable = base.index\n        for write in self._writes:\n            write[1] = base.index\n",
    ),
    Mutant(
        "snapshot described by today's configuration",
        "cluster/raft/history.py",
        "            if self._indexes[position] <= index:\n                return self._values[position]\n",
        "            return self._values[position]\n",
    ),
    Mutant(
        "log dropped under a snapshot that is being sent",
        "cluster/raft/room.py",
        "needed = self._shipping.needed_after(base)",
        "needed = None",
    ),
    # The job table
    Mutant(
        "dedupe missing from the snapshot",
        "cluster/jobs/restoring.py",
        "        node.last = each.last\n",
        "",
    ),
    Mutant(
        "commands applied twice",
        "cluster/jobs/table.py",
        "batch.commands[node.last + 1 - batch.first :] if batch.first <= node.last else batch.commands",
        "batch.commands",
    ),
    Mutant(
        "gaps in a node's commands accepted",
        "cluster/jobs/table.py",
        "current and batch.first <= node.last + 1",
        "current",
    ),
    Mutant(
        "a node that was declared down goes on",
        "cluster/jobs/table.py",
        "batch.incarnation == node.incarnation and node.up",
        "batch.incarnation == node.incarnation",
    ),
    Mutant(
        "a sleeper that learns a function is woken first",
        "cluster/jobs/functions.py",
        "elif not sleepers or sleepers[-1] < parking:",
        "elif True:",
    ),
    Mutant(
        "queues restored in another order",
        "cluster/jobs/restoring.py",
        "    queued.sort(key=_position)\n",
        "",
    ),
    Mutant(
        "deadlines missing from the snapshot",
        "cluster/jobs/restoring.py",
        "                table.deadlines.set(job.deadline, number)\n",
        "                pass\n",
    ),
    Mutant(
        "listeners missing from the snapshot",
        "cluster/jobs/restoring.py",
        "            job.listeners = dict.fromkeys(",
        "            job.listeners = {} and dict.fromkeys(",
    ),
    Mutant(
        "unique keys missing from the snapshot",
        "cluster/jobs/restoring.py",
        "            table.keys.add(job.key, job)\n",
        "            pass\n",
    ),
    Mutant(
        "jobs of a lost worker are dropped",
        "cluster/jobs/lifecycle.py",
        "            self.waiting.put_back(job)\n",
        "            self._remove(job)\n",
    ),
    # The disk
    Mutant(
        "the store forgets the hard state",
        "tests/simulation/disk.py",
        "            self.hard_state = hard_state\n",
        "            pass\n",
    ),
    Mutant(
        "the store keeps what was overwritten",
        "tests/simulation/disk.py",
        "            del self._entries[first - self.base_index - 1 :]\n            self._entries.extend(entries)",
        "            place = first - self.base_index - 1\n"
        "            self._entries[place : place + len(entries)] = entries",
    ),
    Mutant(
        "the store keeps the old log under a snapshot",
        "tests/simulation/disk.py",
        "        self._spool.clear()\n        self._entries.clear()\n",
        "        self._spool.clear()\n",
    ),
    Mutant(
        "the disk acknowledges before it writes",
        "tests/simulation/disk.py",
        "self._waiting.append((work, done))",
        "self._waiting.append((work, lambda: None)); self._schedule.after(0, done)",
    ),
    Mutant(
        "a failed fsync is passed over",
        "tests/simulation/disk.py",
        '            self.on_failure(StorageError("fsync failed"))\n',
        "            lost, self._under_way = self._under_way, []\n"
        "            for _, callback in lost:\n                callback()\n",
    ),
    # What is read of the log on disk
    Mutant(
        "overwritten entries stay at hand",
        "cluster/raft/window.py",
        "        self._store.forget(index)\n",
        "",
    ),
    Mutant(
        "entries at hand survive a snapshot",
        "cluster/raft/window.py",
        "        self._store.forget(0)\n",
        "",
    ),
    Mutant(
        "entries are used that were replaced while they were read",
        "node/stored_log.py",
        "entries if replaced is None else",
        "entries if True else",
    ),
    Mutant(
        "what is not durable leaves memory",
        "cluster/raft/window.py",
        "limit = min(self.applied, self.stable) - self._offset + 1",
        "limit = self.applied - self._offset + 1",
    ),
    # The driver: incarnations
    Mutant(
        "an incarnation's number is used twice",
        "node/driver/incarnations.py",
        "self._used = number = max(self._used, known.incarnation if known is not None else 0) + 1",
        "self._used = number = 1",
    ),
    Mutant(
        "an incarnation speaks before its number is on disk",
        "node/driver/driver.py",
        "        if not self._incarnations.noted:\n            return False\n",
        "",
    ),
    Mutant(
        "effects for sessions of an earlier incarnation",
        "node/driver/driver.py",
        "if effects and self._sink is not None and self.table.nodes[self.name].incarnation == self.incarnation:",
        "if effects and self._sink is not None:",
    ),
    Mutant(
        "a node that was declared down does not notice",
        "node/driver/driver.py",
        "            if not node.up:\n                self._incarnations.break_off()\n            elif",
        "            if",
    ),
    Mutant(
        "sessions survive a snapshot that does not have them",
        "node/driver/driver.py",
        "goes_on = node is not None and node.up and node.incarnation == self.incarnation",
        "goes_on = node is not None",
    ),
    # The driver: commands on their way
    Mutant(
        "commands are not sent again after a while",
        "node/driver/sending.py",
        "            self._resend = min(2 * self._resend, MAX_RESEND)\n            self._send_again()\n",
        "            pass\n",
    ),
    Mutant(
        "commands are not sent to a new leader",
        "node/driver/sending.py",
        "        self._resend = RESEND\n        self._send_again()\n",
        "        self._resend = RESEND\n",
    ),
    Mutant(
        "a new leader keeps what an earlier term took in",
        "node/driver/driver.py",
        "        self._intake.clear()\n",
        "",
    ),
    Mutant(
        "the leader takes what it has taken in",
        "node/driver/intake.py",
        "if again and (last <= end or batch.first",
        "if again and (batch.first",
    ),
    Mutant(
        "the leader takes no account of what the table has",
        "node/driver/intake.py",
        "max(end, self._applied(batch)) + 1",
        "end + 1",
    ),
    Mutant(
        "the leader goes on where another incarnation was",
        "node/driver/intake.py",
        "            if batch.incarnation > incarnation or batch.first < start:\n",
        "            if batch.first < start:\n",
    ),
    Mutant(
        "a proposal of another term is taken from memory",
        "node/driver/driver.py",
        "if proposal is None or term != entry.term:",
        "if proposal is None:",
    ),
    Mutant(
        "batches are numbered as if nothing had gathered behind them",
        "node/driver/gathering.py",
        " - sum([len(commands) for commands, _ in self._closed])",
        "",
    ),
    # The driver: service, reads, which nodes are down
    Mutant(
        "a node serves before its NodeUp is applied",
        "node/driver/incarnations.py",
        "serving = self.open and led and",
        "serving = led and",
    ),
    Mutant(
        "a node without a leader goes on serving",
        "node/driver/incarnations.py",
        "waits = now - self._led < self._leaderless_timeout",
        "waits = True",
    ),
    Mutant(
        "the last one left answers without a barrier",
        "node/driver/driver.py",
        "return self.alone and self.leads and raft.entry_term(self._mirroring.applied_index) == raft.term",
        "return self.alone",
    ),
    Mutant(
        "reads are answered when the barrier is known, not when it is applied",
        "node/driver/barriers.py",
        "due = [callbacks for needed, callbacks in self._confirmed if needed <= index]",
        "due = [callbacks for _, callbacks in self._confirmed]",
    ),
    Mutant(
        "reads are lost with their leader",
        "node/driver/barriers.py",
        "            self._gathered = callbacks + self._gathered\n",
        "            pass\n",
    ),
    Mutant(
        "nobody is ever declared down",
        "node/driver/failure_detector.py",
        "            if not node.up or name == self._name or self._decided.get(name) == node.incarnation:",
        "            if True:",
    ),
    Mutant(
        "a new leader counts the silence of the time before",
        "node/driver/failure_detector.py",
        "        self._heard.clear()\n        self._decided.clear()\n",
        "        self._decided.clear()\n",
    ),
    Mutant(
        "what was said of a node in an earlier term is not said again",
        "node/driver/failure_detector.py",
        "        self._decided.clear()\n",
        "",
    ),
    Mutant(
        "a removed node is not declared down",
        "node/driver/failure_detector.py",
        "            if name not in committed:",
        "            if False:",
    ),
    Mutant(
        "pauses of a process count as time in which it ran",
        "node/driver/awake_clock.py",
        "if gap > PAUSE:",
        "if False:",
        "frozen leaders",
    ),
    Mutant(
        "silences go on after a pause of the one that listens",
        "node/driver/failure_detector.py",
        "if self._clock.paused != self._paused:",
        "if False:",
    ),
    Mutant(
        "a node is down that a change leaves out which is not committed",
        "node/driver/failure_detector.py",
        "            if name not in committed:",
        "            if name not in members:",
        "membership",
    ),
    Mutant(
        "a node is silent that a change leaves out which is not committed",
        "node/driver/failure_detector.py",
        "elif name in members and silence",
        "elif silence",
    ),
    Mutant(
        "the end of a process is taken for that of the next one",
        "node/driver/failure_detector.py",
        "elif node.process in (ended := self._ended.get(name, {})):",
        "elif ended := {node.process: reason for reason in self._ended.get(name, {}).values()}:",
        "crashes",
    ),
    Mutant(
        "a decision that could not be proposed is forgotten",
        "node/driver/decisions.py",
        "            return  # the next tick tries again\n",
        "            pass\n",
    ),
    Mutant(
        "a node hangs up in every election",
        "node/driver/incarnations.py",
        "waits = now - self._led < self._leaderless_timeout",
        "waits = now - self._led < 2.0",
        "leaders",
    ),
    Mutant(
        "a node whose disk keeps it from being heard goes on serving",
        "node/driver/incarnations.py",
        "        if led and self._raft.mute:\n",
        "        if False:\n",
    ),
    Mutant(
        "a process that is linked again stays proven to have ended",
        "node/driver/failure_detector.py",
        "        self._ended.get(node, {}).pop(process, None)\n",
        "",
    ),
    Mutant(
        "a leader that hears nobody thinks that it leads",
        "node/driver/incarnations.py",
        "now - self._raft.unheard * self._tick)",
        "now)",
    ),
    Mutant(
        "a refused connection proves that a process has ended",
        "cluster/mesh/processes.py",
        "            if process.host_closed:\n                self._not_back(process)",
        "            if True:\n                self._not_back(process)",
    ),
    Mutant(
        "a liveness connection that is reset proves that a process has ended",
        "cluster/mesh/liveness.py",
        "self._lost(self, exc is None and self._confirmed and not self._spoilt)",
        "self._lost(self, True)",
    ),
    # Mirrors and snapshots
    Mutant(
        "a mirror with what changed after it was begun",
        "cluster/jobs/changes.py",
        "        if segment in self.owed:\n            self.take_owed(segment)\n",
        "",
    ),
    Mutant(
        "a mirror of the table while a snapshot takes its place",
        "node/driver/mirroring.py",
        "        self._stopped = True\n        self._cancel()\n",
        "        self._cancel()\n",
    ),
    Mutant(
        "the node stops when a mirror and a snapshot meet",
        "node/driver/mirroring.py",
        "        except SnapshotRefusedError:\n            return",
        "        except ZeroDivisionError:\n            return",
    ),
    Mutant(
        "a joiner keeps an empty mirror",
        "node/driver/mirroring.py",
        "if self._under_way or self._stopped or not self.applied_index:",
        "if self._under_way or self._stopped:",
    ),
    Mutant(
        "the mirror is written by who has not read the snapshot",
        "node/driver/mirroring.py",
        "        self._writer = writer\n        self.applied_index = self._last = index\n",
        "        self.applied_index = self._last = index\n",
    ),
    Mutant(
        "writes are acknowledged while the table is being read back",
        "node/driver/writing.py",
        "            self._persisted_later.append(sequence)\n        else:\n            self",
        "            pass\n        self",
    ),
    Mutant(
        "a snapshot keeps its sender's name",
        "node/recovery.py",
        'msgspec.structs.replace(_read_meta(meta, "the snapshot"), node=node)',
        '_read_meta(meta, "the snapshot")',
    ),
    Mutant(
        "a snapshot that is not wanted any more stays open",
        "node/driver/snapshots.py",
        "        if stream not in self._readers:\n            self._close(reader)\n            return\n",
        "        if stream not in self._readers:\n            return\n",
    ),
    # Reports
    Mutant(
        "reports are not sent again over a new link",
        "node/relay.py",
        "            stream.unsent, stream.unacknowledged = stream.unacknowledged, deque()\n",
        "            stream.unsent, stream.unacknowledged = deque(), deque()\n",
    ),
    Mutant(
        "reports are taken twice",
        "node/relay.py",
        "                if number == last + 1:\n",
        "                if True:\n",
    ),
    Mutant(
        "reports of a new incarnation are counted on",
        "node/relay.py",
        "            if parcel.sender > sender:\n                last = 0\n",
        "",
    ),
    Mutant(
        "reports for another incarnation are taken",
        "node/relay.py",
        "elif parcel.receiver == self._incarnation:",
        "else:",
    ),
    Mutant(
        "a receipt of another incarnation counts",
        "node/relay.py",
        "if stream is None or receipt.sender != self._incarnation or receipt.receiver != stream.receiver:",
        "if stream is None:",
    ),
    Mutant(
        "a receipt is forgotten when there is no room for it",
        "node/relay.py",
        "            if self._send(node, Receipt(sender, self._incarnation, number)):\n"
        "                del self.owed[node]\n",
        "            self._send(node, Receipt(sender, self._incarnation, number))\n            del self.owed[node]\n",
    ),
    Mutant(
        "reports are lost where there is no room",
        "node/relay.py",
        "                unsent.extendleft(reversed(taken))\n",
        "",
    ),
    Mutant(
        "reports come back in another order",
        "node/relay.py",
        "unsent.extendleft(reversed(taken))",
        "unsent.extendleft(taken)",
    ),
    # Listeners
    Mutant(
        "a report that is early is lost",
        "node/gateway/listening.py",
        "            self._early.add(session, job, report)\n",
        "            pass\n",
    ),
    Mutant(
        "an end is told again by another run",
        "node/gateway/listening.py",
        "        if report.kind in FINAL:\n            self.note_told(session, report)\n",
        "",
    ),
    Mutant(
        "an end that was told fails all the same",
        "node/gateway/listening.py",
        "        self._early.take(session, job.number)\n        return self._forget(job.number, session)",
        "        self._early.take(session, job.number)\n        return False",
    ),
    Mutant(
        "who was told an end hears nothing of the next run, though it submitted the job again",
        "node/gateway/listening.py",
        "        self._forget(job.number, session)\n        for report",
        "        for report",
    ),
    Mutant(
        "nobody waits for the word of a job that is over",
        "node/gateway/listening.py",
        "        self._awaiting.setdefault(session, {})[job.number] = (job, effect.node, effect.incarnation)\n",
        "",
    ),
    Mutant(
        "the word of a node that is gone is waited for",
        "node/gateway/listening.py",
        "if node is None or not node.up or node.incarnation != incarnation:",
        "if False:",
    ),
    Mutant(
        "the word of a node is given up too early",
        "node/gateway/listening.py",
        "if node is None or not node.up or node.incarnation != incarnation:",
        "if True:",
    ),
    Mutant(
        "who joins in the last entry is not told",
        "node/gateway/listening.py",
        "        for report in self._early.take(session, job.number):\n            self._pass_on(session, report)\n",
        "",
    ),
    Mutant(
        "who was told by a worker here is told again by another node's",
        "node/gateway/telling.py",
        "            sessions = [session for session in sessions if session not in told]\n",
        "",
    ),
    Mutant(
        "words are awaited for who has left",
        "node/gateway/telling.py",
        "        if effect.session in self._connections:\n            self.listening.concluded(effect)\n",
        "        self.listening.concluded(effect)\n",
    ),
    Mutant(
        "who joins while the end is on its way is not told",
        "node/gateway/telling.py",
        "            if told != tuple(job.listeners):\n",
        "            if False:\n",
    ),
    # Connections, workers and the end
    Mutant(
        "an answer overtakes one that is awaited",
        "node/gateway/connection.py",
        "                if self.waiting and (self.reading_table or self.uploading or kind not in PIPELINED):\n",
        "                if False:\n",
    ),
    Mutant(
        "an answer to text overtakes one that is awaited",
        "node/gateway/connection.py",
        "            elif self.waiting or self._held_back:\n",
        "            elif False:\n",
    ),
    Mutant(
        "a connection that was full is not read from again",
        "node/gateway/connection.py",
        "        if self._inbox or not self._reading or self._ended:\n",
        "        if self._inbox or self._ended:\n",
    ),
    Mutant(
        "a connection that has had its turn never has another",
        "node/gateway/connection.py",
        "                self._tired = True\n                gateway.resume_later(self)\n",
        "                self._tired = True\n",
    ),
    Mutant(
        "a peer that reads again is not served",
        "node/gateway/connection.py",
        "        self._held_back = False\n        self.resume()\n",
        "        self._held_back = False\n",
    ),
    Mutant(
        "a connection is closed before what its client asked last is answered",
        "node/gateway/connection.py",
        "        if self.waiting or self._inbox:\n            return False\n",
        "",
    ),
    Mutant(
        "a late packet is reported before what is owed",
        "node/gateway/connection.py",
        "not self._reading or self.waiting:",
        "not self._reading:",
    ),
    Mutant(
        "nobody is read from again when the node has caught up",
        "node/gateway/gateway.py",
        "            if not overloaded:\n                self.steps",
        "            if False:\n                self.steps",
    ),
    Mutant(
        "a job that comes after NO_JOB is kept for nobody",
        "node/gateway/assigning.py",
        "            if self._keeps(connection, worker, effect.job):\n"
        "                self._offer(connection, worker)\n"
        "            return\n",
        "            return\n",
    ),
    Mutant(
        "a held GRAB_JOB is never answered",
        "node/gateway/assigning.py",
        "            self._end_hold(connection, connection.worker)\n",
        "            pass\n",
    ),
    Mutant(
        "a job that its worker can run no more is never given back",
        "node/gateway/assigning.py",
        "            self._driver.propose(Unreserve(connection.number, worker.unwanted.pop().number))\n",
        "            worker.unwanted.pop()\n",
    ),
    Mutant(
        "a client that submits a job twice is told its end once",
        "node/gateway/telling.py",
        "        repeats[job.handle] = repeats.get(job.handle, 0) + 1\n",
        "        pass\n",
    ),
    Mutant(
        "exceptions are told to those who did not ask for them",
        "node/gateway/telling.py",
        "        if kind is PacketType.WORK_EXCEPTION and not connection.exceptions:\n",
        "        if False:\n",
    ),
    Mutant(
        "a node stops while its workers run jobs",
        "node/gateway/draining.py",
        "if self._drained is not None and self._over:",
        "if self._drained is not None:",
        "stops",
        simulated=True,
    ),
    Mutant(
        "a node stops before the ends of its jobs are in the table",
        "node/server.py",
        "            await self._unless_stopped(self._settle(driver, settled), "
        "within=None if driver.alone else SETTLING_TIME)\n",
        "",
        "stops",
        simulated=True,
    ),
    # Told, therefore ended
    Mutant(
        "a submit joins a job whose end was told",
        "cluster/jobs/table.py",
        "if holder is not None and holder.node is not node and holder.node.up:",
        "if False:",
        simulated=True,
    ),
    Mutant(
        "a submit has joined in time whatever the worker's node answers",
        "node/gateway/joins.py",
        "if verdict is Verdict.RUNS or",
        "if True or",
        simulated=True,
    ),
    Mutant(
        "a submit is proposed again before the end of the job is applied",
        "node/gateway/holders.py",
        "while answered and answered[0][0] <= last:",
        "while answered:",
        simulated=True,
    ),
    Mutant(
        "a node has ended only what is on its way to the table",
        "node/gateway/holders.py",
        "return job in self._gateway.telling.endings or (job not in self._table.jobs and job <= self._table.last_job)",
        "return job in self._gateway.telling.endings",
        simulated=True,
    ),
    Mutant(
        "a session that another node speaks for is not sent what the worker says",
        "node/gateway/telling.py",
        "        self.expected.setdefault(job, {}).setdefault((node, incarnation), set()).add(session)\n",
        "        pass\n",
    ),
    Mutant(
        "later answers overtake that of a submit which waits for another node",
        "node/gateway/connection.py",
        "        self._out = owed.behind\n",
        "",
        simulated=True,
    ),
    Mutant(
        "what a worker here says overtakes the answer to a submit",
        "node/gateway/telling.py",
        "if not (self.listening.holds and self.listening.keep(listener.number, job, kind, args)):",
        "if True:",
        simulated=True,
    ),
    Mutant(
        "a status is answered without asking the worker's node",
        "node/gateway/reads.py",
        "if job is not None and holder is not None and holder.node.up and holder.node.name != self._driver.name:",
        "if False:",
        simulated=True,
    ),
    Mutant(
        "lists are answered without asking the other nodes",
        "node/gateway/reads.py",
        "self._driver.when_current(lambda: self._gateway.holders.settle(then))",
        "self._driver.when_current(then)",
        simulated=True,
    ),
    Mutant(
        "a queue is full of jobs that have ended",
        "node/gateway/joins.py",
        "if effect.submit is None or self._driver.alone:",
        "if True:",
        "limits",
        simulated=True,
    ),
    Mutant(
        "the end of one run is taken for that of the next",
        "cluster/jobs/table.py",
        "if job is not None and job.attempts == command.attempts:",
        "if job is not None:",
        simulated=True,
    ),
    Mutant(
        "the end of a run that began after a submit is no answer to it, if the session was told before",
        "node/gateway/listening.py",
        "return report is not None and report.held >= index",
        "return False",
    ),
    Mutant(
        "the end of a run that began before a submit is an answer to it",
        "node/gateway/listening.py",
        "return report is not None and report.held >= index",
        "return report is not None",
    ),
    # Formation
    Mutant(
        "a candidate accepts two proposals",
        "cluster/formation/forming.py",
        "question what became of another one\n            return\n",
        "question what became of another one\n",
        "founding",
        simulated=True,
    ),
    Mutant(
        "a cluster is founded with one acceptance missing",
        "cluster/formation/forming.py",
        "if node != settings.node and node not in self._accepts]\n        if not missing:",
        "if node != settings.node and node not in self._accepts][1:]\n        if not missing:",
        "founding",
        simulated=True,
    ),
    Mutant(
        "an acceptance is not durable",
        "cluster/formation/forming.py",
        "self._persist(Accepted(proposal))",
        "self._record = Accepted(proposal)",
        "founding",
        simulated=True,
    ),
    Mutant(
        "an acceptance is forgotten by a restart",
        "cluster/formation/forming.py",
        "self._record: Record = record",
        "self._record: Record = Free()",
        "founding",
        simulated=True,
    ),
    Mutant(
        "an acceptance of an earlier proposal counts",
        "cluster/formation/forming.py",
        "if self._proposal is None or accepted.id != self._proposal.id:",
        "if self._proposal is None:",
        "founding",
        simulated=True,
    ),
    Mutant(
        "a founding is told before it is durable",
        "node/membership.py",
        "store.write_note(FORMATION, record), lambda _: self._persisted(), self._on_failure)",
        "store.write_note(FORMATION, record), lambda _: None, self._on_failure)\n        self._persisted()",
        "founding",
        simulated=True,
    ),
    Mutant(
        "clusters of two names link",
        "cluster/mesh/handshake.py",
        "if mine.cluster != theirs.cluster:",
        "if False:",
        "founding",
        simulated=True,
    ),
    Mutant(
        "a joiner begins with the members that it has seen",
        "node/recovery.py",
        "if not found.meta and isinstance(record, Founder):",
        "if not found.meta:",
        "admission",
        simulated=True,
    ),
    Mutant(
        "a learner is promoted before it has caught up",
        "cluster/raft/leadership.py",
        "progress.state is not ProgressState.REPLICATE or progress.match + lag < commit:",
        "False:",
        "admission",
        simulated=True,
    ),
    Mutant(
        "a configuration of before its admission removes a node",
        "cluster/formation/admission.py",
        "if not within and self._index > self._admitted:",
        "if not within:",
        "admission",
        simulated=True,
    ),
    Mutant(
        "an older configuration of another node removes a node",
        "cluster/formation/admission.py",
        "            and presence.index > max(self._index, self._admitted)\n",
        "",
        "admission",
        simulated=True,
    ),
    Mutant(
        "nobody asks twice to be let in",
        "cluster/formation/admission.py",
        "                self._introduce(node)\n            self._request_admission()",
        "                self._introduce(node)",
        "admission",
        simulated=True,
    ),
    # Bounds in bytes
    Mutant(
        "large workloads go to the table in one piece",
        "node/driver/gathering.py",
        "        if len(submit.workload) > PART:\n",
        "        if not submit:\n",
        "sizes",
        simulated=True,
    ),
    Mutant(
        "a batch is closed after it has become too heavy",
        "node/driver/gathering.py",
        "        size += COMMAND_BYTES\n        if self._gathered_bytes + size > MAX_BATCH_BYTES and self._gathering:",
        "        size += COMMAND_BYTES\n        if self._gathered_bytes > MAX_BATCH_BYTES:",
    ),
    Mutant(
        "an entry takes in all batches that wait",
        "node/driver/intake.py",
        "            too_heavy = weight + more + (count + 1) * BATCH_BYTES > MAX_BATCH\n",
        "            too_heavy = weight < 0\n",
        "sizes",
    ),
    Mutant(
        "an entry takes in any number of commands",
        "node/driver/intake.py",
        "if count and (too_heavy or commands > MAX_BATCH_COMMANDS):",
        "if count and too_heavy:",
    ),
    Mutant(
        "all that is committed is applied in one turn",
        "node/driver/driver.py",
        "        while committed and count < APPLIED:",
        "        while committed:",
    ),
    Mutant(
        "an entry is encoded before there is room for it",
        "node/driver/intake.py",
        "            if not self._raft.room:\n                break",
        "            if not self._raft:\n                break",
    ),
    Mutant(
        "all parts of a workload are on their way at once",
        "node/driver/uploads.py",
        "bool(self._waiting) and self._on_their_way < WINDOW",
        "bool(self._waiting)",
    ),
    Mutant(
        "one workload goes to its end before the next begins",
        "node/driver/uploads.py",
        "        self._waiting.append(upload)\n        return Part",
        "        self._waiting.appendleft(upload)\n        return Part",
    ),
    Mutant(
        "uploads outlive their incarnation on the node",
        "node/driver/gathering.py",
        "        self._uploads.clear()\n",
        "",
    ),
    Mutant(
        "uploads outlive their incarnation in the table",
        "cluster/jobs/table.py",
        "            self.pieces.drop(upload.pieces)\n        node.uploads.clear()",
        "            return",
    ),
    Mutant(
        "pieces of a workload are kept after its job has ended",
        "cluster/jobs/lifecycle.py",
        "        if job.pieces:\n            self.pieces.drop(job.pieces)\n",
        "",
    ),
    Mutant(
        "packets overtake the upload before them",
        "node/gateway/connection.py",
        "(self.reading_table or self.uploading or kind not in PIPELINED)",
        "(self.reading_table or kind not in PIPELINED)",
    ),
    Mutant(
        "batches of any size are taken from another node",
        "node/peers.py",
        "    if len(data) > MAX_BATCHES:",
        "    if not data:",
    ),
    Mutant(
        "a message that is too long is dropped in silence",
        "cluster/mesh/mesh.py",
        "        if drop is not Drop.NO_LINK:\n            self",
        "        if not drop:\n            self",
    ),
    Mutant(
        "the longest message of a lane is that of all lanes",
        "cluster/mesh/settings.py",
        "return self.max_message, self.max_report, self.max_message, self.max_message",
        "return self.max_report, self.max_report, self.max_report, self.max_report",
    ),
    # What connections hold, and for how long
    Mutant(
        "requests that wait are bounded by their number alone",
        "node/gateway/inbox.py",
        "return len(self) > MAX_MESSAGES or self.size > MAX_BYTES",
        "return len(self) > MAX_MESSAGES",
    ),
    Mutant(
        "the connections together may hold anything",
        "node/gateway/budget.py",
        "        if self.held > self.limit:\n",
        "        if False:\n",
    ),
    Mutant(
        "the smallest holder is dropped first",
        "node/gateway/budget.py",
        "return max(islice(rank, COMPARED), key=_counted)",
        "return min(islice(rank, COMPARED), key=_counted)",
    ),
    Mutant(
        "what was read since counts all the same",
        "node/gateway/budget.py",
        "        self._refresh()\n        if self.held",
        "        if self.held",
    ),
    Mutant(
        "answers that are not read do not count",
        "node/gateway/connection.py",
        "unread = self._unread.size if self._unread is not None else 0\n        return",
        "unread = 0\n        return",
    ),
    Mutant(
        "requests that wait do not count",
        "node/gateway/connection.py",
        "return self._decoder.pending + self._inbox.size + unread",
        "return self._decoder.pending + unread",
    ),
    Mutant(
        "answers that wait for earlier ones do not count",
        "node/gateway/withheld.py",
        "            self.size += size\n",
        "            pass\n",
    ),
    Mutant(
        "reports that are kept do not count",
        "node/gateway/telling.py",
        "            connection.keep(size)\n",
        "            pass\n",
    ),
    Mutant(
        "what a connection held counts after its end",
        "node/gateway/connection.py",
        "        self._gateway.disconnected(self, error)\n        self._gateway.budget.forget(self)\n",
        "        self._gateway.disconnected(self, error)\n",
    ),
    Mutant(
        "large packets are read on while others wait for their turn",
        "node/gateway/connection.py",
        "            or (self._gateway.uploads_full and self._decoder.pending > PART)\n",
        "",
    ),
    Mutant(
        "large packets are read on when each comes to be looked at",
        "node/gateway/gateway.py",
        "            for other in self.budget.larger_than(PART):\n                other.regulate()\n",
        "",
    ),
    Mutant(
        "large packets are never read on",
        "node/gateway/gateway.py",
        "            self.uploads_full = False\n            self.steps",
        "            self.uploads_full = True\n            self.steps",
    ),
    Mutant(
        "results may be kept without a bound while the table lags behind",
        "node/gateway/telling.py",
        "        self._large_size += size\n        self.congested = self._large_size > MAX_ENDINGS\n",
        "        self._large_size += size\n",
    ),
    Mutant(
        "all who waited have their turn in one",
        "node/gateway/gateway.py",
        "            if left <= 0:\n",
        "            if False:\n",
    ),
    Mutant(
        "who waited longest is forgotten when others had the turn",
        "node/gateway/gateway.py",
        "                self._resumable[:0] = resumable[position:]\n",
        "",
    ),
    Mutant(
        "a byte now and then is going on",
        "node/gateway/progress.py",
        "return min(deadline + transferred / PACE, now + timeout)",
        "return now + timeout if transferred else deadline",
    ),
    Mutant(
        "bytes that were transferred save time for a long silence",
        "node/gateway/progress.py",
        "return min(deadline + transferred / PACE, now + timeout)",
        "return deadline + transferred / PACE",
    ),
    Mutant(
        "a packet is waited for without an end",
        "node/gateway/connection.py",
        "            elif now > self._packet_deadline:\n",
        "            elif False:\n",
    ),
    Mutant(
        "unread bytes are kept without an end",
        "node/gateway/connection.py",
        "        if self._unread is not None and self._unread.overdue(now, timeout):\n",
        "        if False:\n",
    ),
    Mutant(
        "who is sent more than it had unread has read nothing",
        "node/gateway/unread.py",
        "        self._expected += size\n",
        "        pass\n",
    ),
    Mutant(
        "a connection that is closed waits for its reader without an end",
        "node/gateway/connection.py",
        "            if self._unread is None:  # its end",
        "            self._unread = None\n            if False:  # its end",
    ),
    Mutant(
        "lists are made though nobody reads them",
        "node/gateway/connection.py",
        "        if self._unread is None:\n            callback()\n",
        "        if True:\n            callback()\n",
    ),
    Mutant(
        "all lists are made in one turn",
        "node/gateway/lists.py",
        "while self._ready and rows > 0 and size > 0:",
        "while self._ready:",
    ),
    Mutant(
        "all connections are closed in one turn",
        "node/gateway/steps.py",
        "            left = STEP\n",
        "            left = 1 << 30\n",
    ),
    Mutant(
        "a connection that is about to be closed goes on",
        "node/gateway/connection.py",
        "        if self._generation != gateway.generation:\n",
        "        if False:\n",
    ),
    Mutant(
        "a connection of the last incarnation gives back its jobs in this one",
        "node/gateway/gateway.py",
        "            self._leaving.pop(connection, None)  # its session is over, or never began\n            return\n",
        "            self._leaving.pop(connection, None)  # its session is over, or never began\n",
    ),
    Mutant(
        "Gearman connections take the last files",
        "node/gateway/admission.py",
        "limit - RESERVED if limit",
        "limit if limit",
    ),
    # The log, and members that lag
    Mutant(
        "the log is dropped whatever a member that is heard from lacks",
        "cluster/raft/room.py",
        "if base <= lacks < needed:",
        "if not base <= lacks:",
        "floods",
    ),
    Mutant(
        "followers drop the log whatever their leader says is needed",
        "cluster/raft/following.py",
        "server.needed = message.needed if message.needed >= 0 else server.log.last_index",
        "server.needed = server.log.last_index",
    ),
    Mutant(
        "followers commit what their leader has committed, whether they have it from it or not",
        "cluster/raft/following.py",
        "server.leader_commit = message.committed",
        "server.log.commit_to(min(message.committed, server.log.last_index))",
    ),
    Mutant(
        "a leader tells each follower only what that one has",
        "cluster/raft/leadership.py",
        "own, number, needed, commit))",
        "own, number, needed, own))",
    ),
    Mutant(
        "a node is ready again as soon as its table is a little less than too old",
        "node/driver/lag.py",
        "self.seconds >= SHORT_AGAIN if before else self.seconds > TOO_LONG",
        "self.seconds > TOO_LONG",
    ),
    Mutant(
        "the age of a table goes by the log, which a snapshot has brought before the table",
        "node/driver/driver.py",
        "lag.tick(self.raft.leader_commit, self._mirroring.applied_index)",
        "lag.tick(self.raft.leader_commit, self.raft.applied_index)",
    ),
    Mutant(
        "the log is kept without a bound",
        "cluster/raft/core.py",
        "max(needed, log.extent.start_of_last(server.config.kept_bytes))",
        "needed",
    ),
    Mutant(
        "the log is kept for ever for a member that is gone",
        "cluster/raft/room.py",
        "if progress.silent < patience:",
        "if True:",
    ),
    Mutant(
        "the intake does not slow down for a member that lags",
        "cluster/raft/room.py",
        "if furthest < behind <= kept:",
        "if kept < behind <= kept:",
    ),
    Mutant(
        "the intake slows down for a member that is frozen",
        "cluster/raft/room.py",
        "progress.silent > config.election_ticks or ",
        "",
    ),
    Mutant(
        "the intake slows down for a member whose disk hangs for ever",
        "cluster/raft/room.py",
        " or progress.idle > PATIENCE * config.election_ticks",
        "",
    ),
    Mutant(
        "what waits for the leader's own disk has no bound",
        "cluster/raft/room.py",
        "        self._unwritten += size\n",
        "",
    ),
    Mutant(
        "a probe carries entries of any size",
        "cluster/raft/replication.py",
        "if probes and entries and len(entries[0].data) > PROBE_BYTES:",
        "if not probes and probes:",
    ),
    Mutant(
        "what lies behind a gap in a snapshot waits for the timer",
        "cluster/raft/shipping.py",
        "for piece in stream.gap(message.offset):",
        "for piece in ():",
        "snapshots",
    ),
    Mutant(
        "all that a slow receiver has not acknowledged is sent again and again",
        "cluster/raft/streaming.py",
        "        self._resent = True\n        return",
        "        return",
    ),
    Mutant(
        "a leader whose disk hangs leads on",
        "cluster/raft/stalling.py",
        "due=log.stable < log.last_index",
        "due=False",
    ),
    Mutant(
        "a leader whose entries do not arrive leads on",
        "cluster/raft/stalling.py",
        "if stalled > patience and self._missing(others):",
        "if stalled > patience and not others:",
    ),
    Mutant(
        "a leader whose followers' disks hang leads on",
        "cluster/raft/stalling.py",
        "if self._agreed.ticks > FOLLOWERS * patience:",
        "if self._agreed.ticks > FOLLOWERS * patience and not others:",
    ),
    Mutant(
        "a leader's patience does not grow",
        "cluster/raft/stalling.py",
        "return ticks << (server.fruitless + self._tries)",
        "return ticks",
    ),
    Mutant(
        "a leader waits for its own slow disk",
        "node/driver/pace.py",
        "return waited > TOO_SLOW or self._raft.commit >= self._raft.last_index",
        "return False",
        "leaders",
    ),
    Mutant(
        "a snapshot ends the sessions that it has",
        "node/driver/driver.py",
        "goes_on = node is not None and node.up and node.incarnation == self.incarnation",
        "goes_on = node is None",
        "lags",
        simulated=True,
    ),
    Mutant(
        "a job that was kept while its node lagged is given to nobody",
        "node/gateway/resuming.py",
        "        for job in jobs:\n",
        "        for job in jobs[:0]:\n",
        "lags",
    ),
    Mutant(
        "a sleeper that was woken while its node lagged sleeps on",
        "node/gateway/resuming.py",
        "if worker.asleep and session is not None and not session.parked and not asleep:",
        "if worker.asleep and session is None:",
        "lags",
    ),
    Mutant(
        "who submitted while its node lagged waits for ever",
        "node/gateway/resuming.py",
        "        for connection in closed:\n",
        "        for connection in closed[:0]:\n",
        "lags",
    ),
    Mutant(
        "who listens to a job that ended while its node lagged waits for ever",
        "node/gateway/resuming.py",
        "        if left:\n",
        "        if not left and left:\n",
        "lags",
    ),
    Mutant(
        "a worker's run goes on though the table has ended it",
        "node/gateway/resuming.py",
        "not self._is_here(found) or found.attempts != job.attempts:\n            return None",
        "not self._is_here(found):\n            return None",
        "lags",
    ),
    Mutant(
        "a node whose commands stand still says that it is ready",
        "node/status.py",
        "        if driver.stuck:\n",
        "        if not driver.stuck and driver.stuck:\n",
    ),
    # Memory and disk space
    Mutant(
        "a job is taken though a node is short of something",
        "cluster/jobs/table.py",
        "        if self.alarm is not None:\n",
        "        if False:\n",
        "alarms",
    ),
    Mutant(
        "a node that is gone keeps its alarm",
        "cluster/jobs/table.py",
        "            node.alarms.clear()\n            self.note_alarms()\n",
        "",
        "alarms",
        simulated=True,
    ),
    Mutant(
        "a mirror is read without its alarms",
        "cluster/jobs/restoring.py",
        "    table.note_alarms()\n",
        "",
        "alarms",
    ),
    Mutant(
        "a new incarnation does not say its alarms again",
        "node/driver/driver.py",
        "        for alarm in self.alarms.values():\n",
        "        for alarm in ():\n",
        "alarms",
    ),
    Mutant(
        "what is to be refused goes through the log",
        "node/gateway/requests.py",
        "            if shortage:\n",
        "            if False:\n",
        "alarms",
    ),
    Mutant(
        "a node knows nothing of its own alarms",
        "node/gateway/shortage.py",
        "        return self._table.alarm is not None or bool(self._driver.alarms)\n",
        "        return self._table.alarm is not None\n",
        "alarms",
    ),
    Mutant(
        "a refusal overtakes what is owed",
        "node/gateway/shortage.py",
        "        if connection.waiting:\n",
        "        if False:\n",
        "alarms",
    ),
    Mutant(
        "submits behind one that joins overtake it",
        "node/gateway/shortage.py",
        "                return\n            connection.send(refusal)\n",
        "                continue\n            connection.send(refusal)\n",
        "alarms",
    ),
    Mutant(
        "an alarm comes and goes at its mark",
        "node/alarms.py",
        "CLEAR: Final = 0.05",
        "CLEAR: Final = 0.0",
    ),
    Mutant(
        "an alarm waits for a process that does not shrink",
        "node/alarms.py",
        "            drained = used < mark * LARGEST and",
        "            drained = False and used < mark * LARGEST and",
    ),
    Mutant(
        "a process grows without end once its heap has drained",
        "node/alarms.py",
        "        if self._drained and used < mark * LARGEST:\n",
        "        if self._drained:\n",
    ),
    Mutant(
        "memory that was freed is not given back at the mark",
        "node/monitor.py",
        "        self._give_back()\n",
        "",
    ),
    Mutant(
        "an alarm is raised over memory that can be given back",
        "node/monitor.py",
        "        if not (close and self._trim(now)) or self.",
        "        if not (close and self._trim(now) and False) or self.",
    ),
    Mutant(
        "memory that takes long to give back is asked back all the time",
        "node/monitor.py",
        "max(TRIM_INTERVAL, TRIM_SHARE * took)",
        "max(TRIM_INTERVAL, 0 * took)",
    ),
    Mutant(
        "the disk is looked at each second only",
        "node/monitor.py",
        " or written - self._written_then >= MUCH_WRITTEN\n",
        "\n",
    ),
    Mutant(
        "a disk that does not answer is asked again and again",
        "node/monitor.py",
        "        if due and not self._asking and self.alarms.marks.disk:\n",
        "        if due and self.alarms.marks.disk:\n",
    ),
    Mutant(
        "a limit of a group above does not count",
        "node/machine.py",
        "        for count in range(len(parts), -1, -1):\n",
        "        for count in (len(parts), 0):\n",
    ),
    Mutant(
        "a node ends on a full disk",
        "cluster/storage/thread.py",
        "                if self._urgently.is_set():\n",
        "                if True:\n",
    ),
    Mutant(
        "who closes waits for a full disk",
        "cluster/storage/thread.py",
        "        self._urgently.set()\n",
        "",
    ),
    Mutant(
        "a failed fsync is excused by a full disk",
        "cluster/storage/errors.py",
        " and code not in _SYNC_FAILED",
        "",
    ),
    Mutant(
        "what found no room leaves its transaction open",
        "cluster/storage/store.py",
        '                self._db.execute("ROLLBACK")\n        except sqlite3.Error:\n',
        "                pass\n        except sqlite3.Error:\n",
    ),
    Mutant(
        "free pages are kept from a disk that is short of space",
        "cluster/storage/upkeep.py",
        "        if not self._keeps:\n",
        "        if False:\n",
    ),
    # The smallest of the members' largest packets
    Mutant(
        "each node takes packets as large as it likes",
        "node/gateway/packet_limit.py",
        "        self.limit.size = size\n",
        "",
    ),
    Mutant(
        "a node that is gone still says how large a packet may be",
        "node/gateway/packet_limit.py",
        "for node in nodes if node.up and node.max_packet}",
        "for node in nodes if node.max_packet}",
    ),
    Mutant(
        "a packet that has begun is refused when the limit falls",
        "protocol/decoder.py",
        "max_packet = max(self._limit.size, begun)",
        "max_packet = self._limit.size",
    ),
    Mutant(
        "a mismatch is told whenever its node comes back",
        "node/gateway/packet_limit.py",
        "        self._told = self.warning or self._told\n",
        "        self._told = self.warning\n",
    ),
    # What one entry does, and how many functions there may be.
    Mutant(
        "all jobs fall due in one entry",
        "cluster/jobs/lifecycle.py",
        "        for _ in range(DUE):\n",
        "        while True:\n",
    ),
    Mutant(
        "all sessions of a node end in one entry",
        "cluster/jobs/table.py",
        "        self._left = departures.STEP\n",
        "        self._left = 1 << 60\n",
    ),
    Mutant(
        "nobody asks for the entry in which departing goes on",
        "cluster/jobs/departures.py",
        "return 0 if self.departing else super().next_deadline()",
        "return super().next_deadline()",
    ),
    Mutant(
        "a sleeper that departs is given a job",
        "cluster/jobs/functions.py",
        "if session is not None and name in session.abilities and session.node.up:",
        "if session is not None and name in session.abilities:",
        kind="departures",
        simulated=True,
    ),
    Mutant(
        "a worker that departs is asked what became of its job",
        "cluster/jobs/table.py",
        "if holder is not None and holder.node is not node and holder.node.up:",
        "if holder is not None and holder.node is not node:",
    ),
    Mutant(
        "a job runs whose worker departs",
        "cluster/jobs/job.py",
        "return self.state is JobState.RUNNING and self.holder.node.up",
        "return self.state is JobState.RUNNING",
    ),
    Mutant(
        "departing sessions are in no order after a restart",
        "cluster/jobs/restoring.py",
        "        table.departing.append(node)\n",
        "        table.departing.appendleft(node)\n",
    ),
    Mutant(
        "a session that ended is restored as one of its node",
        "cluster/jobs/restoring.py",
        "node = alone[each.serial] if each.serial in alone else lives[each.node, each.incarnation]",
        "node = lives[each.node, each.incarnation]",
    ),
    Mutant(
        "what a departing session hears of is let go in the order of its joins",
        "cluster/jobs/departures.py",
        "        if session.joined:\n",
        "        if False:\n",
    ),
    Mutant(
        "a page with what changed after the mirror was begun",
        "cluster/jobs/changes.py",
        "        if self.segment in changes.owed:\n            changes.take_owed(self.segment)\n",
        "",
    ),
    Mutant(
        "turns of functions are not mirrored when they change",
        "cluster/jobs/sessions.py",
        "        if not self.page.changed:\n            self.page.change()\n",
        "",
    ),
    Mutant(
        "a whole queue is swept in one go",
        "cluster/jobs/functions.py",
        "        for _ in range(_SWEPT):\n",
        "        while True:\n",
    ),
    Mutant(
        "names are never forgotten",
        "cluster/jobs/lifecycle.py",
        "        if function.idle:\n",
        "        if False:\n",
    ),
    Mutant(
        "a function without jobs keeps its queues",
        "cluster/jobs/lifecycle.py",
        "            function.queues = NO_QUEUES\n",
        "            function.queues = [Queue(), Queue(), Queue()]\n",
    ),
    Mutant(
        "any number of functions",
        "cluster/jobs/names.py",
        "            if 0 < self.max_functions <= len(self.functions):\n",
        "            if False:\n",
    ),
    Mutant(
        "any number of workers that name functions",
        "cluster/jobs/names.py",
        "if not 0 < most <= self.abilities else None",
        "if True else None",
    ),
    Mutant(
        "the limit on functions missing from the snapshot",
        "cluster/jobs/restoring.py",
        "    table.max_functions = row.max_functions\n",
        "",
    ),
    Mutant(
        "a connection may name any number of functions",
        "node/gateway/abilities.py",
        "if function not in abilities and len(abilities) >= self._most:",
        "if False:",
    ),
    Mutant(
        "the gateway believes in functions that the table refused",
        "node/gateway/abilities.py",
        "        worker.abilities.intersection_update(session.abilities)\n",
        "",
    ),
    Mutant(
        "a result is sent to who has the number of a session that is over",
        "node/gateway/telling.py",
        "            if not listener.node.up:\n",
        "            if False:\n",
    ),
)


class Hunt:
    """Runs mutants in copies of the tree."""

    def __init__(self, seeds: int, start: int, patience: int) -> None:
        self._seeds = seeds
        self._start = start
        self._patience = patience
        self._nets: dict[str, list[str]] = {}

    def caught(self, mutant: Mutant | None) -> str:
        """Tell what notices the fault, "" when nothing does; with None, what is wrong with the tree as it is."""
        with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
            tree = Path(folder)
            for name in ("cluster", "node", "protocol", "tests", "pyproject.toml"):
                source = ROOT / name
                if source.is_dir():
                    shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(source, tree / name)
            nets: list[str] = []
            if mutant is not None:
                path = tree / mutant.file
                text = path.read_text()
                if text.count(mutant.old) != 1:
                    return f"NOT APPLICABLE: {mutant.old!r} occurs {text.count(mutant.old)} times in {mutant.file}"
                path.write_text(text.replace(mutant.old, mutant.new))
                nets = [
                    test for package, tests in self._nets.items() if mutant.file.startswith(package) for test in tests
                ]
            simulated = mutant is not None and mutant.simulated
            seeds = SIMULATED_SEEDS if simulated else self._seeds
            run = ["-m", "tests.simulation", "--seeds", str(seeds), "--start", str(self._start)]
            if mutant is not None and mutant.kind:
                run += ["--kind", mutant.kind]
            found = self._run(tree, run)
            return found or (self._run(tree, [*PYTEST, *nets]) if nets and not simulated else "")

    def spread(self) -> list[str]:
        """Try the tests behind the simulator on the tree as it is; return those that fail and so cannot be used."""
        torn = []
        for package, tests in NETS.items():
            for test in tests:
                if self._run(ROOT, [*PYTEST, test]):
                    torn.append(test)
                else:
                    self._nets.setdefault(package, []).append(test)
        return torn

    def _run(self, tree: Path, arguments: list[str]) -> str:
        try:
            run = subprocess.run(
                [sys.executable, "-B", *arguments],
                cwd=tree,
                env=os.environ | {"PYTHONPATH": str(tree)},
                capture_output=True,
                text=True,
                timeout=self._patience,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"does not end within {self._patience} s"
        if run.returncode == 0:
            return ""
        lines = [line.strip() for line in run.stdout.splitlines()]
        for number, line in enumerate(lines):
            if line.startswith("FAILED"):
                following = lines[number + 1] if number + 1 < len(lines) and "pytest" not in arguments else ""
                return f"{line} {following}"[:200]
        return f"exit {run.returncode}: {run.stderr.strip().splitlines()[-1:]}"


def main() -> int:
    """Hunt every mutant, or those named on the command line; return 1 if one survives."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help="parts of the names of the mutants to hunt")
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--start", type=int, default=1)
    parser.add_argument("--patience", type=int, default=300, help="seconds for each net")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many to hunt at a time")
    options = parser.parse_args()
    chosen = [one for one in MUTANTS if not options.names or any(part in one.name for part in options.names)]
    hunt = Hunt(options.seeds, options.start, options.patience)
    wrong = hunt.caught(None)
    if wrong:
        say(f"The tree without any mutant fails: {wrong}")
        return 1
    for tests in hunt.spread() if not all(mutant.simulated for mutant in chosen) else ():
        say(f"{tests} fails without any mutant, so it proves nothing: not used")
    survivors = []

    def chase(mutant: Mutant) -> tuple[Mutant, str, float]:
        began = time.monotonic()
        return mutant, hunt.caught(mutant), time.monotonic() - began

    with ThreadPoolExecutor(options.jobs) as pool:
        for done in as_completed([pool.submit(chase, mutant) for mutant in chosen]):
            mutant, found, took = done.result()
            alive = not found or found.startswith("NOT APPLICABLE")
            if alive:
                survivors.append(mutant.name)
            say(f"{'SURVIVES' if alive else 'caught':8} {mutant.name} ({took:.0f} s): {found}")
    say(f"{len(chosen) - len(survivors)} of {len(chosen)} caught; survivors: {', '.join(survivors) or 'none'}")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
