"""Work that takes long, beside the event loop."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Offloading:
    """`node.driver.Offload` by the loop's threads."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def __call__(
        self, work: Callable[[], T], done: Callable[[T], object], failed: Callable[[Exception], object]
    ) -> None:
        """Run `work` in a thread; then call `done` with what it gave, or `failed`, in a turn of the loop."""

        def finished(future: asyncio.Future[T]) -> None:
            error = future.exception()
            if error is None:
                done(future.result())
            elif isinstance(error, Exception):
                failed(error)
            else:
                raise error

        self._loop.run_in_executor(None, work).add_done_callback(finished)
