"""Errors of the portal's API, in the shapes that clients of such portals read.

A fault of a field: 400 `{field: [words]}`; a key that is not good: 403 `{"message", "token_id"}`; all else:
`{"detail": words}` with its status.
"""

from __future__ import annotations

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from tidemill.api.door import Json
from tidemill.api.portal.callers import is_operator, key_of
from tidemill.api.problems import status_of
from tidemill.domain.places import for_visitors
from tidemill.errors import InvalidFields, InvalidInput, KeyRefused, TidemillError

log = structlog.get_logger()


def answer_errors(app: FastAPI) -> None:
    """Let every error of this app be answered so."""
    app.add_exception_handler(TidemillError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unforeseen)


async def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, TidemillError)
    if isinstance(error, InvalidFields):
        return Json(error.fields, 400)
    if isinstance(error, KeyRefused):
        return Json({"message": error.message, "token_id": key_of(request)}, 403)
    status = 400 if isinstance(error, InvalidInput) else status_of(error)
    told = error if is_operator(request) else for_visitors(error)
    said = f"{told.message} {told.hint}" if told.hint else told.message
    retry = {503: "10", 429: "3600"}.get(status)
    return Json({"detail": said}, status, {"retry-after": retry} if retry else None)


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    faults: dict[str, list[str]] = {}
    for one in error.errors():
        faults.setdefault(str(one["loc"][-1]), []).append(str(one["msg"]))
    return Json(faults, 400)


async def _http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    said = {404: "Not found.", 405: "This method is not allowed here."}.get(error.status_code, str(error.detail))
    return Json({"detail": said}, error.status_code, dict(error.headers or {}))


async def _unforeseen(request: Request, error: Exception) -> Response:
    log.error("a call of the portal failed", path=request.url.path, exc_info=error)
    return Json({"detail": "Something went wrong here. The site's log has the details."}, 500)
