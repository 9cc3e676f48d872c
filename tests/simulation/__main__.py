"""`python -m tests.simulation`: run seeds, until one fails or all are done."""

import argparse
import sys
import time
import traceback

from tests.simulation.journal import ViolationError, say
from tests.simulation.known import KNOWN, look
from tests.simulation.profile import BY_NAME, KINDS
from tests.simulation.simulation import Result, Simulation


def main() -> int:
    """Run what the command line asks for; return 1 when something never may have happened."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many seeds to run")
    parser.add_argument("--start", type=int, default=1, help="the first of them")
    parser.add_argument("--seed", type=int, help="run this one only")
    parser.add_argument("--seconds", type=float, help="run seeds for so long, however many they are")
    kinds = sorted([*KINDS, *BY_NAME, *KNOWN])
    parser.add_argument("--kind", choices=kinds, help="instead of the kind that the seed chooses")
    parser.add_argument("--nodes", type=int, help="instead of the size that the seed chooses")
    parser.add_argument("--log", action="store_true", help="write one line per event")
    parser.add_argument("--keep-going", action="store_true", help="go on after a failure")
    parser.add_argument("--verbose", action="store_true", help="write one line per seed")
    parser.add_argument("--known", action="store_true", help="play the kinds that the product does not survive yet")
    options = parser.parse_args()
    if options.known:
        return _play_known()
    seeds = iter([options.seed]) if options.seed is not None else iter(range(options.start, sys.maxsize))
    began = time.monotonic()
    results: list[Result] = []
    failures = 0
    for number, seed in enumerate(seeds):
        if options.seconds is not None:
            if time.monotonic() - began >= options.seconds:
                break
        elif options.seed is None and number >= options.seeds:
            break
        simulation = Simulation(seed, sys.stdout if options.log else None, kind=options.kind, nodes=options.nodes)
        try:
            results.append(simulation.run())
        except Exception as error:  # noqa: BLE001 - whatever it is, the seed is what matters
            failures += 1
            where = simulation.schedule.now / 1e6
            say(f"FAILED seed {seed} ({simulation.profile.kind}, {simulation.profile.nodes} nodes) at {where:.6f} s")
            say(f"  {error}")
            if not isinstance(error, ViolationError) or error.__cause__ is not None:
                traceback.print_exception(error.__cause__ or error, limit=-6, file=sys.stdout)
            extra = (f" --kind {options.kind}" if options.kind else "") + (
                f" --nodes {options.nodes}" if options.nodes else ""
            )
            say(f"  replay: python -m tests.simulation --seed {seed}{extra} --log")
            if not options.keep_going:
                break
        else:
            if options.verbose:
                say(results[-1])
    _report(results, failures)
    return 1 if failures else 0


def _play_known() -> int:
    """Play what the product does not survive yet; return 1 if the judge does not see all of it."""
    unseen = 0
    for name, known in KNOWN.items():
        seed, said = look(name)
        seen = known.says in said if said else False
        unseen += not seen
        say(f"{name}: {known.what}")
        say(f"  {'seed ' + str(seed) if seen else 'NOT SEEN, seed ' + str(seed)}: {said or 'all seeds passed'}")
    return 1 if unseen else 0


def _report(results: list[Result], failures: int) -> None:
    virtual = sum(result.virtual for result in results)
    real = sum(result.real for result in results)
    speed = virtual / real if real else 0.0
    say(
        f"{len(results)} seeds passed, {failures} failed: {virtual:.0f} s of cluster time in {real:.1f} s of processor"
        f" time ({speed:.0f} to 1); {sum(r.events for r in results)} events, {sum(r.entries for r in results)} entries,"
        f" {sum(r.leaders for r in results)} leaders, {sum(r.acknowledged for r in results)} jobs acknowledged,"
        f" {sum(r.runs for r in results)} runs ({sum(r.again for r in results)} again after a failure),"
        f" {sum(r.reads for r in results)} reads; {sum(r.undecided for r in results)} keys had too many calls to judge"
    )
    if len(results) == 1:
        say(f"fingerprint {results[0].fingerprint}")


if __name__ == "__main__":
    sys.exit(main())
