"""Making batches and starting them, in the browser."""

from __future__ import annotations

from typing import Any

from playwright.async_api import expect
from sqlalchemy import text

from tests.browser.conftest import Place, Visit
from tests.factory import make_run

Json = dict[str, Any]


def same(document: Json, _: Json) -> Json:
    return document


async def test_unknown_ids_are_listed_and_nothing_typed_is_lost(place: Place, visit: Visit) -> None:
    await make_run(place.site.database, items=3, steps=1, prefix="film")
    page = await visit("/batches", allow="422")
    await page.get_by_role("link", name="New batch…").click()
    await page.get_by_label("Name").fill("May")
    await page.get_by_label("Description").fill("for the anniversary")
    pasted = "film-000002, film-999999\nfilm-000000 nobody"
    await page.get_by_label("Ids of items").fill(pasted)
    await page.get_by_role("button", name="Make the batch").click()
    alert = page.get_by_role("alert")
    await expect(alert).to_contain_text("2 ids are not known here")
    await expect(alert.get_by_role("listitem")).to_have_text(["film-999999", "nobody"])
    await expect(page.get_by_label("Ids of items")).to_have_value(pasted)
    await expect(page.get_by_label("Description")).to_have_value("for the anniversary")
    await page.get_by_label("Ids of items").fill("film-000002 film-000000")
    await page.get_by_role("button", name="Make the batch").click()
    await expect(page.get_by_text("Made, with 2 items.")).to_be_visible()
    await expect(page.get_by_role("heading", level=1)).to_have_text("May")
    await expect(page.locator("tbody th a")).to_have_text(["film-000002", "film-000000"])


async def test_only_the_chosen_way_of_making_is_in_sight(place: Place, visit: Visit) -> None:
    await make_run(place.site.database, items=2, steps=1, prefix="one")
    await make_run(place.site.database, items=3, steps=1, prefix="two")
    page = await visit("/batches/new")
    await expect(page.get_by_label("Ids of items")).to_be_visible()
    await page.get_by_label("several batches (combine)").check()
    await expect(page.get_by_label("Ids of items")).to_be_hidden()
    await page.get_by_label("Name").fill("both")
    await page.get_by_label("Batches", exact=True).select_option(["batch-one", "batch-two"])
    await page.get_by_role("button", name="Make the batch").click()
    await expect(page.get_by_text("Made, with 5 items.")).to_contain_text("3 only in batch-two; 2 only in batch-one")


async def test_a_start_says_how_many_before_it_starts_them(place: Place, visit: Visit) -> None:
    functions = {"same": same}
    run = await place.mill.start(items=4, steps=["only"], functions=functions, use=["same"])
    await place.mill.work(functions, until=place.mill.finished(run))
    async with place.site.database.begin() as session:
        await session.execute(text("update task set state = 'failed' where position = 2"))
    page = await visit("/batches/batch-item")
    await expect(page.get_by_text("4 of 4 items will start")).to_be_visible()
    await page.get_by_label("Only what this pipeline has not done").check()
    await expect(page.get_by_text("1 of 4 items will start")).to_be_visible()
    await page.get_by_role("button", name="Start").click()
    await expect(page.get_by_text("Started.")).to_be_visible()
    await expect(page.locator("[data-total=waiting]")).to_have_text("1")
    await expect(page.locator(".g-space").get_by_role("row")).to_have_count(1)
    await expect(page.locator(".g-space").get_by_role("row")).to_contain_text("item-2")


async def test_a_start_that_cannot_be_says_why(place: Place, visit: Visit) -> None:
    functions = {"same": same}
    run = await place.mill.start(items=1, steps=["only"], functions=functions, use=["same"])
    await place.mill.work(functions, until=place.mill.finished(run))
    page = await visit("/batches/batch-item", allow="409")
    await page.get_by_label("Only what this pipeline has not done").check()
    await page.get_by_label("Priority").fill("7")
    await page.get_by_role("button", name="Start").click()
    await expect(page.get_by_role("alert")).to_contain_text("there is nothing to start")
    await expect(page.get_by_label("Priority")).to_have_value("7")
    await expect(page.get_by_label("Only what this pipeline has not done")).to_be_checked()
