"""Submits while the cluster takes no new job, because a node is short of memory or disk space (`node.alarms`).

The table would refuse them as well, but behind their workloads, which had gone through the log of every node by then.
So they are refused here, each in its turn: as soon as this node has an alarm, or the table knows of another node's. A
submit that joins a job goes on to the table. Not for: raising alarms (`node.monitor`).
"""

from typing import TYPE_CHECKING, Final

from cluster.jobs import Submit
from node.alarms import described
from node.gateway.connection import Connection
from protocol import encode_error

if TYPE_CHECKING:
    from node.gateway.gateway import Gateway

CODE: Final = b"QUEUE_ERROR"
_OVER: Final = encode_error(CODE, b"A node was short of memory or disk space: try again")


class Shortage:
    """Whether new jobs are taken here, and what is said where they are not."""

    def __init__(self, gateway: "Gateway") -> None:
        self._gateway = gateway
        self._driver = gateway.driver
        self._table = gateway.table

    def __bool__(self) -> bool:
        """Tell whether new jobs are refused."""
        return self._table.alarm is not None or bool(self._driver.alarms)

    def reason(self) -> str | None:
        """Say in a sentence, without its end, which node has too little of what; None: nobody has."""
        alarms, known = self._driver.alarms, self._table.alarm
        if alarms:
            own = alarms[min(alarms)]
            return described(self._driver.name, own.resource, own.found, own.mark)
        if known is None:
            return None
        node, resource = known
        return described(node.name, resource, *node.alarms[resource])

    def refusal(self) -> bytes:
        """Give the ERROR in answer to a submit."""
        reason = self.reason()
        if reason is None:
            return _OVER  # the alarm was cleared behind the submit, in the same entry
        return encode_error(CODE, f"{reason}: no job is taken until that is over".encode())

    def submit(self, connection: Connection, submits: list[Submit]) -> None:
        """Answer submits, behind what this connection is owed: nothing else need be applied first, and may never be."""
        if connection.waiting:
            connection.submitted += sum([len(submit.workload) for submit in submits])
            self._gateway.reads.when_settled(connection, lambda: self._decide(connection, submits))
        else:
            self._decide(connection, submits)

    def _decide(self, connection: Connection, submits: list[Submit]) -> None:
        refusal = self.refusal()
        for position, submit in enumerate(submits):
            if not self or self._table.joins(submit):
                self._gateway.submit(connection, submit)
                if rest := submits[position + 1 :]:
                    # Its answer comes from the table, and theirs are to come after it.
                    self._gateway.reads.when_empty(connection, lambda: self._decide(connection, rest))
                return
            connection.send(refusal)
