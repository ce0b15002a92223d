"""Many at once: ticked rows of a list, or all that a list finds, go into the basket."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request
from fastapi.responses import Response
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.datastructures import FormData

from tidemill.catalogue import browsing
from tidemill.catalogue.browsing import Query
from tidemill.db.database import Row
from tidemill.domain.dataset_contents import ContentsRefused
from tidemill.domain.lookups import Filter, Lookup
from tidemill.domain.shop_window import Noun, Window
from tidemill.errors import InvalidFields, InvalidInput
from tidemill.publishing.datasets import Wish
from tidemill.web import portal_gathering, portal_query
from tidemill.web.pages.forms import form_of, local, words
from tidemill.web.pages.portal_basket import HOME, keep, said
from tidemill.web.pages.portal_door import REFUSED, declared_of, open_dataset, to_terms, visitor_of
from tidemill.web.pages.portal_lists import MOST_GATHERED as MOST
from tidemill.web.portal_gathering import Candidate, Outcome
from tidemill.web.rendering import redirect, site_of

router = APIRouter()
FIELDS = 1000
"""Fields of the form besides the names that are chosen."""
TRIES = 5
"""How often the rest is tried when some cannot be had: what is left can have faults that the first hid."""


@router.post("/basket/gather")
async def gather(request: Request) -> Response:
    """Put what is ticked into the basket (`which` is `chosen`), or all that the list finds, and say what became of
    it."""
    if (asked := to_terms(request, request.headers.get("referer", ""), person=True)) is not None:
        return asked
    form = await form_of(request, fields=MOST + FIELDS)
    back = local(words(form, "back")) or HOME
    try:
        async with site_of(request).database.begin() as session:
            window = await browsing.window(session)
            rows, within = await _rows(session, window, form)
            locked = await _locked(session, window)
            candidates = [_candidate(row, within, locked) for row in rows]
            made = await _put(request, session, candidates, _parts(request, form))
    except InvalidFields as error:
        return redirect(back, f"{REFUSED} Nothing was put into your basket. {said(error)}")
    except InvalidInput as error:
        return redirect(back, f"{REFUSED} {error.message} {error.hint or ''}")
    told = made.told(window.words.item, window.words.items)
    return redirect(back, told if made.came or made.there else f"{REFUSED} {told}")


async def _put(
    request: Request, session: AsyncSession, candidates: Sequence[Candidate], parts: Sequence[str]
) -> Outcome:
    """Into the basket with what can be had. Raises InvalidFields where even that cannot be."""
    known = declared_of(request)
    now = await open_dataset(session, visitor_of(request).person, hold=True)
    before = dict(now.data) if now is not None else {}
    form = now.format if now is not None else portal_gathering.likeliest_format(candidates, parts, known)
    for _ in range(TRIES):
        made = portal_gathering.gathered(before, candidates, parts, form, known)
        if not made.came:
            return made
        try:
            await keep(request, session, now, Wish(format=form, data=made.contents))
        except ContentsRefused as error:
            again = portal_gathering.refused(candidates, error.faults)
            if again == list(candidates):
                raise
            candidates = again
        else:
            return made
    raise InvalidFields({"data": ["Too much of it cannot be had: choose less."]})


async def _rows(session: AsyncSession, window: Window, form: FormData) -> tuple[list[Row], Sequence[str]]:
    """The items that are meant, and the projects that they are to be taken from, if it was said.

    Raises InvalidInput.
    """
    noun = Noun.PROJECT if words(form, "noun") == Noun.PROJECT else Noun.ITEM
    wanted = replace(portal_query.asked(parse_qsl(words(form, "query") or "")), page=1)  # all of it, from any page
    names = [name for name in form.getlist("name") if isinstance(name, str) and name]
    if words(form, "which") == "all":
        query = portal_query.query_of(wanted, window, noun, MOST)
    elif names:
        _check(len(names), window.words.projects if noun is Noun.PROJECT else window.words.items)
        query = Query((Filter(window.id, "text", Lookup.IN, tuple(names)),), limit=MOST)
    else:
        raise InvalidInput("Nothing was chosen.", hint="Tick the boxes of what you want first.")
    if noun is Noun.ITEM:
        path = window.in_project("").field
        within = [value for name, value in wanted.pairs if name in (path, path.partition("__")[0])]
        return await _items(session, window, query), within
    found = await browsing.projects(session, window, query, members=False)
    _check(found.total, window.words.projects)
    projects = [row["name"] for row in found.rows]
    of_these = Filter(window.in_project("").field, "text", Lookup.IN, tuple(projects))
    return (await _items(session, window, Query((of_these,), limit=MOST))) if projects else [], projects


async def _items(session: AsyncSession, window: Window, query: Query) -> list[Row]:
    total = (await browsing.items(session, window, Query(query.filters, query.search, limit=0))).total
    _check(total, window.words.items)
    return (await browsing.items(session, window, query)).rows


def _check(total: int, word: str) -> None:
    if total > MOST:
        raise InvalidInput(
            f"These are {total:,} {word}; {MOST:,} at once is the most.",
            hint="Narrow the list down and take it in parts.",
        )


async def _locked(session: AsyncSession, window: Window) -> frozenset[str]:
    query = Query((Filter("locked", "boolean", Lookup.EXACT, True),), limit=MOST)
    return frozenset(row["name"] for row in (await browsing.projects(session, window, query, members=False)).rows)


def _candidate(row: Row, within: Sequence[str], locked: frozenset[str]) -> Candidate:
    names = [one["name"] for one in row["projects"]]
    why = ""
    if row["status"] != "good":
        why = "its status is not good"
    elif locked.intersection(names):
        why = "locked"
    return Candidate(row["name"], sorted(names, key=lambda name: name not in within), row["computed_files"], why)


def _parts(request: Request, form: FormData) -> list[str]:
    """The parts that are wanted. Raises InvalidInput."""
    known = declared_of(request).parts
    wanted = [part for part in known if part in form.getlist("part")]
    if not wanted and len(known) > 1:
        raise InvalidInput("No part was chosen.", hint=f"Tick at least one of: {', '.join(known)}.")
    return wanted or known
