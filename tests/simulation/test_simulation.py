"""The simulator as a test: a bounded number of seeds, and proof that it sees what it is there to see."""

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cluster.formation import Forming, Founder
from cluster.formation.changes import Changes
from cluster.jobs import JobTable, NodeDown
from cluster.jobs.waiting import Waiting
from cluster.log import HardState
from cluster.mesh.errors import OwnAddressError
from cluster.mesh.handshake import Handshake
from cluster.raft.election import Campaign
from cluster.raft.leadership import Leadership
from cluster.raft.outbox import Outbox
from cluster.raft.reads import ReadRounds
from cluster.raft.replication import Replication
from node.driver import Driver
from node.driver.failure_detector import FailureDetector
from node.driver.sending import Sending
from node.gateway.joins import Joins
from node.gateway.listening import Listening
from node.gateway.reads import Reads
from node.relay import Relay
from protocol import PacketType
from tests.simulation import disk
from tests.simulation.disk import Store
from tests.simulation.journal import ViolationError
from tests.simulation.known import KNOWN, look
from tests.simulation.observed import ObservedGateway
from tests.simulation.profile import BY_NAME, KINDS
from tests.simulation.safety import Safety
from tests.simulation.simulation import Watch, simulate


class TestACluster:
    @pytest.mark.parametrize("seed", range(1, 41))
    def test_keeps_its_promises_whatever_goes_wrong(self, seed):
        result = simulate(seed)
        assert result.acknowledged
        assert result.runs

    @pytest.mark.parametrize("kind", sorted([*KINDS, *BY_NAME]))
    def test_survives_each_kind_of_trouble(self, kind):
        assert simulate(1000, kind=kind, nodes=3).leaders >= 1


class TestAMemberThatLags:
    @pytest.mark.parametrize("seed", range(1, 5))
    def test_and_is_heard_is_never_sent_the_whole_table(self, seed, monkeypatch):
        installed = []
        monkeypatch.setattr(Watch, "installed", lambda self, name, table, index: installed.append(name))
        simulate(seed, kind="floods")
        assert installed == []

    def test_and_is_sent_it_goes_on_with_its_sessions(self, monkeypatch):
        ended = []
        resume = ObservedGateway.resume

        def noted(gateway, *args):
            before = len(gateway.connections)
            closed = resume(gateway, *args)
            ended.append((before, closed))
            return closed

        monkeypatch.setattr(ObservedGateway, "resume", noted)
        for seed in range(1, 6):
            simulate(seed, kind="lags")
        assert sum(before for before, _ in ended) > 4 * sum(closed for _, closed in ended) > 0


class TestAKnownFault:
    @pytest.mark.parametrize("kind", sorted(KNOWN))
    def test_is_seen_by_the_judge(self, kind):
        assert KNOWN[kind].says in look(kind)[1]


class TestARun:
    def test_is_the_same_whenever_it_is_played(self):
        assert simulate(7).fingerprint == simulate(7).fingerprint

    def test_is_the_same_with_and_without_a_log(self):
        assert simulate(7).fingerprint == simulate(7, io.StringIO()).fingerprint

    def test_is_the_same_in_another_process_where_sets_have_another_order(self):
        found = set()
        for order in ("1", "2"):
            run = subprocess.run(
                [sys.executable, "-m", "tests.simulation", "--seed", "7"],
                env=os.environ | {"PYTHONHASHSEED": order, "PYTHONPATH": os.pathsep.join(path for path in sys.path)},
                capture_output=True,
                text=True,
                cwd=Path(__file__).parents[2],
                check=True,
            )
            found.add(run.stdout.splitlines()[-1])
        assert found == {f"fingerprint {simulate(7).fingerprint}"}

    @pytest.mark.parametrize("kind", ["founding", "admission"])
    def test_that_begins_with_blank_nodes_is_the_same_whenever_it_is_played(self, kind):
        assert simulate(7, kind=kind).fingerprint == simulate(7, io.StringIO(), kind=kind).fingerprint

    def test_writes_one_line_per_event(self):
        log = io.StringIO()
        simulate(7, log)
        lines = log.getvalue().splitlines()
        assert len(lines) > 1000
        assert all(line[4] == "." and line[:4].strip().isdigit() for line in lines)


def violations(kind: str | None = None, seeds: int = 30, like: tuple[str, ...] = ("",)) -> list[str]:
    """Run seeds until one fails in a way that is `like` one of these; return what was found."""
    for seed in range(1, seeds + 1):
        try:
            simulate(seed, kind=kind, nodes=3 if kind else None)
        except ViolationError as error:
            if any(part in str(error) for part in like):
                return [str(error)]
    return []


