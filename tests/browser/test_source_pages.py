"""The pages of sources: labelled, and a sync that is looked at before it is done."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.browser.conftest import Place, Visit
from tests.browser.test_every_page import AUDIT, CLEAN
from tidemill.catalogue.sync import sync
from tidemill.db.models import Source
from tidemill.errors import Conflict

RULES = [{"pattern": "{project}/{item}.wav"}, {"pattern": "*.lock", "project": "a", "lock": True}]


async def _filled(place: Place, folder: Path) -> None:
    (folder / "a").mkdir()
    for n in range(20):
        (folder / "a" / f"{n:02}{'x' * 80}.wav").touch()
    (folder / "notes.txt").touch()
    async with place.site.database.begin() as session:
        session.add(Source(name="tapes", url=folder.as_uri(), layout={"rules": RULES}))


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
async def test_the_pages_are_labelled_and_fit(
    place: Place, visit: Visit, tmp_path: Path, width: int, scheme: str
) -> None:
    await _filled(place, tmp_path)
    await sync(place.site.database, "tapes")
    for path in tmp_path.rglob("*.wav"):
        path.unlink()
    with pytest.raises(Conflict):
        await sync(place.site.database, "tapes")
    await sync(place.site.database, "tapes", dry_run=True)
    page = await visit("/sources", color_scheme=scheme)
    await page.set_viewport_size({"width": width, "height": 800})
    for path in ("/sources", "/sources/tapes", "/sources/tapes?effective=true", "/syncs/1", "/syncs/2", "/syncs/3"):
        answer = await page.goto(place.url + path)
        assert answer is not None
        assert answer.status == 200, path
        found = await page.evaluate(AUDIT)
        assert found.pop("lang") == "en"
        assert found.pop("headings") == 1, path
        del found["title"]
        assert found == CLEAN, path


async def test_a_person_looks_and_then_syncs(
    place: Place, visit: Visit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidemill.web.pages.sources.PATIENCE", 60.0)
    await _filled(place, tmp_path)
    page = await visit("/sources")
    await page.get_by_role("button", name="See what a sync would do").click()
    await expect(page.get_by_role("region", name="Result")).to_contain_text("20 new files")
    await expect(page.get_by_role("region", name="Match no layout rule")).to_contain_text("notes.txt")
    await page.get_by_role("button", name="Sync now").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Sync 2")
    await page.get_by_role("link", name="tapes").click()
    await expect(page.get_by_role("region", name="Facts")).to_contain_text("20 files")
    for path in tmp_path.rglob("*.wav"):
        path.unlink()
    await page.get_by_role("button", name="See what a sync would do").click()
    await expect(page.get_by_text("all its 20 files are gone")).to_be_visible()
    await page.get_by_role("button", name="Sync now").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("What a sync would do")
    await page.get_by_label("Let these 20 files go").check()
    await page.get_by_role("button", name="Sync now").click()
    await expect(page.get_by_role("region", name="Result")).to_contain_text("20 files gone")
