"""A process killed at any moment comes back with everything that it acknowledged, and with nothing half done."""

import os
import random
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cluster.log import HardState
from cluster.storage import Store

WRITER = Path(__file__).with_name("crash_writer.py")
PATIENCE = 30.0
FRESH, FRESH_SEGMENTS = 1000, 300
"""The numbers of the segments that a mirror replaces nothing with, and how many they are, as the process has them."""


def data_of(index, term):
    return f"{index}/{term}".encode() * (1 + (index * 7919 + term * 104_729) % 9000)


def run_and_kill(directory, term, acknowledgements):
    """Start a writer, kill it after so many acknowledgements, and return the lines that it wrote."""
    process = subprocess.Popen([sys.executable, str(WRITER), str(directory), str(term)], stdout=subprocess.PIPE)
    received = b""
    deadline = time.monotonic() + PATIENCE
    try:
        while received.count(b"append") < acknowledgements:
            assert select.select([process.stdout], [], [], deadline - time.monotonic())[0], "the writer went silent"
            chunk = os.read(process.stdout.fileno(), 65536)
            assert chunk, "the writer ended by itself"
            received += chunk
    finally:
        process.send_signal(signal.SIGKILL)
        received += process.stdout.read()
        process.stdout.close()
        process.wait()
    return [line.split() for line in received.decode().splitlines()]


class Expectation:
    """What may be in the store: the log and hard state after each of the appends that were handed over."""

    def __init__(self):
        self.log = {}
        self.hard_state = HardState()
        self.mirrored = 0
        self.highest_term = 0

    def after(self, lines, recovered):
        """Find the append after which the store stands; it must not be before the last acknowledged one."""
        acknowledged = max((int(words[1]) for words in lines if words[0] == "append"), default=0)
        self.mirrored = max([self.mirrored, *(int(words[1]) for words in lines if words[0] == "mirror")])
        found = False
        log, hard_state = self.log, self.hard_state
        for first, last, term, vote in (words[1:] for words in lines if words[0] == "plan"):
            replaced = {index: old for index, old in log.items() if index < int(first)}
            log = replaced | dict.fromkeys(range(int(first), int(last) + 1), int(term))
            hard_state = hard_state if vote == "None" else HardState(int(term), vote)
            self.highest_term = int(term)
            if int(term) >= acknowledged and recovered(log, hard_state):
                self.log, self.hard_state, found = log, hard_state, True
        assert found, f"the store holds no state from append {acknowledged} on"


class TestAKilledProcess:
    @pytest.mark.parametrize("seed", [1, 2, 3])
    def test_comes_back_with_everything_acknowledged_time_after_time(self, directory, seed):
        generator = random.Random(seed)
        expectation = Expectation()
        for _ in range(6):
            lines = run_and_kill(directory, expectation.highest_term, generator.randrange(1, 120))
            store = Store.open(directory)
            recovered = store.recover()
            entries = list(store.read_entries(recovered.first_index, recovered.last_index))
            assert all(entry.data == data_of(entry.index, entry.term) for entry in entries)
            terms = {entry.index: entry.term for entry in entries}

            def stands_after(log, hard_state, terms=terms, recovered=recovered):
                held = {index: term for index, term in log.items() if index >= recovered.first_index}
                return held == terms and hard_state == recovered.hard_state

            expectation.after(lines, stands_after)

            applied = recovered.applied_index
            assert applied >= expectation.mirrored
            assert recovered.first_index <= applied + 1
            mark = b"%d:" % applied if applied else b""
            assert recovered.meta == mark
            segments = dict(store.read_segments())
            fresh = range(FRESH * applied, FRESH * applied + FRESH_SEGMENTS)
            assert list(segments) == ([*range(8), *fresh] if applied else [])
            assert {data[: len(mark)] for data in segments.values()} == ({mark} if applied else set())
            jobs = [job for job, _ in store.read_payloads()]
            assert jobs == ([applied, 1_000_000 + applied] if applied else [])
            assert store._db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            store.close()
