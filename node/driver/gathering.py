"""This node's own commands: gathered, numbered, and sent when it is time, or again when that was in vain.

*Urgent* commands begin a write at the end of the loop's turn, or, in a crowd, after a few turns that bring nothing
more. *Prompt* ones, which nobody waits for but whose loss would repeat work, do so unless a write began within
`LAZY_DELAY`. *Lazy* ones, whose loss repeats nothing, wait up to `LAZY_DELAY` for company. So a commit is paid for by
many commands, and does not stand in the way of what comes next.

A batch is kept until it is applied. No batch weighs more than `MAX_BATCH_BYTES`: workloads that are too large for one
go in parts (`uploads`). Not for: where the batches go, which is the driver's.
"""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

from cluster.jobs import Batch, Command, Part, Submit
from node.driver.surroundings import Handle, Loop
from node.driver.uploads import PART, Uploads

LAZY_DELAY: Final = 0.002
"""Seconds that a lazy command waits for company."""
MAX_BATCH_COMMANDS: Final = 4096
COMMAND_BYTES: Final = 64
"""What a command weighs besides its names and its workload. Encoded, the rest of it takes no more than that."""
BATCH_BYTES: Final = 256
"""What a batch takes besides its commands, at the most."""
MAX_BATCH_BYTES: Final = 1 << 20
"""What the commands of a batch weigh at the most. A command weighs less: a part, names, and `COMMAND_BYTES`."""
MAX_BATCH: Final = MAX_BATCH_BYTES + BATCH_BYTES
"""Bytes of the longest batch."""
CROWD: Final = 8
"""When the last write carried this many commands, the next one waits for quiet: as long as packets keep coming,
patience adds more to a write than it costs."""
QUIET_TURNS: Final = 8
"""Turns of the loop without a new command after which it is quiet. One turn without packets is over in microseconds."""
MUCH: Final = 64
"""Commands that are worth a write of their own while one is under way."""
GATHER_TIME: Final = 0.005
"""Seconds that such a write waits at the most."""
MAX_WRITE_BATCHES: Final = 8
"""Batches that go into one write: what is beyond waits for the next."""
MAX_WRITE_BYTES: Final = 8 << 20
"""Bytes after which nothing more goes into one write; one batch always does."""
MAX_BACKLOG: Final = 64 << 20
"""Bytes in closed batches on their way to the table beyond which clients are not read from."""

Weighed = tuple[Batch, int]
"""A batch and what it weighs: encoded, it has no more bytes than that and `BATCH_BYTES`."""


