"""What workers say of their jobs, on its way to whoever listens: here at once, elsewhere by way of their nodes.

The table learns of a job's end later than the listeners. Until it does the end is kept, for those here who begin to
listen meanwhile: their submits came before it. Those of other nodes ask first (`holders`). Not for: what workers may
say, and what the table is told (`reports`); what listeners here are told of jobs
that run elsewhere, and when (`listening`); how reports get to other nodes (`node.relay`).
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Final

from cluster.jobs import Concluded, Created, Ended, Failed, Job, Node, Session
from node.gateway.listening import FINAL, Listening
from node.relay import Answer, Item, Parcel, Query, Relay, Report, Send
from protocol import PacketType, encode_passed_on

if TYPE_CHECKING:
    from node.gateway.gateway import Gateway

HELD_LOOKED_AT: Final = 1000
"""Jobs in one tick of which it is seen whether they are still kept for workers here."""
LARGE: Final = 4096
"""Bytes from which on each of several copies of a report is written by itself, and a result that is kept counts."""
MAX_ENDINGS: Final = 64 << 20
"""Bytes of results whose jobs the table still has beyond which nobody is read from."""

Ending = tuple[PacketType, list[bytes], tuple[Session, ...]]
"""How a job ended by its worker's word, and which listeners have been told."""


