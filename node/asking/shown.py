"""The members of a cluster as a person sees them: a table on a terminal, plain columns anywhere else.

Not for: how they are asked for.
"""

import sys
from collections.abc import Iterable, Iterator
from typing import Any, Final

from node.configuration.values import printable

_LONGEST: Final = 500
"""Characters of a warning that are shown."""
_HEADINGS: Final = ("NODE", "NAME", "ROLE", "STATE", "ALARM", "BEHIND", "ADDRESS")


def show_members(cluster: dict[str, Any]) -> None:
    """Print what /api/v1/cluster says: the members to stdout, warnings to stderr."""
    rows = list(_rows(cluster))
    if sys.stdout.isatty():
        _print_table(cluster, rows)
    else:
        _print_columns(rows)
    show_warnings(cluster["node"].get("warnings", ()))


def show_warnings(warnings: Iterable[str]) -> None:
    """Print a node's warnings to stderr."""
    for warning in warnings:
        print(f"gearmesh: warning: {printable(warning[:_LONGEST])}", file=sys.stderr)  # noqa: T201 - as above


def _rows(cluster: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for member in cluster["members"]:
        state = "leader" if member["id"] == cluster["leader"] else "up" if member["up"] else "down"
        behind = "-" if member["lag"] is None else str(member["lag"])
        alarm = ",".join(raised["resource"] for raised in member.get("alarms", ())) or "-"
        cells = (member["id"], member["name"], member["role"], state, alarm, behind, member["address"] or "-")
        yield tuple(printable(str(cell)) for cell in cells)


def _print_columns(rows: list[tuple[str, ...]]) -> None:
    lines = [_HEADINGS, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())  # noqa: T201 - the answer


def _print_table(cluster: dict[str, Any], rows: list[tuple[str, ...]]) -> None:
    from rich import box  # noqa: PLC0415 - only for people
    from rich.console import Console  # noqa: PLC0415 - as above
    from rich.table import Table  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415 - as above

    node = cluster["node"]
    about = (
        f"cluster {cluster['cluster']}, group {cluster['group'] or '-'}, term {cluster['term']}, seen by {node['id']}"
    )
    table = Table(
        box=box.SIMPLE_HEAD, caption=Text(printable(about), style="dim"), caption_justify="left", pad_edge=False
    )
    for heading in _HEADINGS:
        table.add_column(heading.capitalize(), justify="right" if heading == "BEHIND" else "left", overflow="fold")
    for row in rows:
        styles = {3: {"leader": "bold green", "down": "red"}.get(row[3], ""), 4: "" if row[4] == "-" else "bold red"}
        table.add_row(*(Text(cell, style=styles.get(column, "")) for column, cell in enumerate(row)))
    Console().print(table)
