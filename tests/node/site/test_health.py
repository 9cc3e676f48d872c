"""What a supervisor asks: does it live, is it ready."""

import pytest

from tests.node.site.scenery import FORMING, SHORT


class TestLiveness:
    async def test_is_given_by_a_node_that_serves(self, visitor):
        answer = await visitor.get("/livez")
        assert (answer.status, answer.text) == (200, "live\n")

    async def test_does_not_depend_on_a_quorum(self, visitor, state):
        state.shown = FORMING
        assert (await visitor.get("/livez")).status == 200

    async def test_does_not_depend_on_anything_the_node_says(self, visitor, state):
        state.broken = True
        assert (await visitor.get("/livez")).status == 200


class TestReadiness:
    async def test_is_told_in_a_word(self, visitor):
        answer = await visitor.get("/readyz")
        assert (answer.status, answer.text) == (200, "ready\n")
        assert answer.headers["Content-Type"].startswith("text/plain")

    async def test_that_is_not_there_is_told_with_the_reason(self, visitor, state):
        state.shown = FORMING
        answer = await visitor.get("/readyz")
        assert (answer.status, answer.text) == (503, "waiting for 2 of 3 nodes\n")

    async def test_stays_while_no_new_job_is_taken_and_says_why(self, visitor, state):
        """Workers must go on reaching the nodes: they are who makes room."""
        state.shown = SHORT
        answer = await visitor.get("/readyz")
        assert (answer.status, answer.text) == (
            200,
            "ready\nno new job is taken: Node b-00000000 has too little\n",
        )

    async def test_changes_with_the_node(self, visitor, state):
        before, state.shown = state.shown, FORMING
        assert (await visitor.get("/readyz")).status == 503
        state.shown = before
        assert (await visitor.get("/readyz")).status == 200


class TestEveryPage:
    @pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/api/v1/cluster"])
    async def test_can_be_asked_for_its_head(self, visitor, path):
        whole, head = await visitor.get(path), await visitor.ask("HEAD", path)
        assert (head.status, head.text) == (200, "")
        assert head.headers["Content-Type"] == whole.headers["Content-Type"]

    @pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/api/v1/cluster", "/nowhere"])
    async def test_says_that_it_is_for_nobody_elses_page(self, visitor, path):
        headers = (await visitor.get(path)).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Server"] == "gearmesh"
        assert "Access-Control-Allow-Origin" not in headers
