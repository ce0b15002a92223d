"""The basket: what a person gathers from several projects, sees the size of, has built, and downloads."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.datastructures import FormData

from tidemill.catalogue import browsing
from tidemill.domain.shop_window import Window
from tidemill.errors import InvalidFields, NotFound, TidemillError
from tidemill.publishing import datasets
from tidemill.publishing.datasets import Dataset, Place, Wish
from tidemill.web import portal_basket, wording
from tidemill.web.pages import portal_lists
from tidemill.web.pages.forms import form_of, local, words
from tidemill.web.pages.portal_door import REFUSED, TOP, declared_of, open_dataset, page, to_terms, visitor_of
from tidemill.web.portal_basket import Declared
from tidemill.web.rendering import redirect, site_of
from tidemill.web.words import words_of

router = APIRouter()
HOME = f"{TOP}/basket"
SHOWN = 20
"""Datasets that the page shows."""


@router.get("/basket")
async def basket(request: Request) -> Response:
    """What is in it, and what was asked for before."""
    if (asked := _ask(request, HOME)) is not None:
        return asked
    return await _page(request)


@router.post("/basket/add")
async def add(request: Request) -> Response:
    """Put parts of a project's items into it: of one, or of all that have them."""
    if (asked := _ask(request, request.headers.get("referer", ""))) is not None:
        return asked
    form = await form_of(request)
    back = local(words(form, "back")) or HOME
    project, item = words(form, "project") or "", words(form, "item")
    parts = [one for one in form.getlist("part") if isinstance(one, str) and one]
    known = declared_of(request)
    try:
        async with site_of(request).database.begin() as session:
            now = await open_dataset(session, visitor_of(request).person, hold=True)
            window = await browsing.window(session)
            before = dict(now.data) if now else {}
            formats = [now.format] if now is not None else known.formats or [""]
            form_, data = await _fitting(session, window, before, project, item, parts, formats, known)
            if now is not None and data == now.data:
                return redirect(back, "It is in your basket already." if parts else "Choose what to put in.")
            await keep(request, session, now, Wish(format=form_, data=data))
    except InvalidFields as error:
        return redirect(back, f"{REFUSED} That could not be put into your basket. {said(error)}")
    return redirect(back, f"It is in your basket now: {_counted(request, data)}.")


@router.post("/basket/change")
async def change(request: Request) -> Response:
    """Take something out, change the format, take a part as one, or with files of the project itself."""
    if (asked := _ask(request, HOME)) is not None:
        return asked
    form = await form_of(request)
    try:
        async with site_of(request).database.begin() as session:
            now = await open_dataset(session, visitor_of(request).person, hold=True)
            if now is None:
                return redirect(HOME)
            data, form_, told = await _changed(session, now, form, declared_of(request))
            if portal_basket.count(data) == 0 and not any(data.values()):
                await datasets.drop(session, visitor_of(request).person, now.id)
                return redirect(HOME, "Your basket is empty.")
            await keep(request, session, now, Wish(format=form_, data=data))
    except InvalidFields as error:
        return await _page(request, said(error))
    return redirect(HOME, told)


@router.post("/basket/start")
async def start(request: Request) -> Response:
    """Ask for the dataset: it is built, and can be downloaded for some days."""
    return await _act(request, "start")


@router.post("/basket/forget")
async def forget(request: Request) -> Response:
    """Forget a dataset."""
    return await _act(request, "forget")


async def _act(request: Request, what: str) -> Response:
    if (asked := _ask(request, HOME)) is not None:
        return asked
    person = visitor_of(request).person
    try:
        id_ = uuid.UUID(words(await form_of(request), "id") or "")
    except ValueError:
        raise NotFound("There is no such dataset.") from None
    try:
        async with site_of(request).database.begin() as session:
            if what == "start":
                await datasets.change(session, _place(request), person, id_, Wish(start=True))
            else:
                await datasets.drop(session, person, id_)
    except InvalidFields as error:
        return await _page(request, said(error))
    begun = "Your dataset was asked for."
    return redirect(HOME, begun if what == "start" else "Forgotten.")


async def _page(request: Request, wrong: str = "") -> HTMLResponse:
    visitor, known = visitor_of(request), declared_of(request)
    async with site_of(request).database.begin() as session:
        found, total = await datasets.mine(session, visitor.person, limit=SHOWN)
        now = next((one for one in found if one.state == "open"), None)
        about = await _about(session, now, known)
    return page(
        request,
        "portal_basket.html",
        422 if wrong else 200,
        now=now,
        lines=portal_basket.lines(now.data) if now else {},
        about=about,
        known=known,
        wrong=wrong,
        others=[one for one in found if one is not now and one.state != "open"],
        total=total,
        cited=lambda one: _cited(request, one),
        moving=any(one.state == "processing" for one in found),
    )


async def _fitting(
    session: AsyncSession, window: Window, data: Mapping[str, Any], project: str, item: str | None, parts: list[str],
    formats: list[str], known: Declared,
) -> tuple[str, dict[str, Any]]:  # fmt: skip
    """The first of these formats that the parts can be had in, and the contents with them. Raises InvalidFields."""
    for form in formats[:-1]:
        try:
            return form, await _with(session, window, data, project, item, parts, form, known)
        except InvalidFields:
            continue
    return formats[-1], await _with(session, window, data, project, item, parts, formats[-1], known)


