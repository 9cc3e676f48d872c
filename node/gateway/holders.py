"""Ask the nodes whose workers hold jobs which of these have ended: the log may not say so yet.

Clients get a result from the worker's node directly, before the command that ends the job is in the log. So for a
moment the table holds a job whose end a client knows. Whoever must not be misled by that asks the worker's node: it
answers which jobs have ended, and the number of its last command that ends one. It proposes what it has gathered at
once, and the asking node waits until it has applied that number.

Nobody asks about a job of this node's own workers: this node knows their ends, and its commands are applied in the
order in which it proposed them. Questions and answers travel behind the reports of the same worker (`node.relay`), so a
result that was sent before the answer has arrived before it. A node that does not answer is declared down after a
while, unless only the link to it is lost: then a read is answered in the end from what the table knows. Not for: what
becomes of a submit (`joins`), or of a read.
"""

import enum
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from cluster.jobs import Node
from node.relay import Answer, Query

if TYPE_CHECKING:
    from node.gateway.gateway import Gateway

NO_JOB: Final = 0
"""A job number that no job has: asks for the ends there have been so far."""
TIMEOUTS: Final = 2
"""How many times the node timeout a question waits before the operator is warned, and a read is answered without: a
node that is silent for the cluster is declared down in half of it."""

log = structlog.get_logger()


class Verdict(enum.Enum):
    """What is known of a job now that was not when the question was asked."""

    RUNS = enum.auto()
    """It had not ended on that node when the question arrived there."""
    APPLIED = enum.auto()
    """It had ended there, or that incarnation of the node is over. Either way the table here knows all of it by now."""
    UNANSWERED = enum.auto()
    """The node has not answered for so long that whoever asked is not to wait longer."""


Then = Callable[[Verdict], None]


class _Question(NamedTuple):
    job: int
    session: int
    asked: float
    """When, by the loop's clock."""
    then: Then


class _Asked:
    """What one incarnation of another node is asked."""

    __slots__ = ("answered", "gathered", "incarnation", "sent", "warned")

    def __init__(self, incarnation: int) -> None:
        self.incarnation = incarnation
        self.answered: deque[tuple[int, Then]] = deque()
        """The number of a command, and what to call once it is applied here. The numbers never fall."""
        self.gathered: list[_Question] = []
        """For the next query."""
        self.sent: dict[int, list[_Question]] = {}
        """For each query that is not answered."""
        self.warned = False
        """Whether the operator knows that it does not answer."""


