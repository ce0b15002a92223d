"""The page on which a record is edited. A stale form is shown beside what there is now, and loses nothing."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from tidemill.catalogue import edits, items, statuses
from tidemill.domain.fields import Fields
from tidemill.domain.item_edits import package_refused
from tidemill.domain.kinds import Kind
from tidemill.errors import InvalidInput, TidemillError
from tidemill.web import record_form
from tidemill.web.rendering import redirect, render, site_of

router = APIRouter()


@router.get("/records/{name:path}")
async def form(request: Request, name: str) -> HTMLResponse:
    """The form of one record."""
    async with site_of(request).database.begin() as session:
        record = await items.get(session, name)
        if record["kind"] == Kind.PACKAGE:
            raise package_refused([name])
        fields = await edits.declared(session)
        words = await statuses.used(session)
    return _page(request, name, record_form.drawn(record, fields), words)


@router.post("/records/{name:path}")
async def save(request: Request, name: str) -> Response:
    """Save what was changed, if nobody edited the record since the form was made."""
    typed = {key: value for key, value in (await request.form()).items() if isinstance(value, str)}
    async with site_of(request).database.begin() as session:
        fields = await edits.declared(session)
        words = await statuses.used(session)
        try:
            row = record_form.patch(typed, fields) | {"name": name, "revision": record_form.revision(typed)}
            answer = await edits.apply_one(session, row, create=False)
            if answer.error is not None and answer.record is None:
                raise answer.error
        except InvalidInput as error:
            return _page(request, name, record_form.redrawn(typed, fields), words, wrong=_said(error))
    if answer.record is not None:
        return _stale(request, name, typed, row, answer.record, fields, words)
    changed = answer.outcome == edits.CHANGED
    said = f"Saved: it is at revision {answer.revision} now." if changed else "There was nothing to change."
    return redirect(f"/items/{quote(name, safe='')}", said)


def _stale(
    request: Request, name: str, typed: dict[str, str], row: dict[str, Any], now: dict[str, Any], fields: Fields,
    words: list[str],
) -> HTMLResponse:  # fmt: skip
    rivals = record_form.rivals(record_form.began(typed), now, row)
    form = record_form.drawn(record_form.with_patch(now, row), fields, began=now)
    return _page(request, name, form, words, rivals=rivals)


def _page(
    request: Request,
    name: str,
    form: record_form.RecordForm,
    statuses: list[str],
    *,
    wrong: str = "",
    rivals: list[dict[str, str]] | None = None,
) -> HTMLResponse:
    status = 409 if rivals is not None else 422 if wrong else 200
    return render(request, "record.html", status, name=name, form=form, statuses=statuses, wrong=wrong, rivals=rivals)


def _said(error: TidemillError) -> str:
    return f"{error.message} {error.hint}" if error.hint else error.message
