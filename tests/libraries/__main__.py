"""`python -m tests.libraries`: have the client libraries that are here call workers on another node, and count."""

import argparse
import asyncio
import logging
import sys
import tempfile
from pathlib import Path

from tests.harness.cluster import Cluster
from tests.libraries.calls import Count, play
from tests.libraries.library import LIBRARIES, Library

CALLS = 200


def main() -> int:
    """Call every library that is here; return 1 when a call was not answered by a run of its own, or none is here."""
    parser = argparse.ArgumentParser(prog="python -m tests.libraries", description=__doc__)
    parser.add_argument("--calls", type=int, default=CALLS, help=f"calls of each library ({CALLS})")
    parser.add_argument("--rounds", type=int, default=1, help="how often all libraries are called in turn (1)")
    parser.add_argument("--nodes", type=int, default=3, help="nodes of the cluster (3); 1 to compare with")
    parser.add_argument("--only", action="append", metavar="WORD", help="only libraries with this in their names")
    options = parser.parse_args()
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    chosen = [
        library
        for library in LIBRARIES
        if not options.only or any(word.lower() in library.name.lower() for word in options.only)
    ]
    missing = {library: why for library in chosen if (why := library.missing())}
    present = [library for library in chosen if library not in missing]
    with tempfile.TemporaryDirectory(prefix="gearmesh-libraries-") as directory:
        cluster = Cluster(Path(directory), options.nodes, arguments=("--log-level", "warning"))
        wrong = asyncio.run(call_all(present, cluster, options.calls, options.rounds)) if present else 0
    for library, why in missing.items():
        say(f"{library.name:24} NOT CALLED: {why}")
    if not present:
        say("no library is here: nothing was tried")
    return 1 if wrong or not present else 0


async def call_all(libraries: list[Library], cluster: Cluster, calls: int, rounds: int) -> int:
    """Start the nodes, call the libraries one after the other, and print what became of it.

    Returns:
        How many of them had a call that was not answered by a run of its own.
    """
    wrong = 0
    with cluster:
        await cluster.start()
        await cluster.settles()
        for number in range(rounds):
            for place, library in enumerate(libraries):
                try:
                    count = await play(library, cluster, f"f{number}_{place}", calls)
                except (AssertionError, ChildProcessError, OSError) as error:
                    count = Count(calls, 0, 0, 0, str(error))
                say(line(library, count))
                wrong += not count.right
    return wrong


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def line(library: Library, count: Count) -> str:
    """Say what became of the calls of a library."""
    verdict = "ok" if count.right else "WRONG"
    text = (
        f"{library.name:24} {verdict:6} {count.calls} calls, {count.answered} answered, "
        f"{count.own} by a run of their own, {count.runs} runs"
    )
    return f"{text} ({count.trouble})" if count.trouble else text


if __name__ == "__main__":
    sys.exit(main())
