"""Items: look at them, their attempts and documents; create, edit and delete their records."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from tidemill.api import problems
from tidemill.api.door import Json, Session, Site
from tidemill.catalogue import edits
from tidemill.catalogue import items as catalogue
from tidemill.catalogue.edits import Answer
from tidemill.domain.item_rows import json_rows
from tidemill.domain.stored_json import read_json
from tidemill.errors import InvalidInput
from tidemill.runner import look, redo

router = APIRouter(tags=["items"])

LARGEST_BODY = 64 * 1024 * 1024
_LINES = ("application/x-ndjson", "application/jsonl", "application/json-lines")
_EDIT = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "status": {"type": "string"},
        "reason": {"type": "string", "description": "Why it has this status."},
        "metadata": {"type": "object", "description": "Merged key by key; null takes a key out."},
        "projects": {"type": "array", "items": {"type": "string"}, "description": "Made where they do not exist."},
        "revision": {"type": "integer", "description": "The revision that it must have now; 0: there must be none."},
        "expect": {"type": "string", "description": "The status that it must have now."},
    },
}
_ROWS = {"oneOf": [_EDIT, {"type": "array", "items": _EDIT, "maxItems": edits.MOST_ROWS}]}


def _body(schema: Mapping[str, Any], *more: str) -> dict[str, Any]:
    content = {"application/json": {"schema": schema}} | {kind: {"schema": {"type": "string"}} for kind in more}
    return {"requestBody": {"required": True, "content": content}}


@router.get("/items", summary="Items whose name contains some letters, in order of name")
async def listing(
    session: Session,
    search: Annotated[str | None, Query(max_length=500)] = None,
    limit: Annotated[int, Query(ge=1, le=look.MOST_ROWS)] = 50,
    offset: Annotated[int, Query(ge=0, lt=2**31)] = 0,
) -> Response:
    return Json({"items": await look.items(session, search=search, limit=limit, offset=offset)})


@router.post(
    "/items",
    summary="Create or edit one item, or up to 10,000 of which each is answered for itself",
    openapi_extra=_body(_ROWS, _LINES[0]),
)
async def edit_many(
    session: Session,
    request: Request,
    dry_run: Annotated[bool, Query(description="Answer what would happen, and do nothing.")] = False,
) -> Response:
    rows = await asyncio.to_thread(_rows, await _read(request), request.headers.get("content-type", ""))
    if isinstance(rows, list):
        answers = await edits.apply(session, rows)
        content = {"items": [answer.told() for answer in answers], **edits.counted(answers)}
        answered: Response = Json(content)
    else:
        answered = _answered(await edits.apply_one(session, rows))
    if dry_run:
        await session.rollback()
    return answered


@router.get("/items/{name:path}", summary="All that is known of an item: files, tasks, process, attempts")
async def item(session: Session, name: str) -> Response:
    view = await look.item(session, name)
    return Json(view, headers={"etag": f'"{view.item["revision"]}"'})


@router.patch("/items/{name:path}", summary="Edit an item that there is", openapi_extra=_body(_EDIT))
async def edit_one(session: Session, request: Request, name: str) -> Response:
    row = await asyncio.to_thread(read_json, await _read(request))
    if not isinstance(row, dict) or row.get("name", name) != name:
        raise InvalidInput("The body must be an object with what is to be changed in this item.")
    expected = _if_match(request)
    given = row | {"name": name, "revision": row.get("revision") if expected is None else expected}
    if row.get("revision", given["revision"]) != given["revision"]:
        raise InvalidInput("If-Match and the body's revision are not the same.")
    return _answered(await edits.apply_one(session, given, create=False))


@router.delete("/items/{name:path}", summary="Delete an item to which nothing refers", status_code=204)
async def delete(session: Session, request: Request, name: str) -> Response:
    await catalogue.delete(session, name, _if_match(request))
    return Response(status_code=204)


@router.post("/attempts/{task}-{fence}/promote", summary="Apply a late result by a person's decision")
async def promote(
    session: Session, task: Annotated[int, Path(ge=1, lt=2**63)], fence: Annotated[int, Path(ge=1, lt=2**31)]
) -> Response:
    return Json({"task": task, "state": await redo.promote(session, task, fence)})


@router.get("/documents/{sha256}", summary="A document by its SHA-256")
async def document(session: Session, site: Site, request: Request, sha256: str) -> Response:
    headers = {"etag": f'"{sha256}"', "cache-control": "private, max-age=31536000, immutable"}
    body = await look.document(session, site.documents, sha256)
    if headers["etag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)


async def _read(request: Request) -> bytes:
    """The body, if it is not too large. Raises InvalidInput."""
    parts, size = [], 0
    async for part in request.stream():
        parts.append(part)
        size += len(part)
        if size > LARGEST_BODY:
            raise InvalidInput(f"The body is larger than {LARGEST_BODY:,} bytes.", hint="Send fewer rows at a time.")
    return b"".join(parts)


def _rows(body: bytes, content_type: str) -> Any:
    """What a body holds: one row, or a list of rows. A line that is no JSON is an error in its place."""
    if content_type.partition(";")[0].strip().lower() in _LINES:
        try:
            return [row for _, row in json_rows(body.decode("utf-8-sig").split("\n"))]
        except UnicodeDecodeError as error:
            raise InvalidInput(f"The body is no UTF-8: {error}.") from None
    return read_json(body)


def _answered(answer: Answer) -> Response:
    """One row's answer with its HTTP status."""
    if answer.error is None:
        headers = {"etag": f'"{answer.revision}"'}
        return Json(answer.told(), 201 if answer.outcome == edits.CREATED else 200, headers)
    told = problems.described(type(answer.error).__name__, answer.error.message, answer.error.hint)
    record = {} if answer.record is None else {"record": answer.record}
    return Json(told | record, problems.status_of(answer.error))


def _if_match(request: Request) -> int | None:
    """The revision that `If-Match` expects. Raises InvalidInput."""
    given = request.headers.get("if-match")
    if given is None or given.strip() == "*":
        return None
    found = re.fullmatch(r'(?:W/)?"?(\d{1,18})"?', given.strip())
    if found is None:
        raise InvalidInput(f"If-Match is {given[:40]!r}; it must be the ETag of the record, its revision.")
    return int(found[1])
