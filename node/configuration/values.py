"""How a value is written: from text or TOML to a setting's value, and back.

A reader takes what was written (text from a flag or a variable, anything from TOML) and returns the value; what it
cannot use it refuses with an `UnusableValueError` that completes the sentence "<place>: ...".

Not for: knowing that place.
"""

import ipaddress
import json
import math
import os
import re
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from node.configuration.model import Address, Share

_TYPE_NAMES: Final = {bool: "a truth value", int: "a number", float: "a number", list: "a list", dict: "a table"}

SIZE_UNITS: Final = {
    "": 1,
    "b": 1,
    "k": 1024,
    "kb": 1000,
    "kib": 1024,
    "m": 1024**2,
    "mb": 1000**2,
    "mib": 1024**2,
    "g": 1024**3,
    "gb": 1000**3,
    "gib": 1024**3,
    "t": 1024**4,
    "tb": 1000**4,
    "tib": 1024**4,
}
TIME_UNITS: Final = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}

_QUANTITY: Final = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,18})?)\s*([A-Za-z]*)")
_SHARE: Final = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)\s*%")
_HOST_NAME: Final = re.compile(r"(?!-)[A-Za-z0-9_.-]{1,253}")

Reader = Callable[[Any], Any]


class UnusableValueError(ValueError):
    """What was written cannot be used; the text says why, without the place."""


def quoted(text: object) -> str:
    """Return what was written as it should stand in a message: in quotes, without control characters, not too long."""
    shown = json.dumps(text, ensure_ascii=False, default=str)
    return shown if len(shown) <= 80 else f"{shown[:76]}...{shown[-1]}"


def printable(text: str) -> str:
    """Return text fit for one line of a message or a comment."""
    return text if text.isprintable() else ascii(text)


def _text(written: Any) -> str:
    if not isinstance(written, str):
        raise UnusableValueError(
            f"{quoted(written)} is {_TYPE_NAMES.get(type(written), 'a date or time')}, not text in quotes"
        )
    if "\0" in written:
        raise UnusableValueError(f"{quoted(written)} holds a NUL")
    try:
        written.encode()
    except UnicodeEncodeError:
        raise UnusableValueError(f"{written!a} is not valid UTF-8") from None
    return written


def text(pattern: str, rule: str) -> Reader:
    """Return a reader of text that matches `pattern` as a whole; `rule` says in words what matches."""
    compiled = re.compile(pattern)

    def read(written: Any) -> str:
        value = _text(written)
        if not compiled.fullmatch(value):
            raise UnusableValueError(f"{quoted(value)} {rule}")
        return value

    return read


def whole(low: int, high: int, meaning: str = "") -> Reader:
    """Return a reader of whole numbers from `low` to `high`; `meaning` explains special ones in the refusal."""

    def read(written: Any) -> int:
        if isinstance(written, str) and re.fullmatch(r"\s*[+-]?[0-9]{1,18}\s*", written):
            value = int(written)
        elif isinstance(written, int) and not isinstance(written, bool):
            value = written
        else:
            raise UnusableValueError(f"{quoted(written)} is not a whole number")
        if not low <= value <= high:
            raise UnusableValueError(f"{value} is not between {low} and {high}{meaning}")
        return value

    return read


def _quantity(written: Any, units: dict[str, int] | dict[str, float], what: str) -> float | int:
    if isinstance(written, bool) or not isinstance(written, (int, float, str)):
        raise UnusableValueError(f"{quoted(written)} is not {what}")
    if not isinstance(written, str):
        if not math.isfinite(written):
            raise UnusableValueError(f"{written} is not {what}")
        return written
    match = _QUANTITY.fullmatch(written.strip())
    unit = units.get(match[2].lower()) if match else None
    if match is None or unit is None:
        raise UnusableValueError(f"{quoted(written)} is not {what}")
    number = match[1]
    return (float(number) if "." in number else int(number)) * unit


