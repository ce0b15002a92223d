"""A run's page: live without a reload, steered by its buttons, by keyboard, and at 100,000 items."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from playwright.async_api import Page, expect

from tests.browser.conftest import Place, Visit
from tests.factory import MadeRun, make_run
from tests.site import Condition
from tidemill.runner import look

Json = dict[str, Any]


def same(document: Json, _: Json) -> Json:
    return document


async def marked(page: Page) -> None:
    """Leave a mark that a reload would wipe off."""
    await page.evaluate("window.unbroken = true")


async def unbroken(page: Page) -> bool:
    return bool(await page.evaluate("window.unbroken === true"))


async def test_what_happens_shows_without_a_reload(place: Place, visit: Visit) -> None:
    gate = asyncio.Event()

    async def slow(document: Json, _: Json) -> Json:
        await gate.wait()
        return document

    functions = {"quick": same, "slow": slow}
    run = await place.mill.start(items=4, steps=["first", "second"], functions=functions, use=["quick", "slow"])
    page = await visit(f"/runs/{run}")
    await expect(page.locator("[data-live]")).to_have_text("live")
    await expect(page.locator("[data-total=waiting]")).to_have_text("4")
    await marked(page)
    async with place.mill.working(functions):
        await expect(page.locator("[data-total=running]")).to_have_text("4")
        await expect(page.locator('[data-count="0-done"]')).to_have_text("4")
        row = page.get_by_role("row").filter(has_text="item-2")
        await expect(row.get_by_role("gridcell").nth(0)).to_have_text("●done")
        await expect(row.get_by_role("gridcell").nth(1)).to_have_text("◐running")
        gate.set()
        await expect(row.get_by_role("gridcell").nth(1)).to_have_text("●done")
        await expect(page.locator(".head .state")).to_have_text("●done")
        await expect(page.locator("[data-done]")).to_have_text("100.0 %")
    assert await unbroken(page)


async def test_what_failed_says_why_and_is_retried(place: Place, visit: Visit) -> None:
    broken = True

    def fussy(document: Json, _: Json) -> Json:
        if broken:
            raise ValueError("the tape is torn")
        return document

    functions = {"fussy": fussy}
    run = await place.mill.start(items=3, steps=["look"], functions=functions, use=["fussy"], tries=1)
    await place.mill.work(functions, until=place.mill.finished(run))
    page = await visit(f"/runs/{run}")
    await expect(page.locator(".head .state")).to_have_text("✕done, 3 failed")
    await page.get_by_role("gridcell").first.hover()
    await expect(page.get_by_role("tooltip")).to_contain_text("the tape is torn")
    await page.get_by_role("link", name="Retry failed…").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text("3 failed tasks start again")
    broken = False
    await dialog.get_by_role("button", name="Retry").click()
    await expect(page.get_by_text("3 tasks will be tried again.")).to_be_visible()
    await expect(page.locator("[data-live]")).to_have_text("live")
    async with place.mill.working(functions):
        await expect(page.locator("[data-total=done]")).to_have_text("3")


async def test_a_paused_run_waits_and_resumes(place: Place, visit: Visit) -> None:
    functions = {"same": same}
    run = await place.mill.start(items=2, steps=["only"], functions=functions, use=["same"])
    page = await visit(f"/runs/{run}")
    await page.get_by_role("button", name="Pause").click()
    await expect(page.locator(".head .state")).to_have_text("‖paused")
    await expect(page.get_by_text("nothing more is started").first).to_be_visible()
    async with place.mill.working(functions):
        await place.mill.until(worker_is_seen(place))
        assert await place.mill.states(run) == {"waiting": 2}
        await page.get_by_role("button", name="Resume").click()
        await expect(page.locator("[data-total=done]")).to_have_text("2")
    await expect(page.locator(".head .state")).to_have_text("●done")


def worker_is_seen(place: Place) -> Condition:
    async def seen() -> bool:
        async with place.site.database.begin() as session:
            return any(worker["live"] for worker in await look.workers(session))

    return seen


async def test_another_window_is_told_of_a_pause(place: Place, visit: Visit) -> None:
    run = await place.mill.start(items=2, steps=["only"], functions={"same": same}, use=["same"])
    other = await visit(f"/runs/{run}?state=waiting")
    await expect(other.locator("[data-live]")).to_have_text("live")
    await marked(other)
    page = await visit(f"/runs/{run}")
    await page.get_by_role("button", name="Pause").click()
    await expect(other.locator(".head .state")).to_have_text("‖paused")
    assert "state=waiting" in str(await other.locator("#cancel").get_attribute("href"))
    assert await unbroken(other)


async def test_cancelling_shows_the_numbers_first(place: Place, visit: Visit) -> None:
    run = await place.mill.start(items=5, steps=["only"], functions={"same": same}, use=["same"])
    page = await visit(f"/runs/{run}")
    await page.get_by_role("link", name="Cancel…").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text("5 unfinished tasks are cancelled")
    await dialog.get_by_role("link", name="Keep it as it is").click()
    await expect(dialog).to_be_hidden()
    assert await place.mill.states(run) == {"waiting": 5}
    await page.get_by_role("link", name="Cancel…").click()
    await dialog.get_by_role("button", name="Cancel them").click()
    await expect(page.locator(".head .state")).to_have_text("⊘cancelled")
    assert await place.mill.states(run) == {"cancelled": 5}


async def test_a_rerun_previews_each_step_and_supersedes(place: Place, visit: Visit) -> None:
    functions = {"same": same}
    run = await place.mill.start(items=3, steps=["a", "b"], functions=functions, use=["same", "same"])
    await place.mill.work(functions, until=place.mill.finished(run))
    page = await visit(f"/runs/{run}")
    await page.get_by_role("link", name="Re-run from a step…").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text("6 finished steps are superseded")
    await dialog.get_by_label("From which step?").select_option("1")
    await expect(dialog).to_contain_text("3 finished steps are superseded")
    await dialog.get_by_role("button", name="Re-run").click()
    await expect(page.get_by_text("3 tasks will run again from step 2.")).to_be_visible()
    assert sum(bool(one["superseded_at"]) for one in await place.mill.attempts(run)) == 3
    assert [task["step"] for task in await place.mill.tasks(run)] == [1, 1, 1]


async def test_numbers_filter_and_the_url_keeps_it(place: Place, visit: Visit) -> None:
    made = await make_run(place.site.database, items=30, steps=2, prefix="film")
    await set_states(place, made.run, "state = 'failed', finished_at = now(), step = 1", "position in (3, 17)")
    page = await visit(f"/runs/{made.run}")
    await page.locator('[data-count="1-failed"]').click()
    rows = page.locator(".g-space").get_by_role("row")
    await expect(rows).to_have_count(2)
    await expect(rows.nth(1)).to_contain_text("film-000017")
    await expect(page).to_have_url(re.compile("state=failed"))
    await expect(page).to_have_url(re.compile("step=1"))
    await page.reload()
    await expect(page.locator(".g-space").get_by_role("row")).to_have_count(2)
    await expect(page.locator("#cancel")).to_have_attribute("href", re.compile("state=failed"))
    await page.get_by_label("State").select_option("")
    await page.get_by_label("At step").select_option("")
    await page.get_by_label("Name contains").fill("-00001")
    await expect(page.locator(".g-space").get_by_role("row")).to_have_count(10)


async def test_the_grid_is_walked_by_keyboard(place: Place, visit: Visit) -> None:
    made = await make_run(place.site.database, items=200, steps=3, prefix="film")
    page = await visit(f"/runs/{made.run}")
    grid = page.get_by_role("grid")
    await expect(grid).to_have_attribute("aria-rowcount", "201")
    assert await grid.get_attribute("aria-colcount") == "4"
    await expect(page.locator(".g-space").get_by_role("row").first).to_contain_text("film-000000")
    await page.locator("body").press("/")
    await expect(page.get_by_label("Name contains")).to_be_focused()
    await grid.focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight"):
        await page.keyboard.press(key)
    assert await grid.get_attribute("aria-activedescendant") == "cell-2-1"
    await page.keyboard.press("Control+End")
    await expect(page.locator("#cell-199-1")).to_be_visible()
    await expect(page.get_by_role("tooltip")).to_contain_text("film-000199")
    await page.keyboard.press("PageUp")
    await page.keyboard.press("Control+Home")
    assert await grid.get_attribute("aria-activedescendant") == "cell-0-0"
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="film-000001")).to_be_visible()


async def test_a_hundred_thousand_items_open_scroll_and_follow(place: Place, visit: Visit) -> None:
    made = await make_run(place.site.database, items=100_000, steps=4, prefix="reel")
    page = await visit(f"/runs/{made.run}")
    grid = page.get_by_role("grid")
    await expect(grid).to_have_attribute("aria-rowcount", "100001")
    rows = page.locator(".g-space").get_by_role("row")
    await expect(rows.first).to_contain_text("reel-000000")
    assert await rows.count() < 80
    await page.evaluate("document.querySelector('.g-viewport').scrollTop = 24 * 70000")
    await expect(rows.filter(has_text="reel-070010")).to_be_visible()
    assert await rows.count() < 80
    await page.wait_for_url("**from=70000**")
    await page.reload()
    await expect(rows.filter(has_text="reel-070010")).to_be_visible()
    await expect(page.locator("[data-live]")).to_have_text("live")
    await set_states(place, made.run, "state = 'failed', finished_at = now()", "position = 70005", announce=True)
    await expect(rows.filter(has_text="reel-070005").get_by_role("gridcell").first).to_have_text("✕failed")
    await expect(page.locator("[data-total=failed]")).to_have_text("1")
    strip = page.locator("canvas")
    await strip.scroll_into_view_if_needed()
    box = await strip.bounding_box()
    assert box is not None
    await strip.click(position={"x": 5, "y": box["height"] - 2})
    await expect(rows.filter(has_text="reel-099").first).to_be_visible()
    await page.get_by_label("Name contains").fill("-0500")
    await expect(grid).to_have_attribute("aria-rowcount", "101")
    await expect(rows.first).to_contain_text("reel-050000")
    await page.get_by_label("Name contains").fill("reel")
    await expect(page.get_by_text("The first 5000 that match")).to_be_visible()


async def test_a_cut_line_is_said_and_what_was_missed_is_caught_up(place: Place, visit: Visit) -> None:
    made = await make_run(place.site.database, items=10, steps=1, prefix="film")
    page = await visit(f"/runs/{made.run}", allow="/live")
    await expect(page.locator("[data-live]")).to_have_text("live")
    await marked(page)
    await place.cut()
    await expect(page.locator("[data-live]")).to_have_text("reconnecting…")
    await set_states(place, made.run, "state = 'failed', finished_at = now()", "position < 4", announce=True)
    await place.serve()
    await expect(page.locator("[data-live]")).to_have_text("live")
    await expect(page.locator("[data-total=failed]")).to_have_text("4")
    assert await unbroken(page)


async def set_states(place: Place, run: int, change: str, where: str, announce: bool = False) -> None:
    """Change tasks straight in SQL; with `announce`, as a worker would tell of it."""
    connection = await place.site.database.connect()
    async with connection, connection.transaction():
        await connection.execute(
            f"""with moved as (update task set {change} where run_id = {run} and {where} returning *)
                insert into change (kind, run_id, task_id, item_id, position, step, state)
                select 'task', run_id, id, item_id, position, step, state from moved where {announce}""".encode()
        )
        await connection.execute("select pg_notify('tidemill_change', '')")


async def long_run(place: Place) -> MadeRun:
    """A run that reaches far: 40 items, ten of them behind position 120,000."""
    made = await make_run(place.site.database, items=40, steps=2, prefix="film")
    await set_states(place, made.run, "position = position + 120000", "position >= 30")
    return made


async def test_of_a_long_run_its_newest_part_is_shown_and_followed(place: Place, visit: Visit) -> None:
    made = await long_run(place)
    page = await visit(f"/runs/{made.run}")
    rows = page.locator(".g-space").get_by_role("row")
    await expect(page.get_by_role("grid")).to_have_attribute("aria-rowcount", "11")
    await expect(rows.last).to_contain_text("film-000039")
    await expect(page.locator("[data-total=waiting]")).to_have_text("40")
    await expect(page.locator("[data-live]")).to_have_text("live")
    await set_states(place, made.run, "state = 'failed', finished_at = now()", "position = 120031", announce=True)
    await expect(rows.filter(has_text="film-000031").get_by_role("gridcell").first).to_have_text("✕failed")
    await set_states(place, made.run, "state = 'failed', finished_at = now()", "position = 3", announce=True)
    await expect(page.locator("[data-total=failed]")).to_have_text("2")
    await enter(place, made.run, 120_040)
    await expect(rows.last).to_contain_text("film-new")
    await expect(page.locator("[data-all]")).to_have_text("41")


async def test_the_parts_of_a_long_run_are_addresses(place: Place, visit: Visit) -> None:
    made = await long_run(place)
    page = await visit(f"/runs/{made.run}")
    rows = page.locator(".g-space").get_by_role("row")
    parts = page.get_by_role("navigation", name="Parts of the run")
    await expect(parts).to_contain_text("of 120,040")
    await parts.get_by_role("link", name="First").click()
    await page.wait_for_url("**from=0*")
    await expect(rows.first).to_contain_text("film-000000")
    await expect(page.get_by_role("grid")).to_have_attribute("aria-rowcount", "31")
    await enter(place, made.run, 120_041)
    await expect(page.locator("[data-all]")).to_have_text("41")
    await expect(page.get_by_role("grid")).to_have_attribute("aria-rowcount", "31")
    await parts.get_by_role("link", name="Newest").click()
    await expect(rows.last).to_contain_text("film-new")


async def test_a_long_runs_filters_look_at_all_of_it(place: Place, visit: Visit) -> None:
    made = await long_run(place)
    await set_states(place, made.run, "state = 'failed', finished_at = now()", "position in (3, 120031)")
    page = await visit(f"/runs/{made.run}")
    rows = page.locator(".g-space").get_by_role("row")
    await expect(rows.last).to_contain_text("film-000039")
    await page.get_by_label("State").select_option("failed")
    await expect(rows).to_have_count(2)
    await expect(rows.first).to_contain_text("film-000003")
    await expect(rows.last).to_contain_text("film-000031")
    await set_states(place, made.run, "state = 'failed', finished_at = now()", "position = 7", announce=True)
    await expect(rows).to_have_count(3)
    await page.reload()
    await expect(rows).to_have_count(3)
    await page.get_by_label("State").select_option("")
    await page.get_by_label("Name contains").fill("00012")
    await expect(rows).to_have_count(1)
    await page.get_by_label("Name contains").fill("")
    await expect(rows.last).to_contain_text("film-000039")


async def enter(place: Place, run: int, position: int) -> None:
    """Let a new item enter a run, as a watching run does."""
    connection = await place.site.database.connect()
    async with connection, connection.transaction():
        await connection.execute(
            f"""with made as (insert into item (name) values ('film-new') returning id),
                entered as (
                    insert into task (run_id, position, item_id, document)
                    select {run}, {position}, made.id, (select document from task limit 1) from made
                    returning *)
                insert into change (kind, run_id, task_id, item_id, position, step, state)
                select 'task', run_id, id, item_id, position, step, state from entered""".encode()
        )
        await connection.execute("select pg_notify('tidemill_change', '')")
