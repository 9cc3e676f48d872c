"""The connections of a simulated node: effects go out to them, results travel from a worker's node to the listeners'.

A result never enters the table. The worker's node keeps it from WORK_COMPLETE until the listeners' nodes have it. Where
the worker's node is gone before that, the listener's node, which has seen the Finish applied, tells its client so.
"""

from collections.abc import Callable
from typing import Any, Final, Protocol

import msgspec

from cluster.jobs import Created, Effect, Ended, Failed, JobTable, SessionClose
from tests.simulation.schedule import SECOND

RESULT_RESEND: Final = 1 * SECOND


class Result(msgspec.Struct, frozen=True):
    """How a job went, for one listener."""

    sender: str
    node: str
    incarnation: int
    session: int
    job: int


class ResultReceived(msgspec.Struct, frozen=True):
    """The listener's node has it, or has nobody for it any more."""

    result: Result


class Peer(Protocol):
    """A client or worker, as its node sees it."""

    def effect(self, effect: Effect, index: int) -> None: ...
    def result(self, job: int, *, lost: bool) -> None: ...
    def disconnected(self) -> None: ...


class Gateway:
    """The sessions of one process."""

    def __init__(
        self, name: str, send: Callable[[str, Any], None], now: Callable[[], int], after: Callable[..., None]
    ) -> None:
        """`after(0, action)` lets something happen outside of this node, at once."""
        self._name = name
        self._send = send
        self._now = now
        self._after = after
        self.driver: Any = None
        self._numbered = 0
        self.connections: dict[int, Peer] = {}
        self._undelivered: dict[Result, int] = {}
        self._waiting: dict[int, dict[int, None]] = {}
        """Sessions here that wait for a job's end, by job."""
        self._finishers: dict[int, tuple[str, int]] = {}
        """Whose worker finished a job that somebody here still waits for."""
        self._early: set[tuple[int, int]] = set()
        """(job, session) of results that came before this node applied the submit: it lags behind the worker's."""

    def reset(self) -> None:
        """Break all connections."""
        peers = list(self.connections.values())
        self.connections.clear()
        self._waiting.clear()
        self._finishers.clear()
        self._early.clear()
        for peer in peers:
            self._after(0, peer.disconnected)

    def hang_up(self) -> None:
        """Let everybody go to another node: this one cannot serve them now."""
        for number, peer in list(self.connections.items()):
            self.close(number)
            self._after(0, peer.disconnected)

    def connect(self, peer: Peer) -> int:
        """Take a connection in; return its number. The table hears of it when it first matters, by a SessionOpen."""
        self._numbered += 1
        self.connections[self._numbered] = peer
        return self._numbered

    def close(self, number: int) -> None:
        """Note that a connection is gone."""
        if self.connections.pop(number, None) is not None:
            self.driver.propose(SessionClose(number))
            for sessions in self._waiting.values():
                sessions.pop(number, None)

    def deliver(self, effects: list[Effect], index: int) -> None:
        """Tell the sessions what happened at `index`."""
        for effect in effects:
            if type(effect) is Ended:
                self._send_results(effect)
            elif (peer := self.connections.get(effect.session)) is not None:
                if type(effect) is Failed:
                    self._waiting.pop(effect.job.number, None)
                elif type(effect) is Created and any(
                    listener.number == effect.session and listener.node.name == self._name
                    for listener in effect.job.listeners
                ):
                    self._waiting.setdefault(effect.job.number, {})[effect.session] = None
                peer.effect(effect, index)
                if self._early and type(effect) is Created and (effect.job.number, effect.session) in self._early:
                    self._tell(effect.job.number, effect.session, lost=False)

    def _send_results(self, effect: Ended) -> None:
        job = effect.job
        for listener in job.listeners:
            node = listener.node
            result = Result(self._name, node.name, node.incarnation, listener.number, job.number)
            if node.name == self._name:
                self._take(result)
            else:
                self._undelivered[result] = self._now()
                self._send(node.name, result)

    def receive(self, message: Any) -> None:
        """Take a message from another node's gateway."""
        if isinstance(message, Result):
            self._take(message)
            self._send(message.sender, ResultReceived(message))
        elif isinstance(message, ResultReceived):
            self._undelivered.pop(message.result, None)

    def _take(self, result: Result) -> None:
        if result.incarnation == self.driver.incarnation:
            self._tell(result.job, result.session, lost=False)

    def _tell(self, job: int, session: int, *, lost: bool) -> None:
        sessions = self._waiting.get(job)
        if sessions is not None and session in sessions:
            del sessions[session]
            if not sessions:
                del self._waiting[job]
                self._finishers.pop(job, None)
            self.connections[session].result(job, lost=lost)
        elif session in self.connections:
            self._early.add((job, session))

    def finished(self, node: str, incarnation: int, job: int) -> None:
        """Note whose worker had the last word on a job."""
        if job in self._waiting and job not in self.driver.table.jobs:
            self._finishers.setdefault(job, (node, incarnation))

    def tick(self) -> None:
        """Send results again; give up on those whose keeper is gone."""
        now = self._now()
        table: JobTable = self.driver.table
        for result, sent in list(self._undelivered.items()):
            node = table.nodes.get(result.node)
            if node is None or node.incarnation != result.incarnation or not node.up:
                del self._undelivered[result]
            elif now - sent >= RESULT_RESEND:
                self._undelivered[result] = now
                self._send(result.node, result)
        for job, (name, incarnation) in list(self._finishers.items()):
            node = table.nodes[name]
            if job not in table.jobs and (node.incarnation != incarnation or not node.up):
                for session in list(self._waiting.get(job, ())):
                    self._tell(job, session, lost=True)
                self._finishers.pop(job, None)
