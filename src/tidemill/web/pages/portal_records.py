"""One project, one item: everything that the portal shows of them."""

from __future__ import annotations

import datetime as dt
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.catalogue import browsing
from tidemill.db.database import Row, fetch
from tidemill.domain.shop_window import Noun, Window
from tidemill.web import portal_basket, wording
from tidemill.web.pages import portal_lists
from tidemill.web.pages.portal_door import Addresses, page, titles_of
from tidemill.web.portal_values import Heads, plain, sheet, titled
from tidemill.web.rendering import site_of
from tidemill.web.words import words_of

router = APIRouter()
MOST_FILES = 500


@router.get("/{word}")
async def some(request: Request, word: str) -> HTMLResponse:
    """A list, by the site's word for what is in it."""
    async with site_of(request).database.begin() as session:
        window = await browsing.window(session)
        return await portal_lists.listing(request, session, window, portal_lists.noun_of(window, word))


@router.get("/{word}/{name:path}")
async def one(request: Request, word: str, name: str) -> HTMLResponse:
    """A project or an item, by its name."""
    async with site_of(request).database.begin() as session:
        window = await browsing.window(session)
        if portal_lists.noun_of(window, word) is Noun.PROJECT:
            return await _project(request, session, window, name)
        return await _item(request, session, window, name)


async def _project(request: Request, session: AsyncSession, window: Window, name: str) -> HTMLResponse:
    row = await portal_lists.project_row(session, window, name)
    files = await browsing.project_files(session, row, limit=MOST_FILES)
    total, rows, columns = await portal_lists.members(session, window, name)
    return page(
        request,
        "portal_project.html",
        project=row,
        sheet=sheet(row["metadata"], window.project_fields, heads(window)),
        packages=packages(request, row["computed_files"], window),
        files=files,
        members={"total": total, "rows": rows, "columns": columns},
        originals=_originals(window),
        parts=portal_basket.parts_in(row["computed_files"]),
        citation=_citation(request, window, row),
    )


async def _item(request: Request, session: AsyncSession, window: Window, name: str) -> HTMLResponse:
    row = await browsing.item(session, window, name)
    files = await browsing.item_files(session, row, limit=MOST_FILES)
    return page(
        request,
        "portal_item.html",
        item=row,
        sheet=sheet(row["metadata"], window.item_fields, heads(window)),
        packages=packages(request, row["computed_files"], window),
        files=files,
        process=await fetch(session, "items.process", {"item": row["id"]}),
        originals=_originals(window),
        parts=await _parts(session, window, row),
    )


async def _parts(session: AsyncSession, window: Window, row: Row) -> list[str]:
    """The parts of an item that a basket can hold: its own packages tell, or else those of its project."""
    if found := portal_basket.parts_in(row["computed_files"]):
        return found
    if not row["projects"]:
        return []
    project = await portal_lists.project_row(session, window, row["projects"][0]["name"])
    return portal_basket.parts_in(project["computed_files"])


def packages(request: Request, rows: list[Row], window: Window) -> list[Row]:
    """Computed files, in the order of their declarations, with what a person is told of each: `title`, as declared;
    `about`, titles and texts; `flags`, what it includes."""
    titles = titles_of(request)
    order = {name: place for place, name in enumerate(titles)}
    found: list[Row] = []
    for row in sorted(rows, key=lambda one: (order.get(one["package"], len(order)), str(one["name"]))):
        said = [(_called(name, window), row["attributes"].get(name)) for name in window.attributes]
        about = [(title, _readable(value)) for title, value in said if value not in (None, False, True, "", [])]
        flags = [title for title, value in said if value is True]
        found.append(row | {"title": titles.get(row["package"], ""), "about": about, "flags": flags})
    return found


def _citation(request: Request, window: Window, row: Row) -> str:
    """A project as literature names it: what, where, since when, and when it was looked at."""
    place = str(request.base_url).rstrip("/") + Addresses(words_of(request)).project(row["name"])
    today = wording.day(dt.datetime.now(dt.UTC))
    title = f"{row['title'].rstrip('.')} ({row['name']})" if row["title"] else row["name"]
    return f"{title}. {window.title}, {row['created_at']:%Y}. {place}. Retrieved {today}."


def _called(name: str, window: Window) -> str:
    """An attribute or a column as a heading: as the field of that name is called, where there is one."""
    for fields in (window.project_fields, window.item_fields):
        if title := (fields.get(name) or {}).get("title"):
            return str(title)
    return titled(name)


def heads(window: Window) -> Heads:
    """How tables of metadata are headed."""
    return Heads(window.columns, lambda key: _called(key, window))


def _readable(value: Any) -> str:
    """A value of an attribute as words: `SINGLE_CELL` is `SINGLE CELL`."""
    return plain(value).replace("_", " ")


def _originals(window: Window) -> bool:
    """Whether original files can be downloaded one by one."""
    return bool(window.publishing.get("originals"))
