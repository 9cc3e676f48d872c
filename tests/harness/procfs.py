"""Read what Linux knows about a running process: memory, processor time, descriptors, socket timers.

These are the figures that a job server's users see in `top` and `ss`. Nothing here asks the server itself.
"""

from pathlib import Path

_ESTABLISHED = "01"
_TIMER_KEEPALIVE = "02"


def resident_bytes(pid: int) -> int:
    """Return the resident set of the process, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise LookupError(f"process {pid} has no resident memory: is it a zombie?")


def processor_seconds(pid: int) -> float:
    """Return the processor time that the threads of the process have used so far, in seconds, to the microsecond."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


def context_switches(pid: int) -> int:
    """Return how often the main thread has gone to sleep of its own accord: once for each wake-up of an idle loop."""
    for line in Path(f"/proc/{pid}/task/{pid}/status").read_text().splitlines():
        if line.startswith("voluntary_ctxt_switches:"):
            return int(line.split()[1])
    raise LookupError(f"process {pid} has no count of context switches")


def open_descriptors(pid: int) -> int:
    """Return how many file descriptors the process holds."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def keepalive_is_armed(*, server_port: int, client_port: int) -> bool:
    """Say whether the server's end of one loopback connection has its keepalive timer running.

    Raises LookupError when there is no such established connection.
    """
    fields = _established(Path("/proc/net/tcp"), server_port, client_port)
    return fields[5].partition(":")[0] == _TIMER_KEEPALIVE


def unacknowledged_bytes(pid: int, *, server_port: int, client_port: int) -> int:
    """Return how much the process has sent over one connection that its other end has not acknowledged.

    The connections are those of the network that the process is in. Raises LookupError when there is no such one.
    """
    fields = _established(Path(f"/proc/{pid}/net/tcp"), server_port, client_port)
    return int(fields[4].partition(":")[0], 16)


def _established(table: Path, server_port: int, client_port: int) -> list[str]:
    for line in table.read_text().splitlines()[1:]:
        fields = line.split()
        local_port, remote_port = (int(address.rpartition(":")[2], 16) for address in fields[1:3])
        if (local_port, remote_port) == (server_port, client_port) and fields[3] == _ESTABLISHED:
            return fields
    raise LookupError(f"no established connection from port {client_port} to port {server_port}")
