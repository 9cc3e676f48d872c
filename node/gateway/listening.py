"""Sessions here that listen to jobs which run on other nodes: what is reported to them, once, and in its time.

Reports come straight from the worker's node and may overtake the log, or lag behind it. So:

- A report that comes before this node knows that the session listens is kept until it does (*early*).
- A session that has been told a job's end hears nothing more of it, though the job should run again because its
  worker's node went before the log knew (*told*). What comes all the same is kept until the log knows of an end: the
  session may have submitted the job again, and this node not have applied that yet (*later*). Which runs are an answer
  to that submit is told by the entry by which the job was kept for the worker (`Report.held`).
- A session that is still to be told when the log says that the job is over waits for the word of the worker's node, as
  long as there is one (*awaiting*).

Not for: listeners of jobs that run on this node, who are told directly.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from cluster.jobs import Concluded, Job, JobTable
from node.gateway.budget import SMALL
from node.gateway.kept import Kept, Note
from node.relay import Report
from protocol import PacketType

FINAL: Final = frozenset({PacketType.WORK_COMPLETE, PacketType.WORK_FAIL, PacketType.WORK_EXCEPTION})
"""The reports after which there is nothing more to say."""

ANYBODY: Final = ""
"""In the place of the node that has the word: it is not known which."""


Say = Callable[[int, PacketType, list[bytes]], None]
"""Send a session a report."""


class _Word(NamedTuple):
    """What a worker here said."""

    kind: PacketType
    args: list[bytes]


class Listening:
    """The listeners of one node, as far as the jobs run elsewhere."""

    def __init__(self, name: str, table: JobTable, say: Say, note: Note = lambda _, __: None) -> None:
        """`note` is told how many bytes are kept for a session."""
        self._name = name
        self._table = table
        self._say = say
        self._note = note
        self._early: Kept[Report] = Kept(_weight, note)
        self.told: dict[int, dict[int, Report]] = {}
        """The end of each job whose end is not in the table yet, by job and by the session that was told."""
        self._large: dict[int, set[int]] = {}
        """Of these, for each session: the jobs whose end is large."""
        self._later: Kept[Report] = Kept(_weight, note)
        """What came for a session that was told the end. It may be for a submit of the same session that this node has
        not applied yet."""
        self._awaiting: dict[int, dict[int, tuple[Job, str, int]]] = {}
        """The job, and the node and incarnation that has the word, by session and job number."""
        self._held: Kept[Report | _Word | Concluded] = Kept(_weight, note)
        """What came for those whose submit is not answered yet (`joins`)."""

    def reported(self, report: Report) -> None:
        """Pass on a report of another node's worker."""
        for session in report.sessions:
            if session in self.told.get(report.job, ()) and (session, report.job) not in self._held:
                self._later.add(session, report.job, report)
            else:
                self._pass_on(session, report)

    def created(self, session: int, job: Job) -> None:
        """Note that a session which was not told a job's end has just been told that it listens to the job."""
        if self._early:
            for report in self._early.take(session, job.number):
                self._pass_on(session, report)

    def told_since(self, session: int, job: int, index: int) -> bool:
        """Tell whether a session was told the end of a run for which the job was kept by this entry or a later one."""
        report = self.told.get(job, {}).get(session)
        return report is not None and report.held >= index

    def listens_again(self, session: int, job: Job, index: int) -> bool:
        """Note that a session which was told a job's end has submitted the job again; tell whether it hears an end now.

        It is told the end once more if the job was kept for that run by the entry of this index or a later one: then
        the run ended after the submit was sent. If not, it is going to hear of the next run.
        """
        if self.told_since(session, job.number, index):
            report = self.told[job.number][session]
            self._say(session, report.kind, report.args)
            return True
        self._forget(job.number, session)
        for report in self._later.take(session, job.number):
            if report.held >= index:
                self._pass_on(session, report)
        return self.was_told(session, job.number)

    # -- those whose submit is not answered yet -----------------------------------------------------------------------

    def hold(self, session: int, job: Job) -> bool:
        """Keep what comes for a session until `release` or `discard`; tell whether the end has come already."""
        self._held.begin(session, job.number, [*self._early.take(session, job.number)])
        return self.has_end(session, job)

    @property
    def holds(self) -> bool:
        """Tell whether anything is kept for anybody."""
        return bool(self._held)

    def keep(self, session: int, job: Job, kind: PacketType, args: list[bytes]) -> bool:
        """Keep what a worker here says for a session, if its reports are to be kept; tell whether they are."""
        if (session, job.number) not in self._held:
            return False
        self._held.add(session, job.number, _Word(kind, args))
        return True

    def has_end(self, session: int, job: Job) -> bool:
        """Tell whether the worker's last word is among what is kept for a session."""
        kept = self._held.get(session, job.number)
        return kept is not None and any(not isinstance(each, Concluded) and each.kind in FINAL for each in kept)

    def release(self, session: int, job: Job) -> None:
        """Pass on what was kept for a session, and keep nothing any more."""
        kept = self._held.take(session, job.number)
        for effect in [each for each in kept if isinstance(each, Concluded)]:
            self.concluded(effect)
        words = [each for each in kept if not isinstance(each, Concluded)]
        # No word of another node follows the end of a run here.
        ended_here = job.number not in self._table.jobs and any(isinstance(each, _Word) for each in words)
        for word in words:
            if isinstance(word, _Word) or (ended_here and not self.awaits(session, job.number)):
                self._say(session, word.kind, word.args)
            else:
                self._pass_on(session, word)
            if word.kind in FINAL:
                return

    def discard(self, session: int, job: Job) -> None:
        """Forget what was kept for a session."""
        self._held.take(session, job.number)

    # -- the end of a job ---------------------------------------------------------------------------------------------

    def note_told(self, session: int, report: Report) -> None:
        """Note that a worker here has told a session a job's end that the log does not know of, and may never."""
        self.told.setdefault(report.job, {})[session] = report
        if (size := _weight(report)) > SMALL:
            self._large.setdefault(session, set()).add(report.job)
            self._note(session, size)

    def was_told(self, session: int, job: int) -> bool:
        """Tell whether a session has been told the end of a job that is not over for the log."""
        return session in self.told.get(job, ())

    def awaits(self, session: int, job: int) -> bool:
        """Tell whether a session is still to be told the end of a job that is over for the log."""
        awaiting = self._awaiting.get(session)
        return awaiting is not None and job in awaiting

    def ended(self, job: int) -> None:
        """Note that the log knows of the end of a job that ran here."""
        for session, report in self.told.pop(job, {}).items():
            self._tell_forgotten(session, report)

    def concluded(self, effect: Concluded) -> None:
        """Note that the log knows of the end of a job that ran elsewhere."""
        job, session = effect.job, effect.session
        if self._held and (session, job.number) in self._held:
            self._held.add(session, job.number, effect)
            return
        self._later.take(session, job.number)
        if self._forget(job.number, session):
            return
        self._awaiting.setdefault(session, {})[job.number] = (job, effect.node, effect.incarnation)
        # It may have begun to listen by the very entry that the job ended with.
        for report in self._early.take(session, job.number):
            self._pass_on(session, report)

    def await_end(self, session: int, job: Job) -> bool:
        """Note that a job is gone, and that what became of it is not known; tell whether its end is still to be heard.

        Whoever says so asks whether any node has it, and calls `give_up` if none has.
        """
        number = job.number
        self._later.take(session, number)
        if self._forget(number, session):
            return False
        self._awaiting.setdefault(session, {})[number] = (job, ANYBODY, 0)
        reports = self._early.take(session, number)
        for report in reports:
            self._pass_on(session, report)
        return self.awaits(session, number)

    def give_up(self, session: int, job: Job) -> None:
        """Tell a session that a job has failed, unless it has heard its end by now."""
        if self.awaits(session, job.number):
            self._await_no_longer(session, job.number)
            self._say(session, PacketType.WORK_FAIL, [job.handle])

    def failed(self, session: int, job: Job) -> bool:
        """Note that a job ended without its worker's word; tell whether the session was told its end before."""
        self._later.take(session, job.number)
        self._early.take(session, job.number)
        return self._forget(job.number, session)

    def tick(self) -> None:
        """Give up on those words whose only keeper is gone, and on what nobody can ask for any more."""
        nodes = self._table.nodes
        for session, awaiting in list(self._awaiting.items()):
            for number, (job, name, incarnation) in list(awaiting.items()):
                if name == ANYBODY:
                    continue
                node = nodes.get(name)
                if node is None or not node.up or node.incarnation != incarnation:
                    self._await_no_longer(session, number)
                    self._say(session, PacketType.WORK_FAIL, [job.handle])
        jobs = self._table.jobs
        for number in [number for number in self.told if number not in jobs]:
            self.ended(number)
        for session, number in self._later:
            if number not in jobs:
                self._later.take(session, number)
        for session, number in self._early:
            if number not in jobs and number <= self._table.last_job:
                self._early.take(session, number)

    def disconnected(self, session: int) -> None:
        """Forget a session."""
        self._early.forget(session)
        self._later.forget(session)
        self._awaiting.pop(session, None)
        for job in self._large.pop(session, ()):
            self._forget(job, session)

    def reset(self) -> None:
        """Forget everybody."""
        self._early.clear()
        self._later.clear()
        self._held.clear()
        self.told.clear()
        self._large.clear()
        self._awaiting.clear()

    def _pass_on(self, session: int, report: Report) -> None:
        job = report.job
        if self._held and (session, job) in self._held:
            self._held.add(session, job, report)
            return
        if self._awaiting and self.awaits(session, job):
            if report.kind in FINAL:
                self._await_no_longer(session, job)
            self._say(session, report.kind, report.args)
            return
        if session in self.told.get(job, ()):
            return  # it was told while what was kept for it was passed on
        if not self._listens(session, job):
            self._early.add(session, job, report)
            return
        if report.kind in FINAL:
            self.note_told(session, report)
        self._say(session, report.kind, report.args)

    def _listens(self, session: int, job: int) -> bool:
        node = self._table.nodes.get(self._name)
        known = node.sessions.get(session) if node is not None else None
        return known is not None and job in known.listening

    def _forget(self, job: int, session: int) -> bool:
        told = self.told.get(job)
        report = told.pop(session, None) if told is not None else None
        if report is None:
            return False
        if not told:
            del self.told[job]
        self._tell_forgotten(session, report)
        return True

    def _tell_forgotten(self, session: int, report: Report) -> None:
        """Take note that the end that a session was told is kept no longer."""
        if (size := _weight(report)) > SMALL and session in self._large:
            self._large[session].discard(report.job)
            if not self._large[session]:
                del self._large[session]
            self._note(session, -size)

    def _await_no_longer(self, session: int, job: int) -> None:
        awaiting = self._awaiting[session]
        del awaiting[job]
        if not awaiting:
            del self._awaiting[session]


def _weight(kept: Report | _Word | Concluded) -> int:
    return 0 if isinstance(kept, Concluded) else sum(map(len, kept.args))
