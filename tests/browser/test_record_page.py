"""A record is edited on its page; who is too late sees both versions and loses nothing."""

from __future__ import annotations

import json
from typing import Any

from playwright.async_api import expect
from sqlalchemy import text

from tests.browser.conftest import Place, Visit
from tidemill.catalogue import edits, items

FIELDS = """insert into site (fields) values ('{"run": {"type": "integer", "title": "Run number"},
"live": {"type": "boolean", "title": ""}, "place": {"type": "text", "title": "Place"}}')"""


async def edit(place: Place, **row: Any) -> None:
    async with place.site.database.begin() as session:
        assert (await edits.apply_one(session, row)).error is None


async def record(place: Place, name: str) -> tuple[str, str, dict[str, Any]]:
    async with place.site.database.begin() as session:
        row = await items.get(session, name)
    return row["status"], row["status_reason"], row["metadata"]


async def test_fields_and_json_are_edited(place: Place, visit: Visit) -> None:
    async with place.site.database.begin() as session:
        await session.execute(text(FIELDS))
    await edit(place, name="a/b é", metadata={"run": 7, "place": "two\nlines", "deep": {"x": [1]}, "off": False})
    page = await visit("/items/a%2Fb%20%C3%A9", allow="422")
    await page.get_by_role("link", name="Edit…").click()
    await expect(page.get_by_label("Run number")).to_have_value("7")
    await page.get_by_label("Run number").fill("seven")
    await page.get_by_label("Status").fill("bad")
    await page.get_by_label("Why").fill("no signal")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("alert")).to_contain_text("run is 'seven'; it must be a whole number.")
    await page.get_by_label("Run number").fill("8")
    await page.get_by_label("live").select_option("yes")
    rest = page.get_by_label("Other metadata")
    await expect(rest).to_have_value(json.dumps({"deep": {"x": [1]}, "off": False, "place": "two\nlines"}, indent=2))
    await rest.fill('{"place": "two\\nlines", "deep": {"x": [2]}, "new": "<b>"}')
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("Saved: it is at revision 2 now.")).to_be_visible()
    await expect(page.get_by_text("no signal")).to_be_visible()
    metadata = {"run": 8, "live": True, "place": "two\nlines", "deep": {"x": [2]}, "new": "<b>"}
    assert await record(place, "a/b é") == ("bad", "no signal", metadata)


async def test_who_is_too_late_loses_nothing(place: Place, visit: Visit) -> None:
    await edit(place, name="a", metadata={"x": 1, "y": 1, "z": 1})
    page = await visit("/records/a", allow="409", java_script_enabled=False)
    await page.get_by_label("Metadata").fill('{"x": 2, "y": 1, "mine": true}')
    await edit(place, name="a", metadata={"x": 3, "y": 3, "theirs": True}, status="bad", reason="noise")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("alert")).to_contain_text("was edited meanwhile")
    rows = await page.locator("tbody tr").all_inner_texts()
    assert [row.split("\t") for row in rows] == [
        ["status", "good", "bad", "good", "now"],
        ["status_reason", "–", "noise", "–", "now"],
        ["mine", "–", "–", "true", "yours"],
        ["theirs", "–", "true", "–", "now"],
        ["x", "1", "3", "2", "yours"],
        ["y", "1", "3", "1", "now"],
        ["z", "1", "1", "–", "yours"],
    ]
    assert await record(place, "a") == ("bad", "noise", {"x": 3, "y": 3, "z": 1, "theirs": True})
    await expect(page.get_by_label("Status")).to_have_value("bad")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("Saved: it is at revision 3 now.")).to_be_visible()
    assert await record(place, "a") == ("bad", "noise", {"x": 2, "y": 3, "theirs": True, "mine": True})
