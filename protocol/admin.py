"""The text protocol's commands: one frozen struct for each, and the parser from a line to one of them.

A line that is no command becomes an `AdminFault` with the answer in it, byte for byte gearmand's where gearmand has
one. What a command does, and the rest of the answers, are not known here; `protocol.answers` has their form.

Source: PROTOCOL, "Administrative Protocol"; server/text.cc of gearmand for the splitting into words and the errors.
"""

import re
from collections.abc import Callable
from typing import Final

import msgspec

from protocol.answers import UNKNOWN_JOB, Limits, error_line
from protocol.limits import MAX_FUNCTION, MAX_HANDLE


class AdminCommand(msgspec.Struct, frozen=True, gc=False):
    """Base of everything a text line can mean."""


class AdminFault(AdminCommand, frozen=True, gc=False):
    """A line that cannot be carried out."""

    line: bytes
    """The answer to send, complete with its line end."""
    fatal: bool = False
    """Whether the stream is lost: nothing more is decoded, the connection must be closed after the answer."""


class Status(AdminCommand, frozen=True, gc=False):
    """`status`: function, jobs in all, jobs running, workers."""


class PriorityStatus(AdminCommand, frozen=True, gc=False):
    """`prioritystatus`: function, queued high, normal and low jobs, workers."""


class Workers(AdminCommand, frozen=True, gc=False):
    """`workers`: every connection with its identifier and functions."""


class ShowJobs(AdminCommand, frozen=True, gc=False):
    """`show jobs`: handle, attempts used up, 1 if cancelled, 1 if in the background."""


class ShowUniqueJobs(AdminCommand, frozen=True, gc=False):
    """`show unique jobs`: the unique key of every job."""


class ShowMaxQueue(AdminCommand, frozen=True, gc=False):
    """`show maxqueue [FUNCTION]`: the limits set by `maxqueue`, which gearmand cannot tell (gearmand#110)."""

    function: bytes | None


class MaxQueue(AdminCommand, frozen=True, gc=False):
    """`maxqueue FUNCTION [N | HIGH NORMAL LOW]`: limit a function's queue."""

    function: bytes
    limits: Limits | None
    """None: none were given, all limits are to be taken off. Inside: None for a number that means no limit."""


class Version(AdminCommand, frozen=True, gc=False):
    """`version`."""


class Verbose(AdminCommand, frozen=True, gc=False):
    """`verbose`: the log level."""


class GetPid(AdminCommand, frozen=True, gc=False):
    """`getpid`."""


class CreateFunction(AdminCommand, frozen=True, gc=False):
    """`create function NAME`."""

    function: bytes


class DropFunction(AdminCommand, frozen=True, gc=False):
    """`drop function NAME`."""

    function: bytes


class CancelJob(AdminCommand, frozen=True, gc=False):
    """`cancel job HANDLE`."""

    handle: bytes


MAX_LIMIT: Final = 2**32 - 1
"""The highest limit of `maxqueue`; larger numbers are lowered to it."""

_SPACES: Final = re.compile(rb" +")
_NUMBER: Final = re.compile(rb"-?[0-9]+")
_FUNCTION_TOO_LARGE: Final = AdminFault(error_line(b"ARGUMENT_TOO_LARGE", b"Function value too large"))
_UNKNOWN_SHOW: Final = AdminFault(error_line(b"UNKNOWN_SHOW_ARGUMENTS"))
_UNKNOWN_CANCEL: Final = AdminFault(error_line(b"UNKNOWN_ERROR"))
_UNKNOWN_JOB: Final = AdminFault(UNKNOWN_JOB)


def parse_line(line: bytes) -> AdminCommand:
    """Read one line, given without its LF.

    Words are separated by spaces, the case of a command's own words does not matter, and a line ends at a NUL. As
    in gearmand a space before the first word or after the last makes an empty word there.
    """
    words = _SPACES.split(line.removesuffix(b"\r").partition(b"\0")[0])
    parse = _COMMANDS.get(words[0].lower())
    return _unknown(words) if parse is None else parse(words)


