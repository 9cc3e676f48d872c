"""gearmand's options that are no settings here: refused, each with what to do instead.

Ignoring them would leave their user believing in something that is not so. gearmand's options that are settings here
keep their names in `settings`. The list is that of `gearmand --help` 1.1.20 and 2.0.
"""

import difflib
from collections.abc import Iterable
from typing import Final

import msgspec

GEARMAND_LEVELS: Final = {
    "fatal": "critical",
    "alert": "critical",
    "critical": "critical",
    "error": "error",
    "warning": "warning",
    "notice": "info",
    "info": "info",
    "debug": "debug",
}
"""What gearmand's `--verbose=LEVEL` means as a log level."""


class Refused(msgspec.Struct, frozen=True):
    """An option of gearmand that has no meaning here."""

    flags: tuple[str, ...]
    """Its names; the last one is the long one."""
    takes_value: bool
    hint: str
    """What to do instead; a whole sentence."""


_QUEUE: Final = "The queue is always durable, in --data-dir: leave it out."
_TLS: Final = "There is no TLS on Gearman's port: put a TLS proxy (stunnel, HAProxy, nginx stream) in front."
_LOGS: Final = "The log goes to stderr, for the service manager's journal or a pipe to logger(1), or to --log-file."

REFUSED: Final[tuple[Refused, ...]] = (
    Refused(
        ("-d", "--daemon"),
        takes_value=False,
        hint="gearmesh stays in the foreground: let systemd, a container or nohup(1) run it.",
    ),
    Refused(("--syslog",), takes_value=False, hint=_LOGS),
    Refused(
        ("--coredump",), takes_value=False, hint="Core dumps are the system's: ulimit -c, or LimitCORE= in systemd."
    ),
    Refused(("-t", "--threads"), takes_value=True, hint="One event loop serves all connections: leave it out."),
    Refused(
        ("-w", "--worker-wakeup"),
        takes_value=True,
        hint="As many sleeping workers are woken as there are jobs, always: leave it out.",
    ),
    Refused(("--hashtable-buckets",), takes_value=True, hint="The job table grows by itself: leave it out."),
    Refused(("-r", "--protocol"), takes_value=True, hint="Gearman's own protocol is the only one: leave it out."),
    Refused(
        ("--http-port",), takes_value=True, hint="Jobs are not submitted over HTTP here: use a Gearman client library."
    ),
    Refused(("--ssl",), takes_value=False, hint=_TLS),
    Refused(("--ssl-ca-file",), takes_value=True, hint=_TLS),
    Refused(("--ssl-certificate",), takes_value=True, hint=_TLS),
    Refused(("--ssl-key",), takes_value=True, hint=_TLS),
    Refused(("-q", "--queue-type"), takes_value=True, hint=_QUEUE),
    Refused(("--store-queue-on-shutdown",), takes_value=False, hint=_QUEUE),
    *(
        Refused((f"--{option}",), takes_value=True, hint=_QUEUE)
        for option in (
            "libsqlite3-db",
            "libsqlite3-table",
            "libmemcached-servers",
            "libmemcached-prefix",
            "libpq-conninfo",
            "libpq-table",
            "redis-server",
            "redis-port",
            "redis-password",
            "redis-prefix",
            "mysql-host",
            "mysql-port",
            "mysql-user",
            "mysql-password",
            "mysql-db",
            "mysql-table",
            "libdrizzle-host",
            "libdrizzle-port",
            "libdrizzle-uds",
            "libdrizzle-user",
            "libdrizzle-password",
            "libdrizzle-db",
            "libdrizzle-table",
            "libtokyocabinet-file",
        )
    ),
    Refused(("--libdrizzle-mysql",), takes_value=False, hint=_QUEUE),
    Refused(("--libtokyocabinet-optimize",), takes_value=False, hint=_QUEUE),
)


def nearest(written: str, known: Iterable[str], prefix: str = "") -> str:
    """Return " (did you mean X?)" for the known name that is most like what was written, or nothing.

    A prefix that all names share does not count as likeness. The only name that goes on from what was written is it.
    """
    alike = {_likeness(name, prefix): name for name in known}
    longer = [name for likeness, name in alike.items() if likeness.startswith(_likeness(written, prefix) + "_")]
    if len(longer) == 1:
        return f" (did you mean {longer[0]}?)"
    matches = difflib.get_close_matches(_likeness(written, prefix), alike, n=1)
    return f" (did you mean {alike[matches[0]]}?)" if matches else ""


def _likeness(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).lower().replace("-", "_")
