"""A process's event loop and threads in simulated time: what they are to call dies with the process.

Not for: pauses and crashes; every call goes through the machine's `run`, which sees to them.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final, TypeVar

from cluster.storage import StorageError
from tests.simulation.journal import ViolationError
from tests.simulation.schedule import MS, SECOND

if TYPE_CHECKING:
    from tests.simulation.machine import Machine

T = TypeVar("T")

TURN: Final = 20
"""Microseconds until the next turn of the loop."""


class CrashError(SystemExit):
    """The process ends here and now; nobody in it can do anything about that, not even a task of its loop."""


class Handle:
    """Something that is going to be called."""

    __slots__ = ("_args", "_callback", "_cancelled", "_context")

    def __init__(self, callback: Callable[..., object], args: tuple[Any, ...], context: Context | None) -> None:
        self._callback = callback
        self._args = args
        self._cancelled = False
        self._context = context

    def cancel(self) -> None:
        """Let it not be called."""
        self._cancelled = True

    def fire(self) -> None:
        """Call it, unless it was cancelled."""
        if not self._cancelled:
            if self._context is None:
                self._callback(*self._args)
            else:
                self._context.run(self._callback, *self._args)


class Loop(asyncio.AbstractEventLoop):
    """`node.driver.Loop`, and as much more of an event loop as the gateway, futures and tasks ask for."""

    def __init__(self, machine: "Machine", generation: int) -> None:
        self._machine = machine
        self._generation = generation

    def time(self) -> float:
        """Give the monotonic clock, in seconds."""
        return self._machine.monotonic()

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> Any:
        """Call back in the next turn."""
        return self._plan(TURN, callback, args, context)

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Any:
        """Call back after so many seconds of this machine's clock."""
        return self._plan(TURN + int(delay * SECOND / self._machine.rate), callback, args, context)

    def call_at(self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None) -> Any:
        """Call back at a time of this machine's clock."""
        return self.call_later(max(when - self.time(), 0.0), callback, *args, context=context)

    def _plan(self, delay: int, callback: Callable[..., object], args: tuple[Any, ...], context: Context | None) -> Any:
        handle = Handle(callback, args, context)
        self._machine.schedule.after(delay, self._machine.run, self._generation, handle.fire)
        return handle

    # Futures and tasks

    def get_debug(self) -> bool:
        """Be quick."""
        return False

    def create_future(self) -> asyncio.Future[Any]:
        """Make a future."""
        return asyncio.Future(loop=self)

    def create_task(
        self, coro: Coroutine[Any, Any, Any], *, name: str | None = None, context: Context | None = None
    ) -> Any:
        """Make a task, which ends without a word when its process does."""
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        task._log_destroy_pending = False  # type: ignore[attr-defined] - as `asyncio.gather` does
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Let nothing fail unseen but what ends with its process."""
        error = context.get("exception")
        if not isinstance(error, CrashError):
            raise ViolationError(f"{self._machine.name}: {context['message']}") from error

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Make this the running loop."""
        before = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        try:
            yield
        finally:
            asyncio._set_running_loop(before)


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
