"""Where settings come from, and which one counts: defaults < TOML file < GEARMESH_* variables < flags.

All sources are read to the end before anything is refused, so that one run shows every mistake. A value is checked
even when a later source overrides it. Not for: how a value is written (`values`).
"""

import os
import re
import socket
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from node.configuration import cluster, values
from node.configuration.collected import Collected
from node.configuration.gearmand import nearest
from node.configuration.model import DEFAULT_HOST, DEFAULT_PORT, Address, Configuration
from node.configuration.settings import (
    BY_FIELD,
    CONFIG_VARIABLE,
    ENVIRONMENT_PREFIX,
    PANELS,
    SECRET_VARIABLE,
    SETTINGS,
    SITE_VARIABLE,
)
from node.errors import ConfigurationError

DEFAULT: Final = "default"
"""The origin of a value that nobody wrote."""

_SERVICE_LINK: Final = re.compile(
    r"GEARMESH_(\w+_)?"
    r"(SERVICE_HOST=.*|SERVICE_PORT(_\w+)?=.*|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?=.*|PORT=\w+://.*)"
)
"""What Kubernetes puts into the environment of every pod next to a Service whose name starts with "gearmesh"."""

_NO_SETTINGS: Final = (CONFIG_VARIABLE, SECRET_VARIABLE, SITE_VARIABLE)
"""Variables of ours that set no field by its name."""

_port: Final = values.whole(0, 65535)


class Effective(msgspec.Struct, frozen=True):
    """A configuration and the story of how it came about."""

    configuration: Configuration
    origins: Mapping[str, str]
    """For each field the place its value was written in: a flag, a variable, a file, or `DEFAULT`."""
    warnings: tuple[str, ...] = ()
    """What works, and is hardly what was meant; each names its place."""

    def as_toml(self) -> str:
        """Write the configuration as a TOML file that gives the same configuration, each value with its origin."""
        lines = []
        for panel in PANELS:
            lines.append(f"# {panel}")
            for setting in SETTINGS:
                if setting.panel != panel:
                    continue
                value: Any = getattr(self.configuration, setting.field)
                origin = values.printable(self.origins[setting.field])
                if value is None and setting.none:
                    value = setting.none
                if setting.field == "secret_file" and value is None and self.configuration.secret is not None:
                    lines.append(f"# secret_file is not set: {SECRET_VARIABLE} holds the secret")
                elif value is None or value == ():
                    lines.append(f"# {setting.field} is not set")
                else:
                    lines.append(f"{setting.field} = {values.toml(value)}  # {origin}")
            lines.append("")
        return "\n".join(lines[:-1]) + "\n"


def load(
    flags: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    *,
    config_file: str | None = None,
    port: str | None = None,
    problems: Sequence[str] = (),
) -> Effective:
    """Put the configuration together from all sources.

    `flags` holds what was written on the command line by field; `environment` is the process's own unless given;
    `config_file` is the TOML file; `port` is the port of the addresses that were written without one; `problems` are
    mistakes that were found on the way here, to be reported with the others.

    Raises `ConfigurationError` with every mistake of every source.
    """
    if environment is None:
        environment = os.environ
    collected = Collected()
    collected.problems += problems
    config_place = "--config"
    if config_file is None and environment.get(CONFIG_VARIABLE):
        config_file, config_place = environment[CONFIG_VARIABLE], CONFIG_VARIABLE
    if config_file is not None:
        _take_file(collected, config_file, config_place)
    _take_environment(collected, environment)
    for field, written in (flags or {}).items():
        setting = BY_FIELD[field]
        origin = f"--no-{setting.flag.removeprefix('--')}" if written is False else setting.flag
        collected.take(setting, written, setting.flags, origin)

    chosen = collected.values
    _combine_listen(collected, port)
    cluster.combine(collected, environment.get(SECRET_VARIABLE, ""))
    if "name" not in chosen:
        _take_host_name(collected)
    if "data_dir" not in chosen:
        chosen["data_dir"] = default_data_dir(environment)
    if collected.problems:
        raise ConfigurationError(collected.problems)
    origins = {setting.field: collected.origins.get(setting.field, DEFAULT) for setting in SETTINGS}
    return Effective(Configuration(**chosen), origins, tuple(collected.warnings))