class Holders:
    """The questions that one node asks the others, and its answers to theirs."""

    def __init__(self, gateway: "Gateway", timeout: float) -> None:
        """`timeout`: seconds of silence after which a node is declared down."""
        self._gateway = gateway
        self._patience = TIMEOUTS * timeout
        self._driver = gateway.driver
        self._table = gateway.table
        self._number = 0
        self._asked: dict[str, _Asked] = {}
        self._known: list[Then] = []
        """What to call now: the table here knows all there is to know."""
        self._later: list[tuple[str, int, _Question]] = []
        """What is to be asked again, of which incarnation of which node."""
        self._applied = 0
        """How far the log was applied here when the last of these was put off."""
        self.unsent = False
        """Whether a query has gathered: `send` is to follow."""

    @property
    def busy(self) -> bool:
        """Tell whether any question has no verdict yet: then `check` is to be called."""
        return bool(self._asked or self._known or self._later)

    # -- asking -------------------------------------------------------------------------------------------------------

    def ask(self, node: str, incarnation: int, job: int, session: int, then: Then) -> None:
        """Ask whether a worker of this node has ended a job.

        `session`, if not 0, is to be sent what the worker says of the job from then on; such a question waits for as
        long as it takes. `then` is called later, once.
        """
        self._ask(node, incarnation, _Question(job, session, self._gateway.time(), then))

    def ask_again(self, node: str, incarnation: int, job: int, session: int, then: Then) -> None:
        """Ask once more what is known to have ended there, and is here as if it had not: one of the two lags behind.

        Not before more of the log is applied here, or some time has passed: until then the answer would be the same.
        """
        self._applied = self._driver.raft.applied_index
        self._later.append((node, incarnation, _Question(job, session, self._gateway.time(), then)))

    def _ask(self, node: str, incarnation: int, question: _Question) -> None:
        self._gateway.flush_later()
        if self._is_over(node, incarnation):
            self._known.append(question.then)
            return
        asked = self._asked.get(node)
        if asked is None or asked.incarnation != incarnation:
            if asked is not None:
                self._let_go(asked)
            asked = self._asked[node] = _Asked(incarnation)
        asked.gathered.append(question)
        self.unsent = True

    def settle(self, then: Callable[[], None]) -> None:
        """Call back once every end is applied here that a client anywhere may know of now."""
        here = self._driver.name
        others = [node for node in self._table.nodes.values() if node.up and node.name != here]
        left = len(others)

        def one_more(_: Verdict) -> None:
            nonlocal left
            left -= 1
            if not left:
                then()

        for node in others:
            self.ask(node.name, node.incarnation, NO_JOB, 0, one_more)
        if not others:
            then()

    def send(self) -> None:
        """Send the queries that have gathered."""
        self.unsent = False
        for node, asked in self._asked.items():
            if asked.gathered:
                self._number += 1
                asked.sent[self._number] = asked.gathered
                jobs = list(dict.fromkeys((each.job, each.session) for each in asked.gathered))
                asked.gathered = []
                self._gateway.relay.put(node, asked.incarnation, Query(self._number, jobs))

    def answered(self, node: str, incarnation: int, answer: Answer) -> None:
        """Take another node's answer."""
        asked = self._asked.get(node)
        if asked is None or asked.incarnation != incarnation:
            return
        ended = frozenset(answer.ended)
        asked.warned = False
        for question in asked.sent.pop(answer.number, ()):
            if question.job in ended:
                asked.answered.append((answer.last, question.then))
            else:
                question.then(Verdict.RUNS)
        self.check()

    def tick(self) -> None:
        """Let no read wait for long for a node that does not answer, and tell the operator of the node."""
        self._ask_once_more()
        overdue = self._gateway.time() - self._patience
        for node, asked in list(self._asked.items()):
            late = [each for sent in asked.sent.values() for each in sent if each.asked < overdue]
            if not late:
                continue
            if not asked.warned:
                asked.warned = True
                cure = (
                    "see that the two reach each other's mesh port; submits of keys whose jobs run there have to wait"
                )
                log.warning("node_does_not_answer", node=node, seconds=self._patience, cure=cure)
            for number, sent in list(asked.sent.items()):
                waiting = [each for each in sent if each.session or each.asked >= overdue]
                if waiting:
                    asked.sent[number] = waiting
                else:
                    del asked.sent[number]
            for each in late:
                if not each.session:
                    each.then(Verdict.UNANSWERED)

    def check(self) -> None:
        """Call back for what the table knows by now: to be called when something has been applied."""
        if self._later and self._driver.raft.applied_index > self._applied:
            self._ask_once_more()
        for node, asked in list(self._asked.items()):
            if self._is_over(node, asked.incarnation):
                del self._asked[node]
                self._let_go(asked)
                continue
            answered, last = asked.answered, self._table.nodes[node].last
            while answered and answered[0][0] <= last:
                self._known.append(answered.popleft()[1])
            if not (answered or asked.gathered or asked.sent):
                del self._asked[node]
        known, self._known = self._known, []
        for then in known:
            then(Verdict.APPLIED)

    def _ask_once_more(self) -> None:
        later, self._later = self._later, []
        for node, incarnation, question in later:
            self._ask(node, incarnation, question)

    def _is_over(self, node: str, incarnation: int) -> bool:
        known = self._table.nodes.get(node)
        return known is None or not known.up or known.incarnation != incarnation

    def _let_go(self, asked: _Asked) -> None:
        """Note that an incarnation is over: the table knows what there is to know of its jobs."""
        self._known += [then for _, then in asked.answered]
        self._known += [question.then for sent in asked.sent.values() for question in sent]
        self._known += [question.then for question in asked.gathered]

    def reset(self) -> None:
        """Forget every question: nobody here waits for an answer any more."""
        self._asked.clear()
        self._known.clear()
        self._later.clear()
        self.unsent = False

    # -- answering ----------------------------------------------------------------------------------------------------

    def queried(self, node: str, incarnation: int, query: Query) -> None:
        """Answer another node."""
        known: Node | None = self._table.nodes.get(node)
        if known is not None and known.incarnation > incarnation:
            return  # it asks no more
        telling = self._gateway.telling
        ended = []
        for job, session in query.jobs:
            if self._has_ended(job):
                ended.append(job)
            elif session:
                telling.expect(job, node, incarnation, session)
        self._driver.expedite()
        self._gateway.relay.put(node, incarnation, Answer(query.number, ended, telling.last_end))

    def _has_ended(self, job: int) -> bool:
        """Tell whether a job has ended that another node's table has in the hands of a worker here.

        A job that is not in the table here, and was, has. One that this node's table does not know yet, or not yet as
        held here, has not: this node lags behind the one that asks.
        """
        return job in self._gateway.telling.endings or (job not in self._table.jobs and job <= self._table.last_job)
