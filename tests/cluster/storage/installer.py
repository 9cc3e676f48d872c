"""The process that test_installing.py kills: it kills itself in the middle of installing a snapshot.

Arguments: directory, the file with the stream, its index and term, and after how many steps of SQLite's virtual machine
(in scores) it dies. "installed" on standard output when it does not come to that.
"""

import os
import signal
import sys
from pathlib import Path

from cluster.log import Entry, EntryKind, HardState
from cluster.storage import Install, Piece, Store

CHUNK = 4 * 1024 * 1024


def main(directory, source, index, term, steps):
    store = Store.open(Path(directory))
    stream = Path(source).read_bytes()
    for offset in range(0, len(stream) - CHUNK, CHUNK):
        store.write(pieces=[Piece(offset, stream[offset : offset + CHUNK])])
    left = steps

    def step():
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    store._db.set_progress_handler(step, 20)
    offset = store._spooled
    last = Entry(index + 1, term, EntryKind.COMMANDS, b"behind it")
    store.write([last], HardState(term, "new"), [Piece(offset, stream[offset:])], Install(index, term))
    os.write(1, b"installed %d" % (steps - left))
    os.kill(os.getpid(), signal.SIGKILL)


main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
