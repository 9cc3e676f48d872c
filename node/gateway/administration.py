"""Answers to the text commands of operators.

A long list is made piece by piece, a piece for each turn of the loop, and no faster than the operator reads it.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Final

import protocol as p
from cluster.jobs import Cancel, Command, CreateFunction, DropFunction, Job, SetLimit
from node.configuration import Configuration
from node.gateway.connection import Connection
from node.version import VERSION
from protocol import MAX_FUNCTION, AdminCommand, ok_line

if TYPE_CHECKING:
    from node.gateway.gateway import Gateway

PIECE: Final = 2000
"""Rows of a long list made in one turn."""
END: Final = b".\n"


class Administration:
    """The text protocol's commands."""

    def __init__(self, gateway: "Gateway", configuration: Configuration) -> None:
        self._gateway = gateway
        self._table = gateway.table
        self._version = VERSION.encode()
        self._log_level = str(configuration.log_level).upper().encode()
        self._plain: dict[type[AdminCommand], Callable[[], bytes]] = {
            p.Version: lambda: ok_line(self._version),
            p.Verbose: lambda: ok_line(self._log_level),
            p.GetPid: lambda: ok_line(os.getpid()),
        }
        self._lists: dict[type[AdminCommand], Callable[[], Iterator[bytes]]] = {
            p.Status: self._status,
            p.PriorityStatus: self._priority_status,
            p.Workers: self._workers,
            p.ShowJobs: self._show_jobs,
            p.ShowUniqueJobs: self._show_unique_jobs,
        }

    def answer(self, connection: Connection, command: AdminCommand) -> None:
        """Answer one command, in its turn."""
        kind = type(command)
        if kind in self._plain:
            connection.send(self._plain[kind]())
        elif kind in self._lists:
            self._list(connection, self._lists[kind])
        elif isinstance(command, p.ShowMaxQueue):
            self._list(connection, lambda: self._limits(command.function))
        else:
            self._change(connection, _change(connection.number, command))

    def _change(self, connection: Connection, change: Command) -> None:
        """Bring a change before the table; one that depends on which jobs there are, once it knows of all ends."""
        connection.waiting += 1
        if not isinstance(change, Cancel | DropFunction):
            self._gateway.driver.propose(change, MAX_FUNCTION)
            return

        def known() -> None:
            connection.reading_table = False
            self._gateway.driver.propose(change, MAX_FUNCTION)

        connection.reading_table = True
        self._gateway.reads.when_all_known(known)

    def _list(self, connection: Connection, rows: Callable[[], Iterator[bytes]]) -> None:
        """Send a list once the table knows what was asked before, and let nothing overtake it."""
        connection.waiting += 1
        connection.reading_table = True
        self._gateway.reads.when_all_known(lambda: self._send_piece(connection, rows()))

    def _send_piece(self, connection: Connection, rows: Iterator[bytes]) -> None:
        if connection.closed:
            return
        piece = list(islice(rows, PIECE))
        connection.send(b"".join(piece))
        if len(piece) < PIECE:
            connection.send(END)
            connection.when_writable(lambda: self._end_list(connection))  # not before: lists cost the others' time
        else:
            connection.when_writable(lambda: self._send_piece(connection, rows))

    def _end_list(self, connection: Connection) -> None:
        connection.reading_table = False
        connection.answered()

    # -- lists --------------------------------------------------------------------------------------------------------

    def _status(self) -> Iterator[bytes]:
        functions = self._table.functions
        for name in list(functions):
            if (function := functions.get(name)) is not None:
                yield _row((name, function.total, function.running, function.workers))

    def _priority_status(self) -> Iterator[bytes]:
        functions = self._table.functions
        for name in list(functions):
            if (function := functions.get(name)) is not None:
                yield _row((name, *function.pending, function.workers))

    def _limits(self, wanted: bytes | None) -> Iterator[bytes]:
        functions = self._table.functions
        for name in list(functions) if wanted is None else [wanted]:
            if (function := functions.get(name)) is not None and (wanted is not None or any(function.limits)):
                yield _row(p.limits_row(name, function.limits))

    def _workers(self) -> Iterator[bytes]:
        """List this node's connections, then what the table knows of the other nodes': those that work or listen."""
        here = self._gateway.driver.name
        sessions = self._table.nodes[here].sessions
        for number, connection in list(self._gateway.connections.items()):
            session = sessions.get(number)
            abilities = list(session.abilities) if session is not None else []
            yield _row(p.worker_row(number, connection.peer, connection.client_id, abilities))
        for node in list(self._table.nodes.values()):
            if node.name != here and node.up:
                for number, session in list(node.sessions.items()):
                    yield _row(p.worker_row(number, session.peer, session.client_id, list(session.abilities)))

    def _show_jobs(self) -> Iterator[bytes]:
        for job in self._jobs():
            yield _row((job.handle, job.attempts, 0, int(job.background)))

    def _show_unique_jobs(self) -> Iterator[bytes]:
        for job in self._jobs():
            yield _row((job.unique,))

    def _jobs(self) -> Iterator[Job]:
        jobs = self._table.jobs
        for number in list(jobs):
            if (job := jobs.get(number)) is not None:
                yield job


def _row(cells: Iterable[bytes | str | int]) -> bytes:
    return p.table([cells]).removesuffix(END)


def _change(session: int, command: AdminCommand) -> Command:
    if isinstance(command, p.CancelJob):
        return Cancel(session, command.handle)
    if isinstance(command, p.CreateFunction):
        return CreateFunction(session, command.function)
    if isinstance(command, p.DropFunction):
        return DropFunction(session, command.function)
    assert isinstance(command, p.MaxQueue), command
    high, normal, low = (limit or 0 for limit in command.limits or (0, 0, 0))
    return SetLimit(session, command.function, high, normal, low)
