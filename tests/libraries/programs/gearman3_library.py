"""Python's gearman3. Arguments: client HOST:PORT FUNCTION CALLS | worker HOST:PORT FUNCTION.

A worker prints the number of each run and returns it; a client prints the result of each call.
"""

import array
import sys

import gearman
import gearman.connection

PATIENCE = 30


def say(number: object) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


class Buffer(array.array):
    """An array with the method that it had until Python 3.8, which the library calls."""

    fromstring = array.array.frombytes

    def __getitem__(self, index):
        found = super().__getitem__(index)
        return Buffer(self.typecode, found) if isinstance(index, slice) else found


def call(address: str, function: bytes, calls: int) -> None:
    client = gearman.GearmanClient([address])
    for number in range(calls):
        request = client.submit_job(function, b"the same", unique=b"the same key", poll_timeout=PATIENCE)
        if request.state != gearman.JOB_COMPLETE:
            sys.exit(f"call {number} ended as {request.state}")
        say(request.result.decode())


def work(address: str, function: bytes) -> None:
    runs = 0

    def run(*_: object) -> bytes:
        nonlocal runs
        runs += 1
        say(runs)
        return b"%d" % runs

    worker = gearman.GearmanWorker([address])
    worker.register_task(function, run)
    worker.work()


if __name__ == "__main__":
    gearman.connection.array.array = Buffer
    match sys.argv[1:]:
        case ["client", address, function, calls]:
            call(address, function.encode(), int(calls))
        case ["worker", address, function]:
            work(address, function.encode())
