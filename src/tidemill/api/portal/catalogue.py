"""`/v1/projects`, `/v1/items`, their options and numbers, all under the site's own words."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.exceptions import HTTPException
from starlette.responses import Response

from tidemill.api.door import Json, Session
from tidemill.api.portal import shapes
from tidemill.api.portal.access import Shown
from tidemill.api.portal.pages import asked, paged, top_of
from tidemill.catalogue import browsing
from tidemill.domain.lookups import LONGEST
from tidemill.domain.shop_window import Noun, Window
from tidemill.domain.vocabulary import FIXED, ORIGINALS, as_key, in_address
from tidemill.errors import NotFound

router = APIRouter(include_in_schema=False)


def collections(shown: Window) -> dict[str, Noun]:
    """The nouns by the word that stands in addresses."""
    return {in_address(shown.words.projects): Noun.PROJECT, in_address(shown.words.items): Noun.ITEM}


def option_lists(shown: Window) -> dict[str, Noun]:
    """Where the options of each noun are."""
    return {
        f"{in_address(shown.words.project)}-options": Noun.PROJECT,
        f"{in_address(shown.words.item)}-options": Noun.ITEM,
    }


@router.get("/")
async def root(request: Request, shown: Shown) -> Response:
    """Where the resources are."""
    fixed = [name for name in FIXED if name != ORIGINALS]  # whose they are must be said
    names = [*collections(shown), *fixed, *option_lists(shown)]
    return Json({name: f"{top_of(request)}/{quote(name)}/" for name in names})


@router.get("/stats")
async def stats(session: Session, shown: Shown) -> Response:
    """How much there is."""
    found = await browsing.totals(session, shown)
    return Json(
        {
            f"{as_key(shown.words.projects)}_count": found["projects"],
            f"{as_key(shown.words.items)}_count": found["items"],
            "computed_files_count": found["computed_files"],
            "size_in_bytes": found["size_in_bytes"],
            "downloads_count": found["downloads"],
        }
    )


@router.get("/tokens")
async def no_list_of_tokens() -> Response:
    """A key names itself: nobody is shown others'."""
    raise HTTPException(405, headers={"Allow": "POST"})


@router.get("/{collection}")
async def listing(request: Request, session: Session, shown: Shown, collection: str) -> Response:
    """A page of projects or items, or the options of one of them."""
    if collection in option_lists(shown):
        noun = option_lists(shown)[collection]
        fields = shown.fields(noun)
        named = [name for name, declared in fields.items() if declared.get("facet")]
        return Json(await browsing.options(session, shown, noun, named))
    noun = _noun(request, shown, collection)
    query = asked(request, shown, noun)
    results: list[dict[str, Any]]
    if noun is Noun.PROJECT:
        found = await browsing.projects(session, shown, query)
        results = [shapes.project(shown, row, row["item_names"]) for row in found.rows]
    else:
        found = await browsing.items(session, shown, query)
        results = [shapes.item(shown, row) for row in found.rows]
    return Json(paged(request, query, found.total, results))


@router.get("/{collection}/{name:path}")
async def detail(request: Request, session: Session, shown: Shown, collection: str, name: str) -> Response:
    """One record; or how often a field has which value."""
    if collection in option_lists(shown):
        return Json(await _values(request, session, shown, option_lists(shown)[collection], name))
    return await one(request, session, shown, collection, name)


async def one(request: Request, session: AsyncSession, shown: Window, collection: str, name: str) -> Response:
    """One project with its items, or one item."""
    if _noun(request, shown, collection) is Noun.ITEM:
        return Json(shapes.item(shown, await browsing.item(session, shown, name)))
    row = await browsing.project(session, shown, name)
    members = [shapes.item(shown, member) for member in await browsing.project_items(session, shown, name)]
    return Json(shapes.project(shown, row, members))


async def _values(request: Request, session: AsyncSession, shown: Window, noun: Noun, name: str) -> dict[str, Any]:
    """The most frequent values of a field among the records that an address asks for."""
    query = asked(request, shown, noun, more=("contains",))
    letters = request.query_params.get("contains", "")[:LONGEST]
    found = await browsing.facet(session, shown, noun, query, name, contains=letters, most=query.limit)
    values = [{"value": value, "count": count} for value, count in found.values]
    return {"field": found.name, "title": found.title, "type": found.type, "values": values, "more": found.more}


def _noun(request: Request, shown: Window, collection: str) -> Noun:
    noun = collections(shown).get(collection)
    if noun is None:
        there = ", ".join([*collections(shown), *option_lists(shown), *FIXED])
        raise NotFound(f"There is no {collection[:60]!r} here; there are: {there}.")
    return noun
