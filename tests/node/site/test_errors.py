"""Whatever goes wrong is answered in JSON, with a code and a sentence."""

import asyncio

import pytest
import structlog


class TestAnError:
    @pytest.mark.parametrize("path", ["/", "/api", "/api/v1/cluster/", "/api/v1/cluster/members/x/y", "/livez/../etc"])
    async def test_is_the_answer_where_there_is_nothing(self, visitor, path):
        answer = await visitor.get(path)
        assert (answer.status, answer.code) == (404, "not_found")
        assert "/api/v1/cluster" in answer.json["error"]["message"]

    @pytest.mark.parametrize(
        ("method", "path", "allowed"),
        [
            ("POST", "/livez", "GET, HEAD"),
            ("PUT", "/api/v1/cluster", "GET, HEAD"),
            ("GET", "/api/v1/cluster/members", "POST"),
            ("OPTIONS", "/api/v1/cluster/members", "POST"),
            ("GET", "/api/v1/cluster/members/a", "DELETE"),
            ("GET", "/api/v1/cluster/transfer", "POST"),
        ],
    )
    async def test_names_the_methods_that_there_are(self, visitor, method, path, allowed):
        answer = await visitor.ask(method, path)
        assert (answer.status, answer.code) == (405, "method_not_allowed")
        assert answer.headers["Allow"] == allowed

    async def test_of_the_node_shows_nothing_of_its_inside(self, visitor, state):
        state.broken = True
        with structlog.testing.capture_logs() as events:
            answer = await visitor.get("/api/v1/cluster")
        assert (answer.status, answer.code) == (500, "internal")
        assert "foresaw" not in answer.text
        (event,) = events
        assert (event["event"], event["path"]) == ("site_request_failed", "/api/v1/cluster")

    async def test_of_a_body_without_end_comes_before_its_end(self, visitor, state):
        answer = await visitor.change("POST", "/api/v1/cluster/members", b" " * 20_000)
        assert (answer.status, answer.code) == (413, "too_large")
        assert state.asked == []

    async def test_of_what_is_not_http_costs_a_line_and_no_log(self, visitor, caplog):
        reader, writer = await asyncio.open_connection("127.0.0.1", visitor.port)
        writer.write(b"\x16\x03\x01 hello?\r\n\r\n")
        assert (await reader.read(-1)).startswith(b"HTTP/1.0 400")
        writer.close()
        assert [record for record in caplog.records if record.levelname != "DEBUG"] == []

    async def test_is_none_for_http_1_0(self, visitor):
        reader, writer = await asyncio.open_connection("127.0.0.1", visitor.port)
        writer.write(b"GET /readyz HTTP/1.0\r\n\r\n")
        head, _, body = (await reader.read(-1)).partition(b"\r\n\r\n")
        writer.close()
        assert head.startswith(b"HTTP/1.0 200")
        assert body == b"ready\n"
