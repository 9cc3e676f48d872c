"""Answers to the text commands of operators, and the rows of the lists among them.

Not for: when the rows are made and sent (`lists`).
"""

import os
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import protocol as p
from cluster.jobs import Cancel, Command, CreateFunction, DropFunction, Function, Job, JobTable, SetLimit
from node.configuration import Configuration
from node.gateway.connection import Connection
from node.gateway.lists import END, PIECE, Lists, Rows
from node.version import VERSION
from protocol import MAX_FUNCTION, AdminCommand, ok_line

if TYPE_CHECKING:
    from node.gateway.gateway import Gateway


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
        self._jobs = _Jobs(gateway.table)
        self._long = Lists(gateway)
        self._lists: dict[type[AdminCommand], Callable[[], Rows]] = {
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

    def _list(self, connection: Connection, begin: Callable[[], Rows]) -> None:
        """Send a list once the table knows what was asked before, and let nothing overtake it."""
        connection.waiting += 1
        connection.reading_table = True

        def end() -> None:
            connection.reading_table = False
            connection.answered()

        self._gateway.reads.when_all_known(lambda: self._long.send(connection, begin, end))

    # -- lists --------------------------------------------------------------------------------------------------------

    def _of_functions(self, names: list[bytes], row: Callable[[bytes, Function], bytes | None]) -> Rows:
        functions = self._table.functions

        def rows() -> Iterator[bytes]:
            for name in names:
                if (function := functions.get(name)) is not None and (line := row(name, function)) is not None:
                    yield line

        return Rows(len(names), rows())

    def _status(self) -> Rows:
        return self._of_functions(
            list(self._table.functions),
            lambda name, function: _row((name, function.total, function.running, function.workers)),
        )

    def _priority_status(self) -> Rows:
        return self._of_functions(
            list(self._table.functions),
            lambda name, function: _row((name, *function.pending, function.workers)),
        )

    def _limits(self, wanted: bytes | None) -> Rows:
        names = list(self._table.functions) if wanted is None else [wanted]

        def row(name: bytes, function: Function) -> bytes | None:
            shown = wanted is not None or any(function.limits)
            return _row(p.limits_row(name, function.limits)) if shown else None

        return self._of_functions(names, row)

    def _workers(self) -> Rows:
        """List this node's connections, then what the table knows of the other nodes': those that work or listen."""
        driver, connections = self._gateway.driver, self._gateway.connections
        sessions = self._table.nodes[driver.name].sessions
        here = list(connections)
        elsewhere = [
            (node, list(node.sessions)) for node in self._table.nodes.values() if node.name != driver.name and node.up
        ]

        def rows() -> Iterator[bytes]:
            for number in here:
                if (connection := connections.get(number)) is not None:
                    session = sessions.get(number)
                    abilities = list(session.abilities) if session is not None else []
                    yield _row(p.worker_row(number, connection.peer, connection.client_id, abilities))
            for node, numbers in elsewhere:
                for number in numbers:
                    if (session := node.sessions.get(number)) is not None:
                        yield _row(p.worker_row(number, session.peer, session.client_id, list(session.abilities)))

        return Rows(len(here) + sum(len(numbers) for _, numbers in elsewhere), rows())

    def _show_jobs(self) -> Rows:
        return Rows(0, (_row((job.handle, job.attempts, 0, int(job.background))) for job in self._jobs.each()))

    def _show_unique_jobs(self) -> Rows:
        return Rows(0, (_row((job.unique,)) for job in self._jobs.each()))


class _Jobs:
    """The jobs of the table for lists that take many turns: their numbers are noted down once, for all such lists."""

    def __init__(self, table: JobTable) -> None:
        self._table = table
        self._numbers: list[int] = []
        """In order. Some of these jobs may have ended."""
        self._last = 0
        """The number of the newest job when they were noted down."""
        self._lists = 0
        """How many lists are under way."""

    def each(self) -> Iterator[Job]:
        """Give the jobs that are in the table now, in order, as far as each is still there in its turn."""
        jobs, last, number = self._table.jobs, self._table.last_job, 0
        self._lists += 1
        try:
            self._note(last)
            while some := self._after(number, last):
                for number in some:
                    if (job := jobs.get(number)) is not None:
                        yield job
        finally:
            self._lists -= 1
            if not self._lists:
                self._numbers, self._last = [], 0

    def _note(self, last: int) -> None:
        jobs, numbers = self._table.jobs, self._numbers
        if last - self._last > len(jobs) // 8 or len(numbers) > 2 * len(jobs):
            self._numbers = list(jobs)  # 10 ms for a million
        else:
            numbers.extend([number for number in range(self._last + 1, last + 1) if number in jobs])
        self._last = last

    def _after(self, number: int, last: int) -> list[int]:
        numbers = self._numbers
        position = bisect_right(numbers, number)
        some = numbers[position : position + PIECE]
        return some[: bisect_right(some, last)]


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
