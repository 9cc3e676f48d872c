"""Who may change the cluster: those who know the secret, or, where there is none, those on the host."""

import asyncio

import pytest

from node.site.authorization import MOST_NONCES, SCHEME, TooManyChangesError, UnauthorizedError, Verifier, prove
from node.site.permission import is_loopback
from tests.node.site.scenery import NOW, SECRET

PATH = "/api/v1/cluster/members/c"
JSON = "application/json"


def proof(**said) -> str:
    said = {"node": "a-00000000", "method": "DELETE", "path": PATH, "body": b"", "now": NOW} | said
    return prove(said.pop("secret", SECRET), **said)


class TestANodeWithASecret:
    async def test_takes_a_change_from_whoever_proves_that_they_know_it(self, visitor, state):
        assert (await visitor.ask("DELETE", PATH, Content_Type=JSON, Authorization=proof())).status == 200
        assert state.asked == [("remove", "c-00000000", False)]

    @pytest.mark.parametrize(
        ("method", "path"),
        [("DELETE", PATH), ("POST", "/api/v1/cluster/members"), ("POST", "/api/v1/cluster/transfer")],
    )
    async def test_takes_no_change_without_a_proof_not_even_from_its_host(self, visitor, state, method, path):
        answer = await visitor.ask(method, path, b"{}", Content_Type=JSON)
        assert (answer.status, answer.code) == (401, "unauthorized")
        assert answer.headers["WWW-Authenticate"] == SCHEME
        assert "--secret-file" in answer.json["error"]["message"]
        assert state.asked == []

    @pytest.mark.parametrize(
        "written",
        [
            "Basic Zm9vOmJhcg==",
            SCHEME,
            f"{SCHEME} mac=",
            proof().replace("mac=", "mac=0"),
            proof().replace("time=", "time=-"),
            proof().replace("time=", "time=nan"),
            proof().upper(),
        ],
    )
    async def test_refuses_a_proof_of_another_form(self, visitor, state, written):
        answer = await visitor.ask("DELETE", PATH, Content_Type=JSON, Authorization=written)
        assert (answer.status, answer.code) == (401, "unauthorized")
        assert state.asked == []

    @pytest.mark.parametrize(
        "said",
        [
            {"secret": b"another horse battery staple"},
            {"method": "POST"},
            {"path": f"{PATH}?force=1"},
            {"path": PATH.replace("/c", "/b")},
            {"body": b"{}"},
            {"node": "b-00000000"},
            {"now": NOW - 61},
            {"now": NOW + 61},
        ],
    )
    async def test_refuses_a_proof_of_something_else(self, visitor, state, said):
        answer = await visitor.ask("DELETE", PATH, Content_Type=JSON, Authorization=proof(**said))
        assert (answer.status, answer.code) == (401, "unauthorized")
        assert state.asked == []

    async def test_refuses_a_proof_whose_parts_were_changed(self, visitor, state):
        _, _, parts = proof().partition(" ")
        said = dict(part.split("=") for part in parts.split(","))
        for part, other in {"time": f"{NOW + 1:.6f}", "nonce": "0" * 32, "mac": "0" * 64}.items():
            changed = ",".join(f"{key}={other if key == part else value}" for key, value in said.items())
            answer = await visitor.ask("DELETE", PATH, Content_Type=JSON, Authorization=f"{SCHEME} {changed}")
            assert answer.code == "unauthorized"
        assert state.asked == []

    async def test_takes_each_proof_once(self, visitor, state, clock):
        overheard = proof()
        first = await visitor.ask("DELETE", PATH, Content_Type=JSON, Authorization=overheard)
        second = await visitor.ask("DELETE", PATH, Content_Type=JSON, Authorization=overheard)
        clock.now += 59
        third = await visitor.ask("DELETE", PATH, Content_Type=JSON, Authorization=overheard)
        clock.now += 2
        fourth = await visitor.ask("DELETE", PATH, Content_Type=JSON, Authorization=overheard)
        assert [answer.status for answer in (first, second, third, fourth)] == [200, 401, 401, 401]
        assert len(state.asked) == 1

    async def test_takes_no_proof_from_before_its_start(self, opened, state, clock):
        overheard = proof()
        clock.now += 1
        visitor = await opened()
        answer = await visitor.ask("DELETE", PATH, Content_Type=JSON, Authorization=overheard)
        assert answer.code == "unauthorized"
        assert "before this node was started" in answer.json["error"]["message"]
        assert state.asked == []

    async def test_takes_nothing_but_json(self, visitor, state):
        for content_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
            answer = await visitor.ask("DELETE", PATH, b"", Content_Type=content_type, Authorization=proof())
            assert (answer.status, answer.code) == (415, "json_expected")
        assert state.asked == []

    async def test_shows_everything_to_everybody(self, visitor):
        assert (await visitor.get("/api/v1/cluster")).status == 200

    async def test_never_shows_the_secret(self, visitor):
        for path in ("/api/v1/cluster", "/metrics", "/readyz", "/nowhere"):
            assert SECRET.decode() not in (await visitor.get(path)).text


