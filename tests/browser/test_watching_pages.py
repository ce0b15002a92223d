"""The pages of watching runs and schedules, and the reasons on an item's page."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.browser.conftest import Place, Visit
from tests.browser.test_every_page import AUDIT, CLEAN
from tests.watching import Watched


async def filled(place: Place) -> Watched:
    mill = Watched(place.site.database, place.site.documents)
    await mill.pipeline("chain", ["one"])
    await mill.watch("cold", condition={"where": {"conditions.temperature": {"max": 0.1}}, "require": ["kind"]})
    await mill.watch("all", priority=2)
    await mill.add("ma22a000_000", "ma22a000_001", metadata='{"conditions": {"temperature": 0.4}}')
    await mill.keep_house()
    await mill.sql("update item set status = 'bad', status_reason = 'dead channel' where name = 'ma22a000_001'")
    await mill.look()
    await mill.sql(
        "insert into schedule (name, cron, zone, action, next_at, last_at, last_result) values "
        """('nightly', '0 2 * * *', 'Europe/Berlin', '{"sync": "tapes"}', now(), now(), 'failed: it is not there')"""
    )
    return mill


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
async def test_the_pages_are_labelled_and_fit(place: Place, visit: Visit, width: int, scheme: str) -> None:
    await filled(place)
    page = await visit("/watching", color_scheme=scheme)
    await page.set_viewport_size({"width": width, "height": 800})
    for path in ("/watching", "/watching/all/end", "/schedules", "/items/ma22a000_001/why", "/items/ma22a000_001"):
        answer = await page.goto(place.url + path)
        assert answer is not None
        assert answer.status == 200, path
        await page.wait_for_load_state("networkidle")
        found = await page.evaluate(AUDIT)
        assert found.pop("lang") == "en"
        assert found.pop("headings") == 1, path
        del found["title"]
        assert found == CLEAN, path


async def test_a_watching_run_is_paused_resumed_and_ended(place: Place, visit: Visit) -> None:
    mill = await filled(place)
    page = await visit("/watching")
    block = page.get_by_role("region", name="all")
    await block.get_by_role("button", name="Pause").click()
    await expect(block).to_contain_text("paused")
    await block.get_by_role("button", name="Resume").click()
    await expect(block).to_contain_text("active")
    await block.get_by_role("link", name="End…").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text("that wait because they no longer match are cancelled")
    await dialog.get_by_role("button", name="End it").click()
    await expect(page.get_by_text("takes in nothing more")).to_be_visible()
    assert [row["name"] for row in await mill.sql("select name from watch")] == ["cold"]


async def test_an_items_page_tells_why_it_has_not_entered(place: Place, visit: Visit) -> None:
    await filled(place)
    page = await visit("/items/ma22a000_001")
    why = page.locator("#why")
    await expect(why).to_contain_text("conditions.temperature is 0.4, must be at most 0.1")
    await expect(why).to_contain_text("no `kind`")
    await expect(why).to_contain_text("no longer matches: status is bad (dead channel), must be good")


async def test_a_watching_run_fills_before_ones_eyes(place: Place, visit: Visit) -> None:
    mill = await filled(place)
    (run,) = await mill.sql("select run_id from watch where name = 'all'")
    page = await visit(f"/runs/{run['run_id']}")
    await expect(page.locator('[data-total="waiting"]')).to_have_text("2")
    await mill.add("ma22a000_002")
    await mill.look()
    await expect(page.locator('[data-total="waiting"]')).to_have_text("3")
    await expect(page.locator("status-grid")).to_contain_text("ma22a000_002")
