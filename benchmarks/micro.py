"""`python -m benchmarks.micro`: the parts of one node by themselves, in this process, without sockets.

For seeing which part a change made slower: medians of repeated runs, in jobs per second and microseconds per
job. What they add up to in a running server is for `python -m benchmarks`.
"""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.packets import SUBMIT_JOB_BG, SubmitFeed
from cluster.jobs import (
    Batch,
    Can,
    Command,
    Finish,
    Grab,
    JobTable,
    NodeUp,
    SessionOpen,
    Submit,
    decode_proposal,
    encode_proposal,
    propose,
)
from cluster.log import Entry, EntryKind
from cluster.storage import Store
from protocol import ServerDecoder

FUNCTION = b"bench"
NODE = "micro"
WORKER = 1
READ_BYTES = 65536


class TableDriver:
    """Puts commands before a job table as one node would, batch after batch."""

    def __init__(self) -> None:
        self.table = JobTable()
        self._next = 1
        self.say([NodeUp(b"H:micro", -1), SessionOpen(WORKER, "micro"), Can(WORKER, FUNCTION, 0)])

    def say(self, commands: list[Command]) -> None:
        """Apply one batch."""
        self.table.apply(propose(self._next, [Batch(NODE, 1, self._next, commands)]))
        self._next += len(commands)


def submits(count: int, payload_bytes: int = 100) -> list[Command]:
    """Give background submits of one function, each with a payload of its own."""
    return [
        Submit(0, FUNCTION, b"", (b"%010d" % number).ljust(payload_bytes, b"x"), 1, background=True)
        for number in range(count)
    ]


def batches(commands: list[Command], size: int) -> list[list[Command]]:
    """Cut commands into batches."""
    return [commands[at : at + size] for at in range(0, len(commands), size)]


def decoder(jobs: int, _batch: int, _scratch: Path) -> float:
    """Decode submit packets that come in reads of 64 KiB."""
    data = b"".join(SubmitFeed(SUBMIT_JOB_BG, FUNCTION, range(jobs), 100).take(jobs))
    feed = ServerDecoder().feed
    began = perf_counter()
    count = sum(len(list(feed(data[at : at + READ_BYTES]))) for at in range(0, len(data), READ_BYTES))
    seconds = perf_counter() - began
    assert count == jobs, f"{count} of {jobs} packets decoded"
    return seconds


def proposal(jobs: int, batch: int, _scratch: Path) -> float:
    """Encode and decode proposals of submits."""
    work = batches(submits(jobs), batch)
    began = perf_counter()
    for commands in work:
        decode_proposal(encode_proposal(propose(1, [Batch(NODE, 1, 1, commands)])))
    return perf_counter() - began


def table_submit(jobs: int, batch: int, _scratch: Path) -> float:
    """Apply submits to a job table."""
    driver = TableDriver()
    work = batches(submits(jobs), batch)
    began = perf_counter()
    for commands in work:
        driver.say(commands)
    return perf_counter() - began


def table_drain(jobs: int, batch: int, _scratch: Path) -> float:
    """Grab and finish every job of a full table, one worker, in batches of whole jobs."""
    driver = TableDriver()
    for commands in batches(submits(jobs), batch):
        driver.say(commands)
    first = 1
    work: list[Command] = []
    for job in range(first, first + jobs):
        work += (Grab(WORKER, 0), Finish(WORKER, job))
    cut = batches(work, max(2, batch - batch % 2))
    began = perf_counter()
    for commands in cut:
        driver.say(commands)
    seconds = perf_counter() - began
    left = len(driver.table.jobs)
    assert left == 0, f"{left} jobs left in the table"
    return seconds


def storage(jobs: int, batch: int, scratch: Path) -> float:
    """Commit one log entry for each batch of submits, each synced to the disk."""
    directory = Path(tempfile.mkdtemp(dir=scratch))
    store = Store.open(directory / "data")
    try:
        entries = [
            Entry(index, 1, EntryKind.COMMANDS, encode_proposal(propose(1, [Batch(NODE, 1, 1, commands)])))
            for index, commands in enumerate(batches(submits(jobs), batch), start=1)
        ]
        began = perf_counter()
        for entry in entries:
            store.append([entry])
        return perf_counter() - began
    finally:
        store.close()
        shutil.rmtree(directory)


PARTS: dict[str, Callable[[int, int, Path], float]] = {
    "decode submits": decoder,
    "encode and decode proposals": proposal,
    "apply submits": table_submit,
    "apply grab and finish": table_drain,
    "commit log entries": storage,
}


def main(
    jobs: Annotated[int, typer.Option(min=100, help="Jobs in each run.")] = 20_000,
    batch: Annotated[int, typer.Option(min=1, help="Commands in a batch, and so in a log entry.")] = 100,
    runs: Annotated[int, typer.Option(min=1, help="Runs of each part; the median is shown.")] = 5,
    scratch: Annotated[Path, typer.Option(help="Where the storage keeps its file.")] = Path("build/benchmarks"),
) -> None:
    """Measure the parts of one node by themselves."""
    scratch.mkdir(parents=True, exist_ok=True)
    table = Table(title=f"{jobs:,} jobs, batches of {batch}", title_justify="left", box=None, pad_edge=False)
    for column in ("part", "jobs/s", "us/job", "best us/job"):
        table.add_column(column, justify="left" if column == "part" else "right")
    for name, part in PARTS.items():
        seconds = [part(jobs, batch, scratch) for _ in range(runs)]
        middle = median(seconds)
        table.add_row(name, f"{jobs / middle:,.0f}", f"{middle / jobs * 1e6:.2f}", f"{min(seconds) / jobs * 1e6:.2f}")
    Console().print(table, highlight=False)


if __name__ == "__main__":
    typer.run(main)
