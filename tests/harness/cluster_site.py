"""Ask the HTTP site of a node: is it ready, and what does it think the cluster is?

Not for tests of the site itself.
"""

import asyncio
import json
from typing import Any, NamedTuple

from tests.harness.cluster_hosts import Host
from tests.harness.connection import connected


class Answer(NamedTuple):
    """What the site said."""

    status: int
    body: bytes


class Member(NamedTuple):
    """A member, as the node that was asked sees it."""

    node: str
    """Its id: the name, a hyphen, eight characters."""
    name: str
    voter: bool


class View(NamedTuple):
    """What one node thinks the cluster is."""

    node: str
    """The id of the node that was asked."""
    ready: bool
    """Whether new clients are to be sent to it."""
    leader: str | None
    """The id of the leader that it knows."""
    term: int
    members: tuple[Member, ...]

    @property
    def voters(self) -> set[str]:
        """The names of the members that vote."""
        return {member.name for member in self.members if member.voter}


async def get(host: Host, address: str, port: int, path: str, *, within: float = 5.0) -> Answer:
    """Get a page from a site, with a socket of `host`; raises OSError (TimeoutError among them) when there is none."""
    async with asyncio.timeout(within):
        reader, writer = await connected(host.socket(), address, port)
        try:
            # HTTP/1.0, so that what comes is the page and then the end.
            writer.write(f"GET {path} HTTP/1.0\r\nHost: {address}:{port}\r\n\r\n".encode())
            head, _, body = (await reader.read(-1)).partition(b"\r\n\r\n")
        finally:
            writer.close()
    status = head.split(b" ", 2)
    if len(status) < 2 or not status[1].isdigit():
        raise ConnectionError("the site closed the connection without an answer")
    return Answer(int(status[1]), body)


def view(body: bytes) -> View:
    """Read the answer of /api/v1/cluster."""
    said: dict[str, Any] = json.loads(body)
    members = tuple(Member(member["id"], member["name"], member["role"] == "voter") for member in said["members"])
    return View(said["node"]["id"], said["node"]["ready"], said["leader"], said["term"], members)
