"""`gearmesh dev`: a whole cluster in one terminal, to try, to break and to develop against.

Every node is a process of its own, `gearmesh serve` as anybody would run it, with its own ports and data directory;
they find each other by mDNS and prove to each other that they know a secret that was made for this data directory. So
what is seen here is what a cluster on three machines does, kill -9 included. Not for: running jobs anybody counts on;
one machine is one point of failure.
"""

import asyncio
import sys
from pathlib import Path
from typing import Final

from node.dev.layout import arrange, require_free_ports
from node.dev.screen import Screen
from node.dev.secret import shared_secret
from node.dev.session import Session

DEFAULT_DIRECTORY: Final = Path(".gearmesh")


def dev(*, nodes: int = 3, data_dir: Path = DEFAULT_DIRECTORY, listen_base: int = 4730, host: str = "127.0.0.1") -> int:
    """Run a cluster of `nodes` nodes until SIGINT, SIGTERM or SIGHUP, and return the exit status.

    The first node's Gearman port is `listen_base`, each further one's 10 higher. Every other setting of a node can be
    given by its GEARMESH_* variable. Raises `ConfigurationError`, and `ListenError` when a port is taken; nothing has
    been started then.
    """
    layout = arrange(nodes=nodes, directory=data_dir, listen_base=listen_base, host=host)
    require_free_ports(layout)
    secret = shared_secret(layout.secret_file)
    return asyncio.run(Session(layout.of_cluster_named_after(secret), Screen(sys.stdout)).run())
