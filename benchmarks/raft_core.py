"""Measure the consensus core alone: three nodes wired in memory, every proposal an entry of its own.

Disk and network take no time and messages are passed as they are (`--wire` encodes and decodes each), so the figure,
in processor time, is what the core itself costs, all three nodes together. `--log` goes on until the log holds that
many entries and shows the rate along the way: the cost of an entry must not depend on the log's length.

    python benchmarks/raft_core.py --seconds 2
    python benchmarks/raft_core.py --log 1000000
"""

import argparse
import random
import time

from cluster.raft import DurableState, MemoryStore, Raft, RaftConfig, bootstrap, decode, encode

NAMES = ("a", "b", "c")


class Group:
    """Three nodes, of which "a" leads."""

    def __init__(self, *, wire: bool) -> None:
        """Start them and elect the leader."""
        self.wire = wire
        self.stores = {name: MemoryStore(bootstrap(*NAMES)) for name in NAMES}
        self.nodes = {
            name: Raft(
                RaftConfig(id=name, randrange=random.Random(name).randrange),
                DurableState(log=store, base=store.base),
            )
            for name, store in self.stores.items()
        }
        self.applied = dict.fromkeys(NAMES, 1)
        self.leader = self.nodes["a"]
        self.leader.campaign()
        self.settle()

    def settle(self) -> None:
        """Carry out bundles until nobody has anything to do."""
        busy = True
        while busy:
            busy = False
            for name, node in self.nodes.items():
                while (ready := node.ready()) is not None:
                    busy = True
                    for message in ready.messages:
                        self.nodes[message.to].step(decode(encode(message)) if self.wire else message)
                    if ready.write is not None:
                        self.stores[name].write(ready.write)
                        node.persisted(ready.write.sequence)
                    if ready.committed:
                        self.applied[name] = ready.committed[-1].index
                        node.applied(self.applied[name])

    def run(self, count: int, at_once: int) -> None:
        """Propose `count` entries, `at_once` in one moment, and see each applied on all nodes."""
        propose = self.leader.propose
        data = b"x" * 100
        for _ in range(count // at_once):
            for _ in range(at_once):
                propose(data)
            self.settle()
        last = self.leader.last_index
        assert all(index == last for index in self.applied.values()), self.applied


def main() -> None:
    """Print proposals per second."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="time for each line")
    parser.add_argument("--wire", action="store_true", help="encode and decode every message")
    parser.add_argument("--log", type=int, default=0, help="grow one log to this many entries instead")
    arguments = parser.parse_args()
    group = Group(wire=arguments.wire)
    if arguments.log:
        edge = 1000
        while edge <= arguments.log:
            group.run(edge - group.leader.last_index, 100)
            began = time.process_time()
            group.run(20_000 if edge > 1000 else 1000, 100)
            took = time.process_time() - began
            count = 20_000 if edge > 1000 else 1000
            print(f"log of {edge:>9,} entries: {count / took:>9,.0f} proposals/s, {took / count * 1e6:.1f} us each")
            edge *= 10
        return
    for at_once in (1, 4, 16, 64, 256):
        done, began = 0, time.process_time()
        while time.process_time() - began < arguments.seconds:
            group.run(at_once * 16, at_once)
            done += at_once * 16
        rate = done / (time.process_time() - began)
        print(f"{at_once:>4} at a time: {rate:>9,.0f} proposals/s")


if __name__ == "__main__":
    main()
