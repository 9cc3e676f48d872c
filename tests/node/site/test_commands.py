"""`gearmesh cluster ...` and `gearmesh healthcheck`, against a site that is there."""

import asyncio
import json
import os
import socket
import sys
import time
from typing import NamedTuple

import pytest

from node.cli import main
from node.site import ChangeRefusedError
from tests.node.site.scenery import FORMING, SECRET, SHORT, bound

JSON = "application/json"


class Outcome(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch):
    for variable in list(os.environ):
        if variable.startswith("GEARMESH_"):
            monkeypatch.delenv(variable)


@pytest.fixture
def run(capsys):
    """Return a function that runs the command line beside the event loop."""

    async def run_beside(*arguments: str) -> Outcome:
        status = await asyncio.to_thread(main, arguments)
        output = capsys.readouterr()
        return Outcome(status, output.out, output.err)

    return run_beside


@pytest.fixture
async def site(opened):
    """Return the URL of the site of a node that has a secret."""
    return f"http://127.0.0.1:{(await opened(clock=time.time)).port}"


@pytest.fixture
async def open_site(opened):
    """Return the URL of the site of a node that has none."""
    return f"http://127.0.0.1:{(await opened(secret=None)).port}"


@pytest.fixture
def secret_file(tmp_path):
    path = tmp_path / "secret"
    path.write_bytes(SECRET + b"\n")
    return str(path)


