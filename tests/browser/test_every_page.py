"""What holds for every page: it comes up clean, is labelled, fits a telephone, and works without JavaScript."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import expect

from tests.browser.conftest import Place, Visit

Json = dict[str, Any]

PATHS = [
    "/", "/runs", "/runs/1", "/runs/1/retry", "/runs/1/rerun", "/runs/1/cancel", "/runs/1/priority", "/items",
    "/items/item-0", "/records/item-0", "/batches", "/batches/new", "/batches/batch-item", "/apps", "/apps/same",
    "/pipelines", "/pipelines/pipe-item", "/computed-files", "/computed-files/retire",
    "/sources", "/load-metadata",
]  # fmt: skip

AUDIT = """() => {
  const named = (part) =>
    part.labels?.length || part.getAttribute("aria-label") || part.textContent.trim() || part.title;
  const visible = (part) => part.checkVisibility();
  return {
    lang: document.documentElement.lang,
    title: document.title,
    headings: document.querySelectorAll("h1").length,
    unlabelled: [...document.querySelectorAll("input:not([type=hidden]), select, textarea, button, a[href]")]
      .filter((part) => visible(part) && !named(part)).map((part) => part.outerHTML),
    twice: [...document.querySelectorAll("[id]")].map((part) => part.id)
      .filter((id, at, all) => all.indexOf(id) !== at),
    unscoped: [...document.querySelectorAll("table th:not([scope])")].length,
    images: [...document.querySelectorAll("img:not([alt])")].length,
    styles: [...document.querySelectorAll("main [style]:not(status-grid *)")].map((part) => part.outerHTML),
    handlers: [...document.querySelectorAll("[onclick], [onchange], [onsubmit]")].length,
    wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  };
}"""

CLEAN = {"unlabelled": [], "twice": [], "styles": [], "unscoped": 0, "images": 0, "handlers": 0, "wide": 0}


def same(document: Json, _: Json) -> Json:
    return document


async def a_run(place: Place, items: int = 2) -> int:
    return await place.mill.start(
        items=items, steps=["first", "second"], functions={"same": same}, use=["same", "same"]
    )


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
async def test_every_page_is_labelled_and_fits(place: Place, visit: Visit, width: int, scheme: str) -> None:
    await a_run(place)
    page = await visit("/", color_scheme=scheme)
    await page.set_viewport_size({"width": width, "height": 800})
    for path in PATHS:
        answer = await page.goto(place.url + path)
        assert answer is not None
        assert answer.status == 200, path
        found = await page.evaluate(AUDIT)
        assert found.pop("lang") == "en"
        assert "Tidemill" in found.pop("title")
        assert found.pop("headings") == 1, path
        assert found == CLEAN, path


async def test_what_is_not_there_is_said_on_a_page(place: Place, visit: Visit) -> None:
    page = await visit("/runs/77", allow="404")
    await expect(page.get_by_role("alert")).to_contain_text("There is no run 77.")
    await page.goto(place.url + "/nowhere")
    await expect(page.get_by_role("alert")).to_contain_text("There is no such page.")


async def test_a_run_is_steered_without_javascript(place: Place, visit: Visit) -> None:
    run = await a_run(place, items=3)
    page = await visit(f"/runs/{run}", java_script_enabled=False)
    await expect(page.locator("status-grid tbody tr")).to_have_count(3)
    await page.get_by_role("button", name="Pause").click()
    await expect(page.get_by_text("Paused. What is in hand finishes")).to_be_visible()
    await page.get_by_role("button", name="Resume").click()
    await page.get_by_label("State").select_option("waiting")
    await page.get_by_label("Name contains").fill("item-1")
    await page.get_by_role("button", name="Show").click()
    await expect(page.locator("status-grid tbody tr")).to_have_count(1)
    await page.get_by_role("link", name="Cancel…").click()
    await expect(page.locator(".confirm")).to_contain_text("1 unfinished task is cancelled")
    await page.get_by_role("button", name="Cancel them").click()
    assert await place.mill.states(run) == {"waiting": 2, "cancelled": 1}
    await page.goto(f"{place.url}/items/item-1")
    await page.get_by_role("link", name="Retry…").click()
    await page.get_by_role("button", name="Retry").click()
    assert await place.mill.states(run) == {"waiting": 3}


async def test_an_app_is_paused_and_the_run_says_so(place: Place, visit: Visit) -> None:
    run = await a_run(place)
    page = await visit("/apps/same", java_script_enabled=False)
    await page.get_by_role("button", name="Pause").click()
    await expect(page.get_by_text("same is paused.")).to_be_visible()
    await page.goto(f"{place.url}/runs/{run}")
    await expect(page.get_by_text("nothing more is started, because same is paused.")).to_be_visible()


async def test_the_start_page_follows_what_runs(place: Place, visit: Visit) -> None:
    run = await a_run(place)
    page = await visit("/")
    await expect(page.locator("[data-live]")).to_have_text("live")
    await page.evaluate("window.unbroken = true")
    active = page.locator("section", has=page.get_by_role("heading", name="Active runs"))
    await expect(active.get_by_role("link", name=str(run), exact=True)).to_be_visible()
    await place.mill.work({"same": same}, until=place.mill.finished(run))
    await expect(active).to_contain_text("Nothing is running.")
    assert await page.evaluate("window.unbroken === true")
