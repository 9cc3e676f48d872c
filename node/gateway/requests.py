"""What clients and workers ask for: packets become commands, or are answered at once where the table need not be asked.

Every function takes the connection and the packet's arguments, which the decoder has found well-formed. Not for: the
reports of workers on their jobs (`node.gateway.reports`).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from cluster.jobs import HIGH, LOW, NORMAL, Command, Grab, Identify, Job, Park, Submit
from node.driver import PART
from node.gateway.connection import Connection
from node.gateway.worker import NO_JOB, NOOP
from protocol import Fault, PacketType, encode_error, encode_response, option_name, parse_epoch, parse_timeout

if TYPE_CHECKING:
    from node.gateway.gateway import Gateway

Handler = Callable[[Connection, list[bytes]], None]
RunHandler = Callable[[Connection, list[list[bytes]]], int]
"""Tells how many of the packets it has seen to; the others come again once all that it did see to is answered."""

_UNKNOWN_OPTION: Final = encode_error(b"UNKNOWN_OPTION", b"Server does not recognize given option")


def handlers(gateway: "Gateway") -> tuple[dict[PacketType, Handler], dict[PacketType, RunHandler]]:
    """Give the function for each packet type that is a request; apart, those for the types that come in runs.

    The latter take the arguments of packets that came one after the other: clients that do not wait for each answer
    submit like that, and what is done once for all of them need not be done for each.
    """
    asking = _Requests(gateway)
    runs = {
        PacketType.SUBMIT_JOB: asking.submitter(NORMAL, background=False),
        PacketType.SUBMIT_JOB_HIGH: asking.submitter(HIGH, background=False),
        PacketType.SUBMIT_JOB_LOW: asking.submitter(LOW, background=False),
        PacketType.SUBMIT_JOB_BG: asking.submitter(NORMAL, background=True),
        PacketType.SUBMIT_JOB_HIGH_BG: asking.submitter(HIGH, background=True),
        PacketType.SUBMIT_JOB_LOW_BG: asking.submitter(LOW, background=True),
    }
    single = {
        PacketType.SUBMIT_JOB_EPOCH: asking.submit_epoch,
        PacketType.SUBMIT_REDUCE_JOB: asking.submit_reduce,
        PacketType.SUBMIT_REDUCE_JOB_BACKGROUND: asking.submit_reduce_background,
        PacketType.GET_STATUS: asking.get_status,
        PacketType.GET_STATUS_UNIQUE: asking.get_status_unique,
        PacketType.ECHO_REQ: asking.echo,
        PacketType.OPTION_REQ: asking.option,
        PacketType.SET_CLIENT_ID: asking.set_client_id,
        PacketType.CAN_DO: asking.can_do,
        PacketType.CAN_DO_TIMEOUT: asking.can_do_timeout,
        PacketType.CANT_DO: asking.cant_do,
        PacketType.RESET_ABILITIES: asking.reset_abilities,
        PacketType.PRE_SLEEP: asking.pre_sleep,
        PacketType.GRAB_JOB: asking.grabber(PacketType.GRAB_JOB),
        PacketType.GRAB_JOB_UNIQ: asking.grabber(PacketType.GRAB_JOB_UNIQ),
        PacketType.GRAB_JOB_ALL: asking.grabber(PacketType.GRAB_JOB_ALL),
    }
    return single, runs


class _Requests:
    def __init__(self, gateway: "Gateway") -> None:
        self._gateway = gateway
        self._driver = gateway.driver
        self._table = gateway.table
        self._on_their_way: dict[bytes, int] = {}
        """For each function: the number of the last job submitted here."""

    # -- clients ------------------------------------------------------------------------------------------------------

    def submitter(self, priority: int, *, background: bool) -> RunHandler:
        """Make the function for one of the six plain submits."""
        gateway, driver, on_their_way = self._gateway, self._driver, self._on_their_way
        shortage = gateway.shortage

        def submit(connection: Connection, run: list[list[bytes]]) -> int:
            if not (background or connection.opened):
                gateway.open_session(connection)
            session = connection.number
            if shortage:
                submits = [Submit(session, name, unique, data, priority, background) for name, unique, data in run]
                shortage.submit(connection, submits)
                return len(run)
            number = driver.numbered
            commands: list[Command] = []
            size = 0
            for function, unique, workload in run:
                more = size + len(function) + len(unique) + len(workload)
                if more > PART:
                    break
                size = more
                number += 1
                commands.append(Submit(session, function, unique, workload, priority, background))
                on_their_way[function] = number
            if not commands:  # the first one alone is too large
                function, unique, workload = run[0]
                self._submit(connection, Submit(session, function, unique, workload, priority, background))
                return 1
            connection.waiting += len(commands)
            connection.submitted += size
            driver.propose_all(commands, size)
            return len(commands)

        return submit

    def submit_epoch(self, connection: Connection, args: list[bytes]) -> None:
        function, unique, epoch, workload = args
        due = parse_epoch(epoch)
        if isinstance(due, Fault):
            self._refuse(connection, due)
            return
        self._submit(connection, Submit(connection.number, function, unique, workload, NORMAL, True, due * 1000))  # noqa: FBT003 - array-like struct, positional

    def submit_reduce(self, connection: Connection, args: list[bytes]) -> None:
        function, unique, reducer, _, workload = args
        self._gateway.open_session(connection)
        self._submit(connection, Submit(connection.number, function, unique, workload, NORMAL, False, 0, reducer))  # noqa: FBT003 - as above

    def submit_reduce_background(self, connection: Connection, args: list[bytes]) -> None:
        function, unique, reducer, _, workload = args
        self._submit(connection, Submit(connection.number, function, unique, workload, NORMAL, True, 0, reducer))  # noqa: FBT003 - as above

    def _submit(self, connection: Connection, command: Submit) -> None:
        if self._gateway.shortage:
            self._gateway.shortage.submit(connection, [command])
            return
        connection.submitted += len(command.workload)
        self._gateway.submit(connection, command)

    def _refuse(self, connection: Connection, fault: Fault) -> None:
        """Answer a request that is not fit for the table, in its turn."""
        self._gateway.reads.when_settled(connection, lambda: connection.send(encode_error(fault.code, fault.text)))

    def get_status(self, connection: Connection, args: list[bytes]) -> None:
        handle = args[0]

        def answer(job: Job | None) -> None:
            if job is None:
                values = [b"0"] * 4
            else:
                numerator, denominator = self._gateway.progress.get(job.number, (job.numerator, job.denominator))
                values = [b"1", b"%d" % job.runs, b"%d" % numerator, b"%d" % denominator]
            connection.send(encode_response(PacketType.STATUS_RES, handle, *values))

        self._gateway.reads.when_known(connection, lambda: self._table.find(handle), answer)

    def get_status_unique(self, connection: Connection, args: list[bytes]) -> None:
        unique = args[0]

        def answer(job: Job | None) -> None:
            if job is None:
                values = [b"0"] * 5
            else:
                numerator, denominator = self._gateway.progress.get(job.number, (job.numerator, job.denominator))
                waiting = len(job.listeners) + self._gateway.telling.repeats(job)
                numbers = (1, job.runs, numerator, denominator, waiting)
                values = [b"%d" % number for number in numbers]
            connection.send(encode_response(PacketType.STATUS_RES_UNIQUE, unique, *values))

        self._gateway.reads.when_known(connection, lambda: self._table.find_unique(unique) if unique else None, answer)

    def echo(self, connection: Connection, args: list[bytes]) -> None:
        connection.send(encode_response(PacketType.ECHO_RES, args[0]))

    def option(self, connection: Connection, args: list[bytes]) -> None:
        if option_name(args[0]) == b"exceptions":
            connection.exceptions = True
            connection.send(encode_response(PacketType.OPTION_RES, args[0]))
        else:
            connection.send(_UNKNOWN_OPTION)

    # -- workers ------------------------------------------------------------------------------------------------------

    def set_client_id(self, connection: Connection, args: list[bytes]) -> None:
        connection.client_id = args[0]
        self._gateway.worker_of(connection)
        self._driver.propose_lazily(Identify(connection.number, args[0]), len(args[0]))

    def can_do(self, connection: Connection, args: list[bytes]) -> None:
        self._gateway.abilities.can(connection, args[0], 0)

    def can_do_timeout(self, connection: Connection, args: list[bytes]) -> None:
        time_limit = parse_timeout(args[1])
        if isinstance(time_limit, Fault):
            self._refuse(connection, time_limit)
        else:
            self._gateway.abilities.can(connection, args[0], time_limit or 0)

    def cant_do(self, connection: Connection, args: list[bytes]) -> None:
        if connection.worker is not None:
            self._gateway.abilities.cannot(connection, connection.worker, args[0])

    def reset_abilities(self, connection: Connection, args: list[bytes]) -> None:  # noqa: ARG002 - one shape for all
        if connection.worker is not None:
            self._gateway.abilities.cannot(connection, connection.worker, None)

    def pre_sleep(self, connection: Connection, args: list[bytes]) -> None:  # noqa: ARG002 - one shape for all
        gateway, driver = self._gateway, self._driver
        worker = gateway.worker_of(connection)
        if worker.reserved and not gateway.draining:
            connection.send(NOOP)
            return
        worker.asleep = True
        if gateway.draining:
            return  # it would be woken for jobs that it is not to get, again and again
        if worker.abilities_number > driver.applied_number or self._may_find(connection):
            driver.propose(Park(connection.number))
            connection.waiting += 1
            driver.when_settled(connection.answered)
        else:
            driver.propose_while_idle(Park(connection.number))

    def _may_find(self, connection: Connection) -> bool:
        """Tell whether the table, as this node has it, has a job for the connection."""
        session = connection.session or self._gateway.session_of(connection)
        return session is not None and self._table.waiting.best_priority(session) is not None

    def _may_find_soon(self, connection: Connection) -> bool:
        """Tell whether a job for the connection is on its way to the table: then the table is asked, behind it."""
        applied = self._driver.applied_number
        submitted = self._on_their_way
        if applied == self._driver.numbered:
            submitted.clear()
            return False
        session = self._gateway.session_of(connection)
        abilities = session.abilities if session is not None else ()
        if len(abilities) <= len(submitted):
            return any(submitted.get(name, 0) > applied for name in abilities)
        return any(number > applied for name, number in submitted.items() if name in abilities)

    def grabber(self, form: PacketType) -> Handler:
        """Make the function for one of the three ways to ask for a job."""
        gateway, driver, table = self._gateway, self._driver, self._table

        def grab(connection: Connection, args: list[bytes]) -> None:  # noqa: ARG001 - one shape for all
            worker = connection.worker
            if worker is None or gateway.draining:
                connection.send(NO_JOB)
                return
            worker.form = form
            worker.asleep = False
            reserved = worker.reserved
            if reserved:
                # A better job that came since is not kept waiting behind one that was reserved ahead.
                priority = reserved[0][0].priority
                if not (any(table.waiting.ready[:priority]) and self._finds_better(connection, priority)):
                    gateway.assigning.take_reserved(connection, worker)
                    return
            elif worker.abilities_number <= driver.applied_number and not self._may_find(connection):
                if worker.busy:
                    gateway.assigning.hold(connection, worker)
                    return
                if not self._may_find_soon(connection):
                    connection.send(NO_JOB)
                    return
            driver.propose(Grab(connection.number, 0 if reserved else worker.ahead()))
            gateway.assigning.grab(connection, worker)

        return grab

    def _finds_better(self, connection: Connection, priority: int) -> bool:
        session = self._gateway.session_of(connection)
        best = self._table.waiting.best_priority(session) if session is not None else None
        return best is not None and best < priority
