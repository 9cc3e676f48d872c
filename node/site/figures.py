"""The job table in numbers, read piece by piece: however many functions there are, the event loop goes on.

Not for: their names in a scrape (`metrics`).
"""

import asyncio
from itertools import islice
from typing import Final

from cluster.jobs import JobTable
from node.site.state import FunctionFigures, TableFigures

MOST_FUNCTIONS: Final = 1000
"""Functions that get a line of their own; every line is a time series wherever the metrics are stored."""
OTHERS: Final = "(others)"
"""The name of the line that sums the rest. A function of this very name is counted there too."""
PIECE: Final = 2000
"""Functions that are read in one turn of the loop."""


async def read_table(table: JobTable, *, most: int = MOST_FUNCTIONS) -> TableFigures:
    """Return the table's figures. They are not all of the same moment when there are more than `PIECE` functions."""
    functions = table.functions
    lines: dict[str, list[int]] = {}
    names = iter(list(functions))
    while piece := list(islice(names, PIECE)):
        for name in piece:
            if (function := functions.get(name)) is None:
                continue
            # Two names that are not UTF-8 can look the same; a scrape with the same line twice would be thrown away.
            shown = name.decode("utf-8", "backslashreplace")
            line = lines.setdefault(shown if shown in lines or len(lines) < most else OTHERS, [0, 0, 0])
            line[0] += function.total
            line[1] += function.running
            line[2] += function.workers
        if len(piece) == PIECE:
            await asyncio.sleep(0)
    return TableFigures(
        jobs=len(table.jobs),
        created=table.last_job,
        sessions=sum(len(node.sessions) for node in table.nodes.values()),
        functions=len(functions),
        by_function=tuple(FunctionFigures(name, *line) for name, line in lines.items()),
    )
