"""What a driver needs of its surroundings. In a server: the event loop, the storage thread, the mesh, the gateway."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from cluster.jobs import Batch, Command, Effect, JobTable
from cluster.log import Entry, HardState
from cluster.raft import Message
from cluster.storage import Install, Mirror, MirrorView, Piece

T = TypeVar("T")


class Handle(Protocol):
    """Something that is going to be called."""

    def cancel(self) -> None:
        """Let it not be called."""


class Loop(Protocol):
    """Time, as the event loop has it."""

    def time(self) -> float:
        """Give the monotonic clock, in seconds."""

    def call_soon(self, callback: Callable[..., object], *args: Any) -> Handle:
        """Call back in the next turn."""

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> Handle:
        """Call back after so many seconds."""


class Offload(Protocol):
    """Do something that may take long, beside the loop."""

    def __call__(
        self, work: Callable[[], T], done: Callable[[T], object], failed: Callable[[Exception], object]
    ) -> None:
        """Run `work` in a thread; then call `done` with what it gave, or `failed`, in a turn of the loop."""


class Disk(Protocol):
    """The storage thread."""

    def append(self, entries: Sequence[Entry], hard_state: HardState | None, done: Callable[[], None]) -> None:
        """Write entries."""

    def write(
        self,
        entries: Sequence[Entry],
        hard_state: HardState | None,
        pieces: Sequence[Piece],
        install: Install | None,
        done: Callable[[], None],
    ) -> None:
        """Write all of this, in one transaction."""

    def mirror(self, mirror: Mirror, done: Callable[[], None]) -> None:
        """Write what changed in the table."""

    def note(self, key: str, value: bytes, done: Callable[[], None]) -> None:
        """Write down something small that must outlive the process."""

    def view(self) -> MirrorView:
        """Open the mirror for reading; may wait."""


class Peers(Protocol):
    """The other nodes. Nothing here waits, and everything may get lost on the way."""

    def send(self, message: Message) -> None:
        """Send a message of consensus to the node that it names."""

    def forward(self, leader: str, batches: Sequence[Batch]) -> bool:
        """Send this node's batches to the leader; tell whether they are on their way, as far as can be known."""

    def busy(self, node: str) -> bool:
        """Tell whether what was sent to a node, or is to be, still waits here."""


class EffectSink(Protocol):
    """Who carries out the effects that concern this node's sessions."""

    def deliver(self, effects: list[Effect]) -> None:
        """Carry out the effects of one entry, in order, before returning."""

    def flush(self) -> None:
        """Send what the effects delivered so far have to say."""

    def complete(self, commands: Sequence[Command]) -> None:
        """Add what is worth saying behind these commands of this node, which are about to be written."""

    def tick(self) -> None:
        """See to what nothing else reminds of."""

    def begin(self, incarnation: int) -> None:
        """Begin with the sessions of a new incarnation of this node."""

    def resume(self, before: JobTable, seen: Sequence[Command], pending: Sequence[Command]) -> int:
        """Go on with this incarnation's sessions in a table that a snapshot brought; tell how many end all the same.

        `before`: the table that it took the place of. `seen`: the commands of this node that are in it, and whose
        effects were never delivered. `pending`: those that are in neither table.
        """

    def hang_up(self) -> None:
        """Close every connection, and tell the table: this node cannot serve them now, another one can."""

    def break_off(self) -> None:
        """Close every connection; the table has let their sessions go already."""
