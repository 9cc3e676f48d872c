"""Every setting of a node, as plain frozen data.

Not for: where values come from (`sources`), how they are written (`values`), or what they are called on the command
line (`settings`).
"""

import enum
import hashlib
from pathlib import Path
from typing import Final

import msgspec

DEFAULT_HOST: Final = "0.0.0.0"  # noqa: S104 - a server is there to be reached
"""Every IPv4 address of the host."""

DEFAULT_PORT: Final = 4730
"""Gearman's port (IANA: gearman)."""

DEFAULT_MESH_PORT: Final = 4731
"""The port of the links between nodes."""

DEFAULT_HTTP_PORT: Final = 4780
"""The port of the site."""

DEFAULT_DISCOVERY: Final = ("mdns",)
"""Where other nodes are looked for."""

MAX_HANDLE: Final = 63
"""Bytes of a job handle, without the NUL that ends it (gearmand's GEARMAN_JOB_HANDLE_SIZE is 64)."""

MAX_HANDLE_PREFIX: Final = MAX_HANDLE - len(":18446744073709551615")
"""Bytes of a handle's prefix: what is left when the largest 64-bit number follows it behind a colon."""


class LogLevel(enum.StrEnum):
    """The least severe events that are logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


class LogFormat(enum.StrEnum):
    """How an event becomes a line."""

    AUTO = "auto"
    """`CONSOLE` where the log goes to a terminal, `JSON` anywhere else."""
    CONSOLE = "console"
    JSON = "json"


class Address(msgspec.Struct, frozen=True, order=True):
    """A host and a TCP port."""

    host: str
    """A host name, an IPv4 address, or an IPv6 address without brackets."""
    port: int
    """0 lets the system choose a free one."""

    def __str__(self) -> str:
        """Write the address as HOST:PORT, an IPv6 host in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Share(msgspec.Struct, frozen=True):
    """A part of something whose size is found out at run time."""

    percent: float

    def of(self, whole: int) -> int:
        """Return the part of `whole`."""
        return int(whole * self.percent / 100)

    def __str__(self) -> str:
        """Write it as people do."""
        return f"{self.percent:g}%"


DEFAULT_MESH: Final = Address(DEFAULT_HOST, DEFAULT_MESH_PORT)
"""Where other nodes connect."""


def handle_prefix(name: str) -> str:
    """Return the default prefix of a node's job handles: `H:<name>`, as gearmand's `H:<host name>`.

    A name that would make handles longer than 63 bytes is cut, and a digest of the whole name takes the place of what
    was cut off: long host names usually differ at their ends.
    """
    prefix = f"H:{name}"
    if len(prefix.encode()) <= MAX_HANDLE_PREFIX:
        return prefix
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    kept = prefix.encode()[: MAX_HANDLE_PREFIX - 9].decode(errors="ignore")
    return f"{kept}-{digest}"


