"""What to try next, once a cluster on one machine is ready."""

import shlex

from node.dev.layout import ClusterLayout, NodeLayout, reachable, shown


def guide(layout: ClusterLayout, *, can_start_again: bool) -> str:
    """Return commands to copy, each with what it shows; they name different nodes wherever there are some."""
    first, last = layout.nodes[0], layout.nodes[-1]
    middle = layout.nodes[len(layout.nodes) // 2]
    count = len(layout.nodes)
    cluster = "one node" if count == 1 else f"{count} nodes, one job server"
    kept = "on disk" if count == 1 else f"on disk on {count // 2 + 1} nodes"
    tries = [
        (
            _worker(layout),
            "a worker, which counts lines" if count == 1 else "a worker that knows every node: counts lines",
        ),
        (f"gearman {_at(last)} -f wc </etc/passwd", f"a client at {last.name}: waits for the count"),
        (f"gearman {_at(middle)} -b -f wc </etc/passwd", f"a background job: {kept} when acknowledged"),
        (f"gearadmin {_at(middle)} --status --workers", "any node answers for all"),
        (f"{shown(list(layout.program))} cluster members --site {first.site}", "who is there, and who leads"),
        (f"curl {first.site}/api/v1/cluster", "the same as JSON"),
        *((_kill(node), f"end {node.name} as a power cut would") for node in layout.nodes),
    ]
    width = max(len(command) for command, _ in tries[1:])
    again = "Enter starts nodes that have ended again. " if can_start_again else ""
    return "\n".join(
        [
            "",
            f"Ready: {cluster}. In another terminal, try:",
            "",
            *(f"  {command:<{width}}   # {shows}" for command, shows in tries),
            "",
            "(Debian and Ubuntu have gearman and gearadmin in the package gearman-tools.)",
            f"{again}Ctrl-C stops the cluster; its queue stays in {layout.directory}.",
            "",
        ]
    )


def _at(node: NodeLayout) -> str:
    address = reachable(node.listen)
    return f"-h {address.host} -p {address.port}"


def _kill(node: NodeLayout) -> str:
    return f"kill -9 $(cat {shlex.quote(str(node.pid_file))})"


def _worker(layout: ClusterLayout) -> str:
    """Return a worker's command line; the gearman tool takes several servers from its environment alone."""
    first = layout.nodes[0]
    if len(layout.nodes) == 1:
        return f"gearman {_at(first)} -w -f wc -- wc -l"
    servers = ",".join(str(reachable(node.listen)) for node in layout.nodes)
    return f"GEARMAN_SERVERS={servers} gearman -w -f wc -- wc -l"
