"""The process that test_crash.py kills: appends, replaces and mirrors without end, and tells what it does.

On standard output, a line each: "plan FIRST LAST TERM VOTED" before an append is handed over, "append TERM" and "mirror
INDEX" when one is acknowledged. No two appends have one term, so that each can be told from what replaced it.
"""

import asyncio
import os
import random
import sys
from pathlib import Path

from cluster.log import Entry, EntryKind, HardState
from cluster.storage import Mirror, StorageThread, Store

FRESH = 1000
FRESH_SEGMENTS = 300
"""In every mirror so many that take the place of none, so that they are written in portions; they go with the next."""


def data_of(index, term):
    return f"{index}/{term}".encode() * (1 + (index * 7919 + term * 104_729) % 9000)


def tell(*words):
    os.write(1, " ".join(map(str, words)).encode() + b"\n")


async def main(directory, term):
    store = Store.open(directory)
    recovered = store.recover()
    applied, last = recovered.applied_index, recovered.last_index
    fresh = [number for number, _ in store.read_segments() if number >= FRESH]
    generator = random.Random(term)
    loop = asyncio.get_running_loop()
    thread = StorageThread(store, loop.call_soon_threadsafe, lambda _: os.abort())
    thread.start()

    in_flight = asyncio.Semaphore(8)
    mirror_in_flight = False
    while True:
        await in_flight.acquire()
        term += 1
        first = generator.randrange(applied + 1, last + 2) if generator.random() < 0.2 else last + 1
        last = first + generator.choice([0, 0, 0, 4])
        vote = f"node-{term}" if generator.random() < 0.3 else None
        tell("plan", first, last, term, vote)

        def appended(term=term):
            tell("append", term)
            in_flight.release()

        thread.append(
            [Entry(index, term, EntryKind.COMMANDS, data_of(index, term)) for index in range(first, last + 1)],
            None if vote is None else HardState(term, vote),
            appended,
        )
        if not mirror_in_flight and last > applied and generator.random() < 0.3:
            applied = generator.randrange(applied + 1, last + 1)
            mirror_in_flight = True

            def mirrored(index=applied):
                nonlocal mirror_in_flight
                mirror_in_flight = False
                tell("mirror", index)

            mark = b"%d:" % applied
            dropped, fresh = fresh, [FRESH * applied + number for number in range(FRESH_SEGMENTS)]
            thread.mirror(
                Mirror(
                    applied,
                    term,
                    mark,
                    [
                        *((number, mark + bytes(generator.randrange(40_000))) for number in range(8)),
                        *((number, mark + bytes(2000)) for number in fresh),
                        *((number, None) for number in dropped),
                    ],
                    [(applied, mark), (1_000_000 + applied, bytes(generator.choice([3, 300_000, 6_000_000])))],
                    [*range(1, applied), *range(1_000_001, 1_000_000 + applied)],
                    generator.randrange(applied + 1),
                ),
                mirrored,
            )


asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
