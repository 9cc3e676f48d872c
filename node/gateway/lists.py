"""Long answers to text commands: made in pieces, as fast as their readers read, and a little in each turn of the loop.

All lists under way take turns. So many of them at once cost the others' time no more than one does, and a list whose
reader does not read stays where it is: nothing of it is made, and so nothing is held. What a list shows is how things
stand when each row is made; what has gone since the question was asked is left out. Not for: what is in the rows
(`administration`).
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final

from node.gateway.connection import Connection

if TYPE_CHECKING:
    from node.gateway.gateway import Gateway

PIECE: Final = 100
"""Rows that are made of one list at a time."""
TURN: Final = 300
"""Rows that are made of all lists in one turn, at some 5 us each."""
TURN_BYTES: Final = 64 << 10
"""Bytes of rows made in one turn: rows may be long."""
NAMES_FOR_A_ROW: Final = 500
"""How many names are noted down in the time that a row takes."""
NAME_BYTES: Final = 8
"""What a noted name takes: a reference."""
END: Final = b".\n"


class Rows:
    """The rows of one list: those for each of the names, or numbers, there were when it began."""

    __slots__ = ("count", "rows")

    def __init__(self, count: int, rows: Iterator[bytes]) -> None:
        self.count = count
        """How many names were noted down for it."""
        self.rows = rows


class _List:
    __slots__ = ("begin", "connection", "done", "rows")

    def __init__(self, connection: Connection, begin: Callable[[], Rows], done: Callable[[], None]) -> None:
        self.connection = connection
        self.begin = begin
        self.done = done
        self.rows: Rows | None = None
        """None: it has not begun."""


class Lists:
    """The lists that one node's operators are being sent."""

    def __init__(self, gateway: "Gateway") -> None:
        self._gateway = gateway
        self._loop = asyncio.get_running_loop()
        self._ready: deque[_List] = deque()
        """Those whose reader has read what was made so far."""
        self._next: asyncio.Handle | None = None

    def send(self, connection: Connection, begin: Callable[[], Rows], done: Callable[[], None]) -> None:
        """Send a list, beginning with it in a moment; `done` is called once its reader has read nearly all of it."""
        connection.when_writable(partial(self._proceed, _List(connection, begin, done)))

    def _proceed(self, each: _List) -> None:
        self._ready.append(each)
        self._go_on()

    def _go_on(self) -> None:
        if self._ready and self._next is None:
            self._next = self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """Make some pieces, write them, and see whose reader takes more."""
        self._next = None
        rows, size = TURN, TURN_BYTES
        made: list[_List] = []
        over: list[_List] = []
        while self._ready and rows > 0 and size > 0:
            each = self._ready.popleft()
            if each.connection.closed:
                continue
            if each.rows is None:
                each.rows = each.begin()
                each.connection.keep(each.rows.count * NAME_BYTES)
                rows -= each.rows.count // NAMES_FOR_A_ROW
            piece = list(islice(each.rows.rows, PIECE))
            rows -= 1 + len(piece)
            data = b"".join(piece)
            size -= len(data)
            ended = len(piece) < PIECE
            each.connection.send(data + END if ended else data)
            (over if ended else made).append(each)
        self._gateway.flush()
        for each in made:
            each.connection.when_writable(partial(self._proceed, each))
        for each in over:
            each.connection.when_writable(partial(self._end, each))
        self._go_on()

    def _end(self, each: _List) -> None:
        """Let the connection go on; not before its reader has read, as lists cost the others' time."""
        assert each.rows is not None
        each.connection.keep(-each.rows.count * NAME_BYTES)
        each.done()
