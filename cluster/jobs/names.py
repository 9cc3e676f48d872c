"""Which functions there are, who can do them, and what is set for them.

A name is kept for as long as it stands for something: a job, a worker, or a setting. How many there may be at a time is
part of the table, so that all nodes refuse the same ones. Not for: jobs (`lifecycle`), or who is given one.
"""

from typing import Final

from cluster.jobs import commands as c
from cluster.jobs.departures import Departures
from cluster.jobs.effects import Incapable, Outcome
from cluster.jobs.functions import NO_LIMITS, Function
from cluster.jobs.sessions import Node

ABILITIES: Final = 10
"""How many functions all sessions together can do at most, for each function that there may be: many connections which
name the same functions cost as much as one that names as many."""


class Names(Departures):
    """The jobs of the cluster, the sessions, and the functions that they name."""

    def __init__(self) -> None:
        super().__init__()
        self.last_settings = 0
        """The serial number of the newest function with settings."""
        self.max_functions = 0
        """How many functions there may be; 0: any number."""

    def _make_function(self, name: bytes) -> Function | None:
        """Give the function of this name, a new one if need be; None: there are too many."""
        function = self.functions.get(name)
        if function is None:
            if 0 < self.max_functions <= len(self.functions):
                return None
            function = self.functions[name] = Function(name)
        return function

    def _can(self, node: Node, command: c.Can) -> None:
        session = node.sessions.get(command.session)
        if session is None:
            return
        name = command.function
        if name not in session.abilities:
            most = self.max_functions * ABILITIES
            function = self._make_function(name) if not 0 < most <= self.abilities else None
            if function is None:
                if node.audible:
                    node.effects.append(Incapable(command.session, name))
                return
            session.page.change()
            self.abilities += 1
            session.abilities[function.name] = session.served
            session.served += 1
            function.workers += 1
            if session.parked:
                function.add_sleeper(session.parked, self.asleep)
        if command.time_limit != session.limits.get(name, 0):
            session.page.change()
            if command.time_limit:
                session.limits[self.functions[name].name] = command.time_limit
            else:
                del session.limits[name]

    def _cant(self, node: Node, command: c.Cant) -> None:
        session = node.sessions.get(command.session)
        if session is not None and command.function in session.abilities:
            session.page.change()
            del session.abilities[command.function]
            self._disable(session, command.function)

    def _cant_any(self, node: Node, command: c.CantAny) -> None:
        session = node.sessions.get(command.session)
        if session is not None:
            self._disable_all(session)

    def _configure(
        self, name: bytes, *, limits: tuple[int, int, int] | None = None, created: bool | None = None
    ) -> Outcome:
        """Change the settings of a function, and keep its name for as long as it has any."""
        function = self._make_function(name)
        if function is None:
            return Outcome.TOO_MANY_FUNCTIONS
        if function.serial:
            self.changes.settings_page(function.serial).change()
        if limits is not None:
            function.limits = limits if any(limits) else NO_LIMITS
        if created is not None:
            function.created = created
        has_any = function.created or function.limits is not NO_LIMITS
        if has_any and not function.serial:
            function.serial = self.last_settings = self.last_settings + 1
            self.changes.settings_page(function.serial).add(function.serial, function)
        elif function.serial and not has_any:
            self.changes.settings_page(function.serial).remove(function.serial)
            function.serial = 0
        self._forget_if_idle(function)
        return Outcome.DONE
