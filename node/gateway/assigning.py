"""How jobs get to this node's workers: what the table assigned or reserved becomes JOB_ASSIGN, NOOP or NO_JOB in time.

A reservation that its worker does not fetch is given back; a GRAB_JOB that the table does not answer in time is
answered NO_JOB, and the job that still comes is kept as a reservation; a busy worker's GRAB_JOB waits a moment for a
job. The table hears that a worker has its job (Take) a moment later, if the worker has not finished it by then: a
reserved job may as well be finished. Not for: which job a worker gets (the table), or reading packets
(`node.gateway.requests`).
"""

import asyncio
from collections import Counter, deque
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from cluster.jobs import Assigned, Command, Job, NoJob, Park, Prefetch, Reserved, Revoked, Submit, Take, Unreserve
from node.gateway.connection import Connection
from node.gateway.worker import HOLD_TIME, NO_JOB, NOOP, RESERVATION_TIME, WorkerSession, assignment

if TYPE_CHECKING:
    from node.gateway.gateway import Gateway

GRAB_PATIENCE: Final = 0.2
"""Seconds a worker waits for the answer to GRAB_JOB before it is told NO_JOB: some libraries give up after 0.25."""
TAKE_DELAY: Final = 0.005
"""Seconds that a worker may have a job before the table is told: most quick jobs are over by then."""
MIN_PREFETCH: Final = 4
"""Jobs that a Prefetch is to bring at the least: for fewer the worker's next GRAB_JOB does as well, which is a command
anyway."""
SWEEP_INTERVAL: Final = 0.05
"""Seconds between looks at what has been waiting too long, while anything waits."""


