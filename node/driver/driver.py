"""One node's engine: it moves what its parts and consensus have for each other, one step after another.

Commands go to the leader, entries to disk and to the other nodes, what is committed to the table. Whoever proposed
learns nothing before the entry is committed and applied: then its effects are delivered, in order.

Not for: what the parts named in `node.driver` do each, what commands mean (`cluster.jobs`), who is connected
(`node.gateway`), which entries are committed (`cluster.raft`), how bytes get to the disk (`cluster.storage`) or to
another node (`node.peers`).
"""

import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final

from cluster.jobs import (
    Alarm,
    Batch,
    Command,
    DownReason,
    JobTable,
    MirrorWriter,
    NodeDown,
    NodeUp,
    Proposal,
    decode_proposal,
)
from cluster.log import Entry, EntryKind
from cluster.raft import (
    Configuration,
    ConfigurationChange,
    Message,
    Position,
    Raft,
    Role,
    Standing,
    decode_configuration,
)
from node.driver import notices
from node.driver.awake_clock import AwakeClock
from node.driver.barriers import ReadBarriers
from node.driver.decisions import Decisions
from node.driver.due import DueTimer
from node.driver.failure_detector import FailureDetector
from node.driver.gathering import Gathering, Weighed
from node.driver.incarnations import Incarnations
from node.driver.intake import Intake
from node.driver.lag import Lag
from node.driver.mirroring import Mirroring
from node.driver.pace import Pace
from node.driver.sending import Sending
from node.driver.snapshots import SnapshotService
from node.driver.surroundings import Disk, EffectSink, Handle, Loop, Offload, Peers
from node.driver.writing import Writing
from node.errors import UnknownEntryError
from node.memory import trim
from node.recovery import Loaded

TICK: Final = 0.1
"""Seconds of one tick of consensus."""
STUCK: Final = 10.0
"""Seconds without any of this node's commands being applied, while some wait, after which it is not ready; besides the
time that their bytes need. An overloaded cluster of three on two cores stood still for 5 s at times, on all nodes: that
is no reason to take all of them out of service."""
OLD: Final = 1.0
"""Seconds from which on a table is old. Commands wait for what it lacks: it is enough that it takes that in."""
STUCK_RATE: Final = 10_000_000
"""Bytes of them that are applied in a second at the least."""

APPLIED: Final = 2000
"""Commands after which no further entry is applied in the same turn of the loop: some 5 ms."""

_UNKNOWN: Final[tuple[int, Proposal | None]] = (0, None)