def default_data_dir(environment: Mapping[str, str]) -> Path:
    """Return where the durable state goes by default.

    It depends neither on the current directory nor on the host's name: a queue must not seem lost because the server
    was started elsewhere, or the host renamed. Root has /var/lib/gearmesh; others the state directory of the XDG Base
    Directory specification; a user without a home has /var/lib/gearmesh too, which somebody must then have made.
    """
    system_wide = Path("/var/lib/gearmesh")
    if os.geteuid() == 0:
        return system_wide
    state = environment.get("XDG_STATE_HOME", "")
    if os.path.isabs(state):  # noqa: PTH117 - the specification ignores relative ones; the text itself is asked
        return Path(state) / "gearmesh"
    home = environment.get("HOME", "")
    if not os.path.isabs(home):  # noqa: PTH117 - as above
        home = os.path.expanduser("~")  # noqa: PTH111 - unlike Path.home, does not raise for a user without a home
    return Path(home) / ".local/state/gearmesh" if os.path.isabs(home) else system_wide  # noqa: PTH117 - as above


def _take_file(collected: Collected, file: str, place: str) -> None:
    shown = values.printable(file)
    try:
        document = tomllib.loads(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        collected.problems.append(f"{place}: cannot read {shown}: {error.strerror}")
        return
    except (ValueError, RecursionError) as error:  # not UTF-8, not TOML, a NUL in the name, or nested without end
        collected.problems.append(f"{place}: {shown} is not a TOML file: {error}")
        return
    for key, written in document.items():
        setting = BY_FIELD.get(key)
        if setting is None:
            table = "; there are no tables, all keys stand at the top" if isinstance(written, dict) else ""
            collected.problems.append(f"{shown}: {values.quoted(key)} is no setting{nearest(key, BY_FIELD)}{table}")
            continue
        is_path = setting.read in (values.path, values.log_file)
        collected.take(setting, _beside(file, written) if is_path else written, f"{shown}: {key}", shown)


def _beside(file: str, written: Any) -> Any:
    """Take a relative path in a file from that file's directory, so that it means the same wherever it is read."""
    if not isinstance(written, str) or not written or written.startswith("~") or written in ("stderr", "none"):
        return written
    return os.path.join(os.path.dirname(file), written)  # noqa: PTH118, PTH120 - checked as text by the reader


def _take_environment(collected: Collected, environment: Mapping[str, str]) -> None:
    known = {setting.variable: setting for setting in SETTINGS}
    for variable in sorted(environment):
        written = environment[variable]
        # An empty variable is one that a Compose file or a unit passes on without having it.
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable in _NO_SETTINGS or not written:
            continue
        setting = known.get(variable)
        if setting is not None:
            collected.take(setting, written, variable, variable)
        elif not _SERVICE_LINK.fullmatch(f"{variable}={written}"):
            hint = nearest(variable, (*known, *_NO_SETTINGS), ENVIRONMENT_PREFIX)
            collected.problems.append(f"{values.printable(variable)}: no setting has this name{hint}")


def _combine_listen(collected: Collected, port: str | None) -> None:
    """Turn what was written of `listen` into addresses; `port` goes to those that have none of their own."""
    default_port = DEFAULT_PORT
    if port is not None:
        try:
            default_port = _port(port)
        except values.UnusableValueError as error:
            collected.problems.append(f"-p/--port: {error}")
            return
    written = collected.values.pop("listen", None)
    if written is None:
        if port is not None:
            collected.values["listen"] = (Address(DEFAULT_HOST, default_port),)
            collected.origins["listen"] = "--port"
        return
    pairs = [values.address(part, default_port) for part in written]
    addresses = tuple(address for address, _ in pairs)
    place = collected.origins["listen"]
    if port is not None:
        if not any(took for _, took in pairs):
            collected.problems.append(
                f"-p/--port: every address of {place} has a port of its own: say one or the other"
            )
        collected.origins["listen"] = f"{place} and --port"
    repeated = {str(address) for address in addresses if address.port and addresses.count(address) > 1}
    if repeated:
        collected.problems.append(f"{place}: {', '.join(sorted(repeated))} is there twice")
    collected.values["listen"] = addresses


def _take_host_name(collected: Collected) -> None:
    try:
        host = socket.gethostname()
        collected.values["name"] = BY_FIELD["name"].read(host)
    except (OSError, values.UnusableValueError) as error:
        collected.problems.append(f"--name: the host's own name cannot be the node's, choose one: {error}")
