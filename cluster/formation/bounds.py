"""How long what nodes tell one another may be: whatever is longer is nonsense.

Not for: the size of a whole message, which `messages` bounds.
"""

from typing import Annotated, Final

import msgspec

MAX_TEXT: Final = 2000
"""Characters of a reason."""
MAX_NODES: Final = 512
"""Nodes in a list."""

NodeId = Annotated[str, msgspec.Meta(min_length=1, max_length=512)]
Name = Annotated[str, msgspec.Meta(max_length=512)]
"""A node's name, or a group's id; empty where there is none."""
Text = Annotated[str, msgspec.Meta(max_length=MAX_TEXT)]
Nodes = Annotated[tuple[NodeId, ...], msgspec.Meta(max_length=MAX_NODES)]
Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 62)]


def clipped(text: str) -> str:
    """Give `text` as far as a message may carry it."""
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 3] + "..."
