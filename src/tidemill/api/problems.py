"""Errors as JSON: `{"error": {"kind", "message", "hint"}}` with the right status, by one table. Never a traceback."""

from __future__ import annotations

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from tidemill import errors
from tidemill.api.door import Json
from tidemill.errors import TidemillError

log = structlog.get_logger()

STATUS: dict[type, int] = {
    errors.InvalidInput: 422,
    errors.NotFound: 404,
    errors.Gone: 410,
    errors.Conflict: 409,
    errors.ChangesGone: 410,
    errors.TooMany: 429,
    errors.AccessRefused: 403,
    errors.WrongProtocol: 400,
    errors.AppRefused: 502,
    errors.AddressForbidden: 422,
    errors.DatabaseUnavailable: 503,
    errors.StorageError: 502,
    errors.StorageAway: 503,
    errors.ImportRefused: 502,
}


def status_of(error: TidemillError) -> int:
    """The HTTP status that says what kind of error this is."""
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)


def answer_errors(app: FastAPI) -> None:
    """Let every error of this app be answered as JSON."""
    app.add_exception_handler(TidemillError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unforeseen)


def described(kind: str, message: str, hint: str | None = None, **more: object) -> dict[str, object]:
    """The body of an error."""
    return {"error": {"kind": kind, "message": message, "hint": hint} | more}


async def _ours(_: Request, error: Exception) -> Response:
    assert isinstance(error, TidemillError)
    more: dict[str, object] = {"ids": error.ids} if isinstance(error, errors.UnknownIds) else {}
    if isinstance(error, errors.TablesRefused):
        more = {"mistakes": error.count, "faults": error.faults}
    body = described(type(error).__name__, error.message, error.hint, **more)
    status = status_of(error)
    return Json(body, status, {"retry-after": "1"} if status == 503 else None)


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    wrong = [f"{_place(one['loc'])}: {one['msg']}" for one in error.errors()[:5]]
    return Json(described("InvalidInput", "; ".join(wrong), "/api/openapi.json says what is right."), 422)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kinds = {404: "NotFound", 405: "MethodNotAllowed"}
    said = f"There is no {request.url.path} here." if error.status_code == 404 else str(error.detail)
    headers = dict(error.headers or {})
    return Json(described(kinds.get(error.status_code, "HttpError"), said), error.status_code, headers)


async def _unforeseen(request: Request, error: Exception) -> Response:
    log.error("an API call failed", path=request.url.path, exc_info=error)
    return Json(described("InternalError", "Something went wrong here. The site's log has the details."), 500)


def _place(location: tuple[int | str, ...]) -> str:
    """`limit` for a query parameter, `body.batch` for a part of the body."""
    where = [str(part) for part in location]
    return ".".join(where[1:] if where[:1] in (["query"], ["path"]) else where) or "body"
