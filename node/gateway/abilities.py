"""What the workers of this node say that they can do, and what of it the table did not take.

A worker names a function and waits for no answer. So one that names too many is sent an ERROR for each that is not
taken: here, if it is this connection that has named too many, or by the table, if the cluster has. Not for: what a
worker is given (`assigning`).
"""

from typing import TYPE_CHECKING, Final

from cluster.jobs import Can, Cant, CantAny, Incapable
from node.gateway.connection import Connection
from node.gateway.worker import WorkerSession
from protocol import encode_error

if TYPE_CHECKING:
    from node.gateway.gateway import Gateway

TOO_MANY_HERE: Final = encode_error(b"TOO_MANY_FUNCTIONS", b"This connection has named as many functions as it may")
TOO_MANY: Final = encode_error(b"TOO_MANY_FUNCTIONS", b"The cluster has as many functions as it may have")


class Abilities:
    """The functions that this node's workers name."""

    def __init__(self, gateway: "Gateway", most: int) -> None:
        """`most`: how many functions one connection may name."""
        self._gateway = gateway
        self._driver = gateway.driver
        self._most = most

    def can(self, connection: Connection, function: bytes, time_limit: int) -> None:
        """Take CAN_DO."""
        worker = self._gateway.worker_of(connection)
        abilities = worker.abilities
        if function not in abilities and len(abilities) >= self._most:
            self._gateway.reads.when_settled(connection, lambda: connection.send(TOO_MANY_HERE))
            return
        if time_limit:
            worker.timed = True
        abilities.add(function)
        self._driver.propose_lazily(Can(connection.number, function, time_limit), len(function))
        worker.abilities_number = self._driver.numbered

    def cannot(self, connection: Connection, worker: WorkerSession, function: bytes | None) -> None:
        """Take CANT_DO; with None, RESET_ABILITIES."""
        if function is None:
            worker.abilities.clear()
            self._driver.propose_lazily(CantAny(connection.number))
        else:
            worker.abilities.discard(function)
            self._driver.propose_lazily(Cant(connection.number, function), len(function))
        worker.abilities_number = self._driver.numbered
        self._gateway.assigning.part(connection, worker)

    def incapable(self, effect: Incapable) -> None:
        """Tell a worker that the table did not take what it said."""
        connection = self._gateway.connections.get(effect.session)
        if connection is None or connection.worker is None:
            return
        connection.send(TOO_MANY)
        if not connection.worker.mistaken:
            connection.worker.mistaken = True
            self._driver.when_settled(lambda: self._agree(connection))

    def _agree(self, connection: Connection) -> None:
        """Believe the table, once it knows of all that the worker has said."""
        worker = connection.worker
        session = self._gateway.session_of(connection)
        if connection.closed or worker is None or session is None:
            return
        if worker.abilities_number > self._driver.applied_number:
            self._driver.when_settled(lambda: self._agree(connection))
            return
        worker.mistaken = False
        worker.abilities.intersection_update(session.abilities)
