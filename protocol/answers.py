"""What a server writes in answer to text commands, with gearmand's own habits of CR LF and LF.

`OK` alone and every `ERR` end in CR LF, `OK` with a value in LF, tables in LF with a line that is a single dot at
their end. Clients depend on it: some read up to CR LF.
"""

from collections.abc import Iterable
from typing import Final

Limits = tuple[int | None, int | None, int | None]
"""The most jobs that a function's queue may hold for a high, normal and low one to be taken; None is no limit."""


def ok_line(value: bytes | str | int | None = None) -> bytes:
    """Return `OK`, with a value if there is one."""
    return b"OK\r\n" if value is None else b"OK %b\n" % _cell(value)


def error_line(code: bytes, text: bytes = b"") -> bytes:
    """Return `ERR CODE text`, the words of the text joined by `+` as gearmand does."""
    return b"ERR %b %b\r\n" % (code, text.replace(b" ", b"+")) if text else b"ERR %b\r\n" % code


UNKNOWN_JOB: Final = error_line(b"UNKNOWN_JOB")
"""To `cancel job` with a handle of no job."""
FUNCTION_NOT_FOUND: Final = error_line(b"function not found")
"""To `drop function` with a name that is not known."""
FUNCTION_IN_USE: Final = error_line(b"there are still connected workers or executing clients")
"""To `drop function` while workers have it or jobs of it run."""
FUNCTION_HAS_JOBS: Final = error_line(b"there are still queued jobs")
"""To `drop function` while jobs of it wait: gearmand says OK and loses them."""
TOO_MANY_FUNCTIONS: Final = error_line(b"TOO_MANY_FUNCTIONS", b"There may be no further function")
"""To `create function` and `maxqueue` with a name that would be one too many."""


def table(rows: Iterable[Iterable[bytes | str | int]]) -> bytes:
    """Return rows of cells with tabs between them, and the dot that ends a table.

    A tab or a line break in a cell, or a row that is a lone dot, would break the table: they are shown with a
    backslash.
    """
    lines = [_line(row) for row in rows]
    lines.append(b".\n")
    return b"\n".join(lines)


def worker_row(descriptor: int, address: str, client_id: bytes, functions: Iterable[bytes]) -> tuple[bytes]:
    """Return the row of one connection in the table of `workers`; an empty id is shown as `-`."""
    names = b"".join(b" " + name for name in functions)
    return (b"%d %b %b :%b" % (descriptor, address.encode(), client_id or b"-", names),)


def limits_row(function: bytes, limits: Limits) -> tuple[bytes, int, int, int]:
    """Return the row of one function in the table of `show maxqueue`: high, normal, low, 0 for no limit.

    The numbers are those that `maxqueue` takes to set the same limits again.
    """
    high, normal, low = limits
    return function, high or 0, normal or 0, low or 0


def _line(row: Iterable[bytes | str | int]) -> bytes:
    line = b"\t".join([_cell(cell) for cell in row])
    if b"\n" in line or b"\r" in line:
        line = line.replace(b"\n", rb"\n").replace(b"\r", rb"\r")
    return rb"\." if line == b"." else line


def _cell(value: bytes | str | int) -> bytes:
    if isinstance(value, bytes):
        return value.replace(b"\t", rb"\t") if b"\t" in value else value
    return str(value).encode()
