"""One node's engine: commands to the leader, entries to disk and to the other nodes, what is committed to the table.

The leader gathers the batches of all nodes while its disk is busy, and puts them into one entry. Whoever proposed
learns nothing before the entry is committed and applied: then its effects are delivered, in order. A batch is sent
again when another node leads, or no answer comes; the table passes over what it has seen.

A node serves once its NodeUp is applied: the number of its incarnation is on disk before, so that none is used twice.
It begins another incarnation when the group has declared it down, and when a snapshot took the place of its table: what
happened to its sessions meanwhile is not known here. Without a leader it lets its clients go to another node.

Not for: what commands mean (`cluster.jobs`), who is connected (`node.gateway`), which entries are committed
(`cluster.raft`), how bytes get to the disk (`cluster.storage`) or to another node (`node.peers`).
"""

import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final

from cluster.jobs import (
    Batch,
    Command,
    JobTable,
    MirrorWriter,
    NodeUp,
    Proposal,
    decode_proposal,
    encode_proposal,
    propose,
)
from cluster.log import Entry, EntryKind
from cluster.raft import (
    Configuration,
    ConfigurationChange,
    Message,
    Position,
    Raft,
    RefusedError,
    Role,
    Standing,
    Write,
    decode_configuration,
)
from cluster.storage import Install, Piece
from node.driver.barriers import ReadBarriers
from node.driver.due import DueTimer
from node.driver.gathering import CROWD, LAZY_DELAY, Gathering, Weighed
from node.driver.intake import Intake
from node.driver.mirroring import Mirroring
from node.driver.snapshots import SnapshotService
from node.driver.surroundings import Disk, EffectSink, Handle, Loop, Offload, Peers
from node.driver.vigil import Vigil
from node.errors import UnknownEntryError
from node.memory import trim
from node.recovery import INCARNATION, Loaded, adopt_meta, load_table