class Configuration(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of one node, checked."""

    name: str
    """This node's name in the cluster; by default the host's name."""
    data_dir: Path
    """The directory of the node's durable state; absolute. Not created here."""
    cluster: str = "gearmesh"
    """The cluster this node belongs to; nodes of different clusters never mix."""

    listen: tuple[Address, ...] = (Address(DEFAULT_HOST, DEFAULT_PORT),)
    """Where Gearman clients and workers connect; at least one, without repeats."""
    backlog: int = 1024
    """Connections that may wait to be accepted, for each listening socket; the kernel may allow fewer."""
    max_packet: int = 64 * 1024 * 1024
    """The largest body of a packet, in bytes."""
    stall_timeout: float = 60.0
    """Seconds that half a packet, or what a peer does not read, may stand still before its connection is closed."""
    http: Address | None = Address("127.0.0.1", DEFAULT_HTTP_PORT)
    """Where the site is (health, metrics, API); None: nowhere."""
    keepalive: bool = True
    """Whether TCP keepalive is on for accepted connections."""
    keepalive_idle: int = 60
    """Seconds without traffic before the first keepalive probe; -1 for the system's own setting."""
    keepalive_interval: int = 20
    """Seconds between keepalive probes; -1 for the system's own setting."""
    keepalive_count: int = 3
    """Unanswered probes after which the connection is dead; -1 for the system's own setting."""

    job_retries: int = -1
    """How often a job is run again after its worker went away: -1 without end, 0 never."""
    max_functions: int = 100_000
    """How many functions the cluster may know at a time, those of `maxqueue` and `create function` among them."""
    max_worker_functions: int = 10_000
    """How many functions one worker's connection may name."""
    exceptions: bool = False
    """Whether every connection starts with the option `exceptions` on (gearmand's `--exceptions`)."""
    job_handle_prefix: str = ""
    """What the job handles made by this node start with; `handle_prefix(name)` when empty. ASCII, no blanks."""

    max_memory: int | Share = Share(70)
    """Memory in use, in bytes or of what there is for this process, from which on no new job is taken."""
    min_free_disk: int | None = None
    """Bytes free on the file system of `data_dir` below which no new job is taken; 0: no bound.

    None: 1 GiB, or a tenth of the file system where that is less.
    """
    drain_timeout: float = 20.0
    """Seconds that running jobs are given to end when the node is asked to stop."""
    file_descriptors: int | None = None
    """The limit of open files to set; None raises it as far as the system allows this process."""
    user: str | None = None
    """The user to become once the node listens; None stays the user that started it."""
    pid_file: Path | None = None
    """Where the process id is written while the node listens; absolute."""

    expect: int = 1
    """How many nodes the cluster is founded of; nodes that come later join it."""
    discovery: tuple[str, ...] = DEFAULT_DISCOVERY
    """Where other nodes are looked for, without repeats: "mdns", "dns:NAME", "static" (the addresses of `peer`)."""
    peer: tuple[Address, ...] = ()
    """Mesh addresses of other nodes, without repeats; where there are any, `discovery` holds "static"."""
    mesh: Address = DEFAULT_MESH
    """Where other nodes connect."""
    advertise: Address | None = None
    """The mesh address that others are told to connect to; port 0: the one that `mesh` got. None: what they see."""
    secret_file: Path | None = None
    """The file that `secret` was read from; absolute. None: there is none, or it came from elsewhere."""
    secret: bytes | None = None
    """What the nodes of the cluster share, and nobody else knows; at least 16 bytes. Left out of `repr`."""
    insecure: bool = False
    """Whether to link to anybody who asks; never together with a secret."""
    mesh_cert: Path | None = None
    """This node's certificate for links (PEM); absolute. `mesh_cert`, `mesh_key`, `mesh_ca`: all three or none."""
    mesh_key: Path | None = None
    """Its private key (PEM); absolute."""
    mesh_ca: Path | None = None
    """Who signs the certificates of the cluster's nodes (PEM); absolute."""
    disk_timeout: float = 2.0
    """Seconds that a write may take, besides the time that its bytes need: then a leader hands over. After 15 times as
    long a node stops."""
    node_timeout: float = 5.0
    """Seconds without a sign of life after which a node is taken for dead, and its jobs are given to others."""

    log_level: LogLevel = LogLevel.INFO
    """The least severe events that are logged."""
    log_format: LogFormat = LogFormat.AUTO
    """How an event becomes a line."""
    log_file: Path | None = None
    """The file to append the log to; absolute. None logs to stderr."""

    def __post_init__(self) -> None:
        """Fill in what depends on another setting."""
        if not self.job_handle_prefix:
            msgspec.structs.force_setattr(self, "job_handle_prefix", handle_prefix(self.name))

    @property
    def alone(self) -> bool:
        """Tell whether the node keeps to itself: it has no secret, and was not told to do without one."""
        return self.secret is None and not self.insecure

    def __repr__(self) -> str:
        """Show every setting but the secret, which must not get into logs and tracebacks."""
        shown = (f"{field}={getattr(self, field)!r}" for field in self.__struct_fields__ if field != "secret")
        return f"Configuration({', '.join(shown)})"
