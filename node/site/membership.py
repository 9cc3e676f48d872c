"""The cluster over HTTP: who is in it, and changes of that.

Not for: deciding about a change (`ClusterState` does), or who may ask for one (`permission`).
"""

import asyncio
from collections.abc import Awaitable
from http import HTTPStatus
from typing import Final, TypeVar

import msgspec
from aiohttp import web

from node.configuration import Address
from node.configuration.model import DEFAULT_MESH_PORT
from node.configuration.values import UnusableValueError, quoted, reachable
from node.site.answers import AnswerError, answer
from node.site.authorization import Verifier
from node.site.permission import permit
from node.site.state import ChangeRefusedError, ClusterState, ClusterStatus, MemberRole

CHANGE_TIMEOUT: Final = 20.0
"""Seconds that a change may take; it may still be made afterwards."""

_address = reachable(DEFAULT_MESH_PORT)


class _Addition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    address: str


class _Transfer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    to: str | None = None


_Body = TypeVar("_Body", _Addition, _Transfer)


class Membership:
    """The handlers under /api/v1/cluster."""

    def __init__(
        self, state: ClusterState, verifier: Verifier | None, *, change_timeout: float = CHANGE_TIMEOUT
    ) -> None:
        """Ask `state`; take changes from whoever convinces `verifier`, or, without one, from this host."""
        self._state = state
        self._verifier = verifier
        self._change_timeout = change_timeout

    def routes(self) -> list[web.RouteDef]:
        """Return what is served where."""
        return [
            web.get("/api/v1/cluster", self._show),
            web.post("/api/v1/cluster/members", self._add),
            web.delete("/api/v1/cluster/members/{node}", self._remove),
            web.post("/api/v1/cluster/transfer", self._transfer),
        ]

    async def _show(self, _request: web.Request) -> web.Response:
        return answer(self._state.status())

    async def _add(self, request: web.Request) -> web.Response:
        body = await self._permitted(request)
        try:
            address: Address = _address(_read(body, _Addition).address)
        except UnusableValueError as error:
            raise AnswerError(HTTPStatus.UNPROCESSABLE_ENTITY, "bad_address", f"address: {error}.") from None
        return await self._made(self._state.add(address))

    async def _remove(self, request: web.Request) -> web.Response:
        body = await self._permitted(request)
        if body not in (b"", b"{}"):
            raise AnswerError(HTTPStatus.BAD_REQUEST, "bad_request", "DELETE takes no body; force is ?force=1.")
        force = request.query.get("force", "0")
        if force not in ("0", "1") or request.query.keys() - {"force"}:
            raise AnswerError(HTTPStatus.BAD_REQUEST, "bad_request", "The only thing to add is ?force=1.")
        status = self._state.status()
        node = _member(status, request.match_info["node"])
        return await self._made(self._state.remove(node, force=force == "1"))

    async def _transfer(self, request: web.Request) -> web.Response:
        body = await self._permitted(request)
        wanted = _read(body, _Transfer).to
        to = None
        if wanted is not None:
            status = self._state.status()
            to = _member(status, wanted)
            member = next(member for member in status.members if member.id == to)
            if member.role is not MemberRole.VOTER:
                raise AnswerError(
                    HTTPStatus.CONFLICT,
                    "refused",
                    f"{to} is a learner, and only a voter can lead. Wait until it is one.",
                )
            if to == status.leader:
                return answer({"message": f"{to} leads already."})
        return await self._made(self._state.transfer(to))

    async def _permitted(self, request: web.Request) -> bytes:
        """Return the body of a request that may change something."""
        body = await request.read()
        permit(request, body, node=self._state.status().node.id, verifier=self._verifier)
        return body

    async def _made(self, change: Awaitable[str]) -> web.Response:
        try:
            async with asyncio.timeout(self._change_timeout):
                return answer({"message": await change})
        except ChangeRefusedError as refusal:
            raise AnswerError(HTTPStatus.CONFLICT, "refused", str(refusal), leader=refusal.leader) from None
        except TimeoutError:
            raise AnswerError(
                HTTPStatus.GATEWAY_TIMEOUT,
                "timeout",
                f"The change was not made within {self._change_timeout:g} s, and may still be: "
                "look at the members before you ask again.",
            ) from None


def _read(body: bytes, kind: type[_Body]) -> _Body:
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:  # ValueError: what should be text is not UTF-8
        raise AnswerError(HTTPStatus.BAD_REQUEST, "bad_request", f"The body cannot be used: {error}.") from None


def _member(status: ClusterStatus, wanted: str) -> str:
    """Return the id of the member with this id, or else of the only one with this name."""
    if any(member.id == wanted for member in status.members):
        return wanted
    named = [member.id for member in status.members if member.name == wanted]
    if len(named) > 1:
        raise AnswerError(
            HTTPStatus.CONFLICT, "ambiguous", f"{quoted(wanted)} is the name of {' and '.join(named)}: give the id."
        )
    if not named:
        raise AnswerError(
            HTTPStatus.NOT_FOUND,
            "unknown_member",
            f"No member has the id or the name {quoted(wanted)}. "
            f"Members: {', '.join(member.id for member in status.members) or 'none yet'}.",
        )
    return named[0]
