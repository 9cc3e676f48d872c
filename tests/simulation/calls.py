"""What clients ask of the cluster and what they are told: the one place where every call of theirs is made known.

Each call has a number of its own. It is known when it is sent and when its answer arrives, as the client sees it; one
whose connection ends before that may have been carried out or not. What workers say of their runs is known as well, by
their connections. Not for: judging, which is for whoever listens.
"""

from typing import TYPE_CHECKING

import msgspec

from protocol import PacketType

if TYPE_CHECKING:
    from tests.simulation.connections import Wire
    from tests.simulation.runs import Run


class Submission(msgspec.Struct, frozen=True):
    """A submit, by whatever packet."""

    function: bytes
    unique: bytes
    workload: bytes
    """No other submit has the same."""
    priority: int
    background: bool
    due: int = 0
    """Seconds since the epoch; 0: at once."""
    reducer: bytes = b""


class Calls:
    """A listener who takes no note of anything. `client` is a name, `node` that of the node that was asked."""

    def submitted(self, client: str, call: int, node: str, submission: Submission) -> None:
        """A client sends a submit."""

    def created(self, call: int, handle: bytes) -> None:
        """It hears that its job is in, or that it has joined another one."""

    def refused(self, call: int, code: bytes, text: bytes) -> None:
        """It hears that its submit is refused."""

    def reported(self, call: int, kind: PacketType, args: list[bytes]) -> None:
        """It hears how its foreground job goes."""

    def ended(self, call: int, kind: PacketType, args: list[bytes]) -> None:
        """It hears how its foreground job ended; of several submits for one job on one connection it is the first."""

    def asked(self, client: str, call: int, node: str, question: tuple[bytes, ...]) -> None:
        """A client or operator asks something else: the packet's name and arguments, or a line of text by itself."""

    def answered(self, call: int, answer: list[bytes]) -> None:
        """It hears the answer: the packet's arguments, or the lines of text."""

    def lost(self, client: str, calls: list[int]) -> None:
        """A connection has ended: these calls of it will not be answered, or not be told how their jobs end."""

    def fetching(self, wire: "Wire") -> None:
        """A worker asks for a job."""

    def fetched(self, wire: "Wire") -> None:
        """It hears the answer."""

    def run_begins(self, wire: "Wire", handle: bytes, workload: bytes, run: "Run") -> None:
        """It was handed a job; it may have gone before it came."""

    def run_ends(self, wire: "Wire", handle: bytes, run: "Run", kind: PacketType) -> None:
        """It sends its final word on a run."""
