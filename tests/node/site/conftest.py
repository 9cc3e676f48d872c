"""A site on a free port, in front of a node that is not there."""

import json
from typing import Any, NamedTuple

import aiohttp
import pytest

from node.site import Site
from node.site.authorization import prove
from tests.node.site.scenery import NOW, SECRET, FakeNode, bound


class Answer(NamedTuple):
    """What the site said."""

    status: int
    headers: Any
    text: str

    @property
    def json(self) -> Any:
        assert self.headers["Content-Type"] == "application/json"
        return json.loads(self.text)

    @property
    def code(self) -> str:
        """The code of an error."""
        error = self.json["error"]
        assert error["message"].endswith(".")
        return error["code"]


class Visitor:
    """Somebody who asks a site."""

    def __init__(self, port: int, http: aiohttp.ClientSession) -> None:
        self.port = port
        self._http = http

    async def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        url = f"http://127.0.0.1:{self.port}{path}"
        headers = {name.replace("_", "-"): value for name, value in headers.items() if value}
        async with self._http.request(method, url, data=body, headers=headers) as response:
            return Answer(response.status, response.headers, await response.text())

    async def get(self, path: str, **headers: str) -> Answer:
        return await self.ask("GET", path, **headers)

    async def change(
        self, method: str, path: str, body: bytes = b"", *, secret: bytes = SECRET, now: float = NOW, **headers: str
    ) -> Answer:
        """Ask for a change with a proof."""
        proof = prove(secret, node="a-00000000", method=method, path=path, body=body, now=now)
        headers = {"Content_Type": "application/json", "Authorization": proof} | headers
        return await self.ask(method, path, body, **headers)


@pytest.fixture
def state() -> FakeNode:
    return FakeNode()


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def http():
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield session


@pytest.fixture
async def opened(state, clock, http):
    """Return a function that opens a site in front of `state`, and gives somebody who asks it."""
    sites = []

    async def open_site(**keywords: Any) -> Visitor:
        site = Site(state, **{"secret": SECRET, "clock": clock} | keywords)
        listener = bound()
        await site.start(listener)
        sites.append(site)
        return Visitor(listener.getsockname()[1], http)

    yield open_site
    for site in sites:
        await site.close()


@pytest.fixture
async def visitor(opened):
    """Return somebody who asks the site of a node that has a secret."""
    return await opened()


@pytest.fixture
async def neighbour(opened):
    """Return somebody on the host of a node that has none."""
    return await opened(secret=None)
