"""Whether a node serves, as its own site says: asked again and again until it does."""

import asyncio
from collections.abc import Callable
from typing import Final

import aiohttp

POLL_INTERVAL: Final = 0.2
"""Seconds between two questions."""
_PATIENCE: Final = aiohttp.ClientTimeout(total=2)


async def ready(http: aiohttp.ClientSession, site: str, not_yet: Callable[[str], None]) -> None:
    """Return when the node at the URL `site` is ready; `not_yet` is told why it is not, each time."""
    while True:
        try:
            async with http.get(f"{site}/readyz", timeout=_PATIENCE) as answer:
                if answer.status == 200:
                    return
                not_yet(" ".join((await answer.text(errors="replace")).split())[:200] or f"HTTP {answer.status}")
        except (aiohttp.ClientError, TimeoutError) as error:
            not_yet(str(error) or "no answer in time")
        await asyncio.sleep(POLL_INTERVAL)
