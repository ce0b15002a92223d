"""The portal's lists of projects and items, with their filters; the search over both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response
from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.catalogue import browsing
from tidemill.catalogue.browsing import Listed, Query
from tidemill.db.database import Row
from tidemill.domain.lookups import Filter, Lookup
from tidemill.domain.shop_window import Noun, Window
from tidemill.domain.vocabulary import in_address
from tidemill.errors import InvalidFields, NotFound
from tidemill.web import portal_query as asking
from tidemill.web.pages.portal_door import declared_of, page
from tidemill.web.portal_query import Asked, Chosen
from tidemill.web.portal_values import Shown, cell, shown, titled
from tidemill.web.rendering import site_of

router = APIRouter()
PAGE = {Noun.PROJECT: 20, Noun.ITEM: 50}
MOST_COLUMNS = 5
FACET_VALUES = 100
MOST_LOOSENED = 6
MATCHES = 8
MOST_GATHERED = 5000
"""Items that go into a basket at once."""

MEMBERS = 20
"""Items of a project that its own page shows."""


@dataclass(frozen=True, slots=True)
class Looser:
    """A filter that could be taken off, and how much there would be without it."""

    text: str
    total: int
    query: str


@router.get("/search")
async def search(request: Request) -> Response:
    """What one search finds among projects and among items."""
    words = asking.asked([("search", request.query_params.get("search", ""))]).search
    async with site_of(request).database.begin() as session:
        window = await browsing.window(session)
        wanted = Asked(search=words)
        projects = await _listed(session, window, Noun.PROJECT, _short(wanted, window, Noun.PROJECT))
        items = await _listed(session, window, Noun.ITEM, _short(wanted, window, Noun.ITEM))
    return page(
        request,
        "portal_search.html",
        search=words,
        projects=projects,
        items=items,
        rows=[_cells(row, window, []) for row in items.rows],
        cards=[_card(row, window) for row in projects.rows],
        all=urlencode({"search": words}) if words else "",
    )


def noun_of(window: Window, word: str) -> Noun:
    """Of what a part of an address is the list. Raises NotFound."""
    if word == in_address(window.words.projects):
        return Noun.PROJECT
    if word == in_address(window.words.items):
        return Noun.ITEM
    raise NotFound("There is no such page.")


async def listing(request: Request, session: AsyncSession, window: Window, noun: Noun) -> HTMLResponse:
    """A list with its facets, exact counts, and what to loosen where nothing is left; or the values of one facet alone,
    where a search within it is typed."""
    if (only := request.headers.get("hx-target", "")).startswith("values-"):
        return await _values(request, session, window, noun, only.removeprefix("values-"))
    wanted, wrong = asking.asked(request.query_params.multi_items()), ""
    finds: dict[str, str] = {}
    found, facets, looser = Listed(0, []), list[browsing.Facet](), list[Looser]()
    try:
        query = asking.query_of(wanted, window, noun, PAGE[noun])
        found = await _listed(session, window, noun, query)
        names = asking.counted_facets(window.fields(noun))
        finds = asking.finds(request.query_params.multi_items(), names)
        rest = [name for name in names if name not in finds]
        facets = await browsing.facets(session, window, noun, query, names=rest, most=FACET_VALUES)
        facets += [await _found(session, window, noun, query, name, letters) for name, letters in finds.items()]
    except InvalidFields as error:
        wrong = error.message
    chosen = asking.chosen(wanted, window, noun)
    if not found.total and chosen and not wrong:
        looser = await _loosened(session, window, noun, chosen)
    columns = _columns(window)
    return page(
        request,
        "portal_list.html",
        422 if wrong else 200,
        noun=noun,
        title=window.words.projects if noun is Noun.PROJECT else window.words.items,
        wanted=wanted,
        wrong=wrong,
        found=found,
        facets=asking.choices(wanted, window.fields(noun), facets, finds),
        chosen=chosen,
        looser=looser,
        columns=[(name, _title(window, name), _sorted_by(wanted, name)) for name in columns],
        by_name=_sorted_by(wanted, window.id),
        rows=[_cells(row, window, columns) for row in found.rows] if noun is Noun.ITEM else [],
        cards=[_card(row, window) for row in found.rows] if noun is Noun.PROJECT else [],
        parts=declared_of(request).parts,
        most=MOST_GATHERED,
        sorts=_sorts(window, noun),
        pages=_pages(wanted, found.total, PAGE[noun]),
        first=(wanted.page - 1) * PAGE[noun] + 1,
    )


async def _values(request: Request, session: AsyncSession, window: Window, noun: Noun, id_: str) -> HTMLResponse:
    """The values of one facet with the letters that are typed. Raises InvalidFields, NotFound."""
    params = request.query_params.multi_items()
    name = next((one for one in window.fields(noun) if asking.hashed(one) == id_), None)
    if name is None:
        raise NotFound("There is no such field.")
    wanted, finds = asking.asked(params), asking.finds(params, [name])
    query = asking.query_of(wanted, window, noun, 0)
    found = await _found(session, window, noun, query, name, finds.get(name, ""))
    offered = asking.choices(wanted, window.fields(noun), [found], finds)
    facet = next((one for one in offered if one.name == name), asking.Choices(name, found.title, []))
    return page(request, "portal_facet.html", facet=facet)


async def _found(
    session: AsyncSession, window: Window, noun: Noun, query: Query, name: str, letters: str
) -> browsing.Facet:
    """The values of one facet with these letters in them."""
    return await browsing.facet(session, window, noun, query, name, contains=letters, most=FACET_VALUES)


async def members(session: AsyncSession, window: Window, project: str) -> tuple[int, list[Row], list[Any]]:
    """The first items of a project: how many it has, the rows for the table, its columns."""
    query = Query((window.in_project(project),), ordering=((window.id, False),), limit=MEMBERS)
    found = await browsing.items(session, window, query)
    columns = _columns(window)
    rows = [_cells(row, window, columns) for row in found.rows]
    return found.total, rows, [(name, _title(window, name), None) for name in columns]


async def project_row(session: AsyncSession, window: Window, name: str) -> Row:
    """One project without the names of its items, of which there may be many. Raises NotFound."""
    wanted = Filter(window.id, "text", Lookup.EXACT, name.replace("\0", ""))
    found = await browsing.projects(session, window, Query((wanted,), limit=1), members=False)
    if not found.rows:
        raise NotFound(f"There is no {window.words.project} {name!r}.")
    return found.rows[0]


async def newest(session: AsyncSession, window: Window, noun: Noun, most: int) -> list[Row]:
    """What came last."""
    found = await _listed(session, window, noun, Query(ordering=(("created_at", True),), limit=most))
    return [_card(row, window) if noun is Noun.PROJECT else _cells(row, window, []) for row in found.rows]


def _short(wanted: Asked, window: Window, noun: Noun) -> Query:
    return asking.query_of(wanted, window, noun, MATCHES)


async def _listed(session: AsyncSession, window: Window, noun: Noun, query: Query) -> Listed:
    if noun is Noun.PROJECT:
        return await browsing.projects(session, window, query, members=False)
    return await browsing.items(session, window, query)


async def _loosened(session: AsyncSession, window: Window, noun: Noun, chosen: Sequence[Chosen]) -> list[Looser]:
    """For each filter that is on, how much the list would have without it, the most first."""
    found = []
    for one in chosen[:MOST_LOOSENED] if len(chosen) > 1 else ():
        query = replace(asking.query_of(one.less, window, noun, 0), limit=0)
        total = (await _listed(session, window, noun, query)).total
        if total:
            found.append(Looser(f"{one.title}: {one.text}" if one.title != "Search" else one.text, total, one.query))
    return sorted(found, key=lambda one: -one.total)


def _columns(window: Window) -> list[str]:
    """The declared fields that a table of items shows: facets first."""
    fields = window.item_fields
    scalars = [name for name, said in fields.items() if name != window.id]
    return sorted(scalars, key=lambda name: not fields[name].get("facet"))[:MOST_COLUMNS]


def _title(window: Window, name: str) -> str:
    return window.item_fields[name].get("title") or titled(name)


def _cells(row: Row, window: Window, columns: Sequence[str]) -> Row:
    """A row of a table of items."""
    metadata = row["metadata"]
    return {
        "name": row["name"],
        "cells": [cell(metadata.get(name)) for name in columns],
        "projects": row["projects"],
        "files": len(row["computed_files"]),
        "size": sum(file["size"] for file in row["computed_files"]),
        "created_at": row["created_at"],
        "gist": _gist(row, window),
    }


def _gist(row: Row, window: Window) -> list[Shown]:
    """What says most of an item in one line: its first facets."""
    fields = window.item_fields
    named = [name for name in _columns(window) if fields[name].get("facet")][:3]
    return [cell(row["metadata"].get(name)) for name in named if row["metadata"].get(name) not in (None, "", [])]


def _card(row: Row, window: Window) -> Row:
    """What a project's card shows: title, the beginning of its longest text, its facets, how much there is."""
    fields, metadata = window.project_fields, row["metadata"]
    read = [shown(name, metadata[name], said) for name, said in fields.items() if metadata.get(name) not in (None, "")]
    prose = max((str(one.value) for one in read if one.kind == "long"), key=len, default="")
    return {
        "name": row["name"],
        "title": row["title"],
        "excerpt": prose[:600],
        "chips": [one for one in read if one.facet and one.kind == "chips"][:2],
        "flags": [one.title for one in read if fields[one.key]["type"] == "boolean" and metadata[one.key] is True],
        "items": row["items"],
        "files": len(row["computed_files"]),
        "size": sum(file["size"] for file in row["computed_files"]),
        "locked": row["locked"],
        "created_at": row["created_at"],
    }


def _sorted_by(wanted: Asked, name: str) -> tuple[str, str]:
    """How the list is ordered by a column (`ascending`, `descending`, `none`), and the list ordered by it."""
    now = {name: "ascending", f"-{name}": "descending"}.get(wanted.sort, "none")
    return now, replace(wanted, sort=f"-{name}" if now == "ascending" else name, page=1).text()


def _sorts(window: Window, noun: Noun) -> list[tuple[str, str]]:
    """The orders that a list offers."""
    own = [("", "Name"), ("-created_at", "Newest first"), ("created_at", "Oldest first")]
    if noun is Noun.PROJECT:
        return [own[0], ("title", "Title"), *own[1:]]
    fields = [(name, _title(window, name)) for name in _columns(window)]
    return [*own, *fields, *((f"-{name}", f"{title}, downwards") for name, title in fields)]


def _pages(wanted: Asked, total: int, size: int) -> dict[str, Any]:
    last = max(1, math.ceil(total / size))
    return {
        "page": wanted.page,
        "last": last,
        "before": replace(wanted, page=min(wanted.page - 1, last)).text() if wanted.page > 1 else None,
        "after": replace(wanted, page=wanted.page + 1).text() if wanted.page < last else None,
    }
