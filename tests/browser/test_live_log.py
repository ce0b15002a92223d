"""An attempt's log on the pages, growing while the step is at work."""

from __future__ import annotations

from pathlib import Path

from playwright.async_api import expect

from tests.browser.conftest import Place, Visit
from tests.step_site import StepSite

TALKS = """
@step
def talks(item, task):
    print("begun")
    task.progress(0.25)
    folder = os.path.dirname(__file__)
    while not os.path.exists(folder + "/more"):
        time.sleep(0.01)
    print("more")
    while not os.path.exists(folder + "/go"):
        time.sleep(0.01)
    task.output("x.root").write_text("data")
    print("ended")
"""


async def test_a_log_grows_on_the_page_and_the_files_come_at_the_end(
    place: Place, visit: Visit, tmp_path: Path
) -> None:
    mill = StepSite(place.site.database, place.site.documents, tmp_path)
    mill.files, mill.bench = place.site.files, place.site.workbench()
    steps = await mill.load(TALKS)
    await mill.item("one")
    run = await mill.begin(["one"], "talks")
    async with mill.at_work(steps):

        async def begun() -> bool:
            return (await mill.tasks(run))[0]["state"] == "running"

        await mill.until(begun)
        page = await visit("/items/one")
        log = page.locator("live-log pre")
        await expect(log).to_have_text("begun\n")
        await expect(page.locator("live-log progress")).to_have_js_property("value", 0.25)
        (tmp_path / "more").write_text("")
        await expect(log).to_have_text("begun\nmore\n")
        alone = await visit(f"/attempts/{(await mill.tasks(run))[0]['id']}-1")
        await expect(alone.locator("live-log pre")).to_have_text("begun\nmore\n")
        (tmp_path / "go").write_text("")
        await expect(alone.locator("live-log")).to_contain_text("It has ended: done.")
        await expect(page.locator("live-log")).to_have_count(0)
        await expect(page.locator(".attempt a", has_text="x.root")).to_have_count(1)
    async with page.expect_download() as download:
        await page.get_by_role("row", name="talks").get_by_role("link", name="x.root").click()
    assert Path(await (await download.value).path()).read_text() == "data"