async def answering(said: bytes) -> tuple[asyncio.Server, str]:
    """Open something that gives the same answer to everybody."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        writer.close()

    server = await asyncio.start_server(talk, sock=bound())
    return server, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


class TestMembers:
    async def test_stand_in_plain_columns_for_a_script(self, run, site):
        outcome = await run("cluster", "members", "--site", site)
        assert (outcome.status, outcome.err) == (0, "")
        lines = [line.split() for line in outcome.out.splitlines()]
        assert lines == [
            ["NODE", "NAME", "ROLE", "STATE", "ALARM", "BEHIND", "ADDRESS"],
            ["a-00000000", "a", "voter", "leader", "-", "-", "a.test:4731"],
            ["b-00000000", "b", "voter", "up", "-", "2", "b.test:4731"],
            ["c-00000000", "c", "learner", "down", "-", "40", "-"],
        ]

    async def test_stand_in_a_table_for_a_person(self, run, site, monkeypatch):
        monkeypatch.setattr(type(sys.stdout), "isatty", lambda _: True, raising=False)
        monkeypatch.setenv("COLUMNS", "100")
        outcome = await run("cluster", "members", "--site", site)
        assert outcome.status == 0
        for text in ("Node", "a-00000000", "learner", "40", "cluster blue, group f00d, term 7, seen by a-00000000"):
            assert text in outcome.out

    @pytest.mark.parametrize("terminal", [True, False])
    async def test_that_are_short_of_something_are_shown_with_a_warning(self, run, site, state, monkeypatch, terminal):
        monkeypatch.setattr(type(sys.stdout), "isatty", lambda _: terminal, raising=False)
        state.shown = SHORT
        outcome = await run("cluster", "members", "--site", site)
        assert "memory,disk" in outcome.out
        assert outcome.err == "gearmesh: warning: no new job is taken: Node b-00000000 has too little\n"

    async def test_come_as_the_node_says_them_with_json(self, run, site, visitor):
        outcome = await run("cluster", "members", "--json", "--site", site)
        assert outcome.status == 0
        assert json.loads(outcome.out) == (await visitor.get("/api/v1/cluster")).json

    async def test_that_are_not_there_yet_are_excused(self, run, site, state):
        state.shown = FORMING
        outcome = await run("cluster", "members", "--site", site)
        assert (outcome.status, outcome.out) == (0, "No group yet: waiting for 2 of 3 nodes\n")

    async def test_need_no_secret(self, run, site):
        assert (await run("cluster", "members", "--site", site)).status == 0

    @pytest.mark.parametrize("with_scheme", [True, False])
    async def test_are_asked_of_the_site_that_the_variable_names(self, run, site, monkeypatch, with_scheme):
        monkeypatch.setenv("GEARMESH_SITE", site if with_scheme else site.removeprefix("http://"))
        assert (await run("cluster", "members")).status == 0

    async def test_cannot_write_to_the_terminal_what_they_like(self, run):
        evil = {"id": "a\x1b[2J", "name": "[red]x", "role": "voter", "up": True, "lag": None, "address": None}
        said = {"cluster": "c", "group": "g", "node": {"id": "a"}, "leader": "b", "term": 1, "members": [evil]}
        server, url = await answering(b"HTTP/1.1 200 OK\r\n\r\n" + json.dumps(said).encode())
        async with server:
            outcome = await run("cluster", "members", "--site", url)
        assert outcome.status == 0
        assert "\x1b" not in outcome.out


class TestChanges:
    @pytest.mark.parametrize(
        ("arguments", "asked"),
        [
            (["remove", "c"], ("remove", "c-00000000", False)),
            (["remove", "c", "--force"], ("remove", "c-00000000", True)),
            (["transfer"], ("transfer", None)),
            (["transfer", "b"], ("transfer", "b-00000000")),
        ],
    )
    async def test_are_made_with_the_secret_of_a_file(self, run, site, state, secret_file, arguments, asked):
        outcome = await run("cluster", *arguments, "--site", site, "--secret-file", secret_file)
        assert outcome == Outcome(0, "Done.\n", "")
        assert state.asked == [asked]

    async def test_name_an_address_to_add(self, run, site, state, secret_file):
        outcome = await run("cluster", "add", "h.test:5000", "--site", site, "--secret-file", secret_file)
        assert outcome.status == 0
        ((change, address),) = state.asked
        assert (change, str(address)) == ("add", "h.test:5000")

    async def test_are_made_with_the_secret_of_the_environment(self, run, site, state, monkeypatch, secret_file):
        monkeypatch.setenv("GEARMESH_SECRET", SECRET.decode())
        assert (await run("cluster", "transfer", "--site", site)).status == 0
        monkeypatch.delenv("GEARMESH_SECRET")
        monkeypatch.setenv("GEARMESH_SECRET_FILE", secret_file)
        assert (await run("cluster", "transfer", "--site", site)).status == 0
        assert len(state.asked) == 2

    async def test_need_no_secret_where_there_is_none(self, run, open_site, state):
        assert (await run("cluster", "remove", "b", "--site", open_site)).status == 0
        assert state.asked == [("remove", "b-00000000", False)]

    async def test_without_the_secret_are_refused_with_a_way_to_give_it(self, run, site, state):
        outcome = await run("cluster", "remove", "b", "--site", site)
        assert (outcome.status, outcome.out) == (1, "")
        assert "--secret-file" in outcome.err
        assert state.asked == []

    async def test_with_another_secret_are_refused(self, run, site, state, tmp_path):
        (tmp_path / "other").write_text("another horse battery staple")
        outcome = await run("cluster", "transfer", "--site", site, "--secret-file", str(tmp_path / "other"))
        assert outcome.status == 1
        assert "the secret is another one" in outcome.err
        assert state.asked == []

    @pytest.mark.parametrize("written", ["short", None])
    async def test_with_a_secret_that_is_none_are_not_asked_for(self, run, site, tmp_path, written):
        if written is not None:
            (tmp_path / "secret").write_text(written)
        outcome = await run("cluster", "transfer", "--site", site, "--secret-file", str(tmp_path / "secret"))
        assert outcome.status == 1
        assert outcome.err.startswith("gearmesh: --secret-file: ")

    async def test_that_the_node_refuses_are_explained_in_its_words(self, run, site, state, secret_file):
        state.refusal = ChangeRefusedError("The leader is b-00000000. Ask its site.", leader="b-00000000")
        outcome = await run("cluster", "transfer", "--site", site, "--secret-file", secret_file)
        assert outcome == Outcome(1, "", "gearmesh: The leader is b-00000000. Ask its site.\n")

    async def test_of_a_stranger_name_the_members(self, run, site, secret_file):
        outcome = await run("cluster", "remove", "x/../y?z", "--site", site, "--secret-file", secret_file)
        assert outcome.status == 1
        assert '"x/../y?z"' in outcome.err
        assert "a-00000000, b-00000000, c-00000000" in outcome.err


class TestHealthcheck:
    async def test_ends_with_status_0_when_the_node_lives(self, run, site, state):
        state.shown = FORMING
        assert await run("healthcheck", "--site", site) == Outcome(0, "", "")

    async def test_ends_with_status_0_when_the_node_is_ready(self, run, site):
        assert await run("healthcheck", "--ready", "--site", site) == Outcome(0, "", "")

    async def test_passes_a_warning_on(self, run, site, state):
        state.shown = SHORT
        warning = "gearmesh: warning: no new job is taken: Node b-00000000 has too little\n"
        assert await run("healthcheck", "--ready", "--site", site) == Outcome(0, "", warning)

    async def test_ends_with_status_1_and_the_reason_when_it_is_not(self, run, site, state):
        state.shown = FORMING
        outcome = await run("healthcheck", "--ready", "--site", site)
        assert outcome == Outcome(1, "", "gearmesh: not ready: waiting for 2 of 3 nodes\n")


class TestNobody:
    @pytest.mark.parametrize(
        "arguments", [["cluster", "members"], ["cluster", "remove", "x"], ["healthcheck"], ["healthcheck", "--ready"]]
    )
    async def test_is_named_when_nobody_answers(self, run, arguments):
        with socket.socket() as taken:  # bound, and not listened on
            taken.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{taken.getsockname()[1]}"
            outcome = await run(*arguments, "--site", url)
        assert (outcome.status, outcome.out) == (1, "")
        assert outcome.err.startswith(f"gearmesh: nobody answers at {url}: Connection refused")
        assert len(outcome.err.splitlines()) == 1

    @pytest.mark.parametrize(
        "said",
        [
            b"HTTP/1.1 200 OK\r\n\r\n<html>",
            b"HTTP/1.1 404 Not Found\r\n\r\n{}",
            b"HTTP/1.1 200 OK\r\n\r\n[1]",
            b'HTTP/1.1 500 Oops\r\n\r\n{"error": 1}',
        ],
    )
    async def test_of_ours_is_told_from_others(self, run, said):
        server, url = await answering(said)
        async with server:
            outcome = await run("cluster", "members", "--site", url)
        assert outcome.status == 1
        assert f"what answers at {url} is not the site of a node" in outcome.err

    async def test_who_speaks_another_protocol_is_told_from_a_site(self, run):
        server, url = await answering(b"ERR unknown_command\r\n")
        async with server:
            outcome = await run("cluster", "members", "--site", url)
        assert outcome.status == 1
        assert outcome.err.startswith(f"gearmesh: nobody answers at {url}: BadStatusLine")

    async def test_who_speaks_of_another_kind_of_cluster_is_told_from_a_node(self, run):
        server, url = await answering(b'HTTP/1.1 200 OK\r\n\r\n{"members": [{}]}')
        async with server:
            outcome = await run("cluster", "members", "--site", url)
        assert outcome.status == 1
        assert "no version known here" in outcome.err

    @pytest.mark.parametrize("written", ["ftp://h", "http://", "http://h/path", "http://h:x", "h:99999", "u@h", "h?x"])
    async def test_can_be_asked_at_what_is_no_site(self, run, written):
        outcome = await run("healthcheck", "--site", written)
        assert outcome.status == 1
        assert outcome.err == f'gearmesh: --site: "{written}" is not a site: write http://HOST:PORT\n'
