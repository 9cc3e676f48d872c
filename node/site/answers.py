"""What every answer of the site has in common: JSON, errors with a code and a sentence, headers.

Not for: what is asked (`site`, `membership`).
"""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final

import msgspec
import structlog
from aiohttp import web

from node.site.authorization import SCHEME

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

HEADERS: Final = {
    "Server": "gearmesh",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Sent with every answer: nothing here is to be kept, framed, or read by the pages of others."""

_CODES: Final = {
    HTTPStatus.NOT_FOUND: ("not_found", "There is nothing here: try /livez, /readyz, /metrics or /api/v1/cluster."),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: ("too_large", "The request's body is too large."),
}

log = structlog.get_logger()


class AnswerError(Exception):
    """Ends a request with an error: its HTTP status, a code for programs, and a text for people."""

    def __init__(self, status: HTTPStatus, code: str, text: str, **more: Any) -> None:
        """Take also what else belongs into the error's object; None is left out."""
        super().__init__(text)
        self.status = status
        self.error = {"code": code, "message": text} | {key: said for key, said in more.items() if said is not None}


def answer(content: object, status: int = HTTPStatus.OK) -> web.Response:
    """Return `content` as JSON."""
    return web.Response(body=msgspec.json.encode(content) + b"\n", status=status, content_type="application/json")


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer with JSON whatever goes wrong."""
    headers = {}
    try:
        return await handler(request)
    except AnswerError as error:
        refused = error
    except web.HTTPException as error:
        status = HTTPStatus(error.status)
        code, text = _CODES.get(status, (status.name.lower(), f"{status.phrase}."))
        if isinstance(error, web.HTTPMethodNotAllowed):
            allowed = ", ".join(sorted(error.allowed_methods))
            text = f"{request.method} is not for {request.path}: it takes {allowed}."
            headers["Allow"] = allowed
        refused = AnswerError(status, code, text)
    except Exception:
        log.exception("site_request_failed", method=request.method, path=request.path)
        refused = AnswerError(
            HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "This node made a mistake; its log says which."
        )
    response = answer({"error": refused.error}, refused.status)
    response.headers.update(headers)
    if refused.status is HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = SCHEME
    return response


async def add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """Add what every answer has, and the handler has not said otherwise."""
    for name, content in HEADERS.items():
        response.headers.setdefault(name, content)
    response.headers["Server"] = HEADERS["Server"]
