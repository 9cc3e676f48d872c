"""`python -m tests.chaos`: misfortunes at random for a live cluster under load, and the account of all its jobs."""

import argparse
import asyncio
import logging
import os
import random
import shutil
import sys
import tempfile
import traceback
from contextlib import ExitStack
from pathlib import Path

from tests.chaos.run import Outcome, Run, say
from tests.harness.cluster_hosts import Segment


def main() -> int:
    """Run what the command line asks for; return 1 when a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="begin new misfortunes for so long (600)")
    parser.add_argument("--seed", type=int, help="of an earlier run, for the same misfortunes (random)")
    parser.add_argument("--nodes", type=int, default=3, help="nodes to begin with (3)")
    parser.add_argument("--largest", type=int, default=60, help="MiB of the largest jobs; 0: none but small ones (60)")
    parser.add_argument(
        "--loopback", action="store_true", help="no network namespaces, and so no partitions: needs no root"
    )
    parser.add_argument("--directory", type=Path, help="where the nodes keep their data and logs (a temporary one)")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(2**32) if options.seed is None else options.seed
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # it warns of every write to a server that is gone
    directory = options.directory or Path(tempfile.mkdtemp(prefix="gearmesh-chaos-"))
    say(f"seed {seed}, {options.seconds:.0f} s, {options.nodes} nodes, logs in {directory}")
    with ExitStack() as stack:
        if options.loopback:
            segment = None
        elif os.geteuid() != 0:
            say("not root: no network namespaces, and so no partitions")
            segment = None
        else:
            segment = stack.enter_context(Segment())
        run = Run(
            directory,
            seed=seed,
            seconds=options.seconds,
            nodes=options.nodes,
            largest=options.largest << 20,
            segment=segment,
        )
        try:
            outcome = asyncio.run(run.play())
        except Exception as error:  # noqa: BLE001 - whatever it is, the account and the seed are what matters
            say("".join(traceback.format_exception(error, limit=-8)))
            run.say(f"STUCK: {error}")
            outcome = Outcome(run.account.figures(), ["the cluster did not go on", *run.account.violations_so_far()], 0)
    return report(outcome, seed, directory, keep=options.directory is not None)


def report(outcome: Outcome, seed: int, directory: Path, *, keep: bool) -> int:
    """Print the account; keep the logs when something is wrong with it."""
    say(f"{outcome.misfortunes} misfortunes: {outcome.figures}")
    if not outcome.violations:
        say("every promise was kept")
        if not keep:
            shutil.rmtree(directory, ignore_errors=True)
        return 0
    for violation in outcome.violations[:50]:
        say(f"VIOLATION: {violation}")
    say(f"{len(outcome.violations)} violations; again: python -m tests.chaos --seed {seed}; logs: {directory}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