def size(low: int, high: int) -> Reader:
    """Return a reader of sizes in bytes from `low` to `high`: a number, or text such as "64MiB"."""

    def read(written: Any) -> int:
        value = _quantity(written, SIZE_UNITS, 'a size in bytes, such as 67108864 or "64MiB"')
        if value != int(value):
            raise UnusableValueError(f"{quoted(written)} is not a whole number of bytes")
        if not low <= value <= high:
            raise UnusableValueError(f"{quoted(written)} is not between {low} and {high} bytes")
        return int(value)

    return read


def size_or_share(low: int, high: int) -> Reader:
    """Return a reader of sizes in bytes from `low` to `high`, or of a share such as "70%"."""
    read_size = size(low, high)

    def read(written: Any) -> int | Share:
        if not isinstance(written, str) or not written.rstrip().endswith("%"):
            return int(read_size(written))
        match = _SHARE.fullmatch(written.strip())
        if match is None or not 1 <= float(match[1]) <= 100:
            raise UnusableValueError(f"{quoted(written)} is not a share between 1% and 100%")
        return Share(float(match[1]))

    return read


def size_or_word(low: int, high: int, word: str) -> Reader:
    """Return a reader of sizes in bytes from `low` to `high`, or of a word that leaves the choice to the node."""
    read_size = size(low, high)

    def read(written: Any) -> int | None:
        return None if written == word else int(read_size(written))

    return read


def seconds(low: float, high: float) -> Reader:
    """Return a reader of times in seconds from `low` to `high`: a number, or text such as "500ms" or "2m"."""

    def read(written: Any) -> float:
        value = float(_quantity(written, TIME_UNITS, 'a time in seconds, such as 20, 1.5 or "2m"'))
        if not low <= value <= high:
            raise UnusableValueError(f"{quoted(written)} is not between {low:g} and {high:g} seconds")
        return value

    return read


def boolean(written: Any) -> bool:
    """Read a truth value: TOML's own, or one of the usual words."""
    if isinstance(written, bool):
        return written
    word = written.strip().lower() if isinstance(written, str) else ""
    if word in ("true", "yes", "on", "1"):
        return True
    if word in ("false", "no", "off", "0"):
        return False
    raise UnusableValueError(f"{quoted(written)} is not true or false")


def choice(kind: type[StrEnum]) -> Reader:
    """Return a reader of one of the words of `kind`; case does not matter."""

    def read(written: Any) -> StrEnum:
        word = _text(written).lower()
        try:
            return kind(word)
        except ValueError:
            raise UnusableValueError(f"{quoted(written)} is not one of: {', '.join(kind)}") from None

    return read


def path(written: Any) -> Path:
    """Read a path, made absolute from the current directory."""
    value = _text(written)
    if not value.strip():
        raise UnusableValueError("the path is empty")
    if value.startswith("~"):
        raise UnusableValueError(f'{quoted(value)} starts with "~", which only a shell replaces: write the whole path')
    try:
        return Path(os.path.abspath(value))  # noqa: PTH100 - unlike Path.resolve, leaves symbolic links as written
    except OSError:
        raise UnusableValueError(f"{quoted(value)} is relative, and the current directory is gone") from None


def log_file(written: Any) -> Path | None:
    """Read where the log goes, with gearmand's two words: `stderr`, and `none` for no log at all."""
    if written == "stderr":
        return None
    if written == "none":
        return Path(os.devnull)
    return path(written)