TICK: Final = 0.1
"""Seconds of one tick of consensus."""
MAX_WRITES: Final = 1
"""Writes that may be on their way to the disk at once: what comes meanwhile makes the next one worth its price."""
MAX_SMALL_WRITES: Final = 2
"""The same on a leader whose entries hold little: the other nodes' disks need not wait for its own."""
ENTRY_GAP: Final = 0.002
"""Seconds from one entry to the next while much comes from several nodes: each costs messages to and from all."""
MAX_FORWARDS: Final = 2
"""Sendings to the leader that may be on their way at once, likewise."""
RESEND: Final = 1.0
"""Seconds after which what is not applied is sent to the leader again; twice as many each time that was in vain."""
MAX_RESEND: Final = 16.0
"""Seconds beyond which that does not grow."""
LEADERLESS_PATIENCE: Final = 1.0
"""Seconds without a leader after which clients are let go: the least election timeout."""

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
        self.serving = False
        """Whether clients can be served here now."""
        self.members = raft.configuration.members
        """Who is in the group, whether that is committed or not."""
        self.alone = self.members == (name,)
        """Whether this node is all there is of the group."""
        self.vigil = Vigil(name, node_timeout)
        self._first = first
        self._used = incarnation
        self._open = False
        """Whether this incarnation's NodeUp is applied."""
        self._noted = False
        """Whether its number is on disk: before that nothing is said in it."""
        self._removed = False
        self._disk = disk
        self._peers = peers
        self._offload = offload
        self._clock = clock
        self._on_serving = on_serving
        self._on_failure = on_failure
        self._on_standing = on_standing
        self._on_configuration = on_configuration
        self.committed_index = raft.applied_index
        """Where `committed_configuration` was found."""
        self.committed_configuration = raft.snapshot_meta(raft.applied_index).configuration
        """The group, as far as it is agreed upon."""
        self.leader_changes = 0
        """How often another node came to lead."""
        self._sink: EffectSink | None = None
        self._barriers = ReadBarriers(raft)
        self._snapshots = SnapshotService(raft, disk, offload, self._pump_guarded)
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
        self._forwards: deque[int] = deque()
        """For each sending that is on its way to the leader, the number of its last command."""
        self._sent = 0.0
        """When something was last sent to the leader."""
        self._resend = RESEND
        """After how many seconds of no progress it is sent again."""
        self._intake = Intake(raft, table)
        self._entered = 0.0
        """When something last went into the log here."""
        self._gap_timer: Handle | None = None
        self._proposals: dict[int, tuple[int, Proposal]] = {}
        """What this node put into the log, by index and with its term, so that it need not be decoded again."""
        self._standing = Standing(0, Role.FOLLOWER, "")
        self._led = loop.time()
        """When a leader was last known."""
        self._writes = 0
        self._unwritten = 0
        """The number of a write that had nothing for the disk, and is acknowledged with those that were under way."""
        self._installing = False
        self._persisted_later: list[int] = []
        """Writes that became durable while a table was being read back: acknowledged after it."""
        self._pump_due = False
        self._due = DueTimer(loop, clock, self._tell_time)
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

    def start(self, sink: EffectSink) -> None:
        """Begin: catch up with the log, and open a new incarnation of this node."""
        self._sink = sink
        if self.raft.configuration.voters == (self.name,):
            self.raft.campaign()  # a sole voter has nobody to wait for
        with self._guard():
            self._open_incarnation()
            self._pump()
        self._tick()

    # -- this node's life in the group --------------------------------------------------------------------------------

    def _open_incarnation(self) -> None:
        self._open = False
        self._barriers.forget()
        known = self.table.nodes.get(self.name)
        self._used = number = max(self._used, known.incarnation if known is not None else 0) + 1
        self._begin_anew(number)
        self._forwards.clear()
        self._see_to_service()
        if self._sink is not None:
            self._sink.begin(number)
        self._noted = False
        self.propose(self._first)
        self._disk.note(INCARNATION, b"%d" % number, partial(self._opened, number))

    def _opened(self, number: int) -> None:
        if number == self._used and not self._stopped:
            self._noted = True
            self._hurry()

    def _break_off(self) -> None:
        """Begin anew: the sessions of this incarnation are over, whatever those on them may think."""
        if self._sink is not None:
            self._sink.break_off()
        self._open_incarnation()

    def _see_to_service(self) -> None:
        """Begin or cease to serve."""
        now = self._loop.time()
        if self.raft.leader:
            self._led = now
        led = now - self._led < LEADERLESS_PATIENCE
        serving = self._open and led and self.name in self.members and not self._removed
        if serving == self.serving:
            return
        self.serving = serving
        if not serving and self._open and self._sink is not None:
            self._sink.hang_up()
            self._barriers.forget()
        self._on_serving(serving)

    def _tick(self) -> None:
        if self._stopped:
            return
        self._tick_timer = self._loop.call_later(TICK, self._tick)
        with self._guard():
            self.raft.tick()
            now = self._loop.time()
            if self._unapplied and now - self._sent >= self._resend and not self._waits_here():
                self._resend = min(2 * self._resend, MAX_RESEND)
                self._send_again()
            if self.leads:
                for word in self.vigil.declare(list(self.table.nodes.values()), self.members, now):
                    self.propose(word)
            self._see_to_service()
            if self._sink is not None:
                self._sink.tick()
            self._pump()

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        """End the node's service where its table might not be what the others' are."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever it is, going on could break a promise
            self.fail()
            self._on_failure(error)

    # -- what other nodes say -----------------------------------------------------------------------------------------

    def receive(self, message: Message) -> None:
        """Take a message of consensus. What follows from it is carried out in the next turn, for all of a moment."""
        if not self._stopped:
            self.vigil.heard(message.sender, self._loop.time())
            with self._guard():
                self.raft.step(message)
            self._pump_soon()

    def offer(self, sender: str, batches: Sequence[Batch], size: int) -> None:
        """Take another node's batches, of `size` bytes in all, to be put into the log if this node leads."""
        if self.leads and not self._intake.full and all(batch.node == sender for batch in batches):
            self._intake.take([(batch, size // len(batches)) for batch in batches])
            self._pump_soon()

    def linked(self, node: str) -> None:
        """Note that there is a link to a node: a new one, and what was on its way over another is lost."""
        self.vigil.back(node, self._loop.time())
        if node == self.raft.leader and self._unapplied:
            self._send_again()

    def gone(self, node: str) -> None:
        """Note that a node's process is not there."""
        self.vigil.gone(node)
        self.raft.leader_gone(node)
        self._pump_soon()

    def _pump_soon(self) -> None:
        if not self._pump_due:
            self._pump_due = True
            self._loop.call_soon(self._pump_in_turn)

    def _pump_in_turn(self) -> None:
        self._pump_due = False
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
        if not self._noted:
            return False
        if self.leads:
            return self._may_enter()
        return bool(self.raft.leader) and len(self._forwards) < MAX_FORWARDS

    def _write(self) -> None:
        with self._guard():
            if not self._stopped:
                self._send(self._take())
                self._pump()

    def _send(self, batches: Sequence[Weighed]) -> None:
        """Send batches to the leader, which may be this node."""
        leader = self.raft.leader
        if not batches or not leader:
            return
        self._sent = self._loop.time()
        if leader == self.name:
            self._intake.take(batches)
        else:
            last = batches[-1][0]
            self._forwards.append(last.first + len(last.commands) - 1)
            if not self._peers.forward(leader, [batch for batch, _ in batches]):
                self._resend = 0.0  # with the next tick

    def _waits_here(self) -> bool:
        return bool(self.raft.leader) and not self.leads and self._peers.busy(self.raft.leader)

    def _send_again(self) -> None:
        self._forwards.clear()
        self._send(list(self._unapplied))

    # -- membership ---------------------------------------------------------------------------------------------------

    def propose_configuration(self, change: ConfigurationChange) -> Position:
        """Begin a change of the group's membership, as `Raft.propose_configuration` does."""
        position = self.raft.propose_configuration(change)
        self._pump_soon()
        return position

    def transfer(self, to: str) -> None:
        """Hand leadership over, as `Raft.transfer` does."""
        self.raft.transfer(to)
        self._pump_soon()

    def removed(self) -> None:
        """Serve no more: the group has let this node go, though it may not have been told by consensus."""
        self._removed = True
        self._see_to_service()

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
        while not self._stopped:
            if self._intake and self._may_enter() and self.leads and self._in_pace():
                for where, proposal in self._intake.enter(int(self._clock() * 1000)):
                    self._proposals[where.index] = (where.term, proposal)
            self._barriers.ask()
            ready = raft.ready()
            if ready is None:
                return
            for message in ready.messages:
                self._peers.send(message)
            if ready.write is not None:
                self._begin_write(ready.write)
            if ready.committed:
                self._apply(ready.committed)
                raft.applied(ready.committed[-1].index)
                self._after_applying()
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

    def _may_enter(self) -> bool:
        """Tell whether the disk is free enough for another entry."""
        few = not self.alone and self._intake.crowd < CROWD
        return self._writes < (MAX_SMALL_WRITES if few else MAX_WRITES)

    def _in_pace(self) -> bool:
        """Tell whether it is time for the next entry; if not, see to it when it is."""
        now = self._loop.time()
        if not self.alone and self._intake.crowd >= CROWD and now - self._entered < ENTRY_GAP:
            if self._gap_timer is None:
                self._gap_timer = self._loop.call_later(ENTRY_GAP, self._end_gap)
            return False
        self._entered = now
        return True

    def _end_gap(self) -> None:
        self._gap_timer = None
        self._pump_in_turn()

    def _begin_write(self, write: Write) -> None:
        if write.snapshot is not None or write.pieces:
            install = None
            done = partial(self._persisted, write.sequence)
            if write.snapshot is not None:
                self._installing = True
                self._mirroring.suspend()
                install = Install(write.snapshot.index, write.snapshot.term, adopt_meta(self.name))
                done = partial(self._installed, write.sequence)
            pieces = [Piece(piece.offset, piece.data) for piece in write.pieces]
            self._writes += 1
            self._disk.write(write.entries, write.hard_state, pieces, install, done)
        elif write.entries or write.hard_state:
            self._writes += 1
            self._disk.append(write.entries, write.hard_state, partial(self._persisted, write.sequence))
        elif self._writes:  # only where the log begins, which the next mirror will write
            self._unwritten = write.sequence
        else:
            self.raft.persisted(write.sequence)

    def _persisted(self, sequence: int) -> None:
        self._writes -= 1
        if self._installing:
            self._persisted_later.append(sequence)
            return
        self.in_turn = True
        with self._guard():
            self.raft.persisted(sequence if self._writes else max(sequence, self._unwritten))
            self._pump()
        self.end_turn()

    def _apply(self, entries: tuple[Entry, ...]) -> None:
        table, mirroring = self.table, self._mirroring
        for entry in entries:
            if entry.kind is EntryKind.COMMANDS:
                term, proposal = self._proposals.pop(entry.index, _UNKNOWN)
                if proposal is None or term != entry.term:
                    proposal = decode_proposal(entry.data)
                effects = table.apply(proposal)
                # What the log says of past incarnations concerns connections that are no more.
                if effects and self._sink is not None and table.nodes[self.name].incarnation == self.incarnation:
                    self._sink.deliver(effects)
            elif entry.kind is EntryKind.CONFIGURATION:
                self._configured(decode_configuration(entry.data), entry.index)
            elif entry.kind is not EntryKind.BARRIER:
                raise UnknownEntryError(f"log entry {entry.index} is of kind {entry.kind}, unknown to this version")
            mirroring.applied(entry.index, len(entry.data))

    def _after_applying(self) -> None:
        node = self.table.nodes.get(self.name)
        if node is not None and node.incarnation == self.incarnation:
            if node.last > self.applied_number:
                self._resend = RESEND
            self._settled(node.last)
            forwards = self._forwards
            while forwards and forwards[0] <= node.last:
                forwards.popleft()
            if not node.up:
                self._break_off()
            elif not self._open:
                self._open = True
                self._see_to_service()
        elif node is not None and node.incarnation > self.incarnation:
            self._break_off()  # the disk is not this node's latest: somebody put an old copy in its place
        self._call_settled()
        self._barriers.applied(self._mirroring.applied_index)
        if self._sink is not None:
            self._sink.flush()
        if self._hungry and not self._urgent and any(self.table.waiting.ready):
            self._hurry()
        self._arm_due()
        self._mirroring.see_to_it()

    def _configured(self, configuration: Configuration, index: int) -> None:
        self.committed_configuration = configuration
        self.committed_index = index
        self._on_configuration(configuration, index)

    def _stand(self, standing: Standing) -> None:
        """Take note of who leads."""
        before, self._standing = self._standing, standing
        self._on_standing(standing)
        if (standing.term, standing.leader) == (before.term, before.leader):
            return
        self.leader_changes += standing.leader not in ("", before.leader)
        self.vigil.begin()
        self._intake.clear()
        self._proposals.clear()
        if standing.leader:
            self._resend = RESEND
            self._send_again()
            if self._urgent or self._gathering or self._closed:
                self._hurry()
        self._arm_due()
        self._see_to_service()

    # -- a snapshot in the place of the table -------------------------------------------------------------------------

    def _installed(self, sequence: int) -> None:
        """Read back, beside the loop, what the snapshot brought."""
        self._writes -= 1
        self._persisted_later.append(sequence)
        self._offload(self._load, self._loaded, self._not_loaded)

    def _load(self) -> Loaded:
        with self._disk.view() as view:
            return load_table(view, self.name)

    def _not_loaded(self, error: Exception) -> None:
        self.fail()
        self._on_failure(error)

    def _loaded(self, loaded: Loaded) -> None:
        with self._guard():
            if self._stopped:
                return
            if self._sink is not None:
                self._sink.break_off()
            self.table.become(loaded.table)
            self._mirroring.go_on(loaded.mirror_writer, loaded.index)
            self._installing = False
            durable, self._persisted_later = self._persisted_later[-1], []
            self.raft.persisted(durable)
            self._configured(loaded.configuration, loaded.index)
            self._open_incarnation()
            self._pump()

    # -- time ---------------------------------------------------------------------------------------------------------

    def _arm_due(self) -> None:
        if self.leads:
            self._due.arm(self.table.next_deadline())

    def _tell_time(self) -> None:
        if self._stopped or not self.leads:
            return
        if self._writes >= MAX_WRITES:
            self._due.again(LAZY_DELAY)
            return
        with self._guard():
            try:
                self.raft.propose(encode_proposal(propose(int(self._clock() * 1000), [])))
            except RefusedError:
                self._due.again(TICK)
            self._pump()

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
        self._due.cancel()
        if self._gap_timer is not None:
            self._gap_timer.cancel()
        if self._tick_timer is not None:
            self._tick_timer.cancel()
