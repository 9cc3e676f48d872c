"""The cluster over HTTP: what is shown of it, and how it is changed."""

import pytest

from node.configuration import Address
from node.site import ChangeRefusedError
from tests.node.site.scenery import FORMING, STATUS, member

MEMBERS = "/api/v1/cluster/members"
TRANSFER = "/api/v1/cluster/transfer"


class TestTheCluster:
    async def test_is_shown_as_this_node_sees_it(self, visitor):
        answer = await visitor.get("/api/v1/cluster")
        assert answer.status == 200
        shown = answer.json
        assert (shown["cluster"], shown["group"]) == ("blue", "f00d")
        assert (shown["leader"], shown["term"]) == ("a-00000000", 7)
        assert shown["node"] == {
            "id": "a-00000000",
            "name": "a",
            "version": "9.8.7",
            "ready": True,
            "reason": None,
            "connections": 5,
            "resources": None,
            "warnings": [],
        }
        assert shown["raft"] == {
            "role": "leader",
            "last_index": 120,
            "commit_index": 119,
            "applied_index": 118,
            "leader_changes": 3,
            "lag_ms": 250,
        }

    async def test_is_shown_with_its_members(self, visitor):
        first, _, third = (await visitor.get("/api/v1/cluster")).json["members"]
        assert first == {
            "id": "a-00000000",
            "name": "a",
            "role": "voter",
            "address": "a.test:4731",
            "up": True,
            "lag": None,
            "this": True,
            "alarms": [],
        }
        assert (third["role"], third["address"], third["up"], third["lag"]) == ("learner", None, False, 40)

    async def test_is_shown_before_there_is_a_group(self, visitor, state):
        state.shown = FORMING
        shown = (await visitor.get("/api/v1/cluster")).json
        assert (shown["leader"], shown["members"], shown["raft"]) == (None, [], None)
        assert shown["node"]["reason"] == "waiting for 2 of 3 nodes"


class TestAdding:
    @pytest.mark.parametrize(
        ("written", "address"),
        [
            ("d.test:5000", Address("d.test", 5000)),
            ("d.test", Address("d.test", 4731)),
            ("[::1]", Address("::1", 4731)),
        ],
    )
    async def test_names_an_address(self, visitor, state, written, address):
        answer = await visitor.change("POST", MEMBERS, b'{"address": "%s"}' % written.encode())
        assert (answer.status, answer.json) == (200, {"message": "Done."})
        assert state.asked == [("add", address)]

    @pytest.mark.parametrize("written", ["", "0.0.0.0", "h:0", "h:x", "a b", "::1:4731"])
    async def test_of_what_is_no_address_is_refused(self, visitor, state, written):
        answer = await visitor.change("POST", MEMBERS, b'{"address": "%s"}' % written.encode())
        assert (answer.status, answer.code) == (422, "bad_address")
        assert state.asked == []

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{}",
            b"[]",
            b"{",
            b'{"address": 1}',
            b'{"address": "h", "role": "voter"}',
            b"\xff",
            b'{"address": "\xff"}',
            b'{"a": ' + b"[" * 10_000,
        ],
    )
    async def test_with_another_body_is_refused(self, visitor, state, body):
        answer = await visitor.change("POST", MEMBERS, body)
        assert (answer.status, answer.code) == (400, "bad_request")
        assert state.asked == []


