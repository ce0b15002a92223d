"""What becomes of a basket that much is put into at once, as a browser without scripts sends it."""

from __future__ import annotations

import asyncio
import html
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from sqlalchemy import text
from tests.browser.shelves import fill
from tests.webserver import Web, client_of, web_site

from tidemill.db.database import Database

ITEMS, PROJECTS = 66, 22


@pytest.fixture
async def web(database: Database, database_url: str, tmp_path: Path) -> AsyncIterator[Web]:
    """A public portal whose lists have more than one page."""
    await fill(database, tmp_path / "packages", projects=PROJECTS, items=ITEMS // PROJECTS)
    async with web_site(database, database_url, tmp_path) as web:
        yield web


@pytest.fixture
async def browser(web: Web) -> AsyncIterator[httpx2.AsyncClient]:
    """A browser of somebody who accepted the terms."""
    async with client_of(web.url, follow_redirects=True, headers={"Origin": web.url}) as browser:
        form = {"email": "ada@example.org", "accept": "yes", "version": "2026-11"}
        assert "Your key" in (await browser.post("/portal/terms", data=form)).text
        yield browser


def sent_by(page: str, mark: str) -> dict[str, str]:
    """What the first form with this mark would send as it stands."""
    form = page[page.index(mark) :]
    form = form[: form.index("</form>")]
    return {name: html.unescape(value) for name, value in re.findall(r'name="(\w+)" value="([^"]*)"', form)}


async def put_all(browser: httpx2.AsyncClient, path: str) -> str:
    """Press "Put all in" on a page of a list; what is said then."""
    sent = sent_by((await browser.get(path)).text, '<form id="gathering"')
    return notice(await browser.post("/portal/basket/gather", data=sent | {"which": "all"}))


def notice(answer: Any) -> str:
    """What a page says of what was done."""
    found = re.search(r'class="notice[^"]*"[^>]*><p>(.*?)</p>', answer.text, re.DOTALL)
    assert found, answer.text
    return html.unescape(found[1]).strip()


@pytest.mark.parametrize("path", ["/portal/samples?page=2", "/portal/projects?page=2&sort=-title"])
async def test_all_that_a_list_finds_goes_in_from_any_page(browser: httpx2.AsyncClient, path: str) -> None:
    said = await put_all(browser, path)
    assert said == f"{ITEMS} samples came into your basket. It has {ITEMS} things in it now."


async def test_who_cannot_be_had_is_told_apart_from_others_of_a_like_name(
    database: Database, browser: httpx2.AsyncClient
) -> None:
    """An item may have blanks in its name, another the first word of it; and no file of its own is left of one."""
    async with database.begin() as session:
        await session.execute(text("update item set name = 'Brain' where name = 'SCPCS000001'"))
        await session.execute(text("update item set name = 'Brain 1' where name = 'SCPCS000002'"))
        await session.execute(
            text("delete from item_file using item i where i.id = item_file.item_id and i.name = 'Brain 1'")
        )
    said = await put_all(browser, "/portal/samples?search=Brain")
    assert said.startswith("1 sample came into your basket. 1 sample cannot be had (has nothing of it"), said
    assert said.endswith("Brain 1. It has 1 thing in it now."), said


async def test_two_who_put_something_in_at_once_lose_nothing(browser: httpx2.AsyncClient) -> None:
    """One way with the other, into a basket that is not there yet, and into one that is."""

    def gathered(number: int) -> Any:
        name = f"SCPCS{number:06}"
        if number % 2:
            project = f"SCPCP{(number + 2) // 3:06}"
            form = {"project": project, "item": name, "part": "SINGLE_CELL"}
            return browser.post("/portal/basket/add", data=form)
        return browser.post("/portal/basket/gather", data={"which": "chosen", "name": name, "part": "SINGLE_CELL"})

    for numbers in ((1, 2), (3, 4, 5, 6)):
        await asyncio.gather(*(gathered(number) for number in numbers))
    page = (await browser.get("/portal/basket")).text
    assert [number for number in range(1, 7) if f"/portal/samples/SCPCS{number:06}" not in page] == []


async def test_who_puts_something_in_stays_on_the_page_whatever_its_name(
    database: Database, browser: httpx2.AsyncClient
) -> None:
    name = "Is it? 100% \\ \u00e9"
    async with database.begin() as session:
        await session.execute(text("update item set name = :name where name = 'SCPCS000001'"), {"name": name})
    address = f"/portal/samples/{quote(name, safe='')}"
    sent = sent_by((await browser.get(address)).text, 'action="/portal/basket/add"')
    answer = await browser.post("/portal/basket/add", data=sent)
    assert (answer.status_code, answer.url.raw_path.decode()) == (200, address)