def _unknown(words: list[bytes]) -> AdminFault:
    # No separator before the word: clients compare the whole line with what gearmand sends.
    return AdminFault(error_line(b"UNKNOWN_COMMAND", b"Unknown server command" + words[0]))


def _invalid(words: list[bytes], text: bytes) -> AdminFault:
    return AdminFault(error_line(b"INVALID_ARGUMENTS", text + b" " + words[0]))


def _incomplete(words: list[bytes]) -> AdminFault:
    return _invalid(words, b"An incomplete set of arguments was sent to this command")


def _plain(command: AdminCommand) -> Callable[[list[bytes]], AdminCommand]:
    """Take a command whatever words follow it."""
    return lambda _words: command


def _show(words: list[bytes]) -> AdminCommand:
    match [word.lower() for word in words[1:]]:
        case []:
            return _unknown(words)
        case [b"jobs"]:
            return ShowJobs()
        case [b"unique", b"jobs"]:
            return ShowUniqueJobs()
        case [b"maxqueue"]:
            return ShowMaxQueue(None)
        case [b"maxqueue", _]:
            return ShowMaxQueue(words[2])
        case _:
            return _UNKNOWN_SHOW


def _create(words: list[bytes]) -> AdminCommand:
    if len(words) != 3 or words[1].lower() != b"function" or not words[2]:
        return _incomplete(words)
    return _FUNCTION_TOO_LARGE if len(words[2]) > MAX_FUNCTION else CreateFunction(words[2])


def _drop(words: list[bytes]) -> AdminCommand:
    if len(words) != 3 or words[1].lower() != b"function":
        return _incomplete(words)
    return DropFunction(words[2])


def _cancel(words: list[bytes]) -> AdminCommand:
    if len(words) < 3:
        return _unknown(words)
    if len(words) > 3 or words[1].lower() != b"job":
        return _UNKNOWN_CANCEL
    return _UNKNOWN_JOB if len(words[2]) > MAX_HANDLE else CancelJob(words[2])


def _max_queue(words: list[bytes]) -> AdminCommand:
    _, *arguments = words
    if not arguments or not arguments[0]:
        return _incomplete(words)
    function, *numbers = arguments
    if len(function) > MAX_FUNCTION:
        return _FUNCTION_TOO_LARGE
    if len(numbers) > 3:
        return _invalid(words, b"At most three limits (high, normal, low) are taken by this command")
    for number in numbers:
        if not _NUMBER.fullmatch(number):
            return _invalid(words, b"A limit must be a whole number, not '%b', for this command" % number[:40])
    limits = [_limit(number) for number in numbers]
    match limits:
        case []:
            return MaxQueue(function, None)
        case [limit]:
            return MaxQueue(function, (limit, limit, limit))
        case _:
            high, normal, low = [*limits, None][:3]
            return MaxQueue(function, (high, normal, low))


def _limit(number: bytes) -> int | None:
    """Return a limit; 0 and anything below it are none, as in gearmand."""
    if number.startswith(b"-"):
        return None
    digits = number.lstrip(b"0")
    if len(digits) > 10:
        return MAX_LIMIT
    return min(int(digits or b"0"), MAX_LIMIT) or None


_COMMANDS: Final[dict[bytes, Callable[[list[bytes]], AdminCommand]]] = {
    b"status": _plain(Status()),
    b"prioritystatus": _plain(PriorityStatus()),
    b"workers": _plain(Workers()),
    b"version": _plain(Version()),
    b"verbose": _plain(Verbose()),
    b"getpid": _plain(GetPid()),
    b"show": _show,
    b"create": _create,
    b"drop": _drop,
    b"cancel": _cancel,
    b"maxqueue": _max_queue,
}