def address(written: str, default_port: int) -> tuple[Address, bool]:
    """Read one address, and tell whether it took the default port because it has none of its own.

    HOST:PORT, HOST, [IPV6]:PORT, [IPV6], and, as gearmand's -L, IPV6 without brackets where no part of it can be
    mistaken for a port.
    """
    value = _text(written).strip()
    shown = quoted(value)
    if value.startswith("["):
        host, bracket, rest = value[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise UnusableValueError(f"{shown} is not [IPV6]:PORT")
        port = rest[1:] if rest else None
        host = _ip(host, shown)
    elif value.count(":") > 1:
        if re.search(r":[0-9]{4,5}$", value):
            raise UnusableValueError(f"{shown} has two meanings: put the IPv6 address in brackets, as in [::1]:4730")
        host, port = _ip(value, shown), None
    else:
        host, colon, rest = value.partition(":")
        port = rest if colon else None
        if not _HOST_NAME.fullmatch(host) or (re.fullmatch(r"[0-9.]+", host) and not _is_ipv4(host)):
            raise UnusableValueError(f"{shown} names no host: write HOST:PORT, such as 0.0.0.0:4730 or [::1]:4730")
    if port is None:
        return Address(host, default_port), True
    if not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        raise UnusableValueError(f"{shown} ends in {quoted(port)}, which is not a port between 0 and 65535")
    return Address(host, int(port)), False


def one_address(default_port: int) -> Reader:
    """Return a reader of an address whose port may be left out."""

    def read(written: Any) -> Address:
        return address(written, default_port)[0]

    return read


def address_or_none(default_port: int) -> Reader:
    """Return a reader of an address, or of the word `none`."""

    def read(written: Any) -> Address | None:
        return None if written == "none" else address(written, default_port)[0]

    return read


def reachable_addresses(default_port: int) -> Reader:
    """Return a reader of a list of addresses of others, each there once."""

    def read(written: Any) -> tuple[Address, ...]:
        return _distinct(tuple(reachable(default_port)(part) for part in texts(written)))

    return read


def reachable(default_port: int, *, any_port: bool = False) -> Reader:
    """Return a reader of an address that somebody else can connect to; with `any_port` its port may be 0."""

    def read(written: Any) -> Address:
        value, _ = address(written, default_port)
        if value.host in ("0.0.0.0", "::"):  # noqa: S104 - refused, not bound
            raise UnusableValueError(f"{quoted(str(value))} is every address of a host, which nobody can connect to")
        if value.port == 0 and not any_port:
            raise UnusableValueError(f"{quoted(str(value))} has no port that can be connected to")
        return value

    return read


def discovery(written: Any) -> tuple[str, ...]:
    """Read the ways to look for other nodes: `mdns`, `dns:NAME`, `static`."""
    return _distinct(tuple(_discovery_source(part) for part in texts(written)))


def _discovery_source(written: str) -> str:
    kind, colon, name = written.strip().partition(":")
    kind = kind.lower()
    if kind == "dns":
        if not _HOST_NAME.fullmatch(name) or _is_ipv4(name):
            raise UnusableValueError(
                f"{quoted(written)} names no host to look up: write dns:NAME, such as dns:gearmesh-nodes.default.svc"
            )
        return f"dns:{name}"
    if colon or kind not in ("mdns", "static"):
        raise UnusableValueError(f"{quoted(written)} is not one of: mdns, dns:NAME, static")
    return kind


def _distinct(parts: tuple[Any, ...]) -> tuple[Any, ...]:
    repeated = sorted({str(part) for part in parts if parts.count(part) > 1})
    if repeated:
        raise UnusableValueError(f"{', '.join(repeated)} is there twice")
    return parts


def _is_ipv4(host: str) -> bool:
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return True


def _ip(host: str, shown: str) -> str:
    try:
        return str(ipaddress.IPv6Address(host))
    except ValueError:
        raise UnusableValueError(f"{shown} does not hold a valid IPv6 address") from None


def texts(written: Any) -> Sequence[str]:
    """Read a list of texts: a TOML list, or one text with commas or blanks between the parts."""
    if isinstance(written, str):
        parts = re.split(r"[,\s]+", written.strip(", \t\n"))
    elif isinstance(written, (list, tuple)):
        parts = [_text(part) for part in written]
    else:
        raise UnusableValueError(f"{quoted(written)} is neither a list nor text")
    if not any(parts):
        raise UnusableValueError("the list is empty")
    return parts


def toml(value: object) -> str:
    """Write a setting's value as TOML that the readers above read back as the same value."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(toml(item) for item in value)}]"
    # JSON's strings are TOML's basic strings, but for one control character that JSON lets stand.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