class TestRemoving:
    @pytest.mark.parametrize("node", ["c", "c-00000000"])
    async def test_names_a_member(self, visitor, state, node):
        answer = await visitor.change("DELETE", f"{MEMBERS}/{node}")
        assert (answer.status, answer.json) == (200, {"message": "Done."})
        assert state.asked == [("remove", "c-00000000", False)]

    async def test_can_be_forced(self, visitor, state):
        await visitor.change("DELETE", f"{MEMBERS}/c?force=1")
        assert state.asked == [("remove", "c-00000000", True)]

    @pytest.mark.parametrize("query", ["force=yes", "force=", "froce=1", "force=1&force=0&x"])
    async def test_says_which_query_it_takes(self, visitor, state, query):
        answer = await visitor.change("DELETE", f"{MEMBERS}/c?{query}")
        assert (answer.status, answer.code) == (400, "bad_request")
        assert state.asked == []

    async def test_takes_no_body(self, visitor, state):
        answer = await visitor.change("DELETE", f"{MEMBERS}/c", b'{"force": true}')
        assert (answer.status, answer.code) == (400, "bad_request")
        assert state.asked == []

    async def test_of_a_stranger_names_the_members(self, visitor, state):
        answer = await visitor.change("DELETE", f"{MEMBERS}/d")
        assert (answer.status, answer.code) == (404, "unknown_member")
        assert "a-00000000, b-00000000, c-00000000" in answer.json["error"]["message"]
        assert state.asked == []

    async def test_by_a_name_that_two_have_asks_for_the_id(self, visitor, state):
        second = member("c", address=None)
        second = type(second)(id="c-11111111", name="c", role=second.role, address=None, up=True)
        state.shown = type(STATUS)(
            **{field: getattr(STATUS, field) for field in STATUS.__struct_fields__}
            | {"members": (*STATUS.members, second)}
        )
        answer = await visitor.change("DELETE", f"{MEMBERS}/c")
        assert (answer.status, answer.code) == (409, "ambiguous")
        assert "c-00000000 and c-11111111" in answer.json["error"]["message"]
        await visitor.change("DELETE", f"{MEMBERS}/c-11111111")
        assert state.asked == [("remove", "c-11111111", False)]


class TestTransfer:
    async def test_names_a_voter(self, visitor, state):
        assert (await visitor.change("POST", TRANSFER, b'{"to": "b"}')).status == 200
        assert state.asked == [("transfer", "b-00000000")]

    @pytest.mark.parametrize("body", [b"", b"{}", b'{"to": null}'])
    async def test_can_leave_the_choice_to_the_node(self, visitor, state, body):
        assert (await visitor.change("POST", TRANSFER, body)).status == 200
        assert state.asked == [("transfer", None)]

    async def test_to_a_learner_is_refused(self, visitor, state):
        answer = await visitor.change("POST", TRANSFER, b'{"to": "c"}')
        assert (answer.status, answer.code) == (409, "refused")
        assert state.asked == []

    async def test_to_the_leader_is_done_already(self, visitor, state):
        answer = await visitor.change("POST", TRANSFER, b'{"to": "a"}')
        assert (answer.status, answer.json) == (200, {"message": "a-00000000 leads already."})
        assert state.asked == []

    async def test_to_a_stranger_is_refused(self, visitor):
        assert (await visitor.change("POST", TRANSFER, b'{"to": "x"}')).code == "unknown_member"


class TestAChange:
    CHANGES = (
        ("POST", MEMBERS, b'{"address": "h"}'),
        ("DELETE", f"{MEMBERS}/c", b""),
        ("POST", TRANSFER, b'{"to": "b"}'),
    )

    @pytest.mark.parametrize(("method", "path", "body"), CHANGES)
    async def test_that_the_node_refuses_is_answered_with_its_words(self, visitor, state, method, path, body):
        state.refusal = ChangeRefusedError("b leads. Ask there.", leader="b-00000000")
        answer = await visitor.change(method, path, body)
        assert answer.status == 409
        assert answer.json == {"error": {"code": "refused", "message": "b leads. Ask there.", "leader": "b-00000000"}}

    @pytest.mark.parametrize(("method", "path", "body"), CHANGES)
    async def test_that_takes_too_long_is_not_waited_for(self, opened, state, method, path, body):
        state.stuck = True
        visitor = await opened(change_timeout=0.02)
        answer = await visitor.change(method, path, body)
        assert (answer.status, answer.code) == (504, "timeout")