async def _with(
    session: AsyncSession, window: Window, data: Mapping[str, Any], project: str, item: str | None, parts: list[str],
    form: str, known: Declared,
) -> dict[str, Any]:  # fmt: skip
    """The contents with parts of one item, or of all items of a project that have them. Raises InvalidFields."""
    rows = [await browsing.item(session, window, item)] if item else None
    if rows is None:
        await portal_lists.project_row(session, window, project)  # so that one that is not shown is not found
        rows = await browsing.project_items(session, window, project)
    made = dict(data)
    for part in parts:
        names = [row["name"] for row in rows if portal_basket.fits(row["computed_files"], part, form, known)]
        if not names:
            raise InvalidFields({part: [f"There is nothing of it as {form}, the format of your basket."]})
        made = portal_basket.with_items(made, project, part, names)
    return made


async def _changed(
    session: AsyncSession, now: Dataset, form: FormData, known: Declared
) -> tuple[dict[str, Any], str, str]:
    """Contents, format, and what is said of the change."""
    data, project, part = now.data, words(form, "project") or "", words(form, "part") or ""
    match words(form, "act"):
        case "remove":
            return portal_basket.without(data, project, part, words(form, "item") or ""), now.format, "Taken out."
        case "whole":
            return portal_basket.with_value(data, project, part, words(form, "word")), now.format, "Changed."
        case "items":
            window = await browsing.window(session)
            rest = portal_basket.without(data, project, part)
            made = await _with(session, window, rest, project, None, [part], now.format, known)
            return made, now.format, "Changed."
        case "include":
            key = f"{portal_basket.INCLUDES}{words(form, 'word') or ''}"
            return portal_basket.with_value(data, project, key, not data[project].get(key)), now.format, "Changed."
        case "format":
            wanted = words(form, "format") or ""
            made, left = await _as_format(session, data, wanted, known)
            told = f" Left out, since there is nothing of them as {wanted}: {', '.join(left[:20])}." if left else ""
            return made, wanted, f"It comes as {wanted} now.{told}"
        case _:
            return dict(data), now.format, ""


async def _as_format(
    session: AsyncSession, data: Mapping[str, Any], form: str, known: Declared
) -> tuple[dict[str, Any], list[str]]:
    """The contents in another format, and the items that have nothing in it, which are left out."""
    window = await browsing.window(session)
    made, left = dict(data), set[str]()
    for project, some in portal_basket.lines(data).items():
        files = {row["name"]: row["computed_files"] for row in await browsing.project_items(session, window, project)}
        for line in some:
            for name in line.items:
                if not portal_basket.fits(files.get(name, []), line.part, form, known):
                    made = portal_basket.without(made, project, line.part, name)
                    left.add(name)
    if not made and left:
        raise InvalidFields({"format": [f"Nothing that is in your basket can be had as {form}."]})
    return made, sorted(left)


async def keep(request: Request, session: AsyncSession, now: Dataset | None, wish: Wish) -> None:
    """Make this a person's basket; `now` is the dataset that it is, if there is one. Raises InvalidFields."""
    person = visitor_of(request).person
    if now is None:
        await datasets.create(session, _place(request), person, wish)
    else:
        await datasets.change(session, _place(request), person, now.id, wish)


async def _about(session: AsyncSession, now: Dataset | None, known: Declared) -> dict[str, dict[str, Any]]:
    """What the page says of each project in a basket: `title`, `words` for what it has of each part as one, `own` for
    files of its own."""
    window, found = await browsing.window(session), dict[str, dict[str, Any]]()
    for name in now.data if now is not None else ():
        try:
            row = await portal_lists.project_row(session, window, name)
        except NotFound:  # it is not shown any more
            row = {"title": "", "computed_files": []}
        files = row["computed_files"]
        found[name] = {
            "title": row["title"] or name,
            "words": {
                part: [word for word in words if word in portal_basket.had_as_one(files, part)]
                for part, words in known.words.items()
            },
            "own": [word for word in known.own if portal_basket.has_own(files, word)],
        }
    return found


def _cited(request: Request, made: Dataset) -> str:
    """A dataset as literature names it: what was taken from where, when, and by what it can be told again."""
    assert made.file is not None
    more = f" and {len(made.data) - 20:,} more" if len(made.data) > 20 else ""
    taken = f"{wording.counted(made.files, 'file')} from {', '.join(sorted(made.data)[:20])}{more}"
    return (
        f"Dataset of {taken}. {words_of(request).title}, {request.base_url}portal. "
        f"Built {wording.day(made.file['created_at'])}. SHA-256 {made.file['sha256']}."
    )


def said(error: TidemillError) -> str:
    """What is wrong with a dataset, in a sentence or some."""
    if isinstance(error, InvalidFields):
        faults = [fault for some in error.fields.values() for fault in some]
        return " ".join(faults[:8]) + (f" And {len(faults) - 8} more." if len(faults) > 8 else "")
    return error.message


def _ask(request: Request, then: str) -> Response | None:
    """Baskets belong to a person's key, operators' too."""
    return to_terms(request, then, person=True)


def _counted(request: Request, data: Mapping[str, Any]) -> str:
    number = portal_basket.count(data)
    return f"{number:,} {'thing' if number == 1 else 'things'} in all"


def _place(request: Request) -> Place:
    site = site_of(request)
    return Place(site.documents, site.settings.packages_folder)