class TestTheChecker:
    def test_sees_a_node_timeout_that_is_too_short(self, monkeypatch):
        begin = FailureDetector.__init__
        monkeypatch.setattr(
            FailureDetector, "__init__", lambda self, name, timeout, clock: begin(self, name, 0.15, clock)
        )
        assert violations(like=("for no reason",))

    def test_sees_a_leader_that_declares_live_nodes_down(self, monkeypatch):
        monkeypatch.setattr(FailureDetector, "judge", slander)
        assert violations("calm", like=("for no reason",))

    def test_sees_a_cluster_that_is_founded_without_everybody_s_consent(self, monkeypatch):
        def boldly(self, first):
            self._persist(Founder("bold", first))
            return ""

        monkeypatch.setattr(Forming, "_advance", boldly)
        assert violations("founding", 1, like=("which is not what",))

    def test_sees_a_node_that_stays_outside(self, monkeypatch):
        monkeypatch.setattr(Changes, "join", lambda self, *request: None)
        assert violations("admission", 20, like=("is no member",))

    def test_sees_clusters_of_two_names_that_mix(self, monkeypatch):
        def trusting(self, other):
            if self._own.introduction.node == other.introduction.node:
                raise OwnAddressError("this is the node's own address")
            return 1

        monkeypatch.setattr(Handshake, "_agree", trusting)
        assert violations("founding", like=("of strange", "of simulated", "expects"))

    def test_sees_a_learner_that_is_promoted_before_it_has_caught_up(self, monkeypatch):
        monkeypatch.setattr(Leadership, "_refuse_a_laggard", lambda self, node: None)
        assert violations("admission", like=("promotes",))

    def test_sees_a_vote_that_was_not_durable_when_it_was_given(self, monkeypatch):
        monkeypatch.setattr(Outbox, "send", lambda self, message, after=0: self._ready.append(message))
        assert violations()

    def test_sees_two_leaders_in_one_term(self, monkeypatch):
        def alone(self):
            from cluster.raft.quorum import Outcome

            return Outcome.WON if self.votes else Outcome.PENDING

        monkeypatch.setattr(Campaign, "outcome", property(alone))
        monkeypatch.setattr(Safety, "_has_voted", lambda self, voter, term, name: True)
        assert violations("partitions", like=("so does",))

    def test_sees_a_commit_without_a_quorum(self, monkeypatch):
        def greedy(self):
            return max([self._server.log.stable, *(progress.match for progress in self.followers.values())])

        monkeypatch.setattr(Replication, "committed_index", greedy)
        assert violations("calm", like=("have it on disk",))

    def test_sees_writes_that_are_lost(self, monkeypatch):
        append = Store._append

        def forgetful(self, entries, hard_state: HardState | None):
            append(self, entries, None)

        monkeypatch.setattr(Store, "_append", forgetful)
        assert violations("calm", like=("on its disk",))

    def test_sees_a_stale_read(self, monkeypatch):
        monkeypatch.setattr(ReadRounds, "release", eager_release)
        assert violations("partitions", 200, like=("a read saw",))

    def test_sees_tables_that_differ(self, monkeypatch):
        apply = JobTable.apply

        def biased(self, proposal):
            if self.audience == "a" and self.last_job > 3:
                self.last_job += 1
            return apply(self, proposal)

        monkeypatch.setattr(JobTable, "apply", biased)
        assert violations("calm", like=("another job table", "is given the workload of job"))

    def test_sees_jobs_of_low_priority_that_come_first(self, monkeypatch):
        monkeypatch.setattr(Waiting, "best", low_first)
        assert violations(like=("the model",))

    def test_sees_delayed_jobs_that_do_not_wait(self, monkeypatch):
        submit = JobTable._submit

        def eager(self, node, command):
            submit(self, node, msgspec.structs.replace(command, due=0))

        monkeypatch.setattr(JobTable, "_submit", eager)
        assert violations(like=("the model",))

    def test_sees_time_limits_that_nobody_enforces(self, monkeypatch):
        monkeypatch.setattr(JobTable, "_time_out", lambda self, job: setattr(job, "deadline", 0))
        assert violations(like=("the model",))

    def test_sees_a_job_that_vanishes(self, monkeypatch):
        monkeypatch.setattr(JobTable, "_give_up", lambda self, job, attempt: self._remove(job))
        assert violations()

    def test_sees_a_job_that_runs_twice(self, monkeypatch):
        tick = Driver._tick

        def slandering(self):
            tick(self)
            for node in self.table.nodes.values():
                if node.up and node.name != self.name and node.sessions:
                    for job in self.table.jobs.values():
                        if job.runs and job.holder.node is node:
                            job.function.running -= 1
                            job.holder = None
                            self.table.waiting.put_back(job)
                            return

        monkeypatch.setattr(Driver, "_tick", slandering)
        assert violations("calm")

    def test_sees_commands_that_take_effect_twice(self, monkeypatch):
        admit = JobTable._admit

        def forgetful(self, batch):
            node = self.nodes.get(batch.node)
            if node is not None and node.incarnation == batch.incarnation and batch.first <= node.last:
                node.last = batch.first - 1
            return admit(self, batch)

        monkeypatch.setattr(JobTable, "_admit", forgetful)
        assert violations("lossy")

    def test_sees_an_image_on_disk_that_is_not_the_table(self, monkeypatch):
        mirror = Store._mirror

        def careless(self, work: Any):
            work.segments.clear()
            mirror(self, work)

        monkeypatch.setattr(Store, "_mirror", careless)
        assert violations("snapshots")

    def test_sees_a_cluster_that_makes_no_progress(self, monkeypatch):
        monkeypatch.setattr(Driver, "propose", lambda self, command, size=0: None)
        assert violations("calm", like=("no progress",))

    def test_sees_a_node_that_makes_no_progress_while_a_majority_is_healthy(self, monkeypatch):
        send = Sending.send

        def slothful(self, batches):
            if self._name != "b" or self._loop.time() % 20 < 8:
                send(self, batches)

        monkeypatch.setattr(Sending, "send", slothful)
        assert violations("naps", like=("no progress at b",))

    def test_sees_a_rotten_entry_that_is_taken_for_sound(self, monkeypatch):
        monkeypatch.setattr(disk, "checksum", lambda data, *numbers: 0)
        assert violations("rot")

    def test_sees_a_listener_that_is_told_twice(self, monkeypatch):
        put = Relay.put

        def stuttering(self, *what):
            put(self, *what)
            put(self, *what)

        monkeypatch.setattr(Relay, "put", stuttering)
        monkeypatch.setattr(Listening, "was_told", lambda self, session, job: False)
        assert violations("calm", like=("is told", "hears piece"))

    def test_sees_a_status_that_shows_a_job_whose_end_was_told(self, monkeypatch):
        def hastily(self, connection, find, answer):
            self._end(connection, lambda: answer(find()))

        monkeypatch.setattr(Reads, "_look", hastily)
        (said,) = violations("calm", like=("no order of the calls",))
        assert "asks for the status of" in said

    def test_sees_a_list_that_shows_a_job_whose_end_was_told(self, monkeypatch):
        monkeypatch.setattr(Reads, "when_all_known", lambda self, then: self._driver.when_current(then))
        assert violations("calm", like=("no order of the calls", "asks for the number of jobs"))

    def test_sees_a_submit_that_is_joined_to_a_job_whose_end_was_told(self, monkeypatch):
        monkeypatch.setattr(Joins, "_ask", lambda self, join, node, incarnation: self._accept(join))
        said = ("not run after that", "which had ended before", "no order of the calls")
        assert violations("departures", like=said)

    def test_sees_a_listener_that_is_never_told(self, monkeypatch):
        monkeypatch.setattr(Relay, "put", lambda self, *what: what)
        assert violations("calm", like=("still wait",))

    def test_sees_a_result_that_is_given_up_too_early(self, monkeypatch):
        tick = Listening.tick

        def hasty(self):
            for session, awaiting in list(self._awaiting.items()):
                for number, (job, *_) in list(awaiting.items()):
                    self._await_no_longer(session, number)
                    self._say(session, PacketType.WORK_FAIL, [job.handle])
            tick(self)

        monkeypatch.setattr(Listening, "tick", hasty)
        assert violations("lossy", like=("said to be lost",))


def slander(self, nodes, members, committed):
    """Declare a live node down every second."""
    now = self._clock.time()
    for node in nodes:
        if node.up and node.name != self._name and int(now) != int(now - 0.1):
            yield NodeDown(node.name, node.incarnation)


def low_first(self, session):
    """Choose the queue of the lowest priority."""
    for priority in reversed(range(3)):
        for name in session.abilities:
            if name in self.ready[priority]:
                return self.ready[priority][name], priority
    return None


def eager_release(self, confirmed: int) -> list[tuple[str, int, int]]:
    """Serve reads without waiting for a quorum's confirmation."""
    served = [(origin, context, commit) for _, commit, reads in self._confirming for origin, context in reads]
    self._confirming.clear()
    return served
