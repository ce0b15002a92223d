"""An item's page: what was read in it, its process, every attempt, and its document as a tree."""

from __future__ import annotations

from typing import Any

import orjson
from playwright.async_api import expect
from sqlalchemy import text

from tests.browser.conftest import Place, Visit

Json = dict[str, Any]
VOCABULARY = "http://mmif.clams.ai/vocabulary"
SLATE = "WGBH BOSTON\nEVENING COMPASS  #1204"


def video() -> Json:
    properties = {"id": "d1", "mime": "video/mp4", "location": "file:///media/compass.mp4"}
    return {"@type": f"{VOCABULARY}/VideoDocument/v1", "properties": properties}


def view(number: int, app: str, annotations: list[Json]) -> Json:
    metadata = {"app": app, "timestamp": "2026-11-21T07:00:00", "contains": {}, "parameters": {"threshold": "0.7"}}
    return {"id": f"v_{number}", "metadata": metadata, "annotations": annotations}


def bars(_: Json, __: Json) -> Json:
    frames = [
        {"@type": f"{VOCABULARY}/TimeFrame/v5", "properties": {"id": f"tf_{n}", "start": n * 100, "label": "bars"}}
        for n in range(120)
    ]
    views = [view(0, "http://apps.clams.ai/bars/1.0", frames)]
    return {"metadata": {"mmif": "http://mmif.clams.ai/1.0.5"}, "documents": [video()], "views": views}


def slate(mmif: Json, _: Json) -> Json:
    found = {"@type": f"{VOCABULARY}/TextDocument/v1", "properties": {"id": "td_1", "text": {"@value": SLATE}}}
    return mmif | {"views": [*mmif["views"], view(1, "http://apps.clams.ai/slate-reader/2.1", [found])]}


FUNCTIONS = {"bars": bars, "slate": slate}


async def done(place: Place) -> int:
    run = await place.mill.start(items=1, steps=["find-bars", "read-slate"], functions=FUNCTIONS, use=["bars", "slate"])
    await place.mill.work(FUNCTIONS, until=place.mill.finished(run))
    return run


async def test_the_slates_words_the_process_and_the_tree(place: Place, visit: Visit) -> None:
    run = await done(place)
    page = await visit("/items/item-0")
    await expect(page.get_by_role("heading", level=1)).to_have_text("item-0")
    words = page.locator(".words li")
    await expect(words).to_have_count(1)
    assert await words.inner_text() == SLATE
    process = page.locator("section", has=page.get_by_role("heading", name="Process")).locator("tbody tr")
    await expect(process).to_have_count(2)
    for shown in ("find-bars", "bars", "1", "name=find-bars", "UTC"):
        await expect(process.nth(0)).to_contain_text(shown)
    await expect(process.nth(1)).to_contain_text("read-slate")
    attempt = page.locator("details.attempt").first
    await attempt.locator("summary").click()
    await expect(attempt).to_contain_text("python:bars")
    assert await attempt.get_attribute("id") == f"attempt-{(await place.mill.tasks(run))[0]['id']}-1"
    tree = page.locator("mmif-tree")
    await expect(tree.locator("#view-v_0 > summary")).to_contain_text("120 TimeFrame")
    await tree.get_by_role("button", name="Open all").click()
    await expect(tree.get_by_text("file:///media/compass.mp4")).to_be_visible()
    await expect(tree.get_by_role("cell", name="WGBH BOSTON")).to_be_visible()


async def test_long_lists_of_annotations_come_in_pages(place: Place, visit: Visit) -> None:
    await done(place)
    page = await visit("/items/item-0", java_script_enabled=False)
    await page.locator("#view-v_0 > summary").click()
    group = page.locator("#view-v_0-TimeFrame")
    await group.locator("summary").click()
    await expect(group.locator("tbody tr")).to_have_count(50)
    await group.get_by_role("link", name="Later").click()
    await page.wait_for_url("**/documents/**page=2**")
    await expect(group.locator("tbody tr").first).to_contain_text("tf_50")
    await group.get_by_role("link", name="Later").click()
    await expect(group.locator("tbody tr")).to_have_count(20)
    await expect(page.get_by_role("heading", name="Texts found")).to_be_visible()


async def test_superseded_attempts_are_folded(place: Place, visit: Visit) -> None:
    run = await done(place)
    page = await visit("/items/item-0")
    await page.get_by_role("link", name="Re-run…").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("From which step?").select_option("1")
    await expect(dialog).to_contain_text("1 finished step is superseded")
    await dialog.get_by_role("button", name="Re-run").click()
    await expect(page).to_have_url(f"{place.url}/items/item-0")
    await place.mill.work(FUNCTIONS, until=place.mill.finished(run))
    await page.reload()
    folded = page.get_by_text("1 superseded attempt")
    await expect(folded).to_be_visible()
    await expect(page.get_by_text("Superseded", exact=True)).to_be_hidden()
    await folded.click()
    await page.locator("details.attempt details.attempt > summary").click()
    await expect(page.get_by_text("Superseded", exact=True)).to_be_visible()


async def test_a_late_result_is_promoted_by_a_person(place: Place, visit: Visit) -> None:
    run = await place.mill.start(items=1, steps=["find-bars"], functions=FUNCTIONS, use=["bars"])
    late = await place.site.documents.keep(orjson.dumps(bars({}, {})))
    async with place.site.database.begin() as session:
        await session.execute(
            text("insert into document (sha256, size, body, location) values (decode(:sha, 'hex'), :size, :body, :at)"),
            {"sha": late.sha256, "size": late.size, "body": late.body, "at": late.location},
        )
        await session.execute(
            text(
                """insert into attempt
                     (task_id, fence, step, app_version_id, parameters, outcome, started_at, input, output)
                   select t.id, 1, 0, 1, '{}', 'late', now(), t.document, decode(:sha, 'hex') from task t
                   where t.run_id = :run"""
            ),
            {"run": run, "sha": late.sha256},
        )
        await session.execute(text("update task set fence = 2 where run_id = :run"), {"run": run})
    page = await visit("/items/item-0")
    await page.get_by_role("button", name="Promote").click()
    await expect(page.get_by_text("The late result was applied; the task is now done.")).to_be_visible()
    assert await place.mill.states(run) == {"done": 1}
    await expect(page.locator("mmif-tree #view-v_0")).to_be_visible()


async def test_a_failed_item_says_so_at_the_top(place: Place, visit: Visit) -> None:
    def torn(_: Json, __: Json) -> Json:
        raise ValueError("no audio stream <b>at all</b>")

    odd = "a/b c?d#é"
    run = await place.mill.start(items=1, steps=["listen"], functions={"torn": torn}, use=["torn"], prefix=odd, tries=1)
    await place.mill.work({"torn": torn}, until=place.mill.finished(run))
    page = await visit(f"/runs/{run}")
    await page.get_by_role("link", name=f"{odd}-0").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text(f"{odd}-0")
    await expect(page.locator(".notice.bad")).to_contain_text("Failed at listen")
    await expect(page.locator(".notice.bad")).to_contain_text("no audio stream <b>at all</b>")
    await page.get_by_role("link", name="Retry…").click()
    await page.get_by_role("dialog").get_by_role("button", name="Retry").click()
    await expect(page.get_by_text("1 task will be tried again.")).to_be_visible()
    await expect(page.get_by_role("heading", level=1)).to_have_text(f"{odd}-0")
    assert await place.mill.states(run) == {"waiting": 1}