class Assigning:
    """The workers of one node, as far as they wait for jobs or have some reserved."""

    def __init__(self, gateway: "Gateway") -> None:
        self._gateway = gateway
        self._driver = gateway.driver
        self._connections = gateway.connections
        self._loop = asyncio.get_running_loop()
        self._time = self._loop.time
        self._watched: dict[Connection, None] = {}
        """Workers with reservations or an unanswered GRAB_JOB."""
        self._sweep: asyncio.TimerHandle | None = None
        self._held: dict[Connection, float] = {}
        """Busy workers whose GRAB_JOB waits for a job, and until when."""
        self._release: asyncio.TimerHandle | None = None
        self.untold: dict[int, tuple[int, float]] = {}
        """The numbers of jobs that their workers have and the table does not know to be taken; by whom, and when. It
        need not hear so of a job that is over."""
        self._telling: asyncio.TimerHandle | None = None

    def forget(self, connection: Connection) -> None:
        """Let a connection go that was lost: its jobs were taken, before the table hears of the loss."""
        self._watched.pop(connection, None)
        self._held.pop(connection, None)
        if connection.worker is not None:
            for job in connection.worker.running.values():
                told = self.untold.pop(job.number, None) is None
                if not told and connection.opened:
                    self._driver.propose_lazily(Take(connection.number, job.number))

    def drain(self) -> None:
        """Give every reservation back, and let nobody wait for a job."""
        for connection in list(self._watched):
            if connection.worker is not None:
                self.give_back(connection, connection.worker)
        self._release_held()
        self.tell_taken()

    def reset(self) -> None:
        """Forget all of them: the table has let them go."""
        self._watched.clear()
        self._held.clear()
        self.untold.clear()

    def close(self) -> None:
        """Wait for nothing any more."""
        for timer in (self._sweep, self._release, self._telling):
            if timer is not None:
                timer.cancel()

    def drop(self, worker: WorkerSession, effect: Revoked) -> bool:
        """Let go of a job that is reserved no more; tell whether it was."""
        for kept in worker.reserved:
            if kept[0] is effect.job:
                worker.reserved.remove(kept)
                return True
        return False

    # -- what the table says ------------------------------------------------------------------------------------------

    def assigned(self, effect: Assigned) -> None:
        """Answer GRAB_JOB with a job."""
        connection = self._connections.get(effect.session)
        if connection is None or connection.worker is None:
            return  # its SessionClose follows in the log and puts the job back
        self._gateway.telling.held[effect.job.number] = self._driver.delivering
        worker = connection.worker
        if worker.late:
            worker.late -= 1
            if self._keeps(connection, worker, effect.job):
                self._offer(connection, worker)
            return
        worker.grabbing = False
        if self._gateway.draining:
            self._driver.propose(Unreserve(connection.number, effect.job.number))
            connection.send(NO_JOB)
        elif worker.reserved and worker.reserved[0][0].priority <= effect.job.priority:
            # Jobs that were reserved while the answer was on its way come before it in their queue.
            self._keeps(connection, worker, effect.job)
            self.take_reserved(connection, worker)
        else:
            connection.answer(self._given(connection, worker, effect.job))
            return
        connection.answered()

    def no_job(self, effect: NoJob) -> None:
        """Answer GRAB_JOB: there is none."""
        connection = self._connections.get(effect.session)
        if connection is None or connection.worker is None:
            return
        worker = connection.worker
        if worker.late:
            worker.late -= 1
            return
        worker.grabbing = False
        if worker.reserved and not self._gateway.draining:
            self.take_reserved(connection, worker)
        elif worker.busy and not self._gateway.draining:
            self.hold(connection, worker)  # others of the function were quicker, but more may come
        else:
            connection.send(NO_JOB)
        connection.answered()

    def reserved(self, effect: Reserved) -> None:
        """Keep a job for its worker, and let the worker know if it waits."""
        connection = self._connections.get(effect.session)
        if connection is None or connection.worker is None:
            return
        self._gateway.telling.held[effect.job.number] = self._driver.delivering
        worker = connection.worker
        if self._gateway.draining:
            self._driver.propose(Unreserve(connection.number, effect.job.number))
            return
        if worker.held and not worker.reserved and effect.job.function.name in worker.abilities:
            del self._held[connection]
            worker.held = False
            connection.answer(self._given(connection, worker, effect.job))
            return
        self._keeps(connection, worker, effect.job)
        if worker.held:
            del self._held[connection]
            self._end_hold(connection, worker)
        elif effect.wake:
            self._offer(connection, worker)

    def _keeps(self, connection: Connection, worker: WorkerSession, job: Job) -> bool:
        """Keep a job for its worker; tell whether that is so: it may have said since that it cannot run it."""
        if job.function.name not in worker.abilities:
            worker.unwanted.append(job)
            return False
        if not worker.reserved:
            self._watch(connection)
        reserved = worker.reserved
        place = len(reserved)
        while place and reserved[place - 1][0].priority > job.priority:
            place -= 1
        reserved.insert(place, (job, self._time()))
        return True

    def _offer(self, connection: Connection, worker: WorkerSession) -> None:
        """Wake the worker, if it sleeps; if not, it will ask or go to sleep in a moment, and is served then."""
        if worker.asleep:
            worker.asleep = False
            connection.send(NOOP)

    # -- giving jobs ---------------------------------------------------------------------------------------------------

    def _given(self, connection: Connection, worker: WorkerSession, job: Job) -> bytes:
        """Note that a worker gets a job; give the packet that tells it."""
        now = self._time()
        if worker.timed:
            self._driver.propose_lazily(Take(connection.number, job.number))
        else:
            self.untold[job.number] = (connection.number, now)
            if self._telling is None:
                self._telling = self._loop.call_later(TAKE_DELAY, self._tell_overdue)
        handle = job.handle
        worker.running[handle] = job
        if worker.muted:
            worker.muted.discard(handle)
        worker.note_pace(now)
        return assignment(worker.form, handle, job)

    def tell_taken(self) -> None:
        """Tell the table of every job that a worker has: somebody wants to know how things stand."""
        for number, (session, _) in self.untold.items():
            self._driver.propose_lazily(Take(session, number))
        self.untold.clear()

    def _tell_overdue(self) -> None:
        self._telling = None
        now = self._time()
        for number, (session, since) in list(self.untold.items()):
            if since + TAKE_DELAY > now:
                self._telling = self._loop.call_later(since + TAKE_DELAY - now, self._tell_overdue)
                return
            del self.untold[number]
            self._driver.propose_lazily(Take(session, number))

    def take_reserved(self, connection: Connection, worker: WorkerSession) -> None:
        """Hand over the job that was reserved first."""
        driver, reserved = self._driver, worker.reserved
        job, _ = reserved.popleft()
        connection.send(self._given(connection, worker, job))
        if job.function.share < MIN_PREFETCH:
            return  # the table would reserve next to nothing
        ahead = worker.ahead()
        if len(reserved) < ahead // 2 and worker.prefetched <= driver.applied_number:
            driver.propose_promptly(Prefetch(connection.number, ahead - len(reserved)))
            worker.prefetched = driver.numbered

    def give_back(self, connection: Connection, worker: WorkerSession) -> None:
        """Give back every job the worker has not fetched, the last first, so that they queue as they did."""
        while worker.reserved:
            self._driver.propose(Unreserve(connection.number, worker.reserved.pop()[0].number))

    def grab(self, connection: Connection, worker: WorkerSession) -> None:
        """Note that the table's answer to GRAB_JOB is awaited."""
        connection.waiting += 1
        worker.grabbing = True
        worker.grabbed = self._time()
        self._watch(connection)

    def part(self, connection: Connection, worker: WorkerSession) -> None:
        """Take what is kept for a worker, and it can no longer do, away from it.

        It goes back together with what is still on its way, once the table knows of the change.
        """
        kept = deque(each for each in worker.reserved if each[0].function.name in worker.abilities)
        worker.unwanted.extend(job for job, _ in worker.reserved if job.function.name not in worker.abilities)
        worker.reserved = kept
        self._driver.when_settled(partial(self._give_back_unwanted, connection, worker))

    def _give_back_unwanted(self, connection: Connection, worker: WorkerSession) -> None:
        while worker.unwanted:
            self._driver.propose(Unreserve(connection.number, worker.unwanted.pop().number))

    def hold(self, connection: Connection, worker: WorkerSession) -> None:
        """Let a busy worker wait a moment for its next job: it is parked in the table, and answered when one comes."""
        self._driver.propose_while_idle(Park(connection.number))
        connection.waiting += 1
        worker.held = True
        self._held[connection] = self._time() + HOLD_TIME
        if self._release is None:
            self._release = self._loop.call_later(HOLD_TIME, self._release_held)

    def complete(self, commands: Sequence[Command]) -> None:
        """Reserve ahead for the workers that are held, if what is about to be written submits more than one job each.

        Behind the submits, in the same write: by the time that the first jobs are run, the next need not be asked for.
        """
        held = self._held
        if not held or len(commands) <= len(held):
            return
        submitted = [command.function for command in commands if type(command) is Submit and not command.due]
        if len(submitted) <= len(held):
            return
        driver, functions = self._driver, self._gateway.table.functions
        for name, count in Counter(submitted).items():
            function = functions.get(name)
            if function is None or count - len(held) < max(function.workers, 1):
                continue  # where each is woken for one, the table would reserve nothing
            for connection in held:
                worker = connection.worker
                assert worker is not None
                if name in worker.abilities and worker.prefetched <= driver.applied_number:
                    driver.propose_lazily(Prefetch(connection.number, worker.ahead()))
                    worker.prefetched = driver.numbered

    def _release_held(self) -> None:
        self._release = None
        now = self._time()
        while self._held:
            connection, deadline = next(iter(self._held.items()))
            if deadline > now and not self._gateway.draining:
                self._release = self._loop.call_later(deadline - now, self._release_held)
                return
            del self._held[connection]
            assert connection.worker is not None
            self._end_hold(connection, connection.worker)

    def _end_hold(self, connection: Connection, worker: WorkerSession) -> None:
        worker.held = False
        if worker.reserved and not self._gateway.draining:
            self.take_reserved(connection, worker)
        else:
            connection.send(NO_JOB)
        connection.answered()

    def _watch(self, connection: Connection) -> None:
        self._watched[connection] = None
        if self._sweep is None:
            self._sweep = self._loop.call_later(SWEEP_INTERVAL, self._sweep_watched)

    def _sweep_watched(self) -> None:
        self._sweep = None
        now = self._time()
        for connection in list(self._watched):
            worker = connection.worker
            assert worker is not None
            if worker.reserved and now - min(when for _, when in worker.reserved) > RESERVATION_TIME:
                self.give_back(connection, worker)
            if worker.grabbing and now - worker.grabbed > GRAB_PATIENCE:
                worker.grabbing = False
                worker.late += 1
                connection.answer(NO_JOB)
            if not worker.reserved and not worker.grabbing:
                del self._watched[connection]
        if self._watched:
            self._sweep = self._loop.call_later(SWEEP_INTERVAL, self._sweep_watched)
