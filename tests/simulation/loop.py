"""A process's event loop and threads in simulated time: what they are to call dies with the process.

Not for: pauses and crashes; every call goes through the machine's `run`, which sees to them.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

from cluster.storage import StorageError
from tests.simulation.schedule import MS, SECOND

if TYPE_CHECKING:
    from tests.simulation.machine import Machine

T = TypeVar("T")

TURN: Final = 20
"""Microseconds until the next turn of the loop."""


class Handle:
    """Something that is going to be called."""

    __slots__ = ("_args", "_callback", "_cancelled")

    def __init__(self, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        self._callback = callback
        self._args = args
        self._cancelled = False

    def cancel(self) -> None:
        """Let it not be called."""
        self._cancelled = True

    def fire(self) -> None:
        """Call it, unless it was cancelled."""
        if not self._cancelled:
            self._callback(*self._args)


class Loop:
    """`node.driver.Loop`."""

    def __init__(self, machine: "Machine", generation: int) -> None:
        self._machine = machine
        self._generation = generation

    def time(self) -> float:
        """Give the monotonic clock, in seconds."""
        return self._machine.monotonic()

    def call_soon(self, callback: Callable[..., object], *args: Any) -> Handle:
        """Call back in the next turn."""
        return self._plan(TURN, callback, args)

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> Handle:
        """Call back after so many seconds of this machine's clock."""
        return self._plan(TURN + int(delay * SECOND / self._machine.rate), callback, args)

    def _plan(self, delay: int, callback: Callable[..., object], args: tuple[Any, ...]) -> Handle:
        handle = Handle(callback, args)
        self._machine.schedule.after(delay, self._machine.run, self._generation, handle.fire)
        return handle


class Offload:
    """`node.driver.Offload`: the work is done at one moment of the time that it takes."""

    def __init__(self, machine: "Machine", generation: int) -> None:
        self._machine = machine
        self._generation = generation

    def __call__(
        self, work: Callable[[], T], done: Callable[[T], object], failed: Callable[[Exception], object]
    ) -> None:
        """Do `work` in a while, and say so after another one."""
        self._later(self._work, work, done, failed)

    def _work(self, work: Callable[[], T], done: Callable[[T], object], failed: Callable[[Exception], object]) -> None:
        unreadable = self._machine.disk.unreadable
        if unreadable and self._machine.random.random() < unreadable:
            self._later(failed, StorageError("the disk cannot be read"))
            return
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is reported to whom it may concern
            self._later(failed, error)
        else:
            self._later(done, result)

    def _later(self, action: Callable[..., object], *args: Any) -> None:
        machine = self._machine
        machine.schedule.after(machine.random.randrange(100, 3 * MS), machine.run, self._generation, action, *args)