class Gathering:
    """The commands of one node's incarnation on their way to the table."""

    def __init__(self, name: str, loop: Loop) -> None:
        self.name = name
        self.incarnation = 0
        self.numbered = 0
        """The number of the newest command proposed here."""
        self.applied_number = 0
        """The number of the newest of them that is applied."""
        self.in_turn = False
        """Whether whoever proposes will call `end_turn` before it returns to the event loop."""
        self.congested = False
        """Whether so much is on its way to the table that clients have to wait with more."""
        self._loop = loop
        self._gathering: list[Command] = []
        self._gathered_bytes = 0
        self._closed: list[tuple[list[Command], int]] = []
        self._weight = 0
        """What the batches weigh that are closed and not applied."""
        self._unapplied: deque[Weighed] = deque()
        """What has been sent and is not seen in the table yet."""
        self._urgent = False
        """Whether somebody waits for what has gathered."""
        self._hungry = False
        """Whether somebody would wait for it, were there a job."""
        self._turn_end: Handle | None = None
        self._lazy_timer: Handle | None = None
        self._crowd = 0
        """How many commands the last write carried."""
        self._seen = 0
        """The number of the newest command when the last turn ended, while a write waits for quiet; else 0."""
        self._quiet = 0
        """How many turns have ended since without another."""
        self._latest = 0.0
        """When it begins at the latest."""
        self._wrote = 0.0
        """When the last write began."""
        self._settling: deque[tuple[int, Callable[[], None]]] = deque()
        self._uploads = Uploads()
        self._emptying: list[Callable[[], None]] = []

    # -- proposing ----------------------------------------------------------------------------------------------------

    def propose(self, command: Command, size: int = 0) -> None:
        """Bring an urgent command before the table; `size` is how many bytes of names and workload it has."""
        self._gather(command, size)
        if not self._urgent:
            self._hurry()

    def propose_all(self, commands: list[Command], size: int) -> None:
        """Bring urgent commands before the table, in order; `size`: what names and workloads they have together.

        That is no more than fits into a batch.
        """
        size += len(commands) * COMMAND_BYTES
        if self._gathered_bytes + size > MAX_BATCH_BYTES and self._gathering:
            self._close_batch()
        self.numbered += len(commands)
        self._gathering += commands
        self._gathered_bytes += size
        if len(self._gathering) >= MAX_BATCH_COMMANDS:
            self._close_batch()
        if not self._urgent:
            self._hurry()

    def propose_upload(self, submit: Submit) -> None:
        """Bring a submit before the table whose workload is too large for one command; it has no number yet."""
        self._uploads.add(submit)
        if not self._urgent:
            self._hurry()

    def propose_submit(self, submit: Submit) -> bool:
        """Bring a submit before the table, whatever size it has; tell whether it goes in parts."""
        if len(submit.workload) > PART:
            self.propose_upload(submit)
            return True
        self.propose(submit, _size(submit))
        return False

    def propose_lazily(self, command: Command, size: int = 0) -> None:
        """Bring a command before the table that nobody waits for; `size` is how many bytes of names it has."""
        self._gather(command, size)
        if not self._urgent and self._lazy_timer is None:
            self._lazy_timer = self._loop.call_later(LAZY_DELAY, self._hurry)

    def propose_while_idle(self, command: Command) -> None:
        """Bring a command before the table that can wait as long as there is no job to be had."""
        self._hungry = True
        self.propose_lazily(command)

    def propose_promptly(self, command: Command) -> None:
        """Bring a command before the table that nobody waits for, but whose loss would repeat work.

        It begins a write at once, unless one began within `LAZY_DELAY`: then it waits for company until that is over.
        """
        self._gather(command, 0)
        if self._urgent:
            return
        wait = self._wrote + LAZY_DELAY - self._loop.time()
        if wait <= 0:
            self._hurry()
        elif self._lazy_timer is None:
            self._lazy_timer = self._loop.call_later(wait, self._hurry)

    def when_settled(self, callback: Callable[[], None]) -> None:
        """Call back once everything proposed here so far is applied; at once when it is."""
        if self.applied_number == self.numbered:
            callback()
            return
        self._settling.append((self.numbered, callback))
        if not self._urgent:
            self._hurry()

    def when_empty(self, callback: Callable[[], None]) -> None:
        """Call back once everything brought here is applied, what is uploaded included; at once when it is."""
        self._emptying.append(callback)
        if not self._call_emptied() and not self._urgent:
            self._hurry()

    def expedite(self) -> None:
        """Let nothing that was proposed here so far wait for company."""
        if self._gathering and not self._urgent:
            self._hurry()

    @property
    def backlog(self) -> int:
        """What is proposed and not applied weighs, in bytes; what is left of uploads does not count."""
        return self._weight + self._gathered_bytes

    @property
    def uploading(self) -> int:
        """What is left of uploads, in bytes."""
        return self._uploads.size

    @property
    def much(self) -> bool:
        """Tell whether what has gathered is worth a write of its own, whatever else is under way."""
        return len(self._gathering) >= MUCH or bool(self._closed)

    def _gather(self, command: Command, size: int) -> None:
        size += COMMAND_BYTES
        if self._gathered_bytes + size > MAX_BATCH_BYTES and self._gathering:
            self._close_batch()
        self.numbered += 1
        self._gathering.append(command)
        self._gathered_bytes += size
        if len(self._gathering) >= MAX_BATCH_COMMANDS:
            self._close_batch()

    def _gather_parts(self) -> None:
        """Let the next parts of uploads go with what has gathered, as far as the window allows."""
        uploads = self._uploads
        while (command := uploads.next()) is not None:
            size = len(command.data) if isinstance(command, Part) else _size(command)
            self._gather(command, size)
            uploads.sent(self.numbered, size)

    def _close_batch(self) -> None:
        self._closed.append((self._gathering, self._gathered_bytes))
        self._weight += self._gathered_bytes
        self.congested = self._weight > MAX_BACKLOG
        self._gathering = []
        self._gathered_bytes = 0

    # -- when it is time to write -------------------------------------------------------------------------------------

    def _may_write(self) -> bool:
        """Tell whether a write may begin now."""
        raise NotImplementedError

    def _write(self) -> None:
        """Begin one, with what `_take` gives."""
        raise NotImplementedError

    def _hurry(self) -> None:
        """Begin a write at the end of this turn, or as soon as one may begin."""
        self._urgent = True
        if not self.in_turn and self._may_write():
            self._turn_end = self._loop.call_soon(self.end_turn)

    def end_turn(self) -> None:
        """See to the write that was asked for in this turn, if one may begin."""
        self.in_turn = False
        if not self._urgent or self._seen or not self._may_write():
            return
        if self._crowd < CROWD:
            self._write()
        else:
            self._seen = self.numbered
            self._latest = self._loop.time() + GATHER_TIME
            self._turn_end = self._loop.call_soon(self._end_quiet_turn)

    def _end_quiet_turn(self) -> None:
        """Begin the write once it is quiet."""
        self._quiet = self._quiet + 1 if self._seen == self.numbered else 0
        if self._quiet < QUIET_TURNS and not self._closed and self._loop.time() < self._latest:
            self._seen = self.numbered
            self._turn_end = self._loop.call_soon(self._end_quiet_turn)
            return
        self._seen = self._quiet = 0
        if self._urgent and self._may_write():
            self._write()

    def _take(self) -> list[Weighed]:
        """Give what has gathered, numbered, as far as it goes into one write."""
        self._urgent = self._hungry = False
        if self._lazy_timer is not None:
            self._lazy_timer.cancel()
            self._lazy_timer = None
        if self._uploads:
            self._gather_parts()
        if self._gathering:
            self._close_batch()
        if not self._closed:
            return []
        count = weight = 0
        while count < len(self._closed) and count < MAX_WRITE_BATCHES and weight <= MAX_WRITE_BYTES:
            weight += self._closed[count][1]
            count += 1
        closed, self._closed = self._closed[:count], self._closed[count:]
        self._wrote = self._loop.time()
        self._crowd = sum([len(commands) for commands, _ in closed])
        first = self.numbered + 1 - self._crowd - sum([len(commands) for commands, _ in self._closed])
        taken: list[Weighed] = []
        for commands, weight in closed:
            taken.append((Batch(self.name, self.incarnation, first, commands), weight))
            first += len(commands)
        self._unapplied.extend(taken)
        if self._closed:
            self._urgent = True
        return taken

    def _on_their_way(self) -> Iterator[tuple[int, Command]]:
        """Give every command that is not known to be applied, and its number."""
        for batch, _ in self._unapplied:
            yield from enumerate(batch.commands, batch.first)
        unsent = [*(commands for commands, _ in self._closed), self._gathering]
        number = self.numbered + 1 - sum(map(len, unsent))
        for commands in unsent:
            yield from enumerate(commands, number)
            number += len(commands)

    # -- what becomes of it -------------------------------------------------------------------------------------------

    def _settled(self, number: int) -> None:
        """Note that the commands up to `number` are applied."""
        self.applied_number = number
        unapplied = self._unapplied
        while unapplied and unapplied[0][0].first + len(unapplied[0][0].commands) - 1 <= number:
            self._weight -= unapplied.popleft()[1]
        self.congested = self._weight > MAX_BACKLOG
        self._uploads.applied(number)
        if self._uploads.open and not self._urgent:
            self._hurry()

    def _call_settled(self) -> None:
        settling = self._settling
        while settling and settling[0][0] <= self.applied_number:
            settling.popleft()[1]()
        if self._emptying:
            self._call_emptied()

    def _call_emptied(self) -> bool:
        """Call those back who wait for everything to be applied, if it is; tell whether it is."""
        if self._uploads or self.applied_number != self.numbered:
            return False
        emptying, self._emptying = self._emptying, []
        for callback in emptying:
            callback()
        return True

    def _begin_anew(self, incarnation: int) -> None:
        """Forget what the last incarnation had under way: it is void."""
        self.incarnation = incarnation
        self.numbered = self.applied_number = self._weight = 0
        self._gathering = []
        self._gathered_bytes = 0
        self._closed = []
        self._unapplied.clear()
        self._settling.clear()
        self._emptying.clear()
        self._uploads.clear()
        self._urgent = self._hungry = self.congested = False
        self._seen = self._quiet = self._crowd = 0

    def _cancel(self) -> None:
        for timer in (self._turn_end, self._lazy_timer):
            if timer is not None:
                timer.cancel()


def _size(submit: Submit) -> int:
    """Give the bytes of a submit's names and of its workload."""
    return len(submit.function) + len(submit.unique) + len(submit.workload) + len(submit.reducer)
