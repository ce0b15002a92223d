"""The pages of whoever operates the site: what is stuck, failures, affected results, before and now, the week."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import expect
from sqlalchemy import text

from tests.browser.conftest import Place, Visit
from tests.browser.test_every_page import AUDIT, CLEAN

Json = dict[str, Any]
ITEMS = 12


def cold(document: Json, parameters: Json) -> Json:
    number = int(document["item"][5:])
    if parameters["name"] == "fit" and number >= 4:
        raise ValueError(f"run {number}: {number}.5 K is too warm for /calibration/2026/t{number}.h5")
    return {**document, parameters["name"]: {"amplitude": number + 1, "pulses": list(range(20))}}


def mended(document: Json, parameters: Json) -> Json:
    number = int(document["item"][5:])
    return {**document, parameters["name"]: {"amplitude": number + 1.5, "pulses": list(range(number, number + 20))}}


async def a_run(place: Place) -> int:
    run = await place.mill.start(items=ITEMS, steps=["copy", "fit"], functions={"f": cold}, use=["f", "f"], tries=1)
    await place.mill.work({"f": cold}, until=place.mill.finished(run))
    return run


async def rerun_first_four(place: Place, run: int) -> None:
    from tidemill.runner import redo

    async with place.site.database.begin() as session:
        await redo.rerun(session, run, 0, redo.Filter(items=[f"item-{n}" for n in range(4)]))
    await place.mill.work({"f": mended}, until=place.mill.finished(run))


async def new_version(place: Place) -> None:
    async with place.site.database.begin() as session:
        await session.execute(
            text(
                "with made as (insert into app_version (app_id, version, digest) "
                "select id, '2', '' from app where name = 'f' returning id) "
                "update app set version_id = made.id, revision = revision + 1 from made where name = 'f'"
            )
        )


async def test_some_of_a_family_are_tried_then_the_rest_is_let_go(place: Place, visit: Visit) -> None:
    run = await a_run(place)
    page = await visit(f"/runs/{run}")
    await page.get_by_role("link", name="Failures by family").click()
    family = page.locator(".family")
    await expect(family.get_by_role("heading")).to_have_text("8 × ValueError: run #: # K is too warm for <path>")
    await family.get_by_role("link", name="Try 5 of them…").click()
    dialog = page.locator("#dialog")
    await expect(dialog).to_contain_text("5 failed tasks start again at the step where it stopped")
    await expect(dialog).to_contain_text("3 others like it stay failed for now")
    await page.get_by_label("Try only so many first").fill("3")
    await page.keyboard.press("Tab")
    await expect(dialog).to_contain_text("3 failed tasks start again")
    await dialog.get_by_role("button", name="Retry").click()
    await expect(page.get_by_role("status").first).to_have_text("3 tasks will be tried again.")
    await expect(family).to_contain_text("3 not over yet")
    assert await place.mill.states(run) == {"done": 4, "failed": 5, "waiting": 3}
    await place.mill.work({"f": mended}, until=place.mill.finished(run))
    await page.reload()
    await expect(family.locator(".notice.good")).to_contain_text("3 tried")
    await expect(family).to_contain_text("3 done")
    await family.get_by_role("link", name="Retry all 5…").click()
    await expect(dialog).to_contain_text("5 failed tasks start again")
    await dialog.get_by_role("button", name="Retry").click()
    await expect(page.get_by_text("Nothing stands failed.")).to_be_visible()
    assert await place.mill.states(run) == {"done": 7, "waiting": 5}


async def test_before_and_now_then_back_again_without_javascript(place: Place, visit: Visit) -> None:
    run = await a_run(place)
    await rerun_first_four(place, run)
    page = await visit(f"/runs/{run}/compare", java_script_enabled=False)
    await expect(page.locator("main")).to_contain_text("4 of the 4 that differ were looked into.")
    await page.goto(f"{place.url}/items/item-1")
    await page.get_by_role("link", name="Compare").click()
    first = page.locator("section.block").first
    await expect(first.get_by_role("row", name="copy.amplitude")).to_contain_text("20 %")
    await expect(first.get_by_role("row", name="copy.pulses")).to_contain_text("20 of them differ")
    await page.get_by_role("link", name="Go back…").click()
    await expect(page.locator(".confirm")).to_contain_text("1 task stands as before the re-run (1 done)")
    await expect(page.locator(".confirm")).to_contain_text("2 old results stand again")
    await page.get_by_role("button", name="Go back").click()
    await expect(page.get_by_text("1 task stands as before the re-run. Go back again to undo it.")).to_be_visible()
    await expect(first.get_by_role("row", name="copy.amplitude")).to_contain_text("20 %")


async def test_what_a_new_version_affects_is_done_again(place: Place, visit: Visit) -> None:
    run = await a_run(place)
    await new_version(place)
    page = await visit("/apps/f")
    await page.get_by_role("link", name="which results each made").click()
    await expect(page.get_by_role("heading", name="Affected: 16 results")).to_be_visible()
    await page.get_by_role("link", name="Do these again…").click()
    dialog = page.locator("#dialog")
    await expect(dialog).to_contain_text("12 tasks start again, of 12 items in 1 run")
    await expect(dialog).to_contain_text("16 finished steps are superseded")
    await dialog.get_by_role("button", name="Do them again").click()
    await expect(page.get_by_role("status").first).to_have_text("12 tasks will run again.")
    assert await place.mill.states(run) == {"waiting": 12}


async def test_what_is_stuck_is_shown_with_its_reason(place: Place, visit: Visit) -> None:
    run = await a_run(place)
    await rerun_first_four(place, run)
    async with place.site.database.begin() as session:
        await session.execute(text("update task set finished_at = now() - interval '2 h' where state = 'failed'"))
    page = await visit("/")
    await page.get_by_role("link", name="Operating", exact=True).click()
    row = page.get_by_role("row", name="it failed, and nothing will happen by itself")
    await expect(row).to_contain_text("8")
    await page.get_by_role("navigation", name="Operating").get_by_role("link", name="What is stuck").click()
    await expect(page.get_by_role("row", name="item-7")).to_contain_text("2 h 0 min")
    await expect(page.get_by_role("row", name="item-7")).to_contain_text("7.5 K is too warm")
    await page.get_by_label("Cause").select_option("held")
    await page.get_by_role("button", name="Show").click()
    await expect(page).to_have_url(f"{place.url}/stuck?cause=held&run=")
    await expect(page.get_by_text("Nothing is stuck for this cause.")).to_be_visible()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
async def test_every_page_is_labelled_and_fits(place: Place, visit: Visit, width: int, scheme: str) -> None:
    run = await a_run(place)
    await rerun_first_four(place, run)
    await new_version(place)
    page = await visit("/operating?all=1", color_scheme=scheme)
    await page.set_viewport_size({"width": width, "height": 800})
    for path in (
        "/operating", "/operating?all=1", "/stuck", "/failures", f"/runs/{run}/failures", "/affected",
        "/affected?app=f", "/affected/rerun?app=f", f"/runs/{run}/compare", "/compare?item=item-1", "/summary",
        f"/runs/{run}/go-back", f"/runs/{run}/retry?first=2",
    ):  # fmt: skip
        answer = await page.goto(place.url + path)
        assert answer is not None
        assert answer.status == 200, path
        found = await page.evaluate(AUDIT)
        assert found.pop("lang") == "en"
        assert "Tidemill" in found.pop("title")
        assert found.pop("headings") == 1, path
        assert found == CLEAN, path
