"""Many at once into the basket; values of a facet that are looked for; what is in a package, before it is taken."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.async_api import expect
from sqlalchemy import text, update

from tests.browser.conftest import Place
from tests.browser.test_every_page import AUDIT, CLEAN
from tests.browser.test_portal_pages import Stroll, accept, shelves, stroll
from tidemill.db.models import Item, Site

__all__ = ["shelves", "stroll"]


@pytest.mark.parametrize("scripts", [True, False])
async def test_ticked_samples_go_into_the_basket(place: Place, stroll: Stroll, shelves: Path, scripts: bool) -> None:
    page = await stroll("/portal", java_script_enabled=scripts)
    await accept(page, place)
    await page.goto(f"{place.url}/portal/samples?sort=-scpca_id")
    said = page.locator(".notice").first
    await page.get_by_role("button", name="Put the chosen into the basket").click()
    await expect(said).to_contain_text("Nothing was chosen.")
    for name in ("SCPCS000001", "SCPCS000005"):
        await page.get_by_label(f"Choose {name}").check()
    await page.get_by_role("button", name="Put 2 chosen" if scripts else "Put the chosen").click()
    await expect(said).to_have_text("2 samples came into your basket. It has 2 things in it now.")
    await expect(page).to_have_url(re.compile(r"\?sort=-scpca_id$"))
    await page.get_by_role("button", name="Put all 6 in").click()
    await expect(said).to_contain_text("4 samples came into your basket. 2 samples were in it already.")
    await expect(page.get_by_role("link", name="Basket 6")).to_be_visible()
    await page.goto(f"{place.url}/portal/projects")
    await page.get_by_label("Choose SCPCP000002").check()
    await page.get_by_role("button", name="Put 1 chosen" if scripts else "Put the chosen").click()
    await expect(said).to_have_text("Nothing came in. 3 samples were in it already.")


async def test_all_that_a_filter_leaves_go_in_and_what_cannot_is_named(
    place: Place, stroll: Stroll, shelves: Path
) -> None:
    async with place.site.database.begin() as session:
        session.add(Item(name="ALONE", details={"sex": "Female"}))
        await session.execute(text("update project set locked = true where name = 'SCPCP000002'"))
    page = await stroll("/portal")
    await accept(page, place)
    await page.goto(f"{place.url}/portal/samples?sex=Female")
    await page.get_by_role("button", name="Put all 3 in").click()
    said = page.locator(".notice").first
    await expect(said).to_contain_text("1 sample came into your basket.")
    await expect(said).to_contain_text("1 sample cannot be had (locked): SCPCS000004.")
    await expect(said).to_contain_text("ALONE.")
    await page.goto(f"{place.url}/portal/basket")
    await expect(page.get_by_role("link", name="SCPCS000001")).to_be_visible()
    await expect(page.get_by_role("link", name="SCPCS000004")).to_have_count(0)


async def test_one_box_ticks_the_page_and_shift_a_stretch(place: Place, stroll: Stroll, shelves: Path) -> None:
    page = await stroll("/portal/samples")
    boxes, button = page.locator("input.tick[name]"), page.locator("#gathering [data-count]")
    await boxes.nth(1).check()
    await boxes.nth(4).click(modifiers=["Shift"])
    await expect(button).to_have_text("Put 4 chosen into the basket")
    await page.get_by_label("Choose all on this page").check()
    await expect(button).to_have_text("Put 6 chosen into the basket")
    await page.get_by_role("link", name="Female").click()
    await expect(page.locator(".found b")).to_have_text("2")
    await expect(button).to_have_text("Put the chosen into the basket")
    assert await page.evaluate(AUDIT) == CLEAN | await page.evaluate(
        "({lang: 'en', title: document.title, headings: 1})"
    )


async def test_ticks_stay_while_the_pages_of_a_list_are_turned(place: Place, stroll: Stroll, shelves: Path) -> None:
    async with place.site.database.begin() as session:
        session.add_all(Item(name=f"X{n:03}", details={"sex": "Male"}) for n in range(60))
    page = await stroll("/portal")
    await accept(page, place)
    await page.goto(f"{place.url}/portal/samples")
    button, others = page.locator("#gathering [data-count]"), page.locator("[data-elsewhere]")
    for name in ("SCPCS000001", "SCPCS000005"):
        await page.get_by_label(f"Choose {name}").check()
    await expect(others).to_be_hidden()
    await page.get_by_role("link", name="Next").click()
    await expect(others).to_contain_text("2 chosen, 2 of them on other pages")
    await page.get_by_label("Choose X059").check()
    await expect(button).to_have_text("Put 3 chosen into the basket")
    await page.get_by_role("link", name="Previous").click()
    await expect(others).to_contain_text("3 chosen, 1 of them on other pages")
    await expect(page.get_by_label("Choose SCPCS000005")).to_be_checked()
    await page.get_by_role("link", name="Female").first.click()
    await expect(page.locator(".found b")).to_have_text("2")
    await expect(button).to_have_text("Put the chosen into the basket")
    await page.go_back()
    await expect(button).to_have_text("Put 3 chosen into the basket")
    await page.get_by_role("button", name="Clear them all").click()
    await expect(button).to_have_text("Put the chosen into the basket")
    await page.get_by_label("Choose SCPCS000005").check()
    await page.goto(f"{place.url}/portal/samples?page=2&sort=scpca_id")
    await page.get_by_role("button", name="Put 1 chosen").click()
    await expect(page.locator(".notice").first).to_have_text(
        "1 sample came into your basket. It has 1 thing in it now."
    )
    await expect(button).to_have_text("Put the chosen into the basket")


@pytest.mark.parametrize("scripts", [True, False])
async def test_a_value_is_found_among_many(place: Place, stroll: Stroll, shelves: Path, scripts: bool) -> None:
    async with place.site.database.begin() as session:
        session.add_all(Item(name=f"X{n:03}", details={"diagnosis": f"Rare tumor {n:03}"}) for n in range(130))
    page = await stroll("/portal/samples", java_script_enabled=scripts)
    await expect(page.get_by_role("link", name="Rare tumor 129")).to_have_count(0)
    field = page.get_by_label("Find a value of Diagnosis")
    values = page.locator("section").filter(has=field).locator("[id^=values-]")
    await field.fill("TUMOR 12")
    if not scripts:
        await page.locator(".find-value button").first.click()
    await expect(values.locator("li")).to_have_count(10)
    await expect(values).to_contain_text("10 values have “TUMOR 12” in them.")
    await page.get_by_role("link", name="Rare tumor 129").click()
    await expect(page.locator(".found b")).to_have_text("1")
    await expect(page).to_have_url(re.compile(r"\?diagnosis=Rare\+tumor\+129$"))


@pytest.mark.parametrize("name", ["Größe (µm)", "a.b:c d", "病名", "x'\"]"])
async def test_a_value_is_found_whatever_its_field_is_called(
    place: Place, stroll: Stroll, shelves: Path, name: str
) -> None:
    async with place.site.database.begin() as session:
        fields = {name: {"type": "text", "title": "Odd", "facet": True}}
        await session.execute(update(Site).values(fields=fields))
        session.add_all(Item(name=f"X{n:03}", details={name: f"value {n:03}"}) for n in range(30))
    page = await stroll("/portal/samples")
    field = page.get_by_label("Find a value of Odd")
    await field.fill("VALUE 02")
    await expect(page.locator("section").filter(has=field)).to_contain_text("10 values have “VALUE 02” in them.")
    await page.get_by_role("link", name="value 029").click()
    await expect(page.locator(".found b")).to_have_text("1")


async def test_a_package_without_a_list_says_so(place: Place, stroll: Stroll, shelves: Path) -> None:
    page = await stroll("/portal/samples/SCPCS000001", allow="404")
    await page.get_by_role("link", name="5 files in it").click()
    await expect(page.get_by_role("heading", name="What is in this package")).to_be_visible()
    await expect(page.get_by_text("Whoever made this package gave no list of them")).to_be_visible()
    await page.goto(f"{place.url}/portal/computed-files/99999")
    await expect(page.get_by_role("alert")).to_contain_text("There is no such package.")
