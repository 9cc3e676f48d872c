"""Python's gear. Arguments: client HOST:PORT FUNCTION CALLS | worker HOST:PORT FUNCTION.

A worker prints the number of each run and returns it; a client prints the result of each call.
"""

import sys
import threading
import warnings

warnings.simplefilter("ignore", DeprecationWarning)  # of Condition.notifyAll, in the library

import gear  # noqa: E402

PATIENCE = 30


def say(number: object) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


class Client(gear.Client):
    """A client that says when a job has ended."""

    ended: threading.Event

    def handleWorkComplete(self, packet):  # noqa: N802 - the library's name
        super().handleWorkComplete(packet)
        self.ended.set()


def call(address: str, function: str, calls: int) -> None:
    host, port = address.split(":")
    client = Client()
    client.addServer(host, int(port))
    client.waitForServer(timeout=PATIENCE)
    for number in range(calls):
        client.ended = threading.Event()
        job = gear.TextJob(function, "the same", unique="the same key")
        client.submitJob(job)
        if not client.ended.wait(PATIENCE):
            sys.exit(f"call {number} has no result")
        say(job.data[0])
    client.shutdown()


def work(address: str, function: str) -> None:
    host, port = address.split(":")
    worker = gear.TextWorker("counted")
    worker.addServer(host, int(port))
    worker.waitForServer(timeout=PATIENCE)
    worker.registerFunction(function)
    runs = 0
    while True:
        job = worker.getJob()
        runs += 1
        say(runs)
        job.sendWorkComplete(str(runs))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["client", address, function, calls]:
            call(address, function, int(calls))
        case ["worker", address, function]:
            work(address, function)
