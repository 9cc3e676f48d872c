"""The settings as people write them: one table behind the flags, the variables, the TOML keys and `--help`.

Every field of `Configuration` has one row here; the TOML key is the field's name, the variable is GEARMESH_ and the
name in capitals, the flag is the name with hyphens. Not for: gearmand's options that are no settings (`gearmand`).
"""

from typing import Final

import msgspec

from node.configuration import values
from node.configuration.model import (
    DEFAULT_HTTP_PORT,
    DEFAULT_MESH_PORT,
    MAX_HANDLE_PREFIX,
    LogFormat,
    LogLevel,
)

ENVIRONMENT_PREFIX: Final = "GEARMESH_"

CONFIG_VARIABLE: Final = f"{ENVIRONMENT_PREFIX}CONFIG"
"""The variable that names the TOML file where no flag does."""
SECRET_VARIABLE: Final = f"{ENVIRONMENT_PREFIX}SECRET"
"""The variable that holds the cluster's secret itself; there is no flag and no TOML key for that."""
SITE_VARIABLE: Final = f"{ENVIRONMENT_PREFIX}SITE"
"""The variable that names the site to the commands that ask a running node. A node passes it over."""

_MEBIBYTE: Final = 1024 * 1024
_DAY: Final = 86_400.0
_SYSTEM_DEFAULT: Final = "; -1 leaves it to the system"

LARGEST_PACKET: Final = 512 * _MEBIBYTE
"""The upper bound of `max_packet`, in bytes: a result goes to another node in one message, and the wire format has a
bound on that."""

SMALLEST_MEMORY: Final = 64 * _MEBIBYTE
"""The lower bound of `max_memory`, in bytes: a node that has no job uses about as much."""

PANELS: Final = ("Node", "Network", "TCP keepalive", "Cluster", "Jobs", "Process", "Logging")
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
    repeats: bool = False
    """Whether it is a list, whose flag is repeated for more."""
    none: str = ""
    """The word for the value None, where there is one."""

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
        repeats=True,
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
        "How long half a packet, or unread answers, may stand still. [default: 60]",
    ),
    Setting(
        "http",
        "Network",
        values.address_or_none(DEFAULT_HTTP_PORT),
        "HOST:PORT",
        'Where health, metrics and the API are served, or "none". [default: 127.0.0.1:4780]',
        none="none",
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
    Setting("expect", "Cluster", values.whole(1, 99), "N", "How many nodes found the cluster. [default: 1]"),
    Setting(
        "discovery",
        "Cluster",
        values.discovery,
        "HOW",
        "Where to look for other nodes: mdns, dns:NAME, static; repeat it for more. [default: mdns]",
        repeats=True,
    ),
    Setting(
        "peer",
        "Cluster",
        values.reachable_addresses(DEFAULT_MESH_PORT),
        "HOST:PORT",
        "The mesh address of another node; repeat it for more.",
        repeats=True,
    ),
    Setting(
        "secret_file",
        "Cluster",
        values.path,
        "FILE",
        "Holds the secret that the nodes share (or set GEARMESH_SECRET to it).",
    ),
    Setting("insecure", "Cluster", values.boolean, "", "Let any node in, without a secret. [default: off]"),
    Setting(
        "mesh",
        "Cluster",
        values.one_address(DEFAULT_MESH_PORT),
        "HOST:PORT",
        "Where other nodes connect. [default: 0.0.0.0:4731]",
    ),
    Setting(
        "advertise",
        "Cluster",
        values.reachable(0, any_port=True),
        "HOST:PORT",
        "The mesh address to tell others, if they cannot see it themselves.",
    ),
    Setting("mesh_cert", "Cluster", values.path, "FILE", "This node's certificate for links (PEM)."),
    Setting("mesh_key", "Cluster", values.path, "FILE", "Its private key (PEM)."),
    Setting("mesh_ca", "Cluster", values.path, "FILE", "Who signs the nodes' certificates (PEM)."),
    Setting(
        "disk_timeout",
        "Cluster",
        values.seconds(0.1, 3600.0),
        "SECONDS",
        "How long a write may take until a leader hands over; after 15 times that a node stops. [default: 2]",
    ),
    Setting(
        "node_timeout",
        "Cluster",
        values.seconds(5.0, 3600.0),
        "SECONDS",
        "Silence after which a node is down and its jobs go to others. [default: 5]",
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
        "max_functions",
        "Jobs",
        values.whole(1, 10_000_000),
        "N",
        "Functions that the cluster may know at a time. [default: 100000]",
    ),
    Setting(
        "max_worker_functions",
        "Jobs",
        values.whole(1, 100_000),
        "N",
        "Functions that one worker may name. [default: 10000]",
    ),
    Setting(
        "exceptions", "Jobs", values.boolean, "", "Send WORK_EXCEPTION to every client, asked or not. [default: off]"
    ),
    Setting(
        "max_memory",
        "Process",
        values.size_or_share(SMALLEST_MEMORY, 2**50),
        "SIZE",
        "Memory in use at which no new job is taken: 1500MiB, or 70% of the machine or container. [default: 70%]",
    ),
    Setting(
        "min_free_disk",
        "Process",
        values.size_or_word(0, 2**50, "auto"),
        "SIZE",
        "Free disk space below which no new job is taken; 0: no bound. [default: 1GiB, or 10% of a smaller disk]",
        none="auto",
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
        none="stderr",
    ),
)

BY_FIELD: Final = {setting.field: setting for setting in SETTINGS}
