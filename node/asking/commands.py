"""`gearmesh cluster ...` and `gearmesh healthcheck`, for the command line.

Not for: asking (`client`), or laying out the answer (`shown`). Errors go up to `node.cli.main`.
"""

import json
from typing import Annotated, Final
from urllib.parse import quote

import typer

from node.asking.client import AskingError, SiteClient, shared_secret
from node.asking.shown import show_members, show_warnings
from node.configuration.values import printable

CHECK_PATIENCE: Final = 5.0
"""Seconds that a health check waits for its answer."""

Site = Annotated[
    str | None,
    typer.Option(
        "--site",
        metavar="URL",
        show_default=False,
        help=r"The site of a node. \[default: $GEARMESH_SITE, or http://127.0.0.1:4780]",
    ),
]
SecretFile = Annotated[
    str | None,
    typer.Option(
        "--secret-file",
        metavar="FILE",
        show_default=False,
        help=r"Holds the cluster's secret. \[default: as for a node: $GEARMESH_SECRET, $GEARMESH_SECRET_FILE]",
    ),
]

cluster: Final = typer.Typer(
    name="cluster",
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="See who is in the cluster, and change it, through the site of a running node.",
)


@cluster.command(help="Show the members, who leads, and how far the others are behind.")
def members(
    site: Site = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", metavar=" ", help="Print what the node says, as JSON.")] = False,
) -> int:
    """Print the members."""
    said = SiteClient(site).cluster()
    if as_json:
        typer.echo(json.dumps(said, indent=2))
        return 0
    try:
        if not said["members"]:
            typer.echo(f"No group yet: {printable(str(said['node']['reason']))}")
        else:
            show_members(said)
    except (KeyError, TypeError):
        raise AskingError(
            f"the node at {SiteClient(site)} speaks of its cluster as no version known here does"
        ) from None
    return 0


@cluster.command(help="Let the node at this mesh address join.")
def add(
    address: Annotated[str, typer.Argument(metavar="HOST:PORT", help="Its mesh address.", show_default=False)],
    site: Site = None,
    secret_file: SecretFile = None,
) -> int:
    """Add a node."""
    return _change(site, secret_file, "POST", "/api/v1/cluster/members", {"address": address})


@cluster.command(help="Take a member out of the cluster.")
def remove(
    node: Annotated[str, typer.Argument(metavar="NODE", help="Its id, or its name.", show_default=False)],
    site: Site = None,
    secret_file: SecretFile = None,
    *,
    force: Annotated[bool, typer.Option("--force", metavar=" ", help="Even if too few of the others are up.")] = False,
) -> int:
    """Remove a node."""
    path = f"/api/v1/cluster/members/{quote(node, safe='')}{'?force=1' if force else ''}"
    return _change(site, secret_file, "DELETE", path, {})


@cluster.command(help="Hand leadership over: to this node, or to the one that is best prepared.")
def transfer(
    node: Annotated[
        str | None, typer.Argument(metavar="[NODE]", help="Its id, or its name.", show_default=False)
    ] = None,
    site: Site = None,
    secret_file: SecretFile = None,
) -> int:
    """Transfer leadership."""
    return _change(site, secret_file, "POST", "/api/v1/cluster/transfer", {} if node is None else {"to": node})


def healthcheck(
    site: Site = None,
    *,
    ready: Annotated[
        bool, typer.Option("--ready", metavar=" ", help="Ask whether it serves, rather than whether it lives.")
    ] = False,
) -> int:
    """Ask a node how it is; 0: well."""
    client = SiteClient(site, patience=CHECK_PATIENCE)
    status, said = client.ask("/readyz" if ready else "/livez")
    if status == 200:
        show_warnings(said.splitlines()[1:])
        return 0
    raise AskingError(f"{'not ready' if ready else 'not well'}: {printable(said.strip()[:500]) or f'status {status}'}")


def _change(site: str | None, secret_file: str | None, method: str, path: str, asked: dict[str, str]) -> int:
    typer.echo(printable(SiteClient(site).change(method, path, asked, shared_secret(secret_file))))
    return 0