class Telling:
    """The reports that one node's workers make, and that its clients hear."""

    def __init__(self, gateway: "Gateway", send: Send) -> None:
        """`send` takes reports to other nodes."""
        self.endings: dict[int, Ending] = {}
        """Jobs whose end is on its way to the table: listeners who join meanwhile are served from here."""
        self.congested = False
        """Whether these are so many bytes that workers have to wait with more."""
        self._large: dict[int, int] = {}
        """How many bytes each is, where that is much, by job."""
        self._large_size = 0
        self.held: dict[int, int] = {}
        """Jobs that are kept for workers here, and the index of the entry by which each was last."""
        self._held_left: Iterator[int] = iter(())
        """Those that are still to be looked at, whether they are kept."""
        self.last_end = 0
        """The number of the newest command by which a worker here ended a job."""
        self.expected: dict[int, dict[tuple[str, int], set[int]]] = {}
        """Who listens on other nodes, as those have said before the table here knew: job, node and incarnation,
        sessions."""
        self._repeats: dict[int, dict[bytes, int]] = {}
        """How many times more than once a session asked for the same job, by session and handle: each time has its own
        reports, or a client that counts them would wait for ever."""
        self._gateway = gateway
        self._name = gateway.driver.name
        self._table = gateway.table
        self._connections = gateway.connections
        self.relay = Relay(self._table, self._name, send, self._reported)
        """What goes to other nodes, and comes from them."""
        self.listening = Listening(self._name, self._table, self._say, self._keep)
        """Those here who listen to jobs that run elsewhere."""

    # -- what is said here --------------------------------------------------------------------------------------------

    def tell(self, job: Job, kind: PacketType, args: list[bytes], listeners: Iterable[Session] | None = None) -> None:
        """Send a worker's report on a job to those who listen, wherever they are; to `listeners`, if given, only."""
        here = self._name
        expected = self.expected.get(job.number) if listeners is None and self.expected else None
        if listeners is None:
            listeners = job.listeners if not self.listening.told else self._who_may_hear(job)
        elsewhere: dict[Node, list[int]] | None = None
        for listener in listeners:
            if not listener.node.up:
                continue  # it is over, and another may have its number by now
            if listener.node.name == here:
                if not (self.listening.holds and self.listening.keep(listener.number, job, kind, args)):
                    self._say(listener.number, kind, args)
            elif elsewhere is None:
                elsewhere = {listener.node: [listener.number]}
            else:
                elsewhere.setdefault(listener.node, []).append(listener.number)
        if elsewhere is not None:
            for node, sessions in elsewhere.items():
                report = Report(job.number, sessions, kind, args, self.held.get(job.number, 0))
                self.relay.put(node.name, node.incarnation, report)
            self._gateway.flush_later()
        if expected is not None:
            self._tell_expected(job, kind, args, expected)

    def _tell_expected(
        self, job: Job, kind: PacketType, args: list[bytes], expected: dict[tuple[str, int], set[int]]
    ) -> None:
        """Send a report to those who listen on other nodes and whom the table here does not know as listeners yet."""
        known = {(listener.node.name, listener.node.incarnation, listener.number) for listener in job.listeners}
        for (node, incarnation), sessions in expected.items():
            missing = sorted(session for session in sessions if (node, incarnation, session) not in known)
            there = self._table.nodes.get(node)
            if missing and (there is None or there.incarnation <= incarnation):
                report = Report(job.number, missing, kind, args, self.held.get(job.number, 0))
                self.relay.put(node, incarnation, report)
        self._gateway.flush_later()

    def expect(self, job: int, node: str, incarnation: int, session: int) -> None:
        """Send a session of another node what a worker here says of a job from now on."""
        self.expected.setdefault(job, {}).setdefault((node, incarnation), set()).add(session)

    def _who_may_hear(self, job: Job) -> Iterable[Session]:
        """Leave out who has been told the job's end before."""
        here, was_told = self._name, self.listening.was_told
        return [each for each in job.listeners if each.node.name != here or not was_told(each.number, job.number)]

    def _say(self, session: int, kind: PacketType, args: list[bytes]) -> None:
        connection = self._connections.get(session)
        if connection is None:
            return
        if kind is PacketType.WORK_EXCEPTION and not connection.exceptions:
            kind, args = PacketType.WORK_FAIL, args[:1]
        packet = encode_passed_on(kind, args)
        connection.send(packet)
        if self._repeats and (repeats := self._repeats.get(session)) is not None:
            for _ in range(repeats.get(args[0], 0)):
                connection.send(packet)
                if len(packet) > LARGE:
                    connection.flush()  # many of them are not to be in memory before it shows that nobody reads them
                if connection.closed:
                    break
            if kind in FINAL:
                repeats.pop(args[0], None)

    def _keep(self, session: int, size: int) -> None:
        """Note that so many bytes more, or fewer, are kept for a session."""
        connection = self._connections.get(session)
        if connection is not None:
            connection.keep(size)

    def created(self, effect: Created) -> None:
        """Note that a session has just been told that it listens to a job."""
        session, job = effect.session, effect.job
        if effect.again or (self.listening.told and self.listening.was_told(session, job.number)):
            self.again(session, job, self._gateway.driver.delivering)
        else:
            self.listening.created(session, job)

    def again(self, session: int, job: Job, index: int) -> None:
        """Note that a session which listens to a job has just been told so once more.

        `index`: a job that was kept for a worker by this entry or a later one is run after the submit was sent.
        """
        told = self.listening.was_told(session, job.number)
        if told and self.listening.listens_again(session, job, index):
            return
        ending = self.endings.get(job.number)
        if ending is not None:
            kind, args, listeners = ending
            # One that was told the end of an earlier run was left out when a worker here ended this one.
            if told or any(
                each.number == session and each.node.name == self._name and each.node.up for each in listeners
            ):
                self._say(session, kind, args)
                return
        if not told:
            repeats = self._repeats.setdefault(session, {})
            repeats[job.handle] = repeats.get(job.handle, 0) + 1

    def repeats(self, job: Job) -> int:
        """Tell how many requests for a job there are here beyond one for each session."""
        here = [each.number for each in job.listeners if each.node.name == self._name and each.node.up]
        return sum(self._repeats[session].get(job.handle, 0) for session in here if session in self._repeats)

    def disconnected(self, session: int) -> None:
        """Forget a session."""
        self.listening.disconnected(session)
        self._repeats.pop(session, None)

    # -- what is said elsewhere ---------------------------------------------------------------------------------------

    def received(self, node: str, parcel: Parcel) -> None:
        """Take what another node's workers report, or the receipt for what was reported there."""
        self.relay.received(node, parcel)
        self._gateway.flush_later()

    def _reported(self, node: str, incarnation: int, item: Item) -> None:
        """Take an item from another node."""
        if type(item) is Report:
            self._pass_on(item)
        elif type(item) is Query:
            self._gateway.holders.queried(node, incarnation, item)
        elif type(item) is Answer:
            self._gateway.holders.answered(node, incarnation, item)

    def _pass_on(self, report: Report) -> None:
        """Pass on what a worker of another node says."""
        sessions = [session for session in report.sessions if session in self._connections]
        ending = self.endings.get(report.job)
        if ending is not None:
            # A worker here ended it too, after its time limit was over, which this node does not know yet.
            told = {each.number for each in ending[2] if each.node.name == self._name and each.node.up}
            sessions = [session for session in sessions if session not in told]
        self.listening.reported(Report(report.job, sessions, report.kind, report.args, report.held))

    # -- what the table says ------------------------------------------------------------------------------------------

    def count_ending(self, number: int, size: int) -> None:
        """Count the bytes of a result that is kept until the table knows of the end of its job."""
        self._large[number] = size
        self._large_size += size
        self.congested = self._large_size > MAX_ENDINGS
        if self.congested:
            self._gateway.flush_later()

    def _forget_large(self, number: int) -> None:
        self._large_size -= self._large.pop(number, 0)
        self.congested = self._large_size > MAX_ENDINGS

    def revoked(self, job: Job) -> None:
        """Note that a job was taken from its worker here, which may have ended it by then."""
        self.expected.pop(job.number, None)
        if self._large:
            self._forget_large(job.number)
        ending = self.endings.pop(job.number, None)
        if ending is None:
            return
        # Its time limit was over: they have its result although it has to run again.
        kind, args, told = ending
        report = Report(job.number, [], kind, args, self.held.get(job.number, 0))
        for listener in told:
            if listener.node.name == self._name and listener.node.up:
                self.listening.note_told(listener.number, report)

    def ended(self, effect: Ended) -> None:
        """Note that the table knows of the end of a job that ran here."""
        self.end(effect.job)

    def end(self, job: Job) -> None:
        """Tell how the job ended those here who began to listen while its end was on its way to the table."""
        ending = self.endings.pop(job.number, None)
        self.held.pop(job.number, None)
        if self._large:
            self._forget_large(job.number)
        if self.expected:
            self.expected.pop(job.number, None)
        if self.listening.told:
            self.listening.ended(job.number)
        if self._gateway.draining:
            self._gateway.check_drained()
        if ending is not None and job.listeners:
            kind, args, told = ending
            if told != tuple(job.listeners):
                here = [each for each in job.listeners if each.node.name == self._name and each not in told]
                self.tell(job, kind, args, here)

    def concluded(self, effect: Concluded) -> None:
        """Note that a job ended that ran elsewhere: whoever listens here is told by its worker's node."""
        if effect.session in self._connections:
            self.listening.concluded(effect)

    def failed(self, effect: Failed) -> None:
        """Tell a listener that a job is over whose end its worker does not say, unless it did."""
        if self._gateway.joins and self._gateway.joins.failed(effect.session, effect.job):
            return
        if self.listening.failed(effect.session, effect.job):
            return
        self._say(effect.session, PacketType.WORK_FAIL, [effect.job.handle])

    # -- as time goes on ----------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Look after what other nodes owe this one, and this one them."""
        self.listening.tick()
        self.relay.tick()
        if self.expected:
            self._forget_expected()
        if self.held:
            self._forget_held()
        for number in [number for number in self._large if number not in self.endings]:
            self._forget_large(number)

    def _keeps(self, number: int) -> bool:
        """Tell whether a job is kept for a worker here, or run by one."""
        job = self._table.jobs.get(number)
        return job is not None and job.holder is not None and job.holder.node.name == self._name

    def _forget_held(self) -> None:
        """Forget some of the jobs that are not kept for workers here any more: there may be very many."""
        looked_at = list(islice(self._held_left, HELD_LOOKED_AT))
        for number in looked_at:
            if number in self.held and not self._keeps(number):
                del self.held[number]
        if len(looked_at) < HELD_LOOKED_AT:
            self._held_left = iter(list(self.held))

    def _forget_expected(self) -> None:
        """Forget whom the table knows as listeners by now, and jobs that are over."""
        jobs, last = self._table.jobs, self._table.last_job
        for number, expected in list(self.expected.items()):
            job = jobs.get(number)
            if job is not None:
                for listener in job.listeners:
                    expected.get((listener.node.name, listener.node.incarnation), set()).discard(listener.number)
            for node, incarnation in list(expected):
                known = self._table.nodes.get(node)
                if known is not None and (known.incarnation, not known.up) > (incarnation, False):
                    del expected[node, incarnation]
            if not any(expected.values()) or (job is None and number <= last):
                del self.expected[number]

    def reset(self) -> None:
        """Forget all of them: the table has let them go."""
        self.endings.clear()
        self._large.clear()
        self._large_size = 0
        self.congested = False
        self.expected.clear()
        self.held.clear()
        self.last_end = 0
        self._repeats.clear()
        self.listening.reset()
