"""The settings as people write them: one table behind the flags, the variables, the TOML keys and `--help`.

Every field of `Configuration` has one row here; the TOML key is the field's name, the variable is GEARMESH_ and the
name in capitals, the flag is the name with hyphens. Not for: gearmand's options that are no settings (`gearmand`).
"""

from typing import Final

import msgspec

from node.configuration import values
from node.configuration.model import MAX_HANDLE_PREFIX, LogFormat, LogLevel

ENVIRONMENT_PREFIX: Final = "GEARMESH_"

_MEBIBYTE: Final = 1024 * 1024
_DAY: Final = 86_400.0
_SYSTEM_DEFAULT: Final = "; -1 leaves it to the system"

LARGEST_PACKET: Final = 512 * _MEBIBYTE
"""The upper bound of `max_packet`, in bytes: a packet's job is stored as one SQLite value, at most 10**9 bytes."""

PANELS: Final = ("Node", "Network", "TCP keepalive", "Jobs", "Process", "Logging")
"""The groups of settings, in the order in which they are shown."""


class Setting(msgspec.Struct, frozen=True):
    """One setting as people write it."""

    field: str
    """Its name in `Configuration`, and its TOML key."""
    panel: str
    """The group it is shown in; one of `PANELS`."""
    read: values.Reader
    """Turns what was written into the value; raises `values.UnusableValueError`."""
    metavar: str
    """What stands for the value in `--help`; empty for a truth value, whose flag takes none."""
    help: str
    """What it does, for `--help`; with the default, where that can be said."""
    short: tuple[str, ...] = ()
    """gearmand's one-letter flags for it."""

    @property
    def flag(self) -> str:
        """The long flag."""
        return "--" + self.field.replace("_", "-")

    @property
    def variable(self) -> str:
        """The environment variable."""
        return ENVIRONMENT_PREFIX + self.field.upper()

    @property
    def flags(self) -> str:
        """All its flags, for messages."""
        return "/".join((*self.short, self.flag))


_name = values.text(
    r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}",
    "must be 1 to 63 letters, digits, dots, hyphens or underscores, the first a letter or digit",
)

SETTINGS: Final[tuple[Setting, ...]] = (
    Setting("name", "Node", _name, "NAME", "This node's name. [default: the host's name]"),
    Setting("cluster", "Node", _name, "NAME", "The cluster it belongs to. [default: gearmesh]"),
    Setting(
        "data_dir",
        "Node",
        values.path,
        "DIR",
        "Where jobs are kept. [default: /var/lib/gearmesh for root, else ~/.local/state/gearmesh]",
    ),
    Setting(
        "job_handle_prefix",
        "Node",
        values.text(
            rf"[!-~]{{1,{MAX_HANDLE_PREFIX}}}",
            f"must be 1 to {MAX_HANDLE_PREFIX} printable ASCII characters without blanks (a handle has 63 bytes)",
        ),
        "PREFIX",
        "What job handles start with. [default: H:NAME]",
    ),
    Setting(
        "listen",
        "Network",
        values.texts,
        "HOST:PORT",
        "Where clients and workers connect; repeat it for more; port 0 takes a free one. [default: 0.0.0.0:4730]",
        ("-L",),
    ),
    Setting(
        "backlog",
        "Network",
        values.whole(1, 65535),
        "N",
        "Connections waiting to be accepted. [default: 1024]",
        ("-b",),
    ),
    Setting(
        "max_packet",
        "Network",
        values.size(1024, LARGEST_PACKET),
        "BYTES",
        "The largest packet taken; 64MiB and the like work. [default: 64MiB]",
    ),
    Setting(
        "stall_timeout",
        "Network",
        values.seconds(0.001, _DAY),
        "SECONDS",
        "How long half a packet may wait for its next byte. [default: 60]",
    ),
    Setting("keepalive", "TCP keepalive", values.boolean, "", "Find dead connections. [default: on]"),
    Setting(
        "keepalive_idle",
        "TCP keepalive",
        values.whole(-1, 32767, _SYSTEM_DEFAULT),
        "SECONDS",
        "Silence before the first probe; -1: the system's. [default: 60]",
    ),
    Setting(
        "keepalive_interval",
        "TCP keepalive",
        values.whole(-1, 32767, _SYSTEM_DEFAULT),
        "SECONDS",
        "Time between probes; -1: the system's. [default: 20]",
    ),
    Setting(
        "keepalive_count",
        "TCP keepalive",
        values.whole(-1, 127, _SYSTEM_DEFAULT),
        "N",
        "Probes lost before the connection is; -1: the system's. [default: 3]",
    ),
    Setting(
        "job_retries",
        "Jobs",
        values.whole(-1, 2**31 - 1, "; -1 retries without end, 0 never"),
        "N",
        "Times a job is run again when its worker goes away; -1: no limit, 0: never. [default: -1]",
        ("-j",),
    ),
    Setting(
        "exceptions", "Jobs", values.boolean, "", "Send WORK_EXCEPTION to every client, asked or not. [default: off]"
    ),
    Setting(
        "drain_timeout",
        "Process",
        values.seconds(0.0, _DAY),
        "SECONDS",
        "Time for running jobs to end after SIGTERM or SIGINT. [default: 20]",
    ),
    Setting(
        "file_descriptors",
        "Process",
        values.whole(64, 2**30),
        "N",
        "Limit of open files. [default: all the system allows]",
        ("-f",),
    ),
    Setting(
        "user",
        "Process",
        values.text(r"[A-Za-z_][A-Za-z0-9_.@-]{0,63}\$?", "is not the name of a user"),
        "USER",
        "Become this user once listening (root only).",
        ("-u",),
    ),
    Setting("pid_file", "Process", values.path, "FILE", "Write the process id here once listening.", ("-P",)),
    Setting("log_level", "Logging", values.choice(LogLevel), "LEVEL", f"{', '.join(LogLevel)}. [default: info]"),
    Setting(
        "log_format",
        "Logging",
        values.choice(LogFormat),
        "FORMAT",
        "console, json, or auto: console on a terminal, else json. [default: auto]",
    ),
    Setting(
        "log_file",
        "Logging",
        values.log_file,
        "FILE",
        'Append the log here; SIGHUP reopens it; "stderr" or "none" work too. [default: stderr]',
        ("-l",),
    ),
)

BY_FIELD: Final = {setting.field: setting for setting in SETTINGS}