class Driver(Gathering):
    """One node's engine. All methods are to be called from its event loop."""

    def __init__(
        self,
        *,
        name: str,
        incarnation: int,
        first: NodeUp,
        table: JobTable,
        mirror_writer: MirrorWriter,
        raft: Raft,
        disk: Disk,
        peers: Peers,
        loop: Loop,
        offload: Offload,
        clock: Callable[[], float],
        node_timeout: float,
        on_serving: Callable[[bool], None],
        on_failure: Callable[[Exception], None],
        on_standing: Callable[[Standing], None] = lambda _: None,
        on_configuration: Callable[[Configuration, int], None] = lambda _, __: None,
    ) -> None:
        """Tie the parts together.

        `incarnation` is the highest that this node ever used, `first` opens each; `clock` gives seconds since the
        epoch; `on_serving` is told when the node begins and ceases to serve, `on_standing` who leads, and
        `on_configuration` each configuration of the group once it is committed, and its index.
        """
        super().__init__(name, loop)
        self.table = table
        self.raft = raft
        self.members = raft.configuration.members
        """Who is in the group, whether that is committed or not."""
        self.alone = self.members == (name,)
        """Whether this node is all there is of the group."""
        self.awake = AwakeClock(loop.time)
        """The time for which this process has run."""
        self._paused = 0.0
        """The pauses that are in the log."""
        self._lag = Lag(self.awake)
        self._detector = FailureDetector(name, node_timeout, self.awake)
        self._decisions = Decisions(raft=raft, table=table, detector=self._detector, clock=clock)
        self._peers = peers
        self._clock = clock
        self._on_failure = on_failure
        self._on_standing = on_standing
        self._on_configuration = on_configuration
        self.committed_index = raft.applied_index
        """Where `committed_configuration` was found."""
        self.committed_configuration = raft.snapshot_meta(raft.applied_index).configuration
        """The group, as far as it is agreed upon."""
        self.alarms: dict[int, Alarm] = {}
        """The alarms of this node, by resource. Its own clients need not wait until the table knows of them."""
        self.applied_bytes = 0
        """How many bytes of the log were applied here."""
        self.delivering = 0
        """The index of the entry whose effects are being delivered, or were last."""
        self.leader_changes = 0
        """How often another node came to lead."""
        self._sink: EffectSink | None = None
        self._barriers = ReadBarriers(raft)
        self._snapshots = SnapshotService(raft, disk, offload, self._pump_guarded, self._break_down)
        self._mirroring = Mirroring(
            name=name,
            table=table,
            writer=mirror_writer,
            raft=raft,
            disk=disk,
            loop=loop,
            guard=self._guard,
            done=self._pump,
            drained=lambda: offload(trim, lambda _: None, lambda _: None),
        )
        self._incarnations = Incarnations(
            name=name,
            used=incarnation,
            configuration=self.committed_configuration,
            table=table,
            raft=raft,
            barriers=self._barriers,
            disk=disk,
            detector=self._detector,
            clock=self.awake,
            node_timeout=node_timeout,
            tick=TICK,
            begun=self._incarnated,
            introduce=lambda: self._introduce(first),
            noted=self._noted,
            on_serving=on_serving,
        )
        self._intake = Intake(raft, table)
        self._sending = Sending(
            name=name, raft=raft, peers=peers, loop=loop, intake=self._intake, unapplied=self._unapplied
        )
        self._writing = Writing(
            name=name,
            raft=raft,
            disk=disk,
            offload=offload,
            clock=loop.time,
            persisted=self._persisted,
            replacing=self._mirroring.suspend,
            replaced=self._become,
            failed=self._break_down,
        )
        self._pace = Pace(raft, self._intake, self._writing, loop, self._pump_in_turn)
        self._due = DueTimer(
            table=table,
            raft=raft,
            may_write=lambda: self._pace.disk_allows(alone=self.alone, much=False),
            loop=loop,
            clock=clock,
            guard=self._guard,
            done=self._pump,
        )
        self._proposals: dict[int, tuple[int, Proposal]] = {}
        """What this node put into the log, by index and with its term, so that it need not be decoded again."""
        self._standing = Standing(0, Role.FOLLOWER, "")
        self._last_leader = ""
        """The leader that was known last, whether it leads or not."""
        self._got_on = 0, 0, self.awake.time()
        """How far this node's commands, and the log, were applied when a tick last found that they got on, or that no
        command waited; and when that was."""
        self._pump_due = False
        self._committed: deque[Entry] = deque()
        """Entries that are committed and not applied yet."""
        self._resting = False
        """Whether enough was applied in this turn: what is left is carried out in the next."""
        self._tick_timer: Handle | None = None
        self._stopped = False

    @property
    def failed(self) -> bool:
        """Tell whether the node can no longer keep its promises."""
        return self._stopped

    @property
    def leads(self) -> bool:
        """Tell whether this node leads the group."""
        return self.raft.role is Role.LEADER

    @property
    def serving(self) -> bool:
        """Tell whether clients can be served here now."""
        return self._incarnations.serving

    @property
    def stuck(self) -> float:
        """For how many seconds none of this node's commands has been applied, if that is too long; else 0."""
        if self._gets_on:
            return 0.0
        waited = self.awake.time() - self._got_on[2]
        return waited if waited > STUCK + self.backlog / STUCK_RATE else 0.0

    @property
    def lag(self) -> int:
        """For how many milliseconds the table has been missing something that the leader had committed; 0: nothing."""
        return round(self._lag.seconds * 1000)

    @property
    def lags(self) -> bool:
        """Tell whether that is too long for new clients; it is not over before the lag is a good deal shorter."""
        return self._lag.too_long

    @property
    def _gets_on(self) -> bool:
        """Tell whether commands were applied since the last look, or none waits.

        Where the table is old, they are behind what it lacks: it is enough that it takes that in. That they have to
        wait for so long is judged by the lag.
        """
        number, index, _ = self._got_on
        if self.applied_number == self.numbered or self.applied_number != number:
            return True
        return self._lag.seconds > OLD and self._mirroring.applied_index != index

    def _note_pause(self) -> None:
        self.awake.time()
        if self.awake.paused > self._paused:
            if self._incarnations.open:
                notices.paused(self.awake.paused - self._paused)
            self._paused = self.awake.paused

    def _note_lag(self) -> None:
        lag = self._lag
        lag.tick(self.raft.leader_commit, self._mirroring.applied_index)
        # Before a node serves, that it catches up is expected, and told by other means.
        if not self._incarnations.open or not lag.judge():
            return
        if lag.too_long:
            notices.lagging(lag.seconds)
        else:
            notices.caught_up(self.awake.time() - lag.began)

    def _note_progress(self) -> None:
        self._got_on = self.applied_number, self._mirroring.applied_index, self.awake.time()

    def start(self, sink: EffectSink) -> None:
        """Begin: catch up with the log, and open a new incarnation of this node."""
        self._sink = sink
        if self.raft.configuration.voters == (self.name,):
            self.raft.campaign()  # a sole voter has nobody to wait for
        with self._guard():
            self._incarnations.start(sink)
            self._pump()
        self._tick()

    def _tick(self) -> None:
        if self._stopped:
            return
        self._tick_timer = self._loop.call_later(TICK, self._tick)
        self._note_pause()
        with self._guard():
            self.raft.tick()
            self._sending.tick()
            if self.leads:
                self._decisions.tick(self.members, self.committed_configuration.members)
            if self._gets_on:
                self._note_progress()
            self._incarnations.see_to_service()
            if self._sink is not None:
                self._sink.tick()
            self._pump()
            self._note_lag()
        if self._urgent:
            self.end_turn()  # the disk may be slow by now, and not be waited for

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        """End the node's service where its table might not be what the others' are."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever it is, going on could break a promise
            self._break_down(error)

    def _break_down(self, error: Exception) -> None:
        self.fail()
        self._on_failure(error)

    # -- this node's incarnations -------------------------------------------------------------------------------------

    def _incarnated(self, number: int) -> None:
        self._begin_anew(number)
        self._sending.forget()

    def _introduce(self, first: NodeUp) -> None:
        self.propose(first, len(first.handle_prefix))
        for alarm in self.alarms.values():
            self.propose(alarm)  # the end of the incarnation before has cleared it

    def alarm(self, alarm: Alarm) -> None:
        """Raise or clear an alarm of this node, and of each incarnation that it begins from now on."""
        if alarm.mark:
            self.alarms[alarm.resource] = alarm
        else:
            self.alarms.pop(alarm.resource, None)
        if self.incarnation:
            self.propose(alarm)

    def _noted(self) -> None:
        if not self._stopped:
            self._hurry()

    # -- what other nodes say -----------------------------------------------------------------------------------------

    def receive(self, message: Message) -> None:
        """Take a message of consensus. What follows from it is carried out in the next turn, for all of a moment."""
        if not self._stopped:
            self._detector.heard(message.sender)
            with self._guard():
                self.raft.step(message)
            if message.sender == self.raft.leader and not self.raft.mute:
                self._incarnations.leader_heard()
            self._pump_soon()

    def offer(self, sender: str, batches: Sequence[Weighed]) -> None:
        """Take another node's batches, each with its bytes, to be put into the log if this node leads."""
        if self.leads and not self._intake.full and all(batch.node == sender for batch, _ in batches):
            self._intake.take(batches)
            self._pump_soon()

    def linked(self, node: str, process: str = "") -> None:
        """Note that there is a link to a process of a node: a new one, and what was on its way over another is lost."""
        self._detector.linked(node, process)
        self._sending.linked(node)

    def ended(self, node: str, process: str, *, goodbye: bool) -> None:
        """Note proof that a process of a node has ended; `goodbye`: it said so itself."""
        if node in self.table.nodes or node in self.members:
            self._detector.ended(node, process, DownReason.STOPPED if goodbye else DownReason.ENDED)
        self.unreachable(node)

    def unreachable(self, node: str) -> None:
        """Note that a node may have ended, without proof (`cluster.mesh.peer.MeshEvents.unreachable`)."""
        self.raft.leader_gone(node)
        self._pump_soon()

    def wake(self) -> None:
        """Look again at what consensus has to do: what it asked of the disk is at hand."""
        if not self._stopped:
            self._pump_soon()

    def _pump_soon(self) -> None:
        if not self._pump_due:
            self._pump_due = True
            self._loop.call_soon(self._pump_in_turn)

    def _pump_in_turn(self) -> None:
        self._pump_due = self._resting = False
        self.in_turn = True
        with self._guard():
            self._pump()
        self.end_turn()

    def _pump_guarded(self) -> None:
        with self._guard():
            self._pump()

    # -- commands on their way to the leader --------------------------------------------------------------------------

    def propose_while_idle(self, command: Command) -> None:
        """Bring a command before the table that can wait as long as there is no job to be had.

        Among several nodes it does not wait: a job may come by any of them, and would find nobody asleep.
        """
        if self.alone:
            super().propose_while_idle(command)
        else:
            self.propose(command)

    def _may_write(self) -> bool:
        if not self._incarnations.noted:
            return False
        if not self.leads:
            return self._sending.possible
        return self._pace.disk_allows(alone=self.alone, much=self.much)

    def _write(self) -> None:
        with self._guard():
            if not self._stopped:
                if self._sink is not None:
                    self._sink.complete(self._gathering)
                self._sending.send(self._take())
                self._pump()

    # -- membership ---------------------------------------------------------------------------------------------------

    def propose_configuration(self, change: ConfigurationChange) -> Position:
        """Begin a change of the group's membership, as `Raft.propose_configuration` does."""
        position = self.raft.propose_configuration(change)
        self._pump_soon()
        return position

    def transfer(self, to: str) -> None:
        """Hand leadership over, as `Raft.transfer` does."""
        self.raft.transfer(to)
        notices.handing_over(to)
        self._pump_soon()

    def removed(self) -> None:
        """Serve no more: the group has let this node go, though it may not have been told by consensus."""
        self._incarnations.removed()

    # -- reading ------------------------------------------------------------------------------------------------------

    def when_current(self, callback: Callable[[], None]) -> None:
        """Call back once this node's table knows what any node acknowledged before now, and all that was asked here."""
        if self._sole_ruler:
            self.when_settled(callback)
        else:
            self._barriers.add(partial(self.when_settled, callback))
            self._pump_soon()

    @property
    def _sole_ruler(self) -> bool:
        """Tell whether nobody else has acknowledged anything that is not in the table here.

        A node that the others have left behind may have in its log what they acknowledged, and not know that it is
        committed before something of its own term is.
        """
        raft = self.raft
        return self.alone and self.leads and raft.entry_term(self._mirroring.applied_index) == raft.term

    # -- carrying out what consensus asks for -------------------------------------------------------------------------

    def _pump(self) -> None:
        raft = self.raft
        while not (self._stopped or self._resting):
            if self._committed:
                self._apply_committed()
                continue
            if self._intake and self.leads and self._pace.allows(alone=self.alone):
                for where, proposal in self._intake.enter(int(self._clock() * 1000)):
                    self._proposals[where.index] = (where.term, proposal)
            self._barriers.ask()
            ready = raft.ready()
            if ready is None:
                return
            for message in ready.messages:
                self._peers.send(message)
            if ready.write is not None:
                self._writing.begin(ready.write)
            if ready.committed:
                self._committed.extend(ready.committed)
                self._apply_committed()
            for read in ready.reads:
                self._barriers.answered(read)
            if ready.reads:
                self._barriers.applied(self._mirroring.applied_index)
                if self._sink is not None:
                    self._sink.flush()
            for request in ready.snapshots:
                self._snapshots.serve(request)
            if ready.configuration is not None:
                self.members = ready.configuration.members
                self.alone = self.members == (self.name,)
            if ready.standing is not None:
                self._stand(ready.standing)
            for notice in ready.notices:
                notices.say(notice, self.name, TICK)

    def _persisted(self, sequence: int) -> None:
        self.in_turn = True
        with self._guard():
            self.raft.persisted(sequence)
            self._pump()
        self.end_turn()

    def _apply_committed(self) -> None:
        """Apply what is committed, as far as it goes in one turn."""
        committed, count = self._committed, 0
        while committed and count < APPLIED:
            entry = committed.popleft()
            count += self._apply(entry)
        self.raft.applied(entry.index)
        self._after_applying()
        if count >= APPLIED:
            self._resting = True
            self._pump_soon()

    def _apply(self, entry: Entry) -> int:
        """Apply an entry and deliver its effects; tell how many commands it has."""
        count = 0
        if entry.kind is EntryKind.COMMANDS:
            term, proposal = self._proposals.pop(entry.index, _UNKNOWN)
            if proposal is None or term != entry.term:
                proposal = decode_proposal(entry.data)
            for batch in proposal.batches:
                count += len(batch.commands)
            watch = self._watched(proposal) if self._incarnations.open else ()
            effects = self.table.apply(proposal)
            if watch:
                self._note_members(watch)
            # What the log says of past incarnations concerns connections that are no more.
            if effects and self._sink is not None and self.table.nodes[self.name].incarnation == self.incarnation:
                self.delivering = entry.index
                self._sink.deliver(effects)
        elif entry.kind is EntryKind.CONFIGURATION:
            self._configured(decode_configuration(entry.data), entry.index)
        elif entry.kind is not EntryKind.BARRIER:
            raise UnknownEntryError(f"log entry {entry.index} is of kind {entry.kind}, unknown to this version")
        self.applied_bytes += len(entry.data)
        self._mirroring.applied(entry.index, len(entry.data))
        return count

    def _watched(self, proposal: Proposal) -> Sequence[NodeDown | Batch]:
        """Give what a proposal says of members that go or come, as far as it is going to take effect."""
        nodes = self.table.nodes
        down = [each for each in proposal.decisions if (node := nodes.get(each.node)) and node.up]
        begun = [batch for batch in proposal.batches if batch.first == 1]
        return [
            *down,
            *(each for each in begun if (node := nodes.get(each.node)) is None or node.incarnation < each.incarnation),
        ]

    def _note_members(self, watched: Sequence[NodeDown | Batch]) -> None:
        for each in watched:
            node = self.table.nodes.get(each.node)
            if node is None or node.incarnation != each.incarnation:
                continue
            if isinstance(each, Batch) and node.up and node.name != self.name:
                notices.member_up(node.name, node.incarnation)
            elif isinstance(each, NodeDown) and not node.up:
                if node.name == self.name:
                    notices.declared_down(node.name, each.reason)
                else:
                    notices.member_down(node.name, each.reason)

    def _after_applying(self) -> None:
        node = self.table.nodes.get(self.name)
        if node is not None and node.incarnation == self.incarnation:
            if node.last > self.applied_number:
                self._settled(node.last)
                self._sending.applied(node.last)
            if not node.up:
                self._incarnations.break_off()
            elif not self._incarnations.open:
                self._incarnations.opened()
        elif node is not None and node.incarnation > self.incarnation:
            self._incarnations.break_off()  # the disk is not this node's latest: somebody put an old copy in its place
        self._call_settled()
        self._barriers.applied(self._mirroring.applied_index)
        if self._sink is not None:
            self._sink.flush()
        if self._hungry and not self._urgent and any(self.table.waiting.ready):
            self._hurry()
        self._due.arm()
        self._mirroring.see_to_it()

    def _configured(self, configuration: Configuration, index: int) -> None:
        self.committed_configuration = configuration
        self.committed_index = index
        self._incarnations.configuration = configuration
        self._on_configuration(configuration, index)

    def _stand(self, standing: Standing) -> None:
        """Take note of who leads."""
        before, self._standing = self._standing, standing
        self._on_standing(standing)
        if (standing.term, standing.leader) == (before.term, before.leader):
            return
        self.leader_changes += standing.leader not in ("", before.leader)
        self._detector.begin()
        self._intake.clear()
        self._proposals.clear()
        if standing.leader:
            notices.leader_changed(standing.leader, standing.term, self._last_leader)
            self._last_leader = standing.leader
            self._note_progress()  # that nobody led has a reason of its own
            self._sending.led()
            if self._urgent or self._gathering or self._closed:
                self._hurry()
        self._due.arm()
        self._incarnations.see_to_service()

    def _become(self, loaded: Loaded) -> None:
        """Put what a snapshot brought in the place of the table.

        The sessions here go on if this incarnation of the node is up in it; else they are over.
        """
        with self._guard():
            if self._stopped:
                return
            node = loaded.table.nodes.get(self.name)
            goes_on = node is not None and node.up and node.incarnation == self.incarnation
            before = JobTable(self.name)
            before.become(self.table)
            sessions = len(own.sessions) if (own := before.nodes.get(self.name)) is not None else 0
            if not goes_on and self._sink is not None:
                self._sink.break_off()
            self.table.become(loaded.table)
            self._committed.clear()
            self._mirroring.go_on(loaded.mirror_writer, loaded.index)
            self._writing.go_on()
            self._configured(loaded.configuration, loaded.index)
            closed = sessions
            if node is None or not goes_on:
                self._incarnations.begin()
            else:
                closed = self._go_on(before, node.last, loaded.index)
            notices.installed(loaded.index, self._writing.installed_bytes, kept=sessions - closed, closed=closed)
            self._pump()

    def _go_on(self, before: JobTable, last: int, index: int) -> int:
        """Go on in the table of `index`, in which this node's commands are up to `last`; tell how many sessions end."""
        commands = list(self._on_their_way())
        self.delivering = index
        if last > self.applied_number:
            self._settled(last)
            self._sending.applied(last)
        closed = 0
        if self._sink is not None:
            seen = [command for number, command in commands if number <= last]
            closed = self._sink.resume(before, seen, [command for number, command in commands if number > last])
        self._after_applying()
        return closed

    # -- the end ------------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Mirror the table a last time; accept nothing more."""
        if not self._stopped:
            self._mirroring.stop()
        self.fail()

    def fail(self) -> None:
        """Stop at once: nothing more is proposed, applied or acknowledged."""
        self._stopped = True
        self._cancel()
        self._mirroring.suspend()
        self._due.stop()
        self._pace.cancel()
        if self._tick_timer is not None:
            self._tick_timer.cancel()