class TestRememberedProofs:
    def test_are_as_many_as_there_is_room_for(self):
        now = NOW
        verifier = Verifier(SECRET, lambda: now)
        request = {"node": "n", "method": "POST", "path": "/", "body": b""}
        for _ in range(MOST_NONCES):
            verifier.check(prove(SECRET, now=now, **request), **request)
        with pytest.raises(TooManyChangesError):
            verifier.check(prove(SECRET, now=now, **request), **request)
        now += 61
        verifier.check(prove(SECRET, now=now, **request), **request)

    def test_are_good_ones_only(self):
        verifier = Verifier(SECRET, lambda: NOW)
        request = {"node": "n", "method": "POST", "path": "/", "body": b""}
        for _ in range(MOST_NONCES + 1):
            with pytest.raises(UnauthorizedError):
                verifier.check(prove(b"x" * 16, now=NOW, **request), **request)
        verifier.check(prove(SECRET, now=NOW, **request), **request)

    def test_from_a_clock_that_is_ahead_are_remembered_until_they_are_too_old(self):
        now = NOW
        verifier = Verifier(SECRET, lambda: now)
        request = {"node": "n", "method": "POST", "path": "/", "body": b""}
        early = prove(SECRET, now=NOW + 50, **request)
        verifier.check(early, **request)
        now += 105
        verifier.check(prove(SECRET, now=now, **request), **request)
        with pytest.raises(UnauthorizedError, match="sent before"):
            verifier.check(early, **request)


class TestANodeWithoutASecret:
    async def test_takes_a_change_from_its_own_host(self, neighbour, state):
        assert (await neighbour.ask("DELETE", PATH, Content_Type=JSON)).status == 200
        assert state.asked == [("remove", "c-00000000", False)]

    async def test_takes_it_by_either_name_of_the_host(self, neighbour):
        for host in ("localhost", "LOCALHOST:4780", "[::1]:4780", "127.0.0.1"):
            assert (await neighbour.ask("DELETE", PATH, Content_Type=JSON, Host=host)).status == 200

    async def test_takes_nothing_but_json(self, neighbour, state):
        answer = await neighbour.ask("DELETE", PATH, b"", Content_Type="text/plain")
        assert (answer.status, answer.code) == (415, "json_expected")
        assert state.asked == []

    @pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "Via", "X-Real-IP"])
    async def test_takes_none_that_a_proxy_passes_on(self, neighbour, state, header):
        answer = await neighbour.ask("DELETE", PATH, Content_Type=JSON, **{header: "203.0.113.9"})
        assert (answer.status, answer.code) == (403, "not_this_host")
        assert state.asked == []

    @pytest.mark.parametrize(
        "header",
        [{"Origin": "http://evil.test"}, {"Origin": "null"}, {"Host": "evil.test:4780"}, {"Host": "127.evil.test"}],
    )
    async def test_takes_none_of_a_web_page(self, neighbour, state, header):
        answer = await neighbour.ask("DELETE", PATH, Content_Type=JSON, **header)
        assert (answer.status, answer.code) == (403, "web_page")
        assert state.asked == []

    @pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1", "::1%lo"])
    def test_is_on_the_same_host_as_a_loopback_address(self, address):
        assert is_loopback(address)

    @pytest.mark.parametrize(
        "address", ["", "localhost", "10.0.0.1", "::", "0.0.0.0", "::ffff:10.0.0.1", "fe80::1%lo", "128.0.0.1"]
    )
    def test_is_not_on_the_same_host_as_another(self, address):
        assert not is_loopback(address)

    async def test_takes_no_change_from_another_address(self, neighbour, state, monkeypatch):
        monkeypatch.setattr("aiohttp.web.Request.remote", "203.0.113.9")
        answer = await neighbour.ask("DELETE", PATH, Content_Type=JSON)
        assert (answer.status, answer.code) == (403, "not_this_host")
        assert state.asked == []


class TestACrowd:
    async def test_with_one_proof_gets_in_once(self, visitor, state):
        overheard = proof()
        answers = await asyncio.gather(
            *(visitor.ask("DELETE", PATH, Content_Type=JSON, Authorization=overheard) for _ in range(10))
        )
        assert sorted(answer.status for answer in answers) == [200] + [401] * 9
        assert len(state.asked) == 1
