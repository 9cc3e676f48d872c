"""Wait for a condition of the world outside the connection under test, with a deadline."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tests.harness.connection import PATIENCE

T = TypeVar("T")


async def eventually(
    ask: Callable[[], Awaitable[T]],
    accept: Callable[[T], bool] = bool,
    *,
    within: float = PATIENCE,
    every: float = 0.005,
) -> T:
    """Ask every so many seconds until the answer is acceptable, and return it.

    Raises AssertionError with the last answer when none is acceptable in time.
    """
    deadline = asyncio.get_running_loop().time() + within
    while not accept(answer := await ask()):
        assert asyncio.get_running_loop().time() < deadline, f"after {within} s still {answer!r}"
        await asyncio.sleep(every)
    return answer
